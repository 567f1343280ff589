"""In a real browser: the three doors of the app where there is no index yet."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from browser import assert_no_error, find_serious, locate, open_page, serve, settle
from fakes import a_collection_of

SHOTS = os.environ.get("SCREENSHOTS")
"""A folder for pictures of what was seen; none by default."""


@pytest.mark.parametrize("width", [1280, 390])
def test_a_newcomer_opens_a_table_or_an_index(browser: Any, ten: Path, tmp_path: Path, width: int) -> None:
    place = tmp_path / "place"
    a_collection_of(place / "mine")
    shutil.copytree(ten / "index", place / "shelf" / "beetles")
    height = 800 if width == 1280 else 844
    page = open_page(browser, width, height)
    with serve(home=tmp_path / "home", folder=place) as url:
        page.goto(url)
        page.get_by_text("Where do you want to begin?").wait_for()
        settle(page)
        if SHOTS:
            page.screenshot(path=str(Path(SHOTS) / f"doors-{width}.png"))
        assert find_serious(page, "region") == {}
        assert page.evaluate("document.scrollingElement.scrollWidth") <= width
        if width == 1280:  # All three are above the fold.
            for door in ("demo", "table", "index"):
                name = {"demo": "Build the demo drawer"}.get(door, f"Open this {door}")
                page.get_by_role("button", name=name).wait_for()
            _, top, _, tall = locate(page, '[class*="st-key-open-index"] button')
            assert top + tall < height
        page.get_by_role("button", name="Open this table").click()
        page.get_by_role("heading", name="Draw a support").wait_for()
        assert_no_error(page)
        page.reload()  # What was opened stays open.
        page.get_by_role("heading", name="Draw a support").wait_for()
        if width == 390:
            page.get_by_test_id("stExpandSidebarButton").click()
        page.get_by_role("button", name="Open something else").click()
        page.get_by_text("Where do you want to begin?").wait_for()
        if width == 390:
            page.locator('[data-testid="stSidebarCollapseButton"] button').click()
        page.get_by_role("button", name="Open this index").click()
        page.get_by_role("heading", name="10 specimens, 2 traits").wait_for()
        assert_no_error(page)
    page.close()


def test_what_was_opened_is_in_the_address_and_nothing_else_can_be(browser: Any, ten: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    shutil.copytree(ten / "index", place / "shelf" / "beetles")
    shutil.copytree(ten / "index", tmp_path / "elsewhere")
    page = open_page(browser)
    with serve(home=tmp_path / "home", folder=place) as url:
        page.goto(url)
        page.get_by_role("button", name="Open this index").click()
        page.get_by_role("heading", name="10 specimens, 2 traits").wait_for()
        page.get_by_role("link", name="Collection").click()
        page.get_by_text("How it was made").wait_for()
        page.wait_for_url("**open=shelf**")
        address = page.url
        page.reload()
        page.get_by_text("How it was made").wait_for()
        other = open_page(browser)
        other.goto(address)
        other.get_by_text("How it was made").wait_for()
        for path in ("../elsewhere", str(tmp_path / "elsewhere"), "shelf/../../elsewhere", "nothing"):
            other.goto(f"{url}/?open={path}")
            other.get_by_text("Where do you want to begin?").wait_for()
        other.close()
    page.close()


@pytest.mark.parametrize("path", ["", "annotate", "review", "collection", "morphospace"])
def test_every_address_of_a_table_without_an_index_shows_its_page(browser: Any, tmp_path: Path, path: str) -> None:
    a_collection_of(tmp_path / "mine")
    page = open_page(browser)
    with serve(tmp_path / "mine" / "collection.csv", home=tmp_path / "home", folder=tmp_path) as url:
        page.goto(f"{url}/{path}")
        page.get_by_role("heading", name="Draw a support").wait_for()
        settle(page)
        assert page.get_by_text("Page not found").count() == 0
        assert page.get_by_role("dialog").count() == 0
        assert page.get_by_role("link", name="Annotate").count() <= 1
    page.close()
