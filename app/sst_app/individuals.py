"""Photographs that show several individuals: which one is meant, and the whole photograph with all of them outlined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import streamlit as st

import sst_retrieval as sst
from sst_app import components, current_index, index_images
from sst_app.markdown import escape_md

CHOSEN, OTHER = "#E69F00", "#0072B2"
"""Colours of the outline of the individual that is meant, and of the others."""

GALLERY_SIZE = 12
"""Number of further individuals of a specimen that are shown at once."""

SMALL_SIDE = 320
"""Longer edge of the small picture of a whole photograph, in pixels."""

PER = ("specimen", "photograph", "individual")


@dataclass(frozen=True, slots=True)
class Placed:
    """An individual on its photograph.

    Attributes:
        id: of the individual.
        number: on the photograph.
        outline: as index_images.Outline has it, over the whole photograph; its trait is `id`.
        centre: (x, y) of its box in pixels.
    """

    id: str
    number: int
    outline: index_images.Outline
    centre: tuple[float, float]


def show_per_choice(index: sst.Index) -> str:
    """Show the choice of which there is at most one hit; nothing to choose where all have one individual."""
    if index.catalog.plain:
        return "specimen"
    chosen: str = st.segmented_control(
        "One hit a", PER, default="specimen", key="per", bind="query-params", required=True,
        help="At most one hit a specimen, its best; or one a photograph of it; or every individual by itself. What was "
        "asked with is no hit.",
    )  # fmt: skip
    return chosen


def resolve(index: sst.Index, name: str) -> str:
    """Return the individual that a name means: its own, or the first of a photograph or specimen; else the name."""
    if not name:
        return name
    specimens = current_index.get_specimens()["sst:specimen"]
    if (specimens == name).any():
        return name
    several = index.catalog.individuals_of(name)
    return several[0] if several else name


def describe(individual: sst.Individual, per_photograph: int = 0) -> str:
    """Say in a line which photograph and which individual it is; "" if it is all of its specimen.

    Args:
        individual: which one.
        per_photograph: how many there are on its photograph; 0 if that is not to be said.
    """
    words = []
    if individual.photograph.id != individual.specimen:
        view = individual.photograph.view
        words.append(f"photograph {individual.photograph.id}" if not view else f"{view} photograph")
    if individual.box is not None:
        of = f" of {per_photograph:,}" if per_photograph else ""
        words.append(f"individual {individual.number}{of}")
    return ", ".join(words)


def describe_hit(hit: sst.Hit) -> str:
    """Say which photograph and which individual a hit is; "" if it is all of its specimen."""
    words = [f"photograph {hit.photograph}"] if hit.photograph != hit.specimen else []
    if hit.individual != hit.photograph:
        words.append(f"individual {hit.individual.removeprefix(hit.photograph).lstrip('#')}")
    return ", ".join(words)


def list_first_of_each(index: sst.Index, names: list[str]) -> list[str]:
    """Keep the first individual of each photograph: one of them is chosen on the photograph itself."""
    photographs = map_photographs(index)
    return list({photographs.get(name, name): name for name in reversed(names)}.values())[::-1]


def list_photographs(index: sst.Index) -> list[str]:
    """List the photographs that may show several individuals; on some none may have been found."""
    if not current_index.get_groups_of_many():
        return []
    return _list_photographs(index, *current_index.get_picture_key(index))


@st.cache_resource(max_entries=4, show_spinner=False)
def _list_photographs(_index: sst.Index, folder: str, state: tuple[int, ...]) -> list[str]:
    alone = {each.photograph.id for each in _index.individuals() if each.box is None}
    return [each.id for each in _index.photographs() if each.id not in alone]


def map_placed(index: sst.Index) -> dict[str, str]:
    """Return individual -> its photograph, of those photographs that may show several."""
    several = set(list_photographs(index))
    if not several:
        return {}
    return {name: photograph for name, photograph in map_photographs(index).items() if photograph in several}


def map_photographs(index: sst.Index) -> dict[str, str]:
    """Return individual -> its photograph."""
    return _map_photographs(index, *current_index.get_picture_key(index))


@st.cache_resource(max_entries=4, show_spinner=False)
def _map_photographs(_index: sst.Index, folder: str, state: tuple[int, ...]) -> dict[str, str]:
    return {each.id: each.photograph.id for each in _index.individuals()}


def show_on_photograph(index: sst.Index, individual: str, *, key: str) -> str | None:
    """Show the whole photograph with all its individuals outlined, if there are several.

    Args:
        index: where they are.
        individual: the one that is meant.
        key: of the widget.

    Returns:
        The individual that was clicked in this run, or None.
    """
    own = index.individual(individual)
    if own.box is None:
        return None
    cache_key = current_index.get_cache_key(index)
    size, placed = read_placed(index, cache_key, own.photograph.id)
    if len(placed) < 2:
        return None
    try:
        picture = read_whole(index, current_index.get_picture_key(index), own.photograph.id)
    except sst.ImageError as error:
        st.caption(f"{escape_md(error)}. So the others on the photograph are not shown.")
        return None
    return components.show_specimen(
        index_images.make_data_uri(picture), size, [each.outline for each in placed],
        {each.id: CHOSEN if each.id == individual else OTHER for each in placed}, key=key, chosen=individual,
        label=f"photograph {own.photograph.id}: choose an individual",
        hint=f"{len(placed):,} individuals; click one to ask with it",
        marks={each.id: (str(each.number), *each.centre) for each in placed},
    )  # fmt: skip


def show_others(index: sst.Index, individual: str, *, key: str) -> str | None:
    """Show the other photographs of a specimen, or their individuals; return the one that was clicked, or None."""
    own = index.individual(individual)
    names = [name for name in index.catalog.individuals_of(own.specimen) if name != individual]
    photographs = {index.individual(name).photograph.id for name in names[:200]} - {own.photograph.id}
    shown = [name for name in names if index.individual(name).photograph.id in photographs][:GALLERY_SIZE]
    if not shown:
        return None
    st.markdown(f"**Other photographs of {escape_md(own.specimen)}**")
    clicked = None
    cache_key = current_index.get_cache_key(index)
    for start in range(0, len(shown), 6):
        for place, name in zip(st.columns(6), shown[start : start + 6], strict=False):
            with place:
                st.image(index_images.read_thumbnail(index, cache_key, name), width="stretch", alt=name)
                words = describe(index.individual(name))
                if st.button(escape_md(words or name), key=f"{key}-{name}", help=escape_md(name), width="stretch"):
                    clicked = name
    return clicked


@st.cache_data(max_entries=16, show_spinner=False)
def read_placed(
    _index: sst.Index, key: tuple[str, tuple[int, ...]], photograph: str
) -> tuple[tuple[int, int], list[Placed]]:
    """Return the size (height, width) of a photograph and its individuals with their outlines, the largest first."""
    size, found = (0, 0), []
    gone = {each.individual for each in _index.individual_reviews(photograph) if each.decision == "reject"}
    for name in _index.catalog.individuals_of(photograph):
        each = _index.individual(name)
        if each.photograph.id != photograph or each.box is None or each.size is None or name in gone:
            continue
        size = each.size
        x0, y0, x1, y1 = each.box
        path = index_images.trace_svg_path(_index.silhouette(name), (x0, y0))
        outline = index_images.Outline(name, path, (x1 - x0) * (y1 - y0), each.score or 0.0, "")
        found.append(Placed(name, each.number, outline, ((x0 + x1) / 2, (y0 + y1) / 2)))
    return size, sorted(found, key=lambda each: -each.outline.area)


@st.cache_data(max_entries=8, show_spinner="Reading the photograph")
def read_whole(_index: sst.Index, key: tuple[str, tuple[int, ...]], photograph: str) -> bytes:
    """Return a whole photograph as a JPEG file of at most PHOTOGRAPH_SIDE pixels."""
    image = _index.photograph(photograph)
    return index_images.encode_jpeg(index_images.shrink(image, index_images.PHOTOGRAPH_SIDE))


@st.cache_resource(max_entries=2, show_spinner="Reading the photograph")
def read_pixels(_index: sst.Index, key: tuple[str, tuple[int, ...]], photograph: str) -> npt.NDArray[np.uint8]:
    """Return a whole photograph at its own size, uint8 (H, W, 3); all sessions share it, so it must not be changed."""
    return _index.photograph(photograph)


@st.cache_data(max_entries=512, show_spinner=False)
def read_small(_index: sst.Index, key: tuple[str, tuple[int, ...]], photograph: str) -> bytes:
    """Return a small picture of a whole photograph as a JPEG file; grey if it cannot be read."""
    try:
        return index_images.encode_jpeg(index_images.shrink(_index.photograph(photograph), SMALL_SIDE))
    except sst.ImageError:
        return index_images.make_grey()
