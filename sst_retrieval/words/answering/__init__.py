"""From a question to hits: conditions choose, an example or the words themselves order."""
