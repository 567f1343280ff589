"""The specimens that can be annotated: those of an index, or of a table that has no index yet."""

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
from sst_app import build_process, command_line, current_index, index_images, individuals, rebuild
from sst_app.markdown import escape_md

Masks = dict[str, npt.NDArray[np.bool_]]
THUMBNAIL_SIDE = 320
"""Longer edge of thumbnails of a table without an index, in pixels."""


@dataclass(frozen=True)
class SpecimenSource:
    """Specimens to annotate, with their photographs and known supports.

    Attributes:
        place: the index or table, as a text that no other has.
        specimens: what is drawn on, a row a photograph: table as of `current_index.make_specimen_table`.
        numbers: known trait -> label number.
        supports: group -> specimens that are its supports.
        folder: folder that supports are written to, or None.
        why_not: why there is no folder.
        photograph: reads the photograph of a specimen, uint8 (H, W, 3).
        thumbnail: reads the thumbnail of a specimen, a JPEG file.
        found: reads the masks that the program found on a specimen: trait -> bool (H, W); empty without an index.
        traits_of: returns the traits that are looked for in a group; none if that is not known.
        many: groups whose photographs may show several individuals.
    """

    place: str
    specimens: pd.DataFrame
    numbers: Mapping[str, int]
    supports: Mapping[str, list[str]]
    folder: Path | None
    why_not: str
    photograph: Callable[[str], npt.NDArray[np.uint8]]
    thumbnail: Callable[[str], bytes]
    found: Callable[[str], Masks]
    traits_of: Callable[[str], frozenset[str]]
    many: frozenset[str] = frozenset()


def from_index() -> SpecimenSource:
    """Use the specimens of the current index."""
    index = current_index.get_index()
    folder, why_not = rebuild.find_support_folder()
    photographs, on = current_index.get_photographs()
    drawn_on = individuals.map_placed(index)
    several = set(individuals.list_photographs(index))
    supports: dict[str, list[str]] = {}
    for each in current_index.get_info()["provenance"].get("supports", []):
        name = str(each["specimen"])
        own = supports.setdefault(str(each["group"]), [])
        own += [photograph for photograph in [drawn_on.get(name, name)] if photograph not in own]

    def thumbnail(name: str) -> bytes:
        if name in several:
            return individuals.read_small(index, current_index.get_picture_key(index), name)
        if not on.get(name):
            return index_images.make_grey()
        return index_images.read_thumbnail(index, current_index.get_cache_key(index), on[name][0])

    def found(name: str) -> Masks:
        masks: Masks = {}
        for each in on.get(name, []):
            for trait in index.traits:
                try:
                    mask = index.mask(each, trait)
                except sst.QueryError:
                    continue  # A trait of another group, or a skipped specimen.
                masks[trait] = masks[trait] | mask if trait in masks else mask
        return {trait: mask for trait, mask in masks.items() if mask.any()}

    def traits_of(group: str) -> frozenset[str]:
        table = current_index.get_table()
        return frozenset(map(str, table.loc[table["sst:group"] == group, "sst:trait"].unique()))

    return SpecimenSource(
        str(current_index.get_path().resolve()),
        photographs,
        index.trait_numbers,
        supports,
        folder,
        why_not,
        lambda name: index_images.read_pixels(index, current_index.get_cache_key(index), name),
        thumbnail,
        found,
        traits_of,
        current_index.get_groups_of_many(),
    )


def from_table(table: Path) -> SpecimenSource:
    """Use the specimens of a table; photographs are read from its folder and the folders of --images."""
    arguments = command_line.read_arguments()
    collection = _read_collection(str(table.resolve()), _read_file_states(table), arguments.images)
    folder = arguments.supports[0] if arguments.supports else _get_folder(table) / "supports"
    images = {specimen.id: specimen.image for specimen in collection.photographs}
    groups = {specimen.id: specimen.group for specimen in collection.photographs}
    reach = sst.Reach((_get_folder(table), *arguments.images))

    def photograph(name: str) -> npt.NDArray[np.uint8]:
        reach.check(images[name], _get_folder(table))
        return reach.read(images[name], ())

    def thumbnail(name: str) -> bytes:
        try:
            state = images[name].stat()
            return _make_thumbnail(str(images[name]), (state.st_mtime_ns, state.st_size), photograph, name)
        except (sst.ImageError, OSError):
            return index_images.make_grey()

    supports: dict[str, list[str]] = {}
    for name in rebuild.list_drawn(folder, groups):
        supports.setdefault(groups[name], []).append(name)
    traits = sst.find_traits_file(folder)
    numbers = dict(sst.read_traits(traits).numbers) if traits is not None else {}
    specimens = current_index.make_specimen_table(collection.photographs)
    return SpecimenSource(
        str(table.resolve()),
        specimens,
        numbers,
        supports,
        folder,
        "",
        photograph,
        thumbnail,
        lambda _: {},
        lambda _: frozenset(),
    )


def show_first_build(source: SpecimenSource, table: Path) -> None:
    """Show the command and a button that build the index of a table, once it has a support."""
    if not source.supports:
        return
    missing = sorted(set(source.specimens["sst:group"]) - set(source.supports))
    if missing:
        named = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        st.caption(f"Without a support, and so left out of the index: {escape_md(named)}")
    words = [
        "build",
        str(table),
        "--supports",
        str(source.folder),
        "--output",
        str(current_index.get_output_folder(table)),
    ]
    images = command_line.read_arguments().images
    words += ["--images", str(images[0])] if images else []
    st.markdown("**Ready to build**: the traits you drew are looked for on every photograph of these groups.")
    build_process.show_start_button("first", "Build the index", words)
    build_process.show_progress("first")
    st.code(shlex.join(["sst-retrieval", *words]), language="bash", wrap_lines=True)


def _get_folder(table: Path) -> Path:
    return table if table.is_dir() else table.resolve().parent


def _read_file_states(table: Path) -> tuple[tuple[int, int], ...]:
    """Return time and size of the files of a table; an archive is a folder of them."""
    files = sorted(path for path in table.iterdir() if path.is_file()) if table.is_dir() else [table]
    return tuple((path.stat().st_mtime_ns, path.stat().st_size) for path in files)


@st.cache_resource(max_entries=4, show_spinner="Reading the table")
def _read_collection(table: str, states: tuple[tuple[int, int], ...], images: tuple[Path, ...]) -> sst.Collection:
    return sst.read_collection(Path(table), images=images[0] if images else None)


@st.cache_data(max_entries=512, show_spinner=False)
def _make_thumbnail(
    path: str, state: tuple[int, int], _photograph: Callable[[str], npt.NDArray[np.uint8]], _name: str
) -> bytes:
    return index_images.encode_jpeg(index_images.shrink(_photograph(_name), THUMBNAIL_SIDE))
