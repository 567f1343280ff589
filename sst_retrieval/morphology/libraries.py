"""Libraries that only this package needs, and what to do if one is missing."""

from __future__ import annotations

import importlib
from typing import Any

from sst_retrieval.errors import SSTError

_INSTALLED_AS = {"dendropy": "dendropy", "polars": "polars", "skbio": "scikit-bio"}


def required(module: str) -> Any:
    """Import a module of an optional library.

    Args:
        module: dotted name.

    Raises:
        SSTError: it is not installed; says how to get it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        name = _INSTALLED_AS[library]
        extra = name if library == "polars" else "'sst-retrieval[morphology]'"
        raise SSTError(f"this needs {name}, which is not installed; install it: pip install {extra}") from error
