"""Vectors of a trait that stay in the shards: mapped there, and whitened when they are asked for.

Of a trait with codes, a search reads some dozen vectors, so a second copy of all of them is not kept. Where they are
stands in `wing.places.npz`, in order of region ids:

    id_steps      int64 (n,), differences of region ids, which ascend, the first from 0
    shard_steps   int32 (n,), the same of the numbers of the shards
    offset_steps  int64 (n,), the same of where in its file the vector begins: D float32, little-endian
    numbers       int64 (s,), numbers of these shards, ascending
    sizes         int64 (s,), of their files, in bytes

Steps are nearly all the same, so that the compressed archive takes hardly any space. (Files of earlier versions hold
`ids`, `shards` and `offsets` themselves.)

New shards hold the vectors of their regions one after the other, uncompressed, in one Parquet page a row group
(`index.shards`); those of earlier versions do not, and neither does a trait without codes need it: then there is a file
of whitened vectors (`index.vector_files`).

Products with whitened vectors need no whitening of each: with z = x - m, and W = I + U diag(g) U^T, the cosine of a
block is q . W z / |W z| = (W q) . z / |W z|, and |W z| is stored (`TraitWhitening.lengths`). Only regions that may be
among the hits are whitened, and scored as if they had been stored so.
"""

from __future__ import annotations

import errno
import mmap
import threading
import weakref
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index.checksums import require_file
from sst_retrieval.index.whitening import TraitWhitening
from sst_retrieval.types import Floats

Ids = npt.NDArray[np.int64]

MOST_SHARDS = 2000
"""Of more shards no vectors are read in place: each is an open file."""

_SPARE_FILES = 256
"""Files that a process may want to open beside shards."""

_CHUNK = 512
"""Vectors held in double precision at a time."""

_STEPS = {"ids": "id_steps", "shards": "shard_steps", "offsets": "offset_steps"}
"""Attribute of `Places` -> what stands in the file."""

_REMEDY = "run the build again to make it anew"


@dataclass(frozen=True, slots=True)
class Places:
    """Where vectors are.

    Attributes:
        ids: int64 (n,), region ids, ascending.
        shards: int32 (n,), numbers of their shards.
        offsets: int64 (n,), in bytes.
        sizes: number of a shard -> size of its file, in bytes.
    """

    ids: Ids
    shards: npt.NDArray[np.int32]
    offsets: Ids
    sizes: Mapping[int, int]

    def select(self, rows: npt.NDArray[Any] | slice) -> Places:
        """Select some of them."""
        shards = self.shards[rows]
        sizes = {number: self.sizes[number] for number in np.unique(shards).tolist()}
        return Places(self.ids[rows], shards, self.offsets[rows], sizes)


def join_places(parts: Sequence[Places]) -> Places:
    """Join places whose ids follow each other."""
    return Places(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.shards for part in parts]),
        np.concatenate([part.offsets for part in parts]),
        {number: size for part in parts for number, size in part.sizes.items()},
    )


def write_places(path: Path, places: Places) -> None:
    """Write where vectors are to a NumPy archive (see the module).

    Raises:
        OSError: it cannot be written.
    """
    numbers = sorted(places.sizes)
    sizes = [places.sizes[number] for number in numbers]
    arrays: dict[str, Any] = {
        step: np.diff(getattr(places, name), prepend=getattr(places, name).dtype.type(0))
        for name, step in _STEPS.items()
    }
    np.savez_compressed(path, **arrays, numbers=np.array(numbers, np.int64), sizes=np.array(sizes, np.int64))


def read_places(path: Path, dim: int) -> Places:
    """Read what `write_places` wrote.

    Args:
        path: the file.
        dim: values in a vector, D.

    Raises:
        IndexFolderError: it is missing or broken.
    """
    kinds = {"ids": np.int64, "shards": np.int32, "offsets": np.int64, "numbers": np.int64, "sizes": np.int64}
    require_file(path, _REMEDY)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[_STEPS[name] if _STEPS.get(name) in archive else name] for name in kinds}
            steps = [name for name, step in _STEPS.items() if step in archive]
    except (OSError, ValueError, TypeError, AttributeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise IndexFolderError(f"{path} cannot be read; {_REMEDY}: {error}") from error
    fits = all(arrays[name].dtype == kind and arrays[name].ndim == 1 for name, kind in kinds.items())
    fits = fits and len(arrays["ids"]) == len(arrays["shards"]) == len(arrays["offsets"])
    fits = fits and len(arrays["numbers"]) == len(arrays["sizes"])
    if fits:
        arrays |= {name: np.cumsum(arrays[name], dtype=kinds[name]) for name in steps}
    if fits and len(arrays["ids"]):
        known = np.searchsorted(arrays["numbers"], arrays["shards"])
        fits = len(arrays["numbers"]) > 0 and bool((np.diff(arrays["numbers"]) > 0).all())
        fits = fits and int(known.max()) < len(arrays["numbers"])
        fits = fits and bool((arrays["numbers"][known] == arrays["shards"]).all())
        ends = arrays["offsets"] + 4 * dim
        fits = fits and int(arrays["offsets"].min()) >= 0 and bool((ends <= arrays["sizes"][known]).all())
    if not fits:
        raise IndexFolderError(f"{path} does not say where vectors are; {_REMEDY}")
    sizes = dict(zip(arrays["numbers"].tolist(), arrays["sizes"].tolist(), strict=True))
    return Places(arrays["ids"], arrays["shards"], arrays["offsets"], sizes)


def count_openable() -> int:
    """Return how many shards this process may have open at the same time, at most `MOST_SHARDS`."""
    try:
        import resource
    except ImportError:  # Windows, where mapped files do not count.
        return MOST_SHARDS
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_SHARDS if most == resource.RLIM_INFINITY else max(0, min(MOST_SHARDS, most - _SPARE_FILES))


class MappedShard:
    """A shard, mapped. Two with one path and size are the same object."""

    _known: ClassVar[weakref.WeakValueDictionary[tuple[Path, int, int], MappedShard]] = weakref.WeakValueDictionary()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: Path, size: int) -> None:
        """Use `MappedShard.open`."""
        with path.open("rb") as file:
            self.content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(self.content) != size:
            raise ValueError(f"it has {len(self.content)} bytes instead of {size}")
        if hasattr(mmap, "MADV_RANDOM"):
            self.content.madvise(mmap.MADV_RANDOM)

    @classmethod
    def open(cls, path: Path, size: int) -> MappedShard:
        """Map a shard.

        Args:
            path: of it.
            size: of the file, in bytes.

        Raises:
            IndexFolderError: it is missing, cannot be read, or has another size.
        """
        remedy = (
            f"restore the file from a backup, or: sst-retrieval verify {path.parent.parent} --repair sets it aside, "
            "and the next build computes what was in it again"
        )
        require_file(path, remedy)
        try:
            key = path, size, path.stat().st_ino
            with cls._lock:
                known = cls._known.get(key)
                if known is None:
                    _allow_open_files(len(cls._known) + 1)
                    known = cls._known[key] = cls(path, size)
            return known
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                remedy = "allow more open files (ulimit -n), or close other indexes"
            raise IndexFolderError(f"{path} cannot be read ({error}); {remedy}") from error


def _allow_open_files(shards: int) -> None:
    """Let this process open more files, as far as the system allows a program to decide that."""
    try:
        import resource
    except ImportError:
        return
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = shards + _SPARE_FILES
    if now != resource.RLIM_INFINITY and wanted > now:
        more = wanted + MOST_SHARDS
        with suppress(OSError, ValueError):  # Then opening a file says that there are too many.
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (more if most == resource.RLIM_INFINITY else min(more, most), most)
            )


class ShardVectors:
    """The vectors of a trait that one commit wrote, in the shards.

    Attributes:
        ids: int64 (n,), region ids.
    """

    def __init__(
        self,
        places: Places,
        whitening: TraitWhitening,
        folder: Path,
        shard_file: Callable[[int], Path],
    ) -> None:
        """Map the shards.

        Args:
            places: where the vectors are.
            whitening: of the trait, with the lengths of these regions.
            folder: of the file of places, for messages.
            shard_file: number of a shard -> its path.

        Raises:
            IndexFolderError: a shard cannot be read, or the whitening is of other regions.
        """
        self.ids = places.ids
        self._whitening, self._offsets = whitening, places.offsets
        self._dim = max(block.stop for block in whitening.blocks.values())
        if any(len(own) != len(self.ids) for own in whitening.lengths.values()):
            raise IndexFolderError(f"the whitening in {folder} is of another number of regions; {_REMEDY}")
        numbers = sorted(places.sizes)
        self._shards = [MappedShard.open(shard_file(number), places.sizes[number]) for number in numbers]
        self._owners = np.searchsorted(np.array(numbers, np.int64), places.shards).astype(np.int32)

    def __len__(self) -> int:
        """Count the vectors."""
        return len(self.ids)

    def read_raw(self, rows: Ids, part: slice | None = None) -> Floats:
        """Read vectors as the embedder made them, float32 (n, D); or a part of their values."""
        first, stop = (0, self._dim) if part is None else (part.start, part.stop)
        contents = [shard.content for shard in self._shards]
        owners, offsets, step = self._owners[rows], self._offsets[rows], 4 * self._dim
        # Vectors that follow each other in a shard are copied together, if whole ones are wanted.
        follows = np.zeros(len(rows), dtype=bool)
        if part is None:
            follows[1:] = (np.diff(offsets) == step) & (np.diff(owners) == 0)
        begins = np.flatnonzero(~follows)
        sizes = np.diff(np.append(begins, len(rows))) * 4 * (stop - first)
        places = zip(owners[begins].tolist(), (offsets[begins] + 4 * first).tolist(), sizes.tolist(), strict=True)
        found = b"".join([contents[owner][offset : offset + size] for owner, offset, size in places])
        return np.frombuffer(found, "<f4").reshape(len(rows), stop - first)

    def take(self, rows: Ids, wanted: Sequence[bool] | None = None) -> Floats:
        """Return whitened vectors, float32 (n, D); what a row holds does not depend on the others.

        Args:
            rows: int64 (n,).
            wanted: of each block, whether it is whitened; None whitens all.
        """
        return self._whitening.apply_one_by_one(self.read_raw(rows), wanted)

    def multiply(self, rows: Ids, factors: Floats) -> Floats:
        """Multiply whitened vectors with factors.

        Args:
            rows: int64 (n,).
            factors: float32 (D, m).

        Returns:
            float32 (n, m); off by rounding.
        """
        wide = factors.astype(np.float64)
        products = np.zeros((len(rows), wide.shape[1]))
        weighed = {name: block for name, block in self._whitening.blocks.items() if wide[block].any()}
        turned = {
            name: own.multiply_transposed(wide[weighed[name]])
            for name, own in self._whitening.maps.items()
            if name in weighed
        }
        if not weighed:
            return products.astype(np.float32)
        # A search by colour alone reads a fifth of each vector.
        first, stop = min(block.start for block in weighed.values()), max(block.stop for block in weighed.values())
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            raw = self.read_raw(part, slice(first, stop)).astype(np.float64)
            for name, block in weighed.items():
                values = raw[:, block.start - first : block.stop - first]
                if name not in turned:
                    products[start : start + _CHUNK] += values @ wide[block]
                    continue
                own = self._whitening.maps[name]
                lengths = own.divisors(self._whitening.lengths[name][part])
                centred = values @ turned[name] - own.mean @ turned[name]
                products[start : start + _CHUNK] += centred / lengths[:, None]
        return products.astype(np.float32)
