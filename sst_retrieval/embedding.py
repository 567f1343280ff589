"""Room 4: from a trait mask to a vector.

A vector has three blocks, each of unit length, so that a search may weigh them as it likes:

1. pattern: the specimen is seen through its frame, an embedder describes every place of that view, and the places
   under the mask are averaged by how much of each the mask covers. The mirror image is described too and both are
   averaged: left and right copies of a trait share one vector.
2. colour: how often each colour occurs under the mask, as a histogram in CIE Lab.
3. shape: the outline's elliptic Fourier harmonics (Kuhl and Giardina 1982) and a coarse picture of each piece in the
   specimen's frame, where a piece on the left side is seen in a mirror.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyefd
from PIL import Image
from scipy import ndimage
from scipy.spatial.distance import cdist
from skimage.color import rgb2lab
from skimage.measure import find_contours, label

from sst_retrieval import pose
from sst_retrieval.errors import ModelError
from sst_retrieval.masks import box
from sst_retrieval.types import BLOCKS, FeatureGrid, Floats, Frame, Mask, MaskStack, RGBImage

Doubles: TypeAlias = npt.NDArray[np.float64]

VERSION = 1
"""Changes whenever the same photograph and mask would give another vector."""

COLOUR_STEP = 25.0  # Distance of neighbouring reference colours in Lab.
COLOUR_SPREAD = 12.0  # A pixel counts for reference colours about this far away, so a little light changes little.
LIGHTNESS_WEIGHT = 0.7  # Lamps and exposure differ more than hues do.
COLOUR_PIXELS = 2048  # Pixels looked at; more change nothing visible.
RIM = 0.15  # Share of a trait's thickness that is left out at its rim, where colours bleed into the neighbour's.
RIM_PIXELS = 8

HARMONICS = 12
PICTURE_SIDE = 12
PICTURE_REACH = 2.0  # Half the edge of the coarse picture, in root-mean-square radii; a straight line ends at 1.73.
OUTLINE_SIDE = 192  # Edge, in pixels, of the square in which outlines are traced.
SMALLEST_PIECE = 0.05  # Pieces smaller than this share of the largest are specks.
MOST_PIECES = 16  # The largest tell the shape; a sprinkled mask must not take minutes.


@runtime_checkable
class Embedder(Protocol):
    """Describes every place of an image by a list of features."""

    @property
    def name(self) -> str:
        """The model and its settings in one line; goes into the provenance."""

    @property
    def dim(self) -> int:
        """Number of features of a place."""

    @property
    def side(self) -> int:
        """Edge, in pixels, of the square images it wants."""

    def features(self, images: Sequence[RGBImage]) -> list[FeatureGrid]:
        """Describe images; a result never depends on the other images of the call.

        Args:
            images: uint8 (side, side, 3) each.

        Returns:
            float32 (rows, cols, dim) an image, a regular grid that covers it.
        """


@runtime_checkable
class RegionEmbedder(Embedder, Protocol):
    """An embedder that describes whole traits itself, instead of places that are averaged under the mask."""

    def regions(self, image: RGBImage, coverages: Sequence[Floats]) -> Floats:
        """Describe traits.

        Args:
            image: uint8 (side, side, 3), the specimen in its frame.
            coverages: float32 (side, side) each, 0..1, how much of each pixel a trait covers; none is all zero.

        Returns:
            float32 (number of traits, dim).
        """


@runtime_checkable
class TextEmbedder(Embedder, Protocol):
    """An embedder that describes words in the space of its patterns, so that they can be compared."""

    def texts(self, texts: Sequence[str]) -> Floats:
        """Describe words: float32 (n, dim), unit length."""


def embed_regions(image: RGBImage, masks: MaskStack, frame: Frame, embedder: Embedder) -> list[Floats | None]:
    """Turn every trait of a specimen into a vector.

    Args:
        image: uint8 (H, W, 3), the photograph.
        masks: bool (T, H, W).
        frame: how the specimen lies.
        embedder: describes the pattern; it sees the specimen once, and once in a mirror, for all traits.

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
    view = pose.warp(image, frame, embedder.side)
    patterns = iter(_patterns(view, [found[2] for found in close if found is not None], embedder))
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


def block_slices(embedder: Embedder) -> dict[str, slice]:
    """Say where each block lies in a vector made with this embedder."""
    shape = 2 * HARMONICS + PICTURE_SIDE**2
    widths = {"pattern": embedder.dim, "colour": len(_reference_colours()), "shape": shape}
    ends = np.cumsum([widths[name] for name in BLOCKS]).tolist()
    return {name: slice(end - widths[name], end) for name, end in zip(BLOCKS, ends, strict=True)}


def describe(embedder: Embedder) -> dict[str, Any]:
    """Say how vectors are made, for the provenance: two indexes agree only if this agrees."""
    return {
        "version": VERSION,
        "embedder": embedder.name,
        "side": embedder.side,
        "blocks": {name: part.stop - part.start for name, part in block_slices(embedder).items()},
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


def colour_block(image: RGBImage, mask: Mask) -> Floats:
    """Count the colours under a mask.

    Each pixel is shared among the reference colours near it in CIE Lab. The square roots of the shares are compared
    (Hellinger), so that a large dull area does not drown a small bright one.

    Args:
        image: uint8 (H, W, 3).
        mask: bool (H, W), not empty.

    Returns:
        float32 (number of reference colours,), unit length.
    """
    x0, y0, x1, y1 = box(mask)
    inner = _without_rim(mask[y0:y1, x0:x1])
    places = np.flatnonzero(inner)
    rows, columns = np.unravel_index(places[:: max(1, len(places) // COLOUR_PIXELS)], inner.shape)
    lab = rgb2lab(image[y0 + rows, x0 + columns][None])[0]
    scale = np.array([LIGHTNESS_WEIGHT, 1, 1]) / COLOUR_SPREAD
    distance = cdist(lab * scale, _reference_colours() * scale, "sqeuclidean")
    # Relative to the nearest reference, so that even a colour far from all of them counts fully.
    shares = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / 2)
    return _unit(np.sqrt((shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)))


def shape_block(mask: Mask, frame: Frame) -> Floats:
    """Describe the outline of a trait, whatever its place and size and however many pieces it has.

    Pieces (the left and the right band, say) are described one by one and averaged by area. Elliptic Fourier harmonics
    enter by their amplitudes, which no turn or mirror changes; the coarse pictures keep the frame's "up".

    Args:
        mask: bool (H, W), not empty.
        frame: how the specimen lies; its middle line tells left from right.

    Returns:
        float32 (2 * HARMONICS + PICTURE_SIDE ** 2,), unit length.
    """
    close, left, width = _close_up(mask, frame)
    coverage = pose.warp_mask(mask, close, OUTLINE_SIDE)
    # Relative to the best covered cell: a hair covers no cell by half.
    labelled, count = label(coverage > 0.5 * coverage.max(), return_num=True)
    areas = np.bincount(labelled.ravel(), minlength=count + 1)[1:]
    middle = (0.5 - left) / width * OUTLINE_SIDE
    harmonics, picture = np.zeros(2 * HARMONICS), np.zeros(PICTURE_SIDE**2)
    for number in np.argsort(-areas, kind="stable")[:MOST_PIECES]:
        if areas[number] >= SMALLEST_PIECE * areas.max():
            piece = ndimage.binary_fill_holes(labelled == number + 1)
            harmonics += areas[number] * _amplitudes(piece)
            picture += areas[number] * _coarse_picture(piece, middle)
    return _unit(np.concatenate([_unit(harmonics), _unit(picture)]))


def _patterns(view: RGBImage, coverages: Sequence[Floats], embedder: Embedder) -> list[Floats]:
    """Describe the pattern of each trait of a specimen, seen as it is and in a mirror."""
    views = [view, np.ascontiguousarray(view[:, ::-1])]
    mirrored = [np.ascontiguousarray(coverage[:, ::-1]) for coverage in coverages]
    if isinstance(embedder, RegionEmbedder):
        each = [embedder.regions(one, seen) for one, seen in zip(views, (coverages, mirrored), strict=True)]
        if any(found.shape != (len(coverages), embedder.dim) or not np.isfinite(found).all() for found in each):
            must = f"must give finite numbers of shape ({len(coverages)}, {embedder.dim})"
            raise ModelError(f"embedder {embedder.name} answered with shapes {[one.shape for one in each]}; it {must}")
        return [_unit(vector) for vector in each[0] + each[1]]
    grid, mirror = _described(views, embedder)
    pairs = zip(coverages, mirrored, strict=True)
    return [_unit(pool(grid, coverage) + pool(mirror, other)) for coverage, other in pairs]


def _described(views: list[RGBImage], embedder: Embedder) -> list[FeatureGrid]:
    grids = embedder.features(views)
    if len(grids) != len(views):
        raise ModelError(f"embedder {embedder.name} answered {len(views)} images with {len(grids)} grids")
    for grid in grids:
        if grid.ndim != 3 or grid.shape[2] != embedder.dim or not np.isfinite(grid).all():
            must = f"must give finite numbers of shape (rows, cols, {embedder.dim})"
            raise ModelError(f"embedder {embedder.name} answered with shape {grid.shape}; it {must}")
    return grids


def _unit(vector: npt.NDArray[Any]) -> Floats:
    unit: Floats = (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)
    return unit


def _close(mask: Mask, frame: Frame, side: int) -> tuple[Mask, Frame, Floats] | None:
    """Cut the mask's surroundings out of a large photograph: the cutting, its frame and its coverage of the view."""
    if not mask.any():
        return None
    margin = 64  # Wider than any block of pixels that is averaged when the mask is made smaller.
    x0, y0, x1, y1 = box(mask)
    x0, y0 = max(0, x0 - margin), max(0, y0 - margin)
    near, near_frame = mask[y0 : y1 + margin, x0 : x1 + margin], pose.compose(frame, Frame((1, 0, x0, 0, 1, y0)))
    coverage = pose.warp_mask(near, near_frame, side)
    return (near, near_frame, coverage) if coverage.any() else None


@functools.cache
def _reference_colours() -> Doubles:
    """Lab colours on a regular lattice, those near a colour that a screen can show: float64 (K, 3)."""
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    shown = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    lattice: Doubles = np.unique(np.round(rgb2lab(shown)[0] / COLOUR_STEP), axis=0) * COLOUR_STEP
    return lattice


def _without_rim(mask: Mask) -> Mask:
    """Leave out the rim of a trait, unless it is too thin to have one."""
    framed = np.pad(mask, 1)
    edges = np.count_nonzero(framed[1:] != framed[:-1]) + np.count_nonzero(framed[:, 1:] != framed[:, :-1])
    thickness = 2 * np.count_nonzero(mask) / edges  # Exact for a long bar.
    rim = min(int(RIM * thickness), RIM_PIXELS)
    if rim == 0:
        return mask
    padded = np.pad(mask, rim)
    inner = mask & padded[: -2 * rim, rim:-rim] & padded[2 * rim :, rim:-rim]
    inner &= padded[rim:-rim, : -2 * rim] & padded[rim:-rim, 2 * rim :]
    return inner if inner.any() else mask


def _close_up(mask: Mask, frame: Frame) -> tuple[Frame, float, float]:
    """Frame of a square around the trait, turned as the specimen is; its left edge and width in the old frame."""
    rows = np.flatnonzero(mask.any(axis=1))
    starts, ends = mask[rows].argmax(axis=1), mask.shape[1] - mask[rows][:, ::-1].argmax(axis=1)
    # The outermost corners of every row of pixels: the box of a turned mask depends on no other point.
    xs = np.concatenate([starts, starts, ends, ends])
    ys = np.concatenate([rows, rows + 1, rows, rows + 1])
    a, b, c, d, e, f = frame.matrix
    us, vs = a * xs + b * ys + c, d * xs + e * ys + f
    width = 1.1 * float(max(np.ptp(us), np.ptp(vs)))
    left, top = (float(axis.min() + axis.max() - width) / 2 for axis in (us, vs))
    zoom = Frame((1 / width, 0, -left / width, 0, 1 / width, -top / width))
    return pose.compose(zoom, frame), left, width


def _amplitudes(piece: Mask) -> Doubles:
    """Amplitudes of the outline's harmonics, each times its order, so that fine detail counts: (2 * HARMONICS,)."""
    soft = ndimage.gaussian_filter(np.pad(piece.astype(np.float64), 2), 0.7)
    outline = max(find_contours(soft, 0.5 * soft.max()), key=len)
    moved = np.r_[True, np.any(np.diff(outline, axis=0) != 0, axis=1)]  # A step of no length has no direction.
    a, b, c, d = pyefd.elliptic_fourier_descriptors(outline[moved][:, ::-1], order=HARMONICS).T
    # An ellipse is the sum of two circles run through in opposite senses; their radii depend on nothing else.
    radii = np.hypot([a + d, a - d], [c - b, c + b]) * np.arange(1, HARMONICS + 1)
    return np.asarray(_unit(radii.ravel()), dtype=np.float64)


def _coarse_picture(piece: Mask, middle: float) -> Doubles:
    """Picture of a piece, centred and scaled; seen in a mirror as far as it lies left of the middle line."""
    rows, columns = np.nonzero(piece)
    x, y = columns - columns.mean(), rows - rows.mean()
    reach = PICTURE_REACH * max(float(np.sqrt((x**2 + y**2).mean())), 0.5)
    on_left = float((columns + 0.5 < middle).mean())
    edges = np.linspace(-1, 1, PICTURE_SIDE + 1)
    counts, _, _ = np.histogram2d(y / reach, x / reach, bins=(edges, edges))
    picture = ndimage.gaussian_filter(counts, 0.8)
    return np.asarray(_unit(((1 - on_left) * picture + on_left * picture[:, ::-1]).ravel()), dtype=np.float64)
