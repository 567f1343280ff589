"""What is annotated: the specimens of an index, or those of a table that has no index yet."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

import sst_retrieval as sst
from sst_app import building, choosing, opening, pictures, places
from sst_app.markdown import plain

Masks = dict[str, npt.NDArray[np.bool_]]
SMALL = 320
"""Longer edge of the small pictures of a collection that has no index, in pixels."""


@dataclass(frozen=True)
class Subject:
    """The specimens that can be drawn on.

    Attributes:
        specimens: one row a specimen, as `opening.specimens`.
        numbers: trait -> label number, of the traits that are known already.
        supports: group -> the specimens that are its supports already.
        folder: where supports are written; None if nowhere.
        why_not: says why nowhere.
        photograph: reads one, uint8 (H, W, 3).
        thumbnail: a small picture, as a JPEG file.
        found: what the program found on a specimen; nothing without an index.
    """

    specimens: pd.DataFrame
    numbers: Mapping[str, int]
    supports: Mapping[str, list[str]]
    folder: Path | None
    why_not: str
    photograph: Callable[[str], npt.NDArray[np.uint8]]
    thumbnail: Callable[[str], bytes]
    found: Callable[[str], Masks]


def of_index() -> Subject:
    """Take the specimens of the index that is looked at."""
    index = opening.index()
    folder, why_not = places.support_folder()
    supports: dict[str, list[str]] = {}
    for each in opening.info()["provenance"].get("supports", []):
        supports.setdefault(str(each["group"]), []).append(str(each["specimen"]))

    def thumbnail(name: str) -> bytes:
        return pictures.thumbnail(index, choosing.cache_key(index), name)

    def found(name: str) -> Masks:
        masks = {}
        for trait in index.traits:
            try:
                masks[trait] = index.mask(name, trait)
            except sst.QueryError:
                continue  # The trait of another group, or a specimen that was left out.
        return {trait: mask for trait, mask in masks.items() if mask.any()}

    return Subject(
        opening.specimens(), index.trait_numbers, supports, folder, why_not, index.photograph, thumbnail, found
    )


def of_table(table: Path) -> Subject:
    """Take the specimens of a table; its photographs are read in its own folder, and where --images says."""
    said = opening.asked()
    collection = _collection(str(table), table.stat().st_mtime_ns, said.images)
    folder = said.supports[0] if said.supports else _home(table) / "supports"
    images = {specimen.id: specimen.image for specimen in collection.specimens}
    groups = {specimen.id: specimen.group for specimen in collection.specimens}
    reach = sst.Reach((_home(table), *said.images))

    def photograph(name: str) -> npt.NDArray[np.uint8]:
        reach.check(images[name], _home(table))
        return reach.read(images[name], ())

    def thumbnail(name: str) -> bytes:
        try:
            return _thumbnail(str(images[name]), photograph, name)
        except sst.ImageError:
            return pictures.grey()

    drawn = sorted(path.stem for path in folder.glob("[!.]*.png")) if folder.is_dir() else []
    supports: dict[str, list[str]] = {}
    for name in drawn:
        if name in groups:
            supports.setdefault(groups[name], []).append(name)
    traits = folder / "traits.toml"
    numbers = dict(sst.read_traits(traits).numbers) if traits.is_file() else {}
    specimens = opening.searchable(list(collection.specimens))
    return Subject(specimens, numbers, supports, folder, "", photograph, thumbnail, lambda _: {})


def offer_first_build(subject: Subject, table: Path) -> None:
    """Offer to build the index of a table, once something is drawn."""
    if not subject.supports:
        return
    missing = sorted(set(subject.specimens["sst:group"]) - set(subject.supports))
    if missing:
        named = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        st.caption(f"Without a support, and so left out of the index: {plain(named)}")
    words = ["build", str(table), "--supports", str(subject.folder), "--output", str(opening.output_of(table))]
    images = opening.asked().images
    words += ["--images", str(images[0])] if images else []
    st.markdown("**Ready to build**: the traits you drew are looked for on every photograph of these groups.")
    st.code(shlex.join(["sst-retrieval", *words]), language="bash", wrap_lines=True)
    building.offer("first", "Build the index", words)
    building.progress("first")


def _home(table: Path) -> Path:
    return table if table.is_dir() else table.resolve().parent


@st.cache_resource(max_entries=4, show_spinner="Reading the table")
def _collection(table: str, changed: int, images: tuple[Path, ...]) -> sst.Collection:
    return sst.read_collection(Path(table), images=images[0] if images else None)


@st.cache_data(max_entries=512, show_spinner=False)
def _thumbnail(path: str, _photograph: Callable[[str], npt.NDArray[np.uint8]], _name: str) -> bytes:
    return pictures.jpeg(pictures.shrunk(_photograph(_name), SMALL))
