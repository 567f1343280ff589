"""Scale vectors, and the blocks of vectors, to unit length, so that inner products are cosines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sst_retrieval.types import Doubles, Floats


def normalise(vector: npt.NDArray[Any]) -> Floats:
    """Scale a vector to unit length; a vector of zeros stays one.

    Args:
        vector: floating point (D,).

    Returns:
        float32 (D,).

    >>> normalise(np.array([3.0, 4.0])).tolist() == np.float32([0.6, 0.8]).tolist()
    True
    """
    scaled: Floats = (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)
    return scaled


def normalise_blocks(vectors: Floats, blocks: Sequence[slice]) -> Doubles:
    """Scale each block of each vector to unit length, in double precision; a block of zeros stays one.

    Args:
        vectors: float32 (N, D).
        blocks: the columns of each block.

    Returns:
        float64 (N, D).
    """
    result = vectors.astype(np.float64)
    for block in blocks:
        lengths = np.sqrt((result[:, block] ** 2).sum(axis=1, keepdims=True))
        result[:, block] /= np.where(lengths > 0, lengths, 1)
    return result
