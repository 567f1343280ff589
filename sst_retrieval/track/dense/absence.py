"""Is the only trait of a group lost? Its support, with the trait painted over, shows what a loss looks like.

The features of `presence.py` compare a trait with the specimen's other traits. A single trait has none, so its limit is
set on the support itself: the share of the votes that the trait gets where it should lie, on a changed view of the
support, and on one where it is painted over. Only where these two are far apart does the limit count.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sst_retrieval.imaging import frames
from sst_retrieval.imaging.foreground import foreground_mask
from sst_retrieval.track.dense.memory import join_masks
from sst_retrieval.track.dense.view import TargetMatch
from sst_retrieval.types import Mask, RGBImage, Support

LARGEST_TRAIT = 0.4
"""Share of the specimen above which a trait is too large: without it, another frame is found, and other cells match."""

CLEAR_LOSS = 0.6
"""Share of votes by which the trait and its loss must differ on the support for the limit to count."""

LIMIT_SHARE = 0.3
"""Where the limit lies between the loss (0) and the trait (1) of the support. Of single traits of NEON beetles (heads)
and of painted organisms, those that are there and found lie above; most of the lost lie below."""

VIEW_SHARE, VIEW_TURN = 0.95, -0.15
"""Edge of the changed view as a share of the photograph's longer one, and its rotation in radians."""


def erase_single_trait(support: Support, longest: int) -> RGBImage | None:
    """Paint over the only trait of a support with the colour of its background, on a slightly changed view.

    Args:
        support: an annotated specimen.
        longest: edge of the view in pixels, at most.

    Returns:
        uint8 (S, S, 3); None where there are several traits, none is drawn, it is most of the specimen, or there is no
        background.
    """
    if len(support.masks) != 1 or not support.masks[0].any():
        return None
    height, width = support.image.shape[:2]
    frame = frames.square_frame((width / 2, height / 2), VIEW_SHARE * max(height, width), VIEW_TURN)
    side = min(longest, max(height, width))
    view = frames.warp_image(support.image, frame, side).copy()  # It is written to.
    trait: Mask = frames.warp_mask(join_masks(support), frame, side) > 0
    specimen = foreground_mask(view) | trait
    margin = max(2, round(0.006 * side))
    background = view[~ndimage.binary_dilation(specimen, iterations=margin)]
    if trait.sum() > LARGEST_TRAIT * specimen.sum() or not len(background):
        return None
    # Its median: single pixels of the background, drawn at random, would be a texture of their own.
    view[ndimage.binary_dilation(trait, iterations=margin)] = np.median(background, axis=0)
    return view


def compute_vote_share(match: TargetMatch) -> float:
    """Compute the share of the votes that the first trait gets where it should lie: 0..1.

    Votes by keys, if there are any, count as much as the matching's where what was learnt is reliable.
    """
    expected = match.warped_masks[0]
    share = _average(match.shares[1], expected)
    if match.key_votes is None:
        return share
    coarse = expected.reshape(len(expected) // 2, 2, -1, 2).mean(axis=(1, 3))
    by_keys = _average(match.key_votes.shares[1].cpu().numpy(), coarse)
    return share + match.reliability / 2 * (by_keys - share)


def _average(grid: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]) -> float:
    return float((grid * weights).sum() / (weights.sum() + 0.5))


def compute_vote_limit(there: float, lost: float) -> float:
    """Compute the share of votes below which a trait counts as lost.

    Args:
        there: share of votes on a changed view of the support, see `compute_vote_share`.
        lost: the same where the trait is painted over.

    Returns:
        The limit; 0, which no share is below, where the two differ too little.
    """
    return lost + LIMIT_SHARE * (there - lost) if there - lost >= CLEAR_LOSS else 0.0
