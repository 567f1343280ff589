"""Scores of an index: its masks against labels, its search against a column of the table."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from sst_retrieval.annotate.traits import find_traits_file, read_traits
from sst_retrieval.errors import InputError, QueryError
from sst_retrieval.evaluate import MaskScores, RetrievalScores, TraitVectors, mask_scores, retrieval_scores
from sst_retrieval.export import label_map
from sst_retrieval.search.index import Index
from sst_retrieval.types import Scalar

USUAL_COLUMNS = ("infraspecificEpithet", "scientificName", "group")
"""Which specimens belong together: the first of these columns that has more than one value, and one that repeats."""


@dataclass(frozen=True, slots=True)
class _SupportRecord:
    """A support as the history of an index names it."""

    individual: str
    group: str
    traits: tuple[str, ...]


def score_masks(index: Index, labels: Path) -> MaskScores:
    """Compare the masks of an index with a folder of labels; a traits.toml in it says how these are numbered."""
    supports = index.info()["provenance"]["supports"]
    return mask_scores(
        labels,
        lambda specimen: label_map(index, specimen),
        groups={specimen.id: specimen.group for specimen in index.iterate_individuals()},
        supports=[_SupportRecord(each["specimen"], each["group"], tuple(each["traits"])) for each in supports],
        numbers=index.trait_numbers,
        label_numbers=_read_label_numbers(labels, index.trait_numbers),
    )


def _read_label_numbers(labels: Path, traits: Collection[str]) -> dict[str, int] | None:
    """Read how labels are numbered, trait -> number, from their own traits.toml; None if they have none.

    Raises:
        InputError: it names none of the traits.
    """
    file = find_traits_file(labels)
    if file is None or file.parent != labels:
        return None
    own = read_traits(file)
    found = {trait: own.numbers[name] for trait in traits if (name := own.find(trait)) is not None}
    if not found:
        raise InputError(f"{file} names {', '.join(own.numbers)}, but the index has the traits {', '.join(traits)}")
    return found


def score_retrieval(
    index: Index, column: str, *, apart: str | None = None, expand: int = 0, rerank: int = 0
) -> RetrievalScores:
    """Score the search: every region of an index is the query once.

    Args:
        index: the index.
        column: a hit is right if it shares the query's value here.
        apart: hits that share the query's value here are left out (see `evaluate.retrieval_scores`).
        expand: as in `Index.search`.
        rerank: as in `Index.search`.
    """
    edges = pairwise(accumulate(index.blocks.values(), initial=0))
    return retrieval_scores(
        {trait: TraitVectors(*index.vectors(trait)) for trait in index.traits},
        column_values(index, column),
        column=column,
        blocks={block: slice(start, stop) for block, (start, stop) in zip(index.blocks, edges, strict=True)},
        apart=None if apart is None else column_values(index, apart),
        owners={each.id: each.specimen for each in index.iterate_individuals()},
        expand=expand,
        rerank=rerank,
    )


def column_values(index: Index, column: str) -> dict[str, Scalar]:
    """Return specimen -> its value in a column; "group" is always there."""
    if column not in index.columns and column != "group":
        raise QueryError(f"the index has no column {column!r}; it has: {', '.join(index.columns)}")
    return {each.id: each.metadata.get(column, each.group) for each in index.iterate_individuals()}


def choose_column(index: Index) -> str | None:
    """Choose the column whose values say which specimens belong together; None if there is none."""
    for column in USUAL_COLUMNS:
        if column in index.columns or column == "group":
            values = [value for value in column_values(index, column).values() if value not in (None, "")]
            if 1 < len(set(values)) < len(values):
                return column
    return None
