"""Embedders that describe a trait by more, or by less, than its mean features.

`SpreadEmbedder`: the mean of every feature under the mask and its spread (standard deviation). A mean alone cannot tell
even grey from black and white stripes; both together are the statistics by which networks tell textures (Huang and
Belongie 2017, arXiv 1703.06868). It sees what the usual embedder sees, at the same cost.

`PatternEmbedder`: the same two of a view that shows nothing but the trait, enlarged, in grey, at one brightness and one
contrast. So it is blind to hue, to light and to whatever surrounds the trait, and knows nothing of place and size.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from sst_retrieval.describe.contract import Embedder
from sst_retrieval.describe.region_vectors import weigh_cells
from sst_retrieval.describe.unit_vectors import normalise
from sst_retrieval.errors import ModelError
from sst_retrieval.imaging.foreground import GREY
from sst_retrieval.types import FeatureGrid, Floats, RGBImage

VIEW_SIDE = 448
"""Edge, in pixels, of the view of the specimen out of which the pattern embedder cuts a trait."""

TRAIT_SIDE = 224
"""Edge, in pixels, of the enlarged view of a trait."""

MARGIN = 0.05
"""Room around the trait in it, as a share of its longer side."""

CONTRAST = 50.0
"""Standard deviation of the grey values of a trait, 0..255, to which all are brought."""

LEAST_CONTRAST = 3.0
"""Added to the deviation that is measured, so that the noise of a plain trait is not made a pattern."""

_LUMA = np.array([0.299, 0.587, 0.114])


class LevelEmbedder(Embedder, Protocol):
    """An embedder whose features are those of several levels of a network, one after the other."""

    @property
    def widths(self) -> Sequence[int]:
        """Number of features of each level, of sum `dim`."""

    @property
    def trunk(self) -> Any:
        """The network, which names its weights."""


class SpreadEmbedder:
    """Describes a trait by mean and spread of another embedder's features (a `PoolingEmbedder`).

    Attributes:
        name: that of the other embedder, and "mean and spread"; goes into the provenance.
        dim: number of features of a cell.
        side: edge, in pixels, of the square images it expects.
        pooled_dim: number of values of a trait.
        trunk: the network.
    """

    def __init__(self, base: LevelEmbedder) -> None:
        """Take the embedder whose features are summed up."""
        self._base = base
        self.trunk = base.trunk
        self.concurrent = getattr(base, "concurrent", False)
        self.name, self.side, self.dim = f"{base.name}, mean and spread", base.side, base.dim
        self.pooled_dim = 2 * base.dim

    def features(self, images: Sequence[RGBImage]) -> list[FeatureGrid]:
        """Compute the features of images, as the other embedder does."""
        return self._base.features(images)

    def pool(self, grid: FeatureGrid, coverage: Floats) -> Floats:
        """Compute mean and spread under a mask, each of every level at unit length: float32 (pooled_dim,)."""
        return pool_mean_and_spread(grid, coverage, self._base.widths)


class PatternEmbedder:
    """Describes a trait by what it looks like in grey, cut out and enlarged (a `RegionEmbedder`).

    Attributes:
        name: the other embedder, and what it is shown; goes into the provenance.
        dim: number of values of a trait.
        side: edge, in pixels, of the view of the specimen.
        trunk: the network.
    """

    side = VIEW_SIDE

    def __init__(self, base: LevelEmbedder) -> None:
        """Take the embedder whose features are summed up; it must take images of `TRAIT_SIDE`."""
        if base.side != TRAIT_SIDE:
            raise ValueError(f"{base.name} takes images of {base.side} px; the pattern embedder shows {TRAIT_SIDE}")
        self._base = base
        self.trunk = base.trunk
        self.concurrent = getattr(base, "concurrent", False)
        self.name, self.dim = f"{base.name}, mean and spread of the trait alone in grey", 2 * base.dim

    def features(self, images: Sequence[RGBImage]) -> list[FeatureGrid]:
        """Refuse: traits are described one by one, there is no grid of features.

        Raises:
            ModelError: always.
        """
        raise ModelError(f"{self.name} describes whole traits (`regions`) and has no features of cells")

    def regions(self, image: RGBImage, coverages: Sequence[Floats]) -> Floats:
        """Describe each trait: float32 (number of traits, dim)."""
        cuts = [cut_trait(image, coverage) for coverage in coverages]
        grids = self._base.features([view for view, _ in cuts])
        pooled = [
            pool_mean_and_spread(grid, own, self._base.widths) for grid, (_, own) in zip(grids, cuts, strict=True)
        ]
        return np.stack(pooled)


def pool_mean_and_spread(grid: FeatureGrid, coverage: Floats, widths: Sequence[int]) -> Floats:
    """Compute the mean and the standard deviation of the features under a mask.

    Args:
        grid: float32 (rows, cols, D).
        coverage: float32 (h, w), 0..1; not all zero.
        widths: number of features of each level, of sum D.

    Returns:
        float32 (2 * D,), of unit length: of each level its means, then its deviations, each part as long as the others.
    """
    weights = weigh_cells(grid, coverage)
    covered = np.flatnonzero(weights)  # Mostly few of all.
    weights, cells = weights[covered], grid.reshape(-1, grid.shape[2])[covered]
    mean = weights @ cells
    spread = np.sqrt(np.maximum(weights @ cells**2 - mean**2, 0))
    edges = np.cumsum([0, *widths])
    parts = [normalise(part[start:stop]) for start, stop in pairwise(edges) for part in (mean, spread)]
    pooled: Floats = (np.concatenate(parts) / len(parts) ** 0.5).astype(np.float32)
    return pooled


def cut_trait(image: RGBImage, coverage: Floats) -> tuple[RGBImage, Floats]:
    """Cut a trait out of the view of its specimen, enlarge it, and take away all but its pattern.

    Args:
        image: uint8 (side, side, 3).
        coverage: float32 (side, side), 0..1; not all zero.

    Returns:
        uint8 (TRAIT_SIDE, TRAIT_SIDE, 3), all channels equal, GREY where the trait is not; and its coverage, float32.
    """
    rows, columns = np.flatnonzero(coverage.any(axis=1)), np.flatnonzero(coverage.any(axis=0))
    height, width = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    half = max(height, width) * (0.5 + MARGIN)
    y, x = rows[0] + height / 2, columns[0] + width / 2
    window = (x - half, y - half, x + half, y + half)
    luma = (image @ _LUMA).astype(np.float32)
    # What a sample shows of the trait, not mixed with the background beside it.
    covered, parts = _resample(coverage, window), _resample(luma * coverage, window)
    return level_grey(parts / np.where(covered > 0, covered, 1), covered), covered


def level_grey(grey: npt.NDArray[np.floating[Any]], coverage: Floats) -> RGBImage:
    """Bring a trait to one brightness and one contrast, and put it on grey.

    Args:
        grey: float (h, w), 0..255.
        coverage: float32 (h, w), 0..1; not all zero.

    Returns:
        uint8 (h, w, 3), all channels equal, GREY where the trait is not.
    """
    weights = coverage / coverage.sum()
    mean = float((grey * weights).sum())
    spread = float(np.sqrt(((grey - mean) ** 2 * weights).sum()))
    levelled = np.clip(GREY + (grey - mean) * (CONTRAST / (spread + LEAST_CONTRAST)), 0, 255)
    return _repeat_channels(levelled * coverage + GREY * (1 - coverage))


def drop_hue(image: RGBImage) -> RGBImage:
    """Replace every colour of an image by the grey of its luma: uint8 (h, w, 3), all channels equal."""
    return _repeat_channels(image @ _LUMA)


def _repeat_channels(grey: npt.NDArray[np.floating[Any]]) -> RGBImage:
    image: RGBImage = np.repeat(np.asarray(grey + 0.5, np.uint8)[..., None], 3, axis=2)
    return image


def _resample(picture: Floats, window: tuple[float, float, float, float]) -> Floats:
    """Sample a window of a picture, which may reach beyond it: float32 (TRAIT_SIDE, TRAIT_SIDE)."""
    x0, y0, x1, y1 = window
    padding = int(np.ceil(max(0, -x0, -y0, x1 - picture.shape[1], y1 - picture.shape[0])))
    padded = Image.fromarray(np.pad(np.ascontiguousarray(picture, np.float32), padding))
    box = (x0 + padding, y0 + padding, x1 + padding, y1 + padding)
    side = (TRAIT_SIDE, TRAIT_SIDE)
    # Beyond the view both the coverage and the light of the trait are 0.
    sampled: Floats = np.asarray(padded.resize(side, Image.Resampling.BILINEAR, box=box), np.float32)
    return sampled
