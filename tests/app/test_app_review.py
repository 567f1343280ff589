"""Reviewing in a real browser: no key is lost, decisions are taken back, a grid is accepted at once."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browser import assert_no_error, find_serious, open_browser, open_page, serve, settle, wait_until
from fakes import a_collection_of, build_fake

import sst_retrieval as sst

APP = Path(__file__).resolve().parents[2] / "app"
if str(APP) not in sys.path:
    sys.path.append(str(APP))

COUNT = 40
"""Specimens; of two traits each."""


@pytest.fixture
def museum(tmp_path: Path) -> Path:
    build_fake(a_collection_of(tmp_path / "collection", [(f"r{n}", "red") for n in range(COUNT)]), tmp_path / "index")
    return tmp_path


def open_review(browser: Any, url: str) -> Any:
    """Open the page on which Mary reviews masks with keys."""
    page = open_page(browser)
    page.goto(f"{url}/review")
    name = page.get_by_role("textbox", name="Your name")
    name.fill("Mary")
    name.press("Enter")
    name.blur()
    page.get_by_text("Keys: A accept, X reject.").wait_for()
    settle(page)
    return page


@pytest.fixture
def page(museum: Path) -> Iterator[Any]:
    with open_browser() as browser, serve(museum / "index", home=museum / "home") as url:
        yield open_review(browser, url)


def decisions(folder: Path) -> list[tuple[str, str, str]]:
    with sst.open_index(folder / "index") as index:
        return [(review.individual, review.trait, review.decision) for review in index.reviews()]


def test_sixty_masks_are_reviewed_by_keyboard_in_a_minute(page: Any, museum: Path) -> None:
    start, shown = time.monotonic(), []
    for number in range(60):
        wait_until(page, ".review", "el => el.querySelector('.name') !== null")
        shown.append(page.locator(".review .name").inner_text())
        page.keyboard.press("x" if number % 10 == 3 else "a")
    wait_until(page, ".review", "el => el.dataset.pending === '0'")
    assert time.monotonic() - start < 60
    made = {f"{trait} of {specimen}": decision for specimen, trait, decision in decisions(museum)}
    expected = {name: "reject" if number % 10 == 3 else "accept" for number, name in enumerate(shown)}
    assert len(expected) == 60
    assert made == expected
    page.get_by_text("54 accepted").wait_for()
    assert_no_error(page)


SLOW_RECORD = """
import time
record = sst_retrieval.Index.review
def review(self, *words, **about):
    time.sleep(0.15)
    made = record(self, *words, **about)
    time.sleep(0.05)
    return made
sst_retrieval.Index.review = review
"""


def test_keys_faster_than_the_record_are_recorded_once_and_taken_back(museum: Path) -> None:
    with open_browser() as browser, serve(museum / "index", home=museum / "home", first=SLOW_RECORD) as url:
        page = open_review(browser, url)
        for _ in range(12):
            page.keyboard.press("a")
            page.wait_for_timeout(70)
        wait_until(page, ".review", "el => el.dataset.pending === '0'")
        lines = (museum / "index" / "reviews" / "decisions.jsonl").read_text(encoding="utf-8").splitlines()
        record = [json.loads(line) for line in lines]
        assert [each["reviewer"] for each in record] == ["Mary"] * 12
        assert len({(each["specimen"], each["trait"]) for each in record}) == 12
        for left in range(12, 0, -1):
            page.get_by_text(f"· {left} accepted").wait_for()
            settle(page)
            page.get_by_role("button", name="Undo:").click()
        page.get_by_text("· 1 accepted").wait_for(state="hidden")
        assert decisions(museum) == []
        assert_no_error(page)


def test_a_decision_is_taken_back(page: Any, museum: Path) -> None:
    first = page.locator(".review .name").inner_text()
    page.keyboard.press("a")
    page.get_by_role("button", name="Undo:").wait_for()
    page.keyboard.press("x")
    page.get_by_text("1 rejected").wait_for()
    assert " rejected." in page.locator(".review .note").inner_text()
    page.get_by_role("button", name="Undo:").click()
    page.get_by_text("· 1 rejected").wait_for(state="hidden")
    assert len(decisions(museum)) == 1
    settle(page)
    assert "Last:" not in page.locator(".review .note").inner_text()
    page.get_by_role("button", name="Undo:").click()
    page.get_by_text("· 1 accepted").wait_for(state="hidden")
    assert decisions(museum) == []
    settle(page)
    assert page.locator(".review .name").inner_text() == first


def test_decisions_are_looked_through_by_reviewer_and_day(page: Any, museum: Path) -> None:
    with sst.open_index(museum / "index") as index:
        for name, who in (("r1", "Ann"), ("r2", "Ann"), ("r3", "Mary")):
            index.review(name, "spot", "accept", reviewer=who)
    page.get_by_role("combobox", name="Masks").click()
    page.get_by_role("option", name="accepted").click()
    page.get_by_text("3 left.").wait_for()
    page.get_by_role("combobox", name="Decided by").click()
    page.get_by_role("option", name="Ann").click()
    page.get_by_text("2 left.").wait_for()
    assert "review-by=Ann" in page.url
    page.get_by_role("combobox", name="Decided on").click()
    page.get_by_role("option", name=datetime.datetime.now(tz=datetime.UTC).date().isoformat()).click()
    page.wait_for_url("**review-days=**")
    page.get_by_text("2 left.").wait_for()
    assert_no_error(page)


def test_a_grid_is_accepted_but_for_what_is_wrong(page: Any, museum: Path) -> None:
    page.get_by_text("a grid of masks").click()
    page.get_by_role("button", name="Accept 18").wait_for()
    settle(page)
    wrong = page.get_by_role("button", name="Reject").nth(2)
    name = wrong.inner_text().removeprefix("Reject ")
    wrong.click()
    page.get_by_role("button", name="Accept 17, reject 1").click()
    page.get_by_text("17 accepted").wait_for()
    made = {f"{trait} of {specimen}": decision for specimen, trait, decision in decisions(museum)}
    assert len(made) == 18
    assert [key for key, decision in made.items() if decision == "reject"] == [name]
    assert_no_error(page)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_mask_of_the_grid_is_rejected_by_a_click_on_its_picture(museum: Path, width: int) -> None:
    with open_browser() as browser, serve(museum / "index", home=museum / "home") as url:
        page = open_page(browser, width, 800 if width == 1280 else 844)
        page.goto(f"{url}/review?review-grid=true")
        page.get_by_role("button", name="Accept 18").wait_for()
        settle(page)
        picture = page.locator('[class*="st-key-picture-"] img').nth(1)
        at = picture.bounding_box()
        page.mouse.click(at["x"] + at["width"] / 2, at["y"] + at["height"] / 3)
        page.get_by_role("button", name="Accept 17, reject 1").wait_for()
        settle(page)
        boxes = [each.bounding_box() for each in page.locator('[class*="st-key-picture-"] img').all()]
        across = 6 if width == 1280 else 3
        assert len({round(each["y"]) for each in boxes[:across]}) == 1
        if width == 1280:
            assert boxes[12]["y"] < 800, "the third row begins below the window"
        assert find_serious(page) == {}


def test_decisions_are_kept_by_person_and_day() -> None:
    from sst_app.review_queue import keep_decided

    table = pd.DataFrame({"sst:individual": ["a", "b", "c", "d"], "sst:trait": ["spot"] * 4})
    made = [
        sst.Review(name, "spot", "", "accept", who, f"2026-11-{day}T23:59:59+00:00", (1, 1), b"")
        for name, who, day in (("a", "Ann", 29), ("b", "Ann", 30), ("c", "Mary", 30))
    ]
    cases = {("", ()): "abc", ("Ann", ()): "ab", ("", ("2026-11-30",)): "bc", ("Ann", ("2026-11-30",)): "b"}
    for (by, days), expected in cases.items():
        assert "".join(keep_decided(table, made, by, days)["sst:individual"]) == expected
