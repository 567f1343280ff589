"""A photograph from outside the index, and the mask of one trait on it, become a query."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sst_retrieval.describe.contract import Embedder, embed_regions
from sst_retrieval.errors import QueryError
from sst_retrieval.imaging import frames as pose
from sst_retrieval.imaging.images import read_labels
from sst_retrieval.types import Floats, Mask, RGBImage

TURNS = 8
"""In how many positions, all the way round, a specimen from outside is seen: nobody knows how it lies."""


def read_mask(path: Path, image: RGBImage, *, trait: str, number: int) -> Mask:
    """Read the mask of one trait from a label picture.

    Args:
        path: the label picture: one number for the trait and 0 for all else (such as 0 and 255), or several numbers, of
            which the index's own number of the trait counts.
        image: uint8 (H, W, 3), the photograph it was drawn on.
        trait: name of the trait.
        number: the index's own number of the trait.

    Returns:
        bool (H, W), not empty.

    Raises:
        ImageError: the file is no label picture.
        QueryError: it does not fit the photograph, is empty, or does not say which of its numbers is meant.
    """
    labels = read_labels(path)
    if labels.shape != image.shape[:2]:
        (height, width), (own_height, own_width) = image.shape[:2], labels.shape
        raise QueryError(
            f"{path} is {own_width} x {own_height} px, but the photograph is {width} x {height} (turned as its EXIF "
            "orientation says); draw the mask on the photograph at its own size"
        )
    values = [int(value) for value in np.unique(labels) if value]
    if not values:
        raise QueryError(f"{path} is empty: every pixel is 0, the background; draw the trait")
    if number in values:
        return np.asarray(labels == number)
    if len(values) == 1:
        return np.asarray(labels != 0)
    raise QueryError(
        f"{path} has the numbers {values}, none of which is {number}, the index's number of {trait}; "
        f"draw {trait} as {number}, or alone"
    )


def query_vectors(image: RGBImage, mask: Mask, embedder: Embedder) -> Floats:
    """Describe one trait on a photograph, in every position its specimen may have.

    Args:
        image: uint8 (H, W, 3).
        mask: bool (H, W), not empty.
        embedder: the one that the index was made with.

    Returns:
        float32 (M, D), one vector a position; `Index.search(vectors=...)` takes the best of them.

    Raises:
        QueryError: the mask lies where no specimen is.
    """
    # The mirror images that come after the turns would give the same vectors: these do not tell left from right.
    frames = pose.hypotheses(pose.as_photographed(image), TURNS)[:TURNS]
    vectors = [embed_regions(image, mask[None], frame, embedder)[0] for frame in frames]
    seen = [vector for vector in vectors if vector is not None]
    if not seen:
        raise QueryError("the mask lies outside the specimen of its photograph; draw it on the specimen")
    return np.stack(seen)
