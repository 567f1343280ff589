"""Room 6: ask an index: find specimens whose trait looks like this one.

    with open_index("indexes/heliconius") as index:
        hits = index.search(like=("CAM001", "forewing_band"), k=12, where="sex = 'female'")

1. The query is stored regions (`like`, `unlike`) or vectors made from another photograph (`vectors`); see `asking`.
2. `where` is resolved to region ids first, and the search happens among these: k hits whenever k match.
3. The similarity is the weighted mean of the blocks' cosines, computed exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sst_retrieval import images, masks
from sst_retrieval.asking import Asked, Pair, answer, hits_of, pairs, shared
from sst_retrieval.catalog import Catalog
from sst_retrieval.errors import ImageError, IndexFolderError, QueryError
from sst_retrieval.manifest import Generation
from sst_retrieval.morphology.comparative import Comparative
from sst_retrieval.reach import Reach, small_picture
from sst_retrieval.reviews import Review, judgement, settled
from sst_retrieval.store import Store
from sst_retrieval.types import Floats, Hit, Mask, Region, RGBImage, Skipped, Specimen
from sst_retrieval.vectors import VectorIndex
from sst_retrieval.whitening import read_whitening


def open_index(path: str | Path, *, reach: Reach | None = None) -> Index:
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


class Index(Comparative):
    """One generation of an index, opened to read. Threads may share it."""

    def __init__(self, store: Store, generation: Generation, reach: Reach | None = None) -> None:
        """Use `open_index`."""
        self._store, self._generation, self._reach = store, generation, reach
        self._catalog = Catalog(store.catalog(generation.number))
        self._counts = self._catalog.counts()
        self.state = store.state()
        self._catalog.judge(store.reviews())
        self.blocks: Mapping[str, int] = generation.recipe.blocks
        # All files are opened now: a later commit may remove them, and open files stay readable.
        self._vectors = {
            trait: VectorIndex(store.vectors(generation.number, trait), self.blocks) for trait in self._counts
        }
        self._whitening = {
            trait: read_whitening(store.whitening(generation.number, trait), self.blocks) for trait in self._counts
        }

    def __enter__(self) -> Self:
        """Return the index itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the files."""
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        self._catalog.close()
        self._vectors = {}

    @property
    def traits(self) -> tuple[str, ...]:
        """Names of the traits that were looked for, in order of the user's numbers."""
        return tuple(sorted(self._counts, key=lambda trait: self._generation.numbers[trait]))

    @property
    def trait_numbers(self) -> Mapping[str, int]:
        """Trait -> the user's own label number."""
        return self._generation.numbers

    @property
    def synonyms(self) -> Mapping[str, tuple[str, ...]]:
        """Trait -> other words for it, from traits.toml."""
        listed: Mapping[str, Sequence[str]] = self._generation.provenance.get("synonyms", {})
        return {trait: tuple(words) for trait, words in listed.items()}

    @property
    def catalog(self) -> Catalog:
        """Who the regions belong to, for a module that asks more of it than a search does (see `words`)."""
        return self._catalog

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the regions were made with; an external query must be made with the same."""
        return self._generation.recipe.settings

    @property
    def columns(self) -> Mapping[str, str]:
        """Column of the collection -> DuckDB type."""
        return self._catalog.columns

    def info(self) -> dict[str, Any]:
        """Say what is in the index, in JSON-ready types."""
        skipped = self.skipped()
        reasons = sorted({row.reason for row in skipped})
        return {
            "path": str(self._store.path),
            "generation": self._generation.number,
            "specimens": self._catalog.specimen_count(),
            "traits": {trait: {"number": self.trait_numbers[trait], **self._counts[trait]} for trait in self.traits},
            "skipped": {reason: sum(row.reason == reason for row in skipped) for reason in reasons},
            "columns": dict(self.columns),
            "blocks": dict(self.blocks),
            "settings": dict(self.settings),
            "provenance": dict(self._generation.provenance),
            "bytes": self._store.size(),
        }

    def search(
        self,
        *,
        like: Pair | Sequence[Pair] | None = None,
        unlike: Pair | Sequence[Pair] | None = None,
        vectors: Floats | None = None,
        trait: str | None = None,
        k: int = 12,
        where: str | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> list[Hit]:
        """Find the specimens whose trait is most similar to a query.

        Args:
            like: (specimen, trait) of an indexed region, or several of them. Several of one trait are averaged; of
                several traits, specimens are ranked by the mean of the traits. They are left out of the hits.
            unlike: the same of what hits should not resemble; counts half as much as `like`.
            vectors: float32 (M, D) or (D,), made from another photograph with the index's own settings. Several
                vectors are several ways the specimen may lie: a region is judged by the one it resembles most.
            trait: the trait to search among, whatever the examples' trait; without it, each example asks for its own.
            k: how many hits, at least 1; fewer come back only if fewer match.
            where: DuckDB predicate over the collection's columns, `confidence` and the measurements (see `catalog`).
                The region of every trait that is asked for must satisfy it.
            weights: block name -> weight, 0 or more; a block that is not named has weight 0; None weighs all alike.

        Returns:
            At most k hits, the most similar first; equals in order of the specimens' ids.

        Raises:
            QueryError: the query names something the index does not have.
        """
        likes, unlikes = pairs(like or ()), pairs(unlike or ())
        if not likes and vectors is None:
            raise QueryError("give `like` (specimens of the index) or `vectors` (from another photograph)")
        if k < 1:
            raise QueryError(f"k is {k}; ask for at least 1 hit")
        liked = [self._example(*pair, among=trait) for pair in likes]
        if vectors is not None:
            liked.append((self._trait(trait), self._external(vectors, self._trait(trait))))
        traits = shared(liked, [self._example(*pair, among=trait) for pair in unlikes])
        out = frozenset(specimen for specimen, _ in (*likes, *unlikes))
        shares = self._weights(weights)
        named = dict(zip(self.blocks, (shares / shares.sum()).tolist(), strict=True))
        asked = Asked(traits, out, k, where, named)
        return hits_of(answer(asked, self._catalog, self._vectors), asked, self._catalog, self._mask)

    def vectors(self, trait: str) -> tuple[list[str], Floats]:
        """Return the vectors that a search compares: specimens (n), and float32 (n, D), every block of unit length."""
        found = self._catalog.resolve_by_specimen("true", self._trait(trait))
        names = sorted(found)
        ids = np.array([found[name] for name in names], dtype=np.int64)
        return names, self._vectors[trait].reconstruct(ids)

    def described(
        self, trait: str, ids: Sequence[int], similarities: Sequence[float], blocks: Sequence[Mapping[str, float]]
    ) -> list[Hit]:
        """Turn regions of a trait that were found and ordered elsewhere (by words, say) into hits.

        Args:
            trait: name of the trait.
            ids: region ids, the best first.
            similarities: 0..1, one a region.
            blocks: what each similarity is made of, one a region.
        """
        owners = self._catalog.owners(ids)
        return [
            Hit(rank, owners[number][0], trait, similarity, parts, *owners[number][1:], number, _masks=self._mask)
            for rank, (number, similarity, parts) in enumerate(zip(ids, similarities, blocks, strict=True), 1)
        ]

    def patterns(self, trait: str, ids: npt.NDArray[np.int64]) -> Floats:
        """Return the pattern blocks of regions of a trait as the embedder made them: float32 (n, D), unit length."""
        width = self.blocks["pattern"]  # It is the first block.
        return self._as_made(self._trait(trait), ids)[:, :width]

    def region(self, specimen: str, trait: str) -> Region:
        """Return one trait of one specimen as it is stored.

        Raises:
            QueryError: there is no such specimen or trait, or the specimen was skipped; says which and why.
        """
        number, region = self._find(specimen, self._trait(trait))
        if not region.present or number in self._catalog.judgements.waiting:
            return region
        return replace(region, vector=self._as_made(trait, np.array([number]))[0])

    def mask(self, specimen: str, trait: str) -> Mask:
        """Return the mask of a trait, bool (H, W) at the photograph's own size; empty if the trait is absent."""
        _, region = self._find(specimen, self._trait(trait))
        return masks.decode(region.rle, region.size)

    def review(
        self, specimen: str, trait: str, decision: str, *, reviewer: str, mask: Mask | None = None, comment: str = ""
    ) -> Review:
        """Keep a decision about a mask; every search from now on respects it, and no build loses it.

        Args:
            specimen: id of the specimen.
            trait: name of the trait.
            decision: "accept", "reject", "redraw" or "reopen" (see `reviews`).
            reviewer: who decides.
            mask: with "redraw", bool (H, W) at the photograph's own size: what the trait really is. The next build
                describes and measures it; until then no search finds it.
            comment: anything else.

        Raises:
            QueryError: there is no such region or decision, nobody decides, or the mask does not fit.
        """
        number, region = self._find(specimen, self._trait(trait))
        review = judgement(region, self._catalog.content(number), decision, reviewer, mask, comment)
        self._store.add_reviews([review])
        self._catalog.judge(self._store.reviews())
        self.state = self._store.state()
        return review

    def decision(self, specimen: str, trait: str) -> Review | None:
        """Return the decision that counts on a mask, or None if nobody decided yet."""
        return self._catalog.judgements.reviews.get(self._find(specimen, self._trait(trait))[0])

    def reviews(self) -> list[Review]:
        """Return the decisions that count on the photographs of this index, in order of trait and specimen."""
        return [review for _, review in sorted(self._catalog.judgements.reviews.items())]

    def table(self, trait: str | None = None) -> Any:
        """Return all that is known of every region as a pandas data frame (see `Catalog.table`)."""
        return self._catalog.table(None if trait is None else self._trait(trait))

    def thumbnail(self, specimen: str) -> bytes | None:
        """Return the small picture of a specimen as a JPEG file; None if there is none."""
        return small_picture(self._store.thumbnail(self.specimen(specimen).id), self._store.path)

    def crop(self, specimen: str, trait: str) -> bytes | None:
        """Return the small picture of a trait, with its outline, as a JPEG file; None if there is none."""
        return small_picture(self._store.crop(self.specimen(specimen).id, self._trait(trait)), self._store.path)

    def specimen(self, name: str) -> Specimen:
        """Return a specimen by its id.

        Raises:
            QueryError: there is none; names the nearest ones.
        """
        found = self._catalog.specimen(name)
        if found is None:
            self._refuse_skipped(name)
            near = ", ".join(self._catalog.nearest_names(name)) or "none, the index is empty"
            raise QueryError(f"the index has no specimen {name!r}; spelt most alike: {near}")
        return found

    def specimens(self, where: str | None = None) -> list[Specimen]:
        """Return the specimens, or those that a predicate over the collection's columns holds for, ordered by id."""
        return self._catalog.specimens(where)

    def skipped(self) -> list[Skipped]:
        """Return the specimens that could not be indexed, and why."""
        return self._catalog.skipped()

    def measurements(self, trait: str, where: str | None = None) -> dict[str, npt.NDArray[Any]]:
        """Return the measurements of a trait as columns (see `Catalog.measurements`)."""
        return self._catalog.measurements(self._trait(trait), where)

    def photograph(self, specimen: str) -> RGBImage:
        """Read a specimen's photograph, uint8 (H, W, 3).

        Raises:
            ImageError: it is not where it was when the index was built, cannot be read, or may not (see `reach`).
        """
        path = self.specimen(specimen).image
        if self._reach is not None:
            self._reach.check(path, self._store.path)
        if not path.is_file():
            raise ImageError(f"the photograph of {specimen} is no longer at {path}; build again, with --images FOLDER")
        if self._reach is None:
            return images.read_image(path)
        return self._reach.read(path, self._catalog.contents(specimen))

    def _annotated(self) -> set[str]:
        return {str(each["specimen"]) for each in self._generation.provenance.get("supports", ())}

    def _mask(self, region_id: int) -> Mask:
        rle, size = self._catalog.mask_code(region_id)
        return masks.decode(rle, size)

    def _trait(self, trait: str | None) -> str:
        if trait is None:
            raise QueryError(f"say which trait to search among: {', '.join(self.traits)}")
        if trait not in self._counts:
            raise QueryError(f"the index has no trait {trait!r}; it has: {', '.join(self.traits) or 'none'}")
        return trait

    def _find(self, specimen: str, trait: str) -> tuple[int, Region]:
        found = self._catalog.region(specimen, trait)
        if found is not None:
            number, region = found
            judgements = self._catalog.judgements
            if number in judgements.waiting:
                region = settled(region, judgements.reviews[number])
            return number, region
        self.specimen(specimen)
        self._refuse_skipped(specimen)
        raise QueryError(f"{trait} was never looked for on {specimen}: the support of its group does not show it")

    def _refuse_skipped(self, specimen: str) -> None:
        for row in self.skipped():
            if row.specimen == specimen:
                raise QueryError(f"{specimen} is not indexed; it was skipped ({row.stage}): {row.reason}")

    def _as_made(self, trait: str, ids: npt.NDArray[np.int64]) -> Floats:
        """Return vectors as the embedder made them, float32 (n, D); the files hold them as they are compared."""
        vectors = self._vectors[trait]
        return self._whitening[trait].undo(vectors.reconstruct(ids), vectors.rows(ids))

    def _example(self, specimen: str, trait: str, *, among: str | None) -> tuple[str, Floats]:
        """Return the trait that an example is compared with, and its vector there, float32 (1, D)."""
        goal = self._trait(trait if among is None else among)
        number, region = self._find(specimen, self._trait(trait))
        if not region.present or number in self._catalog.judgements.waiting:
            raise QueryError(f"{trait} was not found on {specimen}; look at its mask, or ask with another specimen")
        if goal == trait:
            return goal, self._vectors[trait].reconstruct(np.array([number]))
        return goal, self._whitening[goal].apply(self._as_made(trait, np.array([number])))

    def _external(self, vectors: Floats, trait: str) -> Floats:
        queries = np.atleast_2d(np.asarray(vectors, dtype=np.float32))
        dim = sum(self.blocks.values())
        if queries.ndim != 2 or not len(queries) or queries.shape[1] != dim or not np.isfinite(queries).all():
            raise QueryError(
                f"the query vectors have shape {queries.shape}; this index wants (M, {dim}) finite numbers, "
                f"{dict(self.blocks)}, made with its own settings"
            )
        return self._whitening[trait].apply(queries)

    def _weights(self, weights: Mapping[str, float] | None) -> npt.NDArray[np.float64]:
        given = dict.fromkeys(self.blocks, 1.0) if weights is None else weights
        unknown = [name for name in given if name not in self.blocks]
        if unknown:
            raise QueryError(f"there is no block {unknown[0]!r} to weigh; there are: {', '.join(self.blocks)}")
        shares = np.array([given.get(block, 0) for block in self.blocks], dtype=np.float64)
        if not np.isfinite(shares).all() or (shares < 0).any() or not shares.any():
            raise QueryError(f"the weights {dict(given)} must be 0 or more, and one of them more than 0")
        return shares
