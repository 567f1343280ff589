"""SAM 2 as the `transformers` package has it, called in the steps of `track.sam2.network`.

The sam2 package has had no release since 2024; `transformers` maintains the same network (`Sam2VideoModel`). Only its
public parts are used here: sessions, whose stored outputs are the memory of a support, and PyTorch's hooks on modules.

1. `encode`: image features, several images in one batch.
2. `encode_conditioning_frame`: a session of one frame, with the masks drawn on it as inputs, one object a trait.
3. `track`: a session whose first frames are the supports, with their stored outputs, and whose last is the target.

The masks are those of the official predictor (tests/track/sam2/test_transformers_sam2.py). By itself `transformers`
5.24 differs in two points, which hooks set right (`_follow_official_predictor`): it takes the object pointer of a drawn
mask from the best of three candidates, and encodes the drawn mask itself, not the one at a quarter of the edge that the
network puts out. A third hook reads the expected IoU, which a session does not keep.

Ravi et al. (2024), arXiv 2408.00714.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from torch.nn import functional

from sst_retrieval.errors import ModelError
from sst_retrieval.files import hash_file
from sst_retrieval.nets.torchvision_shim import ensure_torchvision
from sst_retrieval.track.sam2.checkpoint import Checkpoint
from sst_retrieval.track.sam2.network import MEAN, STD, ImageFeatures, MaskPredictions

COMMAND = "python -m pip install 'sst-retrieval[transformers]'"
MODEL_TYPE = "sam2_video"
DRAWN_SCALE, DRAWN_BIAS = 20.0, -10.0  # Of drawn masks, which SAM 2 takes for logits of 10 and -10.
CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True, slots=True)
class SessionMemory:
    """The memory of one support.

    Attributes:
        outputs: of each of T traits, what a session stores of a conditioning frame.
    """

    outputs: tuple[dict[str, Any], ...]

    def select(self, traits: Sequence[int]) -> SessionMemory:
        """Return the memory of some of the traits."""
        return SessionMemory(tuple(self.outputs[trait] for trait in traits))


@dataclass(frozen=True, slots=True)
class SessionBank:
    """The memories of K supports, each of the same T traits."""

    conditioning: tuple[SessionMemory, ...]

    @property
    def traits(self) -> int:
        """Number T of traits."""
        return len(self.conditioning[0].outputs)


def load_transformers_model(folder: Path) -> Checkpoint:
    """Load a SAM 2 from a folder that `transformers` wrote: its configuration and its weights, no code.

    Args:
        folder: holds `config.json` of a `sam2_video` model, and `model.safetensors`.

    Raises:
        ModelError: transformers is missing, or the folder holds no such model, or weights that do not fit it.
    """
    model_class = _import_model()
    try:
        described = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind = described["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder} holds no model of transformers ({error}); give the folder of a SAM 2 with {CONFIG} and {WEIGHTS}"
        ) from error
    if kind != MODEL_TYPE:
        raise ModelError(f"{folder} holds a {kind} model; a SAM 2 of transformers says {MODEL_TYPE} in its {CONFIG}")
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder / WEIGHTS} is not there; weights in another format are not read, for your safety")
    try:
        model, found = model_class.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder} cannot be loaded as a SAM 2: {error}") from error
    faults = [f"{name.removesuffix('_keys')}: {sorted(map(str, each))[0]}" for name, each in found.items() if each]
    if faults:
        raise ModelError(f"{folder / WEIGHTS} does not fit its {CONFIG} ({'; '.join(faults)})")
    about = {
        "name": folder.name,
        "file": WEIGHTS,
        "sha256": hash_file(folder / WEIGHTS),
        "config": hash_file(folder / CONFIG),
        "licence": "not known",
    }
    return Checkpoint(model.eval(), folder.name, about)


def _import_model() -> Any:
    """Import the class of the network.

    Raises:
        ModelError: transformers is missing, or too old.
    """
    try:
        ensure_torchvision()
        from transformers import Sam2VideoModel  # Here, so that everything else works without it.
    except (ImportError, RuntimeError) as error:
        raise ModelError(f"transformers with SAM 2 is not installed ({error}); run: {COMMAND}") from error
    return Sam2VideoModel


class TransformersNetwork:
    """A SAM 2 of `transformers` on a device; the same steps as `track.sam2.network.Sam2Network`.

    Attributes:
        model: the `Sam2VideoModel`.
        side: edge of its square input images, in pixels.
        prompt_weight: None: it draws masks anew.
        device: where it runs; bfloat16 autocast on CUDA.
    """

    prompt_weight: torch.Tensor | None = None

    def __init__(self, model: Any, device: torch.device) -> None:
        """Move a network to a device.

        Args:
            model: a `Sam2VideoModel` in evaluation mode.
            device: where to run it.
        """
        self.model = model.to(device)
        self.device = device
        self.side = int(np.max(model.config.image_size))

    def autocast(self) -> Any:
        """Return the context in which the network is called: bfloat16 autocast on CUDA, else none."""
        return torch.autocast("cuda", dtype=torch.bfloat16) if self.device.type == "cuda" else nullcontext()

    def encode(self, images: npt.NDArray[np.uint8]) -> ImageFeatures:
        """Encode images, uint8 (N, S, S, 3), RGB, in one batch."""
        batch = torch.from_numpy(images.copy()).to(self.device).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(each, device=self.device)[:, None, None] for each in (MEAN, STD))
        with self.autocast():
            found = self.model.get_image_features((batch - mean) / std, return_dict=True)
        maps = tuple(_unflatten(each) for each in found.fpn_hidden_states)
        return ImageFeatures(maps, _unflatten(found.fpn_position_encoding[-1]).expand_as(maps[-1]))

    def encode_conditioning_frame(self, image: ImageFeatures, masks: torch.Tensor) -> SessionMemory:
        """Encode the memory of a support, a frame with masks that a person drew.

        Args:
            image: features of one image.
            masks: bool (T, S, S); none is empty.
        """
        session = self._open_session(image, frame=0, traits=len(masks))
        for trait, mask in enumerate(masks):
            session.add_mask_inputs(trait, 0, mask[None, None].float())
        session.obj_with_new_inputs = list(range(len(masks)))
        with self.autocast(), self._follow_official_predictor(masks):
            self.model(session, frame_idx=0)
        return SessionMemory(
            tuple(dict(session.output_dict_per_obj[trait]["cond_frame_outputs"][0]) for trait in range(len(masks)))
        )

    def project_memories(self, conditioning: Sequence[SessionMemory]) -> SessionBank:
        """Join the memories of K supports."""
        return SessionBank(tuple(conditioning))

    def track(
        self, images: ImageFeatures, memory: SessionBank, mask_prompts: torch.Tensor | None = None
    ) -> MaskPredictions:
        """Predict the masks of T traits on N images, see `track.sam2.network.Sam2Network.track`.

        Raises:
            ModelError: there are mask prompts, which a session takes for the final masks.
        """
        if mask_prompts is not None:
            raise ModelError("SAM 2 of transformers takes no mask prompts; use --propagator dense+sam2")
        each = [self._track_one(images.select(image), memory) for image in range(len(images))]
        logits, object_logits, expected_iou, pointers = (torch.stack(part) for part in zip(*each, strict=True))
        return MaskPredictions(logits, object_logits, expected_iou, pointers)

    def upsample(self, logits: torch.Tensor) -> torch.Tensor:
        """Upsample logits (M, 1, s, s) bilinearly to the size of the input image (M, 1, S, S)."""
        return functional.interpolate(logits.float(), size=(self.side, self.side), mode="bilinear", align_corners=False)

    def _track_one(self, image: ImageFeatures, memory: SessionBank) -> tuple[torch.Tensor, ...]:
        """Predict the masks of one image.

        Returns:
            float32 mask logits (T, s, s), object logits (T,), expected IoU (T,), object pointers (T, C).
        """
        frame = len(memory.conditioning)
        session = self._open_session(image, frame=frame, traits=memory.traits)
        for number, support in enumerate(memory.conditioning):
            for trait, output in enumerate(support.outputs):
                session.store_output(trait, number, output_value=output, is_conditioning_frame=True)
        with self.autocast(), self._record_decoder() as decoded:
            found = self.model(session, frame_idx=frame, run_mem_encoder=False)
        # The decoder runs once a trait, and the candidate with the highest expected IoU is taken.
        expected = torch.stack([ious.flatten().max() for _, ious, _, _ in decoded])
        present = torch.stack([scores.flatten()[0] for _, _, _, scores in decoded])
        pointers = torch.cat(
            [
                session.output_dict_per_obj[trait]["non_cond_frame_outputs"][frame]["object_pointer"].flatten(0, 1)
                for trait in range(memory.traits)
            ]
        )
        return found.pred_masks[:, 0].float(), present.float(), expected.float(), pointers

    def _open_session(self, image: ImageFeatures, *, frame: int, traits: int) -> Any:
        """Open a session whose last frame is an image that is encoded already."""
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        device = str(self.device)
        session = Sam2VideoInferenceSession(
            video=torch.zeros(frame + 1, 1),  # Frames are counted; their pixels are not needed.
            video_height=self.side,
            video_width=self.side,
            inference_device=device,
            inference_state_device=device,
            dtype=torch.float32,
        )
        features = [each.flatten(2).permute(2, 0, 1) for each in image.features]
        positions = [image.positions.flatten(2).permute(2, 0, 1)]
        session.cache.cache_vision_features(frame, {"vision_feats": features, "vision_pos_embeds": positions})
        for trait in range(traits):
            session.obj_id_to_idx(trait)
        return session

    @contextmanager
    def _follow_official_predictor(self, masks: torch.Tensor) -> Iterator[None]:
        """Make the memory of drawn masks, bool (T, S, S), as the official predictor does."""
        logits = masks[:, None].float().to(self.device) * DRAWN_SCALE + DRAWN_BIAS
        small = functional.interpolate(logits, scale_factor=0.25, mode="bilinear", align_corners=False, antialias=True)
        config = self.model.config
        encoded = (
            self.upsample(small) > 0
        ).float() * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc

        def take_one_candidate(module: Any, given: Any, named: dict[str, Any]) -> Any:
            return given, {**named, "multimask_output": False}

        def encode_small_masks(module: Any, given: Any) -> Any:
            features, replaced = given
            return features, encoded.to(replaced)

        handles = [
            self.model.mask_decoder.register_forward_pre_hook(take_one_candidate, with_kwargs=True),
            self.model.memory_encoder.register_forward_pre_hook(encode_small_masks),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def _record_decoder(self) -> Iterator[list[Any]]:
        """Record what the mask decoder returns: masks, expected IoUs, tokens, object logits, once a call."""
        calls: list[Any] = []
        handle = self.model.mask_decoder.register_forward_hook(lambda module, given, output: calls.append(output))
        try:
            yield calls
        finally:
            handle.remove()


def _unflatten(features: torch.Tensor) -> torch.Tensor:
    """Turn a square map of (h * w, N, C) into (N, C, h, w)."""
    side = round(len(features) ** 0.5)
    grid: torch.Tensor = features.permute(1, 2, 0).unflatten(2, (side, side))
    return grid
