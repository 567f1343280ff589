"""Vectors of one trait with codes, and strategies for queries of them: for all tests of exact search by codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from invented import BLOCKS, DIM, a_collection, a_region, a_vector, built, unit

from sst_retrieval.index.codes import write_codes
from sst_retrieval.index.query_vectors import QueryExample
from sst_retrieval.index.vector_files import write_vectors
from sst_retrieval.index.vectors import VectorIndex

EQUAL = np.ones(3)


def code_files(folder: Path) -> tuple[Path, Path]:
    return folder / "trait.codes.npy", folder / "trait.codes.npz"


def index_of(folder: Path, stored: np.ndarray) -> VectorIndex:
    """An index with codes, whatever the number of regions."""
    ids = 5 + 3 * np.arange(len(stored))
    for file in (folder / "trait.faiss", *code_files(folder)):
        file.unlink(missing_ok=True)
    write_vectors(folder / "trait.faiss", ids, stored)
    write_codes(*code_files(folder), stored, BLOCKS)
    return VectorIndex(folder / "trait.faiss", BLOCKS, code_files(folder))


def clustered(count: int, seed: int = 0) -> np.ndarray:
    """Vectors of some species, blocks of unit length."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count // 40, DIM))
    return np.array(
        [unit(row) for row in centres[rng.integers(0, len(centres), count)] + 0.1 * rng.normal(size=(count, DIM))]
    )


def coded_index(path: Path, count: int, equal: slice) -> Path:
    """An index of S0000, S0001, ... whose wings are searched by codes, some equal; of 300 heads there are no codes."""
    stored = clustered(count)
    stored[equal] = stored[3]
    names = [f"S{number:04d}" for number in range(count)]
    regions = [a_region(name, vector=vector) for name, vector in zip(names, stored, strict=True)]
    regions += [a_region(name, "head") for name in names[:300]]
    table = a_collection(names, {"sex": "VARCHAR"}, sex=[("male", "female")[number % 2] for number in range(count)])
    built(path, regions, table, numbers={"wing": 7, "head": 2})
    return path


coarse = st.lists(st.integers(-2, 2), min_size=DIM, max_size=DIM).map(unit)
fine = st.integers(0, 10_000).map(a_vector)
many = st.lists(coarse | fine, min_size=1, max_size=60).map(np.array)
example = st.builds(
    QueryExample,
    st.lists(coarse | fine, min_size=1, max_size=3).map(np.array),
    st.sampled_from([1.0, 0.5, 0.2, -0.5, -0.1]),
)
queries = st.lists(example, min_size=1, max_size=3)
block_weights = st.lists(st.sampled_from([0, 0.3, 1, 7]), min_size=3, max_size=3).filter(any).map(np.array)
