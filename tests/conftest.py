"""What every test may use: data that is made once for the whole run, and the opened index of a module's own folder.

What is made once (`ten`, `pairs`, `drawer`, `sam2_files`) is made by whichever process of the run needs it first, and
all read it: a test that changes something takes a copy, or makes its own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes import a_collection_of, build_fake
from filelock import FileLock
from pairs import an_index_of_pairs
from threadpoolctl import threadpool_limits

from sst_retrieval.build.workers import count_cores
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.synthetic.drawer import make_drawer

if TYPE_CHECKING:
    from sst_retrieval.nets.efficientnet import EfficientNetTrunk

pytest_plugins = ["annotation_files", "s3_server"]

Once = Callable[[str, Callable[[Path], object]], Path]

PROCESSES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
"""How many processes share the run (`pytest -n`)."""


def pytest_configure() -> None:
    """Let each of several processes compute on its share of the cores."""
    if PROCESSES > 1:
        import scipy.linalg  # noqa: F401  Its BLAS is another one than NumPy's; only what is loaded can be told.
        import torch

        share = max(1, count_cores() // PROCESSES)
        threadpool_limits(share, user_api="blas")
        torch.set_num_threads(share)  # Not OMP_NUM_THREADS: a build takes it for how many photographs go at once.


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Leave out fsync: it guards against a power cut, which no test sees, and every build would wait for it 40 times.

    Processes that are killed at any moment (`test_store`) start a Python of their own, which has it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def own_drafts(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests of the app keep drafts of drawings to themselves: the folder of the computer's state."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.delenv("SST_RETRIEVAL_HOME", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser for the tests of the app (Playwright)."""
    from browser import open_browser  # It lies beside the tests of the app.

    with open_browser() as found:
        yield found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test of the app the folder of `own_drafts`, and those in a browser or on a cluster a second try.

    A browser, or a cluster, that shares its computer with others may get no processor for a minute. The summary says
    which tests were run again ("RERUN"): one that often is has a fault.
    """
    for item in items:
        if item.path.parent.name == "app" and "own_drafts" not in item.fixturenames:
            item.fixturenames.insert(0, "own_drafts")  # type: ignore[attr-defined]
        if {"browser", "cluster"} & set(item.fixturenames):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real, labelled specimens that are not part of the project."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real specimens at {folder}; this test needs them")
    return folder


@pytest.fixture
def shared_cases(tmp_path: Path) -> Callable[[str], Path]:
    """Copy a small awkward input, which is not part of the project, into a folder of the test's own: by its name."""

    def copy(name: str) -> Path:
        folder = Path(__file__).resolve().parents[2] / "shared" / "cases" / name
        if not folder.is_dir():
            pytest.skip(f"no awkward inputs at {folder}; this test needs them")
        return shutil.copytree(folder, tmp_path / name)

    return copy


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Make a folder once for all processes of the run: `once(name, make)` calls `make(folder)` if nobody did."""
    root = tmp_path_factory.getbasetemp()
    root = (root.parent if PROCESSES > 1 else root) / "made-once"
    root.mkdir(exist_ok=True)

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with FileLock(root / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # Left by a process whose `make` failed.
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def ten(once: Once) -> Path:
    """Ten painted specimens of two groups and, in `index/`, the index that the fakes made of them. Only to read."""
    return once("ten", lambda folder: build_fake(a_collection_of(folder), folder / "index"))


@pytest.fixture
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of ten painted specimens in a folder of the test's own, not built yet."""
    return a_collection_of(tmp_path_factory.mktemp("collection"))


@pytest.fixture(scope="session")
def pairs(once: Once) -> Path:
    """The index of invented butterflies with two bands and a spot (`pairs.py`). Only to read."""
    return once("pairs", lambda folder: an_index_of_pairs(folder / "index")) / "index"


@pytest.fixture(scope="module")
def index(folder: Path) -> Iterator[Index]:
    """The index at the module's own fixture `folder`, opened."""
    with open_index(folder) as opened:
        yield opened


@pytest.fixture(scope="session")
def drawer(once: Once) -> Path:
    """A synthetic drawer of twenty: three specimens of its first two species, two of the other seven. Only to read."""
    return once("drawer", lambda folder: make_drawer(folder, specimens=20))


@pytest.fixture(scope="session")
def sam2_files(once: Once) -> tuple[Path, Path]:
    """Checkpoint and configuration of a SAM 2 that is small enough for a test (`small_sam2.py`). Only to read."""
    from small_sam2 import write_small_sam2  # Here, as below, because it loads PyTorch, which many tests do without.

    folder = once("small-sam2", write_small_sam2)
    return folder / "small.pt", folder / "small.yaml"


@pytest.fixture(scope="session")
def trunk() -> EfficientNetTrunk:
    """The network of the default models."""
    from sst_retrieval.nets.efficientnet import EfficientNetTrunk

    return EfficientNetTrunk("cpu")
