"""Room 5c: an index folder: the only owner of the paths inside it.

    manifest.json                               settings, current generation; replaced by an atomic rename
    shards/000042.parquet                       the truth: one row a region, never changed
    specimens/0003.parquet                      the truth: the collection's table as it was at commit 3
    generations/0003/catalog.duckdb             made from the two above
    generations/0003/vectors/forewing.faiss     one a trait, under the catalog's region ids
    reviews/decisions.jsonl                     the truth: what people decided about masks, appended at any time
    thumbnails/, crops/                         small pictures for people: of specimens, and of their traits

A build appends shards and then commits: a new generation is made from all shards, checked, and the manifest is
replaced. Whatever moment a build is killed at, readers keep a whole generation and the next build goes on from the
last shard. One build at a time (`lock`); readers never wait.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from sst_retrieval.collection import Collection
from sst_retrieval.errors import IndexFolderError
from sst_retrieval.files import appearing, file_name, inside, remove
from sst_retrieval.generation import (
    catalog_file,
    indexed,
    vector_file,
    whitening_file,
    write_generation,
    write_snapshot,
)
from sst_retrieval.manifest import Generation, Manifest, Recipe, read_manifest, require_same, same_settings
from sst_retrieval.reviews import Review, append_reviews, read_reviews
from sst_retrieval.shards import Row, check_rows, write_shard, write_tombstones
from sst_retrieval.types import Skipped


class Store:
    """An index folder, to build into (inside `lock`) or to find the files of a generation in."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Use `Store.open` or `Store.create`."""
        self.path = path
        self._manifest = manifest
        self._lock = FileLock(path / ".lock", timeout=0, thread_local=False)

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Say whether a folder holds an index."""
        return (path / "manifest.json").is_file()

    @classmethod
    def create(cls, path: Path, *, settings: Mapping[str, Any], blocks: Mapping[str, int]) -> Self:
        """Make an empty index.

        Args:
            path: a new or empty folder.
            settings: everything that changes a mask or a vector (JSON values).
            blocks: block name -> number of values, in the order they are concatenated.

        Raises:
            IndexFolderError: the folder holds something already.
        """
        if path.exists() and (not path.is_dir() or any(not entry.name.startswith(".") for entry in path.iterdir())):
            raise IndexFolderError(f"{path} holds something already; choose a new or empty folder for the index")
        path.mkdir(parents=True, exist_ok=True)
        store = cls(path, Manifest(Recipe(dict(settings), dict(blocks), first_shard=0), None))
        store._write_manifest(store._manifest)
        return store

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an index.

        Raises:
            IndexFolderError: the folder is not an index, is broken, or is of a newer version.
        """
        store = cls(path, read_manifest(path / "manifest.json"))
        for own in [path / "manifest.json", store._reviews, *store._folders()]:
            store._own(own)
        return store

    @property
    def generation(self) -> Generation | None:
        """What readers see; None before the first commit."""
        return self._manifest.generation

    def catalog(self, number: int) -> Path:
        """Return the DuckDB file of a generation."""
        return self._own(catalog_file(self._generation_folder(number)))

    def vectors(self, number: int, trait: str) -> Path:
        """Return the FAISS file of a trait in a generation."""
        return self._own(vector_file(self._generation_folder(number), trait))

    def whitening(self, number: int, trait: str) -> Path:
        """Return the file that says how the vectors of a trait were whitened in a generation."""
        return self._own(whitening_file(self._generation_folder(number), trait))

    def thumbnail(self, specimen: str) -> Path:
        """Return where the small picture of a specimen lies."""
        return self.path / "thumbnails" / f"{file_name(specimen)}.jpg"

    def crop(self, specimen: str, trait: str) -> Path:
        """Return where the small picture of one trait of a specimen lies."""
        return self.path / "crops" / file_name(trait) / f"{file_name(specimen)}.jpg"

    def crops(self, specimen: str) -> list[Path]:
        """Return the small pictures of a specimen's traits."""
        return list((self.path / "crops").glob(f"*/{glob.escape(file_name(specimen))}.jpg"))

    def reviews(self) -> tuple[Review, ...]:
        """Read what people decided about masks, oldest first."""
        return read_reviews(self._reviews)

    def add_reviews(self, reviews: Sequence[Review]) -> None:
        """Add to what people decided; a build may be at work meanwhile."""
        append_reviews(self._reviews, reviews)

    def state(self) -> tuple[int, int]:
        """Say what readers see, cheaply: number of the generation (0 before the first), size of the record of reviews.

        The two change whenever a reader would see something new.
        """
        size = self._reviews.stat().st_size if self._reviews.is_file() else 0
        return (0 if self.generation is None else self.generation.number), size

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other builds out, and clear away what a killed one left behind.

        Raises:
            IndexFolderError: another build is at work here.
        """
        try:
            self._lock.acquire()
        except Timeout as error:
            raise IndexFolderError(f"{self.path} is being built by another process; wait until it ends") from error
        try:
            self._manifest = read_manifest(self.path / "manifest.json")
            for folder in self._folders():
                folder.mkdir(exist_ok=True)
            self._clear()
            yield
        finally:
            self._lock.release()

    def require_same_model(self, settings: Mapping[str, Any]) -> None:
        """Make sure that new regions can be compared with those of the index.

        If a rebuild was begun and not finished, its settings are the ones to match; asking for the settings of the
        last commit instead gives the rebuild up.

        Raises:
            ModelMismatchError: names each setting that differs.
        """
        self._require_lock()
        generation = self.generation
        if generation is not None and not same_settings(self._manifest.recipe.settings, settings):
            require_same(self.path, generation.recipe.settings, settings)
            self._drop(self._shards())
            self._write_manifest(replace(self._manifest, recipe=generation.recipe))
        require_same(self.path, self._manifest.recipe.settings, settings)

    def rebuild(self, *, settings: Mapping[str, Any], blocks: Mapping[str, int]) -> None:
        """Start anew; readers keep the last generation until the next commit.

        A rebuild with the same settings that was killed goes on where it stopped.
        """
        self._require_lock()
        recipe, generation = self._manifest.recipe, self.generation
        begun = generation is None or recipe.first_shard != generation.recipe.first_shard
        if begun and same_settings(recipe.settings, settings):
            return
        if begun:
            self._drop(self._shards())
        recipe = Recipe(dict(settings), dict(blocks), self._next_shard())
        self._write_manifest(replace(self._manifest, recipe=recipe))

    def append(self, rows: Sequence[Row]) -> Path:
        """Write regions to a new shard.

        Args:
            rows: regions, absent traits included, with the hashes of photograph and supports. All rows of a
                specimen stand in one call; they replace its older ones.

        Returns:
            The shard. Once this returns, the rows survive a crash.

        Raises:
            ValueError: a vector is not what the index holds, or a region is given twice.
        """
        self._require_lock()
        check_rows(rows, self._manifest.recipe.blocks)
        path = self._shard(self._next_shard())
        with appearing(path) as temporary:
            write_shard(temporary, rows)
        return path

    def done(self) -> dict[str, tuple[str, str]]:
        """Say which photographs need no more work.

        Returns:
            specimen -> (content hash of the photograph, hash of the supports) that its newest rows were made from.
        """
        return indexed(self._shards(), self.path / ".spill")

    def commit(
        self,
        collection: Collection,
        *,
        skipped: Sequence[Skipped] = (),
        numbers: Mapping[str, int],
        provenance: Mapping[str, Any],
        prune: bool = False,
    ) -> int:
        """Make a new generation from all shards and show it to readers.

        Args:
            collection: the table as it is now. An indexed specimen that is no longer in it keeps its old row.
            skipped: specimens that could not be indexed, and why.
            numbers: trait -> the user's own label number.
            provenance: versions, model names, checksums, time (JSON values).
            prune: take out specimens that are no longer in the collection, or that are skipped.

        Returns:
            The number of the generation.
        """
        self._require_lock()
        present = self.done().keys()
        gone = present - {specimen.id for specimen in collection.specimens}
        if prune:
            self._take_out(sorted(gone | (present & {row.specimen for row in skipped})))
            gone = set()
        previous = self.generation
        number = 1 if previous is None else previous.number + 1
        with appearing(self._snapshot(number)) as temporary:
            old = None if previous is None else self._snapshot(previous.number)
            write_snapshot(temporary, collection, previous=old, kept=sorted(gone))
        traits = self._make_generation(number, skipped)
        old_numbers = {} if previous is None else previous.numbers
        all_numbers = _label_numbers(traits, old_numbers, numbers)
        generation = Generation(number, self._manifest.recipe, all_numbers, dict(provenance))
        self._write_manifest(replace(self._manifest, generation=generation))
        self._clear()
        return number

    def size(self) -> int:
        """Add up the files of the folder, in bytes."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())

    def _make_generation(self, number: int, skipped: Sequence[Skipped]) -> list[str]:
        """Write and check the files of a generation under a temporary name, then give it its own."""
        if not self._shards():
            self.append([])
        with appearing(self._generation_folder(number)) as folder:
            folder.mkdir()
            return write_generation(
                folder,
                shards=self._shards(),
                snapshot=self._snapshot(number),
                skipped=skipped,
                blocks=self._manifest.recipe.blocks,
                reviews=self.reviews(),
                shrinkage=self._manifest.recipe.settings.get("whitening", {}),
            )

    def _take_out(self, specimens: Sequence[str]) -> None:
        if specimens:
            with appearing(self._shard(self._next_shard())) as temporary:
                write_tombstones(temporary, specimens)

    def _own(self, path: Path) -> Path:
        """Refuse a link out of the index: in a stranger's index it would lead us to read and write anywhere."""
        if not inside(path, [self.path]):
            raise IndexFolderError(f"{path} is a link that leads out of the index; put the files themselves there")
        return path

    @property
    def _reviews(self) -> Path:
        return self.path / "reviews" / "decisions.jsonl"

    def _generation_folder(self, number: int) -> Path:
        return self.path / "generations" / f"{number:04d}"

    def _snapshot(self, number: int) -> Path:
        return self.path / "specimens" / f"{number:04d}.parquet"

    def _shard(self, number: int) -> Path:
        return self.path / "shards" / f"{number:06d}.parquet"

    def _shards(self, first: int | None = None) -> list[Path]:
        """List the shards of the recipe at work, oldest first."""
        start = self._manifest.recipe.first_shard if first is None else first
        found = {int(path.stem): path for path in (self.path / "shards").glob("[0-9]*.parquet")}
        return [found[number] for number in sorted(found) if number >= start]

    def _next_shard(self) -> int:
        shards = self._shards(first=0)
        return max(self._manifest.recipe.first_shard, int(shards[-1].stem) + 1 if shards else 0)

    def _require_lock(self) -> None:
        if not self._lock.is_locked:
            raise RuntimeError("an index is only changed inside `with store.lock():`")

    def _write_manifest(self, manifest: Manifest) -> None:
        with appearing(self.path / "manifest.json") as temporary:
            temporary.write_text(manifest.to_json(), encoding="utf-8")
        self._manifest = manifest

    def _clear(self) -> None:
        """Remove unfinished files and all that no reader can come to any more: keep two generations."""
        for folder in (self.path, *self._folders()):
            for leftover in [*folder.glob(".*.tmp"), *folder.glob(".spill")]:
                remove(leftover)
        current = 0 if self.generation is None else self.generation.number
        for path in [*self.path.glob("generations/[0-9]*"), *self.path.glob("specimens/[0-9]*.parquet")]:
            if not current - 1 <= int(path.stem) <= current:
                remove(path)
        if self.generation is not None:
            first = min(self._manifest.recipe.first_shard, self.generation.recipe.first_shard)
            self._drop([path for path in self._shards(first=0) if int(path.stem) < first])

    def _folders(self) -> list[Path]:
        return [self.path / name for name in ("shards", "specimens", "generations", "thumbnails", "crops")]

    def _drop(self, shards: Sequence[Path]) -> None:
        for path in shards:
            path.unlink()


def _label_numbers(traits: Sequence[str], old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    """Give every trait a label number: today's, else the one it had, else the next free one."""
    numbers = dict(new)
    for trait in traits:
        if trait not in numbers:
            known = old.get(trait)
            free = max(numbers.values(), default=0) + 1
            numbers[trait] = free if known is None or known in numbers.values() else known
    return numbers
