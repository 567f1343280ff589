"""SAM 2's modules on a device, called in batches and without repeated work.

The official video predictor runs one video with one object after the other. Here, with the same results:

1. `encode`: image features, several images in one batch.
2. `encode_conditioning_frame`: the masks drawn on a support become a memory, once, all traits in one batch.
3. `project_memories`: keys and values of the memory bank (see `track.sam2.attention`), once.
4. `track`: memory attention and mask decoder, for every target with every trait. Predicted masks are neither upsampled
   nor encoded as memories unless asked for (`upsample`, `encode_predicted_frame`).

A target is frame K of a video whose first K frames, the conditioning frames, are the supports: a video of two frames
for one support, as in the SST paper. Ravi et al. (2024), arXiv 2408.00714.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from sst_retrieval.track.sam2.attention import ProjectedMemory, attend, gather_memory_tokens, project_memory
from sst_retrieval.track.sam2.encoder import FusedEncoder

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
PRESENT_LOGIT = 10.0  # Object logit of a trait that is taken as present.
NO_OBJECT_LOGIT = -1024.0  # Mask logits of an absent trait (`NO_OBJ_SCORE` of `sam2.modeling.sam2_base`).


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """Features of N images.

    Attributes:
        features: float (N, C, h, w) a level, finest first.
        positions: float (N, C, h, w), positional encodings of the coarsest level, the same for every image.
    """

    features: tuple[torch.Tensor, ...]
    positions: torch.Tensor

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.features[0])

    def select(self, image: int) -> ImageFeatures:
        """Return the features of one image, N = 1."""
        keep = slice(image, image + 1)
        return ImageFeatures(tuple(each[keep] for each in self.features), self.positions[keep])

    def repeat(self, times: int) -> ImageFeatures:
        """Repeat every image `times` times consecutively, once a trait; a single image is not copied."""
        return ImageFeatures(_repeat_maps(self.features, times), *_repeat_maps([self.positions], times))


def _repeat_maps(maps: Sequence[torch.Tensor], times: int) -> tuple[torch.Tensor, ...]:
    """Repeat float (N, C, h, w) maps `times` times along N, consecutively."""
    return tuple(each[:, None].expand(-1, times, -1, -1, -1).flatten(0, 1) for each in maps)


@dataclass(frozen=True, slots=True)
class FrameMemory:
    """SAM 2's memory of one frame with T masks.

    Attributes:
        features: bfloat16 (T, D, h, w), spatial memory, in the type that the official predictor stores.
        positions: float (T, D, h, w), its positional encodings.
        pointers: float (T, C), one object pointer a mask.
    """

    features: torch.Tensor
    positions: torch.Tensor
    pointers: torch.Tensor

    def select(self, traits: Sequence[int]) -> FrameMemory:
        """Return the memory of some of the masks."""
        rows = torch.as_tensor(list(traits), device=self.features.device)
        return FrameMemory(self.features[rows], self.positions[rows], self.pointers[rows])

    def to_sam2(self) -> dict[str, Any]:
        """Convert to an entry of the sam2 package's memory bank."""
        return {"maskmem_features": self.features, "maskmem_pos_enc": [self.positions], "obj_ptr": self.pointers}


@dataclass(frozen=True, slots=True)
class MaskPredictions:
    """Predicted masks of T traits on N images.

    Attributes:
        logits: float32 (N, T, s, s), mask logits at a quarter of the image's edge; above 0 inside.
        object_logits: float32 (N, T), logits of the object score; above 0 if the trait is present.
        expected_iou: float32 (N, T), IoU that the network expects of its masks.
        pointers: float (N, T, C), object pointers, for a memory of these masks.
    """

    logits: torch.Tensor
    object_logits: torch.Tensor
    expected_iou: torch.Tensor
    pointers: torch.Tensor

    def select(self, image: int) -> MaskPredictions:
        """Return the predictions of one image, N = 1."""
        keep = slice(image, image + 1)
        return MaskPredictions(
            self.logits[keep], self.object_logits[keep], self.expected_iou[keep], self.pointers[keep]
        )


class Sam2Network:
    """A SAM 2 network on a device.

    Attributes:
        model: the `SAM2Base`.
        side: edge of its square input images, in pixels.
        max_object_pointers: how many frames back a target attends to in a long video; older memories need not be kept.
        prompt_weight: weight with which a mask prompt is added to the mask logits, in a network that corrects prompts
            (`lite_trunk`); None in Meta's, which draw the mask anew.
        device: where it runs; bfloat16 autocast on CUDA, float32 on the CPU, where bfloat16 is slower.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        """Move a network to a device.

        Args:
            model: a `sam2.modeling.sam2_base.SAM2Base` in evaluation mode.
            device: where to run it.
        """
        self.model = model.to(device)
        self.side: int = model.image_size
        self.max_object_pointers: int = model.max_obj_ptrs_in_encoder
        self.device = device
        self.prompt_weight: torch.Tensor | None = getattr(model.image_encoder.trunk, "trust", None)
        self._encoder = FusedEncoder(self.model)

    def autocast(self) -> Any:
        """Return the context in which the network is called: bfloat16 autocast on CUDA, else none."""
        if self.device.type == "cuda":
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return nullcontext()

    def encode(self, images: npt.NDArray[np.uint8]) -> ImageFeatures:
        """Encode images in one batch.

        Args:
            images: uint8 (N, S, S, 3), RGB, S = `side`.

        Returns:
            Features of the N images.
        """
        batch = torch.from_numpy(images.copy()).to(self.device).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(each, device=self.device)[:, None, None] for each in (MEAN, STD))
        with self.autocast():
            features, positions = self._encoder((batch - mean) / std)
        return ImageFeatures(features, positions)

    def encode_conditioning_frame(self, image: ImageFeatures, masks: torch.Tensor) -> FrameMemory:
        """Encode the memory of a support: a conditioning frame with masks that a person drew.

        Args:
            image: features of one image.
            masks: bool (T, S, S); none is empty.

        Returns:
            Memory of the T masks.
        """
        features, positions, sizes = self._flatten(image.repeat(len(masks)))
        with self.autocast():
            output = self.model.track_step(
                *(0, True, features, positions, sizes, None, masks[:, None].float().to(self.device), {}),
                num_frames=1,
                run_mem_encoder=False,
            )
        # As the official predictor does before it propagates: encode the mask that it outputs, not the one drawn.
        large = self.upsample(output["pred_masks"])
        return self._encode_memory(
            features, sizes, large, output["object_score_logits"], output["obj_ptr"], from_prompt=True
        )

    def encode_predicted_frame(self, image: ImageFeatures, predictions: MaskPredictions) -> FrameMemory:
        """Encode the memory of predicted masks on one image, to propagate them to others.

        Args:
            image: features of one image.
            predictions: its T masks, N = 1.

        Returns:
            Memory of the T masks.
        """
        features, _, sizes = self._flatten(image.repeat(predictions.logits.shape[1]))
        large = self.upsample(predictions.logits[0][:, None])
        object_logits, pointers = predictions.object_logits[0][:, None], predictions.pointers[0]
        return self._encode_memory(features, sizes, large, object_logits, pointers, from_prompt=False)

    def project_memories(
        self,
        conditioning: Sequence[FrameMemory],
        *,
        recent: Sequence[FrameMemory] = (),
        previous_targets: int | None = None,
    ) -> ProjectedMemory:
        """Compute keys and values of a memory bank.

        Args:
            conditioning: memories of K supports, each of the same T traits.
            recent: memories of the preceding targets of a long video, the newest last.
            previous_targets: number of preceding targets in a long video; None for a video of the supports and a
                single target.

        Returns:
            Keys and values for every target that follows these frames.
        """
        frame = len(conditioning) + (previous_targets or 0)
        # The length of a video scales its temporal encodings, up to the number of frames that have a pointer.
        length = frame + 1 if previous_targets is None else max(frame + 1, self.max_object_pointers)
        bank = {
            "cond_frame_outputs": {i: each.to_sam2() for i, each in enumerate(conditioning)},
            "non_cond_frame_outputs": {frame - ago: each.to_sam2() for ago, each in enumerate(reversed(recent), 1)},
        }
        with self.autocast():
            return project_memory(self.model, gather_memory_tokens(self.model, bank, frame, length))

    def track(
        self, images: ImageFeatures, memory: ProjectedMemory, mask_prompts: torch.Tensor | None = None
    ) -> MaskPredictions:
        """Predict the masks of T traits on N images.

        Args:
            images: features of the targets.
            memory: keys and values of the memory bank.
            mask_prompts: float32 (N, T, s, s), logits of initial masks, as SAM's mask prompt. One that is nowhere
                above 0 is not used.

        Returns:
            Masks of the T traits on the N images.
        """
        count, traits = len(images), memory.traits
        with self.autocast():
            conditioned = attend(self.model, images.features[-1], images.positions, memory)
            fine = _repeat_maps(images.features[:-1], traits)
            prompts = None if mask_prompts is None else mask_prompts.flatten(0, 1)
            logits, object_logits, expected_iou, pointers = self._decode(conditioned, fine, prompts)
        return MaskPredictions(
            logits=logits.float().unflatten(0, (count, traits)),
            object_logits=object_logits.float().unflatten(0, (count, traits)),
            expected_iou=expected_iou.float().unflatten(0, (count, traits)),
            pointers=pointers.unflatten(0, (count, traits)),
        )

    def upsample(self, logits: torch.Tensor) -> torch.Tensor:
        """Upsample logits (M, 1, s, s) bilinearly to the size of the input image (M, 1, S, S)."""
        return functional.interpolate(logits.float(), size=(self.side, self.side), mode="bilinear", align_corners=False)

    def _decode(
        self, conditioned: torch.Tensor, fine: Sequence[torch.Tensor], prompts: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decode masks as `SAM2Base._forward_sam_heads`, without upsampling every candidate.

        Args:
            conditioned: float (B, C, h, w), features after memory attention.
            fine: float (B, C', h', w') a level, finest first.
            prompts: float32 (B, s, s), mask prompts.

        Returns:
            Of the candidate with the highest expected IoU: mask logits (B, s, s), object logits (B,), expected IoU
            (B,), object pointers (B, C).
        """
        model, batch, device = self.model, len(conditioned), conditioned.device
        rows = torch.arange(batch, device=device)
        no_points = (conditioned.new_zeros(batch, 1, 2), conditioned.new_full((batch, 1), -1, dtype=torch.int32))
        sparse, dense = model.sam_prompt_encoder(points=no_points, boxes=None, masks=None)
        if prompts is not None:
            prompted = model.sam_prompt_encoder(points=None, boxes=None, masks=prompts[:, None].to(device))[1]
            dense = torch.where((prompts.amax(dim=(1, 2)) > 0).to(device)[:, None, None, None], prompted, dense)
        multimask = model._use_multimask(False, None)
        logits, ious, tokens, object_logits = model.sam_mask_decoder(
            image_embeddings=conditioned,
            image_pe=model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            repeat_image=False,
            high_res_features=list(fine) or None,
        )
        if prompts is not None and self.prompt_weight is not None:
            used = prompts.amax(dim=(1, 2), keepdim=True) > 0
            logits = logits + self.prompt_weight * torch.where(used, prompts, 0.0)[:, None].to(logits.device)
        best = ious.argmax(dim=-1)
        pointers = model.obj_ptr_proj(tokens[rows, best if tokens.shape[1] > 1 else 0 * best])
        logits = logits[rows, best]
        if model.pred_obj_scores:
            present = (object_logits > 0).to(object_logits.dtype)
            logits = torch.where(object_logits[..., None] > 0, logits, NO_OBJECT_LOGIT)
            pointers = self._blend_pointers(pointers, object_logits.sigmoid() if model.soft_no_obj_ptr else present)
        return logits, object_logits[:, 0], ious[rows, best], pointers

    def _blend_pointers(self, pointers: torch.Tensor, presence: torch.Tensor) -> torch.Tensor:
        """Blend object pointers (B, C) with the no-object pointer, by presence (B, 1), 0..1."""
        kept = presence * pointers if self.model.fixed_no_obj_ptr else pointers
        absent: torch.Tensor = self.model.no_obj_ptr
        return kept + (1 - presence) * absent

    def _encode_memory(
        self,
        features: list[torch.Tensor],
        sizes: list[tuple[int, int]],
        large: torch.Tensor,
        object_logits: torch.Tensor,
        pointers: torch.Tensor,
        *,
        from_prompt: bool,
    ) -> FrameMemory:
        """Run the memory encoder on masks (T, 1, S, S) of one frame; `from_prompt`: they were drawn, not predicted."""
        with self.autocast():
            spatial, positions = self.model._encode_new_memory(features, sizes, large, object_logits, from_prompt)
        return FrameMemory(spatial.to(torch.bfloat16), positions[-1], pointers)

    def _flatten(self, images: ImageFeatures) -> tuple[list[torch.Tensor], list[torch.Tensor], list[tuple[int, int]]]:
        """Flatten features and positional encodings to the sam2 package's layout, (h * w, N, C); sizes are (h, w)."""
        sizes = [(each.shape[-2], each.shape[-1]) for each in images.features]
        flat, positions = (
            [each.flatten(2).permute(2, 0, 1) for each in group] for group in (images.features, [images.positions])
        )
        return flat, positions, sizes
