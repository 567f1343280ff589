"""Room 5c, the plan of it: where everything lies in an index folder. Nobody else knows a path inside one.

    manifest.json                               settings, current generation; replaced by an atomic rename
    shards/000042.parquet                       the truth: one row a region, never changed
    specimens/0003.parquet                      the truth: the collection's table as it was at commit 3
    generations/0003/catalog.duckdb             made from the two above
    generations/0003/vectors/forewing.faiss     one a trait, under the catalog's region ids
    reviews/decisions.jsonl                     the truth: what people decided about masks, appended at any time
    thumbnails/, crops/                         small pictures for people: of specimens, and of their traits

A file whose name is not one that this program writes, such as a copy that somebody made, is neither read nor removed.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.files import file_name, inside


class IndexFolder:
    """An index folder as a set of paths; whether anything lies there is another matter."""

    def __init__(self, path: Path) -> None:
        """Name the folder."""
        self.path = path

    def require_name(self) -> None:
        """Make sure that DuckDB can open files in this folder.

        Raises:
            IndexFolderError: there is a question mark in its path, where DuckDB takes the name of a file to end.
        """
        if "?" in str(self.path):
            raise IndexFolderError(
                f"an index cannot lie at {self.path}: its database takes a ? in a path for the end of the path; "
                "rename the folder with the ?"
            )

    @property
    def manifest_file(self) -> Path:
        """What the index says about itself."""
        return self.path / "manifest.json"

    @property
    def decisions_file(self) -> Path:
        """The record of reviews."""
        return self.path / "reviews" / "decisions.jsonl"

    def catalog(self, number: int) -> Path:
        """Return the DuckDB file of a generation."""
        return self.own(catalog_file(self.generation_folder(number)))

    def vectors(self, number: int, trait: str) -> Path:
        """Return the FAISS file of a trait in a generation."""
        return self.own(vector_file(self.generation_folder(number), trait))

    def whitening(self, number: int, trait: str) -> Path:
        """Return the file that says how the vectors of a trait were whitened in a generation."""
        return self.own(whitening_file(self.generation_folder(number), trait))

    def generation_folder(self, number: int) -> Path:
        """Return the folder of a generation."""
        return self.path / "generations" / f"{number:04d}"

    def snapshot(self, number: int) -> Path:
        """Return the table of specimens of a generation."""
        return self.path / "specimens" / f"{number:04d}.parquet"

    def shard(self, number: int) -> Path:
        """Return a shard's file."""
        return self.path / "shards" / f"{number:06d}.parquet"

    def shards(self, first: int = 0) -> list[Path]:
        """List the shards that there are, from a number on, oldest first."""
        found = _numbered((self.path / "shards").glob("*.parquet"), self.shard)
        return [found[number] for number in sorted(found) if number >= first]

    def commits(self) -> list[tuple[int, Path]]:
        """List what the commits made: (number of the generation, its folder or its table of specimens)."""
        generations = _numbered((self.path / "generations").glob("*"), self.generation_folder)
        snapshots = _numbered((self.path / "specimens").glob("*.parquet"), self.snapshot)
        return [*generations.items(), *snapshots.items()]

    def thumbnail(self, specimen: str) -> Path:
        """Return where the small picture of a specimen lies."""
        return self.path / "thumbnails" / f"{file_name(specimen)}.jpg"

    def crop(self, specimen: str, trait: str) -> Path:
        """Return where the small picture of one trait of a specimen lies."""
        return self.path / "crops" / file_name(trait) / f"{file_name(specimen)}.jpg"

    def crops(self, specimen: str) -> list[Path]:
        """Return the small pictures of a specimen's traits."""
        return list((self.path / "crops").glob(f"*/{glob.escape(file_name(specimen))}.jpg"))

    def crop_folders(self) -> list[Path]:
        """List the folders of small pictures, one a trait; a link out of the index is not one."""
        return [path for path in (self.path / "crops").glob("*") if path.is_dir() and inside(path, [self.path])]

    def folders(self) -> list[Path]:
        """List the folders that a build writes into."""
        return [self.path / name for name in ("shards", "specimens", "generations", "thumbnails", "crops")]

    def own(self, path: Path) -> Path:
        """Refuse a link out of the index: in a stranger's index it would lead us to read and write anywhere.

        Raises:
            IndexFolderError: it is one.
        """
        if not inside(path, [self.path]):
            raise IndexFolderError(f"{path} is a link that leads out of the index; put the files themselves there")
        return path

    def size(self) -> int:
        """Add up the files of the folder, in bytes; a build may come and go meanwhile."""
        return sum(_bytes(Path(folder, name)) for folder, _, names in os.walk(self.path) for name in names)


def catalog_file(generation: Path) -> Path:
    """Return the DuckDB file in a generation's folder."""
    return generation / "catalog.duckdb"


def vector_file(generation: Path, trait: str) -> Path:
    """Return the FAISS file of a trait in a generation's folder."""
    return generation / "vectors" / f"{file_name(trait)}.faiss"


def whitening_file(generation: Path, trait: str) -> Path:
    """Return the NumPy archive that says how the vectors of a trait were whitened."""
    return generation / "vectors" / f"{file_name(trait)}.whitening.npz"


def _numbered(found: Iterable[Path], own: Callable[[int], Path]) -> dict[int, Path]:
    """Keep the files whose name is a number as this program writes it."""
    numbers = {path: int(path.stem) for path in found if path.stem.isdecimal()}
    return {number: path for path, number in numbers.items() if path == own(number)}


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # It was there a moment ago; a build gives files their names and clears up.
