"""Words that are known whatever the collection: the vocabulary, colours, and quantities that can be measured."""
