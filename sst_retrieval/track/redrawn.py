"""Masks of any propagator, drawn anew by a network that is prompted with them, where its own are likely better.

1. `remember`: is the network good at a trait? What was drawn on the support is displaced a little (`displace_masks`)
   and drawn anew from that; the IoU with what was drawn is the trait's quality. A wing cell between veins comes back.
   The rim of a colour patch does not: patches are no objects, and what the propagator finds follows such a rim better.
   So what is drawn anew from the drawn mask itself is compared with what the propagator finds on a changed photograph
   of the support; where the network is worse by more than `TOLERANCE`, the trait is never drawn anew.
2. `propagate`: a mask that promises a lower IoU than this quality is drawn anew, prompted with its box, itself, points
   inside it and a point in each trait that excludes it. Of the three answers the one that agrees best with it is taken,
   if it agrees by `AGREEMENT`. A photograph without such a mask is not encoded.
3. Where the propagator says how sure each pixel is (`SoftPropagator`), the prompt says so, too, and the new mask is
   mixed with the found one (`mix`): a rim moves where the propagator is unsure of it.
4. A pixel that two traits claim which exclude each other goes to the one that was not drawn anew, else to the one that
   is surer. Confidences stay: they order masks, and the network's own scores do not.

The network sees the specimen only, cut out by the masks that were found (MobileSAM, `nets.mobile_sam`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sst_retrieval.imaging import frames
from sst_retrieval.imaging.foreground import frame_specimen
from sst_retrieval.imaging.masks import box as box_of
from sst_retrieval.imaging.masks import iou
from sst_retrieval.track.contract import Memory, Propagator
from sst_retrieval.track.dense.memory import CHANGED_FRAME, change_view, find_rivals, join_masks
from sst_retrieval.types import Box, Floats, Mask, MaskStack, Propagated, RGBImage, Support

AGREEMENT = 0.5
"""IoU with the found mask from which on a new one is taken: below, it means another thing."""

TOLERANCE = 0.01
"""IoU by which the network may draw a support's trait worse than the propagator finds it. Beetles and painted animals
alone would allow 0.03; it is lower because Heliconius, which was looked at, still lost with that."""

NETWORK_SHARE = 0.6
"""Weight of the network in a mask that is mixed; the rest is the propagator's. Set on beetles and painted animals."""

CHANGED_EDGES = (448, 1024)
"""Least and largest edge, in pixels, of the changed photograph of a support (`track.dense.memory.change_view`)."""

DISPLACEMENT = 0.005
"""Displacement of a support's masks, standard deviation in edges of the specimen's box: antennae of beetles keep an
IoU of 0.5, wing cases 0.97, much like masks that are found."""

SMOOTHNESS = 0.06
"""Standard deviation, in edges of the specimen's box, of the Gaussian that smooths the displacement."""

DISPLACEMENTS = 2
OUTSIDE = -8.0  # Logit of pixels outside the part of the photograph that an answer holds.
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
        self, box: Box, mask: Mask | Floats, inside: Sequence[Point] = (), outside: Sequence[Point] = ()
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


@runtime_checkable
class SoftPropagator(Protocol):
    """A propagator that can say how sure every pixel of its masks is."""

    def propagate_softly(self, memory: Any, images: Sequence[RGBImage]) -> list[tuple[Propagated, Floats]]:
        """Find the traits; with soft masks, float32 (T, S, S), 0..1, in their frame, above 0.5 where a trait wins."""
        ...


@dataclass(frozen=True, slots=True)
class RedrawnMemory:
    """The supports of a group.

    Attributes:
        found: of the propagator whose masks are drawn anew.
        rivals: bool (T, T), pairs of traits that never share a pixel.
        qualities: float32 (T,), IoU to expect of each trait's mask when it is drawn anew; 0 where the propagator's own
            masks follow what people draw better.
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
            f"{propagator.name}; masks drawn anew 2 by {drawer.weights['name']} {drawer.weights['sha256'][:12]} where "
            "supports say that it is better"
        )

    def remember(self, supports: Sequence[Support]) -> RedrawnMemory:
        """Encode the supports of a group, and measure how well each of their traits is drawn anew."""
        found = self._propagator.remember(supports)
        rivals = find_rivals(supports, found.traits)
        measured: dict[str, list[tuple[float, float, float]]] = {trait: [] for trait in found.traits}
        for support in supports:
            for trait, scores in self._measure(found, support).items():
                measured[trait].append(scores)
        qualities = np.zeros(len(found.traits), dtype=np.float32)
        for place, each in enumerate(measured.values()):
            if each:
                improved, returned, own = np.mean(each, axis=0)
                qualities[place] = improved if returned >= own - TOLERANCE else 0.0
        return RedrawnMemory(found, rivals, qualities)

    def propagate(self, memory: RedrawnMemory, images: Sequence[RGBImage]) -> list[Propagated]:
        """Find the traits on every image, each by itself."""
        if isinstance(self._propagator, SoftPropagator):
            answers = self._propagator.propagate_softly(memory.found, images)
            return [self._redraw(memory, image, *pair) for image, pair in zip(images, answers, strict=True)]
        found = self._propagator.propagate(memory.found, images)
        return [self._redraw(memory, image, answer) for image, answer in zip(images, found, strict=True)]

    def _measure(self, memory: Memory, support: Support) -> dict[str, tuple[float, float, float]]:
        """Measure how well each trait of a support is drawn, by trait, of those with a mask.

        Returns:
            Three IoUs with what was drawn: of masks that were displaced and drawn anew; of the drawn mask, drawn anew;
            of what the propagator finds on a changed photograph of the support.
        """
        box = find_box(support.masks)
        if box is None:
            return {}
        (x0, y0, x1, y1), step = box, _compute_step(box)
        masks = support.masks[:, y0:y1:step, x0:x1:step]
        encoded = self._drawer.encode(support.image[y0:y1:step, x0:x1:step])
        rivals = find_rivals([support], support.traits)
        improved: dict[str, list[float]] = {}
        returned: dict[str, float] = {}
        for place, trait in enumerate(support.traits):
            if masks[place].any():
                new = draw_anew(encoded, masks, place, rivals[place])
                returned[trait] = 0.0 if new is None else iou(new > 0, masks[place])
        for seed in range(DISPLACEMENTS):
            displaced = displace_masks(masks, seed)
            for place, trait in enumerate(support.traits):
                if displaced[place].any() and masks[place].any():
                    new = draw_anew(encoded, displaced, place, rivals[place])
                    drawn = displaced[place] if new is None else new > 0
                    improved.setdefault(trait, []).append(iou(drawn, masks[place]))
        own = self._measure_own(memory, support)
        return {trait: (float(np.mean(each)), returned[trait], own.get(trait, 0.0)) for trait, each in improved.items()}

    def _measure_own(self, memory: Memory, support: Support) -> dict[str, float]:
        """Measure the IoU of what the propagator finds on a changed photograph of a support, by trait."""
        changed = change_support(support)
        (answer,) = self._propagator.propagate(memory, [changed.image])
        return {
            trait: iou(answer.masks[memory.traits.index(trait)], mask)
            for trait, mask in zip(changed.traits, changed.masks, strict=True)
            if mask.any()
        }

    def _redraw(
        self, memory: RedrawnMemory, image: RGBImage, answer: Propagated, soft: Floats | None = None
    ) -> Propagated:
        box = find_box(answer.masks)
        doubtful = np.flatnonzero((answer.confidence < memory.qualities) & answer.masks.any(axis=(1, 2)))
        if box is None or not len(doubtful):
            return answer
        x0, y0, x1, y1 = box
        masks = answer.masks[:, y0:y1, x0:x1]
        encoded = self._drawer.encode(image[y0:y1, x0:x1])
        drawn: dict[int, Floats] = {}
        for place in doubtful.tolist():
            sure = None if soft is None else frames.unwarp_soft(soft[place], answer.frame, box)
            new = draw_anew(encoded, masks, place, memory.rivals[place], sure)
            if new is not None:
                drawn[place] = new if sure is None else mix(sure, new)
        redrawn = answer.masks.copy()
        redrawn[:, y0:y1, x0:x1] = settle(masks, drawn, memory.rivals)
        return replace(answer, masks=redrawn)


def change_support(support: Support) -> Support:
    """Turn the photograph of a support a little, enlarge it and make it brighter; its masks with it."""
    frame = frame_specimen(support.image, drawn=join_masks(support))
    least, largest = CHANGED_EDGES
    side = min(max(round(frames.measure_side(frames.compose(CHANGED_FRAME, frame))), least), largest)
    changed, image = change_view(support.image, frame, side)
    masks = np.stack([frames.warp_mask(mask, changed, side) > 0.5 for mask in support.masks])
    return replace(support, image=image, masks=masks)


def mix(sure: Floats, logits: Floats) -> Floats:
    """Mix a found mask with a new one: float32 (H, W), above 0 where both together are surer than not.

    Args:
        sure: float32 (H, W), 0..1, how sure the propagator is.
        logits: float32 (H, W), of the network.
    """
    drawn = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    mixed: Floats = ((1 - NETWORK_SHARE) * sure + NETWORK_SHARE * drawn - 0.5).astype(np.float32)
    return mixed


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


def draw_anew(
    encoded: EncodedPhotograph,
    masks: MaskStack,
    place: int,
    rivals: npt.NDArray[np.bool_],
    sure: Floats | None = None,
) -> Floats | None:
    """Draw one mask anew.

    Args:
        encoded: the photograph.
        masks: bool (T, H, W), all that were found on it.
        place: of the one that is meant; not empty.
        rivals: bool (T,), which traits exclude it.
        sure: float32 (H, W), 0..1, how sure each pixel of it is, as a prompt; None for the mask.

    Returns:
        float32 (H, W), logits, above 0 where it is drawn; None if no answer agrees with what was found.
    """
    mask = masks[place]
    box = box_of(mask)
    outside = [point for other in np.flatnonzero(rivals) for point in find_points(masks[other], 1)]
    prompt = (mask if sure is None else sure)[box[1] : box[3], box[0] : box[2]]
    answers = encoded.draw(box, prompt, find_points(mask, POINTS), outside)
    best, agreement = None, AGREEMENT
    for (x0, y0, x1, y1), logits in answers:
        whole = np.full(mask.shape, OUTSIDE, np.float32)
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
