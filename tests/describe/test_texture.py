"""Embedders that describe a trait by mean and spread of its features, of all of the view or of the trait alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import FAKES, a_collection_of, build_fake

from sst_retrieval.describe.contract import Embedder, PoolingEmbedder, RegionEmbedder
from sst_retrieval.describe.region_vectors import block_widths, embed_regions, pool
from sst_retrieval.describe.texture import (
    CONTRAST,
    TRAIT_SIDE,
    PatternEmbedder,
    SpreadEmbedder,
    cut_trait,
    pool_mean_and_spread,
)
from sst_retrieval.engines import load_embedder
from sst_retrieval.errors import ModelError, ModelMismatchError
from sst_retrieval.imaging.foreground import GREY
from sst_retrieval.imaging.frames import square_frame
from sst_retrieval.search.index import open_index
from sst_retrieval.types import RGBImage

SIDE = 96
WHOLE = np.ones((SIDE, SIDE), np.float32)


class Colours:
    """Two levels, red and the others, of single pixels."""

    name = "colours"
    dim = 3
    widths = (1, 2)
    trunk = None

    def __init__(self, side: int = SIDE) -> None:
        self.side = side

    def features(self, images: Sequence[RGBImage]) -> list[np.ndarray]:
        return [image.astype(np.float32) / 255 for image in images]


def stripes(period: int, dark: tuple[int, int, int], light: tuple[int, int, int], side: int = SIDE) -> RGBImage:
    """Vertical stripes."""
    bright = (np.arange(side) // period % 2).astype(bool)
    return np.broadcast_to(np.where(bright[:, None], light, dark), (side, side, 3)).astype(np.uint8)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


# --- mean and spread -----------------------------------------------------------------------------------------------


def test_a_mean_cannot_tell_stripes_from_grey_and_a_spread_can() -> None:
    black_and_white = stripes(4, (0, 0, 0), (254, 254, 254)).astype(np.float32) / 255
    grey = np.full_like(black_and_white, 127 / 255)
    assert cosine(pool(black_and_white, WHOLE), pool(grey, WHOLE)) == pytest.approx(1)
    striped, plain = (pool_mean_and_spread(each, WHOLE, (1, 2)) for each in (black_and_white, grey))
    assert cosine(striped, plain) < 0.8
    np.testing.assert_allclose(np.linalg.norm(striped), 1, rtol=1e-6)


def test_mean_and_spread_are_those_of_the_cells_under_the_mask() -> None:
    rng = np.random.default_rng(0)
    grid = rng.random((8, 8, 3), dtype=np.float32)
    coverage = np.zeros((8, 8), np.float32)
    coverage[2:5, 3:7] = 1
    inside = grid[2:5, 3:7].reshape(-1, 3)
    mean, spread = inside.mean(axis=0), inside.std(axis=0)
    pooled = pool_mean_and_spread(grid, coverage, (1, 2)) * 2  # Four parts of equal length.
    np.testing.assert_allclose(pooled[[0, 1]], 1, rtol=1e-5)
    np.testing.assert_allclose(pooled[2:4], mean[1:] / np.linalg.norm(mean[1:]), rtol=1e-5)
    np.testing.assert_allclose(pooled[4:6], spread[1:] / np.linalg.norm(spread[1:]), rtol=1e-4)


def test_a_vector_of_it_has_the_blocks_that_are_announced() -> None:
    embedder = SpreadEmbedder(Colours())
    assert isinstance(embedder, PoolingEmbedder)
    assert not isinstance(Colours(), PoolingEmbedder)
    assert block_widths(embedder)["pattern"] == 6
    mask = np.zeros((SIDE, SIDE), bool)
    mask[20:70, 20:70] = True
    (vector,) = embed_regions(
        stripes(4, (0, 0, 0), (250, 250, 250)), mask[None], square_frame((48, 48), 96, 0), embedder
    )
    assert vector is not None
    assert len(vector) == sum(block_widths(embedder).values())
    np.testing.assert_allclose(np.linalg.norm(vector[:6]), 1, rtol=1e-6)


# --- the trait alone -----------------------------------------------------------------------------------------------


def trait_on(paper: tuple[int, int, int], coat: RGBImage) -> tuple[RGBImage, np.ndarray]:
    """A view with a trait of 40 x 60 pixels, and its coverage."""
    image = np.full((SIDE, SIDE, 3), paper, np.uint8)
    coverage = np.zeros((SIDE, SIDE), np.float32)
    coverage[30:70, 20:80] = 1
    image[30:70, 20:80] = coat[30:70, 20:80]
    return image, coverage


def test_a_cut_trait_shows_neither_background_nor_hue_nor_light() -> None:
    base = stripes(5, (40, 40, 40), (200, 200, 200))
    views = [cut_trait(*trait_on(paper, base))[0] for paper in ((250, 240, 30), (20, 30, 160))]
    np.testing.assert_array_equal(*views)
    # Red of the same luma as the light grey (0.299 * 255 + 0.587 * 170 + 0.114 * 216.5 = 200.7), and half the light.
    reddish, dark = stripes(5, (40, 40, 40), (255, 170, 217)), stripes(5, (20, 20, 20), (100, 100, 100))
    for other in (reddish, dark):
        view, _ = cut_trait(*trait_on((90, 90, 90), other))
        assert np.abs(view.astype(int) - views[0]).max() <= 6


def test_a_cut_trait_fills_its_view_with_one_contrast() -> None:
    view, covered = cut_trait(*trait_on((250, 240, 30), stripes(5, (90, 90, 90), (110, 110, 110))))
    assert view.shape == (TRAIT_SIDE, TRAIT_SIDE, 3)
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    assert np.ptp(columns) > 0.85 * TRAIT_SIDE
    assert np.ptp(rows) == pytest.approx(np.ptp(columns) * 40 / 60, abs=8)
    inside = view[..., 0][covered > 0.99].astype(float)
    assert inside.mean() == pytest.approx(GREY, abs=2)
    assert inside.std() == pytest.approx(CONTRAST, rel=0.35)
    assert (view[covered == 0] == GREY).all()


def test_noise_is_no_pattern() -> None:
    noisy = np.clip(120 + np.random.default_rng(0).normal(0, 1, (SIDE, SIDE, 1)), 0, 255).repeat(3, 2).astype(np.uint8)
    view, covered = cut_trait(*trait_on((250, 250, 250), noisy))
    assert view[..., 0][covered > 0.99].std() < 0.5 * CONTRAST


def test_a_trait_at_the_edge_of_the_view_is_not_stretched() -> None:
    image = stripes(5, (40, 40, 40), (200, 200, 200))
    coverage = np.zeros((SIDE, SIDE), np.float32)
    coverage[:30, 80:] = 1
    _, covered = cut_trait(image, coverage)
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(16 / 30, abs=0.08)


def test_traits_are_described_one_by_one_and_alike_whatever_else_is_asked() -> None:
    embedder = PatternEmbedder(Colours(TRAIT_SIDE))
    assert isinstance(embedder, RegionEmbedder)
    image, coverage = trait_on((250, 240, 30), stripes(5, (40, 40, 40), (200, 60, 60)))
    other = np.zeros_like(coverage)
    other[:20, :20] = 1
    both = embedder.regions(image, [coverage, other])
    assert both.shape == (2, embedder.dim)
    np.testing.assert_array_equal(both[0], embedder.regions(image, [coverage])[0])
    with pytest.raises(ModelError, match="whole traits"):
        embedder.features([image])
    with pytest.raises(ValueError, match="takes images of 96 px"):
        PatternEmbedder(Colours())


@pytest.mark.parametrize(("name", "pattern"), [("spread", 944), ("pattern", 944), ("efficientnet", 448)])
def test_they_are_chosen_by_name(name: str, pattern: int) -> None:
    embedder = load_embedder(name, "cpu")
    assert isinstance(embedder, Embedder)
    assert block_widths(embedder)["pattern"] == pattern
    assert len({load_embedder(each, "cpu").name for each in ("efficientnet", name)}) == 1 + (name != "efficientnet")
    image, coverage = trait_on((250, 240, 30), stripes(5, (40, 40, 40), (200, 60, 60)))
    vectors = [
        embed_regions(one, (coverage > 0)[None], square_frame((48, 48), 96, 0), embedder)[0]
        for one in (image, image[:, ::-1])
    ]
    assert vectors[0] is not None
    assert np.isfinite(vectors[0]).all()


@pytest.mark.parametrize("name", ["spread", "pattern"])
def test_an_index_is_built_and_searched_with_them(name: str, tmp_path: Path) -> None:
    table = a_collection_of(tmp_path)
    build_fake(table, tmp_path / "index", replace(FAKES, embedder=name))
    with open_index(tmp_path / "index") as index:
        assert index.blocks["pattern"] == 944
        assert index.settings["embedder"]["engine"] == name
        example = index.vectors("spot")[0][0]
        hits = index.search(like=(example, "spot"), k=3, weights={"pattern": 1})
        assert len(hits) == 3
        assert example not in {hit.specimen for hit in hits}
    with pytest.raises(ModelMismatchError):
        build_fake(table, tmp_path / "index", FAKES)
