"""An index opened to be searched: the class that users hold.

    with open_index("indexes/heliconius") as index:
        hits = index.search(like=("CAM001", "forewing_band"), k=12, where="sex = 'female'")

`Index` holds a reader of the folder (`index.reader`); each of its methods is a function of that reader, and the line
that names it says in which module to read on. `help(Index.search)` shows the function's own docstring.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.imaging.read_policy import ReadPolicy
from sst_retrieval.index import reviewed_individuals
from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.manifest import Generation
from sst_retrieval.index.reader import Reader
from sst_retrieval.index.store import Store
from sst_retrieval.morphology import comparison, forms, selection, trait_table
from sst_retrieval.search import many, retrieval

P = ParamSpec("P")
T = TypeVar("T")


def open_index(path: str | Path, *, reach: ReadPolicy | None = None) -> Index:
    """Open the last committed state of an index folder.

    A build that goes on at the same time changes nothing for this reader.

    Args:
        path: the folder `build` made.
        reach: which photographs may be opened, for an index that somebody else may have made; None trusts the index.

    Returns:
        The index; use it in a `with` block, or close it.

    Raises:
        IndexFolderError: the folder is not an index, is broken, or nothing was committed yet.
    """
    for attempt in (1, 2):
        store = Store.open(Path(path))
        if store.generation is None:
            raise IndexFolderError(
                f"the first build of {path} has not finished; run it again, it goes on where it stopped"
            )
        try:
            return Index(store, store.generation, reach)
        except IndexFolderError:
            # Two commits since the manifest was read would have removed this generation.
            if attempt == 2 or Store.open(Path(path)).generation == store.generation:
                raise
    raise AssertionError


def _method(function: Callable[Concatenate[Reader, P], T]) -> Callable[Concatenate[Index, P], T]:
    """Make a method of `Index` from a function of its reader; signature and docstring stay the function's own."""

    @functools.wraps(function)
    def method(self: Index, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(self._reader, *args, **kwargs)

    signature = inspect.signature(function)
    _, *parameters = signature.parameters.values()
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    method.__signature__ = signature.replace(parameters=[itself, *parameters])  # type: ignore[attr-defined]
    method.__qualname__ = f"Index.{function.__name__}"
    return method


class Index:
    """One generation of an index, opened to be read and searched. Threads may share it."""

    def __init__(self, store: Store, generation: Generation, reach: ReadPolicy | None = None) -> None:
        """Use `open_index`."""
        self._reader = Reader(store, generation, reach)

    def __enter__(self) -> Self:
        """Return the index itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self.close()

    close = _method(Reader.close)

    # ------------------------------------------------------------------------------------- what the index is

    @property
    def traits(self) -> tuple[str, ...]:
        """Names of the traits that were looked for, in order of the user's numbers."""
        return self._reader.traits

    @property
    def trait_numbers(self) -> Mapping[str, int]:
        """Trait -> the user's own label number."""
        return self._reader.trait_numbers

    @property
    def synonyms(self) -> Mapping[str, tuple[str, ...]]:
        """Trait -> other words for it, from traits.toml."""
        return self._reader.synonyms

    @property
    def blocks(self) -> Mapping[str, int]:
        """Block of a vector ("pattern", "colour", "shape") -> how many values it has."""
        return self._reader.blocks

    @property
    def columns(self) -> Mapping[str, str]:
        """Column of the collection -> DuckDB type."""
        return self._reader.columns

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the regions were made with; an external query must be made with the same."""
        return self._reader.settings

    @property
    def state(self) -> tuple[int, int]:
        """What is read: generation, and bytes of the record of reviews; `index_state` of the folder, if it is new."""
        return self._reader.state

    @property
    def catalog(self) -> Catalog:
        """The regions and who they belong to, for a module that needs more of them than a search does (`words`)."""
        return self._reader.catalog

    info = _method(Reader.info)
    size = _method(Reader.size)

    # ------------------------------------------------------------------------------------- search

    search = _method(retrieval.search)
    search_many = _method(many.search_many)
    vectors = _method(retrieval.vectors)
    iterate_vectors = _method(retrieval.iterate_vectors)
    region_vectors = _method(retrieval.region_vectors)
    patterns = _method(retrieval.patterns)
    described = _method(retrieval.described)

    # ------------------------------------------------------------------------------------- specimens and their traits

    individual = _method(Reader.individual)
    individuals = _method(Reader.individuals)
    iterate_individuals = _method(Reader.iterate_individuals)
    photographs = _method(Reader.photographs)
    iterate_photographs = _method(Reader.iterate_photographs)
    skipped = _method(Reader.skipped)
    groups = _method(selection.groups)
    region = _method(Reader.region)
    mask = _method(Reader.mask)
    measurements = _method(Reader.measurements)
    photograph = _method(Reader.photograph)
    thumbnail = _method(Reader.thumbnail)
    crop = _method(Reader.crop)
    window = _method(Reader.window)
    silhouette = _method(Reader.silhouette)
    examples = _method(Reader.examples)

    # ------------------------------------------------------------------------------------- decisions about masks

    review = _method(Reader.review)
    review_individual = _method(reviewed_individuals.review_individual)
    add_individual = _method(reviewed_individuals.add_individual)
    individual_reviews = _method(reviewed_individuals.individual_reviews)
    pending_individuals = _method(reviewed_individuals.pending_individuals)
    reviews = _method(Reader.reviews)
    decision = _method(Reader.decision)

    # ------------------------------------------------------------------------------------- data sets

    table = _method(Reader.table)
    iterate_table = _method(Reader.iterate_table)
    trait_table = _method(trait_table.trait_table)
    trait_vectors = _method(selection.trait_vectors)
    drawn = _method(selection.drawn)
    outlines = _method(forms.outlines)
    sides = _method(forms.sides)
    asymmetry = _method(forms.asymmetry)

    # ------------------------------------------------------------------------------------- comparative morphology

    morphospace = _method(comparison.morphospace)
    distances = _method(comparison.distances)
    convergence = _method(comparison.convergence)
    disparity = _method(comparison.disparity)
    mantel = _method(comparison.mantel)
    suggest_support = _method(comparison.suggest_support)
