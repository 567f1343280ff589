"""The default propagator: dense matching of features against one annotated specimen. No download.

1. `remember`: the support is described cell by cell, coarsely in every pose (turned, mirrored) and finely as it lies.
2. Pose: a target is described coarsely once and compared with the support in every pose. The best pose's matched cells
   give the similarity transform (turn, size, place) that lays the target like the support.
3. Match: seen through that frame, every cell of the target softly takes over the labels of the most similar cells of
   the support nearby. With a decoder, cells vote a second time, by keys that were learnt (`keys.py`), and look farther.
4. Pixels: rules sharpen the votes by the target's own colours and edges (`refine.py`); a small network, trained on
   labelled specimens, makes masks of them, too (`decoder.py`). It is heard where learnt and plain votes disagree, and
   only on animals that look to the keys like those they know (`track.dense.view.weighed`). Without a decoder the rules
   decide alone.

This is not SAM 2; it plays its part where no checkpoint is at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from sst_retrieval.imaging import frames
from sst_retrieval.imaging.foreground import foreground_mask, frame_specimen
from sst_retrieval.imaging.pyramid import Pyramid, mask_pyramid
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.track.dense.decoder import clues
from sst_retrieval.track.dense.keys import spreads
from sst_retrieval.track.dense.matching import (
    DescriptorSettings,
    PCAProjection,
    Votes,
    average_over_cells,
    compute_cell_centres,
    compute_descriptors,
    smooth_displacement,
)
from sst_retrieval.track.dense.memory import (
    DenseMemory,
    Remembered,
    Scale,
    drawn_pixels,
    rivals,
    support_labels,
)
from sst_retrieval.track.dense.refine import compute_initial_masks, compute_layer_posteriors, refine
from sst_retrieval.track.dense.settings import DenseSettings, compute_settings_hash
from sst_retrieval.track.dense.trained_decoder import Drawn, TrainedDecoder
from sst_retrieval.track.dense.view import Seen, bend, busy, cut, recallable, weighed
from sst_retrieval.types import Floats, Frame, Propagated, RGBImage, Support

VERSION = 7
"""Changes whenever the same settings would give other masks."""

WON = 0.5
"""Share of the votes above which a trait wins a cell."""

LEAST = 0.1
"""Share of a cell that a trait is taken to cover at least, where it is hardly in sight at all."""


class DensePropagator:
    """Carries masks from annotated specimens to others by matching features (a `Propagator`)."""

    concurrent = True

    def __init__(
        self,
        device: str = "auto",
        *,
        trunk: EfficientNetTrunk | None = None,
        settings: DenseSettings | None = None,
        decoder: TrainedDecoder | None = None,
    ) -> None:
        """Take a network, or load one.

        Args:
            device: "auto", "cpu" or "cuda"; not looked at when a trunk is given.
            trunk: a network that is already loaded.
            settings: how to look.
            decoder: makes masks of the votes; None for rules that were not learnt.

        Raises:
            ModelError: as `EfficientNetTrunk`.
        """
        self.trunk = trunk if trunk is not None else EfficientNetTrunk(device)
        self.settings = settings if settings is not None else DenseSettings()
        self.decoder = decoder
        places = compute_cell_centres(self.settings.pose_descriptor.cells)
        self._apart = self.settings.pose_position_cost * torch.cdist(places, places) ** 2
        # Another way of looking gives other masks, which must not be mixed with old ones in one index.
        how = compute_settings_hash(self.settings)
        by = "" if decoder is None else f", {decoder.name}"
        self.name = f"dense matching {VERSION}{by} on {self.trunk.name} at {self.settings.side} px, settings {how}"

    @torch.inference_mode()
    def remember(self, supports: Sequence[Support]) -> DenseMemory:
        """Describe the supports of a group; those after the first are laid like the first."""
        traits = tuple(dict.fromkeys(trait for support in supports for trait in support.traits))
        start = frame_specimen(supports[0].image, drawn=drawn_pixels(supports[0]))
        first = self._describe(supports[0], traits, start)
        described = [first]
        for support in supports[1:]:
            frame = self._lay(Pyramid(support.image), [first])
            described.append(self._describe(support, traits, frame, like=first))
        return DenseMemory(traits, rivals(supports, traits), tuple(described))

    def propagate(self, memory: DenseMemory, images: Sequence[RGBImage]) -> list[Propagated]:
        """Find the traits on every image, each by itself."""
        return [found for found, _ in self.familiarly(memory, images)]

    @torch.inference_mode()
    def familiarly(self, memory: DenseMemory, images: Sequence[RGBImage]) -> list[tuple[Propagated, float]]:
        """Find the traits, and say of every specimen how familiar it is to what was learnt, 0..1."""
        answers = []
        for image in images:
            seen = self.look(memory, image)
            drawn = self.draw(seen, memory.rivals)
            masks = frames.unwarp_masks(drawn.soft, seen.frame, image.shape[:2])
            answers.append((Propagated(masks, drawn.confidence, seen.frame), drawn.familiar))
        return answers

    @torch.inference_mode()
    def look(self, memory: DenseMemory, image: RGBImage) -> Seen:
        """See an image as it lies like the supports, and match it with them; what masks are made of."""
        copies = Pyramid(image)
        frame = self._lay(copies, memory.supports)
        view = frames.warp_image(copies, frame, self.settings.side)
        return self._match(frame, view, memory)

    @torch.inference_mode()
    def draw(self, seen: Seen, rivals: npt.NDArray[np.bool_]) -> Drawn:
        """Make the masks of a view from what is seen of it.

        Args:
            seen: see `look`.
            rivals: bool (T, T), pairs of traits that never share a pixel.
        """
        place = busy(seen)
        near = cut(seen, place)
        drawn = self._by_rules(near, rivals) if self.decoder is None else self._decoded(near, rivals, self.decoder)
        soft = np.zeros((len(rivals), *seen.view.shape[:2]), dtype=np.float32)
        soft[:, place.rows(2), place.columns(2)] = drawn.soft
        return replace(drawn, soft=soft)

    def _decoded(self, seen: Seen, rivals: npt.NDArray[np.bool_], decoder: TrainedDecoder) -> Drawn:
        colour = self.settings.colour
        votes = weighed(seen)
        posteriors = compute_layer_posteriors(seen.view, votes.both, rivals, colour=colour)
        ruled, sure = refine(seen.view, votes.both, rivals, colour=colour, posteriors=posteriors)
        first = compute_initial_masks(posteriors, rivals)
        told = clues(seen.view, seen.shares, seen.distance, seen.bent, first, rivals, seen.levels, votes.recalled)
        presence = self._presence(seen.shares, seen.distance, seen.bent)
        return decoder.decode(told, Drawn(ruled, sure), presence, familiar=votes.familiar, doubt=votes.doubt)

    def _by_rules(self, seen: Seen, rivals: npt.NDArray[np.bool_]) -> Drawn:
        presence = self._presence(seen.shares, seen.distance, seen.bent)
        lost, wins = presence < 0.5, (seen.shares[1:] > WON).any(axis=(1, 2))
        shares = seen.shares.copy()
        shares[1:][lost & wins] = 0
        soft, sure = refine(seen.view, shares, rivals, colour=self.settings.colour)
        # The votes for a trait that wins nowhere stay till here: without them the others' masks would change.
        soft[lost & ~wins] = 0
        confidence: Floats = np.where(lost, 1 - presence, sure * presence).astype(np.float32)
        return Drawn(soft, confidence)

    def _describe(
        self, support: Support, traits: Sequence[str], frame: Frame, *, like: Remembered | None = None
    ) -> Remembered:
        settings = self.settings
        poses = frames.pose_hypotheses(frame, settings.pose_rotations)
        image = Pyramid(support.image)
        views = [frames.warp_image(image, turned, settings.pose_side) for turned in poses]
        norm = like.coarse_norm if like else None
        coarse, norm = compute_descriptors(self.trunk.levels(np.stack(views)), views, settings.pose_descriptor, norm)
        found = foreground_mask(support.image)
        specimen = mask_pyramid(drawn_pixels(support) | found)
        cells = settings.pose_descriptor.cells
        shown = [
            average_over_cells(frames.warp_mask(specimen, turned, settings.pose_side), cells) > 0.3 for turned in poses
        ]
        view = frames.warp_image(image, frame, settings.side)
        levels = self.trunk.levels(view[None], deepest=4)
        labels = support_labels(support, traits, frame, settings.side)
        fine = self._scale(levels, view, labels, settings.transfer_descriptor, like.fine if like else None)
        seen = [level[0] for level in levels[1:]]
        relative = like.spreads if like else spreads(seen)
        return Remembered(
            frame=frame,
            poses=tuple(poses),
            coarse=coarse,
            coarse_norm=norm,
            specimen=torch.from_numpy(np.stack(shown).reshape(len(poses), -1)).to(coarse.device),
            middle=self._scale(levels, view, labels, settings.displacement_descriptor, like.middle if like else None),
            fine=fine,
            spreads=relative,
            keys=None if self.decoder is None else self.decoder.keys(view, seen, relative),
            key_labels=functional.adaptive_avg_pool2d(fine.labels, seen[0].shape[-1]),
        )

    def _scale(
        self,
        levels: Sequence[torch.Tensor],
        view: RGBImage,
        labels: Floats,
        look: DescriptorSettings,
        like: Scale | None,
    ) -> Scale:
        grid, norm = compute_descriptors(levels, [view], look, like.norm if like else None)
        compressed = like.compressed if like else PCAProjection(grid[0], self.settings.pca_dimensions)
        shares = torch.from_numpy(np.stack([average_over_cells(each, look.cells) for each in labels])).to(grid.device)
        return Scale(norm, compressed, compressed(grid[0]), shares)

    def _lay(self, image: Pyramid[RGBImage], supports: Sequence[Remembered]) -> Frame:
        """Find the frame in which the image lies like the supports."""
        start = frame_specimen(image.full)
        target = self._glance(image, start, supports[0])  # The supports of a group share their norm.
        found = []
        for support in supports:
            for turned, cells, shown in zip(support.poses, support.coarse, support.specimen, strict=True):
                likeness, partner = self._partners(cells, shown, target)
                found.append((likeness, support, turned, shown, partner))
        best = sorted(found, key=lambda one: -one[0])[: self.settings.pose_candidates]
        tried = []
        for _, support, turned, shown, partner in best:
            upright_to_turned = frames.compose(turned, frames.invert(support.frame))
            frame = frames.compose(frames.invert(upright_to_turned), self._moved(start, shown, partner))
            for _ in range(self.settings.pose_refinements):
                _, partner = self._partners(support.coarse[0], support.specimen[0], self._glance(image, frame, support))
                frame = self._moved(frame, support.specimen[0], partner)
            likeness, _ = self._partners(support.coarse[0], support.specimen[0], self._glance(image, frame, support))
            tried.append((likeness, frame))
        _, best_frame = max(tried, key=lambda one: one[0])
        return best_frame

    def _glance(self, image: Pyramid[RGBImage], frame: Frame, support: Remembered) -> torch.Tensor:
        """Describe an image coarsely through a frame: float32 (D, g * g)."""
        view = frames.warp_image(image, frame, self.settings.pose_side)
        grid, _ = compute_descriptors(
            self.trunk.levels(view[None]), [view], self.settings.pose_descriptor, support.coarse_norm
        )
        return grid[0].flatten(1)

    def _partners(self, cells: torch.Tensor, shown: torch.Tensor, target: torch.Tensor) -> tuple[float, torch.Tensor]:
        """Give every specimen cell of the support its most similar cell of the target; the mean likeness, the cells."""
        apart = self._apart.to(target.device)[shown]
        best, partner = torch.addmm(apart, cells.flatten(1)[:, shown].T, target, beta=-1).max(dim=1)
        return float(best.mean()), partner

    def _moved(self, frame: Frame, shown: torch.Tensor, partner: torch.Tensor) -> Frame:
        """Move a frame so that matched cells of support and target come to lie on each other."""
        places = compute_cell_centres(self.settings.pose_descriptor.cells).double().numpy()
        moved = frames.fit_similarity(places[shown.cpu().numpy()], places[partner.cpu().numpy()])
        return frame if moved is None else frames.compose(frames.invert(moved), frame)

    def _match(self, frame: Frame, view: RGBImage, memory: DenseMemory) -> Seen:
        """Let the supports vote on every cell of the view, each bent to the target's proportions first."""
        settings, first = self.settings, memory.supports[0]
        levels = self.trunk.levels(view[None], deepest=4)
        middle, _ = compute_descriptors(levels, [view], settings.displacement_descriptor, first.middle.norm)
        fine, _ = compute_descriptors(levels, [view], settings.transfer_descriptor, first.fine.norm)
        flows = tuple(self._flow(first.middle.compressed(middle[0]), support) for support in memory.supports)
        pairs = zip(memory.supports, flows, strict=True)
        bent = [(bend(each.fine.features, flow), bend(each.fine.labels, flow)) for each, flow in pairs]
        wanted = torch.stack([labels[1:].amax(0) > 0 for _, labels in bent]).any(0)
        votes = Votes(first.fine.compressed(fine[0]), wanted, settings.transfer_match)
        for features, labels in bent:
            votes.add(features, labels)
        shares, distance = votes.result()
        masks = torch.stack([labels[1:] for _, labels in bent]).mean(0)
        known = tuple(level[0] for level in levels[1:])
        return Seen(
            frame,
            view,
            shares.cpu().numpy(),
            distance.cpu().numpy(),
            masks.cpu().numpy(),
            known,
            flows,
            self._recalled(memory, view, known, flows),
        )

    def _recalled(
        self,
        memory: DenseMemory,
        view: RGBImage,
        levels: tuple[torch.Tensor, ...],
        flows: tuple[torch.Tensor, ...],
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        if self.decoder is None:
            return None
        supports = [recallable(support, flow) for support, flow in zip(memory.supports, flows, strict=True)]
        return self.decoder.recall(self.decoder.keys(view, levels, memory.supports[0].spreads), supports)

    def _presence(self, shares: Floats, distance: Floats, bent: Floats) -> Floats:
        """Say for each trait how well its cells match the support's: float32 (T,), 0..1, under 0.5 for a lost trait.

        Where a wing is torn off every cell still has a best match, but a bad one; or the cells go to other traits, and
        the trait wins none. A trait that is thinner than a cell, or drawn on some of the supports only, cannot win more
        than a part of one: its votes are compared with what it covers there (`bent`).
        """
        doubts = []
        for share, mask in zip(shares[1:], bent, strict=True):
            if not (share > WON).any():
                share = share / max(float(mask.max()), LEAST)
            won = distance[share > WON]
            doubts.append(np.median(won) - self.settings.absence_distance if len(won) else WON - share.max())
        presence: Floats = (1 / (1 + np.exp(np.array(doubts) / 0.08))).astype(np.float32)
        return presence

    def _flow(self, target: torch.Tensor, support: Remembered) -> torch.Tensor:
        """Find where on the support the like of every place of a target lies: float32 (2, g, g).

        Specimens of one species differ in proportions: a similarity transform leaves a head beside a head.
        """
        settings, scale = self.settings, support.middle
        places = (
            compute_cell_centres(settings.displacement_descriptor.cells)
            .T.reshape(2, *target.shape[1:])
            .to(target.device)
        )
        votes = Votes(target, scale.labels[1:].amax(0) > 0, settings.displacement_match)
        votes.add(scale.features, places)
        found, distance = votes.result()
        return smooth_displacement(
            found - places,
            votes.active_cells() * torch.exp(-distance / settings.displacement_distance),
            settings.displacement_sigma,
        )
