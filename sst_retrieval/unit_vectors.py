"""Vectors of unit length, whole or block by block: their inner products are cosines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sst_retrieval.types import Doubles, Floats


def unit(vector: npt.NDArray[Any]) -> Floats:
    """Bring a vector to unit length, float32 (D,); one of zeros stays zero.

    >>> unit(np.array([3.0, 4.0])).tolist() == np.float32([0.6, 0.8]).tolist()
    True
    """
    made: Floats = (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)
    return made


def unit_blocks(vectors: Floats, blocks: Sequence[slice]) -> Doubles:
    """Bring each block of vectors, float32 (n, D), to unit length in double precision; a block of zeros stays zero."""
    result = vectors.astype(np.float64)
    for block in blocks:
        lengths = np.sqrt((result[:, block] ** 2).sum(axis=1, keepdims=True))
        result[:, block] /= np.where(lengths > 0, lengths, 1)
    return result
