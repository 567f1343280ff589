"""The default embedder: patterns do not depend on hue, hue is told apart, and vectors are shortened faithfully."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sst_retrieval.describe import region_vectors
from sst_retrieval.describe.appearance import HUE_DIM, SHORT_DIM, AppearanceEmbedder
from sst_retrieval.describe.contract import Embedder, HueEmbedder
from sst_retrieval.describe.projection import make_projection
from sst_retrieval.describe.region_vectors import block_widths, embed_regions
from sst_retrieval.engines import choose_shrinkage, load_embedder
from sst_retrieval.errors import ModelError
from sst_retrieval.imaging.frames import mirror, square_frame
from sst_retrieval.index.whitening import block_slices
from sst_retrieval.types import Floats, Mask, RGBImage

SIDE = 160
FRAME = square_frame((SIDE / 2, SIDE / 2), SIDE, 0)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder("efficientnet", "cpu")


def paint(period: int, colour: tuple[int, int, int]) -> tuple[RGBImage, Mask]:
    """A disc of stripes on a light ground."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    mask = np.hypot(rows - SIDE / 2, columns - SIDE / 2) < 60
    image = np.full((SIDE, SIDE, 3), 225, np.uint8)
    image[mask] = (40, 36, 34)
    image[mask & (rows // period % 2 == 0)] = colour
    return image, mask


def describe(embedder: Embedder, period: int, colour: tuple[int, int, int]) -> dict[str, Floats]:
    image, mask = paint(period, colour)
    (vector,) = embed_regions(image, mask[None], FRAME, embedder)
    assert vector is not None
    return {name: vector[part] for name, part in block_slices(block_widths(embedder)).items()}


# Of one luma: 0.299 r + 0.587 g + 0.114 b is 130 for all three.
RED, GREEN, GREY = (230, 90, 72), (60, 170, 107), (130, 130, 130)


def test_a_pattern_does_not_depend_on_hue(embedder: Embedder) -> None:
    red, green, wide = describe(embedder, 8, RED), describe(embedder, 8, GREEN), describe(embedder, 24, RED)
    assert float(red["pattern"] @ green["pattern"]) > 0.999
    assert float(red["pattern"] @ wide["pattern"]) < 0.97
    assert float(red["colour"] @ green["colour"]) < 0.7
    assert float(red["colour"] @ wide["colour"]) > float(red["colour"] @ green["colour"]) + 0.1


def test_what_has_no_colour_has_no_hue(embedder: Embedder) -> None:
    assert isinstance(embedder, HueEmbedder)
    image, _ = paint(8, GREY)
    grey = np.repeat(image[..., :1], 3, axis=2)
    cover = np.ones((embedder.side, embedder.side), np.float32)
    view = np.ascontiguousarray(np.resize(grey, (embedder.side, embedder.side, 3)))
    close = np.full((embedder.trait_side,) * 2 + (3,), 90, np.uint8), np.ones((embedder.trait_side,) * 2, np.float32)
    patterns, hues = embedder.describe(view, view, [cover], [close])
    assert patterns.shape == (1, 320 + SHORT_DIM) == (1, embedder.pattern_dim)
    assert float(np.linalg.norm(patterns)) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(hues, np.zeros((1, HUE_DIM)), atol=1e-6)


def test_a_mirrored_specimen_has_nearly_the_same_vector(embedder: Embedder) -> None:
    image, mask = paint(8, RED)
    image[:, 90:] = image[:, 90:] // 2
    (one,) = embed_regions(image, mask[None], FRAME, embedder)
    (other,) = embed_regions(image, mask[None], mirror(FRAME), embedder)
    assert one is not None
    assert other is not None
    for name, part in block_slices(block_widths(embedder)).items():
        assert float(one[part] @ other[part]) > (0.999 if name == "shape" else 0.97), name
    wide = describe(embedder, 24, RED)["pattern"]
    pattern = block_slices(block_widths(embedder))["pattern"]
    assert float(one[pattern] @ other[pattern]) > float(one[pattern] @ wide) + 0.02


def test_the_close_up_of_a_left_copy_is_that_of_the_right_one() -> None:
    image, mask = paint(8, RED)
    image[: SIDE // 2] //= 2
    mask[:, : SIDE // 2] = False  # A half disc, right of the midline.
    pictures = [image, image[:, ::-1].copy()], [mask, mask[:, ::-1].copy()]
    views = []
    for picture, of_trait in zip(*pictures, strict=True):
        crop = region_vectors._crop_mask(of_trait, FRAME, SIDE)
        assert crop is not None
        views.append(region_vectors._enlarge(picture, crop, 64))
    np.testing.assert_allclose(views[0][1], views[1][1], atol=1e-6)
    assert np.abs(views[0][0].astype(int) - views[1][0]).max() <= 1
    assert np.abs(views[0][0].astype(int) - views[0][0][:, ::-1]).max() > 50


def test_a_trait_does_not_depend_on_those_described_with_it(embedder: Embedder) -> None:
    image, mask = paint(8, RED)
    upper = mask.copy()
    upper[SIDE // 2 :] = False
    both = embed_regions(image, np.stack([upper, mask]), FRAME, embedder)
    alone = embed_regions(image, mask[None], FRAME, embedder)
    np.testing.assert_array_equal(both[1], alone[0])


def test_only_with_hue_is_the_colour_block_centred(embedder: Embedder) -> None:
    assert set(choose_shrinkage(embedder)) == {"pattern", "colour"}
    assert set(choose_shrinkage(load_embedder("spread", "cpu"))) == {"pattern"}


@pytest.mark.parametrize("fault", ["shape", "nan"])
def test_an_embedder_that_answers_nonsense_is_named(embedder: Embedder, fault: str) -> None:
    class Broken(AppearanceEmbedder):
        def describe(
            self, view: RGBImage, plain: RGBImage, coverages: Sequence[Floats], close_ups: Sequence[object]
        ) -> tuple[Floats, Floats]:
            patterns, hues = (np.ones((len(coverages), width)) for width in (self.pattern_dim, HUE_DIM))
            return (patterns[:, 1:], hues) if fault == "shape" else (patterns, hues * np.nan)

    assert isinstance(embedder, AppearanceEmbedder)
    image, mask = paint(8, RED)
    with pytest.raises(ModelError, match="in grey, with a close-up"):
        embed_regions(image, mask[None], FRAME, Broken(embedder._base))


def test_a_specimen_is_looked_at_three_times_and_each_trait_once(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(embedder, AppearanceEmbedder)
    sizes: list[int] = []
    real = embedder._base.features
    monkeypatch.setattr(embedder._base, "features", lambda images: sizes.extend(map(len, images)) or real(images))
    image, mask = paint(8, RED)
    embed_regions(image, np.stack([mask, mask]), FRAME, embedder)
    assert sorted(sizes) == sorted([embedder.side] * 3 + [embedder.trait_side] * 2)


def test_a_projection_keeps_inner_products_and_is_the_same_everywhere() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 1888))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    matrix = make_projection(1888, SHORT_DIM, 0)
    short = rows @ matrix
    assert np.abs(short @ short.T - rows @ rows.T).max() < 5 / SHORT_DIM**0.5
    # Columns of a Hadamard matrix of 2,048: all values are one number, with either sign.
    assert set(np.unique(matrix).tolist()) == {float(np.float32(s / np.float32(SHORT_DIM**0.5))) for s in (-1, 1)}
    assert "".join("+" if value > 0 else "-" for value in matrix[:4, :8].ravel()) == SIGNS


SIGNS = "++++++++++--+-++--++---++++++-+-"
