"""The default propagator: dense correspondence of features, label transfer by learnt keys, and a small mask decoder."""
