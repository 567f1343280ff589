"""Room 4: from a trait mask to a vector.

A vector has three blocks, each of unit length, so that a search may weigh them as it likes:

1. pattern: the specimen is seen through its frame, an embedder describes every place of that view, and the places
   under the mask are averaged by how much of each the mask covers. The mirror image is described too and both are
   averaged: left and right copies of a trait share one vector. So are both on plain grey (`imaging.foreground`), that
   less of the vector be the background's; not on grey alone, because what is specimen is a guess.
2. colour: how often each colour occurs under the mask (`describe.colour_block`).
3. shape: the outline (`describe.shape_block`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sst_retrieval.describe.colour_block import colour_block, reference_colours
from sst_retrieval.describe.contract import Embedder, RegionEmbedder
from sst_retrieval.describe.shape_block import HARMONICS, PICTURE_SIDE, shape_block
from sst_retrieval.errors import ModelError
from sst_retrieval.imaging import frames
from sst_retrieval.imaging.foreground import blend_with_grey, foreground_coverage
from sst_retrieval.imaging.masks import box
from sst_retrieval.types import BLOCKS, FeatureGrid, Floats, Frame, Mask, MaskStack, RGBImage, unit

VERSION = 2
"""Changes whenever the same photograph and mask would give another vector."""


def embed_regions(image: RGBImage, masks: MaskStack, frame: Frame, embedder: Embedder) -> list[Floats | None]:
    """Turn every trait of a specimen into a vector.

    Args:
        image: uint8 (H, W, 3), the photograph.
        masks: bool (T, H, W).
        frame: how the specimen lies.
        embedder: describes the pattern; it sees the specimen once for all traits, in four views.

    Returns:
        T vectors float32 (D,), the blocks one after the other as in `block_slices`, each of unit length. None for
        a trait whose mask is empty or lies wholly outside the frame.

    Raises:
        ValueError: the masks are not of the photograph's size.
        ModelError: the embedder's answer has the wrong shape or is not finite.
    """
    if masks.ndim != 3 or masks.shape[1:] != image.shape[:2]:
        raise ValueError(f"masks {masks.shape} do not fit a photograph of {image.shape[:2]}; pass bool (T, H, W)")
    close = [_close(mask, frame, embedder.side) for mask in masks]
    if all(found is None for found in close):
        return [None] * len(masks)
    coverages = [found[2] for found in close if found is not None]
    patterns = iter(_patterns(image, frame, coverages, embedder))
    vectors: list[Floats | None] = []
    for mask, found in zip(masks, close, strict=True):
        if found is None:
            vectors.append(None)
            continue
        near, near_frame, _ = found
        blocks = {
            "pattern": next(patterns),
            "colour": colour_block(image, mask),
            "shape": shape_block(near, near_frame),
        }
        vectors.append(np.concatenate([blocks[name] for name in BLOCKS]).astype(np.float32))
    return vectors


def block_widths(embedder: Embedder) -> dict[str, int]:
    """Return the number of values in each block of a vector made with this embedder, in the order of the blocks."""
    widths = {
        "pattern": embedder.dim,
        "colour": len(reference_colours()),
        "shape": 2 * HARMONICS + PICTURE_SIDE**2,
    }
    return {name: widths[name] for name in BLOCKS}


def describe_embedder(embedder: Embedder) -> dict[str, Any]:
    """Say how vectors are made, for the provenance: two indexes agree only if this agrees."""
    return {
        "version": VERSION,
        "embedder": embedder.name,
        "side": embedder.side,
        "blocks": block_widths(embedder),
    }


def pool(grid: FeatureGrid, coverage: Floats) -> Floats:
    """Average the features under a mask, each place weighted by how much of it the mask covers.

    Coverage, not a nearest-pixel vote: an antenna is thinner than a place and must not vanish.

    Args:
        grid: float32 (rows, cols, D).
        coverage: float32 (h, w), 0..1, over the same image at any resolution; not all zero.

    Returns:
        float32 (D,).

    Raises:
        ValueError: the mask covers nothing.
    """
    rows, columns, _ = grid.shape
    picture = Image.fromarray(np.ascontiguousarray(coverage, dtype=np.float32))
    weights = np.asarray(picture.resize((columns, rows), Image.Resampling.BOX), dtype=np.float64)
    if not weights.sum() > 0:
        raise ValueError("the mask covers nothing of the image; leave the trait out instead")
    mean: Floats = (weights / weights.sum()).astype(np.float32).ravel() @ grid.reshape(rows * columns, -1)
    return mean


def _patterns(image: RGBImage, frame: Frame, coverages: Sequence[Floats], embedder: Embedder) -> list[Floats]:
    """Describe the pattern of each trait of a specimen, the mean of all views."""
    view = frames.warp(image, frame, embedder.side)
    if isinstance(embedder, RegionEmbedder):
        return _described_whole(view, coverages, embedder)  # It leaves the background out in its own way.
    views = [one for shown in (view, _on_grey(view, image, frame)) for one in _with_mirror(shown)]
    grids = _described(views, embedder)
    seen = zip(*(2 * _with_mirror(coverage) for coverage in coverages), strict=True)
    means = [[pool(grid, coverage) for coverage in covered] for grid, covered in zip(grids, seen, strict=True)]
    return [unit(np.sum(of_trait, axis=0)) for of_trait in zip(*means, strict=True)]


def _on_grey(view: RGBImage, image: RGBImage, frame: Frame) -> RGBImage:
    """Take the background out of a view. Where nothing stands out from it, nothing is taken out."""
    # Not helped by the masks: a trait's vector must not depend on which others are described with it.
    coverage = foreground_coverage(image, frame, len(view))
    return blend_with_grey(view, coverage) if coverage.any() else view


def _with_mirror(picture: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    return [picture, np.ascontiguousarray(picture[:, ::-1])]


def _described_whole(view: RGBImage, coverages: Sequence[Floats], embedder: RegionEmbedder) -> list[Floats]:
    mirrored = [_with_mirror(coverage)[1] for coverage in coverages]
    each = [embedder.regions(one, seen) for one, seen in zip(_with_mirror(view), (coverages, mirrored), strict=True)]
    if any(found.shape != (len(coverages), embedder.dim) or not np.isfinite(found).all() for found in each):
        must = f"must give finite numbers of shape ({len(coverages)}, {embedder.dim})"
        raise ModelError(f"embedder {embedder.name} answered with shapes {[one.shape for one in each]}; it {must}")
    return [unit(vector) for vector in each[0] + each[1]]


def _described(views: list[RGBImage], embedder: Embedder) -> list[FeatureGrid]:
    grids = embedder.features(views)
    if len(grids) != len(views):
        raise ModelError(f"embedder {embedder.name} answered {len(views)} images with {len(grids)} grids")
    for grid in grids:
        if grid.ndim != 3 or grid.shape[2] != embedder.dim or not np.isfinite(grid).all():
            must = f"must give finite numbers of shape (rows, cols, {embedder.dim})"
            raise ModelError(f"embedder {embedder.name} answered with shape {grid.shape}; it {must}")
    return grids


def _close(mask: Mask, frame: Frame, side: int) -> tuple[Mask, Frame, Floats] | None:
    """Cut the mask's surroundings out of a large photograph: the cutting, its frame and its coverage of the view."""
    if not mask.any():
        return None
    margin = 64  # Wider than any block of pixels that is averaged when the mask is made smaller.
    x0, y0, x1, y1 = box(mask)
    x0, y0 = max(0, x0 - margin), max(0, y0 - margin)
    near, near_frame = mask[y0 : y1 + margin, x0 : x1 + margin], frames.compose(frame, Frame((1, 0, x0, 0, 1, y0)))
    coverage = frames.warp_mask(near, near_frame, side)
    return (near, near_frame, coverage) if coverage.any() else None
