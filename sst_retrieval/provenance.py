"""What an index was made by: versions of programs, platform, time, memory. Stored with every generation."""

from __future__ import annotations

import ctypes
import datetime
import importlib.metadata
import platform
import sys
from contextlib import suppress
from typing import Any

PACKAGES = (
    *("sst-retrieval", "numpy", "pillow", "scikit-image", "scipy", "pycocotools", "pyefd", "torch", "sam2"),
    *("faiss-cpu", "faiss-gpu", "duckdb", "pyarrow", "openvino"),
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
    if sys.platform == "win32":
        return _peak_working_set()
    import resource  # Here: Windows has no such module.

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts kilobytes.


class _MemoryCounters(ctypes.Structure):
    """Windows' PROCESS_MEMORY_COUNTERS (psapi.h)."""

    _fields_ = (
        *(("cb", ctypes.c_uint32), ("PageFaultCount", ctypes.c_uint32)),
        *(("PeakWorkingSetSize", ctypes.c_size_t), ("WorkingSetSize", ctypes.c_size_t)),
        *(("QuotaPeakPagedPoolUsage", ctypes.c_size_t), ("QuotaPagedPoolUsage", ctypes.c_size_t)),
        *(("QuotaPeakNonPagedPoolUsage", ctypes.c_size_t), ("QuotaNonPagedPoolUsage", ctypes.c_size_t)),
        *(("PagefileUsage", ctypes.c_size_t), ("PeakPagefileUsage", ctypes.c_size_t)),
    )


def _peak_working_set() -> int:
    """Ask Windows for the peak resident memory of this process, in bytes.

    Raises:
        OSError: Windows does not say it.
    """
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined,unused-ignore]
    counters = _MemoryCounters(cb=ctypes.sizeof(_MemoryCounters))
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    kernel.K32GetProcessMemoryInfo.argtypes = (ctypes.c_void_p, ctypes.POINTER(_MemoryCounters), ctypes.c_uint32)
    if not kernel.K32GetProcessMemoryInfo(kernel.GetCurrentProcess(), ctypes.byref(counters), counters.cb):
        raise OSError("Windows does not say how much memory this process took (K32GetProcessMemoryInfo failed)")
    return int(counters.PeakWorkingSetSize)
