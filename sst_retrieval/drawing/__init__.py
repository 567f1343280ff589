"""Draw the insects of the synthetic drawer: canvas -> wings, bodies -> backdrop; `demo.py` plans what is drawn."""
