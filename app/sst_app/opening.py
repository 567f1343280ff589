"""Which index is looked at, and what is kept of it between two clicks."""

from __future__ import annotations

import argparse
import functools
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

import sst_retrieval as sst
from sst_app import filters
from sst_app.filters import Facet
from sst_app.markdown import code, plain

HERE = Path(__file__).parent
DEMO = Path("demo-drawer")
LOG = logging.getLogger("sst_app")


@dataclass(frozen=True)
class Asked:
    """What stands behind `--` on the command line.

    Attributes:
        what: an index, a folder of indexes, or a specimen table; None if nothing was named.
        images: folders that photographs may be read from, besides those of the collection itself.
        supports: folders that supports may be written to, besides those in the collection's folder.
        clip_model, clip_pretrained: the model of an OpenCLIP index, if not as it was built.
    """

    what: Path | None
    images: tuple[Path, ...]
    supports: tuple[Path, ...]
    clip_model: str | None = None
    clip_pretrained: str | None = None


def asked() -> Asked:
    """Return what stands on the command line."""
    return _read(tuple(sys.argv[1:]))


@functools.cache
def _read(words: tuple[str, ...]) -> Asked:
    reader = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    reader.add_argument("what", nargs="?", type=Path)
    reader.add_argument("--images", action="append", type=Path, default=[])
    reader.add_argument("--supports", action="append", type=Path, default=[])
    reader.add_argument("--clip-model")
    reader.add_argument("--clip-pretrained")
    found, _ = reader.parse_known_args(words)
    return Asked(found.what, tuple(found.images), tuple(found.supports), found.clip_model, found.clip_pretrained)


def asked_for() -> Path | None:
    """Return the index, the folder of indexes, or the table that was named on the command line."""
    return asked().what


def agreed() -> tuple[Path, ...]:
    """Return the folders that may be read: the collection's own, where its table lies, and those that were named."""
    return _agreed(str(path().resolve()), sst.index_state(path()), asked())


@st.cache_data(max_entries=16, show_spinner=False)
def _agreed(folder: str, state: tuple[int, int], said: Asked) -> tuple[Path, ...]:
    named = (*said.images, *said.supports)
    try:
        origin = sst.origin_of(folder)
    except sst.IndexFolderError:
        return named  # An old index says nothing of its origin.
    return (*((origin.folder,) if origin.there else ()), *named)


def offered() -> dict[str, Path]:
    """Return the indexes that may be looked at, name -> path; no other is ever opened."""
    asked = asked_for()
    if asked is not None and is_table(asked):
        made = output_of(asked)
        return {made.name: made} if made.is_dir() and _committed(made) else {}
    if asked is not None:
        return sst.find_indexes(asked)
    return {**sst.find_indexes("indexes"), **({DEMO.name: DEMO / "index"} if sst.find_indexes(DEMO / "index") else {})}


def is_table(path: Path) -> bool:
    """Tell a specimen table from an index or a folder of indexes."""
    return path.is_file() or (path / "meta.xml").is_file()


def bare_table() -> Path | None:
    """Return the specimen table that was named, as long as it has no index."""
    table = asked_for()
    return table if table is not None and is_table(table) and not offered() else None


def output_of(table: Path) -> Path:
    """Return the index of a table that was named: in `indexes/`, under the name of the table's folder."""
    place = table.resolve()
    name = place.parent.name or place.stem
    for candidate in (name, f"{name}-{place.stem}"):
        made = Path("indexes") / candidate
        if not made.exists() or _is_of(made, place):
            return made
    raise sst.IndexFolderError(
        f"indexes/{name} and indexes/{name}-{place.stem} are of other tables; build with a name of your own: "
        f"sst-retrieval build {table} --supports FOLDER --output indexes/NAME"
    )


def _is_of(index: Path, table: Path) -> bool:
    """Say whether an index is made from a table, or not made from anything yet."""
    try:
        return not _committed(index) or sst.origin_of(index).table.resolve() == table
    except sst.IndexFolderError:
        return False


def _committed(index: Path) -> bool:
    return bool(sst.find_indexes(index)) and sst.index_state(index)[0] > 0


def choose() -> None:
    """Offer the indexes in the side bar, if there are several; without any, say what to do."""
    known = offered()
    if bare_table() is not None:
        return
    if not known:
        _nothing()
    if len(known) > 1:
        st.sidebar.selectbox("Index", list(known), key="index", bind="query-params")


@contextmanager
def explained() -> Iterator[None]:
    """Show what is wrong as a sentence; the program's own mistakes keep their traceback, in the terminal."""
    try:
        yield
    except sst.SSTError as error:
        st.error(plain(error), icon=":material/error:")
    except MemoryError:
        st.error("This does not fit into the computer's memory; choose fewer specimens or a smaller photograph.")
    except Exception:
        LOG.exception("a page of the app failed")
        st.error(
            "The program made a mistake here; nothing is lost. The terminal in which the app was started says where. "
            "Load the page again, and if that does not help, report those lines."
        )


def path() -> Path:
    """Return the folder of the index that is looked at."""
    known = offered()
    name = st.session_state.get("index")
    return known[name] if name in known else next(iter(known.values()))


def index() -> sst.Index:
    """Return the index, opened anew when a build or a reviewer has changed it."""
    return _opened(str(path().resolve()), sst.index_state(path()), agreed())


def has_traits(index: sst.Index) -> bool:
    """Say so if an index holds no traits yet."""
    if not index.traits:
        st.info("This index holds no traits yet; when its build has found some, they appear here.")
    return bool(index.traits)


def table(trait: str | None = None) -> pd.DataFrame:
    """Return one row a region (see `Index.table`)."""
    return _table(index(), str(path().resolve()), index().state, trait)


def facets(trait: str | None = None) -> dict[str, Facet]:
    """Return the columns one can filter a trait, or all of them, by, name -> what it holds."""
    return _facets(index(), str(path().resolve()), index().state, trait)


def specimens() -> pd.DataFrame:
    """Return one row a specimen, skipped ones included: sst:specimen, sst:group, sst:search, then its own columns."""
    return _specimens(index(), str(path().resolve()), index().state)


def info() -> dict[str, Any]:
    """Return what the index says of itself."""
    return _info(index(), str(path().resolve()), index().state)


def size() -> int:
    """Return how many bytes the index takes on the disk."""
    return _size(index(), str(path().resolve()), index().state)


@st.cache_resource(max_entries=4, show_spinner="Opening the index")
def _opened(folder: str, state: tuple[int, int], folders: tuple[Path, ...]) -> sst.Index:
    return sst.open_index(folder, reach=sst.Reach(folders))


@st.cache_resource(max_entries=16, show_spinner=False)
def _table(_index: sst.Index, folder: str, state: tuple[int, int], trait: str | None) -> pd.DataFrame:
    frame: pd.DataFrame = _index.table(trait)
    return quick(frame)


def quick(table: pd.DataFrame) -> pd.DataFrame:
    """Number the words of columns that repeat them: counting and choosing is then several times faster."""
    words = [name for name in table if table[name].dtype in (object, "str") and name != "sst:specimen"]
    few = [name for name in words if table[name].nunique() * 2 < len(table)]
    return table.astype(dict.fromkeys(few, "category"))


@st.cache_resource(max_entries=16, show_spinner=False)
def _facets(_index: sst.Index, folder: str, state: tuple[int, int], trait: str | None) -> dict[str, Facet]:
    found = filters.facets(_table(_index, folder, state, trait), _index.columns)
    return {facet.column: facet for facet in found}


@st.cache_resource(max_entries=4, show_spinner=False)
def _specimens(_index: sst.Index, folder: str, state: tuple[int, int]) -> pd.DataFrame:
    return searchable(_index.specimens())


def searchable(rows: list[sst.Specimen]) -> pd.DataFrame:
    """Return one row a specimen: sst:specimen, sst:group, sst:search (all of its words), then its own columns."""
    frame = pd.DataFrame([{"sst:specimen": row.id, "sst:group": row.group, **row.metadata} for row in rows])
    words = pd.Series("", index=frame.index, dtype=object)
    for column in frame:
        words += " " + frame[column].astype(object).where(frame[column].notna(), "").astype(str)
    frame["sst:search"] = words.astype(str).str.casefold()
    return frame


@st.cache_resource(max_entries=4, show_spinner=False)
def _info(_index: sst.Index, folder: str, state: tuple[int, int]) -> dict[str, Any]:
    return _index.info()


@st.cache_resource(max_entries=4, show_spinner=False)
def _size(_index: sst.Index, folder: str, state: tuple[int, int]) -> int:
    return _index.size()


def _nothing() -> None:
    """Say what to do without an index."""
    asked = asked_for()
    st.title("No index yet")
    if asked is not None:
        st.error(f"{code(asked)} is not an index, nor a folder that holds some.")
        st.markdown("Check the path, or make an index of your photographs:")
    else:
        st.markdown("The folder `indexes/` holds no index. Make one of your photographs:")
    st.code("sst-retrieval build my_collection/collection.csv --supports my_collection/supports "
            "--output indexes/my_collection", language="bash")  # fmt: skip
    if asked is None:
        from sst_app import building

        st.markdown(
            "or try it on a **synthetic museum drawer**: about a hundred insects that the program draws itself. "
            f"It takes a few minutes and writes to {code(DEMO)}."
        )
        building.offer("demo", "Build the demo drawer", ["demo", str(DEMO)])
        building.progress("demo")
    st.stop()
