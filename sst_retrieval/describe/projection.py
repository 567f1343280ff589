"""Shorten vectors so that their inner products hardly change."""

from __future__ import annotations

import functools

import numpy as np
from scipy.linalg import hadamard

from sst_retrieval.types import Floats


@functools.cache
def make_projection(width: int, kept: int, seed: int) -> Floats:
    """Make the matrix of a subsampled randomised Hadamard transform.

    Signs are changed at random, a Hadamard matrix mixes all values, and some of the results are kept (Ailon and
    Chazelle 2009, "The fast Johnson-Lindenstrauss transform", SIAM Journal on Computing 39: 302-322). Inner products of
    unit vectors change by about 1 / sqrt(kept). Nothing is learnt, and nothing has to be stored.

    Args:
        width: number of values of a vector.
        kept: number of values of the shortened one, at most the next power of two.
        seed: which signs and rows; the same everywhere, because raw bits of a generator are (NumPy's own promise).

    Returns:
        float32 (width, kept).

    >>> matrix = make_projection(6, 8, 0)
    >>> bool(np.allclose(matrix @ matrix.T, np.eye(6), atol=1e-6))
    True
    """
    size = 1 << max(width - 1, 0).bit_length()
    bits = np.random.PCG64(seed).random_raw(2 * size)
    signs = np.where(bits[:width] >> np.uint64(63), 1, -1)
    rows = np.argsort(bits[size:], kind="stable")[:kept]
    matrix: Floats = (hadamard(size, dtype=np.int8)[rows, :width] * signs).T.astype(np.float32) / np.float32(kept**0.5)
    matrix.setflags(write=False)
    return matrix
