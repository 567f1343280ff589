"""The drawing surface in a real browser: what it shows is what is saved, and nothing that was drawn is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import assert_no_error, find_port, locate, open_page, serve, settle, wait_until
from fakes import a_collection_of, build_fake

import sst_retrieval as sst

BAR, SPOT = 3, 7
Share = tuple[float, float]


@pytest.fixture(scope="module")
def museum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    build_fake(a_collection_of(folder / "collection"), folder / "index")
    return folder


@pytest.fixture(scope="module")
def address(museum: Path) -> Iterator[str]:
    with serve(museum / "index", home=museum / "home") as url:
        yield url


@pytest.fixture
def page(browser: Any, museum: Path) -> Iterator[Any]:
    page = open_page(browser)
    yield page
    page.close()
    shutil.rmtree(museum / "home", ignore_errors=True)  # The drafts.


def annotate(page: Any, address: str, specimen: str) -> None:
    page.goto(f"{address}/annotate")
    page.get_by_role("combobox", name="Draw on").click()
    page.get_by_role("option", name=specimen).click()
    wait_for_surface(page)
    page.mouse.move(*where(page, (0.02, 0.02)))


def wait_for_surface(page: Any) -> None:
    page.locator(".drawing[data-ready]").wait_for()
    settle(page)


def find(page: Any, places: Sequence[Share]) -> list[Share]:
    """Shares of the photograph (not of the canvas, which is wider) -> the places on the screen."""
    left, top, _, _ = locate(page, ".drawing canvas")
    scale, x, y, width, height = page.locator(".drawing").evaluate(
        "el => { const s = el._surface, v = s.view ?? s.fitted(); return [v.scale, v.x, v.y, s.width, s.height]; }"
    )
    return [(left + x + across * width * scale, top + y + down * height * scale) for across, down in places]


def where(page: Any, place: Share) -> Share:
    return find(page, [place])[0]


def click(page: Any, *places: Share) -> None:
    """Click as fast as the browser takes it."""
    for x, y in find(page, places):
        page.mouse.click(x, y)


def box(left: float, top: float, right: float, bottom: float) -> tuple[Share, Share, Share, Share]:
    return (left, top), (right, top), (right, bottom), (left, bottom)


def polygon(page: Any, *places: Share) -> None:
    click(page, *places, places[0])


def stroke(page: Any, *places: Share) -> None:
    first, *others = find(page, places)
    page.mouse.move(*first)
    page.mouse.down()
    for x, y in others:
        page.mouse.move(x, y, steps=8)
    page.mouse.up()


def tool(page: Any, name: str) -> None:
    page.locator(".drawing .tools button", has_text=name).click()


def shown(page: Any) -> tuple[np.ndarray, list[str]]:
    """What the surface shows: label map, names."""
    labels, size, names = page.locator(".drawing").evaluate(
        "el => [Array.from(el._surface.labels), [el._surface.height, el._surface.width], el._surface.names]"
    )
    return np.array(labels).reshape(size), names


def save(page: Any) -> None:
    page.get_by_role("button", name="Save the support").click()
    page.get_by_text("Saved:").wait_for()
    settle(page)
    assert_no_error(page)


def assert_saved_as_shown(page: Any, museum: Path, specimen: str) -> np.ndarray:
    labels = sst.read_labels(museum / "collection" / "supports" / f"{specimen}.png")
    on_screen, names = shown(page)
    numbers = {"spot": SPOT, "bar": BAR}
    expected = np.array([0, *(numbers[name] for name in names)])[on_screen]
    assert np.array_equal(labels, expected)
    return labels


def test_what_is_undone_is_not_saved(page: Any, address: str, museum: Path) -> None:
    annotate(page, address, "r1")
    polygon(page, *box(0.1, 0.1, 0.3, 0.4))
    polygon(page, *box(0.5, 0.5, 0.9, 0.9))
    page.keyboard.press("Control+z")
    save(page)
    labels = assert_saved_as_shown(page, museum, "r1")
    expected = np.zeros((40, 60), dtype=bool)
    expected[4:16, 6:18] = True
    assert np.array_equal(labels != 0, expected)
    page.keyboard.press("Control+Shift+z")
    page.get_by_text("Drawn:").wait_for()
    save(page)
    labels = assert_saved_as_shown(page, museum, "r1")
    expected[20:36, 30:54] = True
    assert np.array_equal(labels != 0, expected)


def test_why_nothing_was_saved_is_said_above_the_surface(page: Any, address: str, museum: Path) -> None:
    page.set_viewport_size({"width": 1280, "height": 720})
    annotate(page, address, "b4")
    polygon(page, *box(0.1, 0.1, 0.3, 0.4))
    supports = museum / "collection" / "supports"
    for what, message in (("b4.png", "is no label picture"), ("traits.toml", "Is a directory")):
        (supports / "traits.toml").rename(supports / "kept.toml")
        shutil.copy(supports / "kept.toml", supports / "traits.toml")
        (supports / what).unlink(missing_ok=True)
        (supports / what).mkdir()
        page.get_by_role("button", name="Save the support").click()
        error = page.locator('[data-testid="stAlertContentError"]', has_text=message)
        error.wait_for()
        settle(page)
        at, surface = error.bounding_box(), page.locator(".drawing canvas").bounding_box()
        assert 0 <= at["y"] < at["y"] + at["height"] <= surface["y"]
        (supports / what).rmdir()
        (supports / "kept.toml").rename(supports / "traits.toml")
    save(page)
    assert_saved_as_shown(page, museum, "b4")
    (supports / "b4.png").unlink()


def test_corners_clicked_without_a_pause_all_count(page: Any, address: str, museum: Path) -> None:
    annotate(page, address, "r2")
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    corners = [(0.5 + 0.3 * np.cos(angle), 0.5 + 0.4 * np.sin(angle)) for angle in angles]
    click(page, corners[0])
    assert page.locator(".drawing").evaluate("el => el._surface.corners.length") == 1
    click(page, *corners[1:])
    assert page.locator(".drawing").evaluate("el => el._surface.corners.length") == 24
    page.keyboard.press("Enter")
    save(page)
    y, x = np.mgrid[:40, :60] + 0.5
    inside = ((x - 30) / 18) ** 2 + ((y - 20) / 16) ** 2 <= 1
    labels = assert_saved_as_shown(page, museum, "r2")
    assert np.count_nonzero((labels != 0) & inside) / np.count_nonzero((labels != 0) | inside) > 0.95


@pytest.mark.parametrize("width", [1280, 820], ids=["one line", "two lines"])
def test_the_surface_stays_where_it_is_while_somebody_draws(page: Any, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})  # What is drawn is said in one line, or in two.
    annotate(page, address, "r0")
    page.get_by_role("button", name="nothing", exact=True).click()
    page.get_by_text("Nothing is drawn yet.").wait_for()
    settle(page)
    before = page.locator(".drawing canvas").bounding_box()
    polygon(page, *box(0.1, 0.1, 0.3, 0.4))
    page.get_by_text("Nothing is drawn of bar").wait_for()
    settle(page)
    assert page.locator(".drawing canvas").bounding_box() == before


def test_an_outline_may_begin_with_corners_close_together(page: Any, address: str) -> None:
    annotate(page, address, "r0")
    x, y = where(page, (0.2, 0.2))
    beginning = [(x, y), (x + 6, y), (x + 6, y + 2), (x + 8, y + 2)]
    for place in [*beginning, where(page, (0.8, 0.3)), where(page, (0.5, 0.8))]:
        page.mouse.click(*place)
    assert page.locator(".drawing").evaluate("el => el._surface.corners.length") == 6
    page.mouse.click(x + 5, y - 3)
    assert page.locator(".drawing").evaluate("el => el._surface.corners.length") == 0
    for place in [*beginning, (x, y + 4), (x + 1, y + 1)]:  # A tiny one is closed on its first corner.
        page.mouse.click(*place)
    assert page.locator(".drawing").evaluate("el => el._surface.corners.length") == 0


def test_an_outline_that_is_still_open_is_saved_as_it_is_shown(page: Any, address: str, museum: Path) -> None:
    annotate(page, address, "r3")
    click(page, (0.2, 0.2), (0.6, 0.2), (0.6, 0.6))
    save(page)
    labels = assert_saved_as_shown(page, museum, "r3")
    assert 80 <= np.count_nonzero(labels) <= 200


def test_brush_eraser_keys_and_protection(page: Any, address: str, museum: Path) -> None:
    annotate(page, address, "r4")
    polygon(page, *box(0.2, 0.2, 0.5, 0.8))
    page.keyboard.press("2")
    page.keyboard.press("b")
    for _ in range(4):
        page.keyboard.press("]")
    page.keyboard.press("l")  # The spot is protected.
    stroke(page, (0.3, 0.5), (0.8, 0.5))
    page.keyboard.press("e")
    stroke(page, (0.4, 0.3), (0.4, 0.7))  # Nothing of the bar is there.
    page.keyboard.press("l")
    page.keyboard.press("[")
    stroke(page, (0.3, 0.3), (0.3, 0.7))
    save(page)
    labels = assert_saved_as_shown(page, museum, "r4")
    assert labels[20, 40] == BAR
    assert labels[20, 25] == SPOT
    assert labels[20, 18] == 0


def test_a_stroke_just_before_saving_is_saved(page: Any, address: str, museum: Path) -> None:
    annotate(page, address, "b1")
    page.keyboard.press("b")
    for place in range(1, 6):
        stroke(page, (0.1, place / 6), (0.9, place / 6))
    save(page)
    labels = assert_saved_as_shown(page, museum, "b1")
    assert np.count_nonzero(labels.any(axis=1)) >= 5


def test_a_hundred_steps_are_undone_and_redone(page: Any, address: str) -> None:
    annotate(page, address, "b2")
    page.keyboard.press("b")
    for _ in range(4):
        page.keyboard.press("[")
    click(page, *(((step % 20 + 0.5) / 20, (step // 20 + 0.5) / 20) for step in range(101)))
    drawn, _ = shown(page)
    assert np.count_nonzero(drawn) >= 101
    for _ in range(110):
        page.keyboard.press("Control+z")
    left, _ = shown(page)
    assert 1 <= np.count_nonzero(left) <= 2
    for _ in range(110):
        page.keyboard.press("Control+Shift+z")
    assert np.array_equal(shown(page)[0], drawn)


def test_a_drawing_survives_another_page_and_a_reload(page: Any, address: str) -> None:
    annotate(page, address, "b3")
    polygon(page, *box(0.2, 0.2, 0.5, 0.8))
    drawn, _ = shown(page)
    page.get_by_role("link", name="Collection").click()
    page.get_by_text("On how many specimens").wait_for()
    page.get_by_role("link", name="Annotate").click()
    wait_for_surface(page)
    assert page.get_by_role("combobox", name="Draw on").input_value() == "b3"
    assert np.array_equal(shown(page)[0], drawn)
    annotate(page, address, "b3")  # Loads the page.
    assert np.array_equal(shown(page)[0], drawn)
    page.get_by_text("which is not saved yet").wait_for()
    page.get_by_role("button", name="Discard it").click()
    page.get_by_text("which is not saved yet").wait_for(state="hidden")
    wait_until(page, ".drawing", "el => !el._surface.labels.some((label) => label)")


def test_a_drawing_survives_a_restarted_server(browser: Any, museum: Path, tmp_path: Path) -> None:
    port = find_port()
    first, second = open_page(browser), open_page(browser)
    with serve(museum / "index", home=tmp_path, port=port) as url:
        annotate(first, url, "b4")
        polygon(first, *box(0.2, 0.2, 0.5, 0.8))
        settle(first)
        drawn, _ = shown(first)
    with serve(museum / "index", home=tmp_path, port=port) as url:
        annotate(second, url, "b4")
        assert np.array_equal(shown(second)[0], drawn)
    first.close()
    second.close()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_the_surface_fits_its_column(browser: Any, address: str, width: int, height: int) -> None:
    page = open_page(browser, width, height)
    page.goto(f"{address}/review")
    settle(page)
    page.get_by_role("button", name="Redraw").click()
    wait_for_surface(page)
    left, _, own_width, _ = locate(page, ".drawing canvas")
    assert left >= 0
    assert left + own_width <= width
    assert own_width > 0.6 * min(width, 900)
    for button in page.locator(".drawing button:visible").all():
        place = button.bounding_box()
        assert place["x"] + place["width"] <= width
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    page.close()


def test_clicks_grow_a_mask_on_the_surface(page: Any, address: str, museum: Path) -> None:
    annotate(page, address, "r0")
    page.get_by_role("button", name="nothing", exact=True).click()
    wait_until(page, ".drawing", "el => !el._surface.labels.some((label) => label)")
    page.keyboard.press("2")
    tool(page, "Click")
    truth = sst.read_labels(museum / "collection" / "labels" / "r0.png") == BAR
    rows, columns = np.nonzero(truth)
    click(page, ((columns.mean() + 0.5) / 60, (rows.mean() + 0.5) / 40))
    page.get_by_text("more clicks, or Shift-clicks").wait_for()
    assert not shown(page)[0].any()  # It is shown above the drawing until it is kept.
    page.keyboard.press("Enter")
    grown, names = shown(page)
    assert names[grown[grown > 0][0] - 1] == "bar"
    assert truth[grown > 0].any()
    page.keyboard.press("Control+z")
    assert not shown(page)[0].any()


def test_a_redrawn_mask_is_what_was_shown(page: Any, address: str, museum: Path) -> None:
    page.goto(f"{address}/review")
    name = page.get_by_role("textbox", name="Your name")
    name.fill("Mary")
    name.press("Enter")
    settle(page)
    page.get_by_role("button", name="Redraw").click()
    wait_for_surface(page)
    heading = page.get_by_role("heading", name="Redraw").inner_text()
    _, trait, _, specimen = heading.split()
    polygon(page, *box(0.1, 0.1, 0.2, 0.2))
    page.keyboard.press("e")
    stroke(page, (0.1, 0.15), (0.2, 0.15))
    expected, _ = shown(page)
    page.get_by_role("button", name="Keep this mask").click()
    page.get_by_text("1 redrawn").wait_for()
    with sst.open_index(museum / "index") as index:
        assert np.array_equal(index.mask(specimen, trait), expected > 0)


def test_the_mask_of_an_uploaded_photograph_is_what_was_shown(page: Any, address: str, museum: Path) -> None:
    page.goto(f"{address}/?way=a+photograph")
    page.locator('input[type="file"]').first.set_input_files(museum / "collection" / "images" / "r1.png")
    wait_for_surface(page)
    _, _, width, _ = locate(page, ".drawing canvas")
    assert width <= page.locator(".drawing").bounding_box()["width"] + 1
    polygon(page, *box(0.2, 0.2, 0.5, 0.5))
    drawn, _ = shown(page)
    page.get_by_role("button", name="Ask with this mask").click()
    page.get_by_text("hits 1 to").wait_for()
    assert_no_error(page)
    page.get_by_role("button", name="Change the drawing").click()
    wait_for_surface(page)
    assert np.array_equal(shown(page)[0], drawn)
