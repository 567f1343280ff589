"""The command line: parse, call, print. Every command wraps a function that Python can call as well.

A module is named after the command that it defines (`app` in start_app.py); the others are shared: main.py (the list of
commands), lazy.py, options.py, dataclass_options.py, progress.py, hits.py, index_scores.py, search_text.py, checks.py.
"""

from sst_retrieval.cli.main import app, main

__all__ = ["app", "main"]
