"""Which specimens to annotate next: those whose label would serve most of what is doubtful now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sst_retrieval.types import Floats

LEAST_GAIN = 0.001
"""A specimen that is more similar by less than this is not served better."""

MOST_COMPARED = 3_000
"""Specimens of a group that are compared with each other; of more, the most doubtful ones."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A specimen worth annotating.

    Attributes:
        specimen: its id.
        group: the group it would serve.
        gain: how much doubt it would answer for: doubts (1 - confidence) of all specimens of the group that resemble it
            more than what is annotated already, each times how much more.
        serves: how many specimens that are.
        confidence: mean confidence of its own masks; NaN where it has none.
        reason: the same in a sentence.
    """

    specimen: str
    group: str
    gain: float
    serves: int
    confidence: float
    reason: str


def suggest_specimens(
    groups: Mapping[str, Sequence[str]],
    vectors: Mapping[str, Mapping[str, Floats]],
    doubts: Mapping[str, float],
    annotated: set[str],
    waiting: Mapping[str, Sequence[str]],
    n: int,
) -> list[Suggestion]:
    """Choose specimens one by one, each for what it adds to those before (greedy facility location; Nemhauser 1978).

    Args:
        groups: group -> its specimens that are indexed.
        vectors: specimen -> trait -> unit vector float32 (D,); an absent trait is missing.
        doubts: specimen -> 1 - mean confidence of its masks.
        annotated: specimens that are supports already.
        waiting: group -> specimens that were skipped because the group has no support at all.
        n: how many to suggest.

    Returns:
        At most n, the most useful first; groups without any support before the others.
    """
    found = [
        _suggest_first_support(group, names) for group, names in sorted(waiting.items(), key=lambda item: -len(item[1]))
    ]
    chosen: list[Suggestion] = []
    for group, names in sorted(groups.items()):
        chosen += _suggest_in_group(group, names, vectors, doubts, annotated, n)
    chosen.sort(key=lambda each: (-each.gain, each.specimen))
    return [*found, *chosen][:n]


def _suggest_first_support(group: str, names: Sequence[str]) -> Suggestion:
    first = min(names)
    reason = (
        f"no specimen of {group} is annotated, so {len(names)} of its photographs were skipped; any of them will do"
    )
    return Suggestion(first, group, float(len(names)), len(names), float("nan"), reason)


def _suggest_in_group(
    group: str,
    names: Sequence[str],
    vectors: Mapping[str, Mapping[str, Floats]],
    doubts: Mapping[str, float],
    annotated: set[str],
    n: int,
) -> list[Suggestion]:
    supports = [name for name in names if name in annotated]
    targets = sorted((name for name in names if name not in annotated), key=lambda name: (-doubts[name], name))
    targets = targets[:MOST_COMPARED]
    if not targets:
        return []
    similarity = _similarity(targets, targets, vectors)
    np.fill_diagonal(similarity, 1)  # A specimen's own label serves it, even if nothing was found on it.
    served = _similarity(targets, supports, vectors).max(axis=1) if supports else np.zeros(len(targets))
    doubt = np.array([doubts[name] for name in targets])
    found: list[Suggestion] = []
    for _ in range(min(n, len(targets))):
        more = similarity - served[:, None]
        more[more < LEAST_GAIN] = 0
        gains = doubt @ more
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        count = int(np.count_nonzero((more[:, best] > 0) & (doubt > 0)))
        of_these = float(1 - doubt[(more[:, best] > 0) & (doubt > 0)].mean())
        others = (
            "it resembles nobody else more than what is annotated"
            if count == 1
            else (f"{count} specimens of {group} resemble it more than what is annotated")
        )
        reason = f"{others}; mean confidence of their masks {of_these:.2f}, of its own {1 - doubt[best]:.2f}"
        found.append(Suggestion(targets[best], group, float(gains[best]), count, float(1 - doubt[best]), reason))
        served = np.maximum(served, similarity[:, best])
    return found


def _similarity(
    rows: Sequence[str], columns: Sequence[str], vectors: Mapping[str, Mapping[str, Floats]]
) -> npt.NDArray[np.float64]:
    """Mean over the traits that either shows of their cosines, 0 for one that only one of them shows; 0..1."""
    traits = sorted({trait for name in (*rows, *columns) for trait in vectors.get(name, {})})
    total, shown = np.zeros((len(rows), len(columns))), np.zeros((len(rows), len(columns)))
    for trait in traits:
        width = next(len(known[trait]) for known in vectors.values() if trait in known)
        one, here = _stack_vectors(rows, trait, vectors, width)
        other, there = _stack_vectors(columns, trait, vectors, width)
        total += np.maximum(one @ other.T, 0)
        shown += here[:, None] | there[None]
    return np.asarray(total / np.maximum(shown, 1), dtype=np.float64)


def _stack_vectors(
    names: Sequence[str], trait: str, vectors: Mapping[str, Mapping[str, Floats]], width: int
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    known = [vectors.get(name, {}).get(trait) for name in names]
    stacked = np.stack([np.zeros(width, np.float32) if vector is None else vector for vector in known])
    return stacked, np.array([vector is not None for vector in known])
