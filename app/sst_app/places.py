"""Where the supports of an index lie, and the command that builds it again."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import streamlit as st

import sst_retrieval as sst
from sst_app import building


def offer_build(info: dict[str, Any]) -> None:
    """Show the command that builds the index again, and a button that runs it."""
    words = sst.rebuild_command(info["provenance"], str(info["path"]))
    st.code(shlex.join(words), language="bash", wrap_lines=True)
    engines = {words[words.index(f"--{role}") + 1] for role in ("propagator", "embedder") if f"--{role}" in words}
    if not engines <= {*sst.PROPAGATORS, *sst.EMBEDDERS}:
        st.caption("It was built with a model of somebody's own; run the command yourself if you trust it.")
        return
    building.offer(f"build-{info['path']}", "Build now", words[1:], kind="secondary")


def support_folder(info: dict[str, Any]) -> Path | None:
    """Return where the supports of an index lie, or None if it is not known or not a folder."""
    provenance = info["provenance"]
    start, folder = provenance.get("folder"), provenance.get("supports_folder")
    if not isinstance(start, str) or not isinstance(folder, str):
        return None
    path = Path(start) / folder
    return path if path.is_dir() else None
