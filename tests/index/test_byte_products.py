"""Products of bytes: exact, whichever way and wherever they are computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sst_retrieval.errors import ModelError
from sst_retrieval.index import byte_products
from sst_retrieval.index.byte_products import GROUP, ByteTable, count_groups


def some_bytes(rows: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-127, 128, (rows, width)).astype(np.int8)


def expected_maxima(parts: list[np.ndarray], queries: np.ndarray) -> np.ndarray:
    found = []
    for part in parts:
        products = part.astype(np.int64) @ queries.T.astype(np.int64)
        found += [products[start : start + GROUP].max(axis=0) for start in range(0, len(part), GROUP)]
    return np.array(found).reshape(-1, len(queries))


@pytest.mark.parametrize("way", ["bytes", "floats", "card"])
@pytest.mark.parametrize("width", [296, 317, 1024])
@pytest.mark.parametrize("sizes", [[1], [15], [16, 0, 33], [5000, 7]])
def test_maxima_are_exact_and_of_each_group(
    monkeypatch: pytest.MonkeyPatch, way: str, width: int, sizes: list[int]
) -> None:
    multiply = byte_products._multiply_floats if way == "floats" else byte_products._multiply_bytes
    monkeypatch.setattr(byte_products, "_choose_product", lambda: multiply)
    monkeypatch.setattr(byte_products, "_CARD_CHUNK", 2048)
    if way == "card":  # The path of a card, on the CPU: rows are copied once, and stay.
        monkeypatch.setattr(byte_products, "is_card", lambda device: True)
    parts = [some_bytes(size, width, seed) for seed, size in enumerate(sizes)]
    table = ByteTable(parts)
    for count in (1, 3, 8, 70):
        queries = some_bytes(count, width, 99)
        found = table.group_maxima(queries)
        np.testing.assert_array_equal(found, expected_maxima(parts, queries))
        assert len(found) == sum(map(count_groups, sizes))


def test_the_largest_products_are_exact() -> None:
    extreme = np.full((20, 1024), 127, np.int8)
    extreme[3] = -127
    assert ByteTable([extreme]).group_maxima(extreme[:4]).tolist() == expected_maxima([extreme], extreme[:4]).tolist()


def test_the_product_is_chosen_by_the_clock_and_kept() -> None:
    assert byte_products._choose_product() in (byte_products._multiply_bytes, byte_products._multiply_floats)
    assert byte_products._choose_product() is byte_products._choose_product()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_a_card_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ModelError, match="sees 0 CUDA cards"):
        ByteTable([some_bytes(4, 8, 0)], "cuda")
