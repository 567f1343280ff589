"""Windows narrower than 1280: nothing of the hits or of a review lies on something else, or is cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser import assert_no_error, open_page, serve, settle
from fakes import a_collection_of, build_fake

OUTSIDE = """(root) => [...root.querySelectorAll(".tile")].flatMap((tile) => {
    const own = tile.getBoundingClientRect();
    return [...tile.querySelectorAll("button, input, .bars > span, .two > span")]
        .filter((each) => { const at = each.getBoundingClientRect();
            return at.right > own.right + 1 || at.left < own.left - 1; })
        .map((each) => `${tile.dataset.id}: ${each.className || each.tagName}`);
})"""
"""What reaches over the edge of its tile."""

CUT = """() => [...document.querySelectorAll(
    '[data-testid="stMain"] :is(.stButton, .stDownloadButton, .stButtonGroup, .stPopover) button p')]
    .filter((each) => {
        const column = each.closest('[data-testid="stColumn"]')?.getBoundingClientRect();
        return each.offsetParent && (each.scrollWidth > each.clientWidth + 1
            || (column && each.getBoundingClientRect().right > column.right + 1)); })
    .map((each) => each.textContent)"""
"""Buttons whose words are not seen in full."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("narrow")
    build_fake(a_collection_of(folder / "collection"), folder / "index")
    with serve(folder / "index", home=folder / "home") as url:
        yield url


@pytest.mark.parametrize("width", [1280, 1024, 800])
@pytest.mark.parametrize("tiles", ["small", "medium", "large"])
def test_tiles_hold_what_stands_on_them(browser: Any, address: str, width: int, tiles: str) -> None:
    page = open_page(browser, width)
    page.goto(f"{address}/?specimen=r1&trait=spot&tiles={tiles}")
    page.get_by_text("hits 1 to").wait_for()
    settle(page)
    assert page.locator(".hits").evaluate(OUTSIDE) == []
    assert page.evaluate(CUT) == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert_no_error(page)
    page.close()


@pytest.mark.parametrize("width", [1280, 1024, 800])
def test_buttons_of_a_review_keep_their_words(browser: Any, address: str, width: int) -> None:
    page = open_page(browser, width)
    page.goto(f"{address}/review")
    page.get_by_role("button", name="Accept", exact=True).wait_for()
    settle(page)
    assert page.evaluate(CUT) == []
    for name in ("Accept", "Reject", "Back", "Skip"):
        box = page.get_by_role("button", name=name).first.bounding_box()
        assert box["y"] + box["height"] < 800
    page.close()
