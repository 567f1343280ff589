"""What made an index: programs and their versions, computer, time. Kept with every generation."""

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
    """Say what runs here: versions of packages, Python, system; nothing that tells one computer from another."""
    found = {}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return {"versions": found, "python": platform.python_version(), "platform": platform.platform()}


def now() -> str:
    """Return the time, in universal time, to the second, as text (ISO 8601)."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def peak_memory() -> int:
    """Return the most memory that this process ever held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts kilobytes.
