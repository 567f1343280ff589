"""Room 4: from a trait mask to a vector.

A vector has three blocks, each of unit length, so that a search may weight them freely:

1. pattern: the photograph is warped into the specimen's frame, an embedder computes features on a grid over this view,
   and they are averaged under the mask (masked average pooling, weighted by coverage). The mean is taken over four
   views: the view and its mirror image, so that left and right copies of a trait share one vector; and both with the
   background replaced by grey (`imaging.foreground`), so that less of the vector comes from the background. Not on grey
   alone, because the foreground is only an estimate. An embedder that tells pattern from hue, as the default does
   (`describe.appearance`), is asked for both instead, and gets a close-up of every trait, too.
2. colour: a histogram of the colours under the mask (`describe.colour_block`), and beside it what the embedder says of
   hue.
3. shape: the outline (`describe.shape_block`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from sst_retrieval.describe.colour_block import compute_colour_block, reference_colours
from sst_retrieval.describe.contract import Embedder, HueEmbedder, PoolingEmbedder, RegionEmbedder
from sst_retrieval.describe.shape_block import SHAPE_DIM, compute_shape_block, frame_trait
from sst_retrieval.describe.unit_vectors import normalise
from sst_retrieval.errors import ModelError
from sst_retrieval.imaging import frames
from sst_retrieval.imaging.foreground import blend_with_grey, foreground_coverage
from sst_retrieval.imaging.masks import box
from sst_retrieval.types import BLOCKS, FeatureGrid, Floats, Frame, Mask, MaskStack, RGBImage

VERSION = 6
"""Changes whenever the same photograph and mask would give another vector."""


LEFT_SHARE = 0.75
"""From this share of a trait on the left on it is taken for a left copy; a pair with one side cut short is none."""


class _Crop(NamedTuple):
    """A mask cut out with its surroundings.

    Attributes:
        mask: bool (h, w).
        window: rows and columns of the photograph that it shows.
        frame: maps the crop's pixels to the specimen's unit square.
        coverage: float32 (side, side), 0..1: the share of each pixel of the view that the mask covers; not all zero.
    """

    mask: Mask
    window: tuple[slice, slice]
    frame: Frame
    coverage: Floats


class _Seen(NamedTuple):
    """What an embedder says of a trait.

    Attributes:
        pattern: float32 (d,), of unit length.
        hue: float32 (h,), put beside the histogram of colours; empty if it says nothing of hue.
    """

    pattern: Floats
    hue: Floats


def embed_regions(image: RGBImage, masks: MaskStack, frame: Frame, embedder: Embedder) -> list[Floats | None]:
    """Compute the vector of every trait of a specimen.

    Args:
        image: uint8 (H, W, 3), the photograph.
        masks: bool (T, H, W).
        frame: the specimen's pose.
        embedder: computes the pattern block; called once for all traits of the specimen.

    Returns:
        T vectors float32 (D,), the blocks one after the other as in `block_widths`, each of unit length. None for
        a trait whose mask is empty or lies wholly outside the frame.

    Raises:
        ValueError: the masks are not of the photograph's size.
        ModelError: the embedder returned features of the wrong shape or that are not finite.
    """
    if masks.ndim != 3 or masks.shape[1:] != image.shape[:2]:
        raise ValueError(f"masks {masks.shape} do not fit a photograph of {image.shape[:2]}; pass bool (T, H, W)")
    crops = [_crop_mask(mask, frame, embedder.side) for mask in masks]
    shown = [crop for crop in crops if crop is not None]
    if not shown:
        return [None] * len(masks)
    seen_of_traits = iter(_embed_traits(image, frame, shown, embedder))
    vectors: list[Floats | None] = []
    for mask, crop in zip(masks, crops, strict=True):
        if crop is None:
            vectors.append(None)
            continue
        seen = next(seen_of_traits)
        colours = compute_colour_block(image, mask)
        blocks = {
            "pattern": seen.pattern,
            "colour": normalise(np.concatenate([colours, seen.hue])) if seen.hue.size else colours,
            "shape": compute_shape_block(crop.mask, crop.frame),
        }
        vectors.append(np.concatenate([blocks[name] for name in BLOCKS]).astype(np.float32))
    return vectors


def block_widths(embedder: Embedder) -> dict[str, int]:
    """Return the number of values in each block of a vector made with this embedder, in the order of the blocks."""
    hue_dim = 0
    if isinstance(embedder, HueEmbedder):
        pattern_dim, hue_dim = embedder.pattern_dim, embedder.hue_dim
    else:
        pattern_dim = embedder.pooled_dim if isinstance(embedder, PoolingEmbedder) else embedder.dim
    widths = {
        "pattern": pattern_dim,
        "colour": len(reference_colours()) + hue_dim,
        "shape": SHAPE_DIM,
    }
    return {name: widths[name] for name in BLOCKS}


def describe_embedder(embedder: Embedder) -> dict[str, Any]:
    """Describe how vectors are made, for the provenance: vectors are comparable only where this is equal.

    Returns:
        JSON-ready: the version of this module's method, the embedder's name and input size (pixels), and the number of
        values in each block.
    """
    return {
        "version": VERSION,
        "embedder": embedder.name,
        "side": embedder.side,
        "blocks": block_widths(embedder),
    }


def pool(grid: FeatureGrid, coverage: Floats) -> Floats:
    """Average the features under a mask, each cell weighted by the share of it that the mask covers.

    Args:
        grid: float32 (rows, cols, D).
        coverage: float32 (h, w), 0..1, over the same image at any resolution; not all zero.

    Returns:
        float32 (D,).

    Raises:
        ValueError: the mask covers nothing.
    """
    weights = weigh_cells(grid, coverage)
    covered = np.flatnonzero(weights)  # Mostly few of all.
    return weights[covered] @ grid.reshape(-1, grid.shape[2])[covered]


def weigh_cells(grid: FeatureGrid, coverage: Floats) -> Floats:
    """Compute the share that each cell of a grid has in a mask, row by row: float32 (rows * cols,), of sum 1.

    Coverage, not a nearest-pixel vote: an antenna is thinner than a cell and must not vanish.

    Args:
        grid: float32 (rows, cols, D).
        coverage: float32 (h, w), 0..1, over the same image at any resolution.

    Raises:
        ValueError: the mask covers nothing.
    """
    rows, columns, _ = grid.shape
    picture = Image.fromarray(np.ascontiguousarray(coverage, dtype=np.float32))
    weights = np.asarray(picture.resize((columns, rows), Image.Resampling.BOX), dtype=np.float64)
    if not weights.sum() > 0:
        raise ValueError("the mask covers nothing of the image; leave the trait out instead")
    shares: Floats = (weights / weights.sum()).astype(np.float32).ravel()
    return shares


def _embed_traits(image: RGBImage, frame: Frame, crops: Sequence[_Crop], embedder: Embedder) -> list[_Seen]:
    """Ask the embedder what each trait of a specimen shows."""
    view = frames.warp_image(image, frame, embedder.side)
    coverages = [crop.coverage for crop in crops]
    if isinstance(embedder, HueEmbedder):
        return _embed_pattern_and_hue(image, frame, view, crops, embedder)
    if isinstance(embedder, RegionEmbedder):
        patterns = _embed_whole_regions(view, coverages, embedder)  # It removes the background in its own way.
    else:
        patterns = _pool_views(image, frame, view, coverages, embedder)
    return [_Seen(pattern, np.zeros(0, np.float32)) for pattern in patterns]


def _embed_pattern_and_hue(
    image: RGBImage, frame: Frame, view: RGBImage, crops: Sequence[_Crop], embedder: HueEmbedder
) -> list[_Seen]:
    plain = _remove_background(view, image, frame)
    close_ups = [_enlarge(image, crop, embedder.trait_side) for crop in crops]
    patterns, hues = embedder.describe(view, plain, [crop.coverage for crop in crops], close_ups)
    expected = (len(crops), embedder.pattern_dim), (len(crops), embedder.hue_dim)
    if (patterns.shape, hues.shape) != expected or not (np.isfinite(patterns).all() and np.isfinite(hues).all()):
        raise ModelError(
            f"embedder {embedder.name} answered with shapes {patterns.shape} and {hues.shape}; "
            f"it must give finite numbers of shapes {expected[0]} and {expected[1]}"
        )
    return [_Seen(pattern, hue) for pattern, hue in zip(patterns, hues, strict=True)]


def _enlarge(image: RGBImage, crop: _Crop, side: int) -> tuple[RGBImage, Floats]:
    """Show a trait alone in a square view: uint8 (side, side, 3), and its coverage, float32 (side, side).

    A trait of the left side is shown as its mirror image.
    """
    close, left, width = frame_trait(crop.mask, crop.frame)
    view, coverage = frames.warp_image(image[crop.window], close, side), frames.warp_mask(crop.mask, close, side)
    on_left = np.arange(side) + 0.5 < (0.5 - left) / width * side
    if coverage[:, on_left].sum() > LEFT_SHARE * coverage.sum():
        view, coverage = (_with_mirror(picture)[1] for picture in (view, coverage))
    return view, coverage


def _pool_views(
    image: RGBImage, frame: Frame, view: RGBImage, coverages: Sequence[Floats], embedder: Embedder
) -> list[Floats]:
    """Compute the pattern block of each trait of a specimen, the mean over all views."""
    views = [one for both in (view, _remove_background(view, image, frame)) for one in _with_mirror(both)]
    grids = _compute_features(views, embedder)
    # Of each view the coverages of all traits.
    coverages_of_view = zip(*(2 * _with_mirror(coverage) for coverage in coverages), strict=True)
    sum_up = embedder.pool if isinstance(embedder, PoolingEmbedder) else pool
    pooled = [[sum_up(grid, each) for each in own] for grid, own in zip(grids, coverages_of_view, strict=True)]
    return [normalise(np.sum(of_trait, axis=0)) for of_trait in zip(*pooled, strict=True)]


def _remove_background(view: RGBImage, image: RGBImage, frame: Frame) -> RGBImage:
    """Replace the background of a view by grey. Where no foreground can be told, the view stays as it is."""
    # Not helped by the masks: a trait's vector must not depend on which others are described with it.
    coverage = foreground_coverage(image, frame, len(view))
    return blend_with_grey(view, coverage) if coverage.any() else view


def _with_mirror(picture: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    return [picture, np.ascontiguousarray(picture[:, ::-1])]


def _embed_whole_regions(view: RGBImage, coverages: Sequence[Floats], embedder: RegionEmbedder) -> list[Floats]:
    mirrored = [_with_mirror(coverage)[1] for coverage in coverages]
    answers = [embedder.regions(one, own) for one, own in zip(_with_mirror(view), (coverages, mirrored), strict=True)]
    expected = (len(coverages), embedder.dim)
    if any(vectors.shape != expected or not np.isfinite(vectors).all() for vectors in answers):
        shapes = [vectors.shape for vectors in answers]
        raise ModelError(
            f"embedder {embedder.name} answered with shapes {shapes}; it must give finite numbers of shape {expected}"
        )
    return [normalise(vector) for vector in answers[0] + answers[1]]


def _compute_features(views: list[RGBImage], embedder: Embedder) -> list[FeatureGrid]:
    """Call an embedder and check its answer."""
    grids = embedder.features(views)
    if len(grids) != len(views):
        raise ModelError(f"embedder {embedder.name} answered {len(views)} images with {len(grids)} grids")
    for grid in grids:
        if grid.ndim != 3 or grid.shape[2] != embedder.dim or not np.isfinite(grid).all():
            raise ModelError(
                f"embedder {embedder.name} answered with shape {grid.shape}; "
                f"it must give finite numbers of shape (rows, cols, {embedder.dim})"
            )
    return grids


def _crop_mask(mask: Mask, frame: Frame, side: int) -> _Crop | None:
    """Cut a mask and its surroundings out of a large photograph; None if none of it lies in the frame."""
    if not mask.any():
        return None
    margin = 64  # Wider than any block of pixels that is averaged when the mask is made smaller.
    x0, y0, x1, y1 = box(mask)
    x0, y0 = max(0, x0 - margin), max(0, y0 - margin)
    window = slice(y0, y1 + margin), slice(x0, x1 + margin)
    crop, crop_frame = mask[window], frames.compose(frame, Frame((1, 0, x0, 0, 1, y0)))
    coverage = frames.warp_mask(crop, crop_frame, side)
    return _Crop(crop, window, crop_frame, coverage) if coverage.any() else None
