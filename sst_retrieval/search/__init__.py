"""Room 6: an index opened to be asked: searches and their exact answers, photographs from outside."""
