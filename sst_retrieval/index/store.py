"""Write an index folder: append shards, then commit a generation.

1. `append` writes the regions of some photographs to a new shard.
2. `commit` makes a new generation from all shards, or by adding to the last one (`index.epochs`), checks it, and
   replaces the manifest.
3. Shards and generations that no reader can reach any more are removed; the last two generations stay.

Each step takes effect by one atomic rename: whenever a build is killed, readers keep a whole generation and the next
build continues after the last shard. One build at a time (`lock`); readers never wait. `index.paths` says what lies
where.

Every file has a checksum (`index.checksums`): those of a commit stand in the manifest, those of shards in a record of
their own. A build reads no shard, no older table and no catalog before all of its bytes were checked, each once; of a
large index it need not read old shards, and checks their sizes and both ends. Source data is removed only if the
manifest that asks for it has a checksum that fits; else it is put into `damaged/`.
"""

from __future__ import annotations

import itertools
import math
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock, Timeout

from sst_retrieval.collection import specimens as tables
from sst_retrieval.collection.table_photographs import TablePhotographs
from sst_retrieval.errors import IndexFolderError
from sst_retrieval.files import atomic_write, move, remove, write_text
from sst_retrieval.index.addition import Added, NotAnAdditionError, add_to_generation
from sst_retrieval.index.checksums import FileChecksum, compute_checksum, find_difference, find_unreadable, hash_json
from sst_retrieval.index.disk import explain_disk_errors
from sst_retrieval.index.epochs import Epoch, read_epoch
from sst_retrieval.index.generation import write_generation
from sst_retrieval.index.loose_pictures import pack_pictures
from sst_retrieval.index.made import (
    Made,
    list_made,
    list_made_in_catalog,
    read_made,
    read_made_in_catalog,
    read_notes_in_catalog,
)
from sst_retrieval.index.manifest import (
    Contents,
    Generation,
    Manifest,
    Recipe,
    adopt_comparison,
    read_manifest,
    repair_advice,
    require_same,
    same_settings,
)
from sst_retrieval.index.paths import GenerationPaths, IndexPaths
from sst_retrieval.index.picture_pack import merge_pack
from sst_retrieval.index.reviews import Review, append_reviews, hash_record, hold_record, read_record, read_reviews
from sst_retrieval.index.shard_checksums import ShardChecksum, append_shard_checksums, read_shard_checksums
from sst_retrieval.index.shard_rewriting import MOST_OPEN, must_be_rewritten, rewrite_shards
from sst_retrieval.index.shards import (
    EmptyRow,
    ShardRow,
    check_rows,
    count_photographs,
    read_notes,
    shard_remedy,
    write_shard,
    write_tombstones,
)
from sst_retrieval.index.snapshot import write_snapshot
from sst_retrieval.index.staged_shards import StagedShard
from sst_retrieval.index.thumbnails import were_compared
from sst_retrieval.types import Skipped

Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class _Base:
    """The generation that a commit may add to.

    Attributes:
        number: of the generation.
        paths: of its files.
        epoch: how it stands.
        last_shard: number of the last shard that is in it.
    """

    number: int
    paths: GenerationPaths
    epoch: Epoch
    last_shard: int


@dataclass(frozen=True, slots=True)
class TableDifference:
    """How the photographs that are indexed differ from those of a table.

    Attributes:
        indexed: how many are indexed.
        gone: those that are indexed and not in the table.
        unreadable: those that are indexed and skipped now.
    """

    indexed: int
    gone: frozenset[str]
    unreadable: frozenset[str]


class Store:
    """An index folder and its manifest. Changes are made inside `lock`; reviews may be added at any time.

    Attributes:
        path: the index folder.
        paths: what lies where in it.
        notes: what a person should know about the files, one sentence each; of the present lock.
        changed_individuals: the only ones whose pictures may differ from the catalog since the last commit of the
            present lock; None: any may.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Use `Store.open` or `Store.create`."""
        self.path, self.paths = path, IndexPaths(path)
        self.notes: list[str] = []
        self._manifest = manifest
        self._checked: set[int] = set()
        self._base: _Base | None = None
        self._unreadable: int | None = None
        self._requested: Mapping[str, Any] | None = None
        self._pictures_compared = False
        self.changed_individuals: frozenset[str] | None = None
        self._trusted = manifest.sealed
        self._following: int | None = None
        self._lock = FileLock(self.paths.lock_file, timeout=0, thread_local=False)

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Say whether a folder holds an index."""
        paths = IndexPaths(path)
        # Whatever it is: `open` says what is wrong with a manifest that is a folder, or missing beside its copy.
        return os.path.lexists(paths.manifest_file) or paths.manifest_backup.is_file()

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
        for part in [paths.manifest_file, paths.decisions_file, *paths.build_folders, *paths.old_picture_folders]:
            paths.require_inside(part)
        return store

    @property
    def generation(self) -> Generation | None:
        """What readers see; None before the first commit."""
        return self._manifest.generation

    @property
    def manifest(self) -> Manifest:
        """The manifest as it was last read or written."""
        return self._manifest

    def check_generation(self) -> None:
        """Check size and both ends of the files that a reader opens; without checksums, nothing.

        Raises:
            IndexFolderError: one is missing or damaged.
        """
        contents, generation = self._manifest.contents, self.generation
        if contents is None or generation is None:
            return
        folder = self.paths.relative(self.paths.generation(generation.number).folder)
        for name, checksum in contents.files.items():
            if name.startswith(f"{folder}/"):
                path = self.paths.require_inside(self.path / name)
                wrong = find_difference(path, checksum, whole=False)
                if wrong is not None:
                    raise IndexFolderError(f"{path} {wrong}; {derived_remedy(self.path)}")

    def reviews(self) -> tuple[Review, ...]:
        """Read the record of reviews, oldest first.

        Raises:
            IndexFolderError: it is damaged, or has lost reviews since the last commit.
        """
        contents = self._manifest.contents
        return read_reviews(self.paths.decisions_file, None if contents is None else contents.reviews)

    def add_reviews(self, reviews: Sequence[Review]) -> None:
        """Append to the record of reviews; a build may hold the lock meanwhile."""
        append_reviews(self.paths.decisions_file, reviews)

    def hold_reviews(self) -> AbstractContextManager[None]:
        """Keep other programs from adding reviews until the context ends (see `reviews.hold_record`)."""
        return hold_record(self.paths.decisions_file)

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
            self.notes, self._checked, self._trusted = [], set(), self._manifest.sealed
            self._base = self._unreadable = self._following = self._requested = None
            self._require_generation()
            for folder in self.paths.build_folders:
                folder.mkdir(exist_ok=True)
            self._remove_leftovers()
            self._copy_manifest()
            self.changed_individuals = None
            self._pictures_compared = self.generation is not None and were_compared(self.paths, self.generation.number)
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
        begun = self._manifest.rebuild_begun and not same_settings(self._manifest.recipe.settings, settings)
        if begun and generation is not None:
            require_same(self.path, generation.recipe.settings, settings)
            self._remove_shards(self.paths.list_shards(self._manifest.recipe.first_shard))
            self._write_manifest(replace(self._manifest, recipe=generation.recipe))
        require_same(self.path, self._manifest.recipe.settings, settings)
        self._requested = settings

    def begin_rebuild(self, *, settings: Mapping[str, Any], blocks: Mapping[str, int]) -> None:
        """Start a new recipe without any shards; readers keep the last generation until the next commit.

        A killed rebuild with the same settings continues where it stopped.

        Args:
            settings: as for `create`.
            blocks: as for `create`.
        """
        self._require_lock()
        self._requested = settings
        recipe, generation = self._manifest.recipe, self.generation
        unfinished = generation is None or self._manifest.rebuild_begun
        if unfinished and same_settings(recipe.settings, settings):
            return
        if unfinished:
            self._remove_shards(self.paths.list_shards(recipe.first_shard))
        recipe = Recipe(dict(settings), dict(blocks), self._next_shard())
        self._write_manifest(replace(self._manifest, recipe=recipe))
        self._trusted = True  # What is removed at the next commit was counted, not read.

    def append(
        self, rows: Sequence[ShardRow], *, notes: Mapping[str, Any] | None = None, empty: Sequence[EmptyRow] = ()
    ) -> Path:
        """Write regions to a new shard.

        Args:
            rows: regions, absent traits included, with the hashes of photograph and supports. All rows of a
                photograph stand in one call; they replace its older ones.
            notes: what else a later build must know (JSON values); see `read_notes`.
            empty: photographs on which no individual was found.

        Returns:
            The shard. Once this returns, the rows survive a crash.

        Raises:
            ValueError: a vector is not what the index holds, or a region is given twice.
        """
        self._require_lock()
        check_rows(rows, self._manifest.recipe.blocks)
        names = {region.photograph for region, _, _ in rows} | {name for name, _, _ in empty}
        with self._explain_disk(), self._new_shard(names) as (temporary, path):
            write_shard(temporary, rows, notes, empty)
        with self._explain_disk():
            pack_pictures(self.paths, (region.individual for region, _, _ in rows))
        return path

    def reserve_shard(self) -> int:
        """Reserve the number of a shard, which no other shard gets: those of a build follow each other."""
        self._require_lock()
        number = self._next_shard()
        self._following = number + 1
        return number

    def adopt(self, staged: StagedShard, number: int) -> Path:
        """Put a shard that another process wrote into its place, and its pictures into the pack.

        Args:
            staged: the shard. All rows of a photograph stand in one; they replace its older ones.
            number: that was reserved for it (`reserve_shard`); shards are put into their places in that order.

        Returns:
            The shard. Once this returns, the rows survive a crash.

        Raises:
            IndexFolderError: it is not as it was written, or the disk does not take it.
        """
        self._require_lock()
        path = self.paths.shard_file(number)
        with self._explain_disk():
            wrong = find_difference(staged.shard, staged.checksum, whole=False)
            if wrong is not None:
                raise IndexFolderError(
                    f"{staged.shard}, which a worker wrote, {wrong}; put the index on a file system where all machines "
                    "see the same, then run the build again"
                )
            # Before the shard: a build that is killed in between makes them again with it.
            if staged.pictures is not None:
                merge_pack(self.paths.pictures_file, staged.pictures)
                staged.pictures.unlink()
            move(staged.shard, path)
            self._keep_checksum(number, staged.checksum, staged.photographs)
        return path

    @contextmanager
    def _explain_disk(self) -> Iterator[None]:
        """Say in one sentence that files cannot be written, and remove what was being written.

        Raises:
            IndexFolderError: for every error of the disk; the committed state is as it was.
        """
        try:
            with explain_disk_errors(self.path):
                yield
        except IndexFolderError:
            self._remove_unfinished()
            following = 1 if self.generation is None else self.generation.number + 1
            remove(self.paths.snapshot_file(following))
            remove(self.paths.generation(following).folder)
            raise

    @contextmanager
    def _new_shard(self, specimens: Collection[str]) -> Iterator[tuple[Path, Path]]:
        """Write the next shard: yields the path to write to, and the path that it gets; then its checksum is kept."""
        number = self.reserve_shard()
        path = self.paths.shard_file(number)
        with atomic_write(path) as temporary:
            yield temporary, path
            checksum = compute_checksum(temporary)
        self._keep_checksum(number, checksum, len(specimens))

    def _keep_checksum(self, number: int, checksum: FileChecksum, photographs: int) -> None:
        """Keep the checksum of a shard that is in its place, not before: without its shard it would be a lost one."""
        append_shard_checksums(self.paths.shard_checksums_file, [ShardChecksum(number, checksum, photographs)])
        self._checked.add(number)

    def indexed_hashes(self) -> dict[str, tuple[str, str]]:
        """Return what the newest rows of each indexed photograph were made from.

        Returns:
            photograph -> (content hash of the photograph, hash of the supports).
        """
        made = self._read_made()
        return {name: (content, supports) for name, (content, supports, removed) in made.items() if not removed}

    def indexed_photographs(self) -> set[str]:
        """Return the photographs that are indexed: the keys of `indexed_hashes`, in a tenth of the memory."""
        return set(self._list_made(removed=False).to_pylist())

    def removed_photographs(self) -> set[str]:
        """Return the photographs that were taken out of the index, and are not in it again."""
        return set(self._list_made(removed=True).to_pylist())

    def compare_with_table(self, collection: tables.Collection, skipped: Sequence[Skipped]) -> TableDifference:
        """Compare the photographs that are indexed with a table.

        Args:
            collection: the table.
            skipped: photographs that cannot be indexed now.

        Raises:
            IndexFolderError: a shard is missing or damaged.
        """
        indexed = self._list_made(removed=False)
        photographs = collection.photographs
        if isinstance(photographs, TablePhotographs):
            present = photographs.ids
        else:
            present = pa.array((photograph.id for photograph in photographs), pa.large_string())
        gone = indexed.filter(pc.invert(pc.is_in(indexed, present)))
        names = pa.array(sorted({row.photograph for row in skipped}), pa.large_string())
        unreadable = names.filter(pc.is_in(names, indexed))
        return TableDifference(len(indexed), frozenset(gone.to_pylist()), frozenset(unreadable.to_pylist()))

    def _list_made(self, *, removed: bool) -> pa.ChunkedArray:
        """List the photographs that are indexed, or that were removed, as Arrow's large strings."""
        base, old = self._read_base(list_made_in_catalog)
        first = self._manifest.recipe.first_shard if base is None else base.last_shard + 1
        found = [list_made(self._check_shards(first), self.paths.spill_folder)]
        if old is not None:
            new = found[0]["photograph"]
            found.append(old.filter(pc.invert(pc.is_in(old["photograph"], new))))
        names = [table["photograph"].filter(pc.equal(table["removed"], removed)) for table in found]
        return pa.chunked_array(
            [chunk.cast(pa.large_string()) for each in names for chunk in each.chunks], pa.large_string()
        )

    def _read_made(self) -> dict[str, Made]:
        """Read what the newest rows of each photograph were made from: of old shards, from the catalog if it can tell.

        Raises:
            IndexFolderError: a shard is missing or damaged.
        """
        base, old = self._read_base(read_made_in_catalog)
        if base is None or old is None:
            return read_made(self._recipe_shards(), self.paths.spill_folder)
        return {
            **old,
            **read_made(self._check_shards(base.last_shard + 1), self.paths.spill_folder),
        }

    def _find_base(self) -> _Base | None:
        """Return what can be added to; what is read of it is checked wholly, its shards at their ends. None if nothing.

        Raises:
            IndexFolderError: a shard is missing or damaged.
        """
        generation, contents = self.generation, self._manifest.contents
        if generation is None or contents is None or not self._trusted or self._manifest.rebuild_begun:
            return None
        if generation.number == self._unreadable:
            return None
        if self._base is None or self._base.number != generation.number:
            paths = self.paths.generation(generation.number)
            try:
                epoch = read_epoch(paths)
                if epoch is None or not epoch.is_large or not self._is_whole(paths, contents):
                    return None
            except IndexFolderError:
                return None  # It is made again, from the shards.
            if len(self._check_shards(generation.recipe.first_shard, contents.last_shard)) != epoch.shards:
                return None  # One was set aside; what was in it is made again.
            self._base = _Base(generation.number, paths, epoch, contents.last_shard)
        return self._base

    def _read_base(self, read: Callable[[Path], Read]) -> tuple[_Base | None, Read | None]:
        """Read the catalog of what can be added to; if it is damaged, it is made again, from the shards.

        Args:
            read: reads it.

        Returns:
            What can be added to, and what was read; None if there is none.
        """
        base = self._find_base()
        if base is not None:
            try:
                return base, read(base.paths.catalog_file)
            except IndexFolderError:
                self._base, self._unreadable = None, base.number
        return None, None

    def _is_whole(self, paths: GenerationPaths, contents: Contents) -> bool:
        """Check the files of a generation: wholly those that an addition copies, of those that it links both ends."""
        folder = self.paths.relative(paths.folder)
        linked = ["vectors/", "segments/", "base.duckdb", "owners/base/"]
        linked += [] if paths.base_file.exists() else ["catalog.duckdb", "owners/"]
        for name, checksum in contents.files.items():
            if name.startswith(f"{folder}/"):
                whole = not name.startswith(tuple(f"{folder}/{each}" for each in linked)) or name.endswith(".npz")
                if find_difference(self.paths.require_inside(self.path / name), checksum, whole=whole) is not None:
                    return False
        return True

    def read_notes(self) -> dict[str, Any]:
        """Merge the notes of the present recipe's shards; of two under one name the newer one wins."""
        base, old = self._read_base(read_notes_in_catalog)
        first = self._manifest.recipe.first_shard if base is None else base.last_shard + 1
        new = {name: note for shard in self._check_shards(first) for name, note in read_notes(shard).items()}
        return {**(old or {}), **new}

    def commit(
        self,
        collection: tables.Collection,
        *,
        skipped: Sequence[Skipped] = (),
        numbers: Mapping[str, int],
        provenance: Mapping[str, Any],
        prune: bool = False,
        refit: bool = False,
    ) -> int:
        """Make a new generation of all shards and let readers see it.

        Args:
            collection: the table as it is now. An indexed photograph that is no longer in it keeps its old row.
            skipped: photographs that could not be indexed, and why.
            numbers: trait -> the user's own label number.
            provenance: versions, model names, checksums, time (JSON values).
            prune: remove photographs that are no longer in the collection, or that are skipped.
            refit: begin a new epoch (see `index.epochs`), also where something could be added to the last one.

        Returns:
            The number of the generation.

        Raises:
            IndexFolderError: a source file is damaged, or the disk is full; the old state stays as it was.
        """
        self._require_lock()
        with self._explain_disk():
            return self._commit(collection, skipped, numbers, provenance, prune=prune, refit=refit)

    def _commit(
        self,
        collection: tables.Collection,
        skipped: Sequence[Skipped],
        numbers: Mapping[str, int],
        provenance: Mapping[str, Any],
        *,
        prune: bool,
        refit: bool,
    ) -> int:
        difference = self.compare_with_table(collection, skipped)
        gone = difference.gone
        if prune:
            self._append_tombstones(sorted(gone | difference.unreadable))
            gone = frozenset()
        previous = self.generation
        number = 1 if previous is None else previous.number + 1
        with atomic_write(self.paths.snapshot_file(number)) as temporary:
            old = self._previous_snapshot(needed=bool(gone))
            write_snapshot(temporary, collection, previous=old, retained=sorted(gone))
        if not self.paths.list_shards(self._manifest.recipe.first_shard):
            self.append([])
        added = None if refit else self._add_generation(number, skipped, before=old)
        recipe = self._choose_recipe(refit=refit)
        if added is None:
            shards = self._recipe_shards()
            if self._trusted and must_be_rewritten(shards):
                shards = self._rewrite_shards(shards)
                recipe = replace(recipe, first_shard=int(shards[0].stem))
            traits = self._write_generation(number, skipped, shards, recipe)
        else:
            traits = added.traits
        self.changed_individuals = added.individuals if added is not None and self._pictures_compared else None
        self._pictures_compared = False
        old_numbers = {} if previous is None else previous.numbers
        all_numbers = _label_numbers(traits, old_numbers, numbers)
        generation = Generation(number, recipe, all_numbers, dict(provenance))
        self._write_manifest(Manifest(recipe, generation, self._list_contents(number)))
        self._remove_leftovers()
        return number

    def _choose_recipe(self, *, refit: bool) -> Recipe:
        """Return the recipe of the next generation: regions stay as they are, but may be compared otherwise."""
        recipe = self._manifest.recipe
        if self._requested is None:
            return recipe
        adopted = adopt_comparison(recipe, self._requested)
        if refit or self.generation is None or self._manifest.rebuild_begun:
            return adopted
        if hash_json(adopted.settings) != hash_json(recipe.settings):
            self.notes.append(
                "similarities are computed as by the version that began this index; --refit computes them as in a new "
                "index (nothing is described again)"
            )
        return recipe

    def remake_generation(self, skipped: Sequence[Skipped]) -> int:
        """Make the files of the committed generation again, from its shards and its specimen table.

        Args:
            skipped: specimens that could not be indexed, and why.

        Returns:
            The number of the new generation, which takes its place.
        """
        self._require_lock()
        old = self._manifest.generation
        if old is None:
            raise RuntimeError("there is no generation yet")
        number = old.number + 1
        with atomic_write(self.paths.snapshot_file(number)) as temporary:
            shutil.copyfile(self.paths.snapshot_file(old.number), temporary)
        contents, recipe = self._manifest.contents, self._manifest.recipe
        last = math.inf if contents is None else contents.last_shard
        end = recipe.first_shard if self._manifest.rebuild_begun else math.inf
        shards = [
            path for path in self.paths.list_shards(old.recipe.first_shard) if int(path.stem) <= min(last, end - 1)
        ]
        self._write_generation(number, skipped, shards, old.recipe)
        contents = replace(self._list_contents(number), last_shard=max(int(path.stem) for path in shards))
        self._write_manifest(Manifest(recipe, replace(old, number=number), contents))
        self._remove_leftovers()
        return number

    def accept_reviews(self) -> None:
        """Take the record of reviews as it is now for the one of the last commit."""
        self._require_lock()
        if self._manifest.contents is not None:
            reviews = hash_record(read_record(self.paths.decisions_file))
            if reviews != self._manifest.contents.reviews and not self._begins_as_committed():
                contents = replace(self._manifest.contents, reviews=reviews)
                self._write_manifest(replace(self._manifest, contents=contents))

    def _begins_as_committed(self) -> bool:
        try:
            self.reviews()
        except IndexFolderError:
            return False
        return True

    def accept_snapshot(self) -> None:
        """Take the specimen table of the last commit as it is now for the right one."""
        self._require_lock()
        if self._manifest.contents is not None and self.generation is not None:
            path = self.paths.snapshot_file(self.generation.number)
            files = {**self._manifest.contents.files, self.paths.relative(path): compute_checksum(path)}
            self._write_manifest(replace(self._manifest, contents=replace(self._manifest.contents, files=files)))

    def _previous_snapshot(self, *, needed: bool) -> Path | None:
        """Return the specimen table of the last commit, its bytes checked; None if there is none.

        Raises:
            IndexFolderError: it is damaged, and needed.
        """
        if self.generation is None:
            return None
        path = self.paths.snapshot_file(self.generation.number)
        wrong = find_difference(path, checksum, whole=True) if (checksum := self._listed(path)) else None
        wrong = wrong or find_unreadable(path)
        if wrong is None:
            return path
        if needed:
            raise IndexFolderError(
                f"{path} {wrong}: the rows of specimens that are no longer in the table are lost; "
                f"{repair_advice(self.path)}"
            )
        self.notes.append(f"{path.name}, the specimen table of the last build, {wrong}; nothing of it was needed")
        return None

    def _listed(self, path: Path) -> FileChecksum | None:
        """Return the checksum of a file of the last commit; None if an older version committed it."""
        contents = self._manifest.contents
        return None if contents is None else contents.files.get(self.paths.relative(path))

    def _list_contents(self, number: int) -> Contents:
        """List the files of a generation that is in its place, with their checksums."""
        folder = self.paths.generation(number).folder
        files = [self.paths.snapshot_file(number), *sorted(path for path in folder.rglob("*") if path.is_file())]
        linked = self._list_linked()
        checksums = {self.paths.relative(path): self._checksum(path, linked) for path in files}
        last = int(self.paths.list_shards()[-1].stem)
        return Contents(checksums, last, hash_record(read_record(self.paths.decisions_file)))

    def _checksum(self, path: Path, linked: Mapping[tuple[int, int], FileChecksum]) -> FileChecksum:
        """Return the checksum of a file of a new generation: the one it had, if it is a link to one of the last."""
        state = path.stat()
        known = linked.get((state.st_dev, state.st_ino)) if state.st_nlink > 1 else None
        return compute_checksum(path) if known is None else known

    def _list_linked(self) -> dict[tuple[int, int], FileChecksum]:
        """List the files of the last generation, which the next one may have linked: device and inode -> checksum."""
        found = {}
        for name, checksum in () if self._manifest.contents is None else self._manifest.contents.files.items():
            path = self.path / name
            if path.exists():
                state = path.stat()
                found[state.st_dev, state.st_ino] = checksum
        return found

    def _add_generation(self, number: int, skipped: Sequence[Skipped], before: Path | None) -> Added | None:
        """Write and check the files of a generation that adds to the last one; returns None if it must be a full one.

        Args:
            number: of the generation.
            skipped: photographs that could not be indexed, and why.
            before: specimen table of the last one, if it is whole.

        Raises:
            IndexFolderError: a shard is missing or damaged.
        """
        base = self._find_base()
        if base is None:
            return None
        shards = self._check_shards(base.last_shard + 1)
        if self._manifest.reads_shards and base.epoch.shards + len(shards) > MOST_OPEN:
            return None
        try:
            with atomic_write(self.paths.generation(number).folder) as folder:
                folder.mkdir()
                return add_to_generation(
                    GenerationPaths(folder),
                    base.paths,
                    base.epoch,
                    number=number,
                    shards=shards,
                    snapshot=self.paths.snapshot_file(number),
                    before=before,
                    skipped=skipped,
                    blocks=self._manifest.recipe.blocks,
                    reviews=self.reviews(),
                    is_whole=self._is_as_listed,
                )
        except NotAnAdditionError:
            return None

    def _is_as_listed(self, path: Path) -> bool:
        """Say whether a file of the last commit has the content that it had then."""
        checksum = self._listed(path)
        return checksum is not None and find_difference(path, checksum, whole=True) is None

    def _write_generation(
        self, number: int, skipped: Sequence[Skipped], shards: Sequence[Path], recipe: Recipe
    ) -> list[str]:
        """Write and check the files of a generation under a temporary name, then give it its own."""
        with atomic_write(self.paths.generation(number).folder) as folder:
            folder.mkdir()
            return write_generation(
                GenerationPaths(folder),
                number=number,
                shards=shards,
                snapshot=self.paths.snapshot_file(number),
                skipped=skipped,
                blocks=recipe.blocks,
                reviews=self.reviews(),
                shrinkage=recipe.settings.get("whitening", {}),
                spreads=recipe.settings.get("spread", {}),
                trust=recipe.settings.get("trust", ()),
            )

    def _rewrite_shards(self, shards: Sequence[Path]) -> list[Path]:
        """Write what shards hold into new ones, which the commit then begins with."""
        rewritten = rewrite_shards(shards, self.paths.spill_folder, self._new_shard)
        self.notes.append(
            f"{len(shards)} shards were written anew as {len(rewritten)}: searches read vectors in them; nothing was "
            "computed again"
        )
        return rewritten

    def _append_tombstones(self, specimens: Sequence[str]) -> None:
        if specimens:
            with self._new_shard(specimens) as (temporary, _):
                write_tombstones(temporary, specimens)

    def _recipe_shards(self) -> list[Path]:
        """List the shards of the present recipe, oldest first; their bytes are checked, each shard's once a lock.

        Raises:
            IndexFolderError: a shard is missing or damaged.
        """
        return self._check_shards(self._manifest.recipe.first_shard)

    def _check_shards(self, first: int, last: int | None = None) -> list[Path]:
        """List the shards from a number on, and check their bytes, each shard's once a lock.

        Args:
            first: the number.
            last: the number of the last one; of these, only sizes and both ends are checked. None: all, wholly.

        Raises:
            IndexFolderError: a shard is missing or damaged.
        """
        contents = self._manifest.contents
        shards = [path for path in self.paths.list_shards(first) if last is None or int(path.stem) <= last]
        numbers = {int(path.stem): path for path in shards}
        listed = read_shard_checksums(self.paths.shard_checksums_file)
        committed = -1 if contents is None else contents.last_shard
        end = max([committed, *numbers, *(n for n, one in listed.items() if one.file)]) if last is None else last
        wanted = range(first, end + 1)
        unlisted = 0
        for number in wanted:
            path, line = self.paths.shard_file(number), listed.get(number)
            if number in self._checked or (number not in numbers and line is not None and line.file is None):
                continue
            if number not in numbers or (line is not None and line.file is not None):
                self._check_shard(path, line, whole=last is None)
            elif number <= committed:
                raise IndexFolderError(
                    f"{self.paths.shard_checksums_file} has lost the checksum of {path.name}; sst-retrieval verify "
                    f"{self.path} --repair reads the shard wholly and writes the line again"
                )
            else:
                append_shard_checksums(self.paths.shard_checksums_file, [read_unlisted_shard(path)])
                unlisted += 1
            if last is None:
                self._checked.add(number)
        if unlisted and not self._trusted:
            self.notes.append(
                f"{unlisted} files of the index had no checksums, being of an older version; they were read wholly "
                "and have checksums now"
            )
        return shards

    def _check_shard(self, path: Path, line: ShardChecksum | None, *, whole: bool) -> None:
        if line is None or line.file is None:
            wrong, lost = find_unreadable(path), "masks and vectors"
        else:
            wrong = find_difference(path, line.file, whole=whole)
            lost = f"masks and vectors of {line.specimens} specimens"
        if wrong is not None:
            raise IndexFolderError(f"{path} {wrong}: {lost} are lost; {shard_remedy(path)}")

    def _remove_shards(self, shards: Sequence[Path]) -> None:
        """Remove shards, or set them aside if the manifest, which names the first one in use, has no checksum."""
        lines = [ShardChecksum(int(path.stem), None) for path in shards]
        append_shard_checksums(self.paths.shard_checksums_file, lines)
        for path in shards:
            if self._trusted:
                path.unlink()
            else:
                set_aside(self.paths, path)

    def _next_shard(self) -> int:
        if self._following is None:
            shards = self.paths.list_shards()
            self._following = int(shards[-1].stem) + 1 if shards else 0
        return max(self._manifest.recipe.first_shard, self._following)

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
        text = manifest.to_json()
        write_text(self.paths.manifest_backup, text)
        write_text(self.paths.manifest_file, text)
        self._manifest = replace(manifest, sealed=True)

    def _copy_manifest(self) -> None:
        """Write the copy anew if a build was killed before both were written."""
        text = self.paths.manifest_file.read_bytes()
        copy = self.paths.manifest_backup
        if find_unreadable(copy) is not None or copy.read_bytes() != text:
            remove(copy)
            write_text(copy, text.decode())

    def _require_generation(self) -> None:
        """Check that the generation of a manifest without a checksum exists, before others are taken for leftovers.

        Raises:
            IndexFolderError: it does not.
        """
        if self.generation is not None and not self._trusted:
            number = self.generation.number
            if not (self.paths.generation(number).folder.is_dir() or self.paths.snapshot_file(number).is_file()):
                raise IndexFolderError(
                    f"{self.paths.manifest_file} says that generation {number} is the current one, and there is none; "
                    f"{repair_advice(self.path)}"
                )

    def _remove_leftovers(self) -> None:
        """Remove unfinished files, all but the last two generations, and shards that neither of them uses."""
        self._remove_unfinished()
        current = 0 if self.generation is None else self.generation.number
        for number, path in self.paths.list_commits():
            if not current - 1 <= number <= current:
                remove(path)
        if self.generation is not None:
            first = min(self._manifest.recipe.first_shard, self.generation.recipe.first_shard)
            self._remove_shards([path for path in self.paths.list_shards() if int(path.stem) < first])

    def _remove_unfinished(self) -> None:
        """Remove what a build that was killed, or failed, did not finish."""
        for leftover in self.paths.list_unfinished():
            remove(leftover)


def read_unlisted_shard(path: Path) -> ShardChecksum:
    """Read a shard wholly that has no checksum yet, and compute it.

    Raises:
        IndexFolderError: it is damaged.
    """
    photographs = count_photographs(path)
    return ShardChecksum(int(path.stem), compute_checksum(path), photographs)


def set_aside(paths: IndexPaths, path: Path) -> Path:
    """Move a file of the index into the folder of damaged files, under a name that is free; return its new path."""
    folder = paths.damaged_folder
    paths.require_inside(folder)
    folder.mkdir(exist_ok=True)
    name = paths.relative(path).replace("/", "-")
    free = (folder / (name if count == 0 else f"{name}.{count}") for count in itertools.count())
    target = next(each for each in free if not os.path.lexists(each))
    path.rename(target)
    return target


def derived_remedy(folder: Path) -> str:
    """Say what to do about a damaged file that can be made again, as the end of a sentence."""
    return f"nothing is lost; run the build again to make it anew, or: sst-retrieval verify {folder} --repair"


def _label_numbers(traits: Sequence[str], old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, int]:
    """Assign a label number to every trait: the given one, else the old one, else the next free one."""
    numbers = dict(new)
    for trait in traits:
        if trait not in numbers:
            known = old.get(trait)
            free = max(numbers.values(), default=0) + 1
            numbers[trait] = free if known is None or known in numbers.values() else known
    return numbers
