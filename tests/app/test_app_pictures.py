"""The pictures of hits: one side of a pair on its tile; a comparison at one scale, in millimetres where known."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import assert_no_error, open_page, serve, settle
from fakes import a_collection_of, build_fake
from PIL import Image

import sst_retrieval as sst

APP = Path(__file__).resolve().parents[2] / "app"
if str(APP) not in sys.path:
    sys.path.append(str(APP))

SCALES = {"r0": "0.5", "r2": "0.25", "r3": ""}
"""Millimetres a pixel; all others have that of r2."""


@pytest.fixture(scope="module")
def museum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    table = a_collection_of(folder / "collection")
    head, *rows = table.read_text(encoding="utf-8").splitlines()
    written = [f"{row},{SCALES.get(row.split(',')[0], '0.25')}" for row in rows]
    table.write_text("\n".join([f"{head},mm_per_px", *written]) + "\n", encoding="utf-8")
    build_fake(table, folder / "index")
    return folder


@pytest.fixture
def page(browser: Any, museum: Path) -> Iterator[Any]:
    with serve(museum / "index", home=museum / "home") as url:
        page = open_page(browser)
        page.goto(f"{url}/?specimen=r1&trait=spot")
        page.get_by_text("hits 1 to").wait_for()
        settle(page)
        yield page
        assert_no_error(page)
        page.close()


def compare(page: Any, *names: str) -> Any:
    for number, name in enumerate(names):
        page.get_by_role("checkbox", name=f"compare {name}").check(force=True)
        page.get_by_text(f"{number + 1} ticked").wait_for()
    settle(page)
    page.get_by_role("button", name="Compare side by side").click()
    dialog = page.get_by_role("dialog")
    dialog.locator(".compare img").nth(len(names) - 1).wait_for()
    return dialog


def test_hits_are_compared_in_millimetres(page: Any) -> None:
    dialog = compare(page, "r0", "r2")
    dialog.get_by_text("One millimetre is equally large everywhere").wait_for()
    notes = dialog.locator(".compare figcaption").all_inner_texts()
    assert len({note.partition("(")[2] for note in notes}) == 1
    assert all("mm wide)" in note for note in notes)
    page.keyboard.press("Escape")


def test_without_a_scale_hits_are_compared_in_pixels(page: Any) -> None:
    dialog = compare(page, "r0", "r3")
    dialog.get_by_text("r3 has no scale (column mmPerPixel, or a table with --scale).").wait_for()
    assert all("px wide)" in note for note in dialog.locator(".compare figcaption").all_inner_texts())
    page.keyboard.press("Escape")


def test_the_scale_of_a_group_comes_from_a_table(browser: Any, museum: Path) -> None:
    with sst.open_index(museum / "index") as index:
        groups = {each.group for each in index.individuals()}
    table = museum / "scales.csv"
    table.write_text("group,lengthMm,lengthPx\n" + "".join(f"{group},10,50\n" for group in groups), encoding="utf-8")
    with serve(museum / "index", "--scale", table, home=museum / "home") as url:
        page = open_page(browser)
        page.goto(f"{url}/?specimen=r1&trait=spot")
        page.get_by_text("hits 1 to").wait_for()
        settle(page)
        dialog = compare(page, "r0", "r3")  # The column has none of r3.
        dialog.get_by_text("One millimetre is equally large everywhere").wait_for()
        assert_no_error(page)
        page.close()


def test_a_trait_is_as_large_as_its_millimetres(museum: Path) -> None:
    from sst_app.side_by_side import cut_at_scale, read_scale

    widths = {}
    with sst.open_index(museum / "index") as index:
        for name in ("r0", "r2"):
            scale = read_scale(dict(index.individual(name).metadata))
            assert scale == float(SCALES[name])
            side = round(40 / scale)
            picture = cut_at_scale(index, (str(museum), (0,)), name, "spot", side)
            pixels = np.asarray(Image.open(io.BytesIO(picture))).astype(int)
            red = (pixels[..., 0] > 150) & (pixels[..., 1] < 90)
            x0, _, x1, _ = index.region(name, "spot").box
            widths[name] = np.ptp(np.flatnonzero(red.any(axis=0))) / pixels.shape[1] * 40, (x1 - x0) * scale
    for shown, true in widths.values():
        assert shown == pytest.approx(true, abs=1.2)


@pytest.mark.parametrize(
    ("scale", "found"), [("0.5", 0.5), (0.25, 0.25), ("", None), (None, None), ("nan", None), ("-1", None)]
)
def test_scales_are_read_or_unknown(scale: object, found: float | None) -> None:
    from sst_app.side_by_side import read_scale

    assert read_scale({"mmPerPixel": scale}) == found
    assert read_scale({"mm_per_px": scale, "sex": "male"}) == found


@pytest.mark.parametrize(("extent", "bar"), [(34.0, 10.0), (0.7, 0.2), (3.0, 1.0), (1600.0, 500.0)])
def test_the_scale_bar_has_a_round_length(extent: float, bar: float) -> None:
    from sst_app.side_by_side import choose_bar

    assert choose_bar(extent) == bar


def a_pair(left: int, right: int) -> np.ndarray:
    mask = np.zeros((100, 200), dtype=bool)
    mask[40 : 40 + left, 10 : 10 + left] = True
    mask[40 : 40 + right, 160 : 160 + right] = True
    return mask


def test_one_side_of_a_pair_is_shown_always_the_same() -> None:
    from sst_app.tile_pictures import find_side

    assert find_side(a_pair(20, 20)) == (10, 40, 30, 60)
    assert find_side(a_pair(20, 24)) == (10, 40, 30, 60)
    assert find_side(a_pair(5, 30)) == (160, 40, 190, 70)  # What is left of the other one says little.
    assert find_side(a_pair(20, 20).T) == (40, 10, 60, 30)
    assert find_side(a_pair(20, 0)) is None
    assert find_side(a_pair(0, 0)) is None


def test_one_side_fills_its_picture() -> None:
    from sst_app.tile_pictures import cut_side

    mask = a_pair(20, 20)
    small = np.full((50, 100, 3), 90, np.uint8)
    small[mask[::2, ::2]] = (220, 30, 30)
    picture = cut_side(small, mask, (10, 40, 30, 60)).astype(int)
    red = (picture[..., 0] > 150) & (picture[..., 1] < 90)
    assert red.mean() > 0.3
    assert np.ptp(np.flatnonzero(red.any(axis=0))) < 0.9 * picture.shape[1]
