"""The paths of all files in an index folder. No other module knows a path inside one.

    manifest.json                               settings, current generation, checksums; replaced by an atomic rename
    manifest.backup.json                        a copy of it, to repair it with
    shards/000042.parquet                       source data: one row a region, with its vector
    shards/checksums.jsonl                      one line a shard
    specimens/0003.parquet                      source data: the collection's table as it was at commit 3
    generations/0003/catalog.duckdb             derived from the two above
    generations/0003/base.duckdb                derived: the last whole catalog, if this one only adds to it
    generations/0003/owners/                    derived: whose each region is, for a fast search
    generations/0003/vectors/forewing.faiss     derived: one a trait, under the catalog's region ids
    generations/0003/vectors/forewing.places.npz   or where in the shards the vectors are (see `shard_vectors`)
    generations/0003/vectors/forewing.codes.*   derived: of a trait with many regions, for a fast search
    generations/0003/epoch.json, removed.npy    derived: what was added and removed since a whole commit (see `epochs`)
    generations/0003/segments/0002/             derived: vectors and codes of what commit 2 added
    reviews/decisions.jsonl                     source data: reviews of masks, appended at any time
    pictures/pictures.sqlite                    derived: small pictures of specimens and of their traits
    pictures/loose/                             the same of photographs whose shard is not written yet
    thumbnails/, crops/                         the same in an index of an older version
    .photograph-hashes.parquet                  a help: which photographs a build need not read again
    .pictures-compared.json                     a help: when the small pictures were last compared with the catalog
    damaged/                                    what a repair set aside, never read

A file whose name is not one that this program writes, such as a copy made by hand, is neither read nor removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from sst_retrieval.errors import IndexFolderError, list_names
from sst_retrieval.files import UNFINISHED, file_name, is_inside


def find_base(catalog_file: Path) -> Path:
    """Return the whole catalog that a catalog adds to; it need not exist."""
    return catalog_file.with_name("base.duckdb")


def choose_base(catalog_file: Path) -> Path | None:
    """Return the whole catalog that a catalog adds to (see `index.catalog_tables`); None if it is whole itself."""
    base = find_base(catalog_file)
    return base if base.exists() else None


@dataclass(frozen=True, slots=True)
class SegmentPaths:
    """The paths of the files of vectors and codes that one commit wrote; the files need not exist.

    Attributes:
        folder: of the files.
    """

    folder: Path

    def vector_file(self, trait: str) -> Path:
        """Return the FAISS file of a trait."""
        return self.folder / f"{file_name(trait)}.faiss"

    def places_file(self, trait: str) -> Path:
        """Return the NumPy archive that says where in the shards the vectors of a trait are."""
        return self.folder / f"{file_name(trait)}.places.npz"

    def has(self, trait: str) -> bool:
        """Say whether there are vectors of a trait."""
        return self.vector_file(trait).exists() or self.places_file(trait).exists()

    def lengths_file(self, trait: str) -> Path:
        """Return the NumPy archive of the lengths of a trait's added vectors before they were normalised."""
        return self.folder / f"{file_name(trait)}.lengths.npz"

    def code_files(self, trait: str) -> tuple[Path, Path]:
        """Return the NumPy array of the codes of a trait, and the archive of what they were made with."""
        stem = self.folder / file_name(trait)
        return stem.with_name(f"{stem.name}.codes.npy"), stem.with_name(f"{stem.name}.codes.npz")


@dataclass(frozen=True, slots=True)
class GenerationPaths:
    """The paths of one generation's files; the files need not exist.

    Attributes:
        folder: of the generation; while it is written, under a temporary name.
    """

    folder: Path

    @property
    def catalog_file(self) -> Path:
        """The DuckDB file."""
        return self.folder / "catalog.duckdb"

    @property
    def base_file(self) -> Path:
        """The whole catalog that the other one adds to; there is none beside a whole one."""
        return find_base(self.catalog_file)

    @property
    def owners_folder(self) -> Path:
        """The folder of what says whose a region is (see `index.owners`)."""
        return self.folder / "owners"

    @property
    def vector_folder(self) -> Path:
        """The folder of the files that there are one a trait."""
        return self.folder / "vectors"

    @property
    def epoch_file(self) -> Path:
        """What was added and removed since the whitening was fitted (see `index.epochs`)."""
        return self.folder / "epoch.json"

    @property
    def removed_file(self) -> Path:
        """The region ids that are of no region any more."""
        return self.folder / "removed.npy"

    @property
    def segment_folder(self) -> Path:
        """The folder of the segments."""
        return self.folder / "segments"

    def segment(self, number: int) -> SegmentPaths:
        """Return the paths of the files that the commit of a number added."""
        return SegmentPaths(self.segment_folder / f"{number:04d}")

    def vector_file(self, trait: str) -> Path:
        """Return the FAISS file of a trait."""
        return SegmentPaths(self.vector_folder).vector_file(trait)

    def places_file(self, trait: str) -> Path:
        """Return the NumPy archive that says where in the shards the vectors of a trait are."""
        return SegmentPaths(self.vector_folder).places_file(trait)

    def shard_file(self, number: int) -> Path:
        """Return the file of a shard of the index that the generation belongs to."""
        return IndexPaths(self.folder.parents[1]).shard_file(number)

    def whitening_file(self, trait: str) -> Path:
        """Return the NumPy archive with the whitening of a trait."""
        return self.vector_folder / f"{file_name(trait)}.whitening.npz"

    def code_files(self, trait: str) -> tuple[Path, Path]:
        """Return the NumPy array of the codes of a trait, and the archive of what they were made with."""
        return SegmentPaths(self.vector_folder).code_files(trait)


@dataclass(frozen=True, slots=True)
class IndexPaths:
    """The paths of an index folder; the files need not exist.

    Attributes:
        root: the index folder.
    """

    root: Path

    def require_valid_root(self) -> None:
        """Check that DuckDB can open files in this folder.

        Raises:
            IndexFolderError: there is a question mark in its path, where DuckDB takes the name of a file to end.
        """
        if "?" in str(self.root):
            raise IndexFolderError(
                f"an index cannot lie at {self.root}: its database takes a ? in a path for the end of the path; "
                "rename the folder with the ?"
            )

    def require_inside(self, path: Path) -> Path:
        """Return a path of the index, unless it is a link that leads out of the index.

        In an index from somebody else, such a link would make this program read and write anywhere.

        Raises:
            IndexFolderError: it is one.
        """
        if not is_inside(path, [self.root]):
            raise IndexFolderError(f"{path} is a link that leads out of the index; put the files themselves there")
        return path

    @property
    def manifest_file(self) -> Path:
        """The manifest (see `index.manifest`)."""
        return self.root / "manifest.json"

    @property
    def manifest_backup(self) -> Path:
        """A copy of the manifest."""
        return self.root / "manifest.backup.json"

    @property
    def shard_checksums_file(self) -> Path:
        """The checksums of the shards (see `index.shard_checksums`)."""
        return self.root / "shards" / "checksums.jsonl"

    @property
    def damaged_folder(self) -> Path:
        """Where a repair puts what it takes out of use."""
        return self.root / "damaged"

    def relative(self, path: Path) -> str:
        """Return a path of the index as the manifest names it."""
        return path.relative_to(self.root).as_posix()

    @property
    def decisions_file(self) -> Path:
        """The record of reviews (see `index.reviews`)."""
        return self.root / "reviews" / "decisions.jsonl"

    @property
    def lock_file(self) -> Path:
        """The lock that a build holds."""
        return self.root / ".lock"

    @property
    def photograph_hashes_file(self) -> Path:
        """The content hashes of photographs (see `index.photograph_hashes`)."""
        return self.root / ".photograph-hashes.parquet"

    @property
    def pictures_compared_file(self) -> Path:
        """When the small pictures were last compared with the catalog (see `index.thumbnails`)."""
        return self.root / ".pictures-compared.json"

    @property
    def spill_folder(self) -> Path:
        """Where DuckDB writes what does not fit into memory."""
        return self.root / ".spill"

    @property
    def build_folders(self) -> list[Path]:
        """The folders that a build writes into."""
        return [self.root / name for name in ("shards", "specimens", "generations", "pictures", "pictures/loose")]

    @property
    def old_picture_folders(self) -> list[Path]:
        """Where older versions wrote small pictures, a file each."""
        return [self.root / "thumbnails", self.root / "crops"]

    @property
    def pictures_file(self) -> Path:
        """The pack of small pictures (see `index.picture_pack`)."""
        return self.root / "pictures" / "pictures.sqlite"

    def loose_pictures_file(self, individual: str) -> Path:
        """Return the file of the small pictures of an individual that are not in the pack yet."""
        return self.root / "pictures" / "loose" / f"{file_name(individual)}.pictures"

    def list_loose_pictures(self) -> Iterator[Path]:
        """List the files of small pictures that are not in the pack yet."""
        return (self.root / "pictures" / "loose").glob("*.pictures")

    def generation(self, number: int) -> GenerationPaths:
        """Return the paths of a generation."""
        return GenerationPaths(self.root / "generations" / f"{number:04d}")

    def snapshot_file(self, number: int) -> Path:
        """Return the specimen table of a generation."""
        return self.root / "specimens" / f"{number:04d}.parquet"

    def shard_file(self, number: int) -> Path:
        """Return the file of a shard."""
        return self.root / "shards" / f"{number:06d}.parquet"

    def list_shards(self, first: int = 0) -> list[Path]:
        """List the files of the shards that exist, from a number on, oldest first."""
        found = _select_numbered((self.root / "shards").glob("*.parquet"), self.shard_file)
        return [found[number] for number in sorted(found) if number >= first]

    def list_commits(self) -> list[tuple[int, Path]]:
        """List the folders and specimen tables of generations that exist: (number of the generation, path)."""
        folders = (self.root / "generations").glob("*")
        generations = _select_numbered(folders, lambda number: self.generation(number).folder)
        snapshots = _select_numbered((self.root / "specimens").glob("*.parquet"), self.snapshot_file)
        return [*generations.items(), *snapshots.items()]

    def old_thumbnail_file(self, specimen: str) -> Path:
        """Return the thumbnail of a specimen in an index of an older version."""
        return self.root / "thumbnails" / f"{file_name(specimen)}.jpg"

    def old_crop_file(self, specimen: str, trait: str) -> Path:
        """Return the crop of one trait of a specimen in an index of an older version."""
        return self.root / "crops" / file_name(trait) / f"{file_name(specimen)}.jpg"

    def list_crop_folders(self) -> list[Path]:
        """List the folders of crops that exist, one a trait; a link out of the index is not one."""
        return [path for path in (self.root / "crops").glob("*") if path.is_dir() and is_inside(path, [self.root])]

    def list_unfinished(self) -> list[Path]:
        """List what a process that was killed, or failed, did not finish."""
        pictures = {self.root / "thumbnails", *self.list_crop_folders()}
        found = []
        for folder in {self.root, *self.build_folders, *pictures}:
            # Names, not paths: there may be millions of pictures.
            for name in os.listdir(folder) if folder.is_dir() else ():  # noqa: PTH208
                if name.startswith("."):
                    if name == ".spill" or fnmatch(name, UNFINISHED):
                        found.append(folder / name)
                elif folder in pictures and name.endswith(".part"):  # Of versions that wrote pictures so.
                    found.append(folder / name)
        return found

    def total_bytes(self) -> int:
        """Add up the sizes of all files, in bytes; files may come and go meanwhile. One with two names counts once."""
        sizes: dict[tuple[int, int], int] = {}
        total = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                try:
                    state = Path(folder, name).stat()
                except OSError:
                    continue  # A build renamed or removed it meanwhile.
                if state.st_nlink > 1:
                    sizes[state.st_dev, state.st_ino] = state.st_size
                else:
                    total += state.st_size
        return total + sum(sizes.values())


def _select_numbered(found: Iterable[Path], path_of: Callable[[int], Path]) -> dict[int, Path]:
    """Select the paths whose name is a number as this program writes it: number -> path."""
    numbers = {path: int(path.stem) for path in found if path.stem.isdecimal()}
    return {number: path for path, number in numbers.items() if path == path_of(number)}


def explain_no_index(folder: Path) -> str:
    """Say that a path is no index, and where one is meant probably: in the folder, or around it."""
    said = f"{folder} is not an index"
    if folder.is_file():
        return f"{said} but a file; name the folder that sst-retrieval build made"
    try:
        within = sorted(each for each in folder.iterdir() if IndexPaths(each).manifest_file.is_file())
    except OSError:  # It does not exist, or may not be read.
        within = []
    around = next((each for each in folder.absolute().parents if IndexPaths(each).manifest_file.is_file()), None)
    if within:
        return f"{said}, but holds {list_names([str(each) for each in within])}; name that"
    if around is not None:
        return f"{said} but lies in one; name {around}"
    return f"{said}{'' if folder.exists() else ' and does not exist'}; make one with: sst-retrieval build"
