"""Searches with many queries at a time: those of one after the other, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coded import EQUAL, clustered, index_of, many, queries
from hypothesis import given, settings
from hypothesis import strategies as st

from sst_retrieval.index import batch_search, byte_products, codes, vectors
from sst_retrieval.index.batch_search import BatchQuery, BatchSearch
from sst_retrieval.index.query_vectors import QueryExample


@settings(max_examples=80, deadline=None)
@given(
    stored=many,
    asked=st.lists(queries, min_size=1, max_size=4),
    product=st.sampled_from(["bytes", "floats", "card"]),
    coded=st.booleans(),
    data=st.data(),
)
def test_batches_agree_with_single_searches(
    tmp_path_factory: pytest.TempPathFactory,
    stored: np.ndarray,
    asked: list[Any],
    product: str,
    coded: bool,
    data: st.DataObject,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes, "MIN_REGIONS", 1)
        close = data.draw(st.sampled_from([0, 3, 400]))
        for module in (vectors, batch_search):
            patch.setattr(module, "CODES_LIMIT", 1 if coded else 1000)
            patch.setattr(module, "FIRST_BOUNDS", 1)
            patch.setattr(module, "USEFUL_SHARE", 1)
            patch.setattr(module, "MANY_REACHING", close)
        patch.setattr(batch_search, "FEW_CANDIDATES", data.draw(st.sampled_from([-1, 2, 256])))
        patch.setattr(batch_search, "AT_ONCE", data.draw(st.sampled_from([1, 2, 128])))
        multiply = byte_products._multiply_floats if product == "floats" else byte_products._multiply_bytes
        patch.setattr(byte_products, "_choose_product", lambda: multiply)
        patch.setattr(byte_products, "is_card", lambda device: product == "card")
        index = index_of(tmp_path_factory.mktemp("batch"), stored)
        inside = data.draw(st.none() | st.lists(st.booleans(), min_size=len(stored), max_size=len(stored)))
        ids = None if inside is None else index.ids[np.array(inside)]
        wanted = [
            BatchQuery(
                examples,
                data.draw(st.integers(1, 8)),
                data.draw(st.sampled_from([EQUAL, np.array([1.0, 0, 3]), np.array([0, 1.0, 0])])),
            )
            for examples in asked
        ]
        found = list(BatchSearch(index, ids).search(wanted))
        for query, one in zip(wanted, found, strict=True):
            expected = index.search(query.examples, query.k, weights=query.weights, ids=ids)
            assert one.ids.tolist() == expected.ids.tolist()
            assert one.scores.tobytes() == expected.scores.tobytes()
            assert one.cosines.tobytes() == expected.cosines.tobytes()


def test_most_vectors_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = clustered(4000)
    index = index_of(tmp_path, stored)
    monkeypatch.setattr(vectors.VectorIndex, "search", lambda *_, **__: pytest.fail("searched alone"))
    read = []
    take = vectors.VectorIndex.take
    monkeypatch.setattr(vectors.VectorIndex, "take", lambda self, rows: read.append(len(rows)) or take(self, rows))
    list(BatchSearch(index, None).search([BatchQuery([QueryExample(stored[:1])], 12, EQUAL)] * 10))
    assert 0 < sum(read) < 10 * 800
