"""The kinds of inputs that are fuzzed."""

from __future__ import annotations

import importlib
from functools import partial

from fuzzing.outcomes import Prepare

KINDS = ("photographs", "labels", "tables", "archives", "supports", "index_files")


def load_kind(name: str) -> Prepare:
    """Load a kind; here and not at the top, because each imports much."""
    module, _, fault = name.partition(":")
    prepare = importlib.import_module(f"fuzzing.{module}").prepare
    return partial(prepare, fault=fault) if fault else prepare  # type: ignore[no-any-return]
