"""Interactive segmentation without SAM 2, a fallback: geodesic region growing from clicks.

1. Every pixel of a small copy is described by its colour (Lab) and by fine features of the network.
2. A step from pixel to pixel costs the gradient of the descriptors plus the dissimilarity to the clicked pixels; the
   cost of the cheapest path from the clicks to a pixel is its geodesic distance (Bai and Sapiro 2007).
3. Without clicks outside, the region ends at the distance at which the mean contrast along its border is largest.
   With them, every pixel belongs to the nearer clicks, and no pixel that was clicked outside is in the region.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2lab
from skimage.graph import MCP_Geometric
from torch.nn import functional

from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.track.prompts import check_prompts
from sst_retrieval.types import Box, Clicked, Floats, Mask, Point, RGBImage

SIDE = 384  # Longer edge of the small copy, in pixels.
PCA_DIMENSIONS = 6  # Principal components of the network's features.
TEXTURE_WEIGHT = 0.5  # Weight of the features relative to the colours.
DISSIMILARITY_WEIGHT = 1.0  # Cost of the dissimilarity to the clicked pixels, relative to that of the gradient.
STEP_COST = 0.02  # Of a step where nothing changes.
SMOOTHING = 1.5  # Standard deviation, in pixels, of the Gaussian over descriptors: the scales of a wing are no borders.
SEED_SHARE = 0.003  # Share of all pixels around a click from which the trait's appearance is learnt.
MIN_REGION = 12  # Pixels of the small copy.


class DenseClicker:
    """Segments traits by region growing (a `track.clicks.Clicker`).

    Attributes:
        name: the method, for a person.
        fallback: True.
    """

    fallback = True
    name = "regions of like colour and texture, not SAM 2"

    def __init__(self, device: str = "auto", *, trunk: EfficientNetTrunk | None = None) -> None:
        """Take a network, or load one.

        Raises:
            ModelError: as `EfficientNetTrunk`.
        """
        self._trunk = trunk if trunk is not None else EfficientNetTrunk(device)

    def look(self, image: RGBImage) -> DensePicture:
        """Compute the descriptors of a small copy of a photograph, uint8 (H, W, 3)."""
        factor = max(1.0, max(image.shape[:2]) / SIDE)
        size = (max(1, round(image.shape[1] / factor)), max(1, round(image.shape[0] / factor)))
        small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
        lab = rgb2lab(small).astype(np.float32)
        levels = self._trunk.levels(small[None], deepest=2)
        grids = [functional.interpolate(each, size=lab.shape[:2], mode="bilinear")[0] for each in levels]
        features = np.concatenate([each.permute(1, 2, 0).cpu().numpy() for each in grids], axis=2)
        descriptors = np.concatenate([lab / 20, TEXTURE_WEIGHT * _project_on_components(features)], axis=2)
        descriptors = ndimage.gaussian_filter(descriptors.astype(np.float32), (SMOOTHING, SMOOTHING, 0))
        return DensePicture(descriptors, (image.shape[0], image.shape[1]))


class DensePicture:
    """An encoded photograph (a `track.clicks.Picture`)."""

    def __init__(self, descriptors: Floats, size: tuple[int, int]) -> None:
        """Take the descriptors that `DenseClicker.look` has computed.

        Args:
            descriptors: float32 (h, w, D), of a small copy.
            size: (height, width) of the photograph.
        """
        self._descriptors, self._size = descriptors, size
        steps = [
            np.gradient(descriptors, axis=axis) if descriptors.shape[axis] > 1 else 0 * descriptors for axis in (0, 1)
        ]
        self._gradient: Floats = np.sqrt(sum((step**2).sum(axis=2) for step in steps)).astype(np.float32)

    def mask(self, inside: Sequence[Point] = (), outside: Sequence[Point] = (), box: Box | None = None) -> Clicked:
        """Segment the trait that is clicked on.

        Args:
            inside: points (x, y) on the trait, in pixels of the photograph.
            outside: points beside it.
            box: (left, top, right, bottom) around it.

        Returns:
            bool (H, W) at the photograph's size, and the contrast of its border, 0..1.

        Raises:
            QueryError: see `track.prompts.check_prompts`.
        """
        check_prompts(self._size, inside, outside, box)
        positive, negative = self._mark_points(inside), self._mark_points(outside)
        if positive is not None:
            positive = self._grow_seed(positive)
        if box is None:
            assert positive is not None  # `check_prompts`: there is a box or a click inside.
            return self._grow_region(positive, negative, None)
        within = self._mark_box(box)
        salient, central = self._find_salient(within), _mark_centre(within)
        seeds = [salient if positive is None else positive | salient, central if positive is None else positive]
        found = [
            self._grow_region(seeds[0], ~within if negative is None else ~within | negative, None),
            self._grow_region(seeds[1], negative, within),
        ]
        # The box of a good mask is the box that was drawn.
        return max(found, key=lambda clicked: _compute_box_iou(clicked.mask, box))

    def _grow_region(self, positive: Mask, negative: Mask | None, within: Mask | None) -> Clicked:
        """Grow a region from positive pixels, away from negative ones, within some bounds."""
        near = self._compute_distance(positive)
        if within is not None:
            near = np.where(within, near, near.max() + 1)
        if negative is None or not negative.any():
            border, contrast = _find_strongest_border(near, self._descriptors)
            margin = border - near
        else:
            # Never so far that a pixel clicked as outside belongs to it.
            margin = np.minimum(self._compute_distance(negative) - near, near[negative].min() - near)
            contrast = _compute_contrast(margin > 0, self._descriptors)
        return Clicked(self._resize_region(margin, positive), contrast)

    def _mark_points(self, points: Sequence[Point]) -> Mask | None:
        """Mark the pixels of the small copy that were clicked: bool (h, w); None without clicks."""
        if not points:
            return None
        rows, columns, _ = self._descriptors.shape
        marked = np.zeros((rows, columns), dtype=bool)
        for x, y in points:
            marked[int(y / self._size[0] * rows), int(x / self._size[1] * columns)] = True
        return marked

    def _mark_box(self, box: Box) -> Mask:
        """Mark the pixels of the small copy inside a box: bool (h, w)."""
        height, width = self._size
        rows, columns, _ = self._descriptors.shape
        x0, y0, x1, y1 = box
        within = np.zeros((rows, columns), dtype=bool)
        top, left = int(y0 / height * rows), int(x0 / width * columns)
        bottom, right = max(top + 1, round(y1 / height * rows)), max(left + 1, round(x1 / width * columns))
        within[top:bottom, left:right] = True
        return within

    def _find_salient(self, within: Mask) -> Mask:
        """Return those pixels of a box that differ most from what lies around it."""
        around = ndimage.binary_dilation(within, iterations=max(3, round(0.1 * within.sum() ** 0.5))) & ~within
        if not around.any():
            around = ~ndimage.binary_erosion(within, iterations=2, border_value=0) & within
        typical = _subsample(self._descriptors[around])
        unlike = np.where(within, _compute_dissimilarity(self._descriptors, typical), -np.inf)
        return np.asarray(unlike >= np.quantile(unlike[within], 0.8))

    def _grow_seed(self, clicked: Mask) -> Mask:
        """Add the nearest pixels to clicked ones: the appearance of a trait cannot be learnt from one pixel."""
        distance = self._compute_distance(clicked)
        return np.asarray(distance <= np.quantile(distance, min(1.0, SEED_SHARE * np.count_nonzero(clicked))))

    def _compute_distance(self, places: Mask) -> npt.NDArray[np.float64]:
        """Compute the geodesic distance of every pixel to some pixels: float64 (h, w)."""
        dissimilarity = _compute_dissimilarity(self._descriptors, _subsample(self._descriptors[places]))
        cost = STEP_COST + self._gradient + DISSIMILARITY_WEIGHT * dissimilarity
        distance, _ = MCP_Geometric(cost.astype(np.float64)).find_costs(np.argwhere(places).tolist())
        return np.asarray(distance)

    def _resize_region(self, margin: npt.NDArray[np.float64], positive: Mask) -> Mask:
        """Resize a region to the photograph's size; fill holes, and drop components without a click."""
        region = margin > 0
        components, _ = ndimage.label(region | positive)
        region = ndimage.binary_fill_holes(np.isin(components, np.unique(components[positive])))
        scale = max(float(np.abs(margin).mean()), 1e-9)
        soft = np.where(region, np.maximum(margin, 0.05 * scale), np.minimum(margin, -0.05 * scale)) / scale
        picture = Image.fromarray(np.clip(soft, -1, 1).astype(np.float32))
        large = picture.resize((self._size[1], self._size[0]), Image.Resampling.BILINEAR)
        return np.asarray(large) > 0


def _mark_centre(within: Mask) -> Mask:
    """Mark the middle third of a box."""
    rows, columns = np.flatnonzero(within.any(axis=1)), np.flatnonzero(within.any(axis=0))
    centre = np.zeros_like(within)
    down, across = len(rows) // 3, len(columns) // 3
    centre[rows[down] : rows[-1 - down] + 1, columns[across] : columns[-1 - across] + 1] = True
    return centre


def _compute_box_iou(mask: Mask, box: Box) -> float:
    """Compute the IoU of the box of a mask with the one that was drawn."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0.0
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    shared = max(0, min(x1, box[2]) - max(x0, box[0])) * max(0, min(y1, box[3]) - max(y0, box[1]))
    return shared / ((x1 - x0) * (y1 - y0) + (box[2] - box[0]) * (box[3] - box[1]) - shared)


def _project_on_components(features: Floats) -> Floats:
    """Project features on their principal components, scaled so that the first has variance 1."""
    flat = features.reshape(-1, features.shape[2]).astype(np.float64)
    centred = (flat - flat.mean(axis=0)) / (flat.std(axis=0) + 1e-6)
    values, directions = np.linalg.eigh(centred.T @ centred / len(flat))
    kept = centred @ directions[:, -PCA_DIMENSIONS:] / max(float(values[-1]) ** 0.5, 1e-6)
    directed: Floats = kept.reshape(*features.shape[:2], -1).astype(np.float32)
    return directed


def _subsample(descriptors: Floats, most: int = 32) -> Floats:
    """Subsample descriptors, float32 (n, D), to at most so many."""
    return descriptors[:: -(-len(descriptors) // most)]


def _compute_dissimilarity(descriptors: Floats, prototypes: Floats) -> Floats:
    """Compute the distance of every pixel to the most similar prototype: float32 (h, w)."""
    nearest = np.full(descriptors.shape[:2], np.inf, dtype=np.float32)
    for prototype in prototypes:
        np.minimum(nearest, np.linalg.norm(descriptors - prototype, axis=2), out=nearest)
    return nearest


def _find_strongest_border(distance: npt.NDArray[np.float64], descriptors: Floats) -> tuple[float, float]:
    """Find the distance at which the mean contrast along a region's border is largest.

    The border of a region separates two neighbours if the region contains the nearer one only; so the sums over the
    borders of regions of every size come from one sort.

    Returns:
        The distance; the contrast there, 0..1.
    """
    starts, ends, steps = [], [], []
    for axis in (0, 1):
        one, other = (np.take(distance, range(k, distance.shape[axis] - 1 + k), axis) for k in (0, 1))
        starts.append(np.minimum(one, other).ravel())
        ends.append(np.maximum(one, other).ravel())
        steps.append(np.linalg.norm(np.diff(descriptors, axis=axis), axis=2).ravel())
    start, end, step = (np.concatenate(each) for each in (starts, ends, steps))
    levels = (
        np.sort(distance.ravel())[MIN_REGION - 1 :: 4] if distance.size > 2 * MIN_REGION else np.sort(distance.ravel())
    )
    began, ended = np.searchsorted(levels, start, side="right"), np.searchsorted(levels, end, side="right")
    change = np.zeros((2, len(levels) + 1))
    for row, amount in enumerate((step, np.ones_like(step))):
        np.add.at(change[row], began, amount)
        np.add.at(change[row], ended, -amount)
    total, length = np.cumsum(change, axis=1)[:, :-1]
    mean = np.where(length > 0, total / np.maximum(length, 1), 0)
    best = int(np.argmax(mean))
    following = levels[min(best + 1, len(levels) - 1)]
    return float((levels[best] + following) / 2), float(mean[best] / (mean[best] + 1))


def _compute_contrast(region: Mask, descriptors: Floats) -> float:
    """Compute the mean contrast along the border of a region: 0..1."""
    crossing = [np.linalg.norm(np.diff(descriptors, axis=axis), axis=2)[np.diff(region, axis=axis)] for axis in (0, 1)]
    steps = np.concatenate(crossing)
    return float(steps.mean() / (steps.mean() + 1)) if len(steps) else 0.0
