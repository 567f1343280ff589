"""Where a newcomer begins, in a folder without an index: the demo, a collection of one's own, an index elsewhere.

Only what lies in the folder in which the app was started is offered: whoever sees the page opens nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path

import streamlit as st

import sst_retrieval as sst
from sst_app import build_process, command_line, url_state
from sst_app.markdown import escape_md, format_code

DEMO_FOLDER = Path("demo-drawer")
IN_ADDRESS = "open"
"""Name of what was opened, in the address of the page."""

DEPTH = 3
"""How many folders deep tables and indexes are looked for."""

MOST = 200
"""Largest number of folders that are looked into."""

TABLES = (".csv", ".tsv", ".parquet")
NOT_TABLES = ("requirements", "hits", "results")
"""Beginnings of the names of files that are no tables of a collection, whatever their suffix."""


def reopen() -> None:
    """Open what the address names, once a session: a reload, or a link. Only what the doors themselves offer."""
    if "opened" in st.session_state or command_line.read_arguments().index_or_table is not None:
        return
    wanted = st.query_params.get(IN_ADDRESS)
    offered = {str(place): place for places in find_places(Path()) for place in places} if wanted else {}
    if wanted and wanted not in offered:
        st.warning(
            f"The address of this page asks for {format_code(wanted)}, which is not here: it was renamed, moved or "
            "removed, or the app was started in another folder."
        )
    command_line.open_place(offered.get(wanted or ""))


def show() -> None:
    """Show the three doors."""
    if IN_ADDRESS in st.query_params:
        del st.query_params[IN_ADDRESS]
    tables, indexes = find_places(Path())
    st.subheader("Where do you want to begin?")
    demo, own, other = st.columns(3, gap="medium")
    with demo, st.container(border=True):
        st.markdown("**Look around first**")
        st.markdown(
            "A **synthetic museum drawer**: about a hundred insects that the program draws itself, to search at once. "
            f"It takes a few minutes and writes to {format_code(DEMO_FOLDER)}."
        )
        build_process.show_start_button("demo", "Build the demo drawer", ["demo", str(DEMO_FOLDER)])
    with own, st.container(border=True):
        st.markdown("**My own collection**")
        st.markdown("A table with a row a photograph. You draw the traits of one specimen a group; the program finds "
                    "them on all others.")  # fmt: skip
        _show_choice("Table", tables, "table")
        if not tables:
            st.caption("There is no table here. Of a folder of photographs, this writes one:")
            st.code("sst-retrieval init my_photographs", language="bash", wrap_lines=True)
    with other, st.container(border=True):
        st.markdown("**An index that is there**")
        st.markdown("Somebody has built one already, perhaps on another computer.")
        _show_choice("Index", indexes, "index")
        if not indexes:
            st.caption("There is none here. Start the app with the place of yours:")
            st.code("sst-retrieval app path/to/index", language="bash", wrap_lines=True)
    build_process.show_progress("demo")
    st.caption(f"Looked through: {escape_md(Path().resolve())} and the folders in it.")


def show_way_back() -> None:
    """Show a button in the side bar that goes back to the doors, if one of them was taken; keep that in the address."""
    opened = command_line.get_opened()
    url_state.put(IN_ADDRESS, *([] if opened is None else [str(opened)]))
    if opened is not None:
        st.sidebar.button("Open something else", icon=":material/arrow_back:", on_click=command_line.open_place,
                          args=(None,), type="tertiary")  # fmt: skip


def find_places(folder: Path) -> tuple[list[Path], list[Path]]:
    """Find the specimen tables and the indexes in a folder, as relative paths; hidden ones are left out.

    A folder with `meta.xml` is a Darwin Core Archive, and so a table.
    """
    tables: list[Path] = []
    indexes: list[Path] = []
    for number, (current, folders, names) in enumerate(os.walk(folder)):
        here = Path(current)
        if number == MOST:
            break
        folders[:] = sorted(name for name in folders if not name.startswith(".")) * (len(here.parts) < DEPTH)
        if sst.find_indexes(here).get(here.resolve().name) == here:
            indexes.append(here)
            folders[:] = []
        elif "meta.xml" in names:
            tables.append(here)
        else:
            tables += [
                here / name
                for name in sorted(names)
                if name.lower().endswith(TABLES) and not name.lower().startswith((".", *NOT_TABLES))
            ]
    return sorted(tables, key=lambda path: (path.stem != "collection", len(path.parts))), indexes


def _show_choice(label: str, places: list[Path], kind: str) -> None:
    """Show a choice of places and the button that opens the chosen one."""
    if not places:
        return
    names = {str(path): path for path in places}
    chosen = st.selectbox(label, list(names), key=f"door-{kind}", label_visibility="collapsed")
    st.button(f"Open this {kind}", key=f"open-{kind}", type="primary", help=escape_md(chosen),
              on_click=command_line.open_place, args=(names.get(chosen),))  # fmt: skip
