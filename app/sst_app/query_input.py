"""The query: traits of specimens of the index, or of an uploaded photograph."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

import sst_retrieval as sst
from sst_app import components, current_index, index_images, index_model, mask_canvas, url_state
from sst_app.markdown import escape_md
from sst_app.page_errors import show_errors

INK = "#0072B2"
"""Colour of the trait that is drawn on an uploaded photograph."""

MAX_PIXELS = 60_000_000
"""Uploads with more pixels are refused before they are decoded."""


@dataclass(frozen=True)
class QueryInput:
    """A query by example.

    Attributes:
        trait: the trait to compare; if there are several, the first.
        like: examples of the index, (specimen, trait), that hits should resemble; the first is the chosen specimen.
        unlike: examples that hits should not resemble.
        vectors: query vectors of the uploaded photograph, or None.
        picture: the uploaded photograph, uint8 (H, W, 3), and its mask, bool (H, W); or None.
    """

    trait: str
    like: tuple[tuple[str, str], ...] = ()
    unlike: tuple[tuple[str, str], ...] = ()
    vectors: Any = None
    picture: tuple[Any, Any] | None = None

    @property
    def traits(self) -> tuple[str, ...]:
        """Return all traits that are compared."""
        return tuple(dict.fromkeys([self.trait, *(trait for _, trait in self.like)]))

    @property
    def several(self) -> bool:
        """Return whether the query has more than one example."""
        return len(self.like) + (self.vectors is not None) + len(self.unlike) > 1

    def words(self) -> str:
        """Describe the query in a line."""
        liked = [f"{trait} of {specimen}" for specimen, trait in self.like]
        liked += [f"{self.trait} of the uploaded photograph"] if self.picture is not None else []
        unliked = [f"{trait} of {specimen}" for specimen, trait in self.unlike]
        text = f"like {' and '.join(liked)}" if liked else self.trait
        return text + (f", unlike {' and '.join(unliked)}" if unliked else "")


def get_specimen() -> str | None:
    """Return the specimen of the query, if it is one of the index."""
    way = st.session_state.get("way", "a specimen")
    return url_state.get("specimen") or None if way == "a specimen" else None


@dataclass(frozen=True)
class Unmasked:
    """An uploaded photograph whose trait is still to be drawn.

    Attributes:
        image: uint8 (H, W, 3).
        content: its hash.
        trait: the trait to draw.
    """

    image: Any
    content: str
    trait: str

    @property
    def identity(self) -> tuple[str, ...]:
        """Identify the drawing on it."""
        return ("outside", self.content, self.trait)


def show_upload(index: sst.Index) -> QueryInput | Unmasked | None:
    """Show the upload of a photograph and of its mask; return the query, or the photograph while it has no mask."""
    upload = st.file_uploader(
        "Photograph", type=["jpg", "jpeg", "png", "tif", "tiff", "webp"], max_upload_size=50, key="upload"
    )
    trait = st.selectbox("Trait to compare with", index.traits, key="upload-trait")
    if upload is None:
        st.caption("At most 50 MB. It is looked at on this computer and not kept.")
        return None
    image, notes = read_upload(upload.getvalue(), upload.name)
    for note in notes:
        st.warning(escape_md(f"{upload.name}: {note}"))
    photograph = Unmasked(image, components.hash_content(image), trait)
    # Of this photograph: a mask, or a drawing, of another one does not fit it.
    label = st.file_uploader(
        "Its mask, if you have one (label picture)", type=["png", "tif"], max_upload_size=50,
        key=f"upload-mask-{photograph.content}",
    )  # fmt: skip
    if label is not None:
        with write_temporary(label.getvalue(), label.name) as path:
            mask = sst.read_mask(path, image, trait=trait, number=index.trait_numbers[trait])
    else:
        drawn = _get_drawn(photograph)
        if drawn is None:
            return photograph
        mask = drawn
        st.image(
            sst.overlay(image, {trait: mask}, (0, 0, image.shape[1], image.shape[0]), _fit(image), {trait: INK}, 70),
            caption=f"{escape_md(trait)} as you drew it",
            alt=f"uploaded photograph with {trait}",
        )
        st.button("Change the drawing", on_click=st.session_state.pop, args=("outside-drawn", None), width="stretch")
    folder = current_index.get_cache_key(index)[0]
    vectors = _describe_upload(index, folder, index.settings, photograph.content, mask.tobytes(), image, mask)
    return QueryInput(trait, vectors=vectors, picture=(image, mask))


@st.fragment
@show_errors()
def show_drawing(photograph: Unmasked) -> None:
    """Show the surface on which the trait of an uploaded photograph is drawn, and the button that asks with it."""
    image, trait = photograph.image, photograph.trait
    # No draft: the photograph is not kept either.
    drawing = mask_canvas.open_drawing(photograph.identity, (image.shape[0], image.shape[1]), dict, kept=False)
    with st.container(horizontal=True, vertical_alignment="center"):
        ask = st.button("Ask with this mask", type="primary", icon=":material/search:", shortcut="mod+s")
        st.caption(f"Draw around **{escape_md(trait)}**, then ask.", width="content")
    about = st.container()
    masks = mask_canvas.show_canvas(drawing, image, photograph.content, {trait: INK})
    mask_canvas.show_clicker_choice()
    if ask and trait not in masks:
        about.warning("Nothing is drawn yet.")
    elif ask:
        st.session_state["outside-drawn"] = photograph.identity
        st.rerun()


def _get_drawn(photograph: Unmasked) -> npt.NDArray[np.bool_] | None:
    """Return the mask that was drawn on an uploaded photograph, once the person asks with it."""
    if st.session_state.get("outside-drawn") != photograph.identity:
        return None
    size = (photograph.image.shape[0], photograph.image.shape[1])
    drawing = mask_canvas.open_drawing(photograph.identity, size, dict, kept=False)
    return drawing.masks.get(photograph.trait)


def _fit(image: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Return the size (width, height) of a small picture of an image."""
    scale = min(1.0, 640 / max(image.shape[:2]))
    return max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))


@st.cache_resource(max_entries=2, show_spinner="Reading the photograph")
def read_upload(content: bytes, name: str) -> Any:
    """Read an uploaded photograph of at most MAX_PIXELS: uint8 (H, W, 3), and what a person should know about it."""
    with write_temporary(content, name) as path:
        read = sst.read_photograph(path, max_pixels=MAX_PIXELS)
        return read.image, read.notes


@contextmanager
def write_temporary(content: bytes, name: str) -> Iterator[Path]:
    """Write an upload to a temporary file, which is removed at the end of the `with` block.

    Errors that are raised in it name the file as the person knows it.
    """
    with tempfile.TemporaryDirectory(prefix="sst-retrieval-") as folder:
        path = Path(folder) / f"upload{Path(name).suffix.lower()}"
        path.write_bytes(content)
        try:
            yield path
        except sst.SSTError as error:
            raise type(error)(str(error).replace(str(path), name)) from error


@st.cache_data(max_entries=16, show_spinner="Describing the trait")
def _describe_upload(
    _index: sst.Index,
    folder: str,
    settings: Mapping[str, Any],
    content: str,
    mask_content: bytes,
    _image: npt.NDArray[np.uint8],
    _mask: npt.NDArray[np.bool_],
) -> Any:
    """Describe a trait of an upload; what is cached is told apart by index, photograph and mask."""
    return sst.query_vectors(_image, _mask, index_model.get_embedder(_index))


def make_query_tile(index: sst.Index, query: QueryInput) -> sst.Tile:
    """Make the tile of the query for the contact sheet."""
    if query.picture is not None:
        image, mask = query.picture
        return sst.Tile(image, {query.trait: mask}, "uploaded photograph")
    if not query.like:
        return sst.Tile(np.full((8, 8, 3), 255, np.uint8), {}, "asked in words")
    specimen, trait = query.like[0]
    try:
        window = index.window(specimen)
        image = index_images.show_window(index.photograph(specimen), window)
        return sst.Tile(image, {trait: index_images.show_window(index.mask(specimen, trait), window)}, specimen)
    except sst.ImageError:
        small = index_images.read_crop(index, current_index.get_cache_key(index), specimen, trait)
        return sst.Tile(index_images.decode(small), {}, specimen, ["photograph not at hand"])
