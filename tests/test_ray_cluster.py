"""Errors of connecting to a Ray cluster name the address, and no option: builds, searches and Python share them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sst_retrieval.errors import ClusterError
from sst_retrieval.ray_cluster import connect


class RayError(Exception):
    pass


def unreachable(**options: Any) -> None:
    raise ConnectionError("no head\nat this address")


RAY = SimpleNamespace(init=unreachable, exceptions=SimpleNamespace(RayError=RayError))


@pytest.mark.parametrize("address", ["museum:6379", "auto", "ray://museum:10001"])
def test_an_address_that_cannot_be_used_is_named_without_an_option(address: str) -> None:
    with pytest.raises(ClusterError) as raised:
        connect(RAY, address, 2)
    assert address in str(raised.value)
    assert "--" not in str(raised.value).replace("ray start --head", "")
