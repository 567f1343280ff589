"""A target matched with the supports: the view, its votes, and how votes of matching and keys are fused."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from sst_retrieval.track.dense.insets import Inset
from sst_retrieval.track.dense.keys import KeyVotes, upsample
from sst_retrieval.track.dense.matching import sample_displaced
from sst_retrieval.track.dense.memory import SupportEncoding
from sst_retrieval.track.dense.symmetry import Axis, adjust_axis, symmetrise_votes
from sst_retrieval.track.dense.trained_decoder import SoftMasks
from sst_retrieval.types import Floats, Frame, RGBImage

MARGIN = 16  # Cells around everything that may be a trait, from which the colours of the background are learnt.
SMALL_TRAIT = 16  # Cells of the keys' grid; the votes by keys for a trait of this size have half their weight.

IN_DISTRIBUTION_DISTANCE = 7.5
"""Mean squared distance of the best keys at which the in-distribution score is 0.5. In training: 2.5 to 7."""

IN_DISTRIBUTION_SCALE = 0.25
"""Width of the logistic function there, in squared distance."""

AGREEMENT_IOU = 0.9
"""Soft IoU of the two kinds of votes above which a trait does not need the decoder."""

DISAGREEMENT_IOU = 0.6
"""Soft IoU of the two kinds of votes below which the decoder has its full weight."""

RELIABLE_DISAGREEMENT = 0.35
"""Mean disagreement of the two kinds of votes, on a changed view of the support itself, up to which the keys are fully
reliable for a group."""

UNRELIABLE_DISAGREEMENT = 0.45
"""Mean disagreement there from which nothing that was learnt counts for a group."""

RELIABLE_DISTANCE = 0.55
"""Lower quartile of the squared descriptor distance, where traits are expected, up to which a target is like those of
the training collections: on 24 NEON beetles at most 0.37, on 16 pinned ones at most 0.54."""

UNRELIABLE_DISTANCE = 0.65
"""Lower quartile from which nothing that was learnt counts for a target: it is unlike its support."""

MATCHED_DISTANCE = 0.45
"""Lower quartile of the squared descriptor distance, where traits are expected, up to which the cells' votes alone
count."""

UNMATCHED_DISTANCE = 0.55
"""Lower quartile from which the template has its full share. Both are set on pinned beetles: the masks of the fifth
above 0.48 gain 0.08, those of the others would lose 0.01 to 0.03."""

LARGEST_SHARE = 0.7
"""Largest share of the template's labels in the votes. Set on every second head of trilobites; 0.5 serves the others
less, too."""

DOUBTED_SHARE = 0.14
"""Share of the template from which the certainty of the votes is no evidence, see `temper_confidence`."""


@dataclass(frozen=True, slots=True)
class TargetMatch:
    """A target in the frame in which it is aligned with the supports, and the result of the matching.

    Attributes:
        frame: of the view.
        view: uint8 (S, S, 3), the target warped to the frame.
        shares: float32 (1 + T, G, G), the shares of the votes: for "no trait" and for each trait.
        distance: float32 (G, G), squared descriptor distance of every cell's best match, see `Votes.result`.
        warped_masks: float32 (T, G, G), the supports' masks warped to the target, their mean, 0..1.
        levels: the trunk's levels of strides 4, 8 and 16, float32 (C, h, w).
        displacements: field from the target to every support, float32 (2, g, g) each, as a share of the view's edge.
        key_votes: see `track.dense.keys.vote_by_keys`; None without a decoder.
        reliability: 0..1, weight of everything learnt: that of the group (`track.dense.memory.DenseMemory`) times that
            of the target, see `compute_target_reliability`.
        template_share: of a template's labels in the votes, see `compute_template_share`; 0 without one.
        template_agreement: float32 (T,), 0..1, soft IoU of each trait's own votes with the template's labels; None
            without one.
        resemblance: 0..1, whether the target shows such a specimen at all, see `track.dense.resemblance`; 1 where its
            cells match well.
        vote_limit, insets: of the group, see `track.dense.memory.DenseMemory`.
    """

    frame: Frame
    view: RGBImage
    shares: Floats
    distance: Floats
    warped_masks: Floats
    levels: tuple[torch.Tensor, ...]
    displacements: tuple[torch.Tensor, ...]
    key_votes: KeyVotes | None = None
    reliability: float = 1.0
    template_share: float = 0.0
    template_agreement: Floats | None = None
    resemblance: float = 1.0
    vote_limit: float = 0.0
    insets: tuple[Inset, ...] = ()


@dataclass(frozen=True, slots=True)
class CellWindow:
    """A rectangular part of a view, in cells of its finest grid; a whole number of the coarsest level's cells.

    Attributes:
        top, left, bottom, right: cells, of two pixels; bottom and right are exclusive.
    """

    top: int
    left: int
    bottom: int
    right: int

    def rows(self, scale: float = 1) -> slice:
        """Return the rows of a grid with `scale` times the resolution."""
        return slice(int(self.top * scale), int(self.bottom * scale))

    def columns(self, scale: float = 1) -> slice:
        """Return the columns of a grid with `scale` times the resolution."""
        return slice(int(self.left * scale), int(self.right * scale))


@dataclass(frozen=True, slots=True)
class FusedVotes:
    """The votes of the matching and the votes by keys, combined.

    Attributes:
        key_votes: votes by keys; where they are not reliable, the matching's.
        shares: float32 (1 + T, G, G), the votes of the matching where both kinds agree, their mean where they do not.
        in_distribution: 0..1, see `compute_in_distribution_score`, times the reliability of what was learnt.
        disagreement: float32 (T,), 0..1, of the two kinds of votes on a trait.
    """

    key_votes: KeyVotes
    shares: Floats
    in_distribution: float
    disagreement: Floats


def fuse_votes(match: TargetMatch) -> FusedVotes:
    """Combine the votes by keys, whose cells are twice as large, with those of the matching.

    Keys count less on a specimen that is out of distribution, and for a trait that is small for their cells. Where both
    agree the matching's votes are taken, whose cells resolve a trait's edge better.

    Args:
        match: with votes by keys.
    """
    assert match.key_votes is not None
    shares, distance = match.key_votes
    matched = torch.from_numpy(match.shares)
    coarse = functional.avg_pool2d(matched, 2)
    size = torch.from_numpy(match.warped_masks).sum((1, 2)) / 4
    size_weight = size / (size + SMALL_TRAIT)
    overall = (size_weight * size).sum() / size.sum().clamp(min=1e-6)
    in_distribution = match.reliability * compute_in_distribution_score(match.key_votes)
    weight = in_distribution * torch.cat([overall[None], size_weight])[:, None, None]
    intersection, union = torch.minimum(coarse, shares)[1:], torch.maximum(coarse, shares)[1:]
    iou = intersection.sum((1, 2)) / union.sum((1, 2)).clamp(min=1e-6)
    disagreement = ((AGREEMENT_IOU - iou) / (AGREEMENT_IOU - DISAGREEMENT_IOU)).clamp(0, 1)
    shares = weight * shares + (1 - weight) * coarse
    mixing = torch.cat([disagreement.amax()[None], disagreement])[:, None, None]
    fused = matched + mixing * (upsample(shares[None])[0] - matched) / 2
    fused = fused / fused.sum(0).clamp(min=1e-6)
    return FusedVotes(KeyVotes(shares, distance), fused.numpy(), in_distribution, disagreement.numpy())


def compute_key_reliability(match: TargetMatch) -> float:
    """Compute how far the learnt keys can be trusted on a group, from a changed view of its own support.

    On the same photograph, seen slightly rotated, enlarged and brighter, descriptors match almost perfectly. Keys that
    were trained on other kinds of organisms and do not know this one then disagree with them, which shows before any
    target is looked at, and without a label more.

    Args:
        match: of the changed view with the support, with votes by keys.

    Returns:
        0..1: 1 up to `RELIABLE_DISAGREEMENT`, 0 from `UNRELIABLE_DISAGREEMENT` on.
    """
    disagreement = float(fuse_votes(match).disagreement.mean())
    span = UNRELIABLE_DISAGREEMENT - RELIABLE_DISAGREEMENT
    return min(1.0, max(0.0, (UNRELIABLE_DISAGREEMENT - disagreement) / span))


def compute_target_reliability(distance: Floats, warped_masks: Floats) -> float:
    """Compute how far learnt parts can be trusted on a target: does anything of it match the support well?

    The presence of a trait was learnt on specimens of a support's own species, some with a trait painted over: one
    trait matched badly, the others well. Where even the best quarter matches badly (each specimen of another genus,
    say), all traits would be called absent.

    Args:
        distance: float32 (G, G), squared descriptor distance of every cell's best match.
        warped_masks: float32 (T, G, G), the supports' masks warped to the target.

    Returns:
        0..1: 1 up to a lower quartile of `RELIABLE_DISTANCE`, 0 from `UNRELIABLE_DISTANCE` on; 1 where no trait is
        expected.
    """
    expected = warped_masks.max(axis=0) > 0.5
    if not expected.any():
        return 1.0
    quartile = float(np.percentile(distance[expected], 25))
    return min(1.0, max(0.0, (UNRELIABLE_DISTANCE - quartile) / (UNRELIABLE_DISTANCE - RELIABLE_DISTANCE)))


def blend_resemblance(resemblance: float, share: float) -> float:
    """Let a resemblance count as far as a target's cells match badly: 0..1, 1 where they match well.

    Args:
        resemblance: 0..1, see `track.dense.resemblance.compute_resemblance`.
        share: of a template, see `compute_template_share`, whether the support has one or not.
    """
    return 1 - min(1.0, share / DOUBTED_SHARE) * (1 - resemblance)


def compute_template_share(distance: Floats, warped_masks: Floats) -> float:
    """Compute the share that a template's labels get in a target's votes.

    Args:
        distance: float32 (G, G), squared descriptor distance of every cell's best match.
        warped_masks: float32 (T, G, G), the supports' masks warped to the target.

    Returns:
        0 up to a lower quartile of `MATCHED_DISTANCE`, `LARGEST_SHARE` from `UNMATCHED_DISTANCE` on; 0 where no trait
        is expected.
    """
    expected = warped_masks.max(axis=0) > 0.5
    if not expected.any():
        return 0.0
    quartile = float(np.percentile(distance[expected], 25))
    return LARGEST_SHARE * min(1.0, max(0.0, (quartile - MATCHED_DISTANCE) / (UNMATCHED_DISTANCE - MATCHED_DISTANCE)))


def mix_votes(match: TargetMatch, labels: Floats, share: float, axis: Axis | None = None) -> TargetMatch:
    """Mix the labels of a template with the votes of a target that was matched in the template's frame.

    Where the support is its own mirror image, the votes are combined with theirs, as far as the template counts.

    Args:
        match: in the frame of the placement.
        labels: float32 (1 + T, G, G), of the support, bent to the target, in that frame.
        share: 0..1, of the template.
        axis: of the support's symmetry, see `track.dense.symmetry.find_axis`; None if it has none.
    """
    shares = ((1 - share) * match.shares + share * labels).astype(np.float32)
    if axis is not None:
        own = adjust_axis(axis, torch.from_numpy(shares[1:]))
        shares = symmetrise_votes(shares, own, min(1.0, share / LARGEST_SHARE))
    return replace(
        match,
        shares=shares,
        warped_masks=((1 - share) * match.warped_masks + share * labels[1:]).astype(np.float32),
        template_share=share,
        template_agreement=_compute_soft_iou(match.shares[1:], labels[1:]),
    )


def _compute_soft_iou(one: Floats, other: Floats) -> Floats:
    """Compute the soft IoU of two grids, trait by trait: float32 (T,)."""
    either = np.maximum(one, other).sum(axis=(1, 2))
    ratio: Floats = np.minimum(one, other).sum(axis=(1, 2)) / np.maximum(either, np.float32(1e-6))
    return ratio


def temper_confidence(match: TargetMatch, masks: SoftMasks) -> Floats:
    """Lower the confidence of masks on a target that hardly resembles its support, or whose own cells say else.

    A template's labels are certain wherever it is laid, so the certainty of votes that hold them says little. The votes
    of the target's own cells are independent of it.

    Args:
        match: of the target.
        masks: the masks of the view. What was learnt and knows the animal has its own estimate, which stays; so does
            the confidence that a trait is absent.

    Returns:
        float32 (T,): times the resemblance, and times the square root of the agreement, as far as the template counts.
    """
    if match.template_agreement is None and match.resemblance == 1:
        return masks.confidence
    unlearnt = 1 - masks.in_distribution
    factor: Floats = np.full(len(masks.confidence), 1 - unlearnt * (1 - match.resemblance), np.float32)
    if match.template_agreement is not None:
        doubt = unlearnt * min(1.0, match.template_share / DOUBTED_SHARE)
        factor *= 1 - doubt * (1 - np.sqrt(match.template_agreement))
    found = (masks.soft > 0.5).any(axis=(1, 2))
    tempered: Floats = np.where(found, masks.confidence * factor, masks.confidence).astype(np.float32)
    return tempered


def compute_presence_reliability(match: TargetMatch, in_distribution: float) -> float:
    """Compute how far the learnt presence and expected IoU can be trusted on a target.

    They count out of distribution, too, but for a target whose cells do not match, so that its template is used: there
    each trait matches as badly as one that is lost.

    Args:
        match: of the target.
        in_distribution: 0..1, see `FusedVotes`; no target in distribution is trusted less.

    Returns:
        0..1, `in_distribution` or more.
    """
    return max(in_distribution, match.reliability * (1 - match.template_share / LARGEST_SHARE))


def compute_in_distribution_score(votes: KeyVotes) -> float:
    """Compute how well a specimen lies in the distribution on which the keys were trained.

    The keys were trained on a few kinds of animals. On those, and on animals that resemble them, the best key of a cell
    is near; out of distribution it is far, and plain matching is better than what was learnt elsewhere. As in
    nearest-neighbour detection of out-of-distribution samples (Sun et al. 2022, arXiv 2204.06507), but the neighbours
    are keys of the supports.

    Args:
        votes: by keys.

    Returns:
        0..1, a logistic function of the mean squared distance to the best key over cells that vote for a trait; 1 where
        no cell does.
    """
    shares, distance = votes
    labelled = shares[1:].sum(0) > 0.5
    if not labelled.any():
        return 1.0
    return float(torch.sigmoid((IN_DISTRIBUTION_DISTANCE - distance[labelled].mean()) / IN_DISTRIBUTION_SCALE))


def find_active_window(match: TargetMatch) -> CellWindow:
    """Find the part of a view in which any trait may lie, with a margin; masks are computed there only."""
    possible = (match.warped_masks > 0.01).any(axis=0) | (match.shares[0] < 0.98)
    cells = len(possible)
    step = cells // match.levels[-1].shape[-1]
    if not possible.any():
        return CellWindow(0, 0, cells, cells)
    ends = []
    for axis in (1, 0):
        found = np.flatnonzero(possible.any(axis=axis))
        start = max(0, (int(found[0]) - MARGIN) // step * step)
        ends.append((start, min(cells, -(-(int(found[-1]) + 1 + MARGIN) // step) * step)))
    (top, bottom), (left, right) = ends
    return CellWindow(top, left, bottom, right)


def crop_match(match: TargetMatch, window: CellWindow) -> TargetMatch:
    """Crop view, votes and features to a window; frame and displacements stay those of the whole view."""
    cells = match.shares.shape[-1]

    def crop(grid: torch.Tensor) -> torch.Tensor:
        scale = grid.shape[-1] / cells
        return grid[..., window.rows(scale), window.columns(scale)]

    within = (..., window.rows(), window.columns())
    return replace(
        match,
        view=match.view[window.rows(2), window.columns(2)],
        shares=match.shares[within],
        distance=match.distance[within],
        warped_masks=match.warped_masks[within],
        levels=tuple(crop(level) for level in match.levels),
        key_votes=None if match.key_votes is None else KeyVotes(*(crop(grid) for grid in match.key_votes)),
    )


def warp_to_target(
    grid: torch.Tensor, displacement: torch.Tensor, window: tuple[slice, slice] = (slice(None), slice(None))
) -> torch.Tensor:
    """Warp a grid of a support to a target by a displacement field of any resolution.

    Args:
        grid: float32 (C, G, G).
        displacement: float32 (2, g, g), from the target to the support.
        window: rows and columns of the result that are wanted.

    Returns:
        float32 (C, G, G), or its window.
    """
    field = functional.interpolate(displacement[None], size=grid.shape[1:], mode="bilinear")[0]
    return sample_displaced(grid, field, window)


def warp_keys(support: SupportEncoding, displacement: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Warp keys and labels of a support to a target: float32 (KEY_CHANNELS, ., .) and (1 + T, ., .)."""
    assert support.keys is not None
    return warp_to_target(support.keys, displacement), warp_to_target(support.key_labels, displacement)
