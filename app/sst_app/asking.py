"""What is asked: a trait of a specimen or of an uploaded photograph, and the filters."""

from __future__ import annotations

import datetime
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

import sst_retrieval as sst
from sst_app import choosing, describing, drawing, opening, pictures
from sst_app.filters import Facet, counts, predicate
from sst_app.markdown import plain

MOST_PIXELS = 60_000_000
"""A larger upload is refused before it is decoded."""

FIRST = 4
"""So many filters are open; the others are a click away."""


@dataclass(frozen=True)
class Question:
    """What is asked with.

    Attributes:
        trait: the trait to compare; of several, the first.
        like: (specimen, trait) of the index that hits should resemble; the first is the one that was chosen.
        unlike: the same of what they should not resemble.
        vectors: of an uploaded photograph, or None.
        picture: the uploaded photograph and the mask on it.
    """

    trait: str
    like: tuple[tuple[str, str], ...] = ()
    unlike: tuple[tuple[str, str], ...] = ()
    vectors: Any = None
    picture: tuple[Any, Any] | None = None

    @property
    def traits(self) -> tuple[str, ...]:
        """All traits that are compared."""
        return tuple(dict.fromkeys([self.trait, *(trait for _, trait in self.like)]))

    @property
    def several(self) -> bool:
        """Whether there is more than one example."""
        return len(self.like) + (self.vectors is not None) + len(self.unlike) > 1

    def words(self) -> str:
        """Say what is asked, in a line."""
        liked = [f"{trait} of {specimen}" for specimen, trait in self.like]
        liked += [f"{self.trait} of the uploaded photograph"] if self.picture is not None else []
        unliked = [f"{trait} of {specimen}" for specimen, trait in self.unlike]
        said = f"like {' and '.join(liked)}" if liked else self.trait
        return said + (f", unlike {' and '.join(unliked)}" if unliked else "")


def filters(index: sst.Index) -> str | None:
    """Show the filters in the side bar; return them as a predicate."""
    table = opening.table(_trait(index))
    kinds = opening.facets(_trait(index))
    for facet in kinds.values():
        _widen(facet)
    chosen: dict[str, Any] = {
        column: value for column in kinds if (value := _chosen(kinds[column])) not in (None, [], ())
    }
    with st.sidebar:
        st.markdown("**Filters**")
        if index_specimen() is not None:
            st.toggle(
                "other species only", key="others", bind="query-params", disabled=_species(index) is None,
                help=None if _species(index) else "The collection has no column that names the species.",
            )  # fmt: skip
        st.slider("confidence at least", 0.0, 1.0, 0.0, 0.05, key="sure", bind="query-params")
        for place, facet in enumerate(kinds.values()):
            if place < FIRST or facet.column in chosen:
                _widget(table, facet, chosen, kinds)
        rest = [facet for place, facet in enumerate(kinds.values()) if place >= FIRST and facet.column not in chosen]
        if rest:
            with st.expander("More filters"):
                for facet in rest:
                    _widget(table, facet, chosen, kinds)
        if chosen:
            st.button("Clear filters", on_click=_clear, args=(list(kinds.values()),), width="stretch")
    extra = _extra(index)
    return predicate(chosen, kinds, extra)


def index_specimen() -> str | None:
    """Return the specimen that is asked with."""
    way = st.session_state.get("way", "a specimen")
    return st.query_params.get("specimen") if way == "a specimen" else None


def from_photograph(index: sst.Index) -> Question | None:
    """Let somebody upload a photograph and draw, or upload, the mask of a trait on it."""
    upload = st.file_uploader(
        "Photograph", type=["jpg", "jpeg", "png", "tif", "tiff", "webp"], max_upload_size=50, key="upload"
    )
    trait = st.selectbox("Trait to compare with", index.traits, key="upload-trait")
    if upload is None:
        st.caption("At most 50 MB. It is looked at on this computer and not kept.")
        return None
    image = read_upload(upload.getvalue(), upload.name)
    label = st.file_uploader("Its mask, if you have one (label picture)", type=["png", "tif"], key="upload-mask")
    if label is not None:
        with as_file(label.getvalue(), label.name) as path:
            mask = sst.read_mask(path, image, trait=trait, number=index.trait_numbers[trait])
    else:
        st.caption("Draw around the trait.")
        masks = drawing.canvas(image, {trait: "#0072B2"}, key="outside", height=320)
        if trait not in masks:
            return None
        mask = masks[trait]
    vectors = _vectors(index, image.tobytes(), image.shape, mask.tobytes())
    return Question(trait, vectors=vectors, picture=(image, mask))


def read_upload(content: bytes, name: str) -> Any:
    """Read an uploaded photograph, uint8 (H, W, 3), if it is not too large."""
    with as_file(content, name) as path:
        return sst.read_image(path, max_pixels=MOST_PIXELS)


@contextmanager
def as_file(content: bytes, name: str) -> Iterator[Path]:
    """Keep an uploaded file under a name of its own, as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="sst-retrieval-") as folder:
        path = Path(folder) / f"upload{Path(name).suffix.lower()}"
        path.write_bytes(content)
        yield path


@st.cache_data(max_entries=16, show_spinner="Describing the trait")
def _vectors(_index: sst.Index, image: bytes, size: tuple[int, ...], mask: bytes) -> Any:
    pixels = np.frombuffer(image, np.uint8).reshape(size)
    return sst.query_vectors(pixels, np.frombuffer(mask, bool).reshape(size[:2]), describing.embedder(_index))


def _extra(index: sst.Index) -> list[str]:
    """Write the two filters that are no column of the collection."""
    parts = []
    if st.session_state.get("sure", 0.0) > 0:
        parts.append(f'"sst:confidence" >= {st.session_state["sure"]:.2f}')
    column, specimen = _species(index), index_specimen()
    if st.session_state.get("others") and column is not None and specimen:
        own = index.specimen(specimen).metadata.get(column)
        if own is not None:
            quoted, value = column.replace('"', '""'), str(own).replace("'", "''")
            parts.append(f"CAST(\"{quoted}\" AS VARCHAR) IS DISTINCT FROM '{value}'")
    return parts


def _species(index: sst.Index) -> str | None:
    """Find the column that names the species."""
    lower = {name.casefold(): name for name in index.columns}
    return next((lower[name] for name in ("scientificname", "species", "specificepithet") if name in lower), None)


def _trait(index: sst.Index) -> str:
    chosen = st.session_state.get("trait") or st.query_params.get("trait")
    return chosen if chosen in index.traits else index.traits[0]


def _key(facet: Facet) -> str:
    return f"f.{facet.column}"


def _chosen(facet: Facet) -> Any:
    """Return what is chosen in a filter; None if it lets all pass."""
    value = st.session_state.get(_key(facet), _from_url(facet))
    if facet.kind == "words" or value is None:
        return value
    return None if tuple(value) == facet.span or len(value) < 2 else tuple(value)


def _widen(facet: Facet) -> None:
    """Let a range that let all pass do so still, when a build or another trait has changed what all is."""
    before = st.session_state.get(f"span.{facet.column}")
    chosen = st.session_state.get(_key(facet))
    if facet.span is not None and before not in (None, facet.span) and chosen is not None and tuple(chosen) == before:
        st.session_state.pop(_key(facet))
    st.session_state[f"span.{facet.column}"] = facet.span


def _from_url(facet: Facet) -> Any:
    """Return what the URL chooses in a filter."""
    text = st.query_params.get(_key(facet))
    if text is None:
        return None
    try:
        value = json.loads(text)
        if facet.kind == "words":
            return [str(word) for word in value]
        low, high = value
        make = datetime.date.fromisoformat if facet.kind == "dates" else float
        assert facet.span is not None
        return max(make(low), facet.span[0]), min(make(high), facet.span[1])
    except (ValueError, TypeError):
        return None  # Somebody else's link; a filter that is not understood lets all pass.


def _widget(table: Any, facet: Facet, chosen: dict[str, Any], kinds: dict[str, Facet]) -> None:
    """Show one filter, and write it into the URL."""
    key = _key(facet)
    if key not in st.session_state and (start := _from_url(facet)) is not None:
        st.session_state[key] = start
    if facet.kind == "words":
        number = counts(table, facet, chosen, kinds)
        if key in st.session_state:
            st.session_state[key] = [word for word in st.session_state[key] if word in number]
        value = st.multiselect(
            plain(facet.column), list(number), key=key, format_func=lambda word: f"{word} ({number.get(word, 0):,})"
        )
    else:
        assert facet.span is not None
        if key in st.session_state:
            value = st.slider(plain(facet.column), *facet.span, key=key)
        else:
            value = st.slider(plain(facet.column), *facet.span, value=facet.span, key=key)
    if _chosen(facet) in (None, [], ()):
        st.query_params.pop(key, None)
    else:
        st.query_params[key] = json.dumps(value, default=str, ensure_ascii=False)


def _clear(every: list[Facet]) -> None:
    for facet in every:
        st.session_state.pop(_key(facet), None)
        st.query_params.pop(_key(facet), None)


def query_tile(index: sst.Index, question: Question) -> sst.Tile:
    """Show what was asked with, for the contact sheet."""
    if question.picture is not None:
        image, mask = question.picture
        return sst.Tile(image, {question.trait: mask}, "uploaded photograph")
    if not question.like:
        return sst.Tile(np.full((8, 8, 3), 255, np.uint8), {}, "asked in words")
    specimen, trait = question.like[0]
    try:
        return sst.Tile(index.photograph(specimen), {trait: index.mask(specimen, trait)}, specimen)
    except sst.ImageError:
        small = pictures.crop(index, choosing.cache_key(index), specimen, trait)
        return sst.Tile(pictures.pixels(small), {}, specimen, ["its photograph was not opened"])
