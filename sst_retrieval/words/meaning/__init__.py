"""From spans to a question: its parts, the predicates they stand for, and what is in doubt."""
