"""The index that the app shows: which one it is, and cached data read from it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import streamlit as st

import sst_retrieval as sst
from sst_app import captions, doors, filters, heap
from sst_app.command_line import Arguments, get_opened, read_arguments
from sst_app.filters import Facet
from sst_app.markdown import escape_md, format_code


def get_allowed_folders() -> tuple[Path, ...]:
    """Return the folders that may be read: the collection's, and those of --images and --supports."""
    return _find_allowed_folders(str(get_path().resolve()), _read_state(get_path()), read_arguments())


@st.cache_data(max_entries=16, show_spinner=False)
def _find_allowed_folders(folder: str, state: tuple[int, ...], arguments: Arguments) -> tuple[Path, ...]:
    named = (*arguments.images, *arguments.supports)
    try:
        origin = sst.origin_of(folder)
    except sst.IndexFolderError:
        return named  # An old index has no origin.
    return (*((origin.folder,) if origin.there else ()), *named)


def list_indexes() -> dict[str, Path]:
    """Return the indexes to choose from, name -> path; no other index is opened."""
    named = read_arguments().index_or_table
    if named is not None and is_table(named):
        made = get_output_folder(named)
        return {made.name: made} if made.is_dir() and _has_generation(made) else {}
    if named is not None:
        return sst.find_indexes(named)
    demo = doors.DEMO_FOLDER / "index"
    return {
        **sst.find_indexes("indexes"),
        **({doors.DEMO_FOLDER.name: demo} if sst.find_indexes(demo) else {}),
    }


def is_table(path: Path) -> bool:
    """Return whether a path is a specimen table, not an index or a folder of indexes."""
    return path.is_file() or (path / "meta.xml").is_file()


def get_unindexed_table() -> Path | None:
    """Return the specimen table of the command line if it has no index yet, else None."""
    table = read_arguments().index_or_table
    return table if table is not None and is_table(table) and not list_indexes() else None


def get_output_folder(table: Path) -> Path:
    """Return where the index of a table is built: in `indexes/`, under the name of the table's folder."""
    place = table.resolve()
    name = place.parent.name or place.stem
    for candidate in (name, f"{name}-{place.stem}"):
        made = Path("indexes") / candidate
        if not made.exists() or _is_index_of(made, place):
            return made
    raise sst.IndexFolderError(
        f"indexes/{name} and indexes/{name}-{place.stem} are of other tables; build with a name of your own: "
        f"sst-retrieval build {table} --supports FOLDER --output indexes/NAME"
    )


def _is_index_of(index: Path, table: Path) -> bool:
    """Return whether an index is made from a table, or has no generation yet."""
    try:
        return not _has_generation(index) or sst.origin_of(index).table.resolve() == table
    except sst.IndexFolderError:
        return False


def _has_generation(index: Path) -> bool:
    return bool(sst.find_indexes(index)) and sst.index_state(index)[0] > 0


def show_index_choice() -> None:
    """Show a choice of indexes in the side bar if there are several; without any, explain how to build one."""
    known = list_indexes()
    if get_unindexed_table() is not None:
        return
    if not known:
        _show_no_index()
    _ask_if_gone(known)
    if len(known) > 1:
        shown = st.session_state.get("index-shown")
        if shown in known and "index" not in st.session_state:
            st.session_state["index"] = shown  # Another one has come since.
        st.sidebar.selectbox("Index", list(known), key="index", bind="query-params")
    st.session_state["index-shown"] = st.session_state.get("index") or next(iter(known))


def _ask_if_gone(known: dict[str, Path]) -> None:
    """Ask for another index, and stop the page, if the chosen one, or that of a link, is not there.

    To show another one instead would be to guess: what is decided about a mask of one would go into the other.
    """
    # What a door has opened is one index, whatever the address says of several.
    linked = st.query_params.get("index") if get_opened() is None else None
    chosen, gone = st.session_state.get("index"), st.session_state.get("index-gone")
    wanted = chosen or gone or linked or st.session_state.get("index-shown")
    if wanted is None or wanted in known:
        if gone is not None and chosen is None:
            st.session_state["index"] = wanted  # It is back.
        st.session_state.pop("index-gone", None)
        return
    st.session_state["index-gone"] = wanted
    st.warning(
        f"There is no index {escape_md(repr(wanted))} here: it was renamed, moved or removed, or its first build is "
        "not done."
    )
    # Links, not widgets: each begins anew, with the index in its address.
    links = (f'<li><a href="?index={quote(name)}" target="_self">{escape(name)}</a></li>' for name in known)
    st.html(f"Go on with another one:<ul>{''.join(links)}</ul>")
    st.stop()


def get_path() -> Path:
    """Return the folder of the chosen index.

    Raises:
        IndexFolderError: it is not there any more. A callback comes here before the page can ask for another one.
    """
    known = list_indexes()
    state = st.session_state
    name = state.get("index") or state.get("index-gone") or state.get("index-shown")
    if name in known:
        return known[name]
    if name is not None or not known:
        named = "the index" if name is None else f"the index {name}"
        raise sst.IndexFolderError(f"{named} is no longer there; nothing was changed")
    return next(iter(known.values()))


def get_name() -> str:
    """Return a short name of what the app shows, for the browser's tab: that of the index or of the table."""
    table = get_unindexed_table()
    path = (get_path() if table is None else table).resolve()
    return path.parent.name if path.name in ("index", "collection.csv") else path.name


def get_index() -> sst.Index:
    """Return the chosen index, reopened after a build or a review has changed it."""
    path = get_path()
    folder, state = str(path.resolve()), _read_state(path)
    opened = _get_opened().get(folder)
    # A page asks some sixty times a run.
    return opened[0] if opened is not None and opened[1] == state else _open(folder, state, get_allowed_folders())


def _read_state(path: Path) -> tuple[int, ...]:
    """Return what changes with every build and review, and if another index lies in the same place."""
    known = _get_states()
    files = tuple(map(_identify, (path / "manifest.json", path / "reviews" / "decisions.jsonl")))
    before = known.get(path)
    # The manifest is only read again if a file of it is another one.
    if before is None or None in files[:1] or before[0] != files or _identify_catalog(path, before[1]) != before[1][2:]:
        state = sst.index_state(path)
        before = known[path] = files, (*state, *_identify_catalog(path, state))
    return before[1]


def _identify_catalog(path: Path, state: tuple[int, ...]) -> tuple[int, ...]:
    """Identify the files of a generation: an index that was removed and built anew is of generation 1 again."""
    found = _identify(path / "generations" / f"{state[0]:04d}" / "catalog.duckdb")
    return () if found is None else found[:2]


def _identify(file: Path) -> tuple[int, int, int] | None:
    """Return what changes whenever a file is written or replaced; None if there is none."""
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


@functools.cache
def _get_states() -> dict[Path, tuple[tuple[tuple[int, int, int] | None, ...], tuple[int, ...]]]:
    """Return what was read last of each index: what identified its files then, and its state."""
    return {}


def get_cache_key(index: sst.Index) -> tuple[str, tuple[int, ...]]:
    """Return the cache key of data of an index: its folder and state."""
    path = get_path()
    return str(path.resolve()), (*index.state, *_read_state(path)[2:])


def _get_index_and_key() -> tuple[sst.Index, str, tuple[int, ...]]:
    index = get_index()
    return index, *get_cache_key(index)


def _get_index_and_picture_key() -> tuple[sst.Index, str, tuple[int, ...]]:
    index = get_index()
    return index, *get_picture_key(index)


def get_picture_key(index: sst.Index) -> tuple[str, tuple[int, ...]]:
    """Return the cache key of what no review changes: specimens, photographs, small pictures, masks of the build."""
    folder, state = get_cache_key(index)
    return folder, (state[0], *state[2:])


def check_traits(index: sst.Index) -> bool:
    """Return whether an index has traits; show a message if it has none."""
    if not index.traits:
        st.info("This index holds no traits yet; when its build has found some, they appear here.")
    return bool(index.traits)


def get_table(trait: str | None = None) -> pd.DataFrame:
    """Return the table of regions (see `Index.table`), of one trait or of all."""
    return _add_reviews(*_get_index_and_key(), trait)


def get_facets(trait: str | None = None) -> dict[str, Facet]:
    """Return the columns to filter by, of one trait or of all: name -> facet."""
    return _find_facets(*_get_index_and_picture_key(), trait)


def has_own_group() -> bool:
    """Return whether the group is a column of the collection, so that it need not be offered a second time."""
    specimens = get_specimens()
    own = next((name for name in specimens if str(name).casefold() == filters.GROUP), None)
    return own is not None and bool((specimens[own].astype(str) == specimens["sst:group"]).all())


def get_specimens() -> pd.DataFrame:
    """Return the table of specimens, skipped ones included (see `make_specimen_table`)."""
    return _read_specimens(*_get_index_and_picture_key())


def get_photographs() -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """Return the table of photographs, as that of specimens, and the ids of the individuals on each."""
    return _read_photographs(*_get_index_and_picture_key())


def get_groups_of_many() -> frozenset[str]:
    """Return the groups whose photographs may show several individuals."""
    listed = get_info()["provenance"].get("individuals", {})
    return frozenset(str(group) for group, kind in listed.items() if kind == "many")


def get_affixes() -> tuple[str, str]:
    """Return what the ids of all specimens begin and end with, see `captions.find_affixes`."""
    return _find_affixes(*_get_index_and_picture_key())


def get_info() -> dict[str, Any]:
    """Return `Index.info`."""
    return _read_info(*_get_index_and_key())


def get_skipped() -> dict[str, str]:
    """Return the photographs that the build could not use: id -> why."""
    return _read_skipped(*_get_index_and_picture_key())


def get_notes() -> list[str]:
    """Return what the last build noted about the table, the supports and the photographs, a sentence each."""
    return [str(note) for note in get_info()["provenance"].get("notes", [])]


def count_nouns() -> dict[str, int]:
    """Return how many specimens there are, and where they are not the same, photographs and individuals; in this order.

    Traits are found on what the last of them names.
    """
    info = get_info()
    return {noun: int(info[noun]) for noun in ("specimens", "photographs", "individuals") if noun in info}


def get_size() -> int:
    """Return the size of the index on disk, in bytes."""
    return _measure_size(*_get_index_and_key())


@st.cache_resource(max_entries=4, show_spinner="Opening the index")
def _open(folder: str, state: tuple[int, ...], folders: tuple[Path, ...]) -> sst.Index:
    before, stamp = _get_opened().pop(folder, None), state[2:]
    if before is not None and before[0].state == state[:2] and before[1][2:] == stamp:
        _get_opened()[folder] = before[0], state  # It has taken the review itself; nothing is to be read again.
        return before[0]
    if before is not None and before[1][0] == state[0] and before[1][2:] != stamp:
        before[0].close()  # DuckDB would go on showing the removed file under the name of the new one.
    heap.release()
    opened = sst.open_index(folder, reach=sst.Reach(folders))
    _get_opened()[folder] = opened, state
    return opened


@functools.cache
def _get_opened() -> dict[str, tuple[sst.Index, tuple[int, ...]]]:
    """Return the index of each folder that was opened last, and its state."""
    return {}


@st.cache_resource(max_entries=16, show_spinner=False)
def _read_table(_index: sst.Index, folder: str, state: tuple[int, ...], trait: str | None) -> pd.DataFrame:
    """Read the table of regions, with sst:review empty; `state` is that of `get_picture_key`."""
    frame: pd.DataFrame = _index.table(trait)
    frame["sst:review"] = ""
    return convert_to_categories(frame)


@st.cache_resource(max_entries=16, show_spinner=False)
def _add_reviews(_index: sst.Index, folder: str, state: tuple[int, ...], trait: str | None) -> pd.DataFrame:
    """Add the decisions to a table of regions, which is not read again for them."""
    table = _read_table(_index, *get_picture_key(_index), trait)
    statuses = _index.catalog.region_reviews.statuses(table["sst:region"].to_numpy())
    return table.assign(**{"sst:review": pd.Categorical(statuses)})


def convert_to_categories(table: pd.DataFrame) -> pd.DataFrame:
    """Convert text columns with repeated values to categories, for faster counting and filtering."""
    words = [
        name
        for name in table
        if table[name].dtype in (object, "str") and name not in ("sst:specimen", "sst:individual")
    ]
    few = [name for name in words if table[name].nunique() * 2 < len(table)]
    return table.astype(dict.fromkeys(few, "category"))


@st.cache_resource(max_entries=16, show_spinner=False)
def _find_facets(_index: sst.Index, folder: str, state: tuple[int, ...], trait: str | None) -> dict[str, Facet]:
    found = filters.find_facets(_read_table(_index, folder, state, trait), _index.columns)
    return {facet.column: facet for facet in found}


@st.cache_resource(max_entries=4, show_spinner=False)
def _read_specimens(_index: sst.Index, folder: str, state: tuple[int, ...]) -> pd.DataFrame:
    return make_specimen_table(_index.individuals())


def make_specimen_table(rows: Sequence[sst.Individual | sst.Photograph]) -> pd.DataFrame:
    """Make a table, one row per specimen: sst:specimen, sst:group, sst:search (all its text), then its own columns."""
    frame = pd.DataFrame([{"sst:specimen": row.id, "sst:group": row.group, **row.metadata} for row in rows])
    words = pd.Series("", index=frame.index, dtype=object)
    for column in frame:
        words += " " + frame[column].astype(object).where(frame[column].notna(), "").astype(str)
    frame["sst:search"] = words.astype(str).map(captions.fold)
    return frame


@st.cache_resource(max_entries=4, show_spinner=False)
def _read_skipped(_index: sst.Index, folder: str, state: tuple[int, ...]) -> dict[str, str]:
    return {row.photograph: row.reason for row in _index.skipped()}


@st.cache_resource(max_entries=4, show_spinner=False)
def _read_photographs(
    _index: sst.Index, folder: str, state: tuple[int, ...]
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    on: dict[str, list[str]] = {}
    for individual in _index.individuals():
        on.setdefault(individual.photograph.id, []).append(individual.id)
    return make_specimen_table(_index.photographs()), on


@st.cache_resource(max_entries=4, show_spinner=False)
def _find_affixes(_index: sst.Index, folder: str, state: tuple[int, ...]) -> tuple[str, str]:
    return captions.find_affixes(_read_specimens(_index, folder, state)["sst:specimen"].tolist())


@st.cache_resource(max_entries=4, show_spinner=False)
def _read_info(_index: sst.Index, folder: str, state: tuple[int, ...]) -> dict[str, Any]:
    return _index.info()


@st.cache_resource(max_entries=4, show_spinner=False)
def _measure_size(_index: sst.Index, folder: str, state: tuple[int, ...]) -> int:
    return _index.size()


def _show_no_index() -> None:
    """Show how to begin without an index, and stop the page."""
    named = read_arguments().index_or_table
    if named is None:
        doors.show()
        st.stop()
    doors.show_way_back()
    if named.exists():
        st.subheader("No index yet")
        st.error(f"{format_code(named)} is not an index, nor a folder that holds some.")
        st.markdown("Check the path, or make an index of your photographs:")
    else:
        st.subheader("Nothing is there")
        st.error(
            f"There is no file or folder {format_code(named)}: it was renamed, moved or removed, or its disk is not "
            "connected. Load this page again when it is back."
        )
        st.markdown("An index of your photographs is made so:")
    st.code("sst-retrieval build my_collection/collection.csv --supports my_collection/supports "
            "--output indexes/my_collection", language="bash")  # fmt: skip
    st.stop()
