"""Adapters to the models. Nothing outside this folder imports torch."""
