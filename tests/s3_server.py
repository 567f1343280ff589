"""A server that speaks S3, on this computer."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A bucket of an S3 server on this computer, as s3fs sees it, with a key that the server checks for."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed (pip install 'sst-retrieval[test]')")
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed (pip install 'sst-retrieval[s3]')")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "museum",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    # Servers of one process share their buckets.
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/moto-api/reset", method="POST")).close()
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir("museum")
    try:
        yield system
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()
