"""Confounds of a trait's vectors: how well do they predict pose, background or photographer?

A search may find the same *photograph style* instead of the same trait. Leave-one-out nearest neighbours measure it:

1. A property of every specimen is predicted from its most similar others, without its own value; its other photographs
   are no others.
2. A categorical property (a column of words) is predicted by their majority vote; the score is the accuracy. By chance:
   the share of the commonest value.
3. A numeric property (an angle, a colour, a column of numbers) is predicted by their mean; the score is the coefficient
   of determination, R^2. By chance: 0.
4. The same columns are predicted from the background's colours alone. Where these do as well as the vectors, trait and
   photograph style cannot be separated in this collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import InputError
from sst_retrieval.evaluate.text_tables import format_table
from sst_retrieval.types import Floats, Scalar

NEIGHBOURS = 3
"""Nearest neighbours that predict a property."""

MIN_SPECIMENS = 6
"""A property that fewer specimens have is left out."""

MARGIN = 0.1
"""A score counts as better than chance, or than the background's, if it is higher by this."""


@dataclass(frozen=True, slots=True)
class Confound:
    """How well one property is predicted. The fields are keys of the JSON output.

    Attributes:
        name: the property.
        kind: "column", "pose" or "background".
        vectors: score of the prediction from the vectors: accuracy, or R^2.
        background: score of the prediction from the background's colours; None for pose and background.
        chance: score without any information.
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
    """Confounds of the vectors of one trait.

    Attributes:
        trait: its name.
        confounds: one a property.
    """

    trait: str
    confounds: tuple[Confound, ...]

    def table(self) -> str:
        """Write the scores as aligned text, and the findings below."""
        rows = [
            (each.name, each.kind, f"{each.vectors:.2f}", "" if each.background is None else f"{each.background:.2f}",
             f"{each.chance:.2f}", str(each.specimens))
            for each in self.confounds
        ]  # fmt: skip
        head = ("guessed", "kind", "from vectors", "from background", "by chance", "specimens")
        return "\n".join((f"{self.trait}:", format_table(head, rows), "", *self.findings()))

    def findings(self) -> list[str]:
        """Write in sentences what a curator should know."""
        sentences = []
        for each in self.confounds:
            if each.kind == "column" and each.background is not None:
                if each.background >= each.chance + MARGIN and each.background >= each.vectors - MARGIN:
                    sentences.append(
                        f"The background alone tells {each.name} as well as the trait does: neighbours of the same "
                        f"{each.name} may be the same photograph style. Compare within one style, with --where."
                    )
                elif each.vectors >= max(each.background, each.chance) + MARGIN:
                    sentences.append(f"The trait tells {each.name} better than the background does.")
            elif each.kind != "column" and each.vectors >= each.chance + MARGIN:
                sentences.append(
                    f"The vectors know something of the {each.name}: part of a similarity may come from it."
                )
        return sentences or ["Nothing is told much better than by chance."]

    def as_dict(self) -> dict[str, Any]:
        """Convert the audit to plain, JSON-ready types."""
        confounds = [{field: getattr(each, field) for field in Confound.__slots__} for each in self.confounds]
        return {"trait": self.trait, "leaks": confounds, "findings": self.findings()}


def measure_confounds(
    trait: str,
    similarity: Floats,
    backgrounds: Floats,
    columns: Mapping[str, Sequence[Scalar]],
    pose: Mapping[str, Floats],
    owners: Sequence[str] | None = None,
) -> Audit:
    """Predict every property from the nearest neighbours.

    Args:
        trait: its name.
        similarity: float32 (N, N), inner products of the vectors of N specimens.
        backgrounds: float32 (N, D), colours of their backgrounds; a row of NaN if the photograph is not known.
        columns: column -> N values; None or "" for a missing one. A column without repeated values is left out.
        pose: property of the pose -> float32 (N, d).
        owners: N specimens, if some have several rows (photographs): rows of one specimen do not predict each other.
            None takes each row for a specimen of its own.

    Returns:
        Scores of all properties that enough specimens have.

    Raises:
        InputError: too few specimens show the trait.
    """
    own = np.unique(np.arange(len(similarity)) if owners is None else list(owners), return_inverse=True)[1]
    if (count := len(np.unique(own))) < MIN_SPECIMENS:
        raise InputError(f"{count} specimens show {trait}; an audit needs {MIN_SPECIMENS} or more")
    similarity = np.where(own[:, None] == own, -np.inf, similarity).astype(np.float32)
    with_background = ~np.isnan(backgrounds).any(axis=1)
    distances = np.linalg.norm(backgrounds[:, None] - backgrounds[None], axis=2)
    background_similarity = np.where(np.isnan(distances) | (own[:, None] == own), -np.inf, -distances).astype(
        np.float32
    )
    confounds = []
    for name, values in columns.items():
        numeric = all(isinstance(value, int | float) or value in (None, "") for value in values)
        usable = np.array([value not in (None, "") for value in values]) & with_background
        chosen = [value for value, use in zip(values, usable, strict=True) if use]
        # One specimen counts once with a value: an identifier of specimens repeats where they have several photographs.
        distinct = len(set(zip(chosen, own[usable].tolist(), strict=True)))
        specimens = len(np.unique(own[usable]))
        if specimens < MIN_SPECIMENS or len(set(chosen)) < 2 or len(set(chosen)) == distinct:
            continue  # A constant, or an identifier: nothing that neighbours could predict.
        pair = (similarity[np.ix_(usable, usable)], background_similarity[np.ix_(usable, usable)])
        if numeric:
            numbers = np.array(chosen, dtype=np.float64)[:, None]
            vectors, background, chance = (*(compute_neighbour_r2(each, numbers) for each in pair), 0.0)
        else:
            vectors, background = (compute_neighbour_accuracy(each, chosen) for each in pair)
            chance = Counter(chosen).most_common(1)[0][1] / len(chosen)
        confounds.append(Confound(name, "column", vectors, background, chance, specimens))
    for name, values_of_pose in pose.items():
        numbers = values_of_pose.astype(np.float64)
        confounds.append(Confound(name, "pose", compute_neighbour_r2(similarity, numbers), None, 0.0, count))
    if (specimens := len(np.unique(own[with_background]))) >= MIN_SPECIMENS:
        pairs = similarity[np.ix_(with_background, with_background)]
        r2 = compute_neighbour_r2(pairs, backgrounds[with_background].astype(np.float64))
        confounds.append(Confound("background's colours", "background", r2, None, 0.0, specimens))
    return Audit(trait, tuple(confounds))


def compute_neighbour_accuracy(similarity: Floats, values: Sequence[Scalar]) -> float:
    """Compute the accuracy of the nearest neighbours' majority vote, 0..1; in a tie the nearest decides.

    Args:
        similarity: float32 (N, N).
        values: N categories.

    >>> near = np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0.1, 1]], dtype=np.float32)
    >>> compute_neighbour_accuracy(near, ["a", "a", "a"]), compute_neighbour_accuracy(near, ["a", "a", "b"])
    (1.0, 0.6666666666666666)
    """
    right = 0
    for row, near in enumerate(_find_neighbours(similarity)):
        votes = Counter(values[other] for other in near)
        right += votes.most_common(1)[0][0] == values[row]
    return right / len(values)


def compute_neighbour_r2(similarity: Floats, values: npt.NDArray[np.float64]) -> float:
    """Compute R^2 of the nearest neighbours' mean: the share of the variance, summed over columns, that it explains.

    Below 0 if the mean of all would have predicted better; 0 if all values are the same.

    Args:
        similarity: float32 (N, N).
        values: float64 (N, d).
    """
    predicted = np.stack([values[near].mean(axis=0) for near in _find_neighbours(similarity)])
    variance = float(((values - values.mean(axis=0)) ** 2).sum())
    return 1 - float(((values - predicted) ** 2).sum()) / variance if variance > 0 else 0.0


def _find_neighbours(similarity: Floats) -> list[npt.NDArray[np.int64]]:
    """Return indices of the most similar others of every row, int64 (k,) each, the nearest first; none at -inf."""
    others = similarity.copy()
    np.fill_diagonal(others, -np.inf)
    order = np.argsort(-others, axis=1, kind="stable")[:, :NEIGHBOURS]
    return [near[row[near] > -np.inf] for row, near in zip(others, order, strict=True)]
