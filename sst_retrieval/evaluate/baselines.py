"""Retrieval baselines: the usual ways to compare photographs, which a trait's vector should beat.

Every method describes the same regions and gets the same queries, so that their scores can be compared:

1. crop: the network's features of the mask's bounding box, all of it, as retrieval is usually done;
2. photograph: its features of the whole photograph;
3. background: mean and standard deviation of the colours along the photograph's rim, where no specimen is. What this
   one retrieves is not the trait but the way in which a collection was photographed;
4. outline: the mask's shape alone; 5. mean colour under the mask.

The features of 1 and 2 are centred and whitened as those of a trait are, so that the methods differ only in the pixels
they describe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from skimage.color import rgb2lab

from sst_retrieval.describe.contract import Embedder
from sst_retrieval.describe.region_vectors import pool
from sst_retrieval.describe.shape_block import compute_shape_block
from sst_retrieval.evaluate.index_audit import measure_rim_colours
from sst_retrieval.evaluate.retrieval import RetrievalScore, TraitVectors, retrieval_scores
from sst_retrieval.imaging import frames
from sst_retrieval.imaging.masks import box
from sst_retrieval.index.whitening import (
    SHRINKAGE,
    SPREADS,
    TRUST,
    TraitWhitening,
    block_slices,
    trust_outlines,
    whiten,
)
from sst_retrieval.types import Floats, Frame, Mask, RGBImage, Scalar

METHODS = ("crop", "photograph", "background", "outline", "mean colour")
NETWORK_METHODS = ("crop", "photograph")
"""Those that use features of the embedder's network, which are whitened."""

CAP_RADIUS = 0.1
"""Radius of the spherical cap onto which distances are mapped; so small that its curvature is negligible."""


def describe_photograph(image: RGBImage, embedder: Embedder) -> dict[str, Floats]:
    """Describe a photograph by the baselines that use all of it: method -> float32 (d,)."""
    height, width = image.shape[:2]
    whole = frames.square_frame((width / 2, height / 2), max(height, width), 0.0)
    return {"photograph": _compute_features(image, whole, embedder), "background": measure_rim_colours(image)}


def describe_region(image: RGBImage, mask: Mask, frame: Frame, embedder: Embedder) -> dict[str, Floats]:
    """Describe one region by the baselines that use its mask.

    Args:
        image: uint8 (H, W, 3).
        mask: bool (H, W), not empty.
        frame: the specimen's frame on the photograph.
        embedder: that of the index.

    Returns:
        Method -> float32 (d,).
    """
    x0, y0, x1, y1 = box(mask)
    square = frames.square_frame(((x0 + x1) / 2, (y0 + y1) / 2), max(x1 - x0, y1 - y0), 0.0)
    colour = rgb2lab(image[mask][None])[0].mean(axis=0).astype(np.float32)
    return {
        "crop": _compute_features(image, square, embedder),
        "outline": compute_shape_block(mask, frame),
        "mean colour": colour,
    }


def score(
    method: str,
    described: Mapping[str, Mapping[str, Floats]],
    values: Mapping[str, Scalar],
    *,
    column: str,
    blocks: Mapping[str, int],
    shrinkage: Mapping[str, float] = SHRINKAGE,
    confidences: Mapping[str, float] | None = None,
) -> dict[str, RetrievalScore]:
    """Score retrieval by one method, with every region as a query.

    Args:
        method: "trait" or one of `METHODS`.
        described: trait -> specimen -> float32 (d,).
        values: specimen -> its value in the column.
        column: name of the column.
        blocks: block name -> number of values of a trait's vector.
        shrinkage: block name -> ridge of the whitening of a trait's vectors (`Engines.recipe` names it).
        confidences: trait -> mean confidence of its masks; without, as of masks that people drew.

    Returns:
        Trait -> its scores.
    """
    regions: dict[str, TraitVectors] = {}
    for trait, own in described.items():
        names = sorted(own)
        vectors = np.stack([own[name] for name in names]).astype(np.float32)
        prepared = Preparation.fit(method, vectors, blocks, shrinkage, (confidences or {}).get(trait, 1.0))
        regions[trait] = TraitVectors(names, prepared.apply(vectors))
    widths = blocks if method == "trait" else {"all": next(iter(regions.values())).vectors.shape[1]}
    return dict(retrieval_scores(regions, values, column=column, blocks=block_slices(widths)).traits)


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is done to the descriptions of a trait's regions by one method before inner products compare them.

    Attributes:
        whitening: of a trait's vector, or of a network's features; None without.
        centre: float32 (d,), of descriptions that are compared by distance; None if they are compared as they are.
        scale: factor of these.
    """

    whitening: TraitWhitening | None
    centre: Floats | None = None
    scale: float = 1.0

    @classmethod
    def fit(
        cls,
        method: str,
        vectors: Floats,
        blocks: Mapping[str, int],
        shrinkage: Mapping[str, float] = SHRINKAGE,
        confidence: float = 1.0,
    ) -> Self:
        """Estimate it from all regions of a trait.

        Args:
            method: "trait" or one of `METHODS`.
            vectors: float32 (N, d).
            blocks: block name -> number of values of a trait's vector.
            shrinkage: block name -> ridge of the whitening of a trait's vectors.
            confidence: mean of the trait's masks; 1 of masks that people drew.
        """
        if method == "trait":
            return cls(whiten(vectors.copy(), blocks, shrinkage, trust_outlines(SPREADS, TRUST, confidence)))
        if method in NETWORK_METHODS:
            return cls(whiten(vectors.copy(), {"pattern": vectors.shape[1]}, SHRINKAGE, {}))
        if method == "outline":
            return cls(None)
        centre = vectors.mean(axis=0)
        radius = float(np.linalg.norm(vectors - centre, axis=1).max())
        return cls(None, centre, CAP_RADIUS / max(radius, 1e-9))

    def apply(self, vectors: Floats) -> Floats:
        """Prepare descriptions, those it was estimated from or others: float32 (n, d), or (n, d + 1) on a sphere."""
        if self.whitening is not None:
            return self.whitening.apply(vectors)
        return vectors if self.centre is None else _lift_to_sphere(vectors, self.centre, self.scale)


def _lift_to_sphere(vectors: Floats, centre: Floats, scale: float) -> Floats:
    """Map vectors (N, d) to unit vectors (N, d + 1) whose inner products rank as Euclidean distances do.

    Colours in CIE Lab are compared by distance. They are centred, scaled into a small cap and lifted onto the unit
    sphere, where the nearer of two points has the larger inner product.
    """
    scaled = (vectors - centre) * scale
    lifted = np.sqrt(np.maximum(1 - (scaled**2).sum(axis=1, keepdims=True), 0))
    return np.hstack([scaled, lifted]).astype(np.float32)


def _compute_features(image: RGBImage, frame: Frame, embedder: Embedder) -> Floats:
    """Compute the mean feature of a frame's square, of unit length: float32 (d,)."""
    view = frames.warp_image(image, frame, embedder.side)
    (grid,) = embedder.features([view])
    mean = pool(grid, np.ones((embedder.side, embedder.side), dtype=np.float32))
    unit: Floats = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
    return unit
