"""Photograph a crossed specimen: place its wings, and let one of four photographers take the picture.

Everything that is no trait is a factor with four levels: what it lies on, who photographs it (exposure, white balance,
sharpness, noise, and what lies beside it), how it is turned, where the light comes from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy import ndimage

from sst_retrieval.synthetic import backdrop
from sst_retrieval.synthetic.bodies import draw_antennae, draw_body
from sst_retrieval.synthetic.canvas import Canvas, Colour, Pose, Values, as_bytes
from sst_retrieval.synthetic.looks import GROUND, TRAITS, WingLook, mix_wings
from sst_retrieval.synthetic.species import Butterfly
from sst_retrieval.synthetic.specimen import list_wings, span_butterfly
from sst_retrieval.synthetic.wings import Scales, Wing, draw_wing, wing_outline
from sst_retrieval.types import Mask, RGBImage

SIDE = 400
"""Edge of a photograph in pixels."""

FLOORS = backdrop.FLOORS
"""What a specimen lies on, by level."""

LIGHTS = tuple(math.pi * k / 2 for k in range(4))
"""Directions the light comes from, by level, radians."""

TURNS = tuple(math.pi * k / 2 for k in range(4))
"""How a specimen is turned, by level, radians; each differs by up to `TURN_SPREAD`."""

TURN_SPREAD = math.radians(12)

_ASIDE = {"hindwing": (0.3, 0.05), "forewing": (0.0, 0.0)}
"""How far each wing is set from where a butterfly has it: outwards in girths, towards the tail in units. So wings and
body hide hardly anything of an outline. Of hindwings where they belong up to 7 % are covered, in every posture another
part, and that is as much as the outlines of two species differ by: nobody could see the true distance."""

_SCALES = Scales(GROUND, (26.0, 22.0, 20.0), 0.02)
_PIN: Colour = (196.0, 190.0, 180.0)


@dataclass(frozen=True, slots=True)
class Photographer:
    """How somebody takes photographs.

    Attributes:
        exposure: factor of all values.
        white: factors of red, green and blue.
        gamma: exponent of the values, as shares of 255.
        blur: standard deviation in pixels.
        noise: standard deviation, 0..255.
        quality: of the JPEG.
        fill: share of the photograph that the specimen spans.
        beside: what lies beside it: "label", "scale bar", "colour card".
        left: whether that is on the left.
    """

    exposure: float
    white: tuple[float, float, float]
    gamma: float
    blur: float
    noise: float
    quality: int
    fill: float
    beside: tuple[str, ...]
    left: bool


PHOTOGRAPHERS = (
    Photographer(1.0, (1.0, 1.0, 1.0), 1.0, 0.3, 1.5, 94, 0.86, ("label",), left=True),
    Photographer(0.86, (1.08, 1.0, 0.9), 1.0, 0.5, 2.5, 88, 0.78, ("label", "scale bar"), left=False),
    Photographer(1.1, (0.94, 1.0, 1.07), 0.93, 0.9, 3.5, 82, 0.82, ("scale bar", "colour card"), left=True),
    Photographer(0.94, (1.03, 0.98, 1.03), 1.1, 0.6, 5.0, 90, 0.74, (), left=False),
)
"""By level."""


@dataclass(frozen=True, slots=True)
class Sitting:
    """Everything about a photograph that is no trait; levels are 0..3.

    Attributes:
        background: position in `FLOORS`.
        photographer: position in `PHOTOGRAPHERS`.
        turn: position in `TURNS`.
        light: position in `LIGHTS`.
        label: what is printed on the paper label, if there is one; it must not tell a trait.
    """

    background: int
    photographer: int
    turn: int
    light: int
    label: str


def photograph_specimen(
    mixture: tuple[float, ...], looks: dict[str, WingLook], sitting: Sitting, seed: tuple[int, ...]
) -> tuple[RGBImage, dict[str, Mask]]:
    """Photograph a specimen.

    Args:
        mixture: shares of the parents in its outline.
        looks: trait -> looks of that pair of wings.
        sitting: the photograph.
        seed: of everything else. The same seed with another background is the same specimen in the same place.

    Returns:
        uint8 (SIDE, SIDE, 3), and trait -> bool (SIDE, SIDE), what is visible of it; the masks do not overlap.
    """
    rng = np.random.default_rng((*seed, 0))
    butterfly = mix_wings(mixture)
    by = PHOTOGRAPHERS[sitting.photographer]
    canvas = Canvas.blank((SIDE, SIDE))
    angle = TURNS[sitting.turn] + float(rng.uniform(-TURN_SPREAD, TURN_SPREAD))
    pose = _choose_pose(_span(butterfly), angle, by.fill, rng)
    _place(canvas, butterfly, looks, pose, rng)
    backdrop.paint_pin(canvas, pose.point(0, 0), max(2.5, pose.scale * 0.012), _PIN, LIGHTS[sitting.light])
    # Each with chance of its own: another background must not change the light.
    ground = _paint_surroundings(sitting, by, pose.scale / butterfly.size, np.random.default_rng((*seed, 1)))
    light, chance = LIGHTS[sitting.light], np.random.default_rng((*seed, 2))
    picture = backdrop.render_photograph(ground, canvas, light=light, height=6.0, rng=chance)
    masks = {trait: canvas.masks[trait] > 0.5 for trait in TRAITS}
    return _develop(picture, by, chance), masks


def set_wings(butterfly: Butterfly) -> dict[str, tuple[Wing, tuple[float, float], float]]:
    """Set the wings of the right side apart, the lower first: trait -> shape, (x, y) of its base in units, degrees."""
    placed = {}
    for trait, (wing, (x, y), degrees) in zip(("hindwing", "forewing"), list_wings(butterfly), strict=True):
        outwards, down = _ASIDE[trait]
        placed[trait] = wing, (x + outwards * butterfly.body.girth, y + down), degrees
    return placed


def _span(butterfly: Butterfly) -> Values:
    """Return points of the outline of the specimen, float32 (N, 2), in units around its thorax."""
    points = [span_butterfly(butterfly)]
    for wing, base, degrees in set_wings(butterfly).values():
        right = wing_outline(wing) @ Pose(base, math.radians(degrees), 1.0).matrix().T + base
        points += [right, right * (-1, 1)]
    return np.concatenate(points).astype(np.float32)


def _choose_pose(span: Values, angle: float, fill: float, rng: np.random.Generator) -> Pose:
    """Choose place and scale so that the whole specimen is on the photograph, near its middle."""
    around = span @ Pose((0, 0), angle, 1.0).matrix().T
    low, high = around.min(0), around.max(0)
    scale = fill * SIDE / float((high - low).max())
    x, y = (SIDE - scale * (high + low)) / 2 + rng.uniform(-0.02, 0.02, 2) * SIDE
    return Pose((float(x), float(y)), angle, scale)


def _place(
    canvas: Canvas, butterfly: Butterfly, looks: dict[str, WingLook], pose: Pose, rng: np.random.Generator
) -> None:
    """Place hindwings, forewings, antennae and body on the canvas, each side a little different."""
    for trait, (wing, base, degrees) in set_wings(butterfly).items():
        stripes = looks[trait].stripes()
        lean = rng.normal(0, 3)
        for mirror in (False, True):
            drawn = draw_wing(wing, _SCALES, (stripes,), rng)
            part = replace(drawn, masks={trait: drawn.cover})
            turned = math.radians(degrees + lean + rng.normal(0, 1.5)) * (-1 if mirror else 1)
            at = pose.point(-base[0] if mirror else base[0], base[1])
            canvas.place(part, Pose(at, pose.angle + turned, pose.scale, mirror), shadow=0.55)
    canvas.place(draw_antennae(butterfly.body, rng), pose)
    canvas.place(draw_body(butterfly.body, rng), pose, shadow=0.5)


def _paint_surroundings(sitting: Sitting, by: Photographer, pixels_per_mm: float, rng: np.random.Generator) -> Values:
    """Paint the ground with what lies on it."""
    ground = backdrop.paint_floor(FLOORS[sitting.background], (SIDE, SIDE), rng)
    if "label" in by.beside:
        paper = backdrop.paper_label((sitting.label, "synthetic"), rng)
        backdrop.paste(ground, paper, (2 if by.left else SIDE - paper.width - 2, SIDE - paper.height))
    if "scale bar" in by.beside:
        bar = backdrop.scale_bar(pixels_per_mm)
        backdrop.paste(ground, bar, (SIDE - bar.width - 8 if by.left else 8, SIDE - bar.height - 6))
    if "colour card" in by.beside:
        card = backdrop.colour_card()
        backdrop.paste(ground, card, (6 if by.left else SIDE - card.width - 6, 6))
    return ground


def _develop(picture: RGBImage, by: Photographer, rng: np.random.Generator) -> RGBImage:
    """Do to a photograph what its photographer's camera does."""
    values = (picture.astype(np.float32) / 255) ** by.gamma * 255
    values = values * (np.asarray(by.white, np.float32) * by.exposure)
    values = ndimage.gaussian_filter(values, (by.blur, by.blur, 0))
    values += rng.standard_normal(values.shape, dtype=np.float32) * by.noise
    developed: RGBImage = np.asarray(Image.fromarray(as_bytes(values)))
    return developed
