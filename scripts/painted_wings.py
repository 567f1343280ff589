"""Synthetic butterfly photographs, painted over the label pictures of real wing traits.

The outlines and their variation within a taxon are real; colours, background, light and rotation are random, colours
per taxon. So the decoder can learn from outlines whose photographs must not be used for training.

Some patterns are painted but not labelled, streaks vary from specimen to specimen, and several patterns share a colour,
so that a trait cannot be recognised by its colour alone.
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
"""Height of a painted picture before rotation, in pixels; the label pictures are square and are stretched in width."""

UNNAMED_SHARE = 0.3
"""Share of the patterns that are painted but not labelled."""

SHARED_COLOUR_SHARE = 0.5
"""Share of the patterns that have the colour of another pattern."""

STREAK_SHARE = 0.7
"""Share of a taxon's specimens on which each streak is painted."""

_Colour = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Streak:
    """An unlabelled elliptic mark on both sides, at about the same place on all specimens of a taxon.

    Attributes:
        place: centre, (from the body to the wing tip, from top to bottom), each 0..1.
        size: half length and half width, in units of the wings' height.
        turn: rotation, in radians.
        colour: float64 (3,), RGB, 0..255.
    """

    place: tuple[float, float]
    size: tuple[float, float]
    turn: float
    colour: _Colour

    @staticmethod
    def sample(rng: np.random.Generator, patterns: Sequence[_Colour]) -> _Streak:
        """Sample a streak; four of ten have a colour of their own, the others that of a pattern."""
        fresh = rng.random() < 0.4
        colour = rng.uniform(0, 255, 3) if fresh else patterns[int(rng.integers(len(patterns)))] + rng.normal(0, 12, 3)
        across, down = rng.uniform(0.2, 0.9), rng.uniform(0.1, 0.9)
        return _Streak((across, down), (rng.uniform(0.05, 0.2), rng.uniform(0.01, 0.06)), rng.uniform(0, 3.14), colour)

    def draw(self, wings: Mask, rng: np.random.Generator) -> Mask:
        """Draw the streak on one specimen's wings: bool (H, W)."""
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
class _Palette:
    """Colours of a taxon.

    Attributes:
        wing: ground colour, float64 (3,), RGB, 0..255.
        patterns: one colour per trait.
        streaks: unlabelled marks.
        veins: how much darker the veins are, 0..1.
    """

    wing: _Colour
    patterns: list[_Colour]
    streaks: list[_Streak]
    veins: float


def paint_wings(folder: Path, *, seed: int = 0) -> Iterator[list[Support]]:
    """Paint the specimens of one taxon after another.

    Args:
        folder: label pictures TAXON/SPECIMEN.png, and index.json: taxon -> specimen -> "pairs" -> label -> trait;
            the left and the right mark of a trait have labels of their own.
        seed: of all random numbers.

    Yields:
        The specimens of a taxon, two or more, each with the masks of its labelled traits.
    """
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    for taxon in sorted(index):
        pairs = {name: about["pairs"] for name, about in index[taxon].items() if about["pairs"]}
        if len(pairs) < 2:
            continue
        traits = 1 + max(max(each.values()) for each in pairs.values())
        taxon_rng = np.random.default_rng([seed, zlib.crc32(taxon.encode())])
        palette = _sample_palette(taxon_rng, traits)
        stretch = float(taxon_rng.uniform(1.2, 1.7))
        named = taxon_rng.random(traits) >= UNNAMED_SHARE
        named[taxon_rng.integers(traits)] = True
        painted = []
        for name in sorted(pairs):
            rng = np.random.default_rng([seed, zlib.crc32(f"{taxon}/{name}".encode())])
            masks = _read_masks(folder / taxon / f"{name}.png", pairs[name], traits, stretch)
            image, masks = _rotate(_paint(masks, palette, rng), masks, rng)
            shown = [trait for trait in range(traits) if named[trait] and masks[trait].any()]
            names = tuple(f"trait {trait}" for trait in shown)
            if shown:
                painted.append(Support(f"{taxon}/{name}", taxon, image, names, masks[shown]))
        yield painted


def _sample_palette(rng: np.random.Generator, traits: int) -> _Palette:
    """Sample a ground colour, mostly dark, pattern colours that differ from it, and streaks."""
    natural = rng.random() < 0.6
    dark = rng.random() < 0.6
    wing = rng.uniform(10, 70, 3) if dark else rng.uniform(60, 170, 3)
    if natural:
        wing = _sample_insect_colour(rng, 0.1, 0.3) if dark else _sample_insect_colour(rng, 0.4, 0.8)
    patterns: list[_Colour] = []
    for _ in range(traits):
        tries = rng.uniform(0, 255, (50, 3))
        if natural:
            tries = np.stack([_sample_insect_colour(rng, 0.3, 1.0) for _ in range(50)])
        far = np.abs(tries - wing).sum(axis=1) > 110
        fresh = tries[int(np.argmax(far))]
        shared = bool(patterns) and rng.random() < SHARED_COLOUR_SHARE
        patterns.append(patterns[rng.integers(len(patterns))] + rng.normal(0, 8, 3) if shared else fresh)
    streaks = [_Streak.sample(rng, patterns) for _ in range(rng.integers(0, 3))]
    return _Palette(wing, patterns, streaks, veins=float(rng.uniform(0, 0.5)))


def _sample_insect_colour(rng: np.random.Generator, darkest: float, lightest: float) -> _Colour:
    """Sample a colour of insects: mostly black, brown, red, orange, yellow or white, seldom blue or green."""
    hue = rng.uniform(0.0, 0.17) if rng.random() < 0.85 else rng.uniform(0.3, 0.7)
    return 255 * np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.1, 0.95), rng.uniform(darkest, lightest)))


def _read_masks(path: Path, pairs: dict[str, int], traits: int, stretch: float) -> npt.NDArray[np.bool_]:
    size = (round(HEIGHT * stretch), HEIGHT)
    labels = np.asarray(Image.open(path).resize(size, Image.Resampling.NEAREST))
    masks = np.zeros((traits, HEIGHT, size[0]), dtype=bool)
    for number, trait in pairs.items():
        masks[trait] |= labels == int(number)
    return masks


def _paint(masks: npt.NDArray[np.bool_], palette: _Palette, rng: np.random.Generator) -> RGBImage:
    """Paint background, wings, patterns and body, with uneven light, grain and blur: uint8 (H, W, 3)."""
    height, width = masks.shape[1:]
    wing = palette.wing
    drawn: Mask = np.asarray(masks.any(axis=0))
    wings, body = _draw_wings(drawn, rng), _draw_body(drawn)
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

    def fade(colour: _Colour) -> _Colour:
        return shade(colour) * fresh + shade(wing) * (1 - fresh)

    for streak in palette.streaks:
        if rng.random() < STREAK_SHARE:
            image[streak.draw(wings, rng) & ~drawn] = fade(streak.colour)
    for mask, colour in zip(masks, palette.patterns, strict=True):
        image[mask] = fade(colour)
    image[_draw_veins(wings, rng)] *= 1 - palette.veins
    image[body] = shade(wing * rng.uniform(0.4, 1.1))
    image += (grain(1, rng.uniform(2, 9)) + grain(8, rng.uniform(2, 10))) * (wings | body)[..., None]
    image = ndimage.gaussian_filter(image, (*(rng.uniform(0.4, 1.4),) * 2, 0))
    grained: RGBImage = np.clip(image + rng.normal(0, rng.uniform(1, 5), image.shape), 0, 255).astype(np.uint8)
    return grained


def _draw_veins(wings: Mask, rng: np.random.Generator) -> Mask:
    """Draw thin lines from the body to the wing margin: bool (H, W)."""
    rows, columns = np.nonzero(wings)
    down, across = np.indices(wings.shape)
    angle = np.arctan2(down - rows.mean(), np.abs(across - columns.mean()) + 1)
    far = np.hypot(down - rows.mean(), across - columns.mean()) + 1
    apart = float(rng.uniform(0.1, 0.25))
    off = np.abs((angle + rng.uniform(0, 1)) % apart - apart / 2) * far
    lines: Mask = wings & (off < 1.2)
    return lines


def _draw_wings(drawn: Mask, rng: np.random.Generator) -> Mask:
    """Draw four wings: the convex hull of the traits in each quadrant, dilated; bool (H, W)."""
    rows, columns = np.nonzero(drawn)
    below, right = (np.indices(drawn.shape)[axis] >= centre for axis, centre in ((0, rows.mean()), (1, columns.mean())))
    wings = np.zeros_like(drawn)
    for quarter in (below & right, below & ~right, ~below & right, ~below & ~right):
        if (drawn & quarter).any():
            wings |= convex_hull_image(drawn & quarter)
    enlarged: Mask = ndimage.distance_transform_edt(~wings) < rng.integers(8, 24)
    return enlarged


def _draw_body(drawn: Mask) -> Mask:
    rows, columns = np.nonzero(drawn)
    down, across = np.indices(drawn.shape)
    half = max(1.0, 0.5 * float(np.ptp(rows)))
    body: Mask = ((across - columns.mean()) / (0.03 * drawn.shape[1])) ** 2 + ((down - rows.mean()) / half) ** 2 < 1
    return body


def _rotate(
    image: RGBImage, masks: npt.NDArray[np.bool_], rng: np.random.Generator
) -> tuple[RGBImage, npt.NDArray[np.bool_]]:
    """Rotate four of ten pictures by a random angle."""
    if rng.random() >= 0.4:
        return image, masks
    angle = float(rng.uniform(0, 360))
    paper = tuple(int(value) for value in np.median(image[:6].reshape(-1, 3), axis=0))
    turned = Image.fromarray(image).rotate(angle, Image.Resampling.BILINEAR, expand=True, fillcolor=paper)
    return np.asarray(turned), np.stack([np.asarray(Image.fromarray(m).rotate(angle, expand=True)) for m in masks])
