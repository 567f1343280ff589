"""A file of vectors and their region ids, as FAISS writes an `IndexIDMap(IndexFlatIP)`: written, and mapped."""

from __future__ import annotations

import io
import mmap
import os
import struct
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import IndexFolderError, SSTError
from sst_retrieval.types import Floats

Ids = npt.NDArray[np.int64]

CHUNK = 4096
"""Rows written at a time, so that little memory is needed."""

EXTRA_CANDIDATES = 32
"""Candidates beyond k in the first call of FAISS: near ties."""

_HEAD = struct.Struct("<4siqqq?i4siqqq?iQ")
"""Of the file: that of the ids, that of the vectors, and how many numbers follow."""

_OPEN_FILES = Path("/proc/self/fd")
"""Where the system (Linux) lists the files that this process has open."""

_UNUSED = 1 << 20
"""What FAISS writes into two fields of its header that it does not read."""


def load_faiss() -> Any:
    """Import FAISS on first use, so that `--help` and `sst-retrieval doctor` work without it.

    Raises:
        SSTError: it is not installed, or broken; says what to do.
    """
    try:
        import faiss
    except ImportError as error:
        raise SSTError(
            f"FAISS cannot be loaded ({error}), and vectors are neither stored nor searched without it; install it: "
            "python -m pip install faiss-cpu (sst-retrieval doctor looks what else is wrong)"
        ) from error
    return faiss


def write_vectors(path: Path, ids: Ids, vectors: Floats) -> None:
    """Write vectors to a FAISS file: `IndexIDMap(IndexFlatIP(D))`, as `faiss.write_index` writes it.

    Not by FAISS itself, which would hold all vectors in memory, twice.

    Args:
        path: the file to write.
        ids: int64 (n,), region ids, ascending.
        vectors: float32 (n, D); may be memory-mapped.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("wb") as file:
        for part in (b"IxMp", b"IxFI"):
            file.write(part + struct.pack("<iqqq?i", vectors.shape[1], len(vectors), _UNUSED, _UNUSED, True, 0))
        file.write(struct.pack("<Q", vectors.size))
        for start in range(0, len(vectors), CHUNK):
            file.write(np.ascontiguousarray(vectors[start : start + CHUNK], dtype="<f4").data)
        file.write(struct.pack("<Q", len(ids)))
        file.write(np.ascontiguousarray(ids, dtype="<i8").data)


class VectorFile:
    """What `write_vectors` wrote, memory-mapped.

    Attributes:
        ids: int64 (n,), region ids.
        vectors: float32 (n, D), read-only.
    """

    def __init__(self, path: Path, dim: int) -> None:
        """Open a file.

        Args:
            path: of it.
            dim: values in a vector, D.

        Raises:
            IndexFolderError: the file cannot be read or does not hold such vectors.
            SSTError: FAISS cannot be loaded, where it must be at once.
        """
        self._path = path
        try:
            self.vectors, self.ids = _map_file(path)
        except (OSError, ValueError) as error:
            raise IndexFolderError(f"{path} cannot be read; run the build again to make it anew: {error}") from error
        if self.vectors.shape[1] != dim:
            raise IndexFolderError(f"{path} holds vectors of {self.vectors.shape[1]} values, the index says {dim}")
        self._lock = threading.Lock()
        self._index: Any = None
        self._file: io.FileIO = path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)
        self._unread = True
        if not _OPEN_FILES.is_dir():
            self._open_index()  # Later the file may have been removed.

    def __len__(self) -> int:
        """Count the vectors."""
        return len(self.ids)

    def take(self, rows: Ids, wanted: Sequence[bool] | None = None) -> Floats:
        """Return vectors, float32 (n, D), whatever blocks are wanted: they are stored as they are compared."""
        found: Floats = self.vectors[rows]
        return found

    def multiply(self, rows: Ids, factors: Floats) -> Floats:
        """Multiply vectors with factors, float32 (D, m): float32 (n, m)."""
        found: Floats = self.vectors[rows] @ factors
        return found

    def _open_index(self) -> Any:
        """Open the file by FAISS, at the first search that needs it.

        Raises:
            IndexFolderError: it cannot be read.
            SSTError: FAISS cannot be loaded.
        """
        with self._lock:
            if self._index is None:
                faiss = load_faiss()
                # By its open handle: a generation that nobody opens any more may be gone, and its readers go on.
                handle = _OPEN_FILES / str(self._file.fileno())
                path = handle if _OPEN_FILES.is_dir() else self._path
                try:
                    self._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
                except RuntimeError as error:
                    raise IndexFolderError(
                        f"{self._path} cannot be read; run the build again to make it anew: {error}"
                    ) from error
            return self._index

    def read_sequentially(self) -> None:
        """Read the file once from end to end, into the page cache, before the first search of most of it.

        It is mapped for random access: page by page, the first search would take ten times as long.
        """
        unread, self._unread = self._unread, False
        if unread:
            buffer = bytearray(1 << 20)
            while self._file.readinto(buffer):
                pass

    def find_candidates(self, vector: Floats, k: int, rows: Ids | None, *, margin: float) -> Ids:
        """Search with FAISS for more and more, until what it left out is below the limit.

        Args:
            vector: float32 (D,), the query.
            k: how many are wanted.
            rows: int64 (n,), ascending: search among these only; None searches all.
            margin: how far below the k-th best inner product a candidate may be.

        Returns:
            int64 (m,), rows, ascending; all if there are at most k.
        """
        among = np.arange(len(self.ids)) if rows is None else rows
        if k >= len(among):
            return among
        parameters = None if rows is None else _filter_ids(self.ids[rows])
        wanted = k + EXTRA_CANDIDATES
        while True:
            (scores,), (found,) = self._open_index().search(vector[None], min(wanted, len(among)), params=parameters)
            limit = scores[k - 1] - margin
            if wanted >= len(among) or scores[-1] < limit:
                return np.searchsorted(self.ids, np.sort(found[scores >= limit]))
            wanted *= 4


def _map_file(path: Path) -> tuple[Floats, Ids]:
    """Map what `write_vectors` wrote: float32 (n, D), read-only, and int64 (n,), in memory.

    Not by FAISS, which would hold the ids a second time.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise ValueError("it is too short")
        outer, dim, count, _, _, _, _, inner, own_dim, own_count, _, _, _, metric, values = _HEAD.unpack(head)
        size = _HEAD.size + 4 * values + 8 + 8 * count
        fits = (dim, count, values) == (own_dim, own_count, own_dim * own_count) and dim > 0 and count >= 0
        if (outer, inner, metric) != (b"IxMp", b"IxFI", 0) or not fits or file.seek(0, os.SEEK_END) != size:
            raise ValueError("it is not a flat index of inner products under ids, or not whole")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if hasattr(mmap, "MADV_RANDOM"):
            mapped.madvise(mmap.MADV_RANDOM)
        file.seek(_HEAD.size + 4 * values)
        if struct.unpack("<Q", file.read(8)) != (count,):
            raise ValueError("it has another number of ids")
        ids = np.fromfile(file, "<i8", count)
    vectors: Floats = np.ndarray((count, dim), "<f4", mapped, _HEAD.size)
    return vectors, ids


def _filter_ids(ids: Ids) -> Any:
    """Make the FAISS filter that passes some ids: a bitmap, whose speed does not depend on their number."""
    marks = np.zeros(int(ids[-1]) + 1, dtype=bool)
    marks[ids] = True
    faiss = load_faiss()
    return faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(marks, bitorder="little")))
