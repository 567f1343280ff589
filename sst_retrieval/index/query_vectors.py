"""Room 5b: what the vectors of a trait are asked with, ready to be multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sst_retrieval.describe.unit_vectors import normalise_blocks
from sst_retrieval.types import Doubles, Floats

SLACK = 5e-5
"""More than single precision and blocks of not quite unit length can change a similarity."""


@dataclass(frozen=True, slots=True)
class Example:
    """One thing that is asked with.

    Attributes:
        readings: float32 (M, D). Several vectors are several ways a specimen may lie: a region is judged by the one it
            resembles most.
        share: what it counts; below 0 for "unlike".
    """

    readings: Floats
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Weighed:
    """A query, ready to be multiplied.

    Attributes:
        examples: float64 (M, D) readings of unit blocks, and their share.
        scaled: the same in float32, every block times its weight.
        weights: float64 (B,), of sum 1.
        line: float32 (D,), the whole query as one vector, if no example has several readings.
        slack: more than single precision can change a score.
    """

    examples: list[tuple[Doubles, float]]
    scaled: list[tuple[Floats, float]]
    weights: Doubles
    line: Floats | None
    slack: float

    @classmethod
    def of(cls, query: Sequence[Example], blocks: Sequence[slice], weights: Doubles) -> Weighed:
        """Scale examples by their weights.

        Args:
            query: the examples; a region's score is the sum of what each gives it.
            blocks: where each block lies in a vector.
            weights: float64 (B,), not negative, not all zero.
        """
        shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
        examples = [(normalise_blocks(example.readings, blocks), float(example.share)) for example in query]
        width = np.repeat(shares, [block.stop - block.start for block in blocks])
        line = None
        if all(len(readings) == 1 for readings, _ in examples):
            line = (sum(share * readings[0] for readings, share in examples) * width).astype(np.float32)
        scaled = [((readings * width).astype(np.float32), share) for readings, share in examples]
        slack = SLACK * max(1.0, sum(abs(share) for _, share in examples))
        return cls(examples, scaled, shares, line, slack)
