"""A headless Chromium and the app as a person starts it, for the tests that work in a browser."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import sst_retrieval as sst

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60_000
"""Milliseconds; a busy machine takes its time."""


@contextmanager
def open_browser() -> Iterator[Any]:
    """A headless Chromium; the test is skipped if there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: tests in a browser need it")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with playwright.sync_playwright() as driver:
        if path is None and not Path(driver.chromium.executable_path).is_file():
            pytest.skip("no Chromium on this computer: the app was not tried in a browser (apt install chromium)")
        # Without its sandbox, which a container refuses it; it only visits the app.
        with driver.chromium.launch(executable_path=path, args=["--no-sandbox"]) as browser:
            yield browser


def open_page(browser: Any, width: int = 1280, height: int = 800, **options: Any) -> Any:
    page = browser.new_page(viewport={"width": width, "height": height}, accept_downloads=True, **options)
    page.set_default_timeout(float(os.environ.get("PATIENCE", PATIENCE)))
    return page


def find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def serve(
    *arguments: str | Path, home: Path, port: int | None = None, folder: Path | None = None, first: str = ""
) -> Iterator[str]:
    """The app; its address. Drafts and the like are written to `home`; it is started in `folder`, `first` is run."""
    port = port or find_port()
    # The tests' own models are loaded, which the app refuses of a stranger's index.
    start = (
        "import sst_retrieval, sst_retrieval.search.outside as o; load = o.embedder_of; from fakes import FAKES\n"
        "sst_retrieval.embedder_of = lambda index, **_: load(index, engine=FAKES.embedder)\n"
        f"{first}\n"
        "from sst_retrieval.cli import main; main()"
    )
    command = [sys.executable, "-c", start, "app", *map(str, arguments), "--port", str(port)]
    paths = [str(Path(sst.__file__).parents[1]), str(Path(__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "XDG_STATE_HOME": str(home)}
    environment.pop("SST_RETRIEVAL_HOME", None)
    process = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.PIPE, text=True, cwd=folder
    )
    url = f"http://localhost:{port}"
    too_late = threading.Timer(PATIENCE / 1000, process.kill)
    too_late.start()
    try:
        # It says where it is as soon as it answers; whoever is killed or ends at once never does.
        assert any(url in line for line in process.stdout or ()), "the app did not start"
        too_late.cancel()
        urllib.request.urlopen(f"{url}/_stcore/health", timeout=60).close()
        yield url
    finally:
        too_late.cancel()
        # Not SIGINT: whoever runs the tests in the background ignores it.
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)


def find_serious(page: Any, *but: str) -> dict[str, list[str]]:
    """Return what axe-core finds serious on a page, except for some rules: rule -> elements."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core")
    settle(page)
    found = axe.Axe().run(page).response["violations"]
    return {
        rule["id"]: [node["target"][-1] for node in rule["nodes"]][:5]
        for rule in found
        if rule["impact"] in ("serious", "critical") and rule["id"] not in but
    }


def settle(page: Any) -> None:
    """Wait until the page's script has run, and what it sent is drawn and in its place.

    Streamlit loads the code of each kind of widget when the first one comes; until then a grey place of another size
    stands for it. What a run leaves out is faded before it goes.
    """
    page.wait_for_function(
        """() => document.querySelector('[data-test-script-state="notRunning"]')
            && !document.querySelector('[data-testid="stSkeleton"], [data-stale="true"]')
            && document.getAnimations().every((each) => each.playState !== "running"
                || each.effect.getComputedTiming().endTime === Infinity)"""
    )


def locate(page: Any, selector: str) -> tuple[float, float, float, float]:
    """Return where on the screen an element is (left, top, width, height), once it stays there and can be clicked."""
    settle(page)
    found = page.locator(selector).first
    found.hover(trial=True)
    at = found.bounding_box()
    return at["x"], at["y"], at["width"], at["height"]


def wait_until(page: Any, selector: str, condition: str) -> None:
    """Wait until a JavaScript function of an element, which may be inside a component, returns true."""
    wait_for(page, lambda: page.locator(selector).first.evaluate(condition), f"{selector}: {condition}")


def wait_for(page: Any, condition: Callable[[], object], what: str = "nothing came") -> None:
    """Wait until something is true that a page does not know of, such as a file on the disk."""
    end = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < end, what
        page.wait_for_timeout(50)


def assert_no_error(page: Any) -> None:
    settle(page)
    assert page.locator('[data-testid="stException"]').count() == 0
    errors = page.locator('[data-testid="stAlertContentError"]')
    assert errors.count() == 0, errors.all_inner_texts()
