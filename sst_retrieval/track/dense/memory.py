"""What the dense propagator keeps of its supports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt
import torch

from sst_retrieval.imaging import frames
from sst_retrieval.track.dense.keys import Spreads
from sst_retrieval.track.dense.matching import Normalisation, PCAProjection
from sst_retrieval.types import Floats, Frame, Mask, MaskStack, Support


@dataclass(frozen=True, slots=True)
class Scale:
    """A support, described at one scale in its own frame.

    Attributes:
        norm, compressed: made on the first support and used for all pictures of the group.
        features: float32 (dimensions, G, G).
        labels: float32 (1 + T, G, G): share of the cell without any trait, then with each.
    """

    norm: Normalisation
    compressed: PCAProjection
    features: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True, slots=True)
class Remembered:
    """One support, described.

    Attributes:
        frame: how it lies; the frame of everything below.
        poses: frames in which the support was described coarsely, `frame` first.
        coarse: float32 (P, D, g, g), in every pose.
        coarse_norm: see `track.dense.matching.Normalisation`.
        specimen: bool (P, g * g), cells that show the specimen.
        middle, fine: the support at the scale of the displacement and of the traits.
        spreads: of the trunk's levels of strides 4, 8 and 16; those of the first support are used for all pictures.
        keys: of the decoder, float32 (KEY, S / 4, S / 4); None without one.
        key_labels: as the fine labels, on the keys' grid.
    """

    frame: Frame
    poses: tuple[Frame, ...]
    coarse: torch.Tensor
    coarse_norm: Normalisation
    specimen: torch.Tensor
    middle: Scale
    fine: Scale
    spreads: Spreads
    keys: torch.Tensor | None
    key_labels: torch.Tensor


@dataclass(frozen=True, slots=True)
class DenseMemory:
    """The supports of one group, described.

    Attributes:
        traits: names of the T traits.
        rivals: bool (T, T): traits that never share a pixel on a support, so that they compete for pixels.
        supports: all of them lie like the first.
    """

    traits: tuple[str, ...]
    rivals: npt.NDArray[np.bool_]
    supports: tuple[Remembered, ...]


def rivals(supports: Sequence[Support], traits: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Say which traits never share pixels on a support, or less than a twentieth of either: bool (T, T)."""
    rivals = ~np.eye(len(traits), dtype=bool)
    for support in supports:
        shared = _shared_pixels(support.masks)
        places = [traits.index(trait) for trait in support.traits]
        rivals[np.ix_(places, places)] &= 20 * shared < np.diag(shared)[:, None]
    both: npt.NDArray[np.bool_] = rivals & rivals.T
    return both


def _shared_pixels(masks: MaskStack) -> npt.NDArray[np.int64]:
    """Count the pixels that every two masks share: int64 (T, T).

    Eight pixels a byte: as numbers, the masks of a photograph of 40 megapixels would fill gigabytes.
    """
    packed = [np.packbits(mask) for mask in masks]
    shared = np.zeros((len(packed), len(packed)), dtype=np.int64)
    for one, other in combinations_with_replacement(range(len(packed)), 2):
        both = np.bitwise_count(packed[one] & packed[other]).sum(dtype=np.int64)
        shared[one, other] = shared[other, one] = both
    return shared


def support_labels(support: Support, traits: Sequence[str], frame: Frame, side: int) -> Floats:
    """How much of every pixel of the view no trait covers, then each trait: float32 (1 + T, side, side)."""
    drawn = dict(zip(support.traits, support.masks, strict=True))
    empty = np.zeros(support.masks.shape[1:], dtype=bool)
    coverages = [frames.warp_mask(drawn.get(trait, empty), frame, side) for trait in traits]
    return np.stack([1 - frames.warp_mask(drawn_pixels(support), frame, side), *coverages])


def drawn_pixels(support: Support) -> Mask:
    """Pixels of a support that show any trait."""
    drawn: Mask = np.asarray(support.masks.any(axis=0))
    return drawn
