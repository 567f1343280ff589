"""In a real browser: specimens are found while somebody types, whatever their accents, and picked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from browser import assert_no_error, locate, open_page, serve, settle, wait_until
from fakes import a_collection_of, build_fake


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("picker")
    table = a_collection_of(folder / "collection")
    head, *rows = table.read_text(encoding="utf-8").splitlines()
    names = {"r4": "Käfer", "b2": "Kåfer"}
    table.write_text(
        "\n".join([f"{head},name", *(f"{row},{names.get(row.split(',')[0], 'Motte')}" for row in rows)]) + "\n",
        encoding="utf-8",
    )
    build_fake(table, folder / "index")
    with serve(folder / "index", home=folder / "home") as url:
        yield url


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = open_page(browser)
    yield page
    assert_no_error(page)
    page.close()


def wait_for_pictures(page: Any, key: str, *names: str) -> None:
    """Wait until exactly these specimens are offered."""
    page.wait_for_function(
        """([key, names]) => {
            const shown = [...document.querySelectorAll(`[class*="st-key-gallery-${key}"] img`)].map((img) => img.alt);
            return shown.length === names.length && names.every((name) => shown.includes(name));
        }""",
        arg=[key, list(names)],
    )


def test_specimens_are_found_while_somebody_types(page: Any, address: str) -> None:
    page.goto(address)
    box = page.get_by_role("searchbox", name="Specimen")
    box.press_sequentially("kafer", delay=60)
    wait_for_pictures(page, "pick", "r4", "b2")
    box.press_sequentially(" r4", delay=60)
    wait_for_pictures(page, "pick", "r4")
    assert box.evaluate("el => el === document.activeElement")
    page.get_by_role("button", name="r4", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**specimen=r4**")
    page.locator(".query-name", has_text="r4").wait_for()
    wait_for_pictures(page, "pick")
    assert box.input_value() == ""
    box.press_sequentially("KÅFER", delay=60)  # Another one, while this one is shown.
    wait_for_pictures(page, "pick", "r4", "b2")
    page.get_by_role("button", name="b2", exact=True).click()
    page.wait_for_url("**specimen=b2**")
    page.locator(".query-name", has_text="b2").wait_for()


def test_a_drawing_stays_while_another_specimen_is_looked_for(page: Any, address: str) -> None:
    page.goto(f"{address}/annotate?draw=r1")
    page.locator(".drawing[data-ready]").wait_for()
    left, top, width, height = locate(page, ".drawing canvas")
    for x, y in ((0.3, 0.3), (0.5, 0.3), (0.5, 0.6)):
        page.mouse.click(left + x * width, top + y * height)
    page.keyboard.press("Enter")
    drawn = page.locator(".drawing").evaluate("el => Array.from(el._surface.labels)")
    assert np.count_nonzero(drawn) > 10
    box = page.get_by_role("searchbox", name="Specimen")
    box.press_sequentially("kafer", delay=60)
    wait_for_pictures(page, "find", "r4", "b2")
    assert page.locator(".drawing").evaluate("el => Array.from(el._surface.labels)") == drawn
    assert "draw=r1" in page.url
    page.get_by_role("button", name="b2", exact=True).click()
    page.wait_for_url("**draw=b2**")
    wait_for_pictures(page, "find")
    settle(page)
    wait_until(page, ".drawing", "el => !el._surface.labels.some((label) => label)")
