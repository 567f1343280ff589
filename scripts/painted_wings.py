"""Butterflies painted over real outlines: each label picture becomes a photograph that never was.

The outlines of wing traits differ between specimens of a taxon as nature made them; colours, paper, light and turn are
invented, the colours anew for every taxon. They teach a decoder shapes without a photograph whose licence forbids it.

A wing shows more than the traits that a person draws: some patterns have no name here, streaks come and go from
specimen to specimen, and several patterns share a colour. So a trait is where it is, not whatever looks like it.
"""

from __future__ import annotations

import colorsys
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from skimage.morphology import convex_hull_image

from sst_retrieval.types import Mask, RGBImage, Support

HEIGHT = 640
"""Of a painted picture before it is turned, in pixels; the labels are squares and are stretched to a wing's shape."""

UNNAMED = 0.3
"""Share of the patterns that are painted and have no name."""

SHARED = 0.5
"""Share of the patterns that are painted in another's colour."""

SHOWN = 0.7
"""Share of a taxon's specimens that show a streak."""

_Colour = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Streak:
    """A mark without a name, left and right, about where it is on the taxon's other specimens.

    Attributes:
        place: of its middle, from the body to the wing's tip and from the top to the bottom, 0..1.
        size: half its length and width, in shares of the wings' height.
        turn: radians.
        colour: its own or a pattern's.
    """

    place: tuple[float, float]
    size: tuple[float, float]
    turn: float
    colour: _Colour

    @staticmethod
    def drawn(rng: np.random.Generator, patterns: Sequence[_Colour]) -> _Streak:
        """Draw a streak by lot."""
        fresh = rng.random() < 0.4
        colour = rng.uniform(0, 255, 3) if fresh else patterns[int(rng.integers(len(patterns)))] + rng.normal(0, 12, 3)
        across, down = rng.uniform(0.2, 0.9), rng.uniform(0.1, 0.9)
        return _Streak((across, down), (rng.uniform(0.05, 0.2), rng.uniform(0.01, 0.06)), rng.uniform(0, 3.14), colour)

    def on(self, wings: Mask, rng: np.random.Generator) -> Mask:
        """Where it lies on one specimen's wings."""
        rows, columns = np.nonzero(wings)
        high, half = float(np.ptp(rows)) + 1, float(np.ptp(columns)) / 2 + 1
        down, across = np.indices(wings.shape)
        shift = rng.normal(0, 0.03, 2)
        right = (np.abs(across - columns.mean()) - (self.place[0] + shift[0]) * half) / high
        below = (down - rows.min()) / high - self.place[1] - shift[1]
        turn = self.turn + rng.normal(0, 0.15)
        along, beside = right * np.cos(turn) + below * np.sin(turn), below * np.cos(turn) - right * np.sin(turn)
        length, breadth = np.array(self.size) * rng.uniform(0.7, 1.3, 2)
        mark: Mask = wings & ((along / length) ** 2 + (beside / breadth) ** 2 < 1)
        return mark


@dataclass(frozen=True)
class _Paint:
    """What a taxon's wings are painted with."""

    wing: _Colour
    patterns: list[_Colour]
    streaks: list[_Streak]
    veins: float


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
        taxon_rng = np.random.default_rng([seed, zlib.crc32(taxon.encode())])
        paint = _palette(taxon_rng, traits)
        stretch = float(taxon_rng.uniform(1.2, 1.7))
        named = taxon_rng.random(traits) >= UNNAMED
        named[taxon_rng.integers(traits)] = True
        painted = []
        for name in sorted(pairs):
            rng = np.random.default_rng([seed, zlib.crc32(f"{taxon}/{name}".encode())])
            masks = _outlines(folder / taxon / f"{name}.png", pairs[name], traits, stretch)
            image, masks = _turned(_painted(masks, paint, rng), masks, rng)
            shown = [trait for trait in range(traits) if named[trait] and masks[trait].any()]
            names = tuple(f"trait {trait}" for trait in shown)
            if shown:
                painted.append(Support(f"{taxon}/{name}", taxon, image, names, masks[shown]))
        yield painted


def _palette(rng: np.random.Generator, traits: int) -> _Paint:
    """A wing's colour, mostly dark, colours that differ from it, and streaks; half of the traits share a colour."""
    natural = rng.random() < 0.6
    dark = rng.random() < 0.6
    wing = rng.uniform(10, 70, 3) if dark else rng.uniform(60, 170, 3)
    if natural:
        wing = _earthen(rng, 0.1, 0.3) if dark else _earthen(rng, 0.4, 0.8)
    patterns: list[_Colour] = []
    for _ in range(traits):
        tries = rng.uniform(0, 255, (50, 3))
        if natural:
            tries = np.stack([_earthen(rng, 0.3, 1.0) for _ in range(50)])
        far = np.abs(tries - wing).sum(axis=1) > 110
        fresh = tries[int(np.argmax(far))]
        shared = bool(patterns) and rng.random() < SHARED
        patterns.append(patterns[rng.integers(len(patterns))] + rng.normal(0, 8, 3) if shared else fresh)
    streaks = [_Streak.drawn(rng, patterns) for _ in range(rng.integers(0, 3))]
    return _Paint(wing, patterns, streaks, veins=float(rng.uniform(0, 0.5)))


def _earthen(rng: np.random.Generator, darkest: float, lightest: float) -> _Colour:
    """A colour as insects have it: black and brown to red, orange, yellow and white, now and then blue or green."""
    hue = rng.uniform(0.0, 0.17) if rng.random() < 0.85 else rng.uniform(0.3, 0.7)
    return 255 * np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.1, 0.95), rng.uniform(darkest, lightest)))


def _outlines(path: Path, pairs: dict[str, int], traits: int, stretch: float) -> npt.NDArray[np.bool_]:
    size = (round(HEIGHT * stretch), HEIGHT)
    labels = np.asarray(Image.open(path).resize(size, Image.Resampling.NEAREST))
    masks = np.zeros((traits, HEIGHT, size[0]), dtype=bool)
    for number, trait in pairs.items():
        masks[trait] |= labels == int(number)
    return masks


def _painted(masks: npt.NDArray[np.bool_], paint: _Paint, rng: np.random.Generator) -> RGBImage:
    """Paint paper, wings, pattern and body, with uneven light, grain and blur."""
    height, width = masks.shape[1:]
    wing = paint.wing
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

    def faded(colour: _Colour) -> _Colour:
        return shade(colour) * fresh + shade(wing) * (1 - fresh)

    for streak in paint.streaks:
        if rng.random() < SHOWN:
            image[streak.on(wings, rng) & ~drawn] = faded(streak.colour)
    for mask, colour in zip(masks, paint.patterns, strict=True):
        image[mask] = faded(colour)
    image[_veins(wings, rng)] *= 1 - paint.veins
    image[body] = shade(wing * rng.uniform(0.4, 1.1))
    image += (grain(1, rng.uniform(2, 9)) + grain(8, rng.uniform(2, 10))) * (wings | body)[..., None]
    image = ndimage.gaussian_filter(image, (*(rng.uniform(0.4, 1.4),) * 2, 0))
    grained: RGBImage = np.clip(image + rng.normal(0, rng.uniform(1, 5), image.shape), 0, 255).astype(np.uint8)
    return grained


def _veins(wings: Mask, rng: np.random.Generator) -> Mask:
    """Thin lines from the body to the rim."""
    rows, columns = np.nonzero(wings)
    down, across = np.indices(wings.shape)
    angle = np.arctan2(down - rows.mean(), np.abs(across - columns.mean()) + 1)
    far = np.hypot(down - rows.mean(), across - columns.mean()) + 1
    apart = float(rng.uniform(0.1, 0.25))
    off = np.abs((angle + rng.uniform(0, 1)) % apart - apart / 2) * far
    lines: Mask = wings & (off < 1.2)
    return lines


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
