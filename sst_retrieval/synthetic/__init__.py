"""A synthetic museum drawer with exact masks: canvas -> wings, bodies -> backdrop; `drawer` plans what is drawn."""
