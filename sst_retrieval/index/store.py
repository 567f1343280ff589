"""Write an index folder: append shards, then commit a generation.

1. `append` writes the regions of some photographs to a new shard.
2. `commit` makes a new generation from all shards, checks it, and replaces the manifest.
3. Shards and generations that no reader can reach any more are removed; the last two generations stay.

Each step takes effect by one atomic rename: whenever a build is killed, readers keep a whole generation and the next
build continues after the last shard. One build at a time (`lock`); readers never wait. `index.paths` says what lies
where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import IndexFolderError
from sst_retrieval.files import UNFINISHED, atomic_write, remove, write_text
from sst_retrieval.index.generation import read_hashes, write_generation
from sst_retrieval.index.manifest import Generation, Manifest, Recipe, read_manifest, require_same, same_settings
from sst_retrieval.index.paths import GenerationPaths, IndexPaths
from sst_retrieval.index.reviews import Review, append_reviews, read_reviews
from sst_retrieval.index.shards import ShardRow, check_rows, read_notes, write_shard, write_tombstones
from sst_retrieval.index.snapshot import write_snapshot
from sst_retrieval.types import Skipped


class Store:
    """An index folder and its manifest. Changes are made inside `lock`; reviews may be added at any time.

    Attributes:
        path: the index folder.
        paths: what lies where in it.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Use `Store.open` or `Store.create`."""
        self.path, self.paths = path, IndexPaths(path)
        self._manifest = manifest
        self._lock = FileLock(self.paths.lock_file, timeout=0, thread_local=False)

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Say whether a folder holds an index."""
        return IndexPaths(path).manifest_file.is_file()

    @classmethod
    def create(cls, path: Path, *, settings: Mapping[str, Any], blocks: Mapping[str, int]) -> Self:
        """Make an empty index.

        Args:
            path: a new or empty folder.
            settings: everything that changes a mask or a vector (JSON values).
            blocks: block name -> number of values, in the order they are concatenated.

        Raises:
            IndexFolderError: the folder holds something already, has a ? in its path, or another process makes an
                index there.
        """
        IndexPaths(path).require_valid_root()
        if path.exists() and (not path.is_dir() or any(not entry.name.startswith(".") for entry in path.iterdir())):
            raise IndexFolderError(f"{path} holds something already; choose a new or empty folder for the index")
        path.mkdir(parents=True, exist_ok=True)
        store = cls(path, Manifest(Recipe(dict(settings), dict(blocks), first_shard=0), None))
        with store._acquire_lock():
            if cls.exists(path):
                raise IndexFolderError(f"{path} was made an index by another process just now; begin again")
            store._write_manifest(store._manifest)
        return store

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an index.

        Raises:
            IndexFolderError: the folder is not an index, is broken, of a newer version, has a ? in its path, or holds
                a link that leads out of it.
        """
        IndexPaths(path).require_valid_root()
        paths = IndexPaths(path)
        store = cls(path, read_manifest(paths.manifest_file))
        for part in [paths.manifest_file, paths.decisions_file, *paths.build_folders]:
            paths.require_inside(part)
        return store

    @property
    def generation(self) -> Generation | None:
        """What readers see; None before the first commit."""
        return self._manifest.generation

    def reviews(self) -> tuple[Review, ...]:
        """Read the record of reviews, oldest first."""
        return read_reviews(self.paths.decisions_file)

    def add_reviews(self, reviews: Sequence[Review]) -> None:
        """Append to the record of reviews; a build may hold the lock meanwhile."""
        append_reviews(self.paths.decisions_file, reviews)

    def state(self) -> tuple[int, int]:
        """Return a cheap fingerprint of what a reader sees; it changes whenever a reader would see something new.

        Returns:
            (number of the generation, 0 before the first; size of the record of reviews in bytes).
        """
        size = self.paths.decisions_file.stat().st_size if self.paths.decisions_file.is_file() else 0
        return (0 if self.generation is None else self.generation.number), size

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other builds out, and remove what a killed one left behind.

        Raises:
            IndexFolderError: another build holds the lock.
        """
        with self._acquire_lock():
            self._manifest = read_manifest(self.paths.manifest_file)
            for folder in self.paths.build_folders:
                folder.mkdir(exist_ok=True)
            self._remove_leftovers()
            yield

    def require_same_model(self, settings: Mapping[str, Any]) -> None:
        """Check that new regions can be compared with those of the index.

        While a rebuild is unfinished, its settings are the ones to match; the settings of the last commit discard the
        rebuild.

        Args:
            settings: those of the build, as for `create`.

        Raises:
            ModelMismatchError: names each setting that differs.
        """
        self._require_lock()
        generation = self.generation
        if generation is not None and not same_settings(self._manifest.recipe.settings, settings):
            require_same(self.path, generation.recipe.settings, settings)
            _remove_files(self._recipe_shards())
            self._write_manifest(replace(self._manifest, recipe=generation.recipe))
        require_same(self.path, self._manifest.recipe.settings, settings)

    def begin_rebuild(self, *, settings: Mapping[str, Any], blocks: Mapping[str, int]) -> None:
        """Start a new recipe without any shards; readers keep the last generation until the next commit.

        A killed rebuild with the same settings continues where it stopped.

        Args:
            settings: as for `create`.
            blocks: as for `create`.
        """
        self._require_lock()
        recipe, generation = self._manifest.recipe, self.generation
        unfinished = generation is None or recipe.first_shard != generation.recipe.first_shard
        if unfinished and same_settings(recipe.settings, settings):
            return
        if unfinished:
            _remove_files(self._recipe_shards())
        recipe = Recipe(dict(settings), dict(blocks), self._next_shard())
        self._write_manifest(replace(self._manifest, recipe=recipe))

    def append(self, rows: Sequence[ShardRow], *, notes: Mapping[str, Any] | None = None) -> Path:
        """Write regions to a new shard.

        Args:
            rows: regions, absent traits included, with the hashes of photograph and supports. All rows of a
                specimen stand in one call; they replace its older ones.
            notes: what else a later build must know (JSON values); see `read_notes`.

        Returns:
            The shard. Once this returns, the rows survive a crash.

        Raises:
            ValueError: a vector is not what the index holds, or a region is given twice.
        """
        self._require_lock()
        check_rows(rows, self._manifest.recipe.blocks)
        path = self.paths.shard_file(self._next_shard())
        with atomic_write(path) as temporary:
            write_shard(temporary, rows, notes)
        return path

    def indexed_hashes(self) -> dict[str, tuple[str, str]]:
        """Return what the newest rows of each indexed specimen were made from.

        Returns:
            specimen -> (content hash of the photograph, hash of the supports).
        """
        return read_hashes(self._recipe_shards(), self.paths.spill_folder)

    def read_notes(self) -> dict[str, Any]:
        """Merge the notes of the present recipe's shards; of two under one name the newer one wins."""
        return {name: note for shard in self._recipe_shards() for name, note in read_notes(shard).items()}

    def commit(
        self,
        collection: Collection,
        *,
        skipped: Sequence[Skipped] = (),
        numbers: Mapping[str, int],
        provenance: Mapping[str, Any],
        prune: bool = False,
    ) -> int:
        """Make a new generation from all shards and let readers see it.

        Args:
            collection: the table as it is now. An indexed specimen that is no longer in it keeps its old row.
            skipped: specimens that could not be indexed, and why.
            numbers: trait -> the user's own label number.
            provenance: versions, model names, checksums, time (JSON values).
            prune: remove specimens that are no longer in the collection, or that are skipped.

        Returns:
            The number of the generation.
        """
        self._require_lock()
        present = self.indexed_hashes().keys()
        gone = present - {specimen.id for specimen in collection.specimens}
        if prune:
            self._append_tombstones(sorted(gone | (present & {row.specimen for row in skipped})))
            gone = set()
        previous = self.generation
        number = 1 if previous is None else previous.number + 1
        with atomic_write(self.paths.snapshot_file(number)) as temporary:
            old = None if previous is None else self.paths.snapshot_file(previous.number)
            write_snapshot(temporary, collection, previous=old, retained=sorted(gone))
        traits = self._write_generation(number, skipped)
        old_numbers = {} if previous is None else previous.numbers
        all_numbers = _label_numbers(traits, old_numbers, numbers)
        generation = Generation(number, self._manifest.recipe, all_numbers, dict(provenance))
        self._write_manifest(replace(self._manifest, generation=generation))
        self._remove_leftovers()
        return number

    def _write_generation(self, number: int, skipped: Sequence[Skipped]) -> list[str]:
        """Write and check the files of a generation under a temporary name, then give it its own."""
        if not self._recipe_shards():
            self.append([])
        with atomic_write(self.paths.generation(number).folder) as folder:
            folder.mkdir()
            return write_generation(
                GenerationPaths(folder),
                shards=self._recipe_shards(),
                snapshot=self.paths.snapshot_file(number),
                skipped=skipped,
                blocks=self._manifest.recipe.blocks,
                reviews=self.reviews(),
                shrinkage=self._manifest.recipe.settings.get("whitening", {}),
            )

    def _append_tombstones(self, specimens: Sequence[str]) -> None:
        if specimens:
            with atomic_write(self.paths.shard_file(self._next_shard())) as temporary:
                write_tombstones(temporary, specimens)

    def _recipe_shards(self) -> list[Path]:
        """List the shards of the present recipe, oldest first."""
        return self.paths.list_shards(self._manifest.recipe.first_shard)

    def _next_shard(self) -> int:
        shards = self.paths.list_shards()
        return max(self._manifest.recipe.first_shard, int(shards[-1].stem) + 1 if shards else 0)

    @contextmanager
    def _acquire_lock(self) -> Iterator[None]:
        try:
            self._lock.acquire()
        except Timeout as error:
            raise IndexFolderError(f"{self.path} is being built by another process; wait until it ends") from error
        try:
            yield
        finally:
            self._lock.release()

    def _require_lock(self) -> None:
        if not self._lock.is_locked:
            raise RuntimeError("an index is only changed inside `with store.lock():`")

    def _write_manifest(self, manifest: Manifest) -> None:
        write_text(self.paths.manifest_file, manifest.to_json())
        self._manifest = manifest

    def _remove_leftovers(self) -> None:
        """Remove unfinished files, all but the last two generations, and shards that neither of them uses."""
        for folder in (self.path, *self.paths.build_folders, *self.paths.list_crop_folders()):
            for leftover in [*folder.glob(UNFINISHED), *folder.glob(".spill")]:
                remove(leftover)
        current = 0 if self.generation is None else self.generation.number
        for number, path in self.paths.list_commits():
            if not current - 1 <= number <= current:
                remove(path)
        if self.generation is not None:
            first = min(self._manifest.recipe.first_shard, self.generation.recipe.first_shard)
            _remove_files([path for path in self.paths.list_shards() if int(path.stem) < first])


def _remove_files(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink()


def _label_numbers(traits: Sequence[str], old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    """Assign a label number to every trait: the given one, else the old one, else the next free one."""
    numbers = dict(new)
    for trait in traits:
        if trait not in numbers:
            known = old.get(trait)
            free = max(numbers.values(), default=0) + 1
            numbers[trait] = free if known is None or known in numbers.values() else known
    return numbers
