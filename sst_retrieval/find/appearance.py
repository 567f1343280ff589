"""The kind of a piece of a photograph, as a vector: what the trunk's deepest features say of it, its surroundings grey.

Two pieces of one kind of organism have a cosine of 0.4 to 0.7, of two kinds about 0: the deepest level of a network
that was trained on the kinds of ImageNet hardly knows pose, light or size.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from sst_retrieval.imaging.foreground import GREY
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.types import Box, Floats, Mask, RGBImage

SIDE = 224
"""Edge, in pixels, of the square a piece is enlarged or shrunk to."""

MARGIN = 1.15
"""The square's side, as a multiple of the longer side of the piece's box."""


def cut_out(image: RGBImage, box: Box, mask: Mask, side: int = SIDE) -> tuple[RGBImage, Floats]:
    """Cut a piece out of a photograph, in the middle of a grey square.

    Args:
        image: uint8 (H, W, 3).
        box: (x0, y0, x1, y1) of the piece.
        mask: bool (y1 - y0, x1 - x0), which pixels of the box are the piece.
        side: edge of the square in pixels.

    Returns:
        uint8 (side, side, 3), and float32 (side, side), 0..1: how much of each pixel is the piece.
    """
    x0, y0, x1, y1 = box
    longer = max(x1 - x0, y1 - y0) * MARGIN
    scale = side / longer
    size = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    pixels = Image.fromarray(image[y0:y1, x0:x1]).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    cover = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    inside = (slice(top, top + size[1]), slice(left, left + size[0]))
    coverage = np.zeros((side, side), dtype=np.float32)
    coverage[inside] = np.asarray(cover, dtype=np.float32) / 255
    view = np.full((side, side, 3), GREY, dtype=np.uint8)
    part = coverage[inside][..., None]
    view[inside] = (np.asarray(pixels) * part + GREY * (1 - part) + 0.5).astype(np.uint8)
    return view, coverage


@torch.inference_mode()
def compute_kind(trunk: EfficientNetTrunk, image: RGBImage, box: Box, mask: Mask) -> Floats:
    """Compute the vector of a piece's kind.

    Args:
        trunk: the network.
        image: uint8 (H, W, 3).
        box: (x0, y0, x1, y1) of the piece.
        mask: bool (y1 - y0, x1 - x0).

    Returns:
        float32 (320,), of unit length.
    """
    view, coverage = cut_out(image, box, mask)
    (deepest,) = trunk.levels(view[None])[-1]
    weights = functional.adaptive_avg_pool2d(torch.from_numpy(coverage)[None], deepest.shape[-2:])[0] + 1e-3
    weights = weights.to(deepest.device)
    pooled = (deepest * weights).sum((1, 2)) / weights.sum()
    vector: Floats = functional.normalize(pooled, dim=0).cpu().numpy()
    return vector
