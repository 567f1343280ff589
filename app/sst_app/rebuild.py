"""Rebuild an index: its folder of supports, new supports in it, and the command that builds it again."""

from __future__ import annotations

import shlex
from collections.abc import Container
from pathlib import Path

import streamlit as st

import sst_retrieval as sst
from sst_app import build_process, command_line, current_index
from sst_app.build_process import Kind
from sst_app.markdown import escape_md

NO_ORIGIN = "This index does not say where its supports lie; build it once more with sst-retrieval build."


def show_rebuild(*, groups: tuple[str, ...] = (), label: str = "Build now", kind: Kind = "secondary") -> None:
    """Show the command that builds the index again, and a button that runs it.

    Args:
        groups: groups to propagate again; none means all.
        label: label of the button.
        kind: type of the button.
    """
    try:
        words = sst.rebuild_command(current_index.get_path(), groups=groups)
    except sst.IndexFolderError:
        st.caption(NO_ORIGIN)
        return
    st.code(shlex.join(words), language="bash", wrap_lines=True)
    obstacle = _find_obstacle(sst.origin_of(current_index.get_path()))
    if obstacle:
        st.caption(escape_md(obstacle))
    else:
        build_process.show_start_button(_get_key(), label, words[1:], kind=kind)


def show_progress() -> None:
    """Show the output of a build of this index that was started from the app."""
    build_process.show_progress(_get_key())


def show_new_supports(index: sst.Index, *, kind: Kind = "secondary") -> None:
    """Show supports that the index was not built with, and a button that propagates their groups again."""
    folder, _ = find_support_folder()
    fresh = find_new_supports(index, folder)
    if not fresh:
        return
    groups = tuple(sorted(fresh))
    named = "; ".join(
        f"**{escape_md(group)}**: {escape_md(', '.join(names))}" for group, names in sorted(fresh.items())
    )
    st.markdown(f"Supports that the index does not know yet: {named}")
    what = groups[0] if len(groups) == 1 else f"{len(groups)} groups"
    show_rebuild(groups=groups, label=f"Propagate {what} again", kind=kind)


def find_new_supports(index: sst.Index, folder: Path | None) -> dict[str, list[str]]:
    """Find the supports that were drawn since the index was built: group -> specimens."""
    used = {str(each["specimen"]) for each in index.info()["provenance"].get("supports", [])}
    photographs, on = current_index.get_photographs()
    known = photographs.set_index("sst:specimen")["sst:group"]
    drawn = list_drawn(folder, known.index)
    saved: set[tuple[str, str, int]] = st.session_state.get("saved", set())
    path = str(current_index.get_path().resolve())
    fresh: dict[str, list[str]] = {}
    for name in drawn:
        new = used.isdisjoint([name, *on.get(name, [])])
        if new or (path, name, index.state[0]) in saved:
            fresh.setdefault(str(known[name]), []).append(name)
    return fresh


def mark_saved(index: sst.Index, specimen: str) -> None:
    """Mark a support as saved in this session, since it may replace one that the index was built with."""
    path = str(current_index.get_path().resolve())
    st.session_state.setdefault("saved", set()).add((path, specimen, index.state[0]))


def _get_key() -> str:
    return f"build-{current_index.get_path().resolve()}"


def find_support_folder() -> tuple[Path | None, str]:
    """Return the folder that supports are written to, or None and the reason."""
    named = command_line.read_arguments().supports
    if named:
        return named[0], ""
    try:
        origin = sst.origin_of(current_index.get_path())
    except sst.IndexFolderError:
        return None, NO_ORIGIN
    one_file = (
        f"The supports of this index are in one file, {origin.supports}; make a folder of them, build with it, and "
        "they can be drawn here."
    )
    if origin.supports.suffix.lower() == ".json":
        return None, one_file
    if not origin.there or not is_inside(origin.supports, origin.folder):
        return None, (
            f"The index says that its supports lie in {origin.supports}; that is outside the folder of its collection, "
            f"so nothing is written there. If that is right, start the app with: "
            f"--supports {shlex.quote(str(origin.supports))}"
        )
    if origin.supports.is_file():
        return None, one_file
    if not origin.supports.is_dir():
        # Made anew, it would hold one support, and the next build would find no trait of any other group.
        return None, (
            f"The folder of this index's supports, {origin.supports}, is not there: it was renamed, moved or removed. "
            "Put it back, or start the app with --supports and where it is now."
        )
    return origin.supports, ""


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path is inside a folder, with all links resolved."""
    return path.resolve().is_relative_to(folder.resolve())


def find_label_picture(folder: Path | None, specimen: str) -> Path | None:
    """Return the path of a specimen's label picture, if it exists."""
    if folder is None:
        return None
    path = sst.find_label_picture(folder, specimen)
    return path if path is not None and is_inside(path, folder) else None


def list_drawn(folder: Path | None, known: Container[str]) -> list[str]:
    """List the specimens whose label pictures lie in a folder.

    Args:
        folder: of the supports; None has none.
        known: ids of all specimens.
    """
    paths = sorted(folder.glob("[!.]*.png")) if folder is not None and folder.is_dir() else []
    named = ((path.stem, sst.read_label_picture_name(path)) for path in paths)
    return list(dict.fromkeys(name for names in named for name in names if name in known))


def read_file_state(path: Path | None) -> tuple[int, int, int] | None:
    """Return what changes when a file is written again; None if there is no file."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return None if found is None else (found.st_ino, found.st_mtime_ns, found.st_size)


def _find_obstacle(origin: sst.Origin) -> str:
    """Return why the app does not run the command itself; "" if it may."""
    engines = {origin.settings.get("propagator", "dense"), origin.settings.get("embedder", "efficientnet")}
    finder = origin.settings.get("finder")
    if not engines <= {*sst.PROPAGATORS, *sst.EMBEDDERS} or not (finder is None or finder in sst.FINDERS):
        return "It was built with a model of somebody's own; run the command yourself if you trust it."
    if not origin.there:
        return f"Its table is no longer at {origin.table}; run the command with the table's new place."
    allowed = current_index.get_allowed_folders()
    named = [origin.supports, *(Path(origin.settings[name]) for name in ("images",) if name in origin.settings)]
    # A trunk is timm:NAME or timm:NAME@FILE, outlines are mobile_sam or mobile_sam@FILE; any file is absolute by now.
    files = [value.partition("@")[2] if option == "trunk" else value for option, value in origin.models]
    files.append(origin.settings.get("outlines", "").partition("@")[2])
    named += [Path(file) for file in files if "/" in file or "\\" in file or file.endswith(".pt")]
    outside = [path for path in named if not any(is_inside(path, folder) for folder in allowed)]
    if outside:
        return (
            f"It reads {outside[0]}, which is outside the folder of the collection; run the command yourself, or start "
            "the app with --images or --supports and that folder."
        )
    return ""
