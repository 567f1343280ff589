"""A build beside the app: started in a process of its own, its last lines shown while it works."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import streamlit as st

Kind = Literal["primary", "secondary", "tertiary"]


@dataclass
class Work:
    """A process that was started here, and the file it writes to."""

    process: subprocess.Popen[bytes]
    log: Path

    def tail(self, lines: int = 6) -> str:
        """Return the last lines that were written."""
        text = self.log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
        return "\n".join(text.strip().splitlines()[-lines:])


@st.cache_resource
def _works() -> dict[str, Work]:
    return {}


def offer(key: str, label: str, words: Sequence[str], *, kind: Kind = "primary") -> None:
    """Show a button that starts `sst-retrieval ...`, and what the process says once it was pressed.

    Args:
        key: one process a key; it is shared by all who look.
        label: of the button.
        words: behind `sst-retrieval`.
        kind: of the button.
    """
    work = _works().get(key)
    running = work is not None and work.process.poll() is None
    if st.button(label, key=f"start-{key}", type=kind, disabled=running) and not running:
        _works()[key] = _start(words)
    if key in _works():
        _progress(key)


def _start(words: Sequence[str]) -> Work:
    log = Path(tempfile.mkstemp(prefix="sst-retrieval-", suffix=".log")[1])
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sst_retrieval", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return Work(process, log)


@st.fragment(run_every=2)
def _progress(key: str) -> None:
    work = _works().get(key)
    if work is None:
        return
    code = work.process.poll()
    st.code(work.tail() or "starting", language=None)
    if code is None:
        st.caption("At work. You can go on meanwhile: what you see changes when the build is done.")
        return
    del _works()[key]
    if code == 0:
        st.success("Done.")
        st.rerun(scope="app")
    st.error("It stopped with an error; what was done is kept. The lines above say why.")
