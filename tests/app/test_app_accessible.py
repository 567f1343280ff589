"""Every page in a real browser, looked at by axe-core: it finds nothing serious."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser import find_serious, open_page, serve, settle
from fakes import a_collection_of, build_fake

NOT_OURS = {
    "region": "Streamlit's own containers are no landmarks",
}
"""Rules that Streamlit itself breaks and that a page cannot mend -> why."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("accessible")
    build_fake(a_collection_of(folder / "collection"), folder / "index")
    with serve(folder / "index", home=folder / "home") as url:
        yield url


def see(text: str) -> Callable[[Any], None]:
    return lambda page: page.get_by_text(text).first.wait_for()


def hits(page: Any) -> None:
    page.get_by_text("hits 1 to").wait_for()


def details(page: Any) -> None:
    hits(page)
    settle(page)
    page.get_by_role("button", name="Details").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Ask with").wait_for()


def surface(page: Any) -> None:
    page.locator(".drawing[data-ready]").wait_for()


def queue(page: Any) -> None:
    page.locator(".review .name").wait_for()


def points(page: Any) -> None:
    page.locator(".points canvas").wait_for()


STATES: dict[str, tuple[str, Callable[[Any], None]]] = {
    "welcome": ("/", see("Similar is not homologous")),
    "hits": ("/?specimen=r1&trait=spot&sentence=similar+spots+of+females", hits),
    "details": ("/?specimen=r1&trait=spot", details),
    "photograph": ("/?way=a+photograph", see("At most 50 MB")),
    "overview": ("/annotate", see("Draw a support")),
    "drawing": ("/annotate?draw=r1", surface),
    "review": ("/review", queue),
    "grid": ("/review?review-grid=true", see("Accept")),
    "redraw": ("/review?redraw=%5B%22r3%22%2C+%22spot%22%5D", surface),
    "collection": ("/collection", see("On how many specimens")),
    "morphospace": ("/morphospace?space-colour=sex", points),
}


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_serious(browser: Any, address: str, state: str, width: int) -> None:
    page = open_page(browser, width, 800 if width == 1280 else 844)
    path, reach = STATES[state]
    page.goto(address + path)
    page.locator("h1").first.wait_for(state="attached")
    settle(page)
    reach(page)
    settle(page)
    assert find_serious(page, *NOT_OURS) == {}
    assert page.locator("h1").count() == 1
    assert page.title() not in ("", "Streamlit")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    page.close()
