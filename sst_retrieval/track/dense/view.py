"""What the dense propagator sees of a target, and which part of it is worth work."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from sst_retrieval.track.dense.keys import doubled
from sst_retrieval.track.dense.matching import sample_displaced
from sst_retrieval.track.dense.memory import Remembered
from sst_retrieval.types import Floats, Frame, RGBImage

MARGIN = 16  # Cells around everything that may be a trait, in which colours of the surroundings are learnt.
FEW = 16  # Cells of the keys' grid; a trait of no more than these is hardly seen by the keys.
STRANGE = 7.5  # Mean squared distance of the best keys from which a specimen is strange: known ones lie at 2.5 to 7.
STRANGER = 0.25  # How quickly trust is lost there.
AGREED = 0.9  # Soft IoU of the two kinds of votes above which a trait needs no decoder,
APART = 0.6  # and below which the decoder gets all of its share.


@dataclass(frozen=True, slots=True)
class Seen:
    """An image seen through the frame in which it lies like the supports, and what the matching says of it.

    Attributes:
        frame: how it lies.
        view: uint8 (S, S, 3), seen through the frame.
        shares: float32 (1 + T, G, G), the shares of the votes: for "no trait" and for each trait.
        distance: float32 (G, G), how far the best match of every cell is, see `Votes.result`.
        bent: float32 (T, G, G), the supports' masks in the target's proportions, their mean, 0..1.
        levels: the trunk's levels of strides 4, 8 and 16, float32 (C, ., .).
        flows: displacement field to every support, float32 (2, g, g) each.
        recalled: votes by the decoder's keys, see `track.dense.keys.recall`; None without a decoder.
    """

    frame: Frame
    view: RGBImage
    shares: Floats
    distance: Floats
    bent: Floats
    levels: tuple[torch.Tensor, ...]
    flows: tuple[torch.Tensor, ...]
    recalled: tuple[torch.Tensor, torch.Tensor] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a view, in cells of its finest grid; a whole number of the coarsest level's cells.

    Attributes:
        top, left, bottom, right: cells, of two pixels.
    """

    top: int
    left: int
    bottom: int
    right: int

    def rows(self, scale: float = 1) -> slice:
        """Rows of a grid that is `scale` times as fine."""
        return slice(int(self.top * scale), int(self.bottom * scale))

    def columns(self, scale: float = 1) -> slice:
        """Columns of a grid that is `scale` times as fine."""
        return slice(int(self.left * scale), int(self.right * scale))


@dataclass(frozen=True, slots=True)
class Weighed:
    """Votes by keys and votes of the matching, weighed with each other.

    Attributes:
        recalled: votes by keys, float32 (1 + T, G / 2, G / 2), and how far the best key is; where keys are not to be
            trusted, the matching's votes.
        both: float32 (1 + T, G, G), the votes of the matching where both kinds agree, their mean where they do not.
        familiar: 0..1, how well the keys know what they see, see `familiarity`.
        doubt: float32 (T,), 0..1, how little the two kinds of votes agree on a trait.
    """

    recalled: tuple[torch.Tensor, torch.Tensor]
    both: Floats
    familiar: float
    doubt: Floats


def weighed(seen: Seen) -> Weighed:
    """Weigh the votes by keys, whose cells are twice as large, with those of the matching.

    Keys count less on a specimen that is strange to them, and for a trait that is small for their cells. Where both
    agree the matching has the word, whose cells show a trait's edge better.
    """
    assert seen.recalled is not None
    shares, distance = seen.recalled
    matched = torch.from_numpy(seen.shares)
    coarse = functional.avg_pool2d(matched, 2)
    size = torch.from_numpy(seen.bent).sum((1, 2)) / 4
    seen_well = size / (size + FEW)
    overall = (seen_well * size).sum() / size.sum().clamp(min=1e-6)
    familiar = familiarity(shares, distance)
    trust = familiar * torch.cat([overall[None], seen_well])[:, None, None]
    agreed = torch.minimum(coarse, shares)[1:].sum((1, 2)) / torch.maximum(coarse, shares)[1:].sum((1, 2)).clamp(
        min=1e-6
    )
    doubt = ((AGREED - agreed) / (AGREED - APART)).clamp(0, 1)
    shares = trust * shares + (1 - trust) * coarse
    unsure = torch.cat([doubt.amax()[None], doubt])[:, None, None]
    both = matched + unsure * (doubled(shares[None])[0] - matched) / 2
    both = both / both.sum(0).clamp(min=1e-6)
    return Weighed((shares, distance), both.numpy(), familiar, doubt.numpy())


def familiarity(shares: torch.Tensor, distance: torch.Tensor) -> float:
    """Say how well the keys know what they see, 0..1.

    Keys were learnt on a few kinds of animals. On those, and on what looks like them to the keys, the best key of a
    cell is near. On a strange animal it is far, and plain matching is better than what was learnt elsewhere.

    Args:
        shares: float32 (1 + T, G / 2, G / 2), votes by keys.
        distance: float32 (G / 2, G / 2), squared distance to the best key.
    """
    shown = shares[1:].sum(0) > 0.5
    if not shown.any():
        return 1.0
    return float(torch.sigmoid((STRANGE - distance[shown].mean()) / STRANGER))


def busy(seen: Seen) -> Place:
    """Find the part of a view in which any trait may lie; the rest is not worth the work."""
    wanted = (seen.bent > 0.01).any(axis=0) | (seen.shares[0] < 0.98)
    cells = len(wanted)
    step = cells // seen.levels[-1].shape[-1]
    if not wanted.any():
        return Place(0, 0, cells, cells)
    ends = []
    for axis in (1, 0):
        found = np.flatnonzero(wanted.any(axis=axis))
        start = max(0, (int(found[0]) - MARGIN) // step * step)
        ends.append((start, min(cells, -(-(int(found[-1]) + 1 + MARGIN) // step) * step)))
    (top, bottom), (left, right) = ends
    return Place(top, left, bottom, right)


def cut(seen: Seen, place: Place) -> Seen:
    """Keep a part of what is seen; the frame and the flows stay those of the whole view."""
    cells = seen.shares.shape[-1]

    def part(grid: torch.Tensor) -> torch.Tensor:
        scale = grid.shape[-1] / cells
        return grid[..., place.rows(scale), place.columns(scale)]

    recalled = None if seen.recalled is None else (part(seen.recalled[0]), part(seen.recalled[1]))
    within = (..., place.rows(), place.columns())
    return replace(
        seen,
        view=seen.view[place.rows(2), place.columns(2)],
        shares=seen.shares[within],
        distance=seen.distance[within],
        bent=seen.bent[within],
        levels=tuple(part(level) for level in seen.levels),
        recalled=recalled,
    )


def bend(grid: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Move what is known of a support to where its like lies on the target: float32 (C, G, G) both."""
    return sample_displaced(grid, functional.interpolate(flow[None], size=grid.shape[1:], mode="bilinear")[0])


def recallable(support: Remembered, flow: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the keys and labels of a support in a target's proportions."""
    assert support.keys is not None
    return bend(support.keys, flow), bend(support.key_labels, flow)
