"""One journey through the app in a real browser: look, ask, draw, review."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import locate, open_browser, open_page, serve, settle
from fakes import a_collection_of, build_fake

import sst_retrieval as sst

TILE = ".tile-name:not(.query-name)"


@pytest.fixture(scope="module")
def museum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("museum")
    table = a_collection_of(folder / "collection")
    rows = table.read_text().splitlines()
    gaps = ("r1,", "b1,", "b4,")  # Of these nobody knows the sex.
    table.write_text(
        "\n".join(re.sub(r",(fe)?male,", ",,", row) if row.startswith(gaps) else row for row in rows) + "\n"
    )
    build_fake(table, folder / "index")
    return folder


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """A page of 1280 x 800 in a headless Chromium."""
    with open_browser() as browser:
        yield open_page(browser)


@pytest.fixture(scope="module")
def address(museum: Path) -> Iterator[str]:
    """The app, started as a person starts it."""
    with serve(museum / "index", home=museum / "home") as url:
        yield url


def test_a_curator_looks_asks_draws_and_reviews(museum: Path, page: Any, address: str) -> None:
    ask(page, address)
    narrow_down(page)
    open_and_download(page)
    ask_with_a_hit(page)
    look_at_the_morphospace(page, address)
    draw(page, address, museum)
    review(page, address, museum)


def ask(page: Any, address: str) -> None:
    """Pick a specimen by its name, then a trait by its outline."""
    page.goto(address)
    page.get_by_placeholder("id, name, place").fill("r3")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="r3", exact=True).click()
    page.get_by_role("button", name="bar, confidence").click(force=True)
    page.wait_for_url("**trait=bar**")
    page.get_by_text("hits 1 to").wait_for()
    assert "specimen=r3" in page.url


def narrow_down(page: Any) -> None:
    """Move a slider and choose a filter; the URL keeps both."""
    before = tiles(page)
    slider = page.get_by_role("slider", name="shape")
    slider.focus()
    slider.press("ArrowLeft")
    page.wait_for_url("**shape=0.9**")
    page.get_by_role("combobox", name="sex").click()
    page.get_by_role("option", name="female").first.click()
    page.wait_for_url("**f.sex=**")
    page.keyboard.press("Escape")
    page.wait_for_function(
        "count => document.querySelectorAll('.tile-name:not(.query-name)').length < count", arg=len(before)
    )
    assert set(tiles(page)) < set(before)


def open_and_download(page: Any) -> None:
    """Look at a hit closely, and take the table home."""
    first = tiles(page)[0]
    page.get_by_role("button", name="Details", exact=True).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Ask with bar of this specimen").wait_for()
    assert first in dialog.inner_text()
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    lines = Path(download.value.path()).read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("rank,specimen,trait,similarity,pattern,colour,shape")
    assert lines[1].split(",")[1] == first


def ask_with_a_hit(page: Any) -> None:
    """Make a hit the next query, from its details; also when the query is a photograph."""
    first = tiles(page)[0]
    page.get_by_role("button", name="Details", exact=True).first.click()
    page.get_by_role("dialog").get_by_text("Ask with bar of this specimen").click()
    page.wait_for_url(f"**specimen={first}**")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.wait_for_function(
        "name => ![...document.querySelectorAll('.tile-name:not(.query-name)')].some(tile => tile.title === name)",
        arg=first,
    )
    assert page.get_by_text("StreamlitAPIException").count() == 0
    assert page.locator('[data-testid="stAlert"], [data-testid="stException"]').count() == 0
    assert first not in tiles(page)
    # Another click does what it says, too. The page is drawn first: its tiles are exchanged until then.
    settle(page)
    page.get_by_role("button", name="Details", exact=True).first.click()
    page.get_by_role("dialog").get_by_role("button", name="unlike").click()
    page.get_by_role("dialog").wait_for(state="hidden")
    page.wait_for_url("**unlike=**")
    page.get_by_role("button", name="Only the first example").click()
    page.get_by_text("hits 1 to").wait_for()


def look_at_the_morphospace(page: Any, address: str) -> None:
    """Colour the points by a column with gaps; circle some."""
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(f"{address}/morphospace?space-colour=sex")
    page.get_by_text("not known (").first.wait_for()
    left, top, width, height = locate(page, "canvas")
    places = [(left + width * x, top + height * y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    inside = [(min(max(x, left + 5), left + width - 5), min(y, 780)) for x, y in places]
    page.mouse.move(inside[0][0], inside[0][1] + 5)
    page.mouse.down()
    for x, y in inside[1:]:
        page.mouse.move(x, y, steps=3)
    page.mouse.up()
    page.get_by_text("circled").wait_for()
    assert page.get_by_text("Unexpected token").count() == 0
    assert failures == []


def draw(page: Any, address: str, museum: Path) -> None:
    """Draw a polygon on a specimen and save it as a support."""
    page.goto(f"{address}/annotate")
    page.get_by_role("combobox", name="Draw on").click()
    page.get_by_role("option", name="r4").click()
    page.locator(".drawing[data-ready]").wait_for()
    left, top, _, _ = locate(page, ".drawing canvas")
    scale, x, y = page.locator(".drawing").evaluate(
        "el => { const v = el._surface.fitted(); return [v.scale, v.x, v.y]; }"
    )
    for corner in ((15, 10), (45, 10), (45, 30), (15, 30)):  # As fast as it goes.
        page.mouse.click(left + x + corner[0] * scale, top + y + corner[1] * scale)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Save the support").click()
    page.get_by_text("Saved:").wait_for()
    labels = sst.read_labels(museum / "collection" / "supports" / "r4.png")
    expected = np.zeros(labels.shape, dtype=bool)
    expected[10:30, 15:45] = True
    assert np.array_equal(labels != 0, expected)
    assert set(np.unique(labels)) <= {0, 3, 7}


def review(page: Any, address: str, museum: Path) -> None:
    """Accept the least confident mask, with the keyboard."""
    page.goto(f"{address}/review")
    name = page.get_by_role("textbox", name="Your name")
    name.fill("Mary")
    name.press("Enter")
    page.get_by_text("Keys: A accept, X reject.").wait_for()  # The name has arrived.
    name.blur()
    page.keyboard.press("a")
    page.get_by_text("· 1 accepted").wait_for()
    with sst.open_index(museum / "index") as index:
        (kept,) = index.reviews()
    assert (kept.decision, kept.reviewer) == ("accept", "Mary")


def tiles(page: Any) -> list[str]:
    """Return the specimens on the light table."""
    page.locator(TILE).first.wait_for()
    settle(page)
    names = page.locator(TILE).all_inner_texts()
    return [name.split(". ", 1)[1] for name in names]
