"""How well specimens fit words for colours, sizes and shapes, by what was measured on a trait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import QueryError
from sst_retrieval.index.duck import quote_name
from sst_retrieval.search.index import Index
from sst_retrieval.types import Doubles
from sst_retrieval.words.lexicon.colour_words import FAR, distances
from sst_retrieval.words.lexicon.quantities import COLOUR_NEEDS, QUANTITIES
from sst_retrieval.words.question import Ranking

Marks = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Fit:
    """How well the specimens with a trait fit one word.

    Attributes:
        fit: float64 (n,), 0..1.
        fits: bool (n,), who fits at all.
    """

    fit: Doubles
    fits: Marks


def fit_words(
    index: Index, trait: str, words: Sequence[Ranking], like: tuple[str, str] | None = None
) -> tuple[npt.NDArray[np.int64], list[Fit]]:
    """Say how well every specimen with a trait fits words for colours, sizes and shapes.

    A size word compares a specimen with all of the index, whatever the conditions: its fit is the share of specimens
    that have less of the quantity (or more, for words like "small"). Beside an example, a comparative asks for more
    than the example has. The fit to a colour falls from 1 to 0 as CIEDE2000 grows from 0 to `lexicon.colour_words.FAR`.

    Args:
        index: the index.
        trait: name of the trait.
        words: the ranking words.
        like: (specimen, trait), the example that comparatives compare with.

    Returns:
        Region ids int64 (n,), ascending, and for each word how well they fit it.

    Raises:
        QueryError: the index lacks a measurement that a word needs, of all or of the example.
    """
    ids, table = _measured(index, trait, words)
    return ids, [_fit(word, table, _of_example(index, word, like)) for word in words]


def _measured(
    index: Index, trait: str, words: Sequence[Ranking]
) -> tuple[npt.NDArray[np.int64], Mapping[str, Doubles]]:
    """Read the measurements that words need: region ids int64 (n,), ascending, and name -> float64 (n,)."""
    needs = sorted({name for word in words for name in _needs(word)} - {"confidence"})
    missing = [name for name in needs if name not in index.catalog.measurement_names]
    if missing:
        raise QueryError(
            f"the index has not measured {', '.join(missing)}; leave out the words that need it, or rebuild"
        )
    columns = "".join(f", m.{quote_name(name)}" for name in needs)
    rows = index.catalog.rows(
        f"""SELECT r.region_id, r.confidence{columns} FROM regions r JOIN measurements m USING (region_id)
            WHERE r.trait = $trait AND r.present ORDER BY r.region_id""",
        {"trait": trait},
    )
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    values = np.array([row[1:] for row in rows], dtype=np.float64).reshape(len(rows), 1 + len(needs))
    # Rejected masks neither answer nor say what is large.
    good = np.isin(ids, index.catalog.region_reviews.hidden_ids, invert=True)
    ids, values = ids[good], values[good]
    return ids, dict(zip(["confidence", *needs], values.T, strict=True))


def _of_example(index: Index, word: Ranking, like: tuple[str, str] | None) -> float | None:
    """Say how much of a comparative's quantity the example has; None for another word, or without an example."""
    if like is None or not word.than_example:
        return None
    specimen, trait = like
    regions = index.catalog.resolve_by_individual("true", trait)
    numbers = [regions[name] for name in index.examples(specimen, trait) if name in regions]
    ids, table = _measured(index, trait, [word])
    values = QUANTITIES[word.quantity].compute(table)[np.isin(ids, numbers)]
    if not np.isfinite(values).all() or not len(values):
        raise QueryError(
            f"{word.words!r} compares with the {trait} of {specimen}, which has no "
            f"{QUANTITIES[word.quantity].meaning}; choose another example, or leave the word out"
        )
    return float(values.mean())  # Of a specimen with several photographs.


def _fit(word: Ranking, table: Mapping[str, Doubles], example: float | None) -> Fit:
    if word.colour is not None:
        lab = np.stack([table[name] for name in COLOUR_NEEDS], axis=1)
        known = np.isfinite(lab).all(axis=1)
        distance, fits = np.full(len(lab), np.inf), np.zeros(len(lab), dtype=bool)
        distance[known], fits[known] = distances(lab[known], word.colour)
        return Fit(np.clip(1 - distance / FAR, 0, 1), fits & (distance < FAR))
    values = QUANTITIES[word.quantity].compute(table)
    values = values if word.high else -values
    known = np.isfinite(values)
    ordered = np.sort(values[known])
    # Halfway between the shares that have less and at most as much: equal values have equal fits.
    below = np.searchsorted(ordered, values, side="left") + np.searchsorted(ordered, values, side="right")
    fit = np.where(known, below / max(2 * len(ordered), 1), 0.0)
    if example is not None:
        return Fit(fit, known & (values > (example if word.high else -example)))
    return Fit(fit, known & (fit >= 1 - word.share))


def _needs(word: Ranking) -> tuple[str, ...]:
    if word.colour is not None:
        return COLOUR_NEEDS
    if word.quantity not in QUANTITIES:
        raise QueryError(f"there is no quantity {word.quantity!r} to order by; there are: {', '.join(QUANTITIES)}")
    return QUANTITIES[word.quantity].needs
