"""Answer a question: conditions choose, then an example, or the words themselves, order.

- With an example the similarity is the usual one: how much the traits look alike. Words for colours and sizes choose
  whom it is compared with.
- With a description in a space that patterns and words share (an OpenCLIP index), the cosine of the two orders; it is
  rarely above 0.4, even where both agree. Words for colours and sizes choose, as above.
- Without either the words order: each ranking word says how well a specimen fits it, 0..1, and the similarity of a
  hit is the mean of these. Nothing is compared with anything, so it says how well the description fits, no more.
- With none of these, all that fulfil the conditions come, in order of their ids, with similarity 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sst_retrieval.catalog import quoted
from sst_retrieval.errors import QueryError
from sst_retrieval.query import Index
from sst_retrieval.types import Floats, Hit
from sst_retrieval.words.colours import FAR, distances
from sst_retrieval.words.quantities import COLOUR_NEEDS, QUANTITIES
from sst_retrieval.words.question import Filter, Part, Question, Ranking

Doubles = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]

COUNT = 12
"""Hits, if neither the sentence nor the caller says how many."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How well the specimens with a trait fit one word.

    Attributes:
        fit: float64 (n,), 0..1.
        fits: bool (n,), who fits at all.
    """

    fit: Doubles
    fits: Marks


def answer(
    index: Index,
    question: Question,
    *,
    k: int | None = None,
    trait: str | None = None,
    like: tuple[str, str] | None = None,
    vectors: Floats | None = None,
    described: Floats | None = None,
    where: str | None = None,
    weights: Mapping[str, float] | None = None,
) -> list[Hit]:
    """Answer a question (see the top of this module). What is given here wins over what the sentence says.

    Args:
        index: the index that the sentence was understood with.
        question: from `understand`, changed or not.
        k: how many hits; else the sentence's number, else 12.
        trait: the trait to look at.
        like: (specimen, trait) to resemble.
        vectors: float32 (M, D) of a photograph from outside to resemble, as for `Index.search`.
        described: float32 (D,), a description made by the index's own embedder (`TextEmbedder.texts`), to be compared
            with the patterns; not looked at when there is an example.
        where: a further condition.
        weights: block -> weight.

    Returns:
        At most k hits, the best first.

    Raises:
        QueryError: the trait, or an example, is not said; or a condition cannot be used.
    """
    trait = trait or (like[1] if like else None) or question.trait
    if trait is None:
        raise QueryError(_which_trait(index, question))
    count = k or question.k or COUNT
    if like is not None and vectors is not None:
        raise QueryError("give one example: `like` (a specimen of the index) or `vectors` (another photograph)")
    if like is None and vectors is None and question.example is not None:
        like = (question.example, trait)
    if like is None and vectors is None and question.similar and described is None:
        raise QueryError("similar to which? Name a specimen in the sentence, or give an example (--like SPECIMEN)")
    condition = " AND ".join(f"({each}\n)" for each in (question.where, where) if each) or None
    shares = weights or question.weights
    if like is not None:
        chosen = _chosen(index, trait, question.rank, condition)
        return index.search(like=like, trait=trait, k=count, where=chosen, weights=shares)
    if vectors is not None:
        chosen = _chosen(index, trait, question.rank, condition)
        return index.search(vectors=vectors, trait=trait, k=count, where=chosen, weights=shares)
    return _ordered(index, trait, question.rank, condition, count, described)


def remaining(index: Index, question: Question, trait: str) -> list[tuple[Part, int, int]]:
    """Say what each condition and each ranking word of a question leaves.

    Args:
        index: the index.
        question: the question.
        trait: the trait that is looked at.

    Returns:
        For each such part: the part, how many specimens fulfil it alone, and how many fulfil all up to and with it.
    """
    ids, fits = fit_words(index, trait, question.rank)
    by_word = dict(zip(map(id, question.rank), fits, strict=True))
    left = np.ones(len(ids), dtype=bool)
    steps: list[tuple[Part, int, int]] = []
    for part in question.parts:
        if isinstance(part, Filter):
            alone = np.isin(ids, index.catalog.resolve(part.where, trait))
        elif isinstance(part, Ranking):
            alone = _left([part], [by_word[id(part)]], len(ids))
        else:
            continue
        left &= alone
        steps.append((part, int(alone.sum()), int(left.sum())))
    return steps


def fit_words(index: Index, trait: str, words: Sequence[Ranking]) -> tuple[npt.NDArray[np.int64], list[Fit]]:
    """Say how well every specimen with a trait fits words for colours, sizes and shapes.

    A size word compares a specimen with all of the index, whatever the conditions: its fit is the share of specimens
    that have less of the quantity (or more, for words like "small"). The fit to a colour falls from 1 to 0 as CIEDE2000
    grows from 0 to `colours.FAR`.

    Args:
        index: the index.
        trait: name of the trait.
        words: the ranking words.

    Returns:
        Region ids int64 (n,), ascending, and for each word how well they fit it.

    Raises:
        QueryError: the index lacks a measurement that a word needs.
    """
    needs = sorted({name for word in words for name in _needs(word)} - {"confidence"})
    missing = [name for name in needs if name not in index.catalog.measurement_names]
    if missing:
        raise QueryError(
            f"the index has not measured {', '.join(missing)}; leave out the words that need it, or rebuild"
        )
    columns = "".join(f", m.{quoted(name)}" for name in needs)
    rows = index.catalog.rows(
        f"""SELECT r.region_id, r.confidence{columns} FROM regions r JOIN measurements m USING (region_id)
            WHERE r.trait = $trait AND r.present ORDER BY r.region_id""",
        {"trait": trait},
    )
    ids = np.array([row[0] for row in rows], dtype=np.int64)
    values = np.array([row[1:] for row in rows], dtype=np.float64).reshape(len(rows), 1 + len(needs))
    # Rejected masks neither answer nor say what is large.
    good = np.isin(ids, index.catalog.hidden(), invert=True)
    ids, values = ids[good], values[good]
    table = dict(zip(["confidence", *needs], values.T, strict=True))
    return ids, [_fit(word, table) for word in words]


def _fit(word: Ranking, table: Mapping[str, Doubles]) -> Fit:
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
    return Fit(fit, known & (fit >= 1 - word.share))


def _ordered(
    index: Index, trait: str, words: Sequence[Ranking], where: str | None, k: int, described: Floats | None
) -> list[Hit]:
    if trait not in index.traits:
        raise QueryError(f"the index has no trait {trait!r}; it has: {', '.join(index.traits) or 'none'}")
    ids, fits = fit_words(index, trait, words)
    left = _left(words, fits, len(ids))
    if where is not None:
        left &= np.isin(ids, index.catalog.resolve(where, trait))
    ids = ids[left]
    parts = {word.words: fit.fit[left] for word, fit in zip(words, fits, strict=True) if not word.negated}
    if described is not None:
        parts = {"text": _cosines(index, trait, ids, described)}
    scores = np.mean([*parts.values()], axis=0) if parts else np.ones(len(ids))
    # Equals in order of their ids; beyond nine digits a score is rounding noise.
    best = np.lexsort((ids, -np.round(scores, 9)))[:k]
    blocks = [{name: float(values[place]) for name, values in parts.items()} for place in best]
    return index.described(trait, ids[best].tolist(), np.clip(scores[best], 0, 1).tolist(), blocks)


def _cosines(index: Index, trait: str, ids: npt.NDArray[np.int64], described: Floats) -> Doubles:
    """Compare a description with the patterns of regions."""
    if described.shape != (index.blocks["pattern"],) or not np.isfinite(described).all():
        raise QueryError(
            f"the description has shape {described.shape}, the index's patterns have {index.blocks['pattern']} values; "
            "describe it with the embedder that the index was made with"
        )
    wanted = described.astype(np.float64)
    # A sum along each row, not a matrix product: equal patterns must give equal numbers wherever they stand.
    cosines: Doubles = (index.patterns(trait, ids) * wanted).sum(axis=1) / np.linalg.norm(wanted)
    return cosines


def _chosen(index: Index, trait: str, words: Sequence[Ranking], where: str | None) -> str | None:
    """Add to a predicate that only regions which fit the words are meant."""
    if not words:
        return where
    ids, fits = fit_words(index, trait, words)
    listed = ", ".join(map(str, ids[_left(words, fits, len(ids))].tolist()))
    fitting = f'"sst:region" IN ({listed})' if listed else "false"
    return fitting if where is None else f"{where} AND {fitting}"


def _left(words: Sequence[Ranking], fits: Sequence[Fit], count: int) -> Marks:
    left = np.ones(count, dtype=bool)
    for word, fit in zip(words, fits, strict=True):
        left &= ~fit.fits if word.negated else fit.fits
    return left


def _needs(word: Ranking) -> tuple[str, ...]:
    if word.colour is not None:
        return COLOUR_NEEDS
    if word.quantity not in QUANTITIES:
        raise QueryError(f"there is no quantity {word.quantity!r} to order by; there are: {', '.join(QUANTITIES)}")
    return QUANTITIES[word.quantity].needs


def _which_trait(index: Index, question: Question) -> str:
    for doubt in question.doubts:
        if doubt.taken is None and any(choice.kind == "trait" for choice in doubt.choices):
            return doubt.said
    return f"say which trait to look at: {', '.join(index.traits) or 'the index has none'} (--trait)"
