"""The trunk by OpenVINO: the features of PyTorch but for rounding, whoever asks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sst_retrieval.engines import ModelOptions, load_engines, load_propagator
from sst_retrieval.errors import ModelError
from sst_retrieval.nets import openvino_trunk
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.nets.openvino_trunk import OpenVinoTrunk


def paint_views(count: int, side: int) -> np.ndarray:
    """Draw smooth pictures, uint8 (count, side, side, 3): noise has features that no photograph has."""
    along = np.linspace(0, 6, side)
    waves = [np.sin(along[:, None] * (1 + n)) * np.cos(along[None] * (2 + n)) for n in range(3 * count)]
    pictures = np.stack(waves).reshape(count, 3, side, side).transpose(0, 2, 3, 1)
    return (127 + 120 * pictures).astype(np.uint8)


@pytest.fixture(scope="module")
def by_openvino() -> OpenVinoTrunk:
    pytest.importorskip("openvino", reason="OpenVINO is not installed (pip install 'sst-retrieval[openvino]')")
    return OpenVinoTrunk()


@pytest.mark.parametrize("deepest", [5, 4])
def test_the_features_of_pytorch(by_openvino: OpenVinoTrunk, trunk: EfficientNetTrunk, deepest: int) -> None:
    views = paint_views(2, 96)
    ours, theirs = by_openvino.levels(views, deepest=deepest), trunk.levels(views, deepest=deepest)
    assert [level.shape for level in ours] == [level.shape for level in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert float(other.abs().max()) > 1
        assert float((one - other).abs().max()) < 1e-5 * float(other.abs().max())


def test_threads_get_what_one_gets(by_openvino: OpenVinoTrunk) -> None:
    views = paint_views(8, 64)
    alone = [by_openvino.levels(view[None])[-1].numpy() for view in views]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda view: by_openvino.levels(view[None])[-1].numpy(), views))
    assert [np.array_equal(one, other) for one, other in zip(alone, together, strict=True)] == [True] * 8


def test_it_keeps_its_answers(by_openvino: OpenVinoTrunk) -> None:
    first, second = paint_views(2, 64)
    kept = by_openvino.levels(first[None])[0]
    before = kept.clone()
    by_openvino.levels(second[None])
    assert bool((kept == before).all())


def test_the_same_names_so_that_regions_stay_comparable(by_openvino: OpenVinoTrunk) -> None:
    plain, other = (
        load_engines("dense", "efficientnet", "cpu", ModelOptions(runtime=r)) for r in ("torch", "openvino")
    )
    assert plain.recipe() == other.recipe()
    assert other.device == "cpu by openvino"


def test_what_cannot_be() -> None:
    with pytest.raises(ModelError, match="--runtime tensorrt is unknown; choose torch or openvino"):
        load_propagator("dense", "cpu", ModelOptions(runtime="tensorrt"))
    with pytest.raises(ModelError, match="which none of these models uses"):
        load_engines("fakes:FakeTracker", "fakes:FakeEmbedder", "cpu", ModelOptions(runtime="openvino"))
    with pytest.raises(ModelError, match="computes on the processor"):
        load_propagator("dense", "cuda", ModelOptions(runtime="openvino"))


def test_openvino_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(openvino_trunk.importlib, "import_module", fail)
    with pytest.raises(ModelError, match=r"pip install 'sst-retrieval\[openvino\]'"):
        OpenVinoTrunk()
