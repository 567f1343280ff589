"""What else the vectors know: can the pose, the background or the photographer be told from them?

A search may find the same *photograph style* instead of the same trait. The vectors themselves say how far:

1. Every region is asked for its most similar others. From their values a property of the specimen is guessed, without
   looking at its own (leave-one-out nearest neighbours).
2. A property of words (a column) is guessed by the vote of the neighbours; the score is the share that is guessed
   right. By chance: always the commonest value.
3. A property of numbers (a turn, a colour, a column of numbers) is guessed by their mean; the score is the share of its
   variance that is explained. By chance: 0.
4. The same columns are guessed from the background's colours alone. Where these do as well as the vectors, similarity
   and photograph style cannot be told apart in this collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import InputError
from sst_retrieval.evaluate.report import aligned
from sst_retrieval.types import Floats, Scalar

NEIGHBOURS = 3
FEWEST = 6
"""A property that fewer specimens have is not looked at."""

CLEAR = 0.1
"""So much better than chance is called a leak; the vectors guess a column so much better than the background does."""


@dataclass(frozen=True, slots=True)
class Leak:
    """How well one property is guessed.

    Attributes:
        name: the property.
        kind: "column", "pose" or "background".
        vectors: from the vectors: share guessed right, or share of the variance explained.
        background: from the background's colours; None for the background itself.
        chance: without looking.
        specimens: how many have the property.
    """

    name: str
    kind: str
    vectors: float
    background: float | None
    chance: float
    specimens: int


@dataclass(frozen=True, slots=True)
class Audit:
    """What the vectors of one trait know.

    Attributes:
        trait: its name.
        leaks: one a property.
    """

    trait: str
    leaks: tuple[Leak, ...]

    def table(self) -> str:
        """Write it as aligned text, and what it means."""
        rows = [
            (each.name, each.kind, f"{each.vectors:.2f}", "" if each.background is None else f"{each.background:.2f}",
             f"{each.chance:.2f}", str(each.specimens))
            for each in self.leaks
        ]  # fmt: skip
        head = ("guessed", "kind", "from vectors", "from background", "by chance", "specimens")
        return "\n".join((f"{self.trait}:", aligned(head, rows), "", *self.findings()))

    def findings(self) -> list[str]:
        """Say in sentences what a curator should know."""
        told = []
        for each in self.leaks:
            if each.kind == "column" and each.background is not None:
                if each.background >= each.chance + CLEAR and each.background >= each.vectors - CLEAR:
                    told.append(
                        f"The background alone tells {each.name} as well as the trait does: neighbours of the same "
                        f"{each.name} may be the same photograph style. Compare within one style, with --where."
                    )
                elif each.vectors >= max(each.background, each.chance) + CLEAR:
                    told.append(f"The trait tells {each.name} better than the background does.")
            elif each.kind != "column" and each.vectors >= each.chance + CLEAR:
                told.append(f"The vectors know something of the {each.name}: part of a similarity may come from it.")
        return told or ["Nothing is told much better than by chance."]

    def as_dict(self) -> dict[str, Any]:
        """Say it in plain, JSON-ready types."""
        leaks = [{field: getattr(each, field) for field in Leak.__slots__} for each in self.leaks]
        return {"trait": self.trait, "leaks": leaks, "findings": self.findings()}


def audit(
    trait: str,
    similarity: Floats,
    backgrounds: Floats,
    columns: Mapping[str, Sequence[Scalar]],
    pose: Mapping[str, Floats],
) -> Audit:
    """Guess every property from the neighbours.

    Args:
        trait: its name.
        similarity: float32 (N, N), of the regions of N specimens.
        backgrounds: float32 (N, D), colours of their backgrounds; a row of NaN if the photograph is not known.
        columns: column -> N values; None or "" where there is none.
        pose: property of the pose -> float32 (N, d).

    Raises:
        InputError: too few specimens show the trait.
    """
    if len(similarity) < FEWEST:
        raise InputError(f"{len(similarity)} specimens show {trait}; an audit needs {FEWEST} or more")
    seen = ~np.isnan(backgrounds).any(axis=1)
    distances = np.linalg.norm(backgrounds[:, None] - backgrounds[None], axis=2)
    style = np.where(np.isnan(distances), -np.inf, -distances).astype(np.float32)
    leaks = []
    for name, values in columns.items():
        numeric = all(isinstance(value, int | float) or value in (None, "") for value in values)
        known = np.array([value not in (None, "") for value in values]) & seen
        chosen = [value for value, there in zip(values, known, strict=True) if there]
        if len(chosen) < FEWEST or len(set(chosen)) < 2 or len(set(chosen)) == len(chosen):
            continue  # Nothing to tell apart, or everybody has a value of their own.
        pair = (similarity[np.ix_(known, known)], style[np.ix_(known, known)])
        if numeric:
            numbers = np.array(chosen, dtype=np.float64)[:, None]
            own, other, chance = (*(explained(each, numbers) for each in pair), 0.0)
        else:
            own, other = (guessed(each, chosen) for each in pair)
            chance = Counter(chosen).most_common(1)[0][1] / len(chosen)
        leaks.append(Leak(name, "column", own, other, chance, len(chosen)))
    for name, values_of_pose in pose.items():
        numbers = values_of_pose.astype(np.float64)
        leaks.append(Leak(name, "pose", explained(similarity, numbers), None, 0.0, len(numbers)))
    if np.count_nonzero(seen) >= FEWEST:
        own = explained(similarity[np.ix_(seen, seen)], backgrounds[seen].astype(np.float64))
        leaks.append(Leak("background's colours", "background", own, None, 0.0, int(np.count_nonzero(seen))))
    return Audit(trait, tuple(leaks))


def guessed(similarity: Floats, values: Sequence[Scalar]) -> float:
    """Return the share of values that the vote of the nearest neighbours guesses; in a tie the nearest decides.

    >>> near = np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0.1, 1]], dtype=np.float32)
    >>> guessed(near, ["a", "a", "a"]), guessed(near, ["a", "a", "b"])
    (1.0, 0.6666666666666666)
    """
    right = 0
    for row, near in enumerate(_neighbours(similarity)):
        votes = Counter(values[other] for other in near)
        right += votes.most_common(1)[0][0] == values[row]
    return right / len(values)


def explained(similarity: Floats, values: npt.NDArray[np.float64]) -> float:
    """Return the share of the variance, summed over columns, that the mean of the nearest neighbours explains.

    Below 0 if the mean of all would have been the better guess; 0 if all values are the same.
    """
    guess = np.stack([values[near].mean(axis=0) for near in _neighbours(similarity)])
    spread = float(((values - values.mean(axis=0)) ** 2).sum())
    return 1 - float(((values - guess) ** 2).sum()) / spread if spread > 0 else 0.0


def _neighbours(similarity: Floats) -> list[npt.NDArray[np.int64]]:
    """Return the most similar others of every row, the nearest first."""
    others = similarity.copy()
    np.fill_diagonal(others, -np.inf)
    order = np.argsort(-others, axis=1, kind="stable")
    return [row[: min(NEIGHBOURS, len(similarity) - 1)] for row in order]
