"""The default propagator: dense correspondence of network features with annotated specimens. No download.

1. Encode the supports (`remember`). Each support is described by a grid of feature descriptors: coarsely in every pose
   (16 rotations, mirrored and not), finely in its own frame. Fine descriptors are projected on principal components.
2. Estimate the pose. A target is described coarsely once and matched with the supports in every pose by nearest
   neighbours. A similarity transform (rotation, scale, translation, reflection) fitted to the matched cells of the best
   poses (and of the best in which it lies like the first support) aligns the target with the support. No axis of the
   animal is assumed. Where even the best cells match badly (another genus), all annotated cells of the support are laid
   on the target together, as a rigid template (`template.py`), which is then bent to the target's proportions
   (`bending.py`), and whose labels are mixed with the votes of step 4; of a support that is its own mirror image, these
   are combined with theirs (`symmetry.py`). Such a target may also be something else altogether: how well all its cells
   go with the support's, place by place, lowers the confidence (`resemblance.py`).
3. Estimate a displacement field. Within the aligned view, cells attend to similar cells of the support in a wide
   window; the expected offset, smoothed with the matches' confidence, warps the support to the target's proportions.
4. Transfer the labels. Cells of 2 pixels take the labels of the most similar cells of the warped supports nearby (a
   softmax over descriptor distances, `matching.py`). The result is a share of votes for each trait in each cell.
5. Transfer the labels again, by learnt keys (`keys.py`), in a wider window; only with a decoder. The two kinds of votes
   are fused (`view.py`): keys are weighted by how well the specimen is in distribution.
6. Compute masks by rules (`refine.py`): colour likelihoods learnt on this photograph turn votes into posteriors, a
   guided filter aligns them with edges, and traits that exclude each other compete for pixels.
7. Compute masks by a network (`decoder.py`), with an expected IoU and the probability that the trait is present
   (`presence.py`). The decoder is weighted by the disagreement of the two kinds of votes and by the in-distribution
   score; without a decoder, the rules decide alone.
8. Draw the masks in as far as the support itself calls for (`insets.py`), and warp them back to the photograph.

This is not SAM 2; it takes its place where no checkpoint is at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from sst_retrieval.imaging import frames
from sst_retrieval.imaging.foreground import foreground_mask, frame_specimen
from sst_retrieval.imaging.pyramid import Pyramid, mask_pyramid
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.nets.side_tasks import SideTask, SideTasks, compute_on_threads
from sst_retrieval.nets.timm_trunk import TimmTrunk
from sst_retrieval.track.dense.absence import compute_vote_limit, compute_vote_share, erase_single_trait
from sst_retrieval.track.dense.bending import BendingTemplate, bend_template, encode_bending_template
from sst_retrieval.track.dense.decoder import build_decoder_inputs
from sst_retrieval.track.dense.insets import Inset, apply_insets, choose_insets
from sst_retrieval.track.dense.keys import KeyVotes, compute_channel_statistics
from sst_retrieval.track.dense.matching import (
    BLOCK,
    DescriptorSettings,
    Normalisation,
    PCAProjection,
    Votes,
    average_over_cells,
    compute_cell_centres,
    compute_descriptors,
    factor_coarsest,
    find_voting_window,
    project_coarsest,
    smooth_displacement,
)
from sst_retrieval.track.dense.memory import (
    DenseMemory,
    SupportEncoding,
    SupportGrid,
    change_view,
    compute_support_labels,
    find_rivals,
    join_masks,
)
from sst_retrieval.track.dense.refine import compute_initial_masks, compute_layer_posteriors, refine
from sst_retrieval.track.dense.resemblance import compute_correlation, compute_resemblance
from sst_retrieval.track.dense.settings import DenseSettings, compute_settings_hash
from sst_retrieval.track.dense.template import (
    REACH,
    SIDE,
    Placement,
    Template,
    encode_template,
    place_template,
    widen_frame,
)
from sst_retrieval.track.dense.trained_decoder import SoftMasks, TrainedDecoder
from sst_retrieval.track.dense.view import (
    TargetMatch,
    blend_resemblance,
    compute_key_reliability,
    compute_presence_reliability,
    compute_target_reliability,
    compute_template_share,
    crop_match,
    find_active_window,
    fuse_votes,
    mix_votes,
    temper_confidence,
    warp_keys,
    warp_to_target,
)
from sst_retrieval.types import Floats, Frame, Mask, Propagated, RGBImage, Support

Picture = TypeVar("Picture", bound=npt.NDArray[Any])

VERSION = 15
"""Changes whenever the same settings would give other masks."""

MAJORITY = 0.5
"""Share of the votes above which a trait wins a cell."""

MIN_COVERAGE = 0.1
"""Lower bound of the share of a cell that a trait is expected to cover, where the warped masks hardly show it."""

FOREGROUND_SHARE = 0.3
"""Share of a cell above which it shows the specimen when the pose is estimated."""

PRESENCE_SCALE = 0.08
"""Width of the logistic function that turns a trait's median distance, less `absence_distance`, into a probability."""


SMALL_START = 0.9
"""Side of the foreground's start frame, as a share of the photograph's longer edge, below which the search for the pose
starts from the whole photograph, too. On the beetles of the training collections, which fill their photographs, nine
of ten frames are larger."""

NEAR_ROTATIONS = 1
"""Rotations, in steps of `pose_rotations`, by which a target may differ from the first support and still count as lying
alike. Specimens of a series are mostly photographed alike, so the best of these poses is refined, too, unless it is
clearly worse (`NEAR_GAP`); where every specimen is another genus, the coarse similarity of the unrefined poses tells
hardly more than chance."""

POSES_TOGETHER = 4
"""Poses of a support that go through the network at once."""

NEAR_GAP = 0.06
"""Coarse similarity by which the best pose that lies alike may be worse than the best of all, to be refined, too. On
175 photographs of five collections it was the best in the end 18 times while up to 0.04 worse, and four times while
0.08 to 0.21 worse, on beetles that lie in any rotation: their masks are better without (mean IoU 0.72 instead of
0.62)."""

WHOLE_START = 1.1
"""Edge, as a share of the photograph's longer one, of the frame from which a template's search starts."""

ALIKE_BONUS = 0.02
"""Score by which a template's placement must be better to be preferred to one that starts from the whole photograph."""

SAME_FRAME = 0.1
"""Two frames whose corners lie no farther apart (in edges of the frame) are the same for the purpose of a match."""


@dataclass(frozen=True, slots=True)
class DescribedPoses:
    """Some poses of a support; the fields are those of `SupportEncoding`."""

    descriptors: tuple[torch.Tensor, ...]
    cells: tuple[torch.Tensor, ...]
    normalisation: Normalisation


@dataclass(frozen=True, slots=True)
class ChangedView:
    """A view of a support, uint8 (S, S, 3), with its frame and the levels of the network that are matched."""

    frame: Frame
    view: RGBImage
    levels: tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True)
class StartedEncoding:
    """The encoding of a support, of which the part that poses are estimated by may still be in work.

    Attributes:
        encoding: without poses' descriptors and template; enough for views whose frame is known.
        poses: the poses, some a task.
        template: None where there is none.
    """

    encoding: SupportEncoding
    poses: tuple[SideTask[DescribedPoses], ...]
    template: SideTask[tuple[Template, BendingTemplate] | None] | None

    def finish(self) -> SupportEncoding:
        """Wait for the rest, or compute it, and return the whole encoding."""
        described = [task.result() for task in self.poses]
        template, bending = (None if self.template is None else self.template.result()) or (None, None)
        return replace(
            self.encoding,
            pose_descriptors=tuple(one for part in described for one in part.descriptors),
            pose_normalisation=described[0].normalisation,
            pose_cells=tuple(one for part in described for one in part.cells),
            template=template,
            bending=bending,
        )


class DensePropagator:
    """Transfers masks from annotated specimens to others by dense correspondence (a `Propagator`).

    Attributes:
        name: model, weights and a hash of the settings in one line; goes into the provenance.
        trunk: the network whose features keys and decoder take.
        matching_trunk: the network whose features are compared; mostly the same.
        weights: of both, for the provenance.
        settings: of every step.
        decoder: the trained decoder, or None.
    """

    concurrent = True

    def __init__(
        self,
        device: str = "auto",
        *,
        trunk: EfficientNetTrunk | None = None,
        matching_trunk: EfficientNetTrunk | TimmTrunk | None = None,
        settings: DenseSettings | None = None,
        decoder: TrainedDecoder | None = None,
    ) -> None:
        """Take a network, or load one.

        Args:
            device: "auto", "cpu" or "cuda"; ignored when a trunk is given.
            trunk: a network that is already loaded.
            matching_trunk: another network whose features are compared; None for the same. Keys and decoder were learnt
                on features of EfficientNet-lite0, which they keep.
            settings: of every step; None for the defaults.
            decoder: predicts masks from the votes; None for rules without learnt parts.

        Raises:
            ModelError: as `EfficientNetTrunk`.
        """
        self.trunk = trunk if trunk is not None else EfficientNetTrunk(device)
        self.matching_trunk = matching_trunk if matching_trunk is not None else self.trunk
        self.weights: Mapping[str, str] = self.matching_trunk.weights
        self.settings = settings if settings is not None else DenseSettings()
        self.decoder = decoder
        places = compute_cell_centres(self.settings.pose_descriptor.cells)
        self._position_costs = self.settings.pose_position_cost * torch.cdist(places, places) ** 2
        # Other settings give other masks, which must not be mixed in one index.
        settings_hash = compute_settings_hash(self.settings)
        weights = "" if decoder is None else f", {decoder.name}"
        self.name = (
            f"dense matching {VERSION}{weights} on {self.matching_trunk.name} at {self.settings.side} px, "
            f"settings {settings_hash}"
        )

    def remember(self, supports: Sequence[Support]) -> DenseMemory:
        """Encode the supports of a group; those after the first are aligned to the first.

        What does not need each other is computed on several threads, where PyTorch may use several.
        """
        return compute_on_threads(self.matching_trunk.device, partial(self._remember, supports))

    def _remember(self, supports: Sequence[Support], tasks: SideTasks) -> DenseMemory:
        traits = tuple(dict.fromkeys(trait for support in supports for trait in support.traits))
        frame = frame_specimen(supports[0].image, drawn=join_masks(supports[0]))
        changed = self._start_changed_view(supports[0], frame, tasks)
        started = [self._start_encoding(supports[0], traits, frame, tasks)]
        first = started[0].finish() if len(supports) > 1 else started[0].encoding
        for support in supports[1:]:
            frame = self._estimate_frame(Pyramid(support.image), [first], frame_specimen(support.image))
            started.append(self._start_encoding(support, traits, frame, tasks, first=first))
        return self._test_memory(supports, traits, started, changed, tasks)

    def _test_memory(
        self,
        supports: Sequence[Support],
        traits: tuple[str, ...],
        started: Sequence[StartedEncoding],
        changed_view: SideTask[ChangedView],
        tasks: SideTasks,
    ) -> DenseMemory:
        """Complete the memory of a group by what is learnt from a changed view of its first support."""
        rivals = find_rivals(supports, traits)
        # A view whose frame is known is matched without what poses are estimated by, which is computed meanwhile.
        memory = DenseMemory(traits, rivals, tuple(one.encoding for one in started))
        finished = tasks.start(lambda: replace(memory, supports=tuple(one.finish() for one in started)))
        changed = self._match_changed_view(changed_view.result(), memory, tasks)
        key_reliability = 1.0 if self.decoder is None else compute_key_reliability(changed)

        def share_lost() -> float | None:
            """Share the votes where the only trait is erased; None where that cannot be told."""
            erased = erase_single_trait(supports[0], 2 * self.settings.side) if len(traits) == 1 else None
            if erased is None:
                return None
            return compute_vote_share(self.match(replace(finished.result(), key_reliability=key_reliability), erased))

        lost = tasks.start(share_lost)
        insets = self._choose_insets(supports[0], changed, replace(memory, key_reliability=key_reliability))
        share = lost.result()
        limit = 0.0 if share is None else compute_vote_limit(compute_vote_share(changed), share)
        return replace(finished.result(), key_reliability=key_reliability, insets=insets, vote_limit=limit)

    def propagate(self, memory: DenseMemory, images: Sequence[RGBImage]) -> list[Propagated]:
        """Find the traits on every image, each by itself."""
        return [found for found, _ in self.propagate_with_in_distribution_score(memory, images)]

    def propagate_with_in_distribution_score(
        self, memory: DenseMemory, images: Sequence[RGBImage]
    ) -> list[tuple[Propagated, float]]:
        """Find the traits on every image, with the in-distribution score of each specimen.

        Args:
            memory: from `remember`.
            images: uint8 (H, W, 3) each.

        Returns:
            Per image, the masks at its size and a score 0..1, see `track.dense.view.compute_in_distribution_score`; 0
            without a decoder.
        """
        found = self._propagate_softly(memory, images)
        return [(answer, predicted.in_distribution) for answer, predicted in found]

    def propagate_softly(self, memory: DenseMemory, images: Sequence[RGBImage]) -> list[tuple[Propagated, Floats]]:
        """Find the traits on every image, with the soft masks that say how sure every pixel is.

        Args:
            memory: from `remember`.
            images: uint8 (H, W, 3) each.

        Returns:
            Per image, the masks at its size, and float32 (T, S, S) in their frame, above 0.5 where a trait wins.
        """
        return [(answer, predicted.soft) for answer, predicted in self._propagate_softly(memory, images)]

    @torch.inference_mode()
    def _propagate_softly(self, memory: DenseMemory, images: Sequence[RGBImage]) -> list[tuple[Propagated, SoftMasks]]:
        answers = []
        for image in images:
            match = self.match(memory, image)
            predicted = self.predict_masks(match, memory.rivals)
            masks = frames.unwarp_masks(predicted.soft, match.frame, image.shape[:2])
            answers.append((Propagated(masks, predicted.confidence, match.frame), predicted))
        return answers

    @torch.inference_mode()
    def match(self, memory: DenseMemory, image: RGBImage) -> TargetMatch:
        """Align an image with the supports and match it with them (steps 2 to 5).

        Args:
            memory: from `remember`.
            image: uint8 (H, W, 3).
        """
        copies = Pyramid(image)
        candidates: list[Frame] = []
        for start in propose_starts(image):
            frame = self._estimate_frame(copies, memory.supports, start)
            if all(frames.measure_shift(known, frame) > SAME_FRAME for known in candidates):
                candidates.append(frame)
        matches = [
            self._match_view(frame, frames.warp_image(copies, frame, self.settings.side), memory)
            for frame in candidates
        ]
        best = min(matches, key=compute_match_distance)
        share = compute_template_share(best.distance, best.warped_masks)
        if share == 0:
            return best
        placed = self._match_by_template(copies, memory, best, share)
        resemblance = compute_resemblance(self._correlate(copies, placed.frame, memory.supports))
        return replace(placed, resemblance=blend_resemblance(resemblance, share))

    @torch.inference_mode()
    def predict_masks(self, match: TargetMatch, rivals: npt.NDArray[np.bool_]) -> SoftMasks:
        """Predict the masks of a view from its votes (steps 6 and 7).

        Args:
            match: see `match`.
            rivals: bool (T, T), pairs of traits that never share a pixel.

        Returns:
            Masks at the size of the view; 0 outside the window in which any trait may lie.
        """
        window = find_active_window(match)
        cropped = crop_match(match, window)
        if self.decoder is None:
            predicted = self._predict_by_rules(cropped, rivals)
        else:
            predicted = self._predict_with_decoder(cropped, rivals, self.decoder)
        soft = np.zeros((len(rivals), *match.view.shape[:2]), dtype=np.float32)
        soft[:, window.rows(2), window.columns(2)] = apply_insets(predicted.soft, match.insets)
        predicted = replace(predicted, soft=soft)
        predicted = replace(predicted, confidence=temper_confidence(match, predicted))
        share = compute_vote_share(match) if match.vote_limit > 0 else 1.0
        if share >= match.vote_limit or not (soft > 0.5).any():
            return predicted
        # The single trait of the group is lost: from certainly, where it gets no vote, to as likely as not.
        certainty = np.array([1 - 0.5 * share / match.vote_limit], dtype=np.float32)
        return replace(predicted, soft=np.zeros_like(soft), confidence=certainty)

    @torch.inference_mode()
    def remember_in_frame(self, support: Support, trait: str, frame: Frame) -> DenseMemory:
        """Encode one trait of a support in a given frame, for `propagate_in_frame`."""
        alone = replace(support, traits=(trait,), masks=support.masks[[support.traits.index(trait)]])
        tasks = SideTasks()
        encoding = self._start_encoding(alone, alone.traits, frame, tasks).finish()
        memory = DenseMemory(alone.traits, find_rivals([alone], alone.traits), (encoding,))
        if self.decoder is None:
            return memory
        changed = self._match_changed_view(self._start_changed_view(alone, frame, tasks).result(), memory, tasks)
        return replace(memory, key_reliability=compute_key_reliability(changed))

    @torch.inference_mode()
    def propagate_in_frame(self, memory: DenseMemory, image: RGBImage, frame: Frame) -> Propagated:
        """Find the traits within a frame that is known to be aligned with the support's (without step 2)."""
        match = self._match_view(frame, frames.warp_image(image, frame, self.settings.side), memory)
        predicted = self.predict_masks(match, memory.rivals)
        masks = frames.unwarp_masks(predicted.soft, frame, image.shape[:2])
        return Propagated(masks, predicted.confidence, frame)

    def _predict_with_decoder(
        self, match: TargetMatch, rivals: npt.NDArray[np.bool_], decoder: TrainedDecoder
    ) -> SoftMasks:
        colour = self.settings.colour
        votes = fuse_votes(match)
        posteriors = compute_layer_posteriors(match.view, votes.shares, rivals, colour=colour)
        soft, confidence = refine(match.view, votes.shares, rivals, colour=colour, posteriors=posteriors)
        inputs = build_decoder_inputs(
            match.view,
            match.shares,
            match.distance,
            match.warped_masks,
            compute_initial_masks(posteriors, rivals),
            rivals,
            match.levels,
            votes.key_votes,
        )
        return decoder.decode(
            inputs,
            SoftMasks(soft, confidence),
            self._compute_presence(match.shares, match.distance, match.warped_masks),
            in_distribution=votes.in_distribution,
            disagreement=votes.disagreement,
            reliability=compute_presence_reliability(match, votes.in_distribution),
        )

    def _predict_by_rules(self, match: TargetMatch, rivals: npt.NDArray[np.bool_]) -> SoftMasks:
        presence = self._compute_presence(match.shares, match.distance, match.warped_masks)
        absent, wins = presence < 0.5, (match.shares[1:] > MAJORITY).any(axis=(1, 2))
        shares = match.shares.copy()
        shares[1:][absent & wins] = 0
        soft, certainty = refine(match.view, shares, rivals, colour=self.settings.colour)
        # The votes for a trait that wins nowhere stay till here: without them the others' masks would change.
        soft[absent & ~wins] = 0
        confidence: Floats = np.where(absent, 1 - presence, certainty * presence).astype(np.float32)
        return SoftMasks(soft, confidence)

    def _start_encoding(
        self,
        support: Support,
        traits: Sequence[str],
        frame: Frame,
        tasks: SideTasks,
        *,
        first: SupportEncoding | None = None,
    ) -> StartedEncoding:
        """Encode a support in a frame; with the normalisation, projection and statistics of the first, if given."""
        settings = self.settings
        image = Pyramid(support.image)
        view = frames.warp_image(image, frame, settings.side)
        levels = self.matching_trunk.levels(view[None], deepest=4)
        labels = compute_support_labels(support, traits, frame, settings.side)
        displacement_grid = tasks.start(
            lambda: self._describe_support(
                levels, view, labels, settings.displacement_descriptor, first.displacement_grid if first else None
            ),
            urgent=True,
        )
        poses = frames.pose_hypotheses(frame, settings.pose_rotations)
        described = self._start_poses(support, image, poses, first.pose_normalisation if first else None, tasks)
        transfer_grid = self._describe_support(
            levels, view, labels, settings.transfer_descriptor, first.transfer_grid if first else None
        )
        template: SideTask[tuple[Template, BendingTemplate] | None] | None = None
        if first is None or first.template is not None:
            template = tasks.start(
                lambda: self._encode_template(image, frame, transfer_grid, first.template if first else None)
            )
        key_levels = self._compute_key_levels(view, levels)
        statistics = first.statistics if first else compute_channel_statistics(key_levels)
        encoding = SupportEncoding(
            frame=frame,
            poses=tuple(poses),
            pose_descriptors=(),
            pose_normalisation=Normalisation(()),
            pose_cells=(),
            displacement_grid=displacement_grid.result(),
            transfer_grid=transfer_grid,
            statistics=statistics,
            keys=None if self.decoder is None else self.decoder.compute_keys(view, key_levels, statistics),
            key_labels=functional.adaptive_avg_pool2d(transfer_grid.labels, key_levels[0].shape[-1]),
            template=None,
            bending=None,
        )
        return StartedEncoding(encoding, described, template)

    def _encode_template(
        self, image: Pyramid[RGBImage], frame: Frame, grid: SupportGrid, first: Template | None
    ) -> tuple[Template, BendingTemplate] | None:
        small = frames.warp_image(image, frame, SIDE)
        template = encode_template(self.matching_trunk.levels(small[None]), small, grid.labels, first)
        if template is None:
            return None
        wide = frames.warp_image(image, widen_frame(frame), int(REACH * SIDE))
        levels = self.matching_trunk.levels(wide[None])
        return template, encode_bending_template(levels, wide, grid.labels, template.axis)

    def _start_poses(
        self,
        support: Support,
        image: Pyramid[RGBImage],
        poses: Sequence[Frame],
        normalisation: Normalisation | None,
        tasks: SideTasks,
    ) -> tuple[SideTask[DescribedPoses], ...]:
        """Compute the pose descriptors of the cells that show the specimen, a few poses a task."""
        side = self.settings.pose_side
        pictures = tasks.start(
            lambda: (
                warp_poses(lambda pose: frames.warp_image(image, pose, side), poses),
                self._find_specimen(join_masks(support) | foreground_mask(support.image), poses),
            )
        )

        def describe(start: int, known: SideTask[DescribedPoses] | None) -> DescribedPoses:
            (views, cells), part = pictures.result(), slice(start, start + POSES_TOGETHER)
            shared = normalisation if known is None else known.result().normalisation
            return self._describe_poses(views[part], cells[part], shared)

        # The first task computes the normalisation, unless there is one; a few poses at a time: the network's weights
        # are read for all at once, and the features stay in the cache.
        started = [tasks.start(lambda: describe(0, None))]
        for start in range(POSES_TOGETHER, len(poses), POSES_TOGETHER):
            started.append(tasks.start(partial(describe, start, started[0])))
        return tuple(started)

    def _describe_poses(
        self, views: Sequence[RGBImage], cells: Sequence[torch.Tensor], normalisation: Normalisation | None
    ) -> DescribedPoses:
        """Compute the pose descriptors of some cells of some views of a support."""
        levels = self.matching_trunk.levels(np.stack(views), together=POSES_TOGETHER)
        grids, normalisation = compute_descriptors(levels, views, self.settings.pose_descriptor, normalisation)
        descriptors = tuple(grid.flatten(1).T[wanted] for grid, wanted in zip(grids, cells, strict=True))
        return DescribedPoses(descriptors, tuple(cells), normalisation)

    def _find_specimen(self, specimen: Mask, poses: Sequence[Frame]) -> tuple[torch.Tensor, ...]:
        """Find the cells that show the specimen in all poses: int64 (F,) each."""
        side, covered = self.settings.pose_side, mask_pyramid(specimen)
        coverages = warp_poses(lambda pose: frames.warp_mask(covered, pose, side), poses)
        shares = (average_over_cells(coverage, self.settings.pose_descriptor.cells) for coverage in coverages)
        return tuple(
            torch.from_numpy(np.flatnonzero(share > FOREGROUND_SHARE)).to(self.matching_trunk.device)
            for share in shares
        )

    def _compute_key_levels(self, view: RGBImage, levels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Compute what keys and decoder take of a view: strides 4, 8 and 16; `levels` are those of the matching."""
        if self.matching_trunk is not self.trunk:
            levels = self.trunk.levels(view[None], deepest=4)
        return [level[0] for level in levels[1:]]

    def _describe_support(
        self,
        levels: Sequence[torch.Tensor],
        view: RGBImage,
        labels: Floats,
        settings: DescriptorSettings,
        first: SupportGrid | None,
    ) -> SupportGrid:
        """Compute projected descriptors and labels of a support's view at one resolution."""
        grid, normalisation = compute_descriptors(levels, [view], settings, first.normalisation if first else None)
        projection = first.projection if first else PCAProjection(grid[0], self.settings.pca_dimensions)
        shares = np.stack([average_over_cells(label, settings.cells) for label in labels])
        return SupportGrid(
            normalisation, projection, projection(grid[0]).contiguous(), torch.from_numpy(shares).to(grid.device)
        )

    def _start_changed_view(self, support: Support, frame: Frame, tasks: SideTasks) -> SideTask[ChangedView]:
        """Encode a slightly rotated, enlarged and brighter view of a support, whose frame is given."""

        def encode() -> ChangedView:
            changed, brighter = change_view(support.image, frame, self.settings.side)
            return ChangedView(changed, brighter, tuple(self.matching_trunk.levels(brighter[None], deepest=4)))

        return tasks.start(encode)

    def _match_changed_view(self, changed: ChangedView, memory: DenseMemory, tasks: SideTasks) -> TargetMatch:
        """Match the changed view of the first support with the supports."""
        return self._match_levels(changed.frame, changed.view, changed.levels, memory, tasks)

    def _choose_insets(self, support: Support, changed: TargetMatch, memory: DenseMemory) -> tuple[Inset, ...]:
        """Choose how far masks are drawn in, on a view of the first support that was matched with the group."""
        reliability = memory.key_reliability * compute_target_reliability(changed.distance, changed.warped_masks)
        found = self.predict_masks(replace(changed, reliability=reliability), memory.rivals)
        drawn = compute_support_labels(support, memory.traits, changed.frame, len(changed.view))[1:] > MAJORITY
        return choose_insets(found.soft, drawn)

    def _estimate_frame(self, image: Pyramid[RGBImage], supports: Sequence[SupportEncoding], start: Frame) -> Frame:
        """Estimate the frame in which the image is aligned with the supports, from a start frame (step 2)."""
        # The supports of a group share the normalisation.
        target, coarsest = self._describe_factored(image, start, supports[0])
        hypotheses = []
        for support in supports:
            poses = zip(support.poses, support.pose_descriptors, support.pose_cells, strict=True)
            for number, (pose, descriptors, cells) in enumerate(poses):
                similarity, nearest = self._match_nearest(project_coarsest(descriptors, coarsest), cells, target)
                hypotheses.append((similarity, number, support, pose, cells, nearest))
        hypotheses.sort(key=lambda one: -one[0])
        alike = {step % self.settings.pose_rotations for step in range(-NEAR_ROTATIONS, NEAR_ROTATIONS + 1)}
        best, others = hypotheses[: self.settings.pose_candidates], hypotheses[self.settings.pose_candidates :]
        if not any(number in alike for _, number, *_ in best):
            near = [one for one in others if one[1] in alike][:1]
            best += [one for one in near if one[0] > best[0][0] - NEAR_GAP]
        supports, candidates = [support for _, _, support, *_ in best], []
        for _, _, support, pose, cells, nearest in best:
            upright_to_pose = frames.compose(pose, frames.invert(support.frame))
            candidates.append(frames.compose(frames.invert(upright_to_pose), self._fit_frame(start, cells, nearest)))
        for _ in range(self.settings.pose_refinements):
            matches = self._match_upright(image, candidates, supports)
            candidates = [
                self._fit_frame(frame, support.pose_cells[0], nearest)
                for frame, support, (_, nearest) in zip(candidates, supports, matches, strict=True)
            ]
        similarities = [similarity for similarity, _ in self._match_upright(image, candidates, supports)]
        return candidates[int(np.argmax(similarities))]

    def _match_upright(
        self, image: Pyramid[RGBImage], candidates: Sequence[Frame], supports: Sequence[SupportEncoding]
    ) -> list[tuple[float, torch.Tensor]]:
        """Match an image, in a frame for each of some supports, with that support as it lies, see `_match_nearest`."""
        targets = self._describe_coarsely(image, candidates, supports[0])
        return [
            self._match_nearest(support.pose_descriptors[0], support.pose_cells[0], target)
            for support, target in zip(supports, targets, strict=True)
        ]

    def _correlate(self, image: Pyramid[RGBImage], frame: Frame, supports: Sequence[SupportEncoding]) -> float:
        """Compute the correlation of an image, in a frame, with the support that it resembles most."""
        (target,) = self._describe_coarsely(image, [frame], supports[0])
        return max(
            compute_correlation(support.pose_descriptors[0], target.T[support.pose_cells[0]]) for support in supports
        )

    def _match_by_template(
        self, image: Pyramid[RGBImage], memory: DenseMemory, match: TargetMatch, share: float
    ) -> TargetMatch:
        """Match an image anew where a template lies best on it (step 2), and mix its labels, bent, with the votes.

        The search starts from the whole photograph, as specimens of a series are mostly photographed alike, and from
        the frame that the cells' matches have found, whose placement has to be clearly better.
        """
        height, width = image.full.shape[:2]
        whole = frames.square_frame((width / 2, height / 2), WHOLE_START * max(height, width), 0.0)
        placed: list[tuple[float, Frame, SupportEncoding]] = []
        for support in memory.supports:
            if support.template is None:
                continue
            twice = self._place_template(image, support.template, whole)
            twice = self._place_template(image, support.template, twice.frame)
            matched = self._place_template(image, support.template, match.frame)
            placed.append((twice.score + ALIKE_BONUS, twice.frame, support))
            placed.append((matched.score, matched.frame, support))
        if not placed:
            return match
        _, frame, support = max(placed, key=lambda one: one[0])
        assert support.template is not None
        assert support.bending is not None
        wide = frames.warp_image(image, widen_frame(frame), int(REACH * SIDE))
        cells = self.settings.displacement_descriptor.cells
        displacement = bend_template(support.bending, self.matching_trunk.levels(wide[None]), wide, cells)
        # A field that is its own mirror image has half as much to be wrong by, so that the votes may follow it, too.
        axis = support.template.axis
        known = tuple(displacement if axis is not None and each is support else None for each in memory.supports)
        anew = self._match_view(frame, frames.warp_image(image, frame, self.settings.side), memory, known)
        labels = warp_to_target(support.transfer_grid.labels, displacement)
        return mix_votes(anew, labels.cpu().numpy(), share, axis)

    def _place_template(self, image: Pyramid[RGBImage], template: Template, start: Frame) -> Placement:
        view = frames.warp_image(image, widen_frame(start), int(REACH * SIDE))
        return place_template(template, start, self.matching_trunk.levels(view[None]), view)

    def _describe_coarsely(
        self, image: Pyramid[RGBImage], wanted: Sequence[Frame], support: SupportEncoding
    ) -> list[torch.Tensor]:
        """Compute the pose descriptors of an image in some frames: float32 (D, g * g) each."""
        return [grid for grid, _ in self._describe_levels(image, wanted, support)]

    def _describe_factored(
        self, image: Pyramid[RGBImage], frame: Frame, support: SupportEncoding
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compute pose descriptors, the coarsest level factored (see `factor_coarsest`)."""
        ((grid, levels),) = self._describe_levels(image, [frame], support)
        return factor_coarsest(grid, levels, self.settings.pose_descriptor, support.pose_normalisation)

    def _describe_levels(
        self, image: Pyramid[RGBImage], wanted: Sequence[Frame], support: SupportEncoding
    ) -> list[tuple[torch.Tensor, list[torch.Tensor]]]:
        """Compute pose descriptors, float32 (D, g * g), and the network's levels that they were computed from."""
        views = [frames.warp_image(image, frame, self.settings.pose_side) for frame in wanted]
        every = self.matching_trunk.levels(np.stack(views))
        settings, normalisation, described = self.settings.pose_descriptor, support.pose_normalisation, []
        for view, *levels in zip(views, *(level.split(1) for level in every), strict=True):
            grid, _ = compute_descriptors(levels, [view], settings, normalisation)
            described.append((grid[0].flatten(1), levels))
        return described

    def _match_nearest(
        self, descriptors: torch.Tensor, cells: torch.Tensor, target: torch.Tensor
    ) -> tuple[float, torch.Tensor]:
        """Find the most similar target cell of every foreground cell of a support.

        Args:
            descriptors: float32 (F, D), of the support's foreground cells.
            cells: int64 (F,), which those are.
            target: float32 (D, g * g).

        Returns:
            The mean similarity (inner product less the position's cost); int64 (F,), target cells.
        """
        costs = self._position_costs.to(target.device)[cells]
        best, nearest = torch.addmm(costs, descriptors, target, beta=-1).max(dim=1)
        return float(best.mean()), nearest

    def _fit_frame(self, frame: Frame, cells: torch.Tensor, nearest: torch.Tensor) -> Frame:
        """Compose a frame with the similarity transform fitted to matched cells of support and target."""
        places = compute_cell_centres(self.settings.pose_descriptor.cells).double().numpy()
        fitted = frames.fit_similarity(places[cells.cpu().numpy()], places[nearest.cpu().numpy()])
        return frame if fitted is None else frames.compose(frames.invert(fitted), frame)

    def _match_view(
        self, frame: Frame, view: RGBImage, memory: DenseMemory, known: Sequence[torch.Tensor | None] = ()
    ) -> TargetMatch:
        """Warp each support to the view, and transfer the labels to every cell (steps 3 to 5).

        Args:
            frame: of the view.
            view: uint8 (S, S, 3).
            memory: of the group.
            known: displacements from the view to the supports, float32 (2, g, g), None to estimate one; none for all.
        """
        levels = self.matching_trunk.levels(view[None], deepest=4)
        return self._match_levels(frame, view, levels, memory, SideTasks(), known)

    def _match_levels(
        self,
        frame: Frame,
        view: RGBImage,
        levels: Sequence[torch.Tensor],
        memory: DenseMemory,
        tasks: SideTasks,
        known: Sequence[torch.Tensor | None] = (),
    ) -> TargetMatch:
        """Match a view as `_match_view`, from the network's levels."""
        settings, first = self.settings, memory.supports[0]
        coarse, _ = compute_descriptors(
            levels, [view], settings.displacement_descriptor, first.displacement_grid.normalisation
        )
        target = first.displacement_grid.projection(coarse[0])
        displacements = tuple(
            self._estimate_displacement(target, support) if field is None else field
            for support, field in zip(memory.supports, known or [None] * len(memory.supports), strict=True)
        )
        warped_labels = [
            warp_to_target(support.transfer_grid.labels, field)
            for support, field in zip(memory.supports, displacements, strict=True)
        ]
        key_levels = tuple(self._compute_key_levels(view, levels))
        by_keys = tasks.start(lambda: self._vote_by_keys(memory, view, key_levels, displacements), urgent=True)
        shares, distance = self._vote(memory, view, levels, displacements, warped_labels)
        warped_masks = torch.stack([labels[1:] for labels in warped_labels]).mean(0).cpu().numpy()
        distances = distance.cpu().numpy()
        return TargetMatch(
            frame=frame,
            view=view,
            shares=shares.cpu().numpy(),
            distance=distances,
            warped_masks=warped_masks,
            levels=key_levels,
            displacements=displacements,
            key_votes=by_keys.result(),
            reliability=memory.key_reliability * compute_target_reliability(distances, warped_masks),
            vote_limit=memory.vote_limit,
            insets=memory.insets,
        )

    def _vote(
        self,
        memory: DenseMemory,
        view: RGBImage,
        levels: Sequence[torch.Tensor],
        displacements: Sequence[torch.Tensor],
        warped_labels: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Transfer the labels of the warped supports to every cell (step 4): shares and distance of `Votes.result`.

        Descriptors are computed where labels lie near only; elsewhere a cell has no label, and distance 0.
        """
        first, match, settings = memory.supports[0].transfer_grid, self.settings.transfer_match, self.settings
        cells = settings.transfer_descriptor.cells
        labelled = torch.stack([labels[1:].amax(0) > 0 for labels in warped_labels]).any(0)
        whole = slice(0, cells)
        rows, columns = find_voting_window(labelled, match) if are_croppable(levels, cells) else (whole, whole)
        within = [
            level[..., cut_slice(rows, cells, level.shape[-1]), cut_slice(columns, cells, level.shape[-1])]
            for level in levels
        ]
        part = np.ascontiguousarray(view[cut_slice(rows, cells, len(view)), cut_slice(columns, cells, len(view))])
        size = (rows.stop - rows.start, columns.stop - columns.start)
        fine, _ = compute_descriptors(within, [part], settings.transfer_descriptor, first.normalisation, size=size)
        votes = Votes(first.projection(fine[0]), labelled[rows, columns], match, cells=cells)
        for support, field, labels in zip(memory.supports, displacements, warped_labels, strict=True):
            descriptors = warp_to_target(support.transfer_grid.descriptors, field, (rows, columns))
            votes.add(descriptors, labels[:, rows, columns])
        near, near_distance = votes.result()
        shares, distance = near.new_zeros(len(near), cells, cells), near.new_zeros(cells, cells)
        shares[0] = 1
        shares[:, rows, columns], distance[rows, columns] = near, near_distance
        return shares, distance

    def _vote_by_keys(
        self,
        memory: DenseMemory,
        view: RGBImage,
        levels: tuple[torch.Tensor, ...],
        displacements: tuple[torch.Tensor, ...],
    ) -> KeyVotes | None:
        if self.decoder is None:
            return None
        supports = [warp_keys(support, field) for support, field in zip(memory.supports, displacements, strict=True)]
        keys = self.decoder.compute_keys(view, levels, memory.supports[0].statistics)
        return self.decoder.vote_by_keys(keys, supports)

    def _compute_presence(self, shares: Floats, distance: Floats, warped_masks: Floats) -> Floats:
        """Compute the probability of each trait's presence from its matches: float32 (T,), under 0.5 if absent.

        Where a wing is torn off every cell still has a best match, but a bad one; or the cells go to other traits, and
        the trait wins none. A trait that is thinner than a cell, or annotated on some of the supports only, cannot win
        more than a part of one: its votes are compared with the share of the cell that its warped mask covers.
        """
        excess = []
        for share, mask in zip(shares[1:], warped_masks, strict=True):
            if not (share > MAJORITY).any():
                share = share / max(float(mask.max()), MIN_COVERAGE)
            won = distance[share > MAJORITY]
            excess.append(np.median(won) - self.settings.absence_distance if len(won) else MAJORITY - share.max())
        presence: Floats = (1 / (1 + np.exp(np.array(excess) / PRESENCE_SCALE))).astype(np.float32)
        return presence

    def _estimate_displacement(self, target: torch.Tensor, support: SupportEncoding) -> torch.Tensor:
        """Estimate the displacement field from a target to a support: float32 (2, g, g), shares of the view's edge.

        Specimens of one species differ in proportions: a similarity transform leaves a head beside a head. The expected
        position of the match is the soft argmax of the similarities: positions are transferred like labels.
        """
        settings, grid = self.settings, support.displacement_grid
        centres = compute_cell_centres(settings.displacement_descriptor.cells)
        places = centres.T.reshape(2, *target.shape[1:]).to(target.device)
        votes = Votes(target, grid.labels[1:].amax(0) > 0, settings.displacement_match)
        votes.add(grid.descriptors, places)
        matched, distance = votes.result()
        confidence = votes.active_cells() * torch.exp(-distance / settings.displacement_distance)
        return smooth_displacement(matched - places, confidence, settings.displacement_sigma)


def warp_poses(warp: Callable[[Frame], Picture], poses: Sequence[Frame]) -> list[Picture]:
    """Warp a picture to all hypotheses of a pose; what is in the mirror is the mirror image of another one.

    Args:
        warp: warps it to one, (side, side, ...).
        poses: from `frames.pose_hypotheses`: rotations, then as many of the mirrored frame.

    Returns:
        A picture a pose.
    """
    rotated = [warp(pose) for pose in poses[: len(poses) // 2]]
    # A rotation seen in a mirror turns the other way.
    return rotated + [np.ascontiguousarray(rotated[-number][:, ::-1]) for number in range(len(rotated))]  # type: ignore[misc]


def propose_starts(image: RGBImage) -> list[Frame]:
    """Propose frames from which the search for the pose starts: around the foreground, and the whole photograph.

    Args:
        image: uint8 (H, W, 3).

    Returns:
        One or two frames, not rotated; the second only where the first is much smaller than the photograph.
    """
    height, width = image.shape[:2]
    start = frame_specimen(image)
    if frames.measure_side(start) >= SMALL_START * max(height, width):
        return [start]
    return [start, frames.square_frame((width / 2, height / 2), max(height, width), 0.0)]


def are_croppable(levels: Sequence[torch.Tensor], cells: int) -> bool:
    """Say whether feature levels can be cut at every `BLOCK` cells of a grid of so many along an edge."""
    return all(level.shape[-1] * BLOCK % cells == 0 for level in levels)


def cut_slice(part: slice, cells: int, edge: int) -> slice:
    """Convert a slice of cells, from and to multiples of `BLOCK`, to the resolution of a grid with another edge.

    >>> cut_slice(slice(16, 48), 224, 28)
    slice(2, 6, None)
    """
    return slice(part.start * edge // cells, part.stop * edge // cells)


def compute_match_distance(match: TargetMatch) -> float:
    """Compute how badly a view matches the supports: the median squared distance where the warped masks lie.

    Returns:
        0 or more; infinite if no mask lies in the view.
    """
    expected = match.warped_masks.max(axis=0) > MAJORITY
    return float(np.median(match.distance[expected])) if expected.any() else float("inf")
