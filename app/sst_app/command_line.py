"""What the app was started with: the words after `--`, and what the person has opened since if they name nothing."""

from __future__ import annotations

import argparse
import functools
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

import sst_retrieval as sst
from sst_app.host_check import is_loopback


@dataclass(frozen=True)
class Arguments:
    """The arguments after `--`.

    Attributes:
        index_or_table: an index, a folder of indexes, or a specimen table; None if nothing was named.
        images: folders that photographs may be read from, besides those of the collection itself.
        supports: folders that supports may be written to, besides those in the collection's folder.
        scale: table of the groups' scales, in millimetres a pixel.
        clip_model, clip_pretrained: the model of an OpenCLIP index, if not as it was built.
    """

    index_or_table: Path | None
    images: tuple[Path, ...]
    supports: tuple[Path, ...]
    scale: Path | None = None
    clip_model: str | None = None
    clip_pretrained: str | None = None


def read_arguments() -> Arguments:
    """Return the arguments of this process; what this session has opened takes the place of an index that lacks."""
    found = _parse(tuple(sys.argv[1:]))
    return found if found.index_or_table is not None else replace(found, index_or_table=get_opened())


def check_audience() -> None:
    """Refuse to show others a page on which every table and index is chosen; `sst-retrieval app` refuses to start so.

    Raises:
        InputError: nothing was named, and the app listens to more than this computer.
    """
    address = st.get_option("server.address")
    if _parse(tuple(sys.argv[1:])).index_or_table is None and not is_loopback(address):
        raise sst.InputError(
            f"others can reach this page, and could open every table and index below {Path.cwd()}; name the one that "
            "they may see at the end of the command: streamlit run app/Home.py ... -- INDEX"
        )


def open_place(place: Path | None) -> None:
    """Open an index or a table in this session; None goes back to what the process was started with."""
    st.session_state["opened"] = place
    for key in ("index", "index-shown"):
        st.session_state.pop(key, None)  # It was chosen among others.


def get_opened() -> Path | None:
    """Return the index or the table that this session has opened."""
    place: Path | None = st.session_state.get("opened")
    return place


@functools.cache
def _parse(words: tuple[str, ...]) -> Arguments:
    reader = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    reader.add_argument("what", nargs="?", type=Path)
    reader.add_argument("--images", action="append", type=Path, default=[])
    reader.add_argument("--supports", action="append", type=Path, default=[])
    reader.add_argument("--scale", type=Path)
    reader.add_argument("--clip-model")
    reader.add_argument("--clip-pretrained")
    found, _ = reader.parse_known_args(words)
    return Arguments(
        found.what, tuple(found.images), tuple(found.supports), found.scale, found.clip_model, found.clip_pretrained
    )
