"""Every foreground keeps the contract; each says clearly what it lacks."""

from __future__ import annotations

import importlib.metadata
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sst_retrieval.errors import ModelError
from sst_retrieval.foregrounds import u2netp
from sst_retrieval.foregrounds.contract import Foreground
from sst_retrieval.foregrounds.loading import FOREGROUNDS, load_foreground
from sst_retrieval.foregrounds.tiles import cut_tiles, merge_tiles
from sst_retrieval.imaging.foreground import find_foreground
from sst_retrieval.types import RGBImage


def draw_discs(size: tuple[int, int], discs: list[tuple[int, int, int]]) -> RGBImage:
    """Dark discs (x, y, radius) on a light board of (height, width), faintly speckled."""
    picture = Image.new("RGB", size[::-1], (226, 221, 208))
    draw = ImageDraw.Draw(picture)
    for x, y, r in discs:
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(60, 38, 30))
    noise = np.random.default_rng(0).integers(-3, 4, (*size, 3))
    return np.clip(np.asarray(picture).astype(int) + noise, 0, 255).astype(np.uint8)


class FakeRembg(ModuleType):
    """Stands in for the program rembg: dark is thing."""

    def new_session(self, model: str) -> str:
        if model != "some-net":
            raise ValueError(f"No session class found for model '{model}'")
        return model

    def remove(self, picture: Image.Image, *, session: str, only_mask: bool) -> Image.Image:
        assert session == "some-net"
        assert only_mask
        return picture.convert("L").point(lambda value: 255 if value < 128 else 0)


@pytest.fixture
def fake_rembg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rembg", FakeRembg("rembg"))
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.0.86" if name == "rembg" else real(name))


@pytest.fixture(params=["colour", "u2netp", "u2netp-tiles", "rembg:some-net"])
def foreground(request: pytest.FixtureRequest, fake_rembg: None) -> Foreground:
    return load_foreground(request.param)


def test_it_tells_the_thing_from_the_background(foreground: Foreground) -> None:
    assert isinstance(foreground, Foreground)
    assert foreground.name
    image = draw_discs((300, 400), [(150, 170, 70)])
    before = image.copy()
    found = foreground.compute(image)
    assert found.dtype == np.float32
    assert found.ndim == 2
    assert 0 <= found.min() <= found.max() <= 1
    assert np.array_equal(image, before)
    whole = np.asarray(Image.fromarray(found).resize((400, 300)))
    y, x = np.mgrid[:300, :400]
    disc = (x - 150) ** 2 + (y - 170) ** 2
    assert whole[disc < 60**2].mean() > 0.9
    assert whole[disc > 85**2].mean() < 0.1


def test_it_depends_on_the_photograph_alone(foreground: Foreground) -> None:
    """The same from several threads, and in any order."""
    images = [draw_discs((240 + 30 * n, 320), [(80 + 40 * n, 120, 40 + 5 * n)]) for n in range(3)]
    alone = [foreground.compute(image) for image in images]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(foreground.compute, [*images[::-1], *images]))
    assert all(np.array_equal(a, b) for a, b in zip([*alone[::-1], *alone], together, strict=True))


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (7, 3), (2000, 40)])
def test_it_takes_any_size(foreground: Foreground, size: tuple[int, int]) -> None:
    found = foreground.compute(np.full((*size, 3), 128, np.uint8))
    assert found.ndim == 2
    assert found.size
    assert np.isfinite(found).all()


def test_colour_is_the_rule_of_the_frame() -> None:
    image = draw_discs((300, 400), [(150, 170, 70)])
    assert np.array_equal(load_foreground("colour").compute(image), find_foreground(image).astype(np.float32))


def test_tiles_find_what_is_small_on_the_whole_photograph() -> None:
    """Forty small discs: the network alone merges or loses them at 320 px."""
    places = [(120 + 230 * (n % 8), 130 + 230 * (n // 8), 18) for n in range(40)]
    image = draw_discs((1200, 1920), places)
    shares = {}
    for name in ("u2netp", "u2netp-tiles"):
        found = np.asarray(Image.fromarray(load_foreground(name).compute(image)).resize((1920, 1200)))
        shares[name] = np.mean([found[y - 8 : y + 9, x - 8 : x + 9].mean() > 0.5 for x, y, _ in places])
    assert shares["u2netp-tiles"] > shares["u2netp"] or shares["u2netp-tiles"] == 1.0
    assert shares["u2netp-tiles"] > 0.9


def test_a_photograph_of_24_megapixels_is_not_copied_as_floats() -> None:
    image = np.full((4000, 6000, 3), 200, np.uint8)
    image[1000:3000, 2000:4000] = 40
    foreground = load_foreground("u2netp")
    tracemalloc.start()
    foreground.compute(image)
    assert tracemalloc.get_traced_memory()[1] < 150_000_000  # NumPy's share; one float copy would take 288 MB.
    tracemalloc.stop()


def test_tiles_cover_everything_and_overlap() -> None:
    tiles = cut_tiles((500, 1111), 200)
    covered = np.zeros((500, 1111), int)
    for x0, y0, x1, y1 in tiles:
        assert (x1 - x0, y1 - y0) == (200, 200)
        covered[y0:y1, x0:x1] += 1
    assert covered.min() >= 1
    assert covered[100:400, 100:1011].min() >= 4
    assert cut_tiles((50, 60), 200) == [(0, 0, 60, 50)]


def test_of_overlapping_tiles_the_higher_value_counts() -> None:
    parts = [((0, 0, 20, 20), np.full((5, 5), 0.4, np.float32)), ((10, 0, 30, 20), np.full((5, 5), 0.7, np.float32))]
    merged = merge_tiles(np.full((10, 15), 0.1, np.float32), parts, (20, 30))
    assert np.allclose(merged[:, :5], 0.4)
    assert np.allclose(merged[:, 5:], 0.7)


def test_weights_that_are_not_installed_are_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(ModelError, match=r"sst-retrieval\[salient\]"):
        load_foreground("u2netp")


def test_onnxruntime_that_is_not_installed_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"onnxruntime.*sst-retrieval\[salient\]"):
        load_foreground("u2netp")


def test_another_file_of_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = bytearray(u2netp.find_weights_file().read_bytes())
    changed[len(changed) // 2] ^= 1
    other = tmp_path / "u2netp.onnx"
    other.write_bytes(changed)
    monkeypatch.setattr(u2netp, "find_weights_file", lambda: other)
    with pytest.raises(ModelError, match="damaged or not the expected file"):
        load_foreground("u2netp")


def test_the_module_of_the_package_that_carries_the_weights_is_never_imported() -> None:
    before = sys.modules.pop("rembg", None)
    load_foreground("u2netp")
    assert "rembg" not in sys.modules
    if before is not None:
        sys.modules["rembg"] = before


def test_a_model_that_rembg_does_not_know_is_an_error(fake_rembg: None) -> None:
    with pytest.raises(ModelError, match="no model 'nonsense'"):
        load_foreground("rembg:nonsense")


def test_rembg_that_is_not_installed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(ModelError, match="pip install 'rembg"):
        load_foreground("rembg:some-net")


@pytest.mark.parametrize("name", ["", "colours", "rembg:", "u2net"])
def test_an_unknown_name_lists_those_there_are(name: str) -> None:
    with pytest.raises(ModelError, match=", ".join(FOREGROUNDS)):
        load_foreground(name)
