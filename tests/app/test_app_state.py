"""In a real browser: what a person has chosen survives other pages and a reload, and Back takes back one step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser import assert_no_error, open_page, serve, settle, wait_for, wait_until
from fakes import a_collection_of, build_fake


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("state")
    build_fake(a_collection_of(folder / "collection"), folder / "index")
    with serve(folder / "index", home=folder / "home") as url:
        yield url


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = open_page(browser)
    yield page
    page.close()


def query(page: Any) -> tuple[str, str, str]:
    """The specimen, its chosen trait, and the filter by sex, as they are on the screen."""
    settle(page)
    specimen = page.locator(".query-name").inner_text()
    trait = page.get_by_role("radiogroup", name="Trait").get_by_role("radio", checked=True).inner_text()
    sex = page.locator(".stMultiSelect", has_text="sex").inner_text().replace("sex", "").strip()
    return specimen, trait, sex.partition("\n")[0]


def test_another_page_and_a_reload_keep_the_query(page: Any, address: str) -> None:
    page.goto(f"{address}/?specimen=r3&trait=bar")
    page.get_by_text("hits 1 to").wait_for()
    page.get_by_role("combobox", name="sex").click()
    page.get_by_role("option", name="female").first.click()
    page.wait_for_url("**f.sex=**")
    page.keyboard.press("Escape")  # Closes the list, which hides the rest from readers.
    slider = page.get_by_role("slider", name="shape")
    slider.focus()
    slider.press("ArrowLeft")
    page.wait_for_url("**shape=0.9**")
    before, url = query(page), page.url
    assert before[:2] == ("r3", "bar")
    assert before[2].startswith("female")
    for other in ("Collection", "Review"):
        page.get_by_role("link", name=other).click()
        page.wait_for_url(f"**/{other.lower()}**")
        settle(page)
    page.get_by_role("link", name="Search").click()
    page.wait_for_url("**specimen=r3**")
    page.get_by_text("hits 1 to").wait_for()
    assert query(page) == before
    wait_until(page, 'input[aria-label="shape"]', "el => el.value === '0.9'")
    assert_no_error(page)
    page.goto(url)  # A reload is another session.
    page.get_by_text("hits 1 to").wait_for()
    assert query(page) == before
    wait_until(page, 'input[aria-label="shape"]', "el => el.value === '0.9'")


def test_back_takes_back_one_step(page: Any, address: str) -> None:
    page.goto(address)
    page.get_by_role("button", name="r1", exact=True).click()
    page.get_by_text("hits 1 to").wait_for()
    first = query(page)
    page.get_by_role("radiogroup", name="Trait").get_by_role(
        "radio", name="spot" if first[1] == "bar" else "bar"
    ).click()
    page.wait_for_function("trait => !location.search.includes(`trait=${trait}`)", arg=first[1])
    settle(page)
    page.get_by_role("combobox", name="sex").click()
    page.get_by_role("option", name="female").first.click()
    page.wait_for_url("**f.sex=**")
    page.keyboard.press("Escape")  # Closes the list, which hides the rest from readers.
    second = query(page)
    page.go_back()
    page.wait_for_function("() => !location.search.includes('f.sex')")
    wait_for(page, lambda: query(page) == (*second[:2], first[2]))
    page.go_back()
    page.wait_for_function("trait => location.search.includes(`trait=${trait}`)", arg=first[1])
    wait_for(page, lambda: query(page) == first)
    page.go_back()
    page.wait_for_function("() => !location.search.includes('specimen')")
    page.locator(".query-name").wait_for(state="hidden")
    assert_no_error(page)


def test_the_specimen_that_is_drawn_and_the_filters_of_review_survive(page: Any, address: str) -> None:
    page.goto(f"{address}/annotate")
    page.get_by_role("combobox", name="Draw on").click()
    page.get_by_role("option", name="r4").click()
    page.wait_for_url("**draw=r4**")
    page.locator(".drawing[data-ready]").wait_for()
    page.get_by_role("link", name="Review").click()
    page.get_by_role("combobox", name="Trait").click()
    page.get_by_role("option", name="bar").click()
    page.wait_for_url("**review-trait=bar**")
    page.get_by_role("link", name="Annotate").click()
    page.locator(".drawing[data-ready]").wait_for()
    page.wait_for_url("**draw=r4**")
    page.reload()
    page.locator(".drawing[data-ready]").wait_for()
    page.get_by_role("link", name="Review").click()
    page.get_by_role("button", name="Redraw").click()
    page.wait_for_url("**redraw=**")
    page.reload()
    page.get_by_role("heading", name="Redraw").wait_for()
    assert_no_error(page)
