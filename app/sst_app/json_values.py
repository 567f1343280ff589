"""Values that a browser can read: JSON has no NaN and no infinity."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

UNKNOWN = "not known"
"""A missing value, for people."""


def replace_gaps(value: Any) -> Any:
    """Replace NaN, infinity, NaT and NA by None, and numpy's values by Python's, at any depth.

    >>> replace_gaps({"a": [1.5, float("nan")], "b": (np.float32("inf"), pd.NaT)})
    {'a': [1.5, None], 'b': [None, None]}
    """
    if isinstance(value, Mapping):
        return {str(name): replace_gaps(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [replace_gaps(each) for each in value]
    if isinstance(value, np.ndarray):
        return replace_gaps(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None if value is pd.NaT or value is pd.NA else value


def to_json(value: Any) -> str:
    """Write a value as JSON that every browser reads."""
    return json.dumps(replace_gaps(value), allow_nan=False)


def is_missing(value: Any) -> bool:
    """Return whether a single value says nothing: None, "", NaN, NaT.

    >>> [is_missing(value) for value in (None, "", float("nan"), pd.NaT, 0, "nan")]
    [True, True, True, True, False, False]
    """
    return bool(pd.api.types.is_scalar(value) and pd.isna(value)) or (isinstance(value, str) and not value)


def format_values(values: pd.Series) -> pd.Series:
    """Format values as text, missing ones as UNKNOWN; whole numbers of a column with gaps stay whole."""
    whole = pd.api.types.is_float_dtype(values) and values.dropna().map(float.is_integer).all()
    return pd.Series(
        [UNKNOWN if is_missing(value) else str(int(value) if whole and math.isfinite(value) else value)
         for value in values.astype(object)],
        index=values.index, dtype=object,
    )  # fmt: skip
