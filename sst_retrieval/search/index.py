"""Room 6: ask an index: find specimens whose trait looks like this one.

    with open_index("indexes/heliconius") as index:
        hits = index.search(like=("CAM001", "forewing_band"), k=12, where="sex = 'female'")

1. The query is stored regions (`like`, `unlike`) or vectors made from another photograph (`vectors`); see
   `search.answer`.
2. `where` is resolved to region ids first, and the search happens among these: k hits whenever k match.
3. The similarity is the weighted mean of the blocks' cosines, computed exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import IndexFolderError, QueryError
from sst_retrieval.imaging.reach import Reach
from sst_retrieval.index.store import Store
from sst_retrieval.morphology.comparative import Comparative
from sst_retrieval.search.answer import Asked, Pair, answer, hits_of, joined_by, pairs, shared
from sst_retrieval.types import Floats, Hit


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
    """One generation of an index, opened to read and to be asked. Threads may share it."""

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
        expand: int = 0,
        among: Sequence[int] | npt.NDArray[np.int64] | None = None,
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
            where: DuckDB predicate over the collection's columns, `confidence` and the measurements (see
                `index.catalog`). The region of every trait that is asked for must satisfy it.
            weights: block name -> weight, 0 or more; a block that is not named has weight 0; None weighs all alike.
            expand: ask again together with so many of the first hits; 0 asks once. More of the same kind are found if
                the first hits are right, and fewer if they are wrong. Similarities are then those to all of them.
            among: ids of the only regions that may answer (`Hit.region_id`, `region_id` of the trait table); None lets
                all of them. Any number of them is quicker than a predicate that lists them.

        Returns:
            At most k hits, the most similar first; equals in order of the specimens' ids.

        Raises:
            QueryError: the query names something the index does not have.
        """
        likes, unlikes = pairs(like or ()), pairs(unlike or ())
        if not likes and vectors is None:
            raise QueryError("give `like` (specimens of the index) or `vectors` (from another photograph)")
        if k < 1 or expand < 0:
            raise QueryError(f"k is {k} and expand {expand}; ask for at least 1 hit, together with 0 or more others")
        liked = [self._example(*pair, among=trait) for pair in likes]
        if vectors is not None:
            liked.append((self.require_trait(trait), self._external(vectors, self.require_trait(trait))))
        traits = shared(liked, [self._example(*pair, among=trait) for pair in unlikes])
        out = frozenset(specimen for specimen, _ in (*likes, *unlikes))
        shares = self.block_weights(weights)
        named = dict(zip(self.blocks, (shares / shares.sum()).tolist(), strict=True))
        asked = Asked(traits, out, k, where, named, None if among is None else np.asarray(among, dtype=np.int64))
        if expand:
            asked = joined_by(asked, self._answered(replace(asked, k=expand)), self.vector_indexes)
        return self._answered(asked)

    def vectors(self, trait: str) -> tuple[list[str], Floats]:
        """Return the vectors that a search compares: specimens (n), and float32 (n, D), every block of unit length."""
        found = self.catalog.resolve_by_specimen("true", self.require_trait(trait))
        names = sorted(found)
        ids = np.array([found[name] for name in names], dtype=np.int64)
        return names, self.vector_indexes[trait].reconstruct(ids)

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
        owners = self.catalog.owners(ids)
        return [
            Hit(rank, owners[number][0], trait, similarity, parts, *owners[number][1:], number, _masks=self.decode_mask)
            for rank, (number, similarity, parts) in enumerate(zip(ids, similarities, blocks, strict=True), 1)
        ]

    def patterns(self, trait: str, ids: npt.NDArray[np.int64]) -> Floats:
        """Return the pattern blocks of regions of a trait as the embedder made them: float32 (n, D), unit length."""
        width = self.blocks["pattern"]  # It is the first block.
        return self.unwhitened_vectors(self.require_trait(trait), ids)[:, :width]

    def _answered(self, asked: Asked) -> list[Hit]:
        return hits_of(answer(asked, self.catalog, self.vector_indexes), asked, self.catalog, self.decode_mask)

    def _example(self, specimen: str, trait: str, *, among: str | None) -> tuple[str, Floats]:
        """Return the trait that an example is compared with, and its vector there, float32 (1, D)."""
        goal = self.require_trait(trait if among is None else among)
        number, region = self.find_region(specimen, self.require_trait(trait))
        if not region.present or number in self.catalog.region_reviews.stale_ids:
            raise QueryError(f"{trait} was not found on {specimen}; look at its mask, or ask with another specimen")
        if goal == trait:
            return goal, self.vector_indexes[trait].reconstruct(np.array([number]))
        return goal, self.whitenings[goal].apply(self.unwhitened_vectors(trait, np.array([number])))

    def _external(self, vectors: Floats, trait: str) -> Floats:
        queries = np.atleast_2d(np.asarray(vectors, dtype=np.float32))
        dim = sum(self.blocks.values())
        if queries.ndim != 2 or not len(queries) or queries.shape[1] != dim or not np.isfinite(queries).all():
            raise QueryError(
                f"the query vectors have shape {queries.shape}; this index wants (M, {dim}) finite numbers, "
                f"{dict(self.blocks)}, made with its own settings"
            )
        return self.whitenings[trait].apply(queries)
