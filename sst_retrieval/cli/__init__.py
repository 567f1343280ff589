"""The command line: parse, call, print. Every command wraps a function that Python can call as well."""

from sst_retrieval.cli.main import app, main

__all__ = ["app", "main"]
