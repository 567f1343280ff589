"""SAM 2 as a propagator: the supports are the conditioning frames of a video, every target is its last frame.

1. `remember`: each support is warped to the frame of its specimen and encoded, once, as SAM 2's memory.
2. Pose: a target is tried as photographed. If the pose score (object score times expected IoU, mean over all traits) is
   low, it is also tried rotated and mirrored, and the pose with the highest score is taken. With `dense+sam2` the dense
   propagator finds the pose, at any angle, and its masks are given to SAM 2 as mask prompts.
3. Track: all traits in one batch; traits that never share a pixel on a support do not on a target.
4. The masks are warped back from the frame to the photograph's own pixels.

Ravi et al. (2024), arXiv 2408.00714; used on specimens by Feng et al. (2025), arXiv 2501.06749.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from sst_retrieval.errors import ModelError
from sst_retrieval.imaging import frames as pose
from sst_retrieval.imaging.foreground import frame_specimen
from sst_retrieval.nets.device import resolve_device
from sst_retrieval.track.dense.memory import find_rivals
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.sam2.adapter import Adapters
from sst_retrieval.track.sam2.checkpoint import load_checkpoint
from sst_retrieval.track.sam2.memory import (
    MemoryBank,
    PosedPredictions,
    Sam2Memory,
    merge_banks,
    resolve_overlaps,
    warp_support_masks,
)
from sst_retrieval.track.sam2.network import ImageFeatures, MaskPredictions, Sam2Network
from sst_retrieval.types import Floats, Frame, Propagated, RGBImage, Support

VERSION = 1
"""Raised whenever the same settings would give other masks."""

PROMPT_LOGIT = 10.0
"""Logit of a mask prompt inside the mask, and its negative outside; SAM 2's own prompts have this magnitude."""


@dataclass(frozen=True, slots=True)
class Sam2Settings:
    """Settings of SAM 2 as a propagator. The propagator's name has a hash of their `repr`: keep class and field names.

    Attributes:
        turns: rotations that are tried over a full circle, and as many of the mirror image, if the pose as photographed
            scores low. Each costs one more pass of the image encoder, so they are few; SAM 2 itself tolerates about 45
            degrees.
        sure: pose score, 0..1, from which on the pose as photographed is taken.
        cycle: whether masks are also propagated back to the support (see `Propagated.cycle`).
    """

    turns: int = 4
    sure: float = 0.75
    cycle: bool = False


class Sam2Propagator:
    """Propagates masks from annotated specimens to others with SAM 2 (a `Propagator`).

    Attributes:
        name: checkpoint and settings; goes into the provenance.
        weights: name, file, sha256 and licence of the checkpoint, for the provenance.
        network: SAM 2.
        batch: number of photographs that are encoded at once, and that a build passes. 1 on the CPU, where more are
            not faster and would change the last bits of a result.
        long_video: whether masks of preceding targets are remembered.
    """

    long_video = False

    def __init__(
        self,
        checkpoint: str = "sam2.1_hiera_tiny",
        *,
        config: Path | None = None,
        device: str = "auto",
        settings: Sam2Settings | None = None,
        dense: DensePropagator | None = None,
        adapters: Sequence[Path] = (),
        batch: int | None = None,
    ) -> None:
        """Load SAM 2.

        Args:
            checkpoint: a name of `nets.weights.WEIGHTS`, or the path of a .pt file.
            config: YAML configuration of an architecture that is not Meta's.
            device: "auto", "cpu" or "cuda".
            settings: poses and cycle consistency.
            dense: finds the pose and the mask prompts, if given.
            adapters: folders made by fine-tuning (`track.sam2.adapter`); each is used for its own group only.
            batch: number of photographs that are encoded at once; None for 1 on the CPU and 4 on CUDA.

        Raises:
            ModelError: the checkpoint is missing or broken, sam2 is not installed, or the device is not available.
        """
        if batch is not None and batch < 1:
            raise ModelError(f"{batch} photographs at once are too few; say 1 or more")
        if self.long_video and batch not in (None, 1):
            raise ModelError(f"sam2-video processes one photograph after the other, not {batch} at once")
        chosen = resolve_device(device)
        loaded = load_checkpoint(checkpoint, config)
        self.network = Sam2Network(loaded.model, chosen)
        self.settings = settings if settings is not None else Sam2Settings()
        self.weights = loaded.weights
        self.batch = batch or (1 if chosen.type == "cpu" or self.long_video else 4)
        self._dense = dense
        self._adapters = Adapters(self.network.model, adapters, loaded.weights["sha256"])
        # Indexes record this name: a change of its wording makes their masks count as outdated.
        settings_hash = hashlib.sha256(repr(self.settings).encode()).hexdigest()[:8]
        kind = "film of the group" if self.long_video else "two-frame film"
        guided_by = f", led by {dense.name}" if dense is not None else ""
        self.name = (
            f"SAM 2 {loaded.name} at {self.network.side} px, version {VERSION}, {kind}, {chosen.type}, "
            f"settings {settings_hash}{guided_by}{self._adapters.name}"
        )

    @torch.inference_mode()
    def remember(self, supports: Sequence[Support]) -> Sam2Memory:
        """Encode the supports of a group, once."""
        self._adapters.activate(supports[0].group)
        traits = tuple(dict.fromkeys(trait for support in supports for trait in support.traits))
        dense = self._dense.remember(supports) if self._dense is not None else None
        frames = [support.frame for support in dense.supports] if dense is not None else self._find_frames(supports)
        views = [
            pose.warp_image(each.image, frame, self.network.side) for each, frame in zip(supports, frames, strict=True)
        ]
        features = [self.network.encode(view[None]) for view in views]
        masks = [
            warp_support_masks(each, frame, self.network.side) for each, frame in zip(supports, frames, strict=True)
        ]
        memories = [self.network.encode_conditioning_frame(*pair) for pair in zip(features, masks, strict=True)]
        drawn_on = {trait: tuple(i for i, each in enumerate(supports) if trait in each.traits) for trait in traits}
        banks = []
        for where in dict.fromkeys(drawn_on.values()):
            own = [trait for trait in traits if drawn_on[trait] == where]
            rows = [[supports[i].traits.index(trait) for trait in own] for i in where]
            conditioning = tuple(memories[i].select(row) for i, row in zip(where, rows, strict=True))
            indices = tuple(traits.index(trait) for trait in own)
            projected = self.network.project_memories(conditioning)
            banks.append(MemoryBank(indices, conditioning, projected, features[where[0]], masks[where[0]][rows[0]]))
        return Sam2Memory(traits, supports[0].group, find_rivals(supports, traits), tuple(banks), dense)

    @torch.inference_mode()
    def propagate(self, memory: Sam2Memory, images: Sequence[RGBImage]) -> list[Propagated]:
        """Find the traits on every image; several are encoded in one batch."""
        self._adapters.activate(memory.group)
        starts = range(0, len(images), self.batch)
        return [found for i in starts for found in self._propagate(memory, images[i : i + self.batch])]

    def _find_frames(self, supports: Sequence[Support]) -> list[Frame]:
        """Find the frame of the specimen on every support."""
        return [frame_specimen(each.image, drawn=np.asarray(each.masks.any(axis=0))) for each in supports]

    @torch.inference_mode()
    def predict(self, memory: Sam2Memory, images: Sequence[RGBImage]) -> list[PosedPredictions]:
        """Find the pose of every specimen and predict its masks.

        Args:
            memory: of the group.
            images: uint8 (H, W, 3) each.

        Returns:
            The predictions in the best pose, one an image.
        """
        if self._dense is not None and memory.dense is not None:
            return self.predict_from(memory, images, self._dense.propagate(memory.dense, images))
        as_photographed = self._predict_in_frames(memory, images, [frame_specimen(image) for image in images])
        return [
            found if found.pose_score >= self.settings.sure else self._search_poses(memory, image, found)
            for image, found in zip(images, as_photographed, strict=True)
        ]

    def predict_from(
        self, memory: Sam2Memory, images: Sequence[RGBImage], initial: Sequence[Propagated]
    ) -> list[PosedPredictions]:
        """Predict masks in given poses, with given masks as mask prompts.

        Args:
            memory: of the group.
            images: uint8 (H, W, 3) each.
            initial: masks and frame of every image.

        Returns:
            The predictions, one an image.
        """
        return self._predict_in_frames(memory, images, [each.frame for each in initial], initial)

    def _propagate(self, memory: Sam2Memory, images: Sequence[RGBImage]) -> list[Propagated]:
        found = self.predict(memory, images)
        return [self._to_propagated(memory, image, each) for image, each in zip(images, found, strict=True)]

    def _search_poses(self, memory: Sam2Memory, image: RGBImage, as_photographed: PosedPredictions) -> PosedPredictions:
        """Predict in all other poses too, and return the predictions with the highest pose score."""
        best = as_photographed
        others = pose.pose_hypotheses(as_photographed.frame, self.settings.turns)[1:]
        for start in range(0, len(others), self.batch):
            frames = others[start : start + self.batch]
            found = self._predict_in_frames(memory, [image] * len(frames), frames)
            best = max([best, *found], key=lambda each: each.pose_score)
        return best

    def _predict_in_frames(
        self,
        memory: Sam2Memory,
        images: Sequence[RGBImage],
        frames: Sequence[Frame],
        initial: Sequence[Propagated] = (),
    ) -> list[PosedPredictions]:
        """Predict masks of images through frames, with one pass of the encoder for all of them."""
        views = [pose.warp_image(image, frame, self.network.side) for image, frame in zip(images, frames, strict=True)]
        features = self.network.encode(np.stack(views))
        prompts = [self._make_mask_prompt(each, self.network.side // 4) for each in initial]
        found = [self._track(memory, bank, features, prompts) for bank in range(len(memory.banks))]
        return [
            PosedPredictions(
                frame, features.select(i), tuple(each.select(i) for each in found), initial[i] if initial else None
            )
            for i, frame in enumerate(frames)
        ]

    def _track(
        self, memory: Sam2Memory, bank_index: int, features: ImageFeatures, prompts: Sequence[torch.Tensor]
    ) -> MaskPredictions:
        """Predict one memory bank's traits on all images; `prompts` are of all traits, one an image, or none."""
        bank = memory.banks[bank_index]
        stacked = torch.stack(list(prompts))[:, list(bank.traits)].to(self.network.device) if prompts else None
        return self.network.track(features, bank.projected, stacked)

    def make_mask_prompts(self, found: PosedPredictions) -> torch.Tensor | None:
        """Return the mask prompts that led to predictions: float32 (T, s, s), logits; None if there were none."""
        return None if found.initial is None else self._make_mask_prompt(found.initial, self.network.side // 4)

    def _make_mask_prompt(self, initial: Propagated, side: int) -> torch.Tensor:
        """Convert masks of a photograph to mask prompts in its frame: float32 (T, side, side), logits."""
        soft = np.stack([pose.warp_mask(mask, initial.frame, side) for mask in initial.masks])
        return torch.from_numpy((soft * 2 - 1) * PROMPT_LOGIT).float()

    def _compute_prompt_detail(self, found: PosedPredictions) -> torch.Tensor | float:
        """Compute the detail of the mask prompts that is lost at a quarter of the edge: float32 (T, S, S), logits.

        SAM 2 predicts masks at a quarter of the image's edge, where a structure of two pixels disappears. A network
        that adds the prompts to its masks (`Sam2Network.prompt_weight`) gets the difference added after upsampling;
        for any other it is 0.
        """
        if found.initial is None or self.network.prompt_weight is None:
            return 0.0
        fine, coarse = (
            self._make_mask_prompt(found.initial, side) for side in (self.network.side, self.network.side // 4)
        )
        detail = fine - self.network.upsample(coarse[:, None])[:, 0]
        return self.network.prompt_weight * detail.to(self.network.device)

    def _to_propagated(self, memory: Sam2Memory, image: RGBImage, found: PosedPredictions) -> Propagated:
        """Convert predictions to masks at the image's own size, with confidence and, if wanted, cycle IoU."""
        logits, object_logits, expected_iou = merge_banks(memory, found.predictions)
        large = self.network.upsample(logits[:, None])[:, 0] + self._compute_prompt_detail(found)
        masks = pose.unwarp_masks(resolve_overlaps(large, memory.rivals), found.frame, image.shape[:2])
        present = np.asarray(masks.any(axis=(1, 2)))
        score = object_logits.sigmoid()
        if_present = score * expected_iou.clamp(0, 1)
        chosen = torch.where(torch.from_numpy(present).to(score.device), if_present, 1 - score)
        confidence: Floats = chosen.clamp(0, 1).float().cpu().numpy()
        cycle = self._compute_cycle_iou(memory, found, present) if self.settings.cycle else None
        return Propagated(masks, confidence, found.frame, cycle)

    def _compute_cycle_iou(self, memory: Sam2Memory, found: PosedPredictions, present: npt.NDArray[np.bool_]) -> Floats:
        """Propagate predicted masks back to the support, with no other memory, and compute the IoU with those drawn.

        Returns:
            float32 (T,), 0..1; NaN for a trait that was not found.
        """
        cycle_iou = np.full(len(memory.traits), np.nan, dtype=np.float32)
        for bank, predictions in zip(memory.banks, found.predictions, strict=True):
            target = self.network.encode_predicted_frame(found.features, predictions)
            back = self.network.track(bank.support, self.network.project_memories([target]))
            returned = self.network.upsample(back.logits[0][:, None])[:, 0] > 0
            drawn = bank.support_masks.to(returned.device)
            both, either = ((returned & drawn).sum((1, 2)), (returned | drawn).sum((1, 2)))
            cycle_iou[list(bank.traits)] = (both / either).cpu().numpy()
        cycle_iou[~present] = np.nan
        return cycle_iou


class Sam2VideoPropagator(Sam2Propagator):
    """The SST paper's long pseudo-video: predicted masks of preceding targets join the memory.

    **A mask depends on the photographs before it**, in the order in which they are given (in a build: the order of the
    table, group by group, from the first photograph that this run works on). This breaks the contract of `Propagator`,
    so it is never the default. A target attends to the supports, to the masks of the last six targets and to the object
    pointers of the last fifteen (with Meta's settings), so the memory is bounded.
    """

    long_video = True

    def _propagate(self, memory: Sam2Memory, images: Sequence[RGBImage]) -> list[Propagated]:
        return [self._propagate_one(memory, image) for image in images]

    def _propagate_one(self, memory: Sam2Memory, image: RGBImage) -> Propagated:
        # One call a photograph, so that the next one attends to this one's masks.
        (found,) = super()._propagate(memory, [image])
        return found

    def _track(
        self, memory: Sam2Memory, bank_index: int, features: ImageFeatures, prompts: Sequence[torch.Tensor]
    ) -> MaskPredictions:
        recent = [memories[bank_index] for memories in memory.video.recent]
        conditioning = memory.banks[bank_index].conditioning
        projected = self.network.project_memories(conditioning, recent=recent, previous_targets=memory.video.targets)
        return self.network.track(features, projected)

    def _to_propagated(self, memory: Sam2Memory, image: RGBImage, found: PosedPredictions) -> Propagated:
        video = memory.video
        encode = self.network.encode_predicted_frame
        video.recent.append([encode(found.features, predictions) for predictions in found.predictions])
        del video.recent[: 1 - self.network.max_object_pointers]
        video.targets += 1
        return super()._to_propagated(memory, image, found)
