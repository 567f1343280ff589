"""Draw docs/app.png: a search in the app, on the index of the demo.

    sst-retrieval demo demo-drawer
    python scripts/draw_app_picture.py demo-drawer/index docs/app.png

It needs Playwright and Chromium, as the tests of the app do.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import typer

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "app"))

from browser import open_browser, open_page, serve, settle  # type: ignore[import-not-found]


def main(index: Path, output: Path, specimen: str = "SD-0010", trait: str = "forewing_band") -> None:
    """Serve an index, search with a trait of a specimen, and take a picture of 1280 x 800."""
    with (
        tempfile.TemporaryDirectory() as home,
        open_browser() as browser,
        serve(index, home=Path(home)) as address,
    ):
        page = open_page(browser)
        page.goto(f"{address}/?specimen={specimen}&trait={trait}")
        page.get_by_text("hits 1 to").wait_for()
        page.wait_for_function("() => [...document.images].every((each) => each.complete)")
        settle(page)
        page.screenshot(path=str(output))


if __name__ == "__main__":
    typer.run(main)
