"""In a real browser: an individual is chosen on its photograph, searched with, reviewed, drawn and built again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import assert_no_error, find_serious, locate, open_browser, open_page, serve, settle
from trays import COLLECTION, a_collection_of_trays, build_trays

import sst_retrieval as sst

SHOTS = os.environ.get("SCREENSHOTS")
"""A folder for pictures of what was seen; none by default."""


@pytest.fixture
def museum(tmp_path: Path) -> Path:
    build_trays(a_collection_of_trays(tmp_path / "collection"), tmp_path / "index")
    return tmp_path


@pytest.fixture
def page(museum: Path) -> Iterator[tuple[Any, str]]:
    with open_browser() as browser, serve(museum / "index", home=museum / "home") as url:
        yield open_page(browser), url


def shoot(page: Any, name: str) -> None:
    if SHOTS:
        settle(page)
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))


def individual(page: Any, name: str) -> Any:
    """The outline of an individual on its photograph."""
    return page.get_by_role("button", name=f"{name}, confidence")


def test_from_a_photograph_to_its_individuals_and_on(page: tuple[Any, str]) -> None:
    page, url = page
    page.goto(url)
    page.get_by_role("button", name="t1#1", exact=True).click()
    individual(page, "t1#3").dispatch_event("click")
    page.wait_for_url("**specimen=t1%233**")
    page.get_by_text("individual 3").first.wait_for()
    page.get_by_role("radio", name="individual", exact=True).click()
    page.wait_for_url("**per=individual**")
    page.get_by_text("hits 1 to 7").wait_for()
    settle(page)
    shoot(page, "search")
    page.get_by_role("button", name="Details").first.click()
    page.get_by_role("dialog").wait_for()
    settle(page)
    shoot(page, "details")
    box = page.get_by_role("dialog")
    shown = box.get_by_role("button", name=", confidence").last
    name = shown.get_attribute("aria-label").partition(",")[0]
    shown.dispatch_event("click")
    page.wait_for_url(f"**specimen={name.replace('#', '%23')}**")
    assert_no_error(page)


def test_individuals_are_reviewed_and_the_next_build_has_them_so(page: tuple[Any, str], museum: Path) -> None:
    page, url = page
    choose_individuals(page, url)
    shoot(page, "review")
    individual(page, "t1#2").dispatch_event("click")
    page.get_by_role("button", name="Not an individual").click()
    page.get_by_text("2 individuals").wait_for()
    page.get_by_text("1 decision waits").wait_for()
    shoot(page, "review-rejected")
    page.get_by_role("button", name="Next").click()
    page.get_by_text("t2: 2 individuals").wait_for()
    for name in ("t2#1", "t2#2"):
        settle(page)
        individual(page, name).dispatch_event("click")
        page.locator(f'g.chosen[aria-label^="{name}"]').wait_for(state="attached")
    page.get_by_role("button", name="Merge into one").click()
    page.get_by_text("t2: 1 individual").wait_for()
    shoot(page, "review-merged")
    page.get_by_role("button", name="Undo:").click()
    page.get_by_text("t2: 2 individuals").wait_for()
    page.get_by_role("button", name="Next").click()
    page.get_by_text("none was found").wait_for()
    page.get_by_role("button", name="Add one that was missed").click()
    shoot(page, "review-before-drawing")
    page.get_by_text("Draw a new individual of t3").wait_for()
    page.locator(".drawing[data-ready]").wait_for()
    left, top, width, height = locate(page, ".drawing canvas")
    for x, y in ((0.3, 0.3), (0.5, 0.3), (0.5, 0.6), (0.3, 0.6)):
        page.mouse.click(left + x * width, top + y * height)
    page.keyboard.press("Enter")
    shoot(page, "review-drawing")
    page.get_by_role("button", name="Keep this outline").click()
    page.get_by_text("t3: 1 individual").wait_for()
    shoot(page, "review-added")
    assert_no_error(page)
    with sst.open_index(museum / "index") as index:
        made = {each.individual: each for each in index.individual_reviews()}
        assert {name: each.decision for name, each in made.items()} == {"t1#2": "reject", "t3#1": "redraw"}
        drawn = made["t3#1"].mask()
        assert 0.04 < drawn.mean() < 0.09
    build_trays(museum / "collection" / "collection.csv", museum / "index")
    with sst.open_index(museum / "index") as index:
        assert {each.id for each in index.individuals()} == {
            f"{name}#{at + 1}" for name, corners in COLLECTION.items() for at in range(len(corners))
        } - {"t1#2"} | {"t3#1"}
        box = index.individual("t3#1").box
        ys, xs = np.nonzero(drawn)
        assert box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)


def choose_individuals(page: Any, url: str) -> None:
    page.goto(f"{url}/review")
    page.get_by_role("radio", name="individuals").click()
    who = page.get_by_role("textbox", name="Your name")
    who.fill("Mary")
    who.press("Enter")
    who.blur()
    settle(page)
    page.get_by_role("button", name="Next").click()
    page.get_by_text("3 individuals").wait_for()
    settle(page)


def find_centre(page: Any, name: str) -> tuple[float, float]:
    """The place on the screen of the middle of an individual's outline."""
    at = individual(page, name).locator(".line").bounding_box()
    return at["x"] + at["width"] / 2, at["y"] + at["height"] / 2


def test_individuals_are_chosen_in_a_zoomed_photograph_and_added_by_a_box(page: tuple[Any, str], museum: Path) -> None:
    page, url = page
    choose_individuals(page, url)
    view = "el => el.getAttribute('viewBox').split(' ').map(Number)"
    picture = page.locator(".specimen svg")
    whole = picture.evaluate(view)
    page.get_by_role("button", name="Zoom in").click()
    zoomed = picture.evaluate(view)
    assert zoomed[2] < whole[2]
    x, y = find_centre(page, "t1#2")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 30, y - 20, steps=4)
    page.mouse.up()
    moved = picture.evaluate(view)
    assert moved[0] > zoomed[0]
    settle(page)
    assert page.locator("g.chosen").count() == 0  # Who drags chooses nothing.
    page.mouse.click(*find_centre(page, "t1#2"))
    page.locator('g.chosen[aria-label^="t1#2"]').wait_for(state="attached")
    assert picture.evaluate(view) == moved
    page.get_by_role("button", name="Add one that was missed").click()
    page.get_by_text("Draw a new individual of t1").wait_for()
    page.locator(".drawing[data-ready]").wait_for()
    page.keyboard.press("r")
    left, top, width, height = locate(page, ".drawing canvas")
    page.mouse.move(left + 0.45 * width, top + 0.8 * height)
    page.mouse.down()
    page.mouse.move(left + 0.55 * width, top + 0.95 * height, steps=5)
    page.mouse.up()
    drawn = page.locator(".drawing").evaluate("el => el._surface.labels.filter((label) => label).length")
    assert drawn > 20
    page.get_by_role("button", name="Keep this outline").click()
    page.get_by_text("4 individuals").wait_for()
    assert_no_error(page)
    with sst.open_index(museum / "index") as index:
        (made,) = index.individual_reviews()
        mask = made.mask()
    ys, xs = np.nonzero(mask)
    assert mask.sum() == drawn
    assert mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].all()


def test_a_box_is_tightened_to_the_animal_and_undo_has_it_back(page: tuple[Any, str], museum: Path) -> None:
    page, url = page
    choose_individuals(page, url)
    page.get_by_role("button", name="Add one that was missed").click()
    page.locator(".drawing[data-ready]").wait_for()
    with sst.open_index(museum / "index") as index:
        one = index.individual("t1#1")
        assert one.box is not None
        silhouette = int(index.silhouette("t1#1").sum())
    page.keyboard.press("r")
    left, top, *_ = locate(page, ".drawing canvas")
    scale, x, y = page.locator(".drawing").evaluate(
        "el => { const view = el._surface.view ?? el._surface.fitted(); return [view.scale, view.x, view.y]; }"
    )
    x0, y0, x1, y1 = one.box
    page.mouse.move(left + x + (x0 - 4) * scale, top + y + (y0 - 4) * scale)
    page.mouse.down()
    page.mouse.move(left + x + (x1 + 4) * scale, top + y + (y1 + 4) * scale, steps=5)
    page.mouse.up()
    page.locator(".drawing .hint", has_text="tightened").wait_for()
    count = "el => el._surface.labels.filter((label) => label).length"
    drawn = page.locator(".drawing").evaluate(count)
    assert drawn == pytest.approx(silhouette, rel=0.15)
    page.keyboard.press("Control+z")
    assert page.locator(".drawing").evaluate(count) == pytest.approx((x1 - x0 + 8) * (y1 - y0 + 8), rel=0.1)
    assert_no_error(page)


@pytest.mark.parametrize("width", [1280, 390])
def test_pages_of_individuals_are_accessible_and_fit(page: tuple[Any, str], width: int) -> None:
    page, url = page
    page.set_viewport_size({"width": width, "height": 800 if width == 1280 else 844})
    page.goto(f"{url}/?specimen=t1%231&trait=spot&per=individual")
    page.get_by_text("hits 1 to").wait_for()
    assert find_serious(page, "region") == {}
    page.get_by_role("button", name="Details").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Ask with").wait_for()
    shoot(page, f"details-{width}")
    assert find_serious(page, "region") == {}
    page.goto(f"{url}/review?review-what=individuals&review-photograph=t1")
    page.locator(".specimen svg").wait_for()
    shoot(page, f"review-{width}")
    assert find_serious(page, "region") == {}
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
