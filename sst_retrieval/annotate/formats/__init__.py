"""Room 2: annotation formats, one module each; `registry` lists them."""
