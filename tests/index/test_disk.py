"""A full disk: one sentence, the old state as it was, nothing left behind. An index that is closed while it is used."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from invented import a_collection, a_region, built, rows

from sst_retrieval.errors import IndexFolderError, QueryError
from sst_retrieval.index.disk import allocate
from sst_retrieval.index.store import Store
from sst_retrieval.search.index import open_index

IDS = [f"s{number:03d}" for number in range(300)]

SMALL_DISK = """
import subprocess, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from invented import a_collection, a_region, built, rows
from sst_retrieval.errors import IndexFolderError
from sst_retrieval.search.index import open_index
from sst_retrieval.index.store import Store

disk, ids = Path(sys.argv[1]), [f"s{number:03d}" for number in range(300)]
store = built(disk / "index", [a_region(name) for name in ids])
files = sorted(path for path in disk.rglob("*") if path.is_file() and path.name != ".lock")
before = {path: path.read_bytes() for path in files}
import shutil
filler = disk / "filler"
full = 0
for free in range(0, 3_000_000, 100_000):
    filler.write_bytes(b"")
    left = shutil.disk_usage(disk).free - free
    if left > 0:
        filler.write_bytes(bytes(left))
    try:
        with store.lock():
            store.commit(a_collection(ids), numbers={"wing": 7}, provenance={})
        break
    except IndexFolderError as error:
        assert "is full" in str(error) and "\\n" not in str(error), error
        full += 1
    filler.unlink()
    now = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file() and path.name != ".lock"}
    assert now == before, sorted(set(now) ^ set(before))
    assert open_index(disk / "index").search(like=(ids[0], "wing"), k=3)
assert full > 3
print("full", full)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file system of its own")
def test_a_full_disk_is_one_sentence_and_the_old_state_stays(tmp_path: Path) -> None:
    here = Path(__file__).parent
    search_path = [str(here), str(here.parent), str(here.parents[1])]
    mount = f'mount -t tmpfs -o size=8m none {tmp_path} && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-c", SMALL_DISK, str(tmp_path), *search_path]
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("a file system of its own may not be mounted here")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if "mount:" in done.stderr:
        pytest.skip("a file system of its own may not be mounted here")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("full ")


@pytest.mark.parametrize(
    "writer",
    [
        *("generation.write_vectors", "generation.write_whitening", "generation.write_codes"),
        *("generation.write_owners", "generation.allocate", "store.write_text"),
    ],
)
def test_a_disk_that_fills_up_at_any_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str) -> None:
    store = built(tmp_path / "index", [a_region("a"), a_region("b")])
    files = {path: path.read_bytes() for path in (tmp_path / "index").rglob("*") if path.is_file()}

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(f"sst_retrieval.index.{writer}", full)
        with store.lock(), pytest.raises(IndexFolderError, match=r"is full .*stays as it was.*run the build again"):
            store.commit(a_collection(["a", "b"]), numbers={"wing": 7}, provenance={})
    assert {path: path.read_bytes() for path in (tmp_path / "index").rglob("*") if path.is_file()} == files
    with store.lock():
        store.commit(a_collection(["a", "b"]), numbers={"wing": 7}, provenance={})


def test_a_file_has_its_space_before_it_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allocate(tmp_path / "file", 3_000_001)
    assert (tmp_path / "file").stat().st_blocks * 512 >= 3_000_001
    monkeypatch.delattr(os, "posix_fallocate")
    allocate(tmp_path / "other", 3_000_001)
    assert (tmp_path / "other").stat().st_size == 3_000_001


def test_an_index_is_closed_while_others_search(tmp_path: Path) -> None:
    built(tmp_path / "index", [a_region(name) for name in IDS], a_collection(IDS, sex=["f", "m", "f"] * 100))
    other: list[BaseException] = []
    answers = [0]
    for _ in range(5):
        index = open_index(tmp_path / "index")
        begun = threading.Barrier(5)

        def search(index=index, begun=begun) -> None:
            begun.wait()
            try:
                while True:
                    index.search(like=(IDS[0], "wing"), k=5, where="sex = 'f'")
                    index.table("wing")
                    answers[0] += 1
            except QueryError as error:
                if "the index is closed" not in str(error):
                    other.append(error)
            except BaseException as error:
                other.append(error)

        threads = [threading.Thread(target=search) for _ in range(4)]
        for thread in threads:
            thread.start()
        begun.wait()
        threading.Event().wait(0.1)
        index.close()
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)
    assert other == []
    assert answers[0] > 0


def test_what_is_left_of_other_versions_goes_with_the_next_build(tmp_path: Path) -> None:
    store = built(tmp_path / "index", [a_region("a")])
    (tmp_path / "index" / "thumbnails").mkdir()
    (tmp_path / "index" / "crops" / "wing").mkdir(parents=True)
    for name in ("thumbnails/a.jpg.part", "crops/wing/a.jpg.part"):
        (tmp_path / "index" / name).write_bytes(b"half")
    with store.lock():
        store.append(rows([a_region("b")]))
    assert not list((tmp_path / "index").rglob("*.part"))
    assert Store.exists(tmp_path / "index")
