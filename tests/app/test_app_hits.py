"""Hits in a real browser: hop from picture to picture, details, comparison; no click is lost while tiles change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser import assert_no_error, open_page, serve, settle, wait_for
from fakes import a_collection_of, build_fake

PICTURES_ARE_THERE = """() => {
    const pictures = [...document.querySelectorAll('[class*=light-table] .tile img')];
    return pictures.length > 2 && pictures.every((each) => each.complete && each.naturalWidth)
        && document.querySelectorAll('.tile-name:not(.query-name)').length === pictures.length;
}"""
"""The tiles of the hits come one after the other, and move while their pictures are not there."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("hits")
    build_fake(a_collection_of(folder / "collection"), folder / "index")
    with serve(folder / "index", home=folder / "home") as url:
        yield url


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    page = open_page(browser)
    page.goto(f"{address}/?specimen=r1&trait=spot")
    page.get_by_text("hits 1 to").wait_for()
    page.wait_for_function(PICTURES_ARE_THERE)
    settle(page)
    yield page
    assert_no_error(page)
    page.close()


def names(page: Any) -> list[str]:
    return [name.split(". ", 1)[1] for name in page.locator(".tile-name:not(.query-name)").all_inner_texts()]


def test_the_picture_of_a_hit_asks_with_it(page: Any) -> None:
    chosen = names(page)[2]
    page.locator(".tile .ask").nth(2).click()
    page.wait_for_url(f"**specimen={chosen}**")
    page.locator(".query-name", has_text=chosen).wait_for()
    page.get_by_role("button", name=f"Ask with spot of {chosen}").wait_for(state="detached")
    settle(page)
    button = page.get_by_role("button", name="Ask with spot of").first
    second = button.get_attribute("aria-label").removeprefix("Ask with spot of ")
    button.press("Enter")
    page.wait_for_url(f"**specimen={second}**")


def test_pictures_can_be_clicked_as_soon_as_they_are_there(browser: Any, address: str) -> None:
    page = open_page(browser)
    held: list[Any] = []
    page.route("**/static/js/Button.*.js", lambda route: held.append(route))
    page.goto(f"{address}/?specimen=r1&trait=spot&tiles=small&f.sex=%5B%22male%22%5D")
    page.wait_for_function(PICTURES_ARE_THERE)
    assert len(held) == 1, "Streamlit loads buttons in another way now"
    page.locator(".tile .ask").nth(1).click()
    page.wait_for_function("() => !location.search.includes('specimen=r1')")
    assert "tiles=small" in page.url
    assert "f.sex=" in page.url
    page.unroute_all(behavior="ignoreErrors")
    page.close()


def test_a_tile_that_is_exchanged_between_press_and_release_gets_the_click(page: Any) -> None:
    second = names(page)[1]
    page.locator(".tile .ask").nth(1).hover()
    page.mouse.down()
    # Meanwhile other tiles arrive: a slider was moved just before.
    page.locator(".hits").evaluate(
        """el => { const table = el._table, data = structuredClone(table.data);
            data.tiles.reverse(); table.update(data, table.send); }"""
    )
    page.mouse.up()
    page.wait_for_url(f"**specimen={second}**")


def test_acts_however_fast_are_all_taken(page: Any) -> None:
    order = names(page)[:3]
    page.evaluate(
        """() => { for (const name of ["tick", "tick", "like"].entries())
            document.querySelectorAll(".tile")[name[0]].querySelector(`[data-act=${name[1]}]`).click(); }"""
    )
    page.get_by_text("2 ticked").wait_for()
    page.wait_for_url("**like=**")
    settle(page)
    for name in order[:2]:  # The third is an example now, and no hit.
        assert page.get_by_role("checkbox", name=f"compare {name}", exact=True).is_checked()
    assert page.url.count("like=") == 1


def test_clicks_count_before_the_browser_has_drawn_the_answer_to_the_last_one(browser: Any, address: str) -> None:
    page = open_page(browser)
    held: list[bytes] = []
    sockets: list[Any] = []
    slow = False

    def pass_on(socket: Any) -> None:
        server = socket.connect_to_server()
        server.on_message(lambda message: held.append(message) if slow else socket.send(message))
        sockets.append(socket)

    page.route_web_socket("**/_stcore/stream", pass_on)
    page.goto(f"{address}/?specimen=r1&trait=spot")
    page.wait_for_function(PICTURES_ARE_THERE)
    settle(page)
    first, second = names(page)[:2]
    slow = True
    page.get_by_role("button", name=f"Ask with spot of {first}").click()
    wait_for(page, lambda: any(f"specimen={first}".encode() in message for message in held))
    page.get_by_role("button", name=f"Ask with spot of {second}").click()  # The browser still has the URL of r1.
    slow = False
    for message in held:
        sockets[-1].send(message)
    page.wait_for_url(f"**specimen={second}**")
    page.locator(".query-name", has_text=second).wait_for()
    page.close()


def test_a_click_on_details_counts_while_the_tiles_change(page: Any) -> None:
    second = names(page)[1]
    page.get_by_role("button", name=f"Ask with spot of {second}").wait_for()
    # The second becomes the query, so that its tile goes away; its details were asked for before that was seen.
    page.evaluate(
        """([second]) => {
            const every = [...document.querySelectorAll("button")];
            const button = (text) => every.find((each) => each.ariaLabel?.includes(text));
            const tile = button(`Ask with spot of ${second}`).closest(".tile");
            const details = [...tile.querySelectorAll("button")].find((each) => each.textContent === "Details");
            button(`Ask with spot of ${second}`).click();
            details.click();
        }""",
        [second],
    )
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Ask with spot of this specimen").wait_for()
    assert second in dialog.inner_text()


def test_details_go_to_the_next_hit_and_zoom(page: Any) -> None:
    order = names(page)
    page.get_by_role("button", name="Details").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text(order[0], exact=True).first.wait_for()
    for name in order[1:3]:
        dialog.get_by_role("button", name="Next").click()
        dialog.locator("strong", has_text=name).wait_for()
    dialog.get_by_role("button", name="Previous").click()
    dialog.locator("strong", has_text=order[1]).wait_for()
    before = dialog.locator(".specimen svg").get_attribute("viewBox")
    dialog.get_by_role("button", name="Zoom in").click()
    left, top, width, _ = map(float, dialog.locator(".specimen svg").get_attribute("viewBox").split())
    assert before == "0 0 60 40"
    assert (left > 0, top > 0, width) == (True, True, pytest.approx(40))
    dialog.get_by_role("button", name="Show the whole photograph").click()
    assert dialog.locator(".specimen svg").get_attribute("viewBox") == before


def test_hits_are_compared_where_the_eye_is_with_one_zoom(page: Any) -> None:
    ticks = page.get_by_role("checkbox", name="compare")
    ticks.nth(ticks.count() - 1).check(force=True)
    page.get_by_text("1 ticked").wait_for()
    ticks.nth(0).check(force=True)
    page.get_by_text("2 ticked").wait_for()
    settle(page)
    button = page.get_by_role("button", name="Compare side by side")
    at = button.bounding_box()
    assert 0 < at["y"] < 800
    button.click()
    dialog = page.get_by_role("dialog")
    dialog.locator(".compare img").nth(1).wait_for()
    dialog.get_by_role("button", name="Zoom all in").click()
    moved = dialog.locator(".compare img").evaluate_all("images => images.map((image) => image.style.transform)")
    assert len(moved) == 2
    assert len(set(moved)) == 1
    assert "scale(1.5)" in moved[0]
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Clear", exact=True).click()
    page.get_by_text("2 ticked").wait_for(state="hidden")


def test_bars_are_seen_on_small_tiles(page: Any) -> None:
    page.get_by_role("radio", name="small").click()
    page.wait_for_function(
        """() => {
            const bars = [...document.querySelectorAll(".bars")], grooves = [...document.querySelectorAll(".groove")];
            return bars.length && bars.every((each) => each.classList.contains("narrow"))
                && grooves.every((each) => each.getBoundingClientRect().width > 20);
        }"""
    )


def test_the_first_hit_is_few_tabs_away(page: Any) -> None:
    page.get_by_role("button", name="Ask with spot of").first.wait_for()
    for _ in range(12):
        page.keyboard.press("Tab")
        there = page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent")
        if there in ("Skip to main content", "To the hits"):
            page.keyboard.press("Enter")
        if there.startswith("Ask with spot of"):
            break
    assert there.startswith("Ask with spot of")
