"""SAM 2's parts, called so that nothing is computed twice.

The official video predictor runs one video with one object after the other. Here, for the same numbers:

1. `encode`: photographs become features, several in one batch.
2. `remember`: the masks drawn on a support become a memory, once, all traits in one batch.
3. `track`: every target with every trait is one row of a batch: memory attention, then the mask decoder.

A target is frame K of a video whose first K frames are the supports: two frames for one support, as in the paper.
Ravi et al. (2024), arXiv 2408.00714.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

MEAN = (0.485, 0.456, 0.406)
SPREAD = (0.229, 0.224, 0.225)
PRESENT = 10.0  # Score of an object that a person drew.


@dataclass(frozen=True, slots=True)
class Encoded:
    """Features of N pictures.

    Attributes:
        features: float (N, C, h, w) each, finest first.
        positions: float (N, C, h, w) each, the same for every picture.
    """

    features: tuple[torch.Tensor, ...]
    positions: tuple[torch.Tensor, ...]

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.features[0])

    def of(self, picture: int) -> Encoded:
        """Return the features of one picture."""
        keep = slice(picture, picture + 1)
        return Encoded(tuple(each[keep] for each in self.features), tuple(each[keep] for each in self.positions))

    def repeated(self, times: int) -> Encoded:
        """Return every picture `times` times in a row, one for each trait."""
        return Encoded(
            tuple(each.repeat_interleave(times, dim=0) for each in self.features),
            tuple(each.repeat_interleave(times, dim=0) for each in self.positions),
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """What the network keeps of one picture with T masks.

    Attributes:
        features: bfloat16 (T, D, h, w), as the official predictor keeps them.
        positions: float (T, D, h, w).
        pointers: float (T, C), one object pointer a mask.
    """

    features: torch.Tensor
    positions: torch.Tensor
    pointers: torch.Tensor

    def of(self, traits: Sequence[int]) -> Memory:
        """Return the memory of some of the masks."""
        rows = torch.as_tensor(list(traits), device=self.features.device)
        return Memory(self.features[rows], self.positions[rows], self.pointers[rows])

    def as_frame(self, times: int) -> dict[str, Any]:
        """Write it as the sam2 package does, `times` times in a row, one for each target."""
        return {
            "maskmem_features": self.features.repeat(times, 1, 1, 1),
            "maskmem_pos_enc": [self.positions.repeat(times, 1, 1, 1)],
            "obj_ptr": self.pointers.repeat(times, 1),
        }


@dataclass(frozen=True, slots=True)
class Tracked:
    """T masks on N pictures.

    Attributes:
        logits: float32 (N, T, s, s), a quarter of the picture's edge; above 0 inside.
        score: float32 (N, T), the object score's logit; above 0 if the trait is there.
        iou: float32 (N, T), the IoU that the network expects of its mask.
        pointers: float (N, T, C), object pointers, for a memory of these masks.
    """

    logits: torch.Tensor
    score: torch.Tensor
    iou: torch.Tensor
    pointers: torch.Tensor


class Sam2Network:
    """A SAM 2 network on a device.

    Attributes:
        model: the `SAM2Base`.
        side: edge of the square pictures it takes, in pixels.
        reach: in a long film, how many frames a target looks back; the memories of more need not be kept.
        device: where it runs; bfloat16 autocast on CUDA, float32 on the CPU, where bfloat16 is slower.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        """Move a network to a device.

        Args:
            model: a `sam2.modeling.sam2_base.SAM2Base` in evaluation mode.
            device: where it shall run.
        """
        self.model = model.to(device)
        self.side: int = model.image_size
        self.reach: int = model.max_obj_ptrs_in_encoder
        self.device = device

    def autocast(self) -> Any:
        """Return the context in which the network is called."""
        if self.device.type == "cuda":
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return nullcontext()

    def encode(self, pictures: npt.NDArray[np.uint8]) -> Encoded:
        """Encode pictures, in one batch.

        Args:
            pictures: uint8 (N, S, S, 3), RGB, S = `side`.
        """
        batch = torch.from_numpy(pictures.copy()).to(self.device).permute(0, 3, 1, 2).float() / 255
        mean, spread = (torch.tensor(each, device=self.device)[:, None, None] for each in (MEAN, SPREAD))
        with self.autocast():
            out = self.model.forward_image((batch - mean) / spread)
        levels = self.model.num_feature_levels
        positions = (each.expand(len(batch), -1, -1, -1) for each in out["vision_pos_enc"][-levels:])
        return Encoded(tuple(out["backbone_fpn"][-levels:]), tuple(positions))

    def remember(self, picture: Encoded, masks: torch.Tensor) -> Memory:
        """Encode what a person drew on one picture.

        Args:
            picture: one picture.
            masks: bool (T, S, S); none is empty.
        """
        features, positions, sizes = self._flat(picture.repeated(len(masks)))
        with self.autocast():
            drawn = self.model.track_step(
                *(0, True, features, positions, sizes, None, masks[:, None].float().to(self.device), {}),
                num_frames=1,
                run_mem_encoder=False,
            )
        # As the official predictor does between the drawing and the first step: a memory of the mask that it shows.
        large = self.enlarged(drawn["pred_masks"])
        return self._memory(features, sizes, large, drawn["object_score_logits"], drawn["obj_ptr"], by_person=True)

    def recall(self, picture: Encoded, found: Tracked) -> Memory:
        """Encode what was found on one picture, so that it can be followed onto others.

        Args:
            picture: one picture.
            found: its T masks, N = 1.
        """
        features, _, sizes = self._flat(picture.repeated(found.logits.shape[1]))
        large = self.enlarged(found.logits[0][:, None])
        return self._memory(features, sizes, large, found.score[0][:, None], found.pointers[0], by_person=False)

    def track(
        self,
        pictures: Encoded,
        supports: Sequence[Memory],
        *,
        before: Sequence[Memory] = (),
        place: int | None = None,
        seeds: torch.Tensor | None = None,
    ) -> Tracked:
        """Find T traits on N pictures.

        Args:
            pictures: the targets.
            supports: memories of K supports, each of the same T traits.
            before: memories of the targets that came before in a film, the last one last.
            place: how many targets came before in a long film; None for a film of the supports and one target.
            seeds: float32 (N, T, s, s), a first guess of the masks, as logits; a mask prompt of SAM's own.
        """
        count, traits = len(pictures), len(supports[0].pointers)
        frame = len(supports) + (place or 0)
        # The length of a film scales its distances in time, up to as many frames as have a pointer; then no more.
        length = frame + 1 if place is None else max(frame + 1, self.reach)
        bank = {
            "cond_frame_outputs": {i: each.as_frame(count) for i, each in enumerate(supports)},
            "non_cond_frame_outputs": {
                frame - ago: each.as_frame(count) for ago, each in enumerate(reversed(before), start=1)
            },
        }
        features, positions, sizes = self._flat(pictures.repeated(traits))
        with self.autocast():
            out = self._decode((frame, length), features, positions, sizes, bank, seeds)
        logits, score, iou, pointers = out
        return Tracked(
            logits=logits.float().reshape(count, traits, *logits.shape[-2:]),
            score=score.float().reshape(count, traits),
            iou=iou.float().reshape(count, traits),
            pointers=pointers.reshape(count, traits, -1),
        )

    def enlarged(self, logits: torch.Tensor) -> torch.Tensor:
        """Bring logits (M, 1, s, s) to the picture's own edge (M, 1, S, S)."""
        return functional.interpolate(logits.float(), size=(self.side, self.side), mode="bilinear", align_corners=False)

    def _decode(
        self,
        time: tuple[int, int],
        features: list[torch.Tensor],
        positions: list[torch.Tensor],
        sizes: list[tuple[int, int]],
        bank: Mapping[str, Mapping[int, Any]],
        seeds: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Do one step of tracking (`SAM2Base._track_step` with a mask prompt, which that does not allow for)."""
        model, (frame, length) = self.model, time
        fine = [
            each.permute(1, 2, 0).reshape(each.shape[1], each.shape[2], *size)
            for each, size in zip(features[:-1], sizes[:-1], strict=True)
        ]
        conditioned = model._prepare_memory_conditioned_features(
            frame_idx=frame,
            is_init_cond_frame=False,
            current_vision_feats=features[-1:],
            current_vision_pos_embeds=positions[-1:],
            feat_sizes=sizes[-1:],
            output_dict=bank,
            num_frames=length,
        )
        _, _, ious, low, _, pointers, score = model._forward_sam_heads(
            backbone_features=conditioned,
            mask_inputs=None if seeds is None else seeds.reshape(-1, 1, *seeds.shape[-2:]),
            high_res_features=fine or None,
            multimask_output=model._use_multimask(False, None),
        )
        return low, score, ious.max(dim=-1).values, pointers

    def _memory(
        self,
        features: list[torch.Tensor],
        sizes: list[tuple[int, int]],
        large: torch.Tensor,
        score: torch.Tensor,
        pointers: torch.Tensor,
        *,
        by_person: bool,
    ) -> Memory:
        with self.autocast():
            kept, positions = self.model._encode_new_memory(features, sizes, large, score, by_person)
        return Memory(kept.to(torch.bfloat16), positions[-1], pointers)

    def _flat(self, pictures: Encoded) -> tuple[list[torch.Tensor], list[torch.Tensor], list[tuple[int, int]]]:
        """Write features as the sam2 package does: (places, N, C)."""
        sizes = [(each.shape[-2], each.shape[-1]) for each in pictures.features]
        flat = [
            [each.flatten(2).permute(2, 0, 1) for each in group] for group in (pictures.features, pictures.positions)
        ]
        return flat[0], flat[1], sizes
