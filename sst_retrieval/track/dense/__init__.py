"""The default propagator: dense matching of features, votes by learnt keys, and a small decoder."""
