"""Masks of any propagator, drawn anew by a network that is prompted with them, where its own are likely better.

1. `remember`: is the network good at a trait? What was drawn on the support is displaced a little (`displace_masks`)
   and drawn anew from that; the IoU with what was drawn is the trait's quality. A wing cell between veins comes back,
   the rim of a colour patch does not: patches are no objects.
2. `propagate`: a mask that promises a lower IoU than this quality is drawn anew, prompted with its box, itself, points
   inside it and a point in each trait that excludes it. Of the three answers the one that agrees best with it is taken,
   if it agrees by `AGREEMENT`. A photograph without such a mask is not encoded.
3. A pixel that two traits claim which exclude each other goes to the one that was not drawn anew, else to the one the
   network is surer of. Confidences stay: they order masks, and the network's own scores do not.

The network sees the specimen only, cut out by the masks that were found (MobileSAM, `nets.mobile_sam`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sst_retrieval.imaging.masks import box as box_of
from sst_retrieval.imaging.masks import iou
from sst_retrieval.track.contract import Memory, Propagator
from sst_retrieval.track.dense.memory import find_rivals
from sst_retrieval.types import Box, Floats, Mask, MaskStack, Propagated, RGBImage, Support

AGREEMENT = 0.5
"""IoU with the found mask from which on a new one is taken: below, it means another thing."""

DISPLACEMENT = 0.005
"""Displacement of a support's masks, standard deviation in edges of the specimen's box: antennae of beetles keep an
IoU of 0.5, wing cases 0.97, much like masks that are found."""

SMOOTHNESS = 0.06
"""Standard deviation, in edges of the specimen's box, of the Gaussian that smooths the displacement."""

DISPLACEMENTS = 2
MARGIN = 0.08  # Around the masks that were found, in edges of their box; and `MARGIN_PIXELS` more.
MARGIN_PIXELS = 4
POINTS = 3  # Inside a mask, far from its rim and from each other.
MEASURED_EDGE = 512
"""Edge, in pixels, of masks in which points are looked for and supports are displaced; larger ones are thinned out."""

Point = tuple[float, float]
"""(x, y) in pixels."""


class EncodedPhotograph(Protocol):
    """A photograph on which masks can be drawn."""

    def draw(
        self, box: Box, mask: Mask, inside: Sequence[Point] = (), outside: Sequence[Point] = ()
    ) -> list[tuple[Box, Floats]]:
        """Draw what a prompt means (see `nets.mobile_sam.EncodedPhotograph.draw`)."""
        ...


class Drawer(Protocol):
    """A network that draws masks.

    Attributes:
        weights: name, file, sha256 and licence of its weights, for the provenance.
    """

    weights: Mapping[str, str]

    def encode(self, image: RGBImage) -> EncodedPhotograph:
        """Encode a photograph, uint8 (H, W, 3)."""
        ...


@dataclass(frozen=True, slots=True)
class RedrawnMemory:
    """The supports of a group.

    Attributes:
        found: of the propagator whose masks are drawn anew.
        rivals: bool (T, T), pairs of traits that never share a pixel.
        qualities: float32 (T,), IoU to expect of each trait's mask when it is drawn anew.
    """

    found: Memory
    rivals: npt.NDArray[np.bool_]
    qualities: Floats

    @property
    def traits(self) -> tuple[str, ...]:
        """Names of the T traits."""
        return self.found.traits


class RedrawnPropagator:
    """A propagator whose doubtful masks are drawn anew (a `Propagator`).

    Attributes:
        name: the propagator's own, and what draws; goes into the provenance.
        weights: of both.
        concurrent: whether several threads may call it at the same time: as the propagator.
    """

    def __init__(self, propagator: Propagator, drawer: Drawer) -> None:
        """Take a propagator, and what draws its masks anew."""
        self._propagator, self._drawer = propagator, drawer
        self.concurrent = getattr(propagator, "concurrent", False) is True
        own = getattr(propagator, "weights", None)
        self.weights: Mapping[str, Any] = {
            **(own if isinstance(own, Mapping) else {}),
            "redrawn_by": dict(drawer.weights),
        }
        self.name = (
            f"{propagator.name}; masks drawn anew 1 by {drawer.weights['name']} {drawer.weights['sha256'][:12]} where "
            "supports say that it is better"
        )

    def remember(self, supports: Sequence[Support]) -> RedrawnMemory:
        """Encode the supports of a group, and measure how well each of their traits is drawn anew."""
        found = self._propagator.remember(supports)
        rivals = find_rivals(supports, found.traits)
        measured: dict[str, list[float]] = {trait: [] for trait in found.traits}
        for support in supports:
            for trait, quality in self._measure_qualities(support).items():
                measured[trait].append(quality)
        qualities = [np.mean(each) if each else 0.0 for each in measured.values()]
        return RedrawnMemory(found, rivals, np.array(qualities, dtype=np.float32))

    def propagate(self, memory: RedrawnMemory, images: Sequence[RGBImage]) -> list[Propagated]:
        """Find the traits on every image, each by itself."""
        found = self._propagator.propagate(memory.found, images)
        return [self._redraw(memory, image, answer) for image, answer in zip(images, found, strict=True)]

    def _measure_qualities(self, support: Support) -> dict[str, float]:
        """Measure the IoU with which each trait of a support comes back: by trait, of those with a mask."""
        box = find_box(support.masks)
        if box is None:
            return {}
        (x0, y0, x1, y1), step = box, _compute_step(box)
        masks = support.masks[:, y0:y1:step, x0:x1:step]
        encoded = self._drawer.encode(support.image[y0:y1:step, x0:x1:step])
        rivals = find_rivals([support], support.traits)
        scores: dict[str, list[float]] = {}
        for seed in range(DISPLACEMENTS):
            displaced = displace_masks(masks, seed)
            for place, trait in enumerate(support.traits):
                if displaced[place].any() and masks[place].any():
                    new = draw_anew(encoded, displaced, place, rivals[place])
                    drawn = displaced[place] if new is None else new > 0
                    scores.setdefault(trait, []).append(iou(drawn, masks[place]))
        return {trait: float(np.mean(each)) for trait, each in scores.items()}

    def _redraw(self, memory: RedrawnMemory, image: RGBImage, answer: Propagated) -> Propagated:
        box = find_box(answer.masks)
        doubtful = np.flatnonzero((answer.confidence < memory.qualities) & answer.masks.any(axis=(1, 2)))
        if box is None or not len(doubtful):
            return answer
        x0, y0, x1, y1 = box
        masks = answer.masks[:, y0:y1, x0:x1]
        encoded = self._drawer.encode(image[y0:y1, x0:x1])
        drawn = {
            place: new
            for place in doubtful.tolist()
            if (new := draw_anew(encoded, masks, place, memory.rivals[place])) is not None
        }
        redrawn = answer.masks.copy()
        redrawn[:, y0:y1, x0:x1] = settle(masks, drawn, memory.rivals)
        return replace(answer, masks=redrawn)


def find_box(masks: MaskStack) -> Box | None:
    """Find the box of all masks together, with a margin, in pixels (x0, y0, x1, y1); None if they are empty."""
    union: Mask = masks.any(axis=0)  # type: ignore[assignment]
    if not union.any():
        return None
    x0, y0, x1, y1 = box_of(union)
    margin = int(MARGIN * (max(y1 - y0, x1 - x0) - 1)) + MARGIN_PIXELS
    height, width = union.shape
    return max(0, x0 - margin), max(0, y0 - margin), min(width, x1 + margin), min(height, y1 + margin)


def displace_masks(masks: MaskStack, seed: int) -> MaskStack:
    """Displace masks by a smooth random field, the same for all: bool (T, H, W).

    Args:
        masks: bool (T, H, W), of a specimen's box.
        seed: of the field.
    """
    height, width = masks.shape[1:]
    edge = max(height, width)
    random = np.random.default_rng(seed)
    fields = []
    for _ in range(2):
        smooth = ndimage.gaussian_filter(random.standard_normal((height, width)), SMOOTHNESS * edge)
        fields.append(smooth * DISPLACEMENT * edge / max(float(smooth.std()), 1e-12))
    rows, columns = np.mgrid[:height, :width]
    places = (
        np.clip(np.rint(rows + fields[0]), 0, height - 1).astype(np.intp),
        np.clip(np.rint(columns + fields[1]), 0, width - 1).astype(np.intp),
    )
    displaced: MaskStack = masks[:, *places]
    return displaced


def draw_anew(encoded: EncodedPhotograph, masks: MaskStack, place: int, rivals: npt.NDArray[np.bool_]) -> Floats | None:
    """Draw one mask anew.

    Args:
        encoded: the photograph.
        masks: bool (T, H, W), all that were found on it.
        place: of the one that is meant; not empty.
        rivals: bool (T,), which traits exclude it.

    Returns:
        float32 (H, W), logits, above 0 where it is drawn; None if no answer agrees with what was found.
    """
    mask = masks[place]
    box = box_of(mask)
    outside = [point for other in np.flatnonzero(rivals) for point in find_points(masks[other], 1)]
    answers = encoded.draw(box, mask[box[1] : box[3], box[0] : box[2]], find_points(mask, POINTS), outside)
    best, agreement = None, AGREEMENT
    for (x0, y0, x1, y1), logits in answers:
        whole = np.full(mask.shape, -1, np.float32)
        whole[y0:y1, x0:x1] = logits
        alike = iou(whole > 0, mask)
        if alike >= agreement:
            best, agreement = whole, alike
    return best


def find_points(mask: Mask, count: int) -> list[Point]:
    """Find points inside a mask, the farthest from its rim first, and far from each other: (x, y), at most `count`."""
    if not mask.any():
        return []
    step = _compute_step((0, 0, mask.shape[1], mask.shape[0]))
    thinned = mask[::step, ::step]
    if not thinned.any():
        rows, columns = np.nonzero(mask)
        return [(float(columns[0]) + 0.5, float(rows[0]) + 0.5)]
    # What lies at the border of the picture is no rim.
    depth = ndimage.distance_transform_edt(thinned)
    rows, columns = np.ogrid[: depth.shape[0], : depth.shape[1]]
    points: list[Point] = []
    for _ in range(count):
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        deepest = float(depth[row, column])
        if deepest <= 1 and points:
            break
        points.append((float(column) * step + 0.5, float(row) * step + 0.5))
        depth[(rows - row) ** 2 + (columns - column) ** 2 < max(3.0, 1.5 * deepest) ** 2] = 0
    return points


def settle(masks: MaskStack, drawn: Mapping[int, Floats], rivals: npt.NDArray[np.bool_]) -> MaskStack:
    """Put masks that were drawn anew in place of those that were found: bool (T, H, W).

    Args:
        masks: bool (T, H, W), as they were found.
        drawn: place of a trait -> float32 (H, W), logits of its new mask.
        rivals: bool (T, T), pairs of traits that never share a pixel.
    """
    remaining = dict(drawn)
    while True:
        settled = masks.copy()
        for place in remaining:
            settled[place] = _claim_pixels(place, masks, remaining, rivals[place])
        lost = [place for place in remaining if iou(settled[place], masks[place]) < AGREEMENT]
        if not lost:
            return settled
        for place in lost:  # Others took what it meant: it keeps what was found.
            del remaining[place]


def _claim_pixels(
    place: int, masks: MaskStack, drawn: Mapping[int, Floats], rivals: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Return what a new mask keeps beside its rivals: bool (H, W)."""
    logits = drawn[place]
    claimed: npt.NDArray[np.bool_] = logits > 0
    for other in np.flatnonzero(rivals).tolist():
        if other not in drawn:
            claimed &= ~masks[other]
        else:  # Of equal ones the earlier gets it.
            theirs = drawn[other]
            claimed &= (theirs <= 0) | ((logits >= theirs) if place < other else (logits > theirs))
    return claimed


def _compute_step(box: Box) -> int:
    """Return how many pixels of a box meet one of `MEASURED_EDGE`."""
    return max(1, max(box[2] - box[0], box[3] - box[1]) // MEASURED_EDGE)
