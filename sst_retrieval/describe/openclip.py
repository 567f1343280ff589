"""OpenCLIP and BioCLIP as embedders: patterns and texts in one space, so that a text can be compared with a trait.

A CLIP model computes one vector an image (Radford et al. 2021, arXiv 2103.00020). Two ways to one vector a trait:

- dense: of the last attention layer only the value path is used, so that a patch's token holds what is at its own place
  and is not mixed with the rest of the image; the tokens are then projected into the space that images and texts share,
  and averaged under the mask as with every embedder. (MaskCLIP: Zhou, Loy and Dai 2022, "Extract Free Dense Labels from
  CLIP", arXiv 2112.01071.) It is computed by a mask that lets each token attend to itself only: the softmax over one
  token is 1, and the attention's output is the projected value.
- crop: the image is cropped to the trait, everything else is filled with the model's mean colour, and the image encoder
  is applied to the crop.

Which is better depends on the weights; neither was measured with pretrained weights. A dense grid is finer than the one
the model was trained for: position embeddings are interpolated to twice the image's edge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from sst_retrieval.describe.openclip_checkpoint import ClipModel, load_clip
from sst_retrieval.errors import ModelError
from sst_retrieval.nets.device import resolve_device
from sst_retrieval.types import FeatureGrid, Floats, RGBImage

TEMPLATES = ("a photo of {}.", "a close-up photo of {}.", "a photo of a specimen with {}.")
"""Prompt templates; the vectors of a text in all of them are averaged, as Radford et al. (2021) do for class names."""

_UPSCALING = 2  # The dense way takes images whose edge is so many times the one that the model was trained for.
_MARGIN = 0.1  # Of a crop, on every side, as a share of the trait's longer edge.


class OpenClipEmbedder:
    """Embeds patches and texts with a CLIP model (the dense way).

    Attributes:
        pooling: "dense".
        name: architecture, checksum of the weights, pooling and size; goes into the provenance.
        dim: number of values of the shared space.
        side: edge, in pixels, of the square images that `features` takes.
        weights: name, file and sha256 of the weights, for the provenance.
        device: the torch device that it runs on.
    """

    concurrent = True
    pooling = "dense"

    def __init__(self, clip: ClipModel, *, device: str = "auto") -> None:
        """Take a loaded model (see `open_clip_embedder`).

        Args:
            clip: the model.
            device: "auto", "cpu" or "cuda".

        Raises:
            ModelError: the device is not available, or the model has no patches that can be pooled.
        """
        self._clip = clip
        self.device = resolve_device(device)
        visual = clip.network.visual
        self._native = int(np.max(visual.image_size))
        self.side = self._native * _UPSCALING
        self._prepare(visual)
        self._network = clip.network.to(self.device)
        self.dim = int(self._encode_texts(["a wing"]).shape[1])
        self.weights: Mapping[str, str] = clip.weights
        self.name = f"openclip {clip.name} {clip.weights['sha256'][:8]} {self.pooling} at {self.side} px"

    def _prepare(self, visual: Any) -> None:
        _require_patches(visual, self._clip.name)
        _interpolate_positions(self._clip.network, self.side)

    @torch.inference_mode()
    def features(self, images: Sequence[RGBImage]) -> list[FeatureGrid]:
        """Compute the features of every patch of images, each image by itself.

        Args:
            images: uint8 (side, side, 3) each, 0..255, sRGB.

        Returns:
            float32 (rows, cols, dim) an image; every patch has unit length, in the space shared with texts.
        """
        return [self._embed_patches(image) for image in images]

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Floats:
        """Compute the vectors of texts.

        Args:
            texts: noun phrases, for example "an iridescent forewing band".

        Returns:
            float32 (n, dim), unit length; each the mean over `TEMPLATES`.
        """
        each = [
            functional.normalize(self._encode_texts([t.format(text) for t in TEMPLATES]).mean(0), dim=0)
            for text in texts
        ]
        vectors: Floats = torch.stack(each).float().cpu().numpy()
        return vectors

    def _encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        with torch.inference_mode():
            vectors: torch.Tensor = self._network.encode_text(self._clip.tokenizer(list(texts)).to(self.device))
            return functional.normalize(vectors.float(), dim=-1)

    def _embed_patches(self, image: RGBImage) -> FeatureGrid:
        visual = self._network.visual
        tokens = visual._embeds(self._normalise(image))
        *blocks, last = visual.transformer.resblocks
        if not visual.transformer.batch_first:
            tokens = tokens.transpose(0, 1)
        for block in blocks:
            tokens = block(tokens)
        count = tokens.shape[1] if visual.transformer.batch_first else tokens.shape[0]
        only_itself = torch.full((count, count), -torch.inf, device=self.device).fill_diagonal_(0)
        tokens = last(tokens, attn_mask=only_itself)
        if not visual.transformer.batch_first:
            tokens = tokens.transpose(0, 1)
        patches = visual.ln_post(tokens[:, 1:])
        if visual.proj is not None:
            patches = patches @ visual.proj
        rows, columns = visual.grid_size
        grid = functional.normalize(patches.float(), dim=-1).reshape(rows, columns, -1)
        features: FeatureGrid = grid.cpu().numpy()
        return features

    def _normalise(self, image: RGBImage) -> torch.Tensor:
        pixels = torch.from_numpy(image.copy()).to(self.device).permute(2, 0, 1)[None].float() / 255
        mean, std = (
            torch.tensor(each, device=self.device).view(1, 3, 1, 1) for each in (self._clip.mean, self._clip.std)
        )
        return (pixels - mean) / std


class OpenClipCropEmbedder(OpenClipEmbedder):
    """Embeds whole traits, cropped, with a CLIP model of any kind (the crop way)."""

    pooling = "crop"

    def _prepare(self, visual: Any) -> None:
        pass  # Crops have the size that the model was trained for.

    def features(self, images: Sequence[RGBImage]) -> list[FeatureGrid]:
        """Refuse: the crop way has no feature grid; call `regions` instead.

        Raises:
            ModelError: always.
        """
        raise ModelError(f"{self.name} describes whole traits, not places; for these say --clip-pooling dense")

    @torch.inference_mode()
    def regions(self, image: RGBImage, coverages: Sequence[Floats]) -> Floats:
        """Compute the vectors of traits of one image, each cropped and alone on the model's mean colour.

        Args:
            image: uint8 (side, side, 3), 0..255, sRGB.
            coverages: float32 (side, side) each, 0..1, not all zero: the traits.

        Returns:
            float32 (n, dim), unit length.
        """
        each = [
            self._network.encode_image(self._normalise(self._crop_trait(image, coverage))) for coverage in coverages
        ]
        vectors: Floats = functional.normalize(torch.cat(each).float(), dim=-1).cpu().numpy()
        return vectors

    def _crop_trait(self, image: RGBImage, coverage: Floats) -> RGBImage:
        rows, columns = np.flatnonzero(coverage.any(axis=1)), np.flatnonzero(coverage.any(axis=0))
        edge = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
        half = (0.5 + _MARGIN) * edge
        y, x = (rows[0] + rows[-1] + 1) / 2, (columns[0] + columns[-1] + 1) / 2
        fill = 255 * np.array(self._clip.mean, dtype=np.float32)
        alone = fill + coverage[..., None] * (image.astype(np.float32) - fill)
        # A margin all round, so that a trait at the border is cropped like any other.
        wide = int(np.ceil(half))
        padded = np.empty((image.shape[0] + 2 * wide, image.shape[1] + 2 * wide, 3), dtype=np.float32)
        padded[:] = fill
        padded[wide:-wide, wide:-wide] = alone
        box = (x - half + wide, y - half + wide, x + half + wide, y + half + wide)
        picture = Image.fromarray(np.round(padded).astype(np.uint8))
        return np.array(picture.resize((self._native, self._native), Image.Resampling.BICUBIC, box=box))


def open_clip_embedder(
    model: str | None, pretrained: str | None, *, pooling: str = "dense", device: str = "auto"
) -> OpenClipEmbedder:
    """Load a CLIP model as an embedder.

    Args:
        model: as in `describe.openclip_checkpoint.load_clip`.
        pretrained: as there.
        pooling: "dense" or "crop" (see this module's description).
        device: "auto", "cpu" or "cuda".

    Raises:
        ModelError: as there; or the pooling is unknown or not possible with the model; or the device is not available.
    """
    if pooling not in POOLINGS:
        raise ModelError(f"--clip-pooling {pooling!r} is unknown; choose {' or '.join(POOLINGS)}")
    return POOLINGS[pooling](load_clip(model, pretrained), device=device)


POOLINGS: Mapping[str, type[OpenClipEmbedder]] = {"dense": OpenClipEmbedder, "crop": OpenClipCropEmbedder}
"""Value of `--clip-pooling` -> the embedder."""


def _require_patches(visual: Any, name: str) -> None:
    parts = ("transformer", "positional_embedding", "ln_post", "grid_size", "_embeds")
    if any(not hasattr(visual, part) for part in parts) or getattr(visual, "attn_pool", None) is not None:
        raise ModelError(
            f"{name} has no patches of a kind that can be pooled under a mask (only open_clip's own vision "
            "transformers have); say --clip-pooling crop"
        )


def _interpolate_positions(network: Any, side: int) -> None:
    """Interpolate the position embeddings to images of `side` pixels."""
    from open_clip.model import resize_pos_embed

    visual = network.visual
    (height, width), (rows, columns) = visual.image_size, visual.grid_size
    patch = height // rows, width // columns
    visual.image_size, visual.grid_size = (side, side), (side // patch[0], side // patch[1])
    state = {"visual.positional_embedding": visual.positional_embedding.detach()}
    resize_pos_embed(state, network)
    visual.positional_embedding = torch.nn.Parameter(state["visual.positional_embedding"], requires_grad=False)
