"""The memory of the dense propagator: the supports of one group, encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
import numpy.typing as npt
import torch

from sst_retrieval.imaging import frames
from sst_retrieval.track.dense.bending import BendingTemplate
from sst_retrieval.track.dense.insets import Inset
from sst_retrieval.track.dense.keys import ChannelStatistics
from sst_retrieval.track.dense.matching import Normalisation, PCAProjection
from sst_retrieval.track.dense.template import Template
from sst_retrieval.types import Floats, Frame, Mask, MaskStack, RGBImage, Support

CHANGED_FRAME = frames.square_frame((0.48, 0.5), 0.9, -0.15)
CHANGED_BRIGHTNESS = 1.15
"""How a support is changed to test on it what will be done with targets: turned by 0.15 rad, enlarged, brighter."""


@dataclass(frozen=True, slots=True)
class SupportGrid:
    """Descriptors and labels of a support at one resolution, in its own frame.

    Attributes:
        normalisation, projection: computed from the first support and used for all images of the group.
        descriptors: float32 (dimensions, G, G), projected.
        labels: float32 (1 + T, G, G): share of the cell without any trait, then with each.
    """

    normalisation: Normalisation
    projection: PCAProjection
    descriptors: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True, slots=True)
class SupportEncoding:
    """One support, encoded.

    Attributes:
        frame: in which the specimen is upright like the group's first support; the frame of everything below.
        poses: frames in which the support was encoded to estimate poses, `frame` first.
        pose_descriptors: one float32 (F, D) a pose: descriptors of the F of g * g cells that show the specimen.
        pose_normalisation: see `track.dense.matching.Normalisation`.
        pose_cells: one int64 (F,) a pose, ascending: which cells those are, row by row.
        displacement_grid, transfer_grid: the support at the resolution at which displacements are estimated, and at
            the one at which labels are transferred.
        statistics: of the trunk's levels of strides 4, 8 and 16; the first support's are used for all images.
        keys: of the decoder, float32 (KEY_CHANNELS, S / 4, S / 4); None without one.
        key_labels: as `transfer_grid.labels`, on the keys' grid.
        template: its annotated cells; None if they are too few, see `track.dense.template.encode_template`.
        bending: what the template is bent by; None without a template.
    """

    frame: Frame
    poses: tuple[Frame, ...]
    pose_descriptors: tuple[torch.Tensor, ...]
    pose_normalisation: Normalisation
    pose_cells: tuple[torch.Tensor, ...]
    displacement_grid: SupportGrid
    transfer_grid: SupportGrid
    statistics: ChannelStatistics
    keys: torch.Tensor | None
    key_labels: torch.Tensor
    template: Template | None
    bending: BendingTemplate | None


@dataclass(frozen=True, slots=True)
class DenseMemory:
    """The supports of one group, encoded.

    Attributes:
        traits: names of the T traits.
        rivals: bool (T, T): pairs of traits that never share a pixel on a support, so that they compete for pixels.
        supports: their encodings; the frames of all are aligned to the first.
        key_reliability: 0..1, how well the learnt keys find the traits of the first support again on a changed view of
            the same photograph; the weight of everything learnt on this group. 1 without a decoder.
        vote_limit: share of the votes below which the group's only trait is lost, see `track.dense.absence`; 0 where
            that cannot be told.
        insets: how far each trait's masks are drawn in, see `track.dense.insets`; none for masks as they are.
    """

    traits: tuple[str, ...]
    rivals: npt.NDArray[np.bool_]
    supports: tuple[SupportEncoding, ...]
    key_reliability: float = 1.0
    vote_limit: float = 0.0
    insets: tuple[Inset, ...] = ()


def find_rivals(supports: Sequence[Support], traits: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Find pairs of traits that exclude each other: on no support do they share a twentieth of either's pixels.

    Args:
        supports: of one group.
        traits: names of the T traits.

    Returns:
        bool (T, T), symmetric, False on the diagonal.
    """
    rivals = ~np.eye(len(traits), dtype=bool)
    for support in supports:
        shared = _count_shared_pixels(support.masks)
        places = [traits.index(trait) for trait in support.traits]
        rivals[np.ix_(places, places)] &= 20 * shared < np.diag(shared)[:, None]
    both: npt.NDArray[np.bool_] = rivals & rivals.T
    return both


def _count_shared_pixels(masks: MaskStack) -> npt.NDArray[np.int64]:
    """Count the pixels that each pair of masks shares: int64 (T, T).

    Eight pixels a byte: as numbers, the masks of a photograph of 40 megapixels would fill gigabytes.
    """
    packed = [np.packbits(mask) for mask in masks]
    shared = np.zeros((len(packed), len(packed)), dtype=np.int64)
    for one, other in combinations_with_replacement(range(len(packed)), 2):
        both = np.bitwise_count(packed[one] & packed[other]).sum(dtype=np.int64)
        shared[one, other] = shared[other, one] = both
    return shared


def compute_support_labels(support: Support, traits: Sequence[str], frame: Frame, side: int) -> Floats:
    """Compute how much of every pixel of a view is covered by no trait, then by each trait.

    Args:
        support: an annotated specimen; a trait that it lacks covers nothing.
        traits: names of the T traits.
        frame: of the view.
        side: edge of the view, in pixels.

    Returns:
        float32 (1 + T, side, side), 0..1.
    """
    masks = dict(zip(support.traits, support.masks, strict=True))
    empty = np.zeros(support.masks.shape[1:], dtype=bool)
    coverages = [frames.warp_mask(masks.get(trait, empty), frame, side) for trait in traits]
    return np.stack([1 - frames.warp_mask(join_masks(support), frame, side), *coverages])


def change_view(image: RGBImage, frame: Frame, side: int) -> tuple[Frame, RGBImage]:
    """Make a changed view of a support, to test on it what will be done with targets.

    Args:
        image: uint8 (H, W, 3).
        frame: of the specimen.
        side: edge of the view in pixels.

    Returns:
        The view's frame, and uint8 (side, side, 3).
    """
    changed = frames.compose(CHANGED_FRAME, frame)
    # The view becomes brighter, not the photograph: that may have 40 megapixels.
    view = frames.warp_image(image, changed, side) * CHANGED_BRIGHTNESS
    return changed, np.clip(view, 0, 255).astype(np.uint8)


def join_masks(support: Support) -> Mask:
    """Return the union of a support's masks: bool (H, W)."""
    union: Mask = np.asarray(support.masks.any(axis=0))
    return union
