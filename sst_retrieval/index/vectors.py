"""Room 5b: the vectors of one trait in a FAISS file, and an exact search among them.

A vector is blocks [pattern | colour | shape], each of unit length. A query whose blocks are scaled by their weights has
the weighted sum of the blocks' cosines as its inner product, so one index answers any weights. A sum of such queries
has the sum of their answers: "like these three, unlike that one" is one inner product, too.

1. FAISS proposes every region that could be among the best k. (For few regions, or a query of several readings, which
   FAISS would answer one by one, a product over the gathered rows is faster.)
2. The cosines of the proposed regions are computed again in double precision, block by block.
3. These decide; equal similarities are ordered by region id. So an answer never depends on the way it was found.
"""

from __future__ import annotations

import io
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sst_retrieval.describe.unit_vectors import normalise_blocks
from sst_retrieval.errors import IndexFolderError, SSTError
from sst_retrieval.index.query_vectors import Example, Weighed
from sst_retrieval.types import Doubles, Floats

Ids = npt.NDArray[np.int64]

FEW = 10_000
"""Up to this many regions a product over the gathered rows is faster than a filter inside FAISS."""

CHUNK = 4096
"""Rows taken from the file at a time, so that a search needs little memory."""

SPARE = 32
"""How many more than k are asked of FAISS at first, to hold the near ties."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The regions most like a query, the most similar first.

    Attributes:
        ids: int64 (n,), region ids.
        scores: float64 (n,), weighted mean of the blocks' cosines, not clipped.
        cosines: float64 (n, B), one column a block; of several examples the sum, each times its share.
    """

    ids: Ids
    scores: Doubles
    cosines: Doubles


def load_faiss() -> Any:
    """Import FAISS when it is needed: whoever asks for help or for `sst-retrieval doctor` can do without.

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
    """Write the vectors of one trait to a FAISS file.

    Args:
        path: the file to write.
        ids: int64 (n,), region ids, ascending.
        vectors: float32 (n, D).

    Raises:
        SSTError: FAISS cannot be loaded.
    """
    faiss = load_faiss()
    index = faiss.IndexIDMap(faiss.IndexFlatIP(vectors.shape[1]))
    index.add_with_ids(vectors, ids)
    faiss.write_index(index, str(path))


class VectorIndex:
    """The vectors of one trait, mapped from their file: memory is used only for what a search touches."""

    def __init__(self, path: Path, blocks: Mapping[str, int]) -> None:
        """Open a file that `write_vectors` made.

        Args:
            path: the FAISS file.
            blocks: block name -> number of values, in the order they are concatenated.

        Raises:
            IndexFolderError: the file cannot be read or does not hold such vectors.
            SSTError: FAISS cannot be loaded.
        """
        faiss = load_faiss()
        try:
            self._index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise IndexFolderError(f"{path} cannot be read; run the build again to make it anew: {error}") from error
        flat: Any = faiss.downcast_index(self._index.index)
        if flat.d != sum(blocks.values()):
            raise IndexFolderError(f"{path} holds vectors of {flat.d} values, the index says {dict(blocks)}")
        self.ids: Ids = faiss.vector_to_array(self._index.id_map)
        shape = (flat.ntotal, flat.d)
        self._vectors: Floats = (
            faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(shape)
            if flat.ntotal
            else np.zeros(shape, dtype=np.float32)
        )
        self._vectors.flags.writeable = False
        file = path.open("rb", buffering=0)
        weakref.finalize(self, file.close)
        self._unread: io.FileIO | None = file
        self._blocks = [slice(start, stop) for start, stop in pairwise(np.cumsum([0, *blocks.values()]))]

    def __len__(self) -> int:
        """Count the regions."""
        return len(self.ids)

    def reconstruct(self, ids: Ids) -> Floats:
        """Return stored vectors.

        Args:
            ids: int64 (n,), region ids of this trait.

        Returns:
            float32 (n, D).

        Raises:
            KeyError: an id is not here.
        """
        return self._vectors[self.rows(ids)]

    def rows(self, ids: Ids) -> Ids:
        """Turn region ids into places in the file, int64 (n,).

        Raises:
            KeyError: an id is not here.
        """
        rows = self._rows(ids)
        if len(rows) != len(ids):
            raise KeyError(f"not regions of this trait: {np.setdiff1d(ids, self.ids).tolist()}")
        return rows

    def search(self, query: Sequence[Example], k: int, *, weights: Doubles, ids: Ids | None = None) -> Neighbours:
        """Find the k regions most like a query, exactly.

        Args:
            query: the examples; a region's score is the sum of what each gives it.
            k: at least 1; more than there are returns all there are.
            weights: float64 (B,), not negative, not all zero.
            ids: int64 (n,), each once: search among these only; None searches all.

        Returns:
            At most k neighbours. Equal similarities are ordered by region id.
        """
        asked = Weighed.of(query, self._blocks, weights)
        rows = None if ids is None else self._rows(np.sort(ids))
        candidates = self._candidates(asked, k, rows)
        scores, cosines = self._exact(asked, candidates)
        best = np.lexsort((candidates, -scores))[:k]
        return Neighbours(self.ids[candidates[best]], scores[best], cosines[best])

    def scores(self, query: Sequence[Example], ids: Ids, *, weights: Doubles) -> tuple[Doubles, Doubles]:
        """Score some regions against a query, exactly.

        Args:
            query: as for `search`.
            ids: int64 (n,), region ids of this trait, ascending.
            weights: float64 (B,), as for `search`.

        Returns:
            float64 (n,) and float64 (n, B), as in `Neighbours`, in the order of the ids.
        """
        return self._exact(Weighed.of(query, self._blocks, weights), self.rows(ids))

    def _rows(self, ids: Ids) -> Ids:
        """Turn region ids into row numbers, leaving out ids that are not here. `self.ids` ascends."""
        rows: Ids = np.searchsorted(self.ids, ids)
        inside = rows < len(self.ids)
        rows, ids = rows[inside], ids[inside]
        found: Ids = rows[self.ids[rows] == ids]
        return found

    def _candidates(self, asked: Weighed, k: int, rows: Ids | None) -> Ids:
        """Propose rows that surely hold the best k: all whose score comes within the slack of the k-th best."""
        if rows is not None and len(rows) == len(self.ids):
            rows = None  # A filter that lets all pass costs FAISS three times the search.
        chosen = np.arange(len(self.ids)) if rows is None else rows
        if len(chosen) > FEW:
            self._read_ahead()
        if k >= len(chosen):
            return chosen
        if len(chosen) > FEW and asked.line is not None:
            return self._from_faiss(asked.line, k, rows, slack=asked.slack)
        scores = self._products(asked, chosen)
        likely: Ids = chosen[scores >= np.partition(scores, -k)[-k] - asked.slack]
        return likely

    def _read_ahead(self) -> None:
        """Read the file once from end to end before a search that needs most of it.

        FAISS maps it for scattered access; a first search would wait for every single page, ten times as long.
        """
        file, self._unread = self._unread, None
        if file is not None:
            buffer = bytearray(1 << 20)
            while file.readinto(buffer):
                pass

    def _products(self, asked: Weighed, rows: Ids) -> Floats:
        """Multiply gathered rows with every reading, keep the best of each example, add up; float32 (n,)."""
        scores = np.zeros(len(rows), dtype=np.float32)
        for start in range(0, len(rows), CHUNK):
            part = self._vectors[rows[start : start + CHUNK]]
            if asked.line is not None:
                scores[start : start + CHUNK] = part @ asked.line
                continue
            for readings, share in asked.scaled:
                scores[start : start + CHUNK] += np.float32(share) * (part @ readings.T).max(axis=1)
        return scores

    def _from_faiss(self, line: Floats, k: int, rows: Ids | None, *, slack: float) -> Ids:
        """Ask FAISS for more and more, until what it left out is surely worse than the k-th best."""
        parameters = None if rows is None else _only(self.ids[rows])
        count = len(self.ids if rows is None else rows)
        wanted = k + SPARE
        while True:
            (scores,), (found,) = self._index.search(line[None], min(wanted, count), params=parameters)
            limit = scores[k - 1] - slack
            if wanted >= count or scores[-1] < limit:
                return self._rows(np.sort(found[scores >= limit]))
            wanted *= 4

    def _exact(self, asked: Weighed, rows: Ids) -> tuple[Doubles, Doubles]:
        """Score rows in double precision: float64 (n,) and, block by block, float64 (n, B)."""
        cosines = np.zeros((len(rows), len(self._blocks)))
        for start in range(0, len(rows), CHUNK):
            vectors = normalise_blocks(self._vectors[rows[start : start + CHUNK]], self._blocks)
            for readings, share in asked.examples:
                cosines[start : start + CHUNK] += share * self._best_reading(readings, vectors, asked.weights)
        # Beyond nine digits a similarity is rounding noise, and noise must not decide between equals.
        return np.round((cosines * asked.weights).sum(axis=1), 9), cosines

    def _best_reading(self, readings: Doubles, vectors: Doubles, weights: Doubles) -> Doubles:
        """Return the blocks' cosines of each row with the reading it resembles most: float64 (n, B)."""
        # A sum along each row, not a matrix product: equal vectors must give equal numbers wherever they stand.
        cosines = np.stack(
            [[(vectors[:, b] * reading[b]).sum(axis=1) for b in self._blocks] for reading in readings]
        )  # (M, B, n)
        chosen = np.argmax(np.einsum("mbn,b->mn", cosines, weights), axis=0)
        best: Doubles = cosines[chosen, :, np.arange(len(vectors))]
        return best


def _only(ids: Ids) -> Any:
    """Build the filter that keeps FAISS to some ids: a bitmap, which stays fast however many they are."""
    marks = np.zeros(int(ids[-1]) + 1, dtype=bool)
    marks[ids] = True
    faiss = load_faiss()
    return faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(marks, bitorder="little")))
