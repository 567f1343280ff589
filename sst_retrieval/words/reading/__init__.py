"""From a sentence to spans: which neighbouring words mean what, in this index."""
