"""Synthetic organisms of any build, painted with exact masks of their parts: like fish, leaves, heads, shells, wings.

A kind of organism is a plan: an outline, and parts on it (lobes, bands, rims, cells between veins, spots) or beside it
(fins, tails, stalks). Individuals of a kind differ in proportions, outline, colours, light and background; those of
some kinds as much as genera do, so that only the plan says which part is which. No photograph is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sst_retrieval.types import Mask, RGBImage, Support

SIDE = 480
"""Edge of a painted picture, in pixels."""

UNNAMED_SHARE = 0.25
"""Share of the parts that are painted but not labelled."""

DISTANT_SHARE = 0.4
"""Share of the kinds whose individuals have nothing but the plan in common: neither colours nor proportions."""

_Grid = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Outline:
    """An outline by its radius over the angle, and how long the body is for its width.

    Attributes:
        waves: float64 (K,), amplitudes of cos(k angle), k = 1..K.
        length: of the body, 1 is as long as wide.
        mirrored: whether the left half is the right one's mirror image.
    """

    waves: _Grid
    length: float
    mirrored: bool

    def measure(self, x: _Grid, y: _Grid) -> tuple[_Grid, _Grid]:
        """Return how far out each place is (1 is the outline), and its angle from the front, 0..pi or -pi..pi."""
        angle = np.arctan2(np.abs(x) if self.mirrored else x, -y / self.length)
        order = np.arange(1, len(self.waves) + 1)
        radius = 1 + (self.waves[:, None, None] * np.cos(order[:, None, None] * angle)).sum(0)
        return np.hypot(x, y / self.length) / np.clip(radius, 0.35, None), angle


@dataclass(frozen=True)
class _Part:
    """A part by its kind and its numbers.

    Attributes:
        kind: one of `_SHAPES`.
        numbers: float64 (6,), what the shape is made of; about 0..1.
        colour: float64 (3,), RGB, 0..255.
        grain: strength of its texture.
    """

    kind: str
    numbers: _Grid
    colour: _Grid
    grain: float


@dataclass(frozen=True)
class _Plan:
    """What the individuals of a kind have in common.

    Attributes:
        outline: of the body.
        parts: from the lowest to the highest.
        colour: of the body, float64 (3,), RGB, 0..255.
        seam: how much darker (or brighter, negative) the borders of parts are, -1..1.
        opacity: 0..1; below 1 the background shines through.
    """

    outline: _Outline
    parts: tuple[_Part, ...]
    colour: _Grid
    seam: float
    opacity: float


def paint_organisms(kinds: int, individuals: int, *, seed: int = 0) -> Iterator[list[Support]]:
    """Paint one kind of organism after another.

    Args:
        kinds: how many kinds.
        individuals: how many of each.
        seed: of all random numbers.

    Yields:
        The individuals of a kind, each with the masks of its labelled parts.
    """
    for kind in range(kinds):
        rng = np.random.default_rng([seed, kind])
        plan, distant = _sample_plan(rng), rng.random() < DISTANT_SHARE
        named = rng.random(len(plan.parts)) >= UNNAMED_SHARE
        named[rng.integers(len(named))] = True
        painted = []
        for number in range(individuals):
            own = np.random.default_rng([seed, kind, number])
            image, masks = _paint(_vary(plan, distant, own), own)
            shown = [part for part in range(len(masks)) if named[part] and masks[part].sum() > 60]
            names = tuple(f"part {part}" for part in shown)
            if shown:
                painted.append(Support(f"kind {kind}/{number}", f"kind {kind}", image, names, masks[shown]))
        if painted:
            yield painted


# ------------------------------------------------------------------------------------------------------------ plans


def _sample_plan(rng: np.random.Generator) -> _Plan:
    mirrored = bool(rng.random() < 0.65)
    outline = _Outline(rng.normal(0, 0.12, 6) / np.arange(1, 7) ** 0.5, float(np.exp(rng.normal(0.25, 0.35))), mirrored)
    colour = rng.uniform(20, 235, 3)
    contrast = rng.choice([0.1, 0.4, 1.0])
    kinds = rng.choice(list(_SHAPES), size=int(rng.integers(2, 7)), p=[0.22, 0.14, 0.14, 0.2, 0.12, 0.18])
    parts = [
        _Part(str(kind), rng.random(6), _mix(colour, rng.uniform(0, 255, 3), contrast), float(rng.uniform(0, 14)))
        for kind in sorted(kinds, key=list(_SHAPES).index)
    ]
    opacity = float(rng.uniform(0.25, 0.7)) if rng.random() < 0.2 else 1.0
    return _Plan(outline, tuple(parts), colour, float(rng.uniform(-0.5, 0.9)), opacity)


def _vary(plan: _Plan, distant: bool, rng: np.random.Generator) -> _Plan:
    """Return the plan of one individual: near its kind's, or with nothing but the plan in common."""
    spread, hue = (0.09, 1.0) if distant else (0.03, 0.12)
    outline = replace(
        plan.outline,
        waves=plan.outline.waves + rng.normal(0, spread * 0.5, len(plan.outline.waves)),
        length=float(plan.outline.length * np.exp(rng.normal(0, spread * 1.5))),
    )
    body = rng.uniform(20, 235, 3)
    contrast = rng.choice([0.1, 0.4, 1.0])
    parts = []
    for part in plan.parts:
        other = _mix(body, rng.uniform(0, 255, 3), contrast)
        numbers = np.clip(part.numbers + rng.normal(0, spread, 6), 0, 1)
        parts.append(replace(part, numbers=numbers, colour=_mix(part.colour, other, hue)))
    seam = float(rng.uniform(-0.5, 0.9)) if distant else plan.seam
    return replace(plan, outline=outline, parts=tuple(parts), colour=_mix(plan.colour, body, hue), seam=seam)


def _mix(one: _Grid, other: _Grid, share: float) -> _Grid:
    mixed: _Grid = (1 - share) * one + share * other
    return mixed


# ----------------------------------------------------------------------------------------------------------- shapes
# Each takes how far out (1 is the outline), the angle, and the coordinates of the body; and six numbers of 0..1.


def _draw_band(out: _Grid, angle: _Grid, x: _Grid, y: _Grid, n: _Grid) -> Mask:
    middle, half = 1.6 * n[0] - 0.8, 0.08 + 0.25 * n[1]
    drawn: Mask = (out < 1) & (np.abs(y - middle - (n[2] - 0.5) * x**2 * 1.2) < half)
    return drawn


def _draw_rim(out: _Grid, angle: _Grid, x: _Grid, y: _Grid, n: _Grid) -> Mask:
    start, reach = (2 * n[0] - 0.3) * np.pi / 2, 0.5 + 1.6 * n[1]
    drawn: Mask = (out < 1) & (out > 0.85 - 0.45 * n[2]) & (np.abs(np.abs(angle) - start) < reach / 2)
    return drawn


def _draw_cell(out: _Grid, angle: _Grid, x: _Grid, y: _Grid, n: _Grid) -> Mask:
    # Between two veins that leave the hind end, and between two that cross them.
    fan = np.arctan2(x, y + 1.6)
    left, across = (1.3 * n[0] - 0.65), 0.12 + 0.3 * n[1]
    near = 0.15 + 0.6 * n[2]
    drawn: Mask = (out < 0.96) & (fan > left) & (fan < left + across) & (np.hypot(x, y + 1.6) / 2.6 > near * 0.7)
    return drawn


def _draw_fin(out: _Grid, angle: _Grid, x: _Grid, y: _Grid, n: _Grid) -> Mask:
    start, reach = np.pi * (0.15 + 0.85 * n[0]), 0.1 + 0.35 * n[1]
    spread = reach * (0.6 + 1.2 * n[2] * np.clip(out - 0.9, 0, 1) * 2)
    end = 1.15 + 0.45 * n[3] + 0.15 * (n[4] - 0.5) * np.cos(9 * angle)
    drawn: Mask = (out > 0.93) & (out < end) & (np.abs(np.abs(angle) - start) < spread)
    return drawn


def _draw_lobe(out: _Grid, angle: _Grid, x: _Grid, y: _Grid, n: _Grid) -> Mask:
    aside = 0.0 if n[4] < 0.45 else 0.25 + 0.45 * n[0]
    right, down = np.abs(x) - aside if aside else x, y - (1.5 * n[1] - 0.75)
    drawn: Mask = (out < 0.97) & ((right / (0.14 + 0.3 * n[2])) ** 2 + (down / (0.14 + 0.5 * n[3])) ** 2 < 1)
    return drawn


def _draw_spot(out: _Grid, angle: _Grid, x: _Grid, y: _Grid, n: _Grid) -> Mask:
    right, down = np.abs(x) - 0.7 * n[0], y - (1.5 * n[1] - 0.75)
    drawn: Mask = (out < 0.95) & (np.hypot(right, down) < 0.05 + 0.1 * n[2])
    return drawn


_SHAPES: dict[str, Callable[[_Grid, _Grid, _Grid, _Grid, _Grid], Mask]] = {
    "fin": _draw_fin,
    "band": _draw_band,
    "rim": _draw_rim,
    "cell": _draw_cell,
    "lobe": _draw_lobe,
    "spot": _draw_spot,
}


# ---------------------------------------------------------------------------------------------------------- painting


def _paint(plan: _Plan, rng: np.random.Generator) -> tuple[RGBImage, npt.NDArray[np.bool_]]:
    """Paint one individual: uint8 (SIDE, SIDE, 3), and the masks of its parts: bool (P, SIDE, SIDE)."""
    x, y = _sample_coordinates(plan.outline.length, rng)
    out, angle = plan.outline.measure(x, y)
    along = y / plan.outline.length
    label = np.where(out < 1, 0, -1)
    for number, part in enumerate(plan.parts):
        label[_SHAPES[part.kind](out, angle, x, along, part.numbers)] = number + 1
    paper = _paint_background(rng)
    image = np.repeat(_grain(rng, 12, 6)[..., None], 3, axis=2) + plan.colour
    for number, part in enumerate(plan.parts):
        texture = _grain(rng, float(rng.uniform(1, 6)), part.grain)[..., None]
        image = np.where((label == number + 1)[..., None], part.colour + texture, image)
    edge = np.hypot(*(ndimage.sobel(label, axis).astype(float) for axis in (0, 1))) > 0
    seam = ndimage.gaussian_filter(edge.astype(float), rng.uniform(0.5, 1.5))[..., None]
    image = image * (1 - plan.seam * np.clip(1.5 * seam, 0, 1))
    # Round: darker towards the outline; lit from one side.
    turn = rng.uniform(0, 2 * np.pi)
    round_, side = rng.uniform(0, 0.4), rng.uniform(0, 0.25)
    image *= (1 - round_ * np.clip(out, 0, 1.3) ** 3 + side * (x * np.cos(turn) + along * np.sin(turn)))[..., None]
    alive: Mask = label >= 0
    if rng.random() < 0.4:
        paper[np.roll(alive, rng.integers(-9, 9, 2), (0, 1)) & ~alive] *= rng.uniform(0.6, 0.9)
    image = np.where(alive[..., None], plan.opacity * image + (1 - plan.opacity) * paper, paper)
    if rng.random() < 0.25:
        image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    image = ndimage.gaussian_filter(image, (*(rng.uniform(0.4, 1.3),) * 2, 0)) * rng.normal(1, 0.1)
    noisy = np.clip(image + rng.normal(0, rng.uniform(1, 6), image.shape), 0, 255).astype(np.uint8)
    return noisy, np.stack([label == number + 1 for number in range(len(plan.parts))])


def _sample_coordinates(length: float, rng: np.random.Generator) -> tuple[_Grid, _Grid]:
    """Place the body on the picture: turned, sized, bent; its coordinates at every pixel, two float64 (SIDE, SIDE)."""
    down, right = (np.indices((SIDE, SIDE)) / (SIDE - 1) * 2 - 1) * 1.0
    size = rng.uniform(0.4, 0.62) / max(1.0, length)
    turn = rng.uniform(0, 2 * np.pi) if rng.random() < 0.35 else rng.normal(0, 0.15)
    down, right = down - rng.normal(0, 0.08), right - rng.normal(0, 0.08)
    x = (np.cos(turn) * right + np.sin(turn) * down) / size
    y = (np.cos(turn) * down - np.sin(turn) * right) / size
    bend = rng.normal(0, 0.05)
    warp = [ndimage.zoom(rng.normal(0, 0.035, (6, 6)), SIDE / 6, order=3) for _ in range(2)]
    return x + warp[0] + bend * y**2, y + warp[1]


def _paint_background(rng: np.random.Generator) -> _Grid:
    """Paint paper, wood or vegetation: float64 (SIDE, SIDE, 3)."""
    paper = np.ones((SIDE, SIDE, 3)) * (
        rng.uniform(90, 255) + rng.normal(0, 8, 3) if rng.random() < 0.6 else rng.uniform(10, 240, 3)
    )
    paper += _grain(rng, 30, rng.uniform(0, 12))[..., None]
    if rng.random() < 0.3:
        for spread in (3, 9, 24):
            paper += _grain(rng, spread, rng.uniform(4, 22))[..., None] * rng.uniform(0.5, 1.2, 3)
    return paper


def _grain(rng: np.random.Generator, spread: float, strength: float) -> _Grid:
    noise = ndimage.gaussian_filter(rng.normal(0, 1, (SIDE, SIDE)), spread)
    grained: _Grid = noise * strength / max(float(noise.std()), 1e-6)
    return grained
