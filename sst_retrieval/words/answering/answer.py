"""Answer a question: conditions choose, then an example, or the words themselves, order.

- With an example the similarity is the usual one: how much the traits look alike. Words for colours and sizes choose
  whom it is compared with; comparatives ("broader") those with more, or less, than the example.
- With an example and a description in a space that patterns and words share, both order: of the most similar regions
  each gets 1 / (60 + its place by similarity) + 1 / (60 + its place by the words), reciprocal rank fusion (Cormack,
  Clarke and Buettcher 2009). The two numbers are not of one scale, so their places are added, not they themselves.
- With a description in a space that patterns and words share (an OpenCLIP index), the cosine of the two orders; it is
  rarely above 0.4, even where both agree. Words for colours and sizes choose, as above.
- Without either the words order: each ranking word says how well a specimen fits it, 0..1, and the similarity of a
  hit is the mean of these. Nothing is compared with anything, so it says how well the description fits, no more.
- With none of these, all that fulfil the conditions come, in order of their ids, with similarity 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import QueryError
from sst_retrieval.search.index import Index
from sst_retrieval.search.retrieval import keep_best
from sst_retrieval.types import Doubles, Floats, Hit
from sst_retrieval.words.answering.fitting import Fit, Marks, fit_words
from sst_retrieval.words.question import Doubt, Example, Filter, Part, Question, Ranking

COUNT = 12
"""Hits, if neither the sentence nor the caller says how many."""

SHORTLIST = 1000
"""With an example and a description: so many of the regions most like the example are ordered by both."""

_FUSION = 60
"""The constant of reciprocal rank fusion, as in its paper."""


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
    per: str = "specimen",
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
            with the patterns; with an example both count.
        where: a further condition.
        weights: block -> weight.
        per: of which there is at most one hit, as for `Index.search`.

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
        offers = [doubt.said for doubt in question.doubts if _offers_examples(doubt)]
        said = offers[0] if offers else "Name a specimen in the sentence"
        raise QueryError(f"similar to which? {said}, or give an example (--like SPECIMEN)")
    condition = " AND ".join(f"({each}\n)" for each in (question.where, where) if each) or None
    shares = weights or question.weights
    if like is None and vectors is None:
        return _ordered(index, trait, question.rank, condition, count, described, per)
    if vectors is not None:
        _refuse_comparatives(question.rank)
    among = _fitting(index, trait, question.rank, like)
    length = count if described is None else max(count, SHORTLIST)
    hits = index.search(
        like=like, vectors=vectors, trait=trait, k=length, where=condition, weights=shares, among=among, per=per
    )
    return hits if described is None else _by_both(index, trait, hits, described)[:count]


def remaining(index: Index, question: Question, trait: str) -> list[tuple[Part, int, int]]:
    """Say what each condition and each ranking word of a question leaves.

    Args:
        index: the index.
        question: the question.
        trait: the trait that is looked at.

    Returns:
        For each such part: the part, how many specimens fulfil it alone, and how many fulfil all up to and with it.
    """
    like = None if question.example is None else (question.example, trait)
    ids, fits = fit_words(index, trait, question.rank, like)
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


def _refuse_comparatives(words: Sequence[Ranking]) -> None:
    said = [word.words for word in words if word.than_example]
    if said:
        raise QueryError(
            f"{said[0]!r} compares with the example, and a photograph from outside was not measured; leave it out, or "
            "ask with a specimen of the index"
        )


def _by_both(index: Index, trait: str, hits: Sequence[Hit], described: Floats) -> list[Hit]:
    """Order hits by their similarity to the example and by the words, place by place; the cosine goes into `blocks`."""
    cosines = np.round(_cosines(index, trait, np.array([hit.region_id for hit in hits], dtype=np.int64), described), 9)
    # Places by likeness are those in the list: a similarity below 0 is told as 0.
    score = 1 / (_FUSION + 1.0 + np.arange(len(hits))) + 1 / (_FUSION + _places(cosines))
    return [
        replace(hits[at], rank=rank, blocks={**hits[at].blocks, "text": float(cosines[at])})
        for rank, at in enumerate(np.argsort(-score, kind="stable").tolist(), start=1)
    ]


def _places(values: Doubles) -> Doubles:
    """Say at which place each value stands, the highest at 1; equals share a place."""
    return (1 + len(values) - np.searchsorted(np.sort(values), values, side="right")).astype(np.float64)


def _ordered(
    index: Index, trait: str, words: Sequence[Ranking], where: str | None, k: int, described: Floats | None, per: str
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
    order, length = np.lexsort((ids, -np.round(scores, 9))), k
    while True:
        best = order[:length]
        blocks = [{name: float(values[place]) for name, values in parts.items()} for place in best]
        hits = index.described(trait, ids[best].tolist(), np.clip(scores[best], 0, 1).tolist(), blocks)
        hits = keep_best(hits, per)[:k]
        if len(hits) == k or length >= len(order):
            return hits
        length *= 4  # Several were of one specimen.


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


def _fitting(
    index: Index, trait: str, words: Sequence[Ranking], like: tuple[str, str] | None
) -> npt.NDArray[np.int64] | None:
    """Find the regions that fit the words, int64 (n,); None without words: then all do."""
    if not words:
        return None
    ids, fits = fit_words(index, trait, words, like)
    return ids[_left(words, fits, len(ids))]


def _left(words: Sequence[Ranking], fits: Sequence[Fit], count: int) -> Marks:
    left = np.ones(count, dtype=bool)
    for word, fit in zip(words, fits, strict=True):
        left &= ~fit.fits if word.negated else fit.fits
    return left


def _offers_examples(doubt: Doubt) -> bool:
    return doubt.taken is None and any(isinstance(choice, Example) for choice in doubt.choices)


def _which_trait(index: Index, question: Question) -> str:
    for doubt in question.doubts:
        if doubt.taken is None and any(choice.kind == "trait" for choice in doubt.choices):
            return doubt.said
    return f"say which trait to look at: {', '.join(index.traits) or 'the index has none'} (--trait)"
