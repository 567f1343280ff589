"""The vectors of a query: examples with weights, scaled by the weights of the blocks.

The score of a region x is the sum over the examples e of `weight(e) * max over the variants v of e: sim(v, x)`, with
`sim(v, x) = sum over the blocks b of w(b) * <v_b, x_b>`, v_b and x_b of unit length and w of sum 1. If no example has
several variants, this is one inner product (`WeightedQuery.vector`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sst_retrieval.describe.unit_vectors import normalise_blocks
from sst_retrieval.types import Doubles, Floats

SCORE_MARGIN = 5e-5
"""Twice an upper bound of the error of a similarity in single precision, for blocks whose stored length is 1 within
`index.shards.UNIT_TOLERANCE` (1e-5; rounding adds a few 1e-6)."""


@dataclass(frozen=True, slots=True)
class QueryExample:
    """One example of a query.

    Attributes:
        variants: float32 (M, D), pose variants: vectors of the same trait in several poses. A region is scored by the
            variant it is most similar to.
        weight: factor of its similarities in the score; below 0 for "unlike".
    """

    variants: Floats
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class WeightedQuery:
    """A query, scaled by its weights, ready to be multiplied with stored vectors.

    Attributes:
        examples: float64 (M, D) variants with blocks of unit length, and the weight of the example.
        scaled_examples: the same in float32, every block times its weight.
        block_weights: float64 (B,), of sum 1.
        value_weights: float64 (D,), the weight of the block of each value.
        vector: float32 (D,), the query as one vector; None if an example has several variants.
        margin: twice an upper bound of the error of a score in single precision.
    """

    examples: list[tuple[Doubles, float]]
    scaled_examples: list[tuple[Floats, float]]
    block_weights: Doubles
    value_weights: Doubles
    vector: Floats | None
    margin: float

    @classmethod
    def scale(cls, query: Sequence[QueryExample], blocks: Sequence[slice], weights: Doubles) -> WeightedQuery:
        """Scale a query by its weights.

        Args:
            query: the examples.
            blocks: where each block lies in a vector.
            weights: float64 (B,), not negative, not all zero.
        """
        block_weights = np.asarray(weights, dtype=np.float64) / np.sum(weights)
        examples = [(normalise_blocks(example.variants, blocks), float(example.weight)) for example in query]
        scale = np.repeat(block_weights, [block.stop - block.start for block in blocks])
        vector = None
        if all(len(variants) == 1 for variants, _ in examples):
            vector = (sum(weight * variants[0] for variants, weight in examples) * scale).astype(np.float32)
        scaled_examples = [((variants * scale).astype(np.float32), weight) for variants, weight in examples]
        margin = SCORE_MARGIN * max(1.0, sum(abs(weight) for _, weight in examples))
        return cls(examples, scaled_examples, block_weights, scale, vector, margin)
