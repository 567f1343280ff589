"""Room 5c: an index folder that is built into: shards are appended, generations committed (`folder`: what lies where).

A build appends shards and then commits: a new generation is made from all shards, checked, and the manifest is
replaced. Whatever moment a build is killed at, readers keep a whole generation and the next build goes on from the
last shard. One build at a time (`lock`); readers never wait.
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
from sst_retrieval.index.folder import IndexFolder
from sst_retrieval.index.generation import indexed, write_generation
from sst_retrieval.index.manifest import Generation, Manifest, Recipe, read_manifest, require_same, same_settings
from sst_retrieval.index.reviews import Review, append_reviews, read_reviews
from sst_retrieval.index.shards import Row, check_rows, read_notes, write_shard, write_tombstones
from sst_retrieval.index.snapshot import write_snapshot
from sst_retrieval.types import Skipped


class Store(IndexFolder):
    """An index folder and its manifest, to build into (inside `lock`) or to find the files of a generation in."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Use `Store.open` or `Store.create`."""
        super().__init__(path)
        self._manifest = manifest
        self._lock = FileLock(path / ".lock", timeout=0, thread_local=False)

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Say whether a folder holds an index."""
        return IndexFolder(path).manifest_file.is_file()

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
        IndexFolder(path).require_name()
        if path.exists() and (not path.is_dir() or any(not entry.name.startswith(".") for entry in path.iterdir())):
            raise IndexFolderError(f"{path} holds something already; choose a new or empty folder for the index")
        path.mkdir(parents=True, exist_ok=True)
        store = cls(path, Manifest(Recipe(dict(settings), dict(blocks), first_shard=0), None))
        with store._kept():
            if cls.exists(path):
                raise IndexFolderError(f"{path} was made an index by another process just now; begin again")
            store._write_manifest(store._manifest)
        return store

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an index.

        Raises:
            IndexFolderError: the folder is not an index, is broken, of a newer version, or has a ? in its path.
        """
        IndexFolder(path).require_name()
        store = cls(path, read_manifest(IndexFolder(path).manifest_file))
        for part in [store.manifest_file, store.decisions_file, *store.folders()]:
            store.own(part)
        return store

    @property
    def generation(self) -> Generation | None:
        """What readers see; None before the first commit."""
        return self._manifest.generation

    def reviews(self) -> tuple[Review, ...]:
        """Read what people decided about masks, oldest first."""
        return read_reviews(self.decisions_file)

    def add_reviews(self, reviews: Sequence[Review]) -> None:
        """Add to what people decided; a build may be at work meanwhile."""
        append_reviews(self.decisions_file, reviews)

    def state(self) -> tuple[int, int]:
        """Say what readers see, cheaply: number of the generation (0 before the first), size of the record of reviews.

        The two change whenever a reader would see something new.
        """
        size = self.decisions_file.stat().st_size if self.decisions_file.is_file() else 0
        return (0 if self.generation is None else self.generation.number), size

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other builds out, and clear away what a killed one left behind.

        Raises:
            IndexFolderError: another build is at work here.
        """
        with self._kept():
            self._manifest = read_manifest(self.manifest_file)
            for folder in self.folders():
                folder.mkdir(exist_ok=True)
            self._clear()
            yield

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
            self._drop(self._begun())
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
            self._drop(self._begun())
        recipe = Recipe(dict(settings), dict(blocks), self._next_shard())
        self._write_manifest(replace(self._manifest, recipe=recipe))

    def append(self, rows: Sequence[Row], *, notes: Mapping[str, Any] | None = None) -> Path:
        """Write regions to a new shard.

        Args:
            rows: regions, absent traits included, with the hashes of photograph and supports. All rows of a
                specimen stand in one call; they replace its older ones.
            notes: what else a later build must know (JSON values); see `notes`.

        Returns:
            The shard. Once this returns, the rows survive a crash.

        Raises:
            ValueError: a vector is not what the index holds, or a region is given twice.
        """
        self._require_lock()
        check_rows(rows, self._manifest.recipe.blocks)
        path = self.shard(self._next_shard())
        with atomic_write(path) as temporary:
            write_shard(temporary, rows, notes)
        return path

    def done(self) -> dict[str, tuple[str, str]]:
        """Say which photographs need no more work.

        Returns:
            specimen -> (content hash of the photograph, hash of the supports) that its newest rows were made from.
        """
        return indexed(self._begun(), self.path / ".spill")

    def notes(self) -> dict[str, Any]:
        """Collect the notes of all shards of the recipe at work; of two under one name the newer one counts."""
        return {name: note for shard in self._begun() for name, note in read_notes(shard).items()}

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
        with atomic_write(self.snapshot(number)) as temporary:
            old = None if previous is None else self.snapshot(previous.number)
            write_snapshot(temporary, collection, previous=old, kept=sorted(gone))
        traits = self._make_generation(number, skipped)
        old_numbers = {} if previous is None else previous.numbers
        all_numbers = _label_numbers(traits, old_numbers, numbers)
        generation = Generation(number, self._manifest.recipe, all_numbers, dict(provenance))
        self._write_manifest(replace(self._manifest, generation=generation))
        self._clear()
        return number

    def _make_generation(self, number: int, skipped: Sequence[Skipped]) -> list[str]:
        """Write and check the files of a generation under a temporary name, then give it its own."""
        if not self._begun():
            self.append([])
        with atomic_write(self.generation_folder(number)) as folder:
            folder.mkdir()
            return write_generation(
                folder,
                shards=self._begun(),
                snapshot=self.snapshot(number),
                skipped=skipped,
                blocks=self._manifest.recipe.blocks,
                reviews=self.reviews(),
                shrinkage=self._manifest.recipe.settings.get("whitening", {}),
            )

    def _take_out(self, specimens: Sequence[str]) -> None:
        if specimens:
            with atomic_write(self.shard(self._next_shard())) as temporary:
                write_tombstones(temporary, specimens)

    def _begun(self) -> list[Path]:
        """List the shards of the recipe at work, oldest first."""
        return self.shards(self._manifest.recipe.first_shard)

    def _next_shard(self) -> int:
        shards = self.shards()
        return max(self._manifest.recipe.first_shard, int(shards[-1].stem) + 1 if shards else 0)

    @contextmanager
    def _kept(self) -> Iterator[None]:
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
        write_text(self.manifest_file, manifest.to_json())
        self._manifest = manifest

    def _clear(self) -> None:
        """Remove unfinished files and all that no reader can come to any more: keep two generations."""
        for folder in (self.path, *self.folders(), *self.crop_folders()):
            for leftover in [*folder.glob(UNFINISHED), *folder.glob(".spill")]:
                remove(leftover)
        current = 0 if self.generation is None else self.generation.number
        for number, path in self.commits():
            if not current - 1 <= number <= current:
                remove(path)
        if self.generation is not None:
            first = min(self._manifest.recipe.first_shard, self.generation.recipe.first_shard)
            self._drop([path for path in self.shards() if int(path.stem) < first])

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
