"""An index opened to be searched: queries, exact searches, photographs from outside."""
