"""Draw one specimen of a species, as varied as a real series: pose, posture, colour, markings, wear, photograph."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from sst_retrieval.synthetic import backdrop
from sst_retrieval.synthetic.beetles import Beetle, draw_beetle
from sst_retrieval.synthetic.bodies import draw_antennae, draw_body
from sst_retrieval.synthetic.canvas import Canvas, Colour, Points, Pose, Values
from sst_retrieval.synthetic.markings import Band, Eyespots, Marking, Stripes
from sst_retrieval.synthetic.species import Butterfly, Species
from sst_retrieval.synthetic.wings import Scales, Wing, draw_wing, wing_outline
from sst_retrieval.types import Mask, RGBImage

WEAR = ("fresh", "torn", "one hindwing lost", "hindwings lost", "wing tips lost")
"""What may have happened to a specimen."""

_LEAST_PIXELS = 20
_PINS: tuple[Colour, ...] = ((196, 190, 180), (40, 40, 44), (214, 176, 96))
_BEETLE_SPAN = np.array([(-0.5, -0.78), (0.5, -0.78), (0.5, 0.72), (-0.5, 0.72)])
_SIZES = ((420, 560), (400, 560), (420, 520), (380, 540))


@dataclass(frozen=True, slots=True)
class SpecimenPlan:
    """What is decided about a specimen before it is drawn.

    Attributes:
        species: what it is.
        angle: radians by which it is rotated on the photograph.
        wear: one of `WEAR`.
        male: males are smaller and brighter.
        label: lines printed on the paper label; none for no label.
    """

    species: Species
    angle: float
    wear: str
    male: bool
    label: tuple[str, ...]


def draw_specimen(plan: SpecimenPlan, rng: np.random.Generator) -> tuple[RGBImage, dict[str, Mask]]:
    """Draw a specimen's photograph and the masks of what it shows.

    Args:
        plan: what to draw.
        rng: every other variation comes from here.

    Returns:
        uint8 (H, W, 3), and trait name -> bool (H, W), without the traits that are not visible.
        The masks do not overlap.
    """
    size = _SIZES[rng.integers(len(_SIZES))]
    canvas = Canvas.blank(size)
    if isinstance(plan.species, Butterfly):
        pose = _pose(span_butterfly(plan.species), plan, canvas, rng)
        _place_butterfly(canvas, plan, plan.species, pose, rng)
        pin_at = pose.point(0, 0)
    else:
        pose = _pose(_BEETLE_SPAN, plan, canvas, rng)
        beetle = vary_beetle(plan.species.beetle, rng)
        canvas.place(draw_beetle(beetle, rng, tears=_beetle_tears(plan, rng)), pose)
        pin_at = pose.point(0.09, 0.02)
    light = rng.uniform(-math.pi, 0)
    head = max(2.5, pose.scale * (0.012 if isinstance(plan.species, Butterfly) else 0.02))
    backdrop.paint_pin(canvas, pin_at, head, _PINS[rng.integers(len(_PINS))], light)
    ground = _surroundings(plan, size, pose.scale / plan.species.size, rng)
    picture = backdrop.render_photograph(ground, canvas, light=light, height=rng.uniform(4, 11), rng=rng)
    masks = {name: mask > 0.5 for name, mask in canvas.masks.items()}
    # A shred of a few pixels left at a tear is no trait any more.
    return picture, {name: mask for name, mask in masks.items() if mask.sum() >= _LEAST_PIXELS}


def span_butterfly(species: Butterfly) -> Values:
    """Return points of the outline of the set butterfly, float (N, 2), in units around its thorax."""
    points = []
    for wing, base, degrees in list_wings(species):
        turn = Pose(base, math.radians(degrees), 1.0)
        right = wing_outline(wing) @ turn.matrix().T + base
        points += [right, right * (-1, 1)]
    return np.concatenate([*points, [(0, -0.45), (0, species.body.abdomen + 0.1)]]).astype(np.float32)


def list_wings(species: Butterfly) -> tuple[tuple[Wing, tuple[float, float], float], ...]:
    """List the wings of the right side, the lower first: shape, (x, y) of its base in units, rotation in degrees."""
    girth = species.body.girth
    return (
        (species.hindwing, (girth * 0.6, girth * 0.7), species.spread[1]),
        (species.forewing, (girth * 0.6, -girth * 0.8), species.spread[0]),
    )


def _pose(span: Values, plan: SpecimenPlan, canvas: Canvas, rng: np.random.Generator) -> Pose:
    """Choose place and scale so that the whole specimen is on the photograph."""
    h, w = canvas.cover.shape
    around = span @ Pose((0, 0), plan.angle, 1.0).matrix().T
    low, high = around.min(0), around.max(0)
    fill = rng.uniform(0.66, 0.88) * (0.94 if plan.male else 1.0)
    scale = fill * min(w / (high[0] - low[0]), h / (high[1] - low[1]))
    spare = np.array([w, h]) - scale * (high - low)
    corner = spare * np.clip(rng.normal(0.5, 0.12, size=2), 0.2, 0.8)
    x, y = corner - scale * low
    return Pose((float(x), float(y)), plan.angle, float(scale))


def _place_butterfly(
    canvas: Canvas, plan: SpecimenPlan, species: Butterfly, pose: Pose, rng: np.random.Generator
) -> None:
    """Place hindwings, forewings and body on the canvas, each side a little different."""
    tint = _tint(plan.male, rng)
    scales = [_vary_scales(s, tint, rng) for s in (species.hind_scales, species.fore_scales)]
    markings = [tuple(_vary_marking(m, tint, rng) for m in series) for series in (species.hind, species.fore)]
    posture = rng.normal(0, 4, size=2)
    stretch = rng.normal(1, 0.03, size=2)
    lost = rng.integers(2)
    for pair, (wing, base, degrees) in enumerate(list_wings(species)):
        for side, mirror in enumerate((False, True)):
            if pair == 0 and (plan.wear == "hindwings lost" or (plan.wear == "one hindwing lost" and side == lost)):
                continue
            tears = _tears(plan.wear, "forewing" if pair else "hindwing", rng)
            part = draw_wing(wing, scales[pair], markings[pair], rng, tears=tears)
            angle = math.radians(degrees + posture[pair] + rng.normal(0, 1.5)) * (-1 if mirror else 1)
            at = pose.point(-base[0] if mirror else base[0], base[1])
            lie = Pose(at, pose.angle + angle, pose.scale * rng.normal(1, 0.01), mirror, float(stretch[pair]))
            canvas.place(part, lie, shadow=0.55)
    tilt = pose.angle + rng.normal(0, 0.03)
    canvas.place(draw_antennae(species.body, rng), replace(pose, angle=tilt))
    canvas.place(draw_body(species.body, rng), replace(pose, angle=tilt), shadow=0.5)


def _tears(wear: str, wing: str, rng: np.random.Generator) -> list[Points]:
    """Choose what is missing from a wing, as polygons in units."""
    if wear == "wing tips lost" and wing == "forewing":
        y = np.linspace(-0.4, 0.6, 15)
        x = 0.36 + rng.normal(0, 0.015, size=15) + 0.1 * y
        return [(*((float(u), float(v)) for u, v in zip(x, y, strict=True)), (1.4, 0.6), (1.4, -0.4))]
    if wear != "torn" or rng.random() < 0.35:
        return []
    tears: list[Points] = []
    for _ in range(rng.integers(1, 3)):
        direction = math.radians(rng.uniform(-6, 38) if wing == "forewing" else rng.uniform(5, 75))
        depth, half = rng.uniform(0.38, 0.72), rng.uniform(0.05, 0.16)
        out = np.array([depth, *([1.3] * 2), depth + 0.08])
        across = np.array([-0.2 * half, -half * 1.6, half * 1.6, 0.5 * half]) + rng.normal(0, 0.01, 4)
        x = out * math.cos(direction) - across * math.sin(direction)
        y = out * math.sin(direction) + across * math.cos(direction)
        tears.append(tuple((float(u), float(v)) for u, v in zip(x, y, strict=True)))
    return tears


def _beetle_tears(plan: SpecimenPlan, rng: np.random.Generator) -> list[Points]:
    """Break the end of one elytron off."""
    if plan.wear == "fresh":
        return []
    side, y = rng.choice((-1, 1)), rng.uniform(0.25, 0.4)
    jag = rng.normal(0, 0.015, size=4)
    edge = [(side * (0.004 + 0.1 * k), y + float(jag[k])) for k in range(4)]
    return [(*((float(u), float(v)) for u, v in edge), (float(side * 0.3), 0.7), (float(side * 0.004), 0.7))]


def _tint(male: bool, rng: np.random.Generator) -> Values:
    """Draw how this specimen's colours differ from its species': factors of red, green, blue, float32 (3,)."""
    return np.asarray(rng.normal(1.0 if male else 0.95, 0.05) * rng.normal(1, 0.02, size=3), np.float32)


def _tint_and_fade(colour: Colour, tint: Values, fading: float) -> Colour:
    """Tint a colour and fade it towards the straw of old specimens."""
    red, green, blue = (1 - fading) * np.asarray(colour) * tint + fading * np.asarray((150, 124, 92))
    return float(red), float(green), float(blue)


def _vary_scales(scales: Scales, tint: Values, rng: np.random.Generator) -> Scales:
    """Tint and fade the colours of a wing, and vary its margin."""
    fading = float(rng.uniform(0, 0.14))
    return replace(
        scales,
        ground=_tint_and_fade(scales.ground, tint, fading),
        edge=_tint_and_fade(scales.edge, tint, fading * 0.7),
        margin=float(scales.margin * rng.uniform(0.7, 1.3)),
    )


def _vary_marking(marking: Marking, tint: Values, rng: np.random.Generator) -> Marking:
    """Move, widen and tint a marking as it varies among the specimens of a species."""
    if isinstance(marking, Stripes):
        return marking  # Its parameters are the truth of an experiment (`synthetic.crossed`).
    if isinstance(marking, Eyespots):
        rings = tuple(_tint_and_fade(ring, tint, 0.0) for ring in marking.rings)
        kept = tuple(cell for k, cell in enumerate(marking.cells) if k < 2 or rng.random() < 0.75)
        return replace(marking, rings=rings, cells=kept, radius=marking.radius * float(rng.uniform(0.85, 1.2)))
    wider = marking.width * float(np.clip(rng.normal(1, 0.14), 0.65, 1.4))
    colour = _tint_and_fade(marking.colour, tint, float(rng.uniform(0, 0.08)))
    if isinstance(marking, Band):
        moved = marking.at + float(rng.normal(0, 0.012))
        ends = (marking.cells[0] + float(rng.normal(0, 0.25)), marking.cells[1] + float(rng.normal(0, 0.3)))
        return replace(marking, colour=colour, width=wider, at=moved, cells=ends)
    return replace(marking, colour=colour, width=wider, bend=marking.bend + float(rng.normal(0, 0.008)))


def vary_beetle(beetle: Beetle, rng: np.random.Generator) -> Beetle:
    """Vary the colours and the width of a beetle."""
    tint = np.asarray(rng.normal(1, 0.12, size=3) * rng.normal(1, 0.1), np.float32)
    return replace(
        beetle,
        colour=_tint_and_fade(beetle.colour, tint, 0.0),
        pronotum=_tint_and_fade(beetle.pronotum, tint, 0.0),
        width=float(beetle.width * rng.normal(1, 0.04)),
    )


def _surroundings(plan: SpecimenPlan, size: tuple[int, int], pixels_per_mm: float, rng: np.random.Generator) -> Values:
    """Paint the ground with what lies on it: label, scale bar, colour card."""
    ground = backdrop.paint_floor(str(rng.choice(backdrop.FLOORS, p=(0.35, 0.3, 0.2, 0.15))), size, rng)
    h, w = size
    left = bool(rng.integers(2))
    if plan.label:
        paper = backdrop.paper_label(plan.label, rng)
        x = rng.integers(-2, 12) if left else w - paper.width - rng.integers(-2, 12)
        backdrop.paste(ground, paper, (int(x), h - paper.height - int(rng.integers(-4, 8))))
    if rng.random() < 0.6:
        bar = backdrop.scale_bar(pixels_per_mm)
        backdrop.paste(ground, bar, (w - bar.width - 14 if left else 14, h - bar.height - 12))
    if rng.random() < 0.25:
        card = backdrop.colour_card()
        backdrop.paste(ground, card, (14 if left else w - card.width - 14, 12))
    return ground
