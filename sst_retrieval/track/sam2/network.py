"""SAM 2's parts, called so that nothing is computed twice.

The official video predictor runs one video with one object after the other. Here, for the same numbers:

1. `encode`: photographs become features, several in one batch.
2. `remember`: the masks drawn on a support become a memory, once, all traits in one batch.
3. `prepare`: what the targets will look at in it (see `track.sam2.attention`), once.
4. `track`: every target with every trait: memory attention, then the mask decoder. What it finds is not made a memory,
   and not enlarged, unless somebody asks.

A target is frame K of a video whose first K frames are the supports: two frames for one support, as in the paper.
Ravi et al. (2024), arXiv 2408.00714.
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

from sst_retrieval.track.sam2.attention import Prepared, assemble, attend, prepare
from sst_retrieval.track.sam2.encoder import LeanEncoder

MEAN = (0.485, 0.456, 0.406)
SPREAD = (0.229, 0.224, 0.225)
PRESENT = 10.0  # Score of an object that a person drew.
NO_OBJ_SCORE = -1024.0  # The logits of a trait that is not there (`sam2.modeling.sam2_base`).


@dataclass(frozen=True, slots=True)
class Encoded:
    """Features of N pictures.

    Attributes:
        features: float (N, C, h, w) each, finest first.
        positions: float (N, C, h, w), of the coarsest, the same for every picture.
    """

    features: tuple[torch.Tensor, ...]
    positions: torch.Tensor

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.features[0])

    def of(self, picture: int) -> Encoded:
        """Return the features of one picture."""
        keep = slice(picture, picture + 1)
        return Encoded(tuple(each[keep] for each in self.features), self.positions[keep])

    def repeated(self, times: int) -> Encoded:
        """Return every picture `times` times in a row, one for each trait; of one picture nothing is copied."""
        return Encoded(_repeated(self.features, times), *_repeated([self.positions], times))


def _repeated(maps: Sequence[torch.Tensor], times: int) -> tuple[torch.Tensor, ...]:
    return tuple(each[:, None].expand(-1, times, -1, -1, -1).flatten(0, 1) for each in maps)


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

    def as_frame(self) -> dict[str, Any]:
        """Write it as the sam2 package does."""
        return {"maskmem_features": self.features, "maskmem_pos_enc": [self.positions], "obj_ptr": self.pointers}


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
        trust: of a small network of our own (`tracker`), which corrects a first guess; Meta's redraw it.
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
        self.trust: torch.Tensor | None = getattr(model.image_encoder.trunk, "trust", None)
        self._encoder = LeanEncoder(self.model)

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
            features, positions = self._encoder((batch - mean) / spread)
        return Encoded(features, positions)

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

    def prepare(
        self, supports: Sequence[Memory], *, before: Sequence[Memory] = (), place: int | None = None
    ) -> Prepared:
        """Make memories ready for targets to look at.

        Args:
            supports: memories of K supports, each of the same T traits.
            before: memories of the targets that came before in a film, the last one last.
            place: how many targets came before in a long film; None for a film of the supports and one target.
        """
        frame = len(supports) + (place or 0)
        # The length of a film scales its distances in time, up to as many frames as have a pointer; then no more.
        length = frame + 1 if place is None else max(frame + 1, self.reach)
        bank = {
            "cond_frame_outputs": {i: each.as_frame() for i, each in enumerate(supports)},
            "non_cond_frame_outputs": {frame - ago: each.as_frame() for ago, each in enumerate(reversed(before), 1)},
        }
        with self.autocast():
            return prepare(self.model, assemble(self.model, bank, frame, length))

    def track(self, pictures: Encoded, prepared: Prepared, seeds: torch.Tensor | None = None) -> Tracked:
        """Find T traits on N pictures.

        Args:
            pictures: the targets.
            prepared: the memories.
            seeds: float32 (N, T, s, s), a first guess of the masks, as logits; a mask prompt of SAM's own. Where it
                is nowhere above 0 it is no guess, and not used.
        """
        count, traits = len(pictures), prepared.traits
        with self.autocast():
            seen = attend(self.model, pictures.features[-1], pictures.positions, prepared)
            fine = _repeated(pictures.features[:-1], traits)
            logits, score, iou, pointers = self._decode(seen, fine, None if seeds is None else seeds.flatten(0, 1))
        return Tracked(
            logits=logits.float().unflatten(0, (count, traits)),
            score=score.float().unflatten(0, (count, traits)),
            iou=iou.float().unflatten(0, (count, traits)),
            pointers=pointers.unflatten(0, (count, traits)),
        )

    def enlarged(self, logits: torch.Tensor) -> torch.Tensor:
        """Bring logits (M, 1, s, s) to the picture's own edge (M, 1, S, S)."""
        return functional.interpolate(logits.float(), size=(self.side, self.side), mode="bilinear", align_corners=False)

    def _decode(
        self, seen: torch.Tensor, fine: Sequence[torch.Tensor], seeds: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decode masks: `SAM2Base._forward_sam_heads`, without enlarging every candidate to the picture's own size.

        Args:
            seen: float (B, C, h, w), what memory attention made of the features.
            fine: float (B, C', h', w') each, finest first.
            seeds: float32 (B, s, s).

        Returns:
            Of the best of the candidates: logits (B, s, s), object score (B,), IoU (B,), pointer (B, C).
        """
        model, rows = self.model, torch.arange(len(seen), device=seen.device)
        no_points = (seen.new_zeros(len(seen), 1, 2), seen.new_full((len(seen), 1), -1, dtype=torch.int32))
        sparse, dense = model.sam_prompt_encoder(points=no_points, boxes=None, masks=None)
        if seeds is not None:
            guessed = model.sam_prompt_encoder(points=None, boxes=None, masks=seeds[:, None].to(seen.device))[1]
            dense = torch.where((seeds.amax(dim=(1, 2)) > 0).to(seen.device)[:, None, None, None], guessed, dense)
        many = model._use_multimask(False, None)
        logits, ious, tokens, score = model.sam_mask_decoder(
            image_embeddings=seen,
            image_pe=model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=many,
            repeat_image=False,
            high_res_features=list(fine) or None,
        )
        if seeds is not None and self.trust is not None:
            used = seeds.amax(dim=(1, 2), keepdim=True) > 0
            logits = logits + self.trust * torch.where(used, seeds, 0.0)[:, None].to(logits.device)
        best = ious.argmax(dim=-1)
        pointers = model.obj_ptr_proj(tokens[rows, best if tokens.shape[1] > 1 else 0 * best])
        logits = logits[rows, best]
        if model.pred_obj_scores:
            there = (score > 0).to(score.dtype)
            logits = torch.where(score[..., None] > 0, logits, NO_OBJ_SCORE)
            pointers = self._if_there(pointers, score.sigmoid() if model.soft_no_obj_ptr else there)
        return logits, score[:, 0], ious[rows, best], pointers

    def _if_there(self, pointers: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Give the pointer of a trait that is not there the value that stands for it."""
        kept = there * pointers if self.model.fixed_no_obj_ptr else pointers
        none: torch.Tensor = self.model.no_obj_ptr
        return kept + (1 - there) * none

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
        flat, positions = (
            [each.flatten(2).permute(2, 0, 1) for each in group] for group in (pictures.features, [pictures.positions])
        )
        return flat, positions, sizes
