"""Clicks to a mask without SAM 2: a region of like colour and texture is grown around the clicks. A fallback.

1. Every pixel of a small copy is described by its colour (Lab) and by fine features of the network.
2. Going from pixel to pixel costs what changes on the way, and how unlike the clicked places one is; the cheapest way
   from the clicks to a pixel is its distance (geodesic segmentation: Bai and Sapiro 2007).
3. Where nothing else was clicked, the region ends at that distance at which its border has the strongest contrast;
   else every pixel goes to the clicks that are nearer, and the region keeps off what was clicked outside.
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
FEATURES = 6  # Directions in which the network's features vary most.
TEXTURE = 0.5  # Weight of the features against the colours.
UNLIKE = 1.0  # Cost of being unlike the clicked places, against that of change on the way.
STEP = 0.02  # Cost of a step where nothing changes.
SMOOTH = 1.5  # Pixels over which texture is averaged: the scales of a wing are no borders.
FIRST = 0.003  # Share of the pixels around a click that say what its trait looks like.
SMALLEST = 12  # Pixels of the small copy that a region has at least.


class DenseClicker:
    """Turns clicks into masks by growing regions (a `track.clicks.Clicker`).

    Attributes:
        name: says that it is the fallback.
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
        """Describe every pixel of a small copy of a photograph."""
        factor = max(1.0, max(image.shape[:2]) / SIDE)
        size = (max(1, round(image.shape[1] / factor)), max(1, round(image.shape[0] / factor)))
        small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
        lab = rgb2lab(small).astype(np.float32)
        levels = self._trunk.levels(small[None], deepest=2)
        grids = [functional.interpolate(each, size=lab.shape[:2], mode="bilinear")[0] for each in levels]
        features = np.concatenate([each.permute(1, 2, 0).cpu().numpy() for each in grids], axis=2)
        looks = np.concatenate([lab / 20, TEXTURE * _main_directions(features)], axis=2)
        looks = ndimage.gaussian_filter(looks.astype(np.float32), (SMOOTH, SMOOTH, 0))
        return DensePicture(looks, (image.shape[0], image.shape[1]))


class DensePicture:
    """A photograph whose pixels are described."""

    def __init__(self, looks: Floats, size: tuple[int, int]) -> None:
        """Keep what `DenseClicker.look` has made.

        Args:
            looks: float32 (h, w, D), of a small copy.
            size: (height, width) of the photograph.
        """
        self._looks, self._size = looks, size
        steps = [np.gradient(looks, axis=axis) if looks.shape[axis] > 1 else 0 * looks for axis in (0, 1)]
        self._change: Floats = np.sqrt(sum((step**2).sum(axis=2) for step in steps)).astype(np.float32)

    def mask(self, inside: Sequence[Point] = (), outside: Sequence[Point] = (), box: Box | None = None) -> Clicked:
        """Find what is meant.

        Raises:
            QueryError: see `track.prompts.check_prompts`.
        """
        check_prompts(self._size, inside, outside, box)
        here, there = self._places(inside), self._places(outside)
        if here is not None:
            here = self._grown(here)
        if box is None:
            assert here is not None  # A box or a click inside was asked for.
            return self._region(here, there, None)
        within = self._within(box)
        strange, central = self._strange(within), _centre(within)
        ways = [strange if here is None else here | strange, central if here is None else here]
        found = [
            self._region(ways[0], ~within if there is None else ~within | there, None),
            self._region(ways[1], there, within),
        ]
        # A good mask fills the box that was drawn around it.
        return max(found, key=lambda clicked: _filled(clicked.mask, box))

    def _region(self, here: Mask, there: Mask | None, within: Mask | None) -> Clicked:
        """Grow a region from some places, away from others, inside some bounds."""
        near = self._distance(here)
        if within is not None:
            near = np.where(within, near, near.max() + 1)
        if there is None or not there.any():
            border, contrast = _clearest_border(near, self._looks)
            margin = border - near
        else:
            # Never so far that a place clicked as outside belongs to it.
            margin = np.minimum(self._distance(there) - near, near[there].min() - near)
            contrast = _contrast(margin > 0, self._looks)
        return Clicked(self._enlarged(margin, here), contrast)

    def _places(self, points: Sequence[Point]) -> Mask | None:
        if not points:
            return None
        rows, columns, _ = self._looks.shape
        marked = np.zeros((rows, columns), dtype=bool)
        for x, y in points:
            marked[int(y / self._size[0] * rows), int(x / self._size[1] * columns)] = True
        return marked

    def _within(self, box: Box) -> Mask:
        height, width = self._size
        rows, columns, _ = self._looks.shape
        x0, y0, x1, y1 = box
        within = np.zeros((rows, columns), dtype=bool)
        top, left = int(y0 / height * rows), int(x0 / width * columns)
        bottom, right = max(top + 1, round(y1 / height * rows)), max(left + 1, round(x1 / width * columns))
        within[top:bottom, left:right] = True
        return within

    def _strange(self, within: Mask) -> Mask:
        """Take for the trait those pixels of a box that are least like what lies around it."""
        around = ndimage.binary_dilation(within, iterations=max(3, round(0.1 * within.sum() ** 0.5))) & ~within
        if not around.any():
            around = ~ndimage.binary_erosion(within, iterations=2, border_value=0) & within
        typical = _prototypes(self._looks[around])
        unlike = np.where(within, _unlikeness(self._looks, typical), -np.inf)
        return np.asarray(unlike >= np.quantile(unlike[within], 0.8))

    def _grown(self, clicked: Mask) -> Mask:
        """Add to clicked pixels the nearest ones: one pixel does not say what a trait looks like."""
        distance = self._distance(clicked)
        return np.asarray(distance <= np.quantile(distance, min(1.0, FIRST * np.count_nonzero(clicked))))

    def _distance(self, places: Mask) -> npt.NDArray[np.float64]:
        cost = STEP + self._change + UNLIKE * _unlikeness(self._looks, _prototypes(self._looks[places]))
        distance, _ = MCP_Geometric(cost.astype(np.float64)).find_costs(np.argwhere(places).tolist())
        return np.asarray(distance)

    def _enlarged(self, margin: npt.NDArray[np.float64], here: Mask) -> Mask:
        """Bring the region to the photograph's size, without holes and without pieces that nobody clicked on."""
        region = margin > 0
        pieces, _ = ndimage.label(region | here)
        region = ndimage.binary_fill_holes(np.isin(pieces, np.unique(pieces[here])))
        scale = max(float(np.abs(margin).mean()), 1e-9)
        soft = np.where(region, np.maximum(margin, 0.05 * scale), np.minimum(margin, -0.05 * scale)) / scale
        picture = Image.fromarray(np.clip(soft, -1, 1).astype(np.float32))
        large = picture.resize((self._size[1], self._size[0]), Image.Resampling.BILINEAR)
        return np.asarray(large) > 0


def _centre(within: Mask) -> Mask:
    """Return the middle third of a box."""
    rows, columns = np.flatnonzero(within.any(axis=1)), np.flatnonzero(within.any(axis=0))
    centre = np.zeros_like(within)
    down, across = len(rows) // 3, len(columns) // 3
    centre[rows[down] : rows[-1 - down] + 1, columns[across] : columns[-1 - across] + 1] = True
    return centre


def _filled(mask: Mask, box: Box) -> float:
    """Compare the box of a mask with the one that was drawn: IoU."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0.0
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    shared = max(0, min(x1, box[2]) - max(x0, box[0])) * max(0, min(y1, box[3]) - max(y0, box[1]))
    return shared / ((x1 - x0) * (y1 - y0) + (box[2] - box[0]) * (box[3] - box[1]) - shared)


def _main_directions(features: Floats) -> Floats:
    """Project features on the directions in which they vary most, one unit for the first's spread."""
    flat = features.reshape(-1, features.shape[2]).astype(np.float64)
    centred = (flat - flat.mean(axis=0)) / (flat.std(axis=0) + 1e-6)
    values, directions = np.linalg.eigh(centred.T @ centred / len(flat))
    kept = centred @ directions[:, -FEATURES:] / max(float(values[-1]) ** 0.5, 1e-6)
    directed: Floats = kept.reshape(*features.shape[:2], -1).astype(np.float32)
    return directed


def _prototypes(looks: Floats, most: int = 32) -> Floats:
    """Thin out looks (n, D) to at most so many."""
    return looks[:: -(-len(looks) // most)]


def _unlikeness(looks: Floats, prototypes: Floats) -> Floats:
    """Distance of every pixel to the most similar prototype: float32 (h, w)."""
    nearest = np.full(looks.shape[:2], np.inf, dtype=np.float32)
    for prototype in prototypes:
        np.minimum(nearest, np.linalg.norm(looks - prototype, axis=2), out=nearest)
    return nearest


def _clearest_border(distance: npt.NDArray[np.float64], looks: Floats) -> tuple[float, float]:
    """Find the distance at which a region's border has the strongest mean contrast.

    Every two neighbours are cut by all regions that hold the nearer one only; so the sums over all borders, one for
    every size of the region, come from one sort.

    Returns:
        The distance; the contrast there, 0..1.
    """
    starts, ends, steps = [], [], []
    for axis in (0, 1):
        one, other = (np.take(distance, range(k, distance.shape[axis] - 1 + k), axis) for k in (0, 1))
        starts.append(np.minimum(one, other).ravel())
        ends.append(np.maximum(one, other).ravel())
        steps.append(np.linalg.norm(np.diff(looks, axis=axis), axis=2).ravel())
    start, end, step = (np.concatenate(each) for each in (starts, ends, steps))
    levels = np.sort(distance.ravel())[SMALLEST - 1 :: 4] if distance.size > 2 * SMALLEST else np.sort(distance.ravel())
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


def _contrast(region: Mask, looks: Floats) -> float:
    cut = [np.linalg.norm(np.diff(looks, axis=axis), axis=2)[np.diff(region, axis=axis)] for axis in (0, 1)]
    steps = np.concatenate(cut)
    return float(steps.mean() / (steps.mean() + 1)) if len(steps) else 0.0
