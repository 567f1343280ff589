"""Read every byte of an index, say what is damaged and what that means, and repair what can be.

1. Manifest, its copy, and the checksums of shards (`index.manifest`, `index.shard_checksums`).
2. Source data: shards, the specimen table of the last commit, reviews of masks.
3. Derived files: the catalog and the vectors of the generation, thumbnails and crops.

A repair makes derived files again and never guesses source data: what is damaged there is moved into `damaged/`, and
what it held is lost until a build computes it again, or a backup brings it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq

from sst_retrieval.errors import IndexFolderError, SSTError
from sst_retrieval.files import atomic_write, remove, write_text
from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.checksums import find_difference, find_unreadable
from sst_retrieval.index.duck import quote_text
from sst_retrieval.index.epochs import open_vectors, read_epoch, read_removed_ids
from sst_retrieval.index.manifest import Generation, Manifest, read_manifest
from sst_retrieval.index.old_pictures import check_old_picture, has_old_pictures, list_old_pictures
from sst_retrieval.index.paths import IndexPaths, explain_no_index
from sst_retrieval.index.picture_pack import find_faults, get_journal, mend
from sst_retrieval.index.reviews import hash_record, parse_review, read_record, split_record
from sst_retrieval.index.shard_checksums import ShardChecksum, scan_shard_checksums
from sst_retrieval.index.shards import count_photographs
from sst_retrieval.index.snapshot import ROWS
from sst_retrieval.index.store import Store, read_unlisted_shard, set_aside
from sst_retrieval.index.thumbnails import find_missing_pictures
from sst_retrieval.index.whitening import read_whitening
from sst_retrieval.types import Skipped

_DERIVED = "nothing is lost"
_REPAIR = "sst-retrieval verify --repair makes it again, and so does the next build (of a large index: build --refit)"


@dataclass(frozen=True, slots=True)
class Damage:
    """One damaged or missing file.

    Attributes:
        file: the file.
        fault: what is wrong with it, to stand behind its path.
        lost: what is lost by it.
        remedy: what to do.
    """

    file: Path
    fault: str
    lost: str
    remedy: str

    def __str__(self) -> str:
        """Say it in one sentence."""
        return f"{self.file} {self.fault}: {self.lost}; {self.remedy}"


@dataclass(slots=True)
class Verification:
    """What was found in an index.

    Attributes:
        damages: one each damaged file.
        notes: what is worth knowing and no damage.
        files: how many files were read wholly.
        bytes: their sizes, added up.
    """

    damages: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0

    def count(self, path: Path) -> None:
        """Count a file that was read."""
        self.files += 1
        self.bytes += path.stat().st_size if find_unreadable(path) is None else 0


@dataclass(slots=True)
class Repair:
    """What a repair did.

    Attributes:
        done: one sentence each thing that was made again or set aside.
        lost: one sentence each thing that could not be.
    """

    done: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def verify_index(path: Path) -> Verification:
    """Read every file of an index wholly and compare it with its checksum.

    Args:
        path: the index folder; a build may go on in it meanwhile, whose new files are not looked at.

    Raises:
        IndexFolderError: the folder is not an index, is of a newer version, or a link leads out of it.
    """
    if not Store.exists(path):
        raise IndexFolderError(explain_no_index(path))
    paths, found = IndexPaths(path), Verification()
    for part in (
        *(paths.manifest_file, paths.manifest_backup, paths.decisions_file, paths.pictures_file),
        *(*paths.build_folders, *paths.old_picture_folders),
    ):
        paths.require_inside(part)
    manifest = _verify_manifest(paths, found)
    if manifest is None:
        return found
    _verify_shards(paths, manifest, found)
    _verify_reviews(paths, manifest, found)
    if manifest.generation is not None:
        _verify_generation(paths, manifest, manifest.generation, found)
        _verify_pictures(paths, manifest.generation, found)
    return found


def repair_index(path: Path) -> Repair:
    """Make damaged derived files again, and set damaged source data aside.

    Args:
        path: the index folder; it must not be built meanwhile.

    Returns:
        What was done, and what is lost.

    Raises:
        IndexFolderError: a build is at work, or neither the manifest nor its copy can be read.
    """
    verify_index(path)  # Refuses what is no index.
    paths, repair = IndexPaths(path), Repair()
    _repair_manifest(paths, repair)
    _remove_pipes(paths, repair)
    store = Store.open(path)
    with store.lock():
        damages = {damage.file for damage in verify_index(path).damages}
        _repair_shards(store, damages, repair)
        _repair_reviews(store, damages, repair)
        _repair_generation(store, damages, repair)
        if paths.pictures_file in damages:
            mend(paths.pictures_file)
            repair.done.append(f"{paths.pictures_file} was written anew; the next build makes again what it lacks")
        for picture in sorted(damages & set(list_old_pictures(paths))):
            picture.unlink()
            repair.done.append(f"{picture} was removed; the next build makes it again")
    return repair


# ------------------------------------------------------------------------------------------------ manifest


def _verify_manifest(paths: IndexPaths, found: Verification) -> Manifest | None:
    """Check the manifest and its copy; returns the one that can be read, None if neither can."""
    path, copy = paths.manifest_file, paths.manifest_backup
    remedy = "sst-retrieval verify --repair copies the other one"
    texts: dict[Path, Manifest] = {}
    errors: dict[Path, IndexFolderError] = {}
    for each in (path, copy):
        try:
            texts[each] = read_manifest(each)
            found.count(each)
        except IndexFolderError as error:
            errors[each] = error
    for each, reason in errors.items():
        if "newer version" in str(reason):
            raise reason
        if each == copy and find_unreadable(copy) == "is missing" and path in texts and not texts[path].sealed:
            found.notes.append("the index has no checksums; the next build of it makes them")
        elif texts:
            fault = find_unreadable(each) or "is damaged"
            found.damages.append(Damage(each, fault, _DERIVED, remedy))
        elif each == path:
            lost = "settings, label numbers and which state is the current one"
            missing = find_unreadable(copy) == "is missing"
            fault = find_unreadable(each) or ("is damaged and has no copy" if missing else "is damaged, as is its copy")
            remedy = "restore it from a backup, or build into a new folder"
            found.damages.append(Damage(each, fault, lost, remedy))
    for each, manifest in texts.items():
        if manifest.sealed and each.read_bytes() != manifest.to_json().encode():
            lost = "nothing is lost, its content fits its checksum"
            found.damages.append(Damage(each, "is not written as this program writes it", lost, remedy))
    if len(texts) == 2 and texts[path].sealed and texts[path] != texts[copy]:
        # A build that was killed between the two leaves this, too.
        found.damages.append(Damage(copy, "is not a copy of manifest.json", _DERIVED, remedy))
    if path in texts and not texts[path].sealed and not found.notes:
        found.notes.append("the index has no checksums; the next build of it makes them")
    return texts.get(path, texts.get(copy))


def _repair_manifest(paths: IndexPaths, repair: Repair) -> None:
    path, copy = paths.manifest_file, paths.manifest_backup
    try:
        manifest = read_manifest(path)
    except IndexFolderError as error:
        try:
            manifest = read_manifest(copy)
        except IndexFolderError:
            raise IndexFolderError(
                f"{path} cannot be repaired, since no copy of it can be read; nothing was changed: {error}"
            ) from error
        if path.exists():
            set_aside(paths, path)
        write_text(path, manifest.to_json())
        repair.done.append(f"{path} was restored from its copy")
        return
    if manifest.sealed:
        for each in (copy, path):
            if find_unreadable(each) is not None or each.read_bytes() != manifest.to_json().encode():
                remove(each)
                write_text(each, manifest.to_json())
                repair.done.append(f"{each} was written again")


def _remove_pipes(paths: IndexPaths, repair: Repair) -> None:
    """Set aside what stands in the place of a file and is none: a folder, a pipe, a device."""
    for path in (
        paths.shard_checksums_file,
        paths.decisions_file,
        *paths.list_shards(),
        paths.pictures_file,
        get_journal(paths.pictures_file),
        *list_old_pictures(paths),
    ):
        fault = find_unreadable(path)
        if fault is not None and fault != "is missing":
            repair.done.append(f"{path} {fault}; it was moved to {set_aside(paths, path)}")


# ------------------------------------------------------------------------------------------------ shards


def _verify_shards(paths: IndexPaths, manifest: Manifest, found: Verification) -> None:
    record = paths.shard_checksums_file
    try:
        lines, broken = scan_shard_checksums(record)
        found.count(record)
    except IndexFolderError as error:
        found.damages.append(
            Damage(record, find_unreadable(record) or f"is no record: {error}", _DERIVED, _SHARD_LINES)
        )
        lines, broken = {}, []
    if broken:
        where = f"is damaged in line {', '.join(map(str, broken))}"
        found.damages.append(Damage(record, where, "no shard is lost, but its checksum", _SHARD_LINES))
    committed = -1 if manifest.contents is None else manifest.contents.last_shard
    unlisted = 0
    for number, path in _wanted_shards(paths, manifest, lines):
        line = lines.get(number)
        fault: str | None
        if line is not None and line.file is not None:
            fault = find_difference(path, line.file, whole=True)
            lost = f"masks and vectors of {line.specimens} specimens are lost to the next build"
        else:
            fault, lost = _find_fault_without_checksum(path), "masks and vectors are lost to the next build"
            if number <= committed and not broken and find_unreadable(record) is None and fault is None:
                damage = Damage(record, f"has lost the line of {path.name}", "no shard is lost", _SHARD_LINES)
                found.damages.append(damage)
            unlisted += fault is None
        found.count(path)
        if fault is not None:
            still = "searches may fail, or be wrong: " if manifest.reads_shards else "searches go on; "
            found.damages.append(Damage(path, fault, lost, still + _SHARD_REMEDY))
    if committed >= 0 and find_unreadable(record) == "is missing":
        found.damages.append(Damage(record, "is missing", "no shard is lost, but its checksum", _SHARD_LINES))
    if unlisted and committed < 0:
        found.notes.append(f"{unlisted} shards have no checksum yet; their pages were read")


_SHARD_LINES = "sst-retrieval verify --repair reads the shards wholly and writes it again"
_SHARD_REMEDY = (
    "restore the file from a backup, or: sst-retrieval verify --repair sets it aside, and the next "
    "build computes what was in it again (specimens that it took out, --prune, must be taken out again)"
)


def _wanted_shards(
    paths: IndexPaths, manifest: Manifest, lines: Mapping[int, ShardChecksum]
) -> Iterator[tuple[int, Path]]:
    """List the shards that there must be, and those that there are: (number, path)."""
    first = manifest.recipe.first_shard
    if manifest.generation is not None:
        first = min(first, manifest.generation.recipe.first_shard)
    there = {int(path.stem) for path in paths.list_shards(first)}
    committed = -1 if manifest.contents is None else manifest.contents.last_shard
    last = max([committed, *there, *(number for number, line in lines.items() if line.file is not None)])
    for number in range(first, last + 1):
        line = lines.get(number)
        if number in there or line is None or line.file is not None:
            yield number, paths.shard_file(number)


def _find_fault_without_checksum(path: Path) -> str | None:
    fault = find_unreadable(path)
    if fault is None:
        try:
            count_photographs(path)
        except IndexFolderError:
            fault = "is damaged"
    return fault


def _repair_shards(store: Store, damages: set[Path], repair: Repair) -> None:
    paths, record = store.paths, store.paths.shard_checksums_file
    lines, _ = scan_shard_checksums(record)
    wanted = list(_wanted_shards(paths, store.manifest, lines))
    kept: dict[int, ShardChecksum] = {number: line for number, line in lines.items() if line.file is None}
    for number, path in wanted:
        if path in damages:
            known = lines.get(number)
            rows = "" if known is None else f" of {known.specimens} specimens"
            moved = f"; it was moved to {set_aside(paths, path)}" if find_unreadable(path) is None else ""
            repair.lost.append(f"{path} is lost{moved}; masks and vectors{rows} are computed again by the next build")
            kept[number] = ShardChecksum(number, None)
        else:
            line = lines.get(number)
            kept[number] = line if line is not None and line.file is not None else read_unlisted_shard(path)
    text = "".join(kept[number].to_line() for number in sorted(kept))
    if text.encode() != (record.read_bytes() if record.is_file() else b""):
        write_text(record, text)
        repair.done.append(f"{record} was written again")


# ------------------------------------------------------------------------------------------------ reviews


def _verify_reviews(paths: IndexPaths, manifest: Manifest, found: Verification) -> None:
    path = paths.decisions_file
    remedy = "restore it from a backup, or: sst-retrieval verify --repair sets damaged lines aside and keeps the others"
    try:
        text = read_record(path)
    except IndexFolderError:
        fault = find_unreadable(path) or "cannot be read"
        found.damages.append(Damage(path, fault, "all reviews of masks", remedy))
        return
    if text:
        found.count(path)
    broken = [str(number) for number, line in enumerate(split_record(text), start=1) if not _is_review(line)]
    start = None if manifest.contents is None else manifest.contents.reviews
    if broken:
        fault = f"is damaged in line {', '.join(broken)}"
        found.damages.append(Damage(path, fault, f"{len(broken)} reviews of masks are lost", remedy))
    elif len(split_record(text)) > text.count(b"\n"):
        found.damages.append(Damage(path, "is damaged in its last byte", _DERIVED, remedy))
    elif start is not None and hash_record(text[: start[0]]) != start:
        fault = "is missing" if not text else "does not begin as it did at the last build"
        found.damages.append(Damage(path, fault, "reviews of masks are lost or changed", remedy))


def _is_review(line: bytes, *, sealed: bool = False) -> bool:
    try:
        parse_review(line, sealed=sealed)
    except ValueError:
        return False
    return True


def _repair_reviews(store: Store, damages: set[Path], repair: Repair) -> None:
    """Keep the lines with a checksum that fits; without one a line is kept if nothing else is wrong with the record."""
    path = store.paths.decisions_file
    if path in damages:
        text = read_record(path)
        lines = split_record(text)
        broken = any(not _is_review(line) for line in lines)
        kept = [line for line in lines if _is_review(line, sealed=True)]
        if broken and all(_is_review(line) for line in lines if b'"checksum"' not in line):
            kept = [line for line in lines if _is_review(line)]
        if text:
            moved = set_aside(store.paths, path)
            write_text(path, "".join(line.decode() + "\n" for line in kept))
            repair.lost.append(
                f"{path}: {len(lines) - len(kept)} of {len(lines)} reviews are not certain; the record as it was is "
                f"{moved}; look at its lines, and review those masks again"
            )
        else:
            repair.lost.append(f"{path} is lost; a backup may have the reviews of masks that were in it")
    store.accept_reviews()


# ------------------------------------------------------------------------------------------------ generation


def _generation_files(paths: IndexPaths, generation: Generation, traits: list[str]) -> list[Path]:
    files = paths.generation(generation.number)
    return [files.catalog_file, *(f(trait) for trait in traits for f in (files.vector_file, files.whitening_file))]


def _verify_generation(paths: IndexPaths, manifest: Manifest, generation: Generation, found: Verification) -> None:
    snapshot = paths.snapshot_file(generation.number)
    table = "the table as it was at the last build"
    table_remedy = "sst-retrieval verify --repair takes it from the catalog, if that is whole; else build again"
    if manifest.contents is not None:
        for name, checksum in manifest.contents.files.items():
            path = paths.require_inside(paths.root / name)
            fault = find_difference(path, checksum, whole=True)
            found.count(path)
            if fault is not None:
                lost, remedy = (table, table_remedy) if path == snapshot else (_DERIVED, _REPAIR)
                found.damages.append(Damage(path, fault, lost, remedy))
        return
    fault = find_unreadable(snapshot)
    if fault is None:
        try:
            with duckdb.connect() as connection:
                connection.execute(f"SELECT max(hash(COLUMNS(*))) FROM read_parquet({quote_text(snapshot)})").fetchall()
        except duckdb.Error:
            fault = "is damaged"
    if fault is not None:
        found.damages.append(Damage(snapshot, fault, table, table_remedy))
    for path in _open_generation(paths, generation):
        found.damages.append(Damage(path, "is damaged or missing", _DERIVED, _REPAIR))


def _open_generation(paths: IndexPaths, generation: Generation) -> list[Path]:
    """Open the files of a generation without checksums, and compare their ids; returns those that are damaged."""
    files, blocks, damaged = paths.generation(generation.number), generation.recipe.blocks, []
    try:
        with Catalog(files.catalog_file) as catalog:
            counts = catalog.counts()
            ids = {trait: catalog.region_ids(trait) for trait in counts}
            for table in ("photographs", "individuals", "regions", "measurements", "searchable", "skipped"):
                catalog.rows(f"SELECT count(*), max(hash(COLUMNS(*))) FROM {table}")
    except SSTError:
        return [files.catalog_file]
    for trait, expected in ids.items():
        try:
            epoch, removed = read_epoch(files), read_removed_ids(files)
            same = np.array_equal(open_vectors(files, trait, blocks, epoch, removed).ids, expected)
        except IndexFolderError:
            same = False
        if not same:
            damaged.append(files.vector_file(trait))
        try:
            read_whitening(files.whitening_file(trait), blocks)
        except IndexFolderError:
            damaged.append(files.whitening_file(trait))
    return damaged


def _repair_generation(store: Store, damages: set[Path], repair: Repair) -> None:
    generation = store.generation
    if generation is None:
        return
    snapshot, files = store.paths.snapshot_file(generation.number), store.paths.generation(generation.number)
    catalog_whole = damages.isdisjoint((files.catalog_file, files.base_file))
    if snapshot in damages:
        if not catalog_whole:
            repair.lost.append(
                f"{snapshot} and the catalog are damaged: build again, from the table; specimens that are no longer in "
                "it are lost"
            )
            return
        _write_snapshot_from_catalog(store, files.catalog_file, snapshot, repair)
    broken = [path for path in damages if files.folder in path.parents]
    # Those that were damaged are set aside by now, and the generation may read vectors in them.
    if store.manifest.reads_shards and any(
        path.suffix == ".parquet" and path.parent.name == "shards" for path in damages
    ):
        broken.append(files.catalog_file)
        if not store.paths.list_shards(generation.recipe.first_shard):
            repair.lost.append(f"{store.paths.root} has no shard any more: build again; all of it is computed again")
            return
    if broken:
        skipped: list[Skipped] = []
        if catalog_whole:
            with Catalog(files.catalog_file) as catalog:
                skipped = catalog.skipped()
        number = store.remake_generation(skipped)
        repair.done.append(f"generation {number} was made from the shards, in place of {generation.number}")
        if not catalog_whole:
            repair.lost.append("the list of skipped photographs, and why; the next build makes it again")
    elif snapshot in damages:
        store.accept_snapshot()


def _write_snapshot_from_catalog(store: Store, catalog_file: Path, snapshot: Path, repair: Repair) -> None:
    """Write the specimen table again: the catalog's table of specimens is a copy of it."""
    if find_unreadable(snapshot) is None:
        set_aside(store.paths, snapshot)
    remove(snapshot)
    with atomic_write(snapshot) as temporary, Catalog(catalog_file) as catalog, catalog.cursor() as cursor:
        batches = cursor.sql("FROM photographs").to_arrow_reader(ROWS)
        with pq.ParquetWriter(temporary, batches.schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
    repair.done.append(f"{snapshot} was written again from the catalog")


# ------------------------------------------------------------------------------------------------ pictures


def _verify_pictures(paths: IndexPaths, generation: Generation, found: Verification) -> None:
    pack = paths.pictures_file
    if find_unreadable(pack) != "is missing":
        found.count(pack)
        for fault in find_faults(pack):
            remedy = "sst-retrieval verify --repair keeps the others, and the next build makes them again"
            found.damages.append(Damage(pack, fault, _DERIVED, remedy))
    for path in list_old_pictures(paths):
        wrong = find_unreadable(path) or check_old_picture(path)
        found.count(path)
        if wrong is not None:
            remedy = "sst-retrieval verify --repair removes it, and the next build makes it again"
            found.damages.append(Damage(path, wrong, _DERIVED, remedy))
    files = paths.generation(generation.number)
    if {damage.file for damage in found.damages}.isdisjoint((files.catalog_file, files.base_file)):
        missing = 0
        if pack not in {damage.file for damage in found.damages} and not has_old_pictures(paths):
            with Catalog(files.catalog_file) as catalog:
                missing = len(find_missing_pictures(paths, catalog))
        if missing:
            found.notes.append(f"{missing} specimens lack a thumbnail or a crop; the next build makes them again")
