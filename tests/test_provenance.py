"""What an index was made by; nothing here may need a system other than the one it runs on."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from sst_retrieval import provenance

UNIX_ONLY = ("fcntl", "grp", "posix", "pwd", "resource", "syslog", "termios", "tty", "pty")


def test_peak_memory_is_that_of_this_process() -> None:
    block = bytearray(50_000_000)
    assert 2**40 > provenance.peak_memory() > len(block)


def test_on_windows_the_peak_comes_from_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    class Query:
        argtypes: Any = None
        answer = 1

        def __call__(self, process: int, counters: Any, size: int) -> int:
            assert (process, size) == (-1, ctypes.sizeof(provenance._MemoryCounters))
            counters._obj.PeakWorkingSetSize = 123_456_789
            return self.answer

    query = Query()
    current = type("Current", (), {"__call__": lambda self: -1, "restype": None})()
    kernel = SimpleNamespace(GetCurrentProcess=current, K32GetProcessMemoryInfo=query)
    monkeypatch.setattr(ctypes, "WinDLL", lambda name, use_last_error: kernel, raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    assert provenance.peak_memory() == 123_456_789
    query.answer = 0
    with pytest.raises(OSError, match="Windows does not say"):
        provenance.peak_memory()


def test_nothing_unix_only_is_imported_by_our_own_modules() -> None:
    """As on Windows, where these modules do not exist: every module of ours is imported without them."""
    code = f"""
import builtins, importlib, pkgutil, sys
real = builtins.__import__
def refuse(name, globals=None, locals=None, fromlist=(), level=0):
    if name in {UNIX_ONLY} and (globals or {{}}).get("__name__", "").startswith("sst_retrieval"):
        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
    return real(name, globals, locals, fromlist, level)
builtins.__import__ = refuse
import sst_retrieval
names = [each.name for each in pkgutil.walk_packages(sst_retrieval.__path__, "sst_retrieval.")]
wrong = []
for name in names:
    if name.endswith("__main__"):
        continue
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in {UNIX_ONLY}:
            wrong.append((name, error.name))
print(len(names) > 150, wrong)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"
