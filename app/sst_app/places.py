"""Where the supports of an index lie, and the command that builds it again."""

from __future__ import annotations

import shlex
from pathlib import Path

import streamlit as st

import sst_retrieval as sst
from sst_app import building, opening
from sst_app.building import Kind

NO_ORIGIN = "This index does not say where its supports lie; build it once more with sst-retrieval build."


def offer_build(
    *, groups: tuple[str, ...] = (), label: str = "Build now", key: str = "build", kind: Kind = "secondary"
) -> None:
    """Show the command that builds the index again, and a button that runs it.

    Args:
        groups: only these are propagated again; none means all.
        label: of the button.
        key: tells this button from others.
        kind: of the button.
    """
    words = sst.rebuild_command(opening.path(), groups=groups)
    st.code(shlex.join(words), language="bash", wrap_lines=True)
    doubt = _doubt(sst.origin_of(opening.path()))
    if doubt:
        st.caption(doubt)
        return
    building.offer(f"{key}-{opening.path().resolve()}", label, words[1:], kind=kind)


def support_folder() -> tuple[Path | None, str]:
    """Return where supports are written, and why nowhere if they are not."""
    named = opening.asked().supports
    if named:
        return named[0], ""
    try:
        origin = sst.origin_of(opening.path())
    except sst.IndexFolderError:
        return None, NO_ORIGIN
    if origin.supports.suffix.lower() == ".json":
        return None, (
            f"The supports of this index are in one file, {origin.supports}; make a folder of them, build with it, and "
            "they can be drawn here."
        )
    if not origin.there or not inside(origin.supports, origin.folder):
        return None, (
            f"The index says that its supports lie in {origin.supports}; that is outside the folder of its collection, "
            f"so nothing is written there. If that is right, start the app with: "
            f"--supports {shlex.quote(str(origin.supports))}"
        )
    return origin.supports, ""


def inside(path: Path, folder: Path) -> bool:
    """Say whether a path lies in a folder, all links followed."""
    return path.resolve().is_relative_to(folder.resolve())


def drawn_before(folder: Path | None, specimen: str) -> Path | None:
    """Return the label picture of a specimen, if there is one."""
    if folder is None or Path(specimen).name != specimen:
        return None
    path = folder / f"{specimen}.png"
    return path if path.is_file() and inside(path, folder) else None


def _doubt(origin: sst.Origin) -> str:
    """Say why the command is not run from here; "" if it is."""
    engines = {origin.settings.get("propagator", "dense"), origin.settings.get("embedder", "efficientnet")}
    if not engines <= {*sst.PROPAGATORS, *sst.EMBEDDERS}:
        return "It was built with a model of somebody's own; run the command yourself if you trust it."
    if not origin.there:
        return f"Its table is no longer at {origin.table}; run the command with the table's new place."
    agreed = opening.agreed()
    named = [origin.supports, *(Path(origin.settings[name]) for name in ("images",) if name in origin.settings)]
    named += [Path(value) for value in origin.models.values() if "/" in value or "\\" in value or value.endswith(".pt")]
    strange = [path for path in named if not any(inside(path, folder) for folder in agreed)]
    if strange:
        return (
            f"It reads {strange[0]}, which is outside the folder of the collection; run the command yourself, or start "
            "the app with --images or --supports and that folder."
        )
    return ""
