"""A build reads the photographs whose size or time of change is another than at the last build."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import FAKES, build_fake
from PIL import Image

from sst_retrieval.build import pipeline
from sst_retrieval.imaging.images import content_hash
from sst_retrieval.index.photograph_hashes import SETTLED, PhotographHashes

RECORD = ".photograph-hashes.parquet"


@pytest.fixture
def old(table: Path) -> list[Path]:
    """The photographs of a collection, taken an hour ago."""
    photographs = sorted((table.parent / "images").iterdir())
    for path in photographs:
        os.utime(path, ns=(0, time.time_ns() - 3600 * 10**9))
    return photographs


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The photographs whose content a build hashed."""
    names: list[str] = []
    monkeypatch.setattr(pipeline, "content_hash", lambda path: names.append(path.name) or content_hash(path))
    return names


def change(path: Path) -> None:
    """Turn a photograph upside down; its size stays what it is."""
    pixels = np.asarray(Image.open(path).convert("RGB"))[::-1]
    size = path.stat().st_size
    Image.fromarray(pixels).save(path, compress_level=9)
    path.write_bytes(path.read_bytes().ljust(size, b"\0"))
    assert path.stat().st_size == size


def test_a_second_build_reads_no_photograph(table: Path, old: list[Path], hashed: list[str]) -> None:
    index = table.parent / "index"
    assert build_fake(table, index).processed == 10
    assert sorted(hashed) == [path.name for path in old]
    hashed.clear()
    assert build_fake(table, index).reused == 10
    assert hashed == []


def test_a_changed_photograph_is_read_and_processed(table: Path, old: list[Path], hashed: list[str]) -> None:
    index = table.parent / "index"
    build_fake(table, index)
    hashed.clear()
    change(old[3])
    report = build_fake(table, index)
    assert (report.processed, report.reused) == (1, 9)
    assert hashed == [old[3].name]
    hashed.clear()
    build_fake(table, index)
    assert hashed == [old[3].name]  # It has changed just now, and might change once more within the clock's tick.


def test_another_time_alone_is_no_change(table: Path, old: list[Path], hashed: list[str]) -> None:
    index = table.parent / "index"
    build_fake(table, index)
    hashed.clear()
    os.utime(old[0], ns=(0, time.time_ns() - 7200 * 10**9))
    assert build_fake(table, index).reused == 10
    assert hashed == [old[0].name]
    hashed.clear()
    build_fake(table, index)
    assert hashed == []


def test_reread_notices_what_hides_behind_the_same_size_and_time(table: Path, old: list[Path]) -> None:
    index = table.parent / "index"
    build_fake(table, index)
    times = old[2].stat()
    change(old[2])
    os.utime(old[2], ns=(times.st_atime_ns, times.st_mtime_ns))
    assert build_fake(table, index).processed == 0
    assert build_fake(table, index, replace(FAKES, reread=True)).processed == 1
    assert build_fake(table, index).processed == 0


@pytest.mark.parametrize("damage", [b"", b"no record", None])
def test_a_damaged_record_is_not_used(table: Path, old: list[Path], hashed: list[str], damage: bytes | None) -> None:
    index = table.parent / "index"
    build_fake(table, index)
    record = index / RECORD
    whole = bytearray(record.read_bytes())
    whole[len(whole) // 3] ^= 0x55
    record.write_bytes(bytes(whole) if damage is None else damage)
    hashed.clear()
    assert build_fake(table, index).reused == 10
    assert len(hashed) == 10
    hashed.clear()
    build_fake(table, index)
    assert hashed == []


def test_what_has_just_changed_is_not_remembered(tmp_path: Path) -> None:
    photograph, record = tmp_path / "a.jpg", tmp_path / "record"
    photograph.write_bytes(b"one")
    read: list[Path] = []

    def compute(path: Path) -> str:
        read.append(path)
        return content_hash(path)

    for _ in range(2):
        hashes = PhotographHashes(record, compute)
        first = hashes.hash(photograph)
        hashes.write()
    assert len(read) == 2
    os.utime(photograph, ns=(0, time.time_ns() - int((SETTLED + 1) * 10**9)))
    for _ in range(2):
        hashes = PhotographHashes(record, compute)
        assert hashes.hash(photograph) == first
        hashes.write()
    assert len(read) == 3
