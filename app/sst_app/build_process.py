"""Start `sst-retrieval` commands in a process of their own and show the end of their output."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import streamlit as st

from sst_app.markdown import escape_md
from sst_app.page_errors import show_errors

STAY = 60.0
"""Seconds for which a page says that a build is done; an error stays until somebody closes it."""

NEXT_PAGES = (
    ("search", "Search by a trait", ":material/search:"),
    ("review", "Review the least certain masks", ":material/fact_check:"),
    ("collection", "See what was found", ":material/inventory_2:"),
)
"""Page, label and sign of what can be done with a new index."""

Kind = Literal["primary", "secondary", "tertiary"]


@dataclass
class BuildProcess:
    """A running or finished process.

    Attributes:
        process: the process.
        log: file with its output.
        end_noticed: whether the page was run again after the end.
        end: when that was, by the monotonic clock.
    """

    process: subprocess.Popen[bytes]
    log: Path
    end_noticed: bool = False
    end: float = 0.0

    def tail(self, lines: int = 6) -> str:
        """Return the last lines of the output."""
        text = self.log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
        return "\n".join(text.strip().splitlines()[-lines:])


@st.cache_resource
def _get_processes() -> dict[str, BuildProcess]:
    return {}


def show_start_button(key: str, label: str, words: Sequence[str], *, kind: Kind = "primary") -> None:
    """Show a button that starts `sst-retrieval ...` in a process of its own; `show_progress` shows its output.

    Args:
        key: name of the process; all sessions share it.
        label: label of the button.
        words: arguments of `sst-retrieval`.
        kind: type of the button.
    """
    st.button(
        escape_md(label), key=f"start-{key}-{label}", type=kind, disabled=is_running(key), on_click=_start_if_idle,
        args=(key, tuple(words)), help="A build is at work." if is_running(key) else None,
    )  # fmt: skip


def is_running(key: str) -> bool:
    """Return whether the process of a key is running."""
    work = _get_processes().get(key)
    return work is not None and work.process.poll() is None


def show_progress(key: str) -> None:
    """Show the output of the process of a key; nothing if there is none."""
    if key in _get_processes():
        _show_progress(key)


def show_next_step(keys: Sequence[str]) -> None:
    """Show that a first build is done, and the pages on which to go on; for a while, or until somebody closes it."""
    for key in keys:
        work = _get_processes().get(key)
        if work is None or work.process.poll() != 0:
            continue
        work.end = work.end or time.monotonic()
        if time.monotonic() - work.end > STAY:
            _forget(key)
            continue
        with st.container(border=True, horizontal=True, vertical_alignment="center", key="next-step"):
            st.markdown("**The index is built.** Next:", width="content")
            for page, label, icon in NEXT_PAGES:
                st.page_link(f"sst_app/pages/{page}.py", label=label, icon=icon, width="content")
            st.button("Close", key=f"close-next-{key}", type="tertiary", on_click=_forget, args=(key,))


def _start_if_idle(key: str, words: tuple[str, ...]) -> None:
    with show_errors():
        if not is_running(key):
            _get_processes()[key] = _start(words)


def _forget(key: str) -> None:
    _get_processes().pop(key, None)


def _start(words: Sequence[str]) -> BuildProcess:
    log = Path(tempfile.mkstemp(prefix="sst-retrieval-", suffix=".log")[1])
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sst_retrieval", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return BuildProcess(process, log)


@st.fragment(run_every=2)
@show_errors()
def _show_progress(key: str) -> None:
    work = _get_processes().get(key)
    if work is None:
        return
    code = work.process.poll()
    with st.container(border=True):
        if code is None:
            st.caption("**A build is at work.** You can go on meanwhile: what you see changes when it is done.")
        elif code == 0:
            st.success(
                "The build is done. **Search** compares what was found; **Review** shows the least certain masks first."
            )
        else:
            st.error("The build stopped with an error; what was done is kept. These lines say why:")
        st.code(work.tail() or "starting", language=None, wrap_lines=True)
        if code is not None:
            st.button("Close", key=f"close-{key}", on_click=_forget, args=(key,))
    if code == 0 and not work.end_noticed:
        work.end_noticed = True
        work.end = time.monotonic()
        st.rerun(scope="app")
    if code == 0 and time.monotonic() - work.end > STAY:
        _forget(key)
        st.rerun(scope="app")
