"""See each individual of a photograph by itself: cut out with a margin, its neighbours painted out.

A neighbour's pixels are painted in the colour of the background around: the median of the cut-out's pixels that
belong to no individual. So an individual is seen as on a photograph of its own; `Cutout` puts back what is found
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from sst_retrieval.imaging import masks as rle
from sst_retrieval.types import Box, Detection, Frame, Mask, MaskStack, RGBImage, Support

MARGIN = 0.15
"""Width of the margin around an individual's box, as a share of the box's longer side."""

REACH = 0.03
"""How far a trait may reach beyond its individual as it was found, as a share of the longer side: its rim is rough."""

RIM = 0.01
"""How much wider than its mask a neighbour is painted out, as a share of the box's longer side: edges are soft."""


@dataclass(frozen=True, slots=True)
class Cutout:
    """One individual, cut out of its photograph.

    Attributes:
        image: uint8 (h, w, 3), its neighbours painted out.
        corner: (x, y) of the upper left pixel on the photograph.
        own: bool (h, w), the individual as it was found; all of its box if the finder has no mask.
        others: bool (h, w), its neighbours.
        size: (height, width) of the photograph.
    """

    image: RGBImage
    corner: tuple[int, int]
    own: Mask
    others: Mask
    size: tuple[int, int]

    def encode(self, mask: Mask) -> bytes:
        """Compress a mask of the cut-out, bool (h, w), as one of the photograph's size."""
        return rle.encode_part(mask, self.corner, self.size)

    def place_box(self, box: Box) -> Box:
        """Return a box of the cut-out in pixels of the photograph; an empty one stays as it is."""
        (x, y), (x0, y0, x1, y1) = self.corner, box
        return box if box == (0, 0, 0, 0) else (x0 + x, y0 + y, x1 + x, y1 + y)

    def place_frame(self, frame: Frame) -> Frame:
        """Return a frame of the cut-out as one of the photograph."""
        (x, y), (a, b, c, d, e, f) = self.corner, frame.matrix
        return Frame((a, b, c - a * x - b * y, d, e, f - d * x - e * y))

    def keep_inside(self, masks: MaskStack) -> MaskStack:
        """Take out of masks, bool (T, h, w), what is far from the individual (`REACH`) or a neighbour's."""
        y, x = np.nonzero(self.own)
        reach = REACH * max(np.ptp(x) + 1, np.ptp(y) + 1)
        near = ndimage.distance_transform_edt(~self.own) <= reach
        kept: MaskStack = np.logical_and(masks, near & ~self.others)
        return kept


def get_window(box: Box, size: tuple[int, int]) -> Box:
    """Return the part of a photograph that shows an individual: its box with a margin.

    Args:
        box: (x0, y0, x1, y1) of the individual.
        size: (height, width) of the photograph.
    """
    (x0, y0, x1, y1), (height, width) = box, size
    margin = round(MARGIN * max(x1 - x0, y1 - y0))
    return max(0, x0 - margin), max(0, y0 - margin), min(width, x1 + margin), min(height, y1 + margin)


def cut_out(image: RGBImage, individuals: Sequence[Detection], at: int) -> Cutout:
    """Cut one individual out of a photograph.

    Args:
        image: uint8 (H, W, 3).
        individuals: all individuals on it.
        at: position of the one to cut out.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = individuals[at].box
    window = get_window(individuals[at].box, (height, width))
    own = _draw(individuals[at : at + 1], window)
    others = _draw([each for place, each in enumerate(individuals) if place != at], window) & ~own
    picture = np.ascontiguousarray(image[window[1] : window[3], window[0] : window[2]])
    if others.any():
        picture = _paint_out(picture, own, others, round(RIM * max(x1 - x0, y1 - y0)))
    return Cutout(picture, window[:2], own, others, (height, width))


def cut_out_support(support: Support, individuals: Sequence[Support]) -> Support:
    """Cut an annotated individual out of its photograph, as `cut_out` does with those that are found.

    Args:
        support: the annotated individual.
        individuals: all that are annotated on its photograph, itself included.
    """
    detections = [Detection(box, 1.0, each.body[box[1] : box[3], box[0] : box[2]]) for each in individuals
                  if (box := rle.box(each.body))]  # fmt: skip
    at = next(place for place, each in enumerate(individuals) if each.individual == support.individual)
    cut = cut_out(support.image, detections, at)
    (x, y), (height, width) = cut.corner, cut.own.shape
    inside = np.s_[y : y + height, x : x + width]
    outline = None if support.outline is None else np.ascontiguousarray(support.outline[inside])
    return replace(support, image=cut.image, masks=np.ascontiguousarray(support.masks[:, *inside]), outline=outline)


def cut_out_supports(supports: Sequence[Support]) -> tuple[Support, ...]:
    """Cut annotated individuals out of their photographs; those on one photograph share `photograph`."""
    on = group_by_photograph(supports)
    return tuple(cut_out_support(each, on[each.photograph or each.individual]) for each in supports)


def group_by_photograph(supports: Sequence[Support]) -> dict[str, list[Support]]:
    """Group annotated individuals by the photograph they are on."""
    groups: dict[str, list[Support]] = {}
    for each in supports:
        groups.setdefault(each.photograph or each.individual, []).append(each)
    return groups


def _draw(individuals: Sequence[Detection], window: Box) -> Mask:
    """Draw individuals into a window of the photograph: bool (h, w)."""
    x0, y0, x1, y1 = window
    drawn = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    for each in individuals:
        left, top, right, bottom = each.box
        inner = max(left, x0), max(top, y0), min(right, x1), min(bottom, y1)
        if inner[0] < inner[2] and inner[1] < inner[3]:
            mask: Mask | bool = True
            if each.mask is not None:
                mask = each.mask[inner[1] - top : inner[3] - top, inner[0] - left : inner[2] - left]
            drawn[inner[1] - y0 : inner[3] - y0, inner[0] - x0 : inner[2] - x0] |= mask
    return drawn


def _paint_out(picture: RGBImage, own: Mask, others: Mask, rim: int) -> RGBImage:
    """Paint neighbours, and a rim around them that is nobody's, in the colour of the background."""
    wide = ndimage.binary_dilation(others, iterations=rim) & ~own if rim else others
    background = picture[~(own | wide)]
    if not len(background):
        background = picture[~own]
    painted = picture.copy()
    painted[wide] = np.median(background, axis=0).astype(np.uint8)
    return painted
