"""The photographs of an index with the individuals on each, for exports that speak of photographs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pycocotools import mask as coco

from sst_retrieval.errors import ImageError
from sst_retrieval.imaging.images import image_size
from sst_retrieval.imaging.masks import decode_part
from sst_retrieval.index.reviews import Review
from sst_retrieval.search.index import Index
from sst_retrieval.types import Box, Individual, Mask, Photograph

Item = TypeVar("Item")

AT_ONCE = 2000
"""Photographs, or regions, in memory at a time."""


@dataclass(frozen=True, slots=True)
class PhotographContent:
    """A photograph that was processed.

    Attributes:
        photograph: which one.
        individuals: on it, in order of their numbers; none if none was found.
    """

    photograph: Photograph
    individuals: tuple[Individual, ...]

    @property
    def id(self) -> str:
        """Its id."""
        return self.photograph.id

    @property
    def may_show_several(self) -> bool:
        """Whether its group may show several individuals on a photograph, however many are on this one."""
        return not self.individuals or self.individuals[0].id != self.id

    @property
    def size(self) -> tuple[int, int] | None:
        """Its (height, width) in pixels; None if no individual is on it and the file is not at hand."""
        if self.individuals:
            return self.individuals[0].size
        try:
            return image_size(self.photograph.image) if self.photograph.image.is_file() else None
        except ImageError:
            return None


def list_photographs(index: Index, where: str | None = None) -> list[PhotographContent]:
    """List the photographs of `iterate_contents`."""
    return list(iterate_contents(index, where))


def iterate_contents(index: Index, where: str | None = None) -> Iterator[PhotographContent]:
    """Yield the photographs that were processed, ordered by id, with the individuals as people decided on them.

    One that a person rejected is left out; one that was accepted, redrawn or added has score 1, and the drawn outline.
    The traits of one that was added are found by the next build. Some thousand photographs are in memory at a time.

    Args:
        index: where they are indexed.
        where: predicate, see `select_photographs`; None takes all.
    """
    skipped = {each.photograph for each in index.skipped()}
    decisions = {each.individual: each for each in index.individual_reviews()}
    drawn: dict[str, list[Review]] = {}
    for review in decisions.values():
        if review.decision == "redraw":
            drawn.setdefault(review.individual.rpartition("#")[0], []).append(review)
    chosen = None if where is None else select_photographs(index, where)
    for photographs in cut(index.iterate_photographs(), AT_ONCE):
        on: dict[str, list[Individual]] = {}
        indexed, left_out = set(), set()
        for each in index.catalog.individuals_on(photograph.id for photograph in photographs):
            if each.size is None:
                left_out.add(each.photograph.id)  # A build that was stopped has not come to it.
                continue
            indexed.add(each.id)
            if (decided := _apply_decision(each, decisions.get(each.id))) is not None:
                on.setdefault(each.photograph.id, []).append(decided)
        for photograph in photographs:
            own = on.get(photograph.id, [])
            for review in drawn.get(photograph.id, ()):
                if review.individual not in indexed:
                    number = int(review.individual.rpartition("#")[2])
                    new = Individual(review.individual, photograph, number, size=review.size)
                    own.append(_redraw(new, review))
            if photograph.id not in skipped | left_out and (chosen is None or photograph.id in chosen):
                yield PhotographContent(photograph, tuple(sorted(own, key=lambda one: one.number)))


def list_groups(index: Index, where: str | None = None) -> list[str]:
    """List the groups of the photographs of `iterate_contents`, in order."""
    chosen = None if where is None else select_photographs(index, where)
    sql = """SELECT "sst:photograph", "sst:group" FROM photographs
             WHERE "sst:photograph" NOT IN (SELECT photograph FROM skipped)
             AND "sst:photograph" NOT IN (SELECT "sst:photograph" FROM individuals WHERE "sst:height" IS NULL)"""
    with index.catalog.cursor() as cursor:
        names, groups = cursor.sql(sql).to_arrow_table().columns
    if chosen is not None:
        groups = groups.filter(pc.is_in(names, pa.array(sorted(chosen), names.type)))
    return sorted(pc.unique(groups).to_pylist())


def cut(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut items into lists of some length; the last one may be shorter."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part


def _apply_decision(individual: Individual, review: Review | None) -> Individual | None:
    """Return an individual as a person decided on it; None if it is none."""
    if review is None:
        return individual
    if review.decision == "reject":
        return None
    return _redraw(individual, review)


def _redraw(individual: Individual, review: Review) -> Individual:
    """Return an individual with the outline that a person drew or accepted."""
    return replace(individual, score=1.0, outline=review.rle, box=box_of_rle(review.rle, review.size))


def select_photographs(index: Index, where: str) -> set[str]:
    """Return the ids of the photographs that a predicate holds for.

    Args:
        index: where they are indexed.
        where: one DuckDB expression over the collection's columns, and `photograph`, `specimen` and `view` where the
            collection has no column of that name.

    Raises:
        QueryError: the predicate is not one expression or names something that is not there.
    """
    own = {name.casefold() for name in index.catalog.columns}
    added = "".join(f', "sst:{name}" AS {name}' for name in ("photograph", "specimen", "view") if name not in own)
    sql = f'SELECT "sst:photograph" FROM (SELECT *{added} FROM photographs) WHERE {{}}'
    return set(index.catalog.select_where(sql, where, {}, table="photographs")["sst:photograph"].tolist())


def collect_outlines(index: Index, individuals: Sequence[Individual]) -> Mapping[str, bytes]:
    """Return the pixels of individuals: as they were found, or all their traits together where that is not known.

    Args:
        index: where they are indexed.
        individuals: which; some thousand at most, for all are in memory.

    Returns:
        Individual -> compressed COCO run-length counts at the photograph's size; one that shows nothing is missing.
    """
    outlines = {each.id: each.outline for each in individuals if each.outline is not None}
    sizes = {each.id: each.size for each in individuals if each.outline is None}
    parts: dict[str, list[bytes]] = {}
    for region in index.catalog.regions_of(sizes):
        parts.setdefault(region.individual, []).append(region.rle)
    for name, own in parts.items():
        height, width = sizes[name] or (0, 0)
        outlines[name] = coco.merge([{"size": [height, width], "counts": rle} for rle in own])["counts"]
    return outlines


def paint(rle: bytes, size: tuple[int, int], onto: Mask) -> None:
    """Add a mask to another, touching no pixel outside its box: there may be many small ones on a large photograph.

    Args:
        rle: compressed COCO run-length counts.
        size: (height, width) of the photograph in pixels.
        onto: bool (H, W) of that size; is changed.
    """
    x0, y0, x1, y1 = box = box_of_rle(rle, size)
    if x0 < x1:
        onto[y0:y1, x0:x1] |= decode_part(rle, size, box)


def box_of_rle(rle: bytes, size: tuple[int, int]) -> Box:
    """Return the box around a mask without decompressing it: (x0, y0, x1, y1), half-open; all 0 if it is empty.

    Args:
        rle: compressed COCO run-length counts.
        size: (height, width) of the photograph in pixels.
    """
    x, y, width, height = (int(value) for value in coco.toBbox({"size": list(size), "counts": rle}))
    return x, y, x + width, y + height
