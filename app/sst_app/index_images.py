"""Cached pictures of an index: thumbnails, crops, outlines, photographs; and encodings for the browser."""

from __future__ import annotations

import base64
import functools
import io
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import streamlit as st
from PIL import Image, ImageDraw, ImageFont

import sst_retrieval as sst

PHOTOGRAPH_SIDE = 1600
"""Longer edge of a photograph in the browser, in pixels."""

OUTLINE_SIDE = 1024
"""Longer edge of the subsampled masks that outlines are traced on, in pixels."""


Kind = TypeVar("Kind", bound=np.generic)
Window = tuple[int, int, int, int] | None
"""(x0, y0, x1, y1) in pixels of a photograph; None is all of it."""


@dataclass(frozen=True, slots=True)
class Outline:
    """The outline of a trait as an SVG path over the photograph, in pixels of the photograph.

    Attributes:
        trait: its name.
        path: "" if the trait is absent.
        area: pixels of the mask.
        confidence: 0..1.
        decision: what a reviewer decided, "" if nobody did.
    """

    trait: str
    path: str
    area: int
    confidence: float
    decision: str


@st.cache_data(max_entries=4096, show_spinner=False)
def read_thumbnail(_index: sst.Index, key: tuple[str, tuple[int, ...]], specimen: str) -> bytes:
    """Return the thumbnail of a specimen as a WebP or JPEG file; a grey picture if there is none."""
    return _index.thumbnail(specimen) or make_grey()


@st.cache_data(max_entries=4096, show_spinner=False)
def read_crop(_index: sst.Index, key: tuple[str, tuple[int, ...]], specimen: str, trait: str) -> bytes:
    """Return the crop of a trait as a WebP or JPEG file; cut out of the thumbnail if an older build made no crops."""
    found = _index.crop(specimen, trait)
    if found is not None:
        return found
    small = _index.thumbnail(specimen)
    if small is None:
        return make_grey()
    region = _index.region(specimen, trait)
    picture = Image.open(io.BytesIO(small))  # The index returns small pictures only.
    x, y, right, _ = _index.window(specimen) or (0, 0, region.size[1], region.size[0])
    scale = picture.width / (right - x)
    around = sst.around_box(region.box, region.size)
    left, top, right, bottom = (round((edge - start) * scale) for edge, start in zip(around, (x, y, x, y), strict=True))
    return encode_jpeg(np.asarray(picture.crop((left, top, right, bottom)).convert("RGB")))


@st.cache_data(max_entries=256, show_spinner=False)
def read_outlines(
    _index: sst.Index, key: tuple[str, tuple[int, ...]], specimen: str
) -> tuple[tuple[int, int], list[Outline]]:
    """Return the size (height, width) of what is shown of a specimen, and the outlines of its traits, largest first.

    Shown is its photograph, or of one that shows several individuals its window.
    """
    size, found = (0, 0), []
    window = _index.window(specimen)
    for trait in _index.traits:
        try:
            region = _index.region(specimen, trait)
        except sst.QueryError:
            continue  # A trait of another group was never looked for.
        mask = show_window(_index.mask(specimen, trait), window)
        size = (mask.shape[0], mask.shape[1])
        decision = _index.decision(specimen, trait)
        label = "" if decision is None else decision.decision
        found.append(Outline(trait, trace_svg_path(mask), int(np.count_nonzero(mask)), region.confidence, label))
    return size, sorted(found, key=lambda outline: -outline.area)


@st.cache_data(max_entries=1024, show_spinner=False)
def read_path(
    _index: sst.Index, key: tuple[str, tuple[int, ...]], specimen: str, trait: str, seen: str
) -> tuple[tuple[int, int], str]:
    """Return the size (height, width) of what is shown of a specimen and the outline of a trait as an SVG path.

    Args:
        key: see `current_index.get_picture_key`.
        specimen, trait: whose outline.
        seen: what identifies the last decision on the mask, which may have brought another one.
    """
    mask = show_window(_index.mask(specimen, trait), _index.window(specimen))
    return (mask.shape[0], mask.shape[1]), trace_svg_path(mask)


@st.cache_data(max_entries=8, show_spinner="Reading the photograph")
def read_photograph(
    _index: sst.Index, key: tuple[str, tuple[int, ...]], specimen: str
) -> tuple[bytes, tuple[int, int]]:
    """Return what is shown of a specimen as a JPEG file of at most PHOTOGRAPH_SIDE pixels, and its (height, width)."""
    image = show_window(_index.photograph(specimen), _index.window(specimen))
    return encode_jpeg(shrink(image, PHOTOGRAPH_SIDE)), (image.shape[0], image.shape[1])


@st.cache_resource(max_entries=2, show_spinner="Reading the photograph")
def read_pixels(_index: sst.Index, key: tuple[str, tuple[int, ...]], specimen: str) -> npt.NDArray[np.uint8]:
    """Return a photograph at its own size, uint8 (H, W, 3); all sessions share it, so it must not be changed."""
    return _index.photograph(specimen)


def show_window(image: npt.NDArray[Kind], window: Window) -> npt.NDArray[Kind]:
    """Return the part of a picture or mask, (H, W, ...), that is shown of an individual (`Index.window`)."""
    if window is None:
        return image
    x0, y0, x1, y1 = window
    return np.ascontiguousarray(image[y0:y1, x0:x1])


def place_in_photograph(mask: npt.NDArray[np.bool_], window: Window, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Put a mask of what is shown of an individual back into its photograph: bool (H, W) of `size`."""
    if window is None:
        return mask
    x0, y0, x1, y1 = window
    whole = np.zeros(size, dtype=bool)
    whole[y0:y1, x0:x1] = mask
    return whole


def trace_svg_path(mask: npt.NDArray[np.bool_], corner: tuple[int, int] = (0, 0)) -> str:
    """Trace the outline of a mask, bool (H, W), as an SVG path in pixels; "" if it is empty.

    Args:
        mask: which pixels.
        corner: (x, y) of its upper left pixel.
    """
    left, top = corner
    step = max(1, round(max(mask.shape) / OUTLINE_SIDE))
    curves = [curve for curve in sst.outlines(mask[::step, ::step]) if len(curve) > 6]
    return "".join(
        "M" + "L".join(f"{left + x * step:.0f} {top + y * step:.0f}" for x, y in curve[:-1].tolist()) + "Z"
        for curve in curves
    )


def shrink(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Shrink a picture, uint8 (H, W, 3), so that its longer edge has at most `side` pixels."""
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def encode_jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    """Encode a picture, uint8 (H, W, 3), as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=88)
    return file.getvalue()


def encode_png(image: npt.NDArray[np.uint8]) -> bytes:
    """Encode a picture, uint8 (H, W, 3), as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def decode(picture: bytes) -> npt.NDArray[np.uint8]:
    """Decode an image file of the index: uint8 (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))


def make_data_uri(picture: bytes) -> str:
    """Return the data URI of a JPEG or WebP file."""
    return f"data:{get_type(picture)};base64," + base64.b64encode(picture).decode()


def get_type(picture: bytes) -> str:
    """Return the media type of a JPEG or WebP file, by its first bytes."""
    return "image/webp" if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP" else "image/jpeg"


@functools.cache
def make_grey() -> bytes:
    """Return a grey placeholder as a JPEG file, which says that there is no picture."""
    picture = Image.new("RGB", (256, 192), (225, 225, 225))
    ImageDraw.Draw(picture).text((128, 96), "no picture", (90, 90, 90), ImageFont.load_default(26), anchor="mm")
    return encode_jpeg(np.asarray(picture))
