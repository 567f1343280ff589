"""Butterflies painted over real outlines: each label picture becomes a photograph that never was.

The outlines of wing traits differ between specimens of a taxon as nature made them; colours, paper, light and turn are
invented, the colours anew for every taxon. They teach a decoder shapes without a photograph whose licence forbids it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from skimage.morphology import convex_hull_image

from sst_retrieval.types import Mask, RGBImage, Support

HEIGHT = 640
"""Of a painted picture before it is turned, in pixels; the labels are squares and are stretched to a wing's shape."""

_Colour = npt.NDArray[np.float64]


def painted_wings(folder: Path, *, seed: int = 0) -> Iterator[list[Support]]:
    """Paint the specimens of one taxon after another.

    Args:
        folder: TAXON/SPECIMEN.png, a number a wing trait, and index.json: taxon -> specimen -> "pairs" -> number ->
            trait, which says what belongs together left and right.
        seed: of colours, light and turns.

    Yields:
        The specimens of a taxon, two or more, with every trait's mask.
    """
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    for taxon in sorted(index):
        pairs = {name: about["pairs"] for name, about in index[taxon].items() if about["pairs"]}
        if len(pairs) < 2:
            continue
        traits = 1 + max(max(each.values()) for each in pairs.values())
        colours = np.random.default_rng([seed, zlib.crc32(taxon.encode())])
        wing, patterns = _palette(colours, traits)
        stretch = float(colours.uniform(1.2, 1.7))
        painted = []
        for name in sorted(pairs):
            rng = np.random.default_rng([seed, zlib.crc32(f"{taxon}/{name}".encode())])
            masks = _outlines(folder / taxon / f"{name}.png", pairs[name], traits, stretch)
            image, masks = _turned(_painted(masks, wing, patterns, rng), masks, rng)
            shown = [trait for trait in range(traits) if masks[trait].any()]
            names = tuple(f"trait {trait}" for trait in shown)
            painted.append(Support(f"{taxon}/{name}", taxon, image, names, masks[shown]))
        yield painted


def _palette(rng: np.random.Generator, traits: int) -> tuple[_Colour, list[_Colour]]:
    """A wing's colour, mostly dark, and colours that differ from it."""
    wing = rng.uniform(10, 70, 3) if rng.random() < 0.6 else rng.uniform(60, 170, 3)
    patterns = []
    for _ in range(traits):
        tries = rng.uniform(0, 255, (50, 3))
        far = np.abs(tries - wing).sum(axis=1) > 110
        patterns.append(tries[int(np.argmax(far))])
    return wing, patterns


def _outlines(path: Path, pairs: dict[str, int], traits: int, stretch: float) -> npt.NDArray[np.bool_]:
    size = (round(HEIGHT * stretch), HEIGHT)
    labels = np.asarray(Image.open(path).resize(size, Image.Resampling.NEAREST))
    masks = np.zeros((traits, HEIGHT, size[0]), dtype=bool)
    for number, trait in pairs.items():
        masks[trait] |= labels == int(number)
    return masks


def _painted(
    masks: npt.NDArray[np.bool_], wing: _Colour, patterns: list[_Colour], rng: np.random.Generator
) -> RGBImage:
    """Paint paper, wings, pattern and body, with uneven light, grain and blur."""
    height, width = masks.shape[1:]
    drawn: Mask = np.asarray(masks.any(axis=0))
    wings, body = _wings(drawn, rng), _body(drawn)
    light = 1 + rng.normal(0, 0.08)

    def shade(colour: _Colour) -> _Colour:
        return np.clip(colour * light + rng.normal(0, 10, 3), 0, 255)

    def grain(spread: float, strength: float) -> _Colour:
        noise: _Colour = ndimage.gaussian_filter(rng.normal(0, 1, (height, width)), spread)
        return noise[..., None] * strength * spread * 2

    grey = rng.random() < 0.7
    paper = rng.uniform(120, 255) + rng.normal(0, 12, 3) if grey else rng.uniform(40, 230, 3)
    image = paper + grain(20, rng.uniform(0, 8)) + grain(2, rng.uniform(0, 4))
    if rng.random() < 0.5:
        image[np.roll(wings, (8, 6), (0, 1)) & ~wings & ~body] *= 0.8  # A shadow.
    image[wings] = shade(wing)
    image[wings] *= (1 - 0.12 * np.clip(np.abs(grain(6, 1)), 0, 1))[wings]
    fresh = rng.uniform(0.6, 1)
    for mask, colour in zip(masks, patterns, strict=True):
        image[mask] = shade(colour) * fresh + shade(wing) * (1 - fresh)
    image[body] = shade(wing * rng.uniform(0.4, 1.1))
    image += (grain(1, rng.uniform(2, 9)) + grain(8, rng.uniform(2, 10))) * (wings | body)[..., None]
    image = ndimage.gaussian_filter(image, (*(rng.uniform(0.4, 1.4),) * 2, 0))
    grained: RGBImage = np.clip(image + rng.normal(0, rng.uniform(1, 5), image.shape), 0, 255).astype(np.uint8)
    return grained


def _wings(drawn: Mask, rng: np.random.Generator) -> Mask:
    """Four wings around what is drawn on them: the hull of each quarter, enlarged."""
    rows, columns = np.nonzero(drawn)
    below, right = (np.indices(drawn.shape)[axis] >= centre for axis, centre in ((0, rows.mean()), (1, columns.mean())))
    wings = np.zeros_like(drawn)
    for quarter in (below & right, below & ~right, ~below & right, ~below & ~right):
        if (drawn & quarter).any():
            wings |= convex_hull_image(drawn & quarter)
    enlarged: Mask = ndimage.distance_transform_edt(~wings) < rng.integers(8, 24)
    return enlarged


def _body(drawn: Mask) -> Mask:
    rows, columns = np.nonzero(drawn)
    down, across = np.indices(drawn.shape)
    half = max(1.0, 0.5 * float(np.ptp(rows)))
    body: Mask = ((across - columns.mean()) / (0.03 * drawn.shape[1])) ** 2 + ((down - rows.mean()) / half) ** 2 < 1
    return body


def _turned(
    image: RGBImage, masks: npt.NDArray[np.bool_], rng: np.random.Generator
) -> tuple[RGBImage, npt.NDArray[np.bool_]]:
    """Turn four of ten by any angle."""
    if rng.random() >= 0.4:
        return image, masks
    angle = float(rng.uniform(0, 360))
    paper = tuple(int(value) for value in np.median(image[:6].reshape(-1, 3), axis=0))
    turned = Image.fromarray(image).rotate(angle, Image.Resampling.BILINEAR, expand=True, fillcolor=paper)
    return np.asarray(turned), np.stack([np.asarray(Image.fromarray(m).rotate(angle, expand=True)) for m in masks])
