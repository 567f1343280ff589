"""What a piece of a photograph looks like to the trunk, its surroundings grey: its kind, and its parts.

The kind is the mean of the deepest features (stride 32). A network that was trained on the kinds of ImageNet hardly
knows pose, light or size there: two pieces of one kind of organism have a cosine of 0.4 to 0.7, of two kinds about 0.
The parts are the features of every cell of the level before (stride 16). They say whether a piece has everything that
an annotated individual has: half an animal, or an animal and its rock, has less of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

_COVERED = 0.4


@dataclass(frozen=True, slots=True)
class Look:
    """What a piece looks like.

    Attributes:
        kind: float32 (320,), of unit length.
        parts: float32 (N, 112), rows of unit length, the cells that the piece covers.
    """

    kind: Floats
    parts: Floats


@torch.inference_mode()
def compute_look(trunk: EfficientNetTrunk, image: RGBImage, box: Box, mask: Mask, *, mirrored: bool = False) -> Look:
    """Compute what a piece looks like.

    Args:
        trunk: the network.
        image: uint8 (H, W, 3).
        box: (x0, y0, x1, y1) of the piece.
        mask: bool (y1 - y0, x1 - x0), which pixels of the box are the piece.
        mirrored: whether to look at its mirror image.
    """
    view, coverage = cut_out(image, box, mask)
    if mirrored:
        view, coverage = np.ascontiguousarray(view[:, ::-1]), np.ascontiguousarray(coverage[:, ::-1])
    *_, finer, deepest = trunk.levels(view[None])
    whole = torch.from_numpy(coverage)[None].to(deepest.device)
    weights = functional.adaptive_avg_pool2d(whole, (deepest.shape[-2], deepest.shape[-1]))[0] + 1e-3
    kind = functional.normalize((deepest[0] * weights).sum((1, 2)) / weights.sum(), dim=0)
    covered = functional.adaptive_avg_pool2d(whole, (finer.shape[-2], finer.shape[-1]))[0].flatten()
    # A piece that is all legs covers no cell well; its best ones stand for it.
    kept = covered > min(_COVERED, float(covered.sort(descending=True).values[3]) - 1e-6)
    parts = functional.normalize(finer[0].flatten(1)[:, kept].T, dim=1)
    return Look(kind.cpu().numpy(), parts.cpu().numpy())


def compare_kinds(known: Sequence[Look], look: Look) -> float:
    """Return the largest cosine of a piece's kind with those of annotated individuals, -1..1."""
    return float(max(each.kind @ look.kind for each in known))


def compare_parts(known: Sequence[Look], look: Look) -> float:
    """Compute how much of an annotated individual a piece has.

    Returns:
        The mean, over all cells of the individual, of the largest cosine with a cell of the piece; of several
        individuals the most similar counts. -1..1.
    """
    return float(max((each.parts @ look.parts.T).max(axis=1).mean() for each in known))


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
    pixels = Image.fromarray(np.ascontiguousarray(image[y0:y1, x0:x1]))
    pixels = pixels.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    cover = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    inside = (slice(top, top + size[1]), slice(left, left + size[0]))
    coverage = np.zeros((side, side), dtype=np.float32)
    coverage[inside] = np.asarray(cover, dtype=np.float32) / 255
    view = np.full((side, side, 3), GREY, dtype=np.uint8)
    part = coverage[inside][..., None]
    view[inside] = (np.asarray(pixels) * part + GREY * (1 - part) + 0.5).astype(np.uint8)
    return view, coverage
