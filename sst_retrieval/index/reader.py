"""Read one generation of an index: its specimens, regions, vectors, thumbnails and reviews."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sst_retrieval.errors import ImageError, IndexFolderError, QueryError, list_names
from sst_retrieval.find.cutouts import get_window
from sst_retrieval.imaging import images, masks
from sst_retrieval.imaging.read_policy import ReadPolicy
from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.duck import CLOSED
from sst_retrieval.index.epochs import open_vectors, open_whitening, read_epoch, read_removed_ids
from sst_retrieval.index.manifest import Generation, repair_advice
from sst_retrieval.index.reviews import Review, apply_review_mask, make_review
from sst_retrieval.index.store import Store, derived_remedy
from sst_retrieval.index.thumbnails import read_thumbnail
from sst_retrieval.index.vectors import VectorIndex
from sst_retrieval.types import Box, Floats, Individual, Mask, Photograph, Region, RGBImage, Skipped


class Reader:
    """One generation of an index, opened to read and to review. Threads may share it.

    Attributes:
        blocks: block name -> number of values, in the order they are concatenated in a vector.
        catalog: specimens, regions, measurements and reviews.
        vector_indexes: trait -> its vectors, whitened, with exact search.
        whitenings: trait -> its whitening.
        epoch: since when the whitening is the same, and what was added since; None of an index of an early version.
        state: as `Store.state` when the reader last read the record of reviews.
        review_lock: is held while a review is made and added.
    """

    def __init__(self, store: Store, generation: Generation, read_policy: ReadPolicy | None = None) -> None:
        """Open the files of a generation.

        Args:
            store: the index.
            generation: which one; a commit may remove its files before they are open.
            read_policy: which photographs may be opened; None allows all.

        Raises:
            IndexFolderError: a file is missing, broken, or a link that leads out of the index.
        """
        self._store, self._generation, self._read_policy = store, generation, read_policy
        self._paths = store.paths
        self.review_lock = RLock()
        self.blocks: Mapping[str, int] = generation.recipe.blocks
        store.check_generation()
        files, inside = store.paths.generation(generation.number), store.paths.require_inside
        inside(files.base_file)
        self.catalog = Catalog(inside(files.catalog_file), inside(files.owners_folder))
        try:
            self._counts = self.catalog.counts()
            unnumbered = sorted(self._counts.keys() - generation.numbers.keys())
            if unnumbered:
                raise IndexFolderError(
                    f"{store.paths.manifest_file} has no label number of {unnumbered[0]}; {repair_advice(store.path)}"
                )
            self.state = store.state()
            self.catalog.apply_reviews(store.reviews())
            # All files are opened now: a later commit may remove them, and open files stay readable.
            inside(files.epoch_file), inside(files.removed_file)
            self.epoch, removed = read_epoch(files), read_removed_ids(files)
            self.vector_indexes = VectorIndexes(
                {trait: open_vectors(files, trait, self.blocks, self.epoch, removed, inside) for trait in self._counts}
            )
            self._compare_ids(inside)
            self.whitenings = {
                trait: open_whitening(files, trait, self.blocks, self.epoch, inside) for trait in self._counts
            }
        except BaseException:
            self.catalog.close()
            raise

    def _compare_ids(self, inside: Callable[[Path], Path]) -> None:
        """Check that catalog and vector files know the same regions: by their number, order and sum.

        Raises:
            IndexFolderError: a file has others.
        """
        expected = self.catalog.sum_ids()
        for trait, vectors in self.vector_indexes.items():
            ids = vectors.ids
            ascending = bool((np.diff(ids) > 0).all())
            if not ascending or (len(ids), int(ids.sum())) != expected.get(trait, (0, 0)):
                path = inside(self._paths.generation(self._generation.number).vector_file(trait))
                raise IndexFolderError(
                    f"{path} does not hold the regions of its catalog; {derived_remedy(self._paths.root)}"
                )

    def __enter__(self) -> Self:
        """Return the reader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        self.close()

    def close(self) -> None:
        """Close the files."""
        self.catalog.close()
        self.vector_indexes.clear()

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
    def settings(self) -> Mapping[str, Any]:
        """Settings that change a mask or a vector; query vectors from outside must be made with the same."""
        return self._generation.recipe.settings

    @property
    def columns(self) -> Mapping[str, str]:
        """Column of the collection -> DuckDB type."""
        return self.catalog.columns

    def info(self) -> dict[str, Any]:
        """Summarise the index, in JSON-ready types; without its size on disk (see `size`)."""
        skipped = self.skipped()
        reasons = sorted({row.reason for row in skipped})
        return {
            "path": str(self._paths.root),
            "generation": self._generation.number,
            **({} if self.epoch is None else {"epoch": self.epoch.summary()}),
            **self._count_nouns(),
            "traits": {trait: {"number": self.trait_numbers[trait], **self._counts[trait]} for trait in self.traits},
            "skipped": {reason: sum(row.reason == reason for row in skipped) for reason in reasons},
            "columns": dict(self.columns),
            "blocks": dict(self.blocks),
            "settings": dict(self.settings),
            "provenance": dict(self._generation.provenance),
        }

    def _count_nouns(self) -> dict[str, int]:
        """Count the specimens; photographs and individuals, too, unless there is one of each for every specimen."""
        counts = self.catalog.count_nouns()
        return {"specimens": counts["specimens"]} if self.catalog.plain else counts

    def size(self) -> int:
        """Add up the sizes of all files in the index folder, in bytes; slow for a large index."""
        return self._paths.total_bytes()

    def region(self, specimen: str, trait: str) -> Region:
        """Return one trait of one specimen as it is stored.

        Raises:
            QueryError: there is no such specimen or trait, or the specimen was skipped; says which and why.
        """
        number, region = self.find_region(specimen, self.require_trait(trait))
        if not region.present or number in self.catalog.region_reviews.stale_ids:
            return region
        return replace(region, vector=self.unwhitened_vectors(trait, np.array([number]))[0])

    def mask(self, specimen: str, trait: str) -> Mask:
        """Return the mask of a trait, bool (H, W) at the photograph's own size; empty if the trait is absent."""
        _, region = self.find_region(specimen, self.require_trait(trait))
        return masks.decode(region.rle, region.size)

    def review(
        self, specimen: str, trait: str, decision: str, *, reviewer: str, mask: Mask | None = None, comment: str = ""
    ) -> Review:
        """Record a review of a mask; it has effect on every search from now on, and every build keeps it.

        Args:
            specimen: id of the specimen.
            trait: name of the trait.
            decision: "accept", "reject", "redraw" or "reopen" (see `index.reviews`).
            reviewer: name of who decides.
            mask: with "redraw", bool (H, W) at the photograph's own size: what the trait really is. The next build
                describes and measures it; until then no search finds it.
            comment: anything else.

        Raises:
            QueryError: there is no such region or decision, no reviewer is given, or the mask has another size.
        """
        number, region = self.find_region(specimen, self.require_trait(trait))
        return self.add_review(
            make_review(region, self.catalog.content_hash(number), decision, reviewer, mask, comment)
        )

    def add_review(self, review: Review) -> Review:
        """Append a review to the record, and apply the record."""
        with self.review_lock:  # Else the older of two records might be applied last.
            self._store.add_reviews([review])
            state = (
                self._store.state()
            )  # Before the record is read, so that a review added meanwhile still changes the state.
            self.catalog.apply_reviews(self._store.reviews())
            self.state = state
        return review

    @contextmanager
    def hold_reviews(self) -> Iterator[None]:
        """Let nobody else add a review, in this program or another, while one is made of what the record says."""
        with self.review_lock, self._store.hold_reviews():
            yield

    def record(self) -> tuple[Review, ...]:
        """Return the whole record of reviews, oldest first."""
        return self._store.reviews()

    def decision(self, specimen: str, trait: str) -> Review | None:
        """Return the review that counts of a mask, or None."""
        return self.catalog.region_reviews.by_region.get(self.find_region(specimen, self.require_trait(trait))[0])

    def reviews(self) -> list[Review]:
        """Return the reviews that count on the photographs of this index, in order of trait and specimen."""
        found = self.catalog.region_reviews.by_region.values()
        return sorted(found, key=lambda review: (review.trait, review.individual))

    def table(self, trait: str | None = None) -> Any:
        """Return one row a region as a pandas data frame (see `Catalog.table`)."""
        return self.catalog.table(None if trait is None else self.require_trait(trait))

    def thumbnail(self, specimen: str) -> bytes | None:
        """Return the thumbnail of a specimen as a WebP file (JPEG in an index of an older version), or None."""
        return read_thumbnail(self._paths, self.individual(specimen).id)

    def crop(self, specimen: str, trait: str) -> bytes | None:
        """Return the crop of a trait, with its outline, as a WebP file (see `thumbnail`), or None."""
        return read_thumbnail(self._paths, self.individual(specimen).id, self.require_trait(trait))

    def window(self, individual: str) -> Box | None:
        """Return the part of its photograph that the thumbnail of an individual shows; None if all of it.

        Returns:
            (x0, y0, x1, y1) in pixels, half-open.
        """
        found = self.individual(individual)
        return None if found.box is None or found.size is None else get_window(found.box, found.size)

    def silhouette(self, individual: str) -> Mask:
        """Return which pixels of its box are an individual's, as the build found or took it.

        Returns:
            bool (y1 - y0, x1 - x0) of `Individual.box`; all of them if its outline is not known.

        Raises:
            QueryError: there is no such individual, or it has no box, being the only one of its photograph.
        """
        found = self.individual(individual)
        if found.box is None or found.size is None:
            raise QueryError(f"{found.id} is the only individual of its photograph, so it has no outline of its own")
        x0, y0, x1, y1 = found.box
        if found.outline is None:
            return np.ones((y1 - y0, x1 - x0), dtype=bool)
        return masks.decode_part(found.outline, found.size, found.box)

    def individual(self, name: str) -> Individual:
        """Return an individual by its id; or by the name of its photograph or specimen, if it is the only one there.

        Raises:
            QueryError: there is none, and names the nearest ones; or there are several, and names them.
        """
        found = self.catalog.individual(name)
        if found is None and (several := self.catalog.individuals_of(name)):
            if len(several) > 1:
                raise QueryError(f"{name!r} is {len(several):,} individuals; name one of them: {list_names(several)}")
            found = self.catalog.individual(several[0])
        if found is None:
            self.refuse_skipped(name)
            near = ", ".join(self.catalog.nearest_names(name)) or "none, the index is empty"
            raise QueryError(f"the index has no specimen {name!r}; spelt most alike: {near}")
        return found

    def individuals(self, where: str | None = None) -> list[Individual]:
        """Return the individuals, or those that a predicate over the collection's columns holds for, ordered by id.

        A photograph that was skipped counts as one, so that it is found here and its reason told.
        """
        return self.catalog.individuals(where)

    def iterate_individuals(self, where: str | None = None) -> Iterator[Individual]:
        """Yield the individuals (see `individuals`), some thousand in memory at a time."""
        return self.catalog.iterate_individuals(where)

    def iterate_photographs(self) -> Iterator[Photograph]:
        """Yield all photographs (see `photographs`), some thousand in memory at a time."""
        return self.catalog.iterate_photographs()

    def iterate_table(self, trait: str | None = None) -> Iterator[pa.RecordBatch]:
        """Yield one row a region as Arrow record batches, some thousand in memory at a time (see `table`)."""
        return self.catalog.iterate_table(None if trait is None else self.require_trait(trait))

    def photographs(self) -> list[Photograph]:
        """Return all photographs, those on which no individual was found included, ordered by id."""
        return self.catalog.photographs()

    def skipped(self) -> list[Skipped]:
        """Return the photographs that could not be indexed, and why."""
        return self.catalog.skipped()

    def measurements(self, trait: str, where: str | None = None) -> dict[str, npt.NDArray[Any]]:
        """Return the measurements of a trait as columns (see `Catalog.measurements`)."""
        return self.catalog.measurements(self.require_trait(trait), where)

    def photograph(self, specimen: str) -> RGBImage:
        """Read the photograph of a specimen or individual, or the one of this id, uint8 (H, W, 3).

        Raises:
            ImageError: it is not where it was when the index was built, cannot be read, or may not (see
                `imaging.read_policy`).
            QueryError: there is none, or the specimen has several.
        """
        path = self.check_photograph(specimen)
        if self._read_policy is None:
            return images.read_image(path)
        found = self.catalog.individuals_of(specimen) or [specimen]
        return self._read_policy.read(path, self.catalog.content_hashes(found[0]))

    def check_photograph(self, specimen: str) -> Path:
        """Return the path of a photograph (see `photograph`), if it is there and may be read."""
        path = (self.catalog.photograph(specimen) or self.individual(specimen)).image
        if self._read_policy is not None:
            self._read_policy.check(path, self._paths.root)
        if not path.is_file():
            raise ImageError(f"the photograph of {specimen} is no longer at {path}; build again, with --images FOLDER")
        return path

    def require_trait(self, trait: str | None) -> str:
        """Return the name of a trait of the index.

        Raises:
            QueryError: None is given, or the index has no such trait; lists those it has.
        """
        if trait is None:
            raise QueryError(f"say which trait to search among: {', '.join(self.traits)}")
        if trait not in self._counts:
            raise QueryError(f"the index has no trait {trait!r}; it has: {', '.join(self.traits) or 'none'}")
        return trait

    def find_region(self, specimen: str, trait: str) -> tuple[int, Region]:
        """Return the region id of one trait of one specimen, and the region without its vector.

        A mask that a reviewer accepted or redrew after the build replaces the propagated one.

        Args:
            specimen: id of the specimen.
            trait: name of a trait of the index (see `require_trait`).

        Raises:
            QueryError: there is no such specimen, it was skipped, or the trait was never looked for on it.
        """
        found = self.catalog.region(specimen, trait) or self.catalog.region(self._resolve(specimen, trait), trait)
        if found is not None:
            number, region = found
            region_reviews = self.catalog.region_reviews  # Once: a review in another thread replaces the object.
            if number in region_reviews.stale_ids:
                region = apply_review_mask(region, region_reviews.by_region[number])
            return number, region
        self.refuse_skipped(specimen)
        raise QueryError(f"{trait} was never looked for on {specimen}: the support of its group does not show it")

    def find_shown(self, individual: str, trait: str) -> int | None:
        """Return the id of a region that a search may use; None if it is absent, or was reviewed since the build.

        Args:
            individual: id of the individual.
            trait: name of a trait of the index.

        Raises:
            QueryError: as `find_region`.
        """
        number = self.catalog.region_id(individual, trait)
        if number is None:
            number, _ = self.find_region(individual, trait)
        shown = number in self.vector_indexes[trait] and number not in self.catalog.region_reviews.stale_ids
        return number if shown else None

    def examples(self, name: str, trait: str) -> list[str]:
        """Return the individuals that are meant by the trait of a name.

        Args:
            name: id of an individual, a photograph or a specimen.
            trait: name of a trait of the index.

        Returns:
            The individual; of a specimen with several photographs, those that show the trait, at most one on each.

        Raises:
            QueryError: there is none, or a photograph shows several; names them.
        """
        if self.catalog.names(name) is not None:
            return [name]
        several = self.catalog.individuals_of(name)
        if len(several) <= 1:
            return [self.individual(name).id]
        showing = self.catalog.showing(several, trait)
        on = {photograph for photograph, _ in showing}
        if len(on) < len(showing):
            raise QueryError(f"{name!r} is {len(several):,} individuals; name one of them: {list_names(several)}")
        if not showing:
            raise QueryError(f"{trait} was not found on any of the photographs of {name}: {list_names(several)}")
        return [individual for _, individual in showing]

    def _resolve(self, name: str, trait: str) -> str:
        """Return the one individual that is meant by the trait of a name; refuses several."""
        meant = self.examples(name, trait)
        if len(meant) > 1:
            raise QueryError(f"{trait} was found on {len(meant)} photographs of {name}; name one: {list_names(meant)}")
        return meant[0]

    def decode_mask(self, region_id: int) -> Mask:
        """Return the mask of a region as it was committed, bool (H, W) at the photograph's own size."""
        rle, size = self.catalog.encoded_mask(region_id)
        return masks.decode(rle, size)

    def unwhitened_vectors(self, trait: str, ids: npt.NDArray[np.int64]) -> Floats:
        """Return vectors as the embedder made them; the FAISS files hold them whitened.

        Args:
            trait: name of a trait of the index.
            ids: int64 (n,), ids of regions that show it.

        Returns:
            float32 (n, D), every block of unit length.

        Raises:
            KeyError: an id is not of this trait.
        """
        index = self.vector_indexes[trait]
        return self.whitenings[trait].undo(index.reconstruct(ids), index.rows(ids))

    def block_weights(self, weights: Mapping[str, float] | None) -> npt.NDArray[np.float64]:
        """Check the weights of a query and bring them into the order of the blocks.

        Args:
            weights: block name -> weight; a block that is not named has weight 0; None weighs all blocks 1.

        Returns:
            float64 (B,), finite, not negative, not all zero; not normalised.

        Raises:
            QueryError: there is no such block, a weight is negative or not finite, or all are 0.
        """
        given = dict.fromkeys(self.blocks, 1.0) if weights is None else weights
        unknown = [name for name in given if name not in self.blocks]
        if unknown:
            raise QueryError(f"there is no block {unknown[0]!r} to weigh; there are: {', '.join(self.blocks)}")
        values = np.array([given.get(block, 0) for block in self.blocks], dtype=np.float64)
        if not np.isfinite(values).all() or (values < 0).any() or not values.any():
            raise QueryError(f"the weights {dict(given)} must be 0 or more, and one of them more than 0")
        return values

    def support_specimens(self) -> set[str]:
        """Return the ids of the annotated specimens of the last build."""
        return {str(each["specimen"]) for each in self._generation.provenance.get("supports", ())}

    def refuse_skipped(self, specimen: str) -> None:
        """Refuse a photograph that could not be indexed, and say why."""
        for row in self.skipped():
            if row.photograph == specimen:
                raise QueryError(f"{specimen} is not indexed; it was skipped ({row.stage}): {row.reason}")


class VectorIndexes(dict[str, VectorIndex]):
    """Trait -> its vectors; empty once the index is closed."""

    def __missing__(self, trait: str) -> VectorIndex:
        """Refuse a query of a closed index; `Reader.require_trait` refuses traits that the index does not have."""
        raise QueryError(CLOSED)
