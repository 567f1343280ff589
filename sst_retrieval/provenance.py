"""What an index was made by: versions of programs, platform, time, memory. Stored with every generation."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import resource
import sys
from contextlib import suppress
from typing import Any

PACKAGES = (
    *("sst-retrieval", "numpy", "pillow", "scikit-image", "scipy", "pycocotools", "pyefd", "torch", "timm", "sam2"),
    *("faiss-cpu", "faiss-gpu", "duckdb", "pyarrow"),
)
"""Packages whose versions may change a result. Those that are not installed are left out; one FAISS never is."""


def programs() -> dict[str, Any]:
    """Collect the versions of packages, Python and system; nothing that identifies the computer."""
    found = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return {"versions": found, "python": platform.python_version(), "platform": platform.platform()}


def now() -> str:
    """Return the current time in UTC, to the second, as text (ISO 8601)."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts kilobytes.
