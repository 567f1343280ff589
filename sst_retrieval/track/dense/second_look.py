"""A second, enlarged look at small traits of large photographs.

A view has 448 pixels, a photograph of 20 megapixels 4,000 across the specimen: a spot of a hundredth of it is four
pixels wide in the view.

1. The first look is that of `DensePropagator`: pose, votes, masks.
2. A trait is small where each of its pieces on the annotated specimen is a small part of the view. Around each piece a
   window several times as wide is encoded, once a group.
3. On a photograph with more pixels than the view, the window is laid where the first look found the piece, or expects
   it, in the frame that the first look has aligned; so it lies as on the annotated specimen. Steps 3 to 8 of the dense
   propagator are done in it.
4. Where the second look finds the trait, its masks replace those of the first, and leave their rivals' masks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from sst_retrieval.imaging import frames
from sst_retrieval.track.dense.memory import DenseMemory
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.dense.view import TargetMatch
from sst_retrieval.types import Floats, Frame, Mask, Propagated, RGBImage, Support

SMALL_EXTENT = 0.12
"""Longest edge of the bounding box of a piece of a small trait, as a share of the view's."""

WINDOW = 5.0
"""Edge of a window, in extents of the largest piece."""

LEAST_WINDOW = 0.06
"""Least edge of a window, as a share of the view's: what the first look may be wrong by."""

LEAST_PIECE = 0.1
"""Share of the largest piece below which a piece is none."""

FARTHEST = 0.15
"""Distance from where a piece lies on the support, in edges of the view, up to which something found is this piece."""

LEAST_GAIN = 3.0
"""Pixels of the photograph a pixel of the view (along an edge), below which a photograph is not looked at twice: on
those of 500 to 1,000 pixels, with little to be seen that the view does not show, masks get worse by 0.005 (Heliconius)
to 0.010 (pupils of fish)."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Window:
    """The surroundings of a piece of a small trait on the annotated specimen.

    Attributes:
        centre: (x, y) of the piece in the specimen's frame, shares of its edge.
        memory: of the window.
    """

    centre: Point
    memory: DenseMemory


@dataclass(frozen=True, slots=True)
class SecondLookMemory:
    """The supports of one group, and the windows of their small traits.

    Attributes:
        first: for the first look.
        windows: place of a small trait -> its windows.
        sizes: place of a small trait -> edge of its windows, as a share of the view's.
    """

    first: DenseMemory
    windows: dict[int, tuple[Window, ...]]
    sizes: dict[int, float]

    @property
    def traits(self) -> tuple[str, ...]:
        """Names of the T traits."""
        return self.first.traits


class SecondLookPropagator:
    """The dense propagator, which looks twice at small traits (a `Propagator`).

    Attributes:
        name: that of the dense propagator and of the second look.
        trunk, weights: of the dense propagator.
    """

    concurrent = True

    def __init__(self, dense: DensePropagator) -> None:
        """Take the propagator of both looks."""
        self._dense, self.trunk, self.weights = dense, dense.trunk, dense.weights
        self.name = f"{dense.name}, second look 1"

    def remember(self, supports: Sequence[Support]) -> SecondLookMemory:
        """Encode the supports of a group, and the windows of the first one that shows a small trait."""
        first = self._dense.remember(supports)
        windows: dict[int, tuple[Window, ...]] = {}
        sizes: dict[int, float] = {}
        for place, trait in enumerate(first.traits):
            number = next(k for k, support in enumerate(supports) if trait in support.traits)
            support, frame = supports[number], first.supports[number].frame
            drawn = support.masks[support.traits.index(trait)]
            shares = frames.warp_mask(drawn, frame, self._dense.settings.side)
            pieces = list_pieces(shares / max(float(shares.max()), 1e-6))
            if not pieces or max(extent for _, extent in pieces) > SMALL_EXTENT:
                continue
            sizes[place] = max(LEAST_WINDOW, WINDOW * max(extent for _, extent in pieces))
            windows[place] = tuple(
                Window(centre, self._dense.remember_in_frame(support, trait, cut_frame(frame, centre, sizes[place])))
                for centre, _ in pieces
            )
        return SecondLookMemory(first, windows, sizes)

    def propagate(self, memory: SecondLookMemory, images: Sequence[RGBImage]) -> list[Propagated]:
        """Find the traits on every image, each by itself."""
        return [self._propagate(memory, image) for image in images]

    @torch.inference_mode()
    def _propagate(self, memory: SecondLookMemory, image: RGBImage) -> Propagated:
        match = self._dense.match(memory.first, image)
        predicted = self._dense.predict_masks(match, memory.first.rivals)
        masks = frames.unwarp_masks(predicted.soft, match.frame, image.shape[:2])
        confidence = predicted.confidence.copy()
        gain = frames.measure_side(match.frame) / self._dense.settings.side
        if gain >= LEAST_GAIN:
            for place, windows in memory.windows.items():
                size = max(memory.sizes[place], 1 / gain)
                again, sure = self._look_again(match, predicted.soft[place], place, windows, size, image)
                if not again.any():
                    continue
                masks[memory.first.rivals[place]] &= ~again
                masks[place], confidence[place] = again, sure
        return Propagated(masks, confidence, match.frame)

    def _look_again(
        self, match: TargetMatch, soft: Floats, place: int, windows: Sequence[Window], size: float, image: RGBImage
    ) -> tuple[Mask, float]:
        """Look at each piece of a trait: its mask, bool (H, W), and the mean confidence of the pieces found."""
        found = list_pieces(soft)
        warped = match.warped_masks[place]
        expected = list_pieces(warped / max(float(warped.max()), 1e-6))
        answer: Mask = np.zeros(image.shape[:2], dtype=bool)
        sure = []
        for window in windows:
            frame = cut_frame(match.frame, choose_centre(window.centre, found, expected), size)
            looked = self._dense.propagate_in_frame(window.memory, image, frame)
            if looked.masks[0].any():
                answer |= looked.masks[0]
                sure.append(float(looked.confidence[0]))
        return answer, float(np.mean(sure)) if sure else 0.0


def list_pieces(soft: Floats) -> list[tuple[Point, float]]:
    """List the pieces of a soft mask, the largest first.

    Args:
        soft: float32 (S, S), above 0.5 where the trait is.

    Returns:
        Centre (x, y) and longest edge of the bounding box of each, shares of the mask's edge.
    """
    labels, count = ndimage.label(soft > 0.5)
    if not count:
        return []
    numbers = np.arange(1, count + 1)
    sizes = ndimage.sum_labels(np.ones_like(soft), labels, numbers)
    boxes = ndimage.find_objects(labels)
    pieces = []
    for number in np.argsort(-sizes, kind="stable"):
        if sizes[number] < LEAST_PIECE * sizes.max():
            break
        rows, columns = boxes[number]
        middle = ((columns.start + columns.stop) / 2 / len(soft), (rows.start + rows.stop) / 2 / len(soft))
        pieces.append((middle, max(rows.stop - rows.start, columns.stop - columns.start) / len(soft)))
    return pieces


def choose_centre(
    centre: Point, found: Sequence[tuple[Point, float]], expected: Sequence[tuple[Point, float]]
) -> Point:
    """Choose where a piece lies on a target: what was found near its place, else what is expected, else its place.

    >>> choose_centre((0.2, 0.2), [((0.8, 0.2), 0.1)], [((0.21, 0.2), 0.1), ((0.8, 0.2), 0.1)])
    (0.21, 0.2)
    """
    for pieces in (found, expected):
        near = sorted((math.dist(middle, centre), middle) for middle, _ in pieces)
        if near and near[0][0] <= FARTHEST:
            return near[0][1]
    return centre


def cut_frame(frame: Frame, centre: Point, size: float) -> Frame:
    """Cut a square out of a frame; centre (x, y) and edge are shares of the frame's edge."""
    return frames.compose(frames.square_frame(centre, size, 0.0), frame)
