"""Room 2: from what people drew to supports, and back."""
