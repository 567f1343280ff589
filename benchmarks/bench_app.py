"""Measure the response times of the app on an index of 100,000 synthetic regions, without photographs.

    python benchmarks/bench_app.py                   # 100,000 regions: 50,000 specimens with two traits
    python benchmarks/bench_app.py --pages           # whole pages only
    python benchmarks/bench_app.py --browser         # from the click to the answer, in a headless Chromium only

First single steps, then whole pages: Streamlit runs all of a page again after each interaction (through
`streamlit.testing`, whose overhead is included). The first run of a page, which reads the index, is a line of its own,
and so is the search alone. Rendering in the browser is not included. Times are milliseconds of processor time, which
depend little on other load.

With --browser the app is served and used in a headless Chromium (playwright): the time is that from a click or a key to
the first picture of the screen on which the page shows the answer and its script has ended, by the page's own clock. It
depends on other load; the processor time of the server, which is printed beside it, does less.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).resolve().parents[1] / "app"))
from bench_scale import BLOCKS, World
from sst_app.current_index import convert_to_categories
from sst_app.filters import build_predicate, count_words, find_facets, select_rows
from sst_app.specimen_picker import find_specimens
from streamlit.testing.v1 import AppTest

from sst_retrieval import open_index
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.imaging import masks
from sst_retrieval.index.shards import ShardRow
from sst_retrieval.index.store import Store
from sst_retrieval.types import Frame, Photograph, Region

ROOT = Path(__file__).resolve().parents[1]
SPECIES = 150
TRAITS = {"wing": 1, "spot": 2}
REPEATS = 7
ROWS_PER_SHARD = 10_000


def main() -> None:
    """Time the steps of an interaction, then whole pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=100_000)
    parser.add_argument("--pages", action="store_true", help="only whole pages")
    parser.add_argument("--browser", action="store_true", help="only from click to answer in a browser")
    options = parser.parse_args()
    if options.browser:
        with tempfile.TemporaryDirectory() as folder:
            make_index(Path(folder) / "index", options.regions // len(TRAITS))
            time_browser(Path(folder) / "index")
        return
    if not options.pages:
        time_steps(make_table(options.regions))
    with tempfile.TemporaryDirectory() as folder:
        make_index(Path(folder) / "index", options.regions // len(TRAITS))
        time_pages(Path(folder) / "index")


def time_steps(made_up: pd.DataFrame) -> None:
    """Time the steps of an interaction."""
    table = convert_to_categories(made_up)
    kind = {"scientificName": "VARCHAR", "sex": "VARCHAR", "locality": "VARCHAR", "eventDate": "DATE"}
    columns = {**kind, "mass": "DOUBLE"}
    kinds = {facet.column: facet for facet in find_facets(table, columns)}
    chosen = {"sex": ["female"], "locality": ["place 3", "place 7"]}
    specimens = pd.DataFrame({"sst:specimen": table["sst:specimen"], "sst:search": table["sst:specimen"] + " panama"})
    every: dict[str, Callable[[], object]] = {
        "find the columns to filter by (once an index)": lambda: find_facets(table, columns),
        "count the words of all filters, two of them set": lambda: [
            count_words(table, kinds[name], chosen, kinds) for name in kinds if kinds[name].kind == "words"
        ],
        "which regions pass": lambda: select_rows(table, chosen, kinds),
        "write the predicate": lambda: build_predicate(chosen, kinds),
        "find specimens by two words": lambda: find_specimens(specimens, "sp-99 panama"),
        "sort the masks to review": lambda: table.sort_values(["sst:confidence", "sst:region"]),
    }
    for name, step in every.items():
        print_times(name, [measure(step) for _ in range(REPEATS)])


def time_pages(index: Path) -> None:
    """Time whole pages: the first run and the runs after interactions."""
    with open_index(index) as opened:
        example = ("SP-000001", "wing")
        filtered = "sex = 'female' AND confidence >= 0.5"
        opened.search(like=example, k=12)
        print_times(
            "search alone, 12 hits", [measure(lambda: opened.search(like=example, k=13)) for _ in range(REPEATS)]
        )
        print_times(
            "  with a filter",
            [measure(lambda: opened.search(like=example, k=13, where=filtered)) for _ in range(REPEATS)],
        )
    sys.argv = ["Home.py", str(index)]
    app = AppTest.from_file(str(ROOT / "app" / "Home.py"), default_timeout=600)
    app.query_params["specimen"], app.query_params["trait"] = example
    print_times("Search, first run", [measure(app.run)])
    print_times("  again", [measure(app.run) for _ in range(REPEATS)])
    print_times("  move a slider", [measure(app.slider(key="shape").set_value(n / 10).run) for n in range(REPEATS)])
    sexes = [["female"], ["male"], ["female", "male"], []] * 2
    print_times(
        "  choose a filter", [measure(app.multiselect(key="f.sex").set_value(sex).run) for sex in sexes[:REPEATS]]
    )
    names = [f"SP-00010{n}" for n in range(REPEATS)]
    print_times("  type a name", [measure(app.text_input(key="words").input(name).run) for name in names])
    for page in ("annotate", "review", "collection", "morphospace"):
        print_times(f"{page.capitalize()}, first run", [measure(app.switch_page(f"sst_app/pages/{page}.py").run)])
        print_times("  again", [measure(app.run) for _ in range(REPEATS)])
        if app.exception or app.error:
            raise SystemExit(f"{page}: {[each.value for each in (*app.exception, *app.error)]}")


def time_browser(index: Path) -> None:
    """Time interactions from the click to the answer in a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "sst_retrieval", "app", str(index), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server,
        sync_playwright() as driver,
    ):
        path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            with driver.chromium.launch(executable_path=path, args=["--no-sandbox"]) as browser:
                _time_clicks(browser.new_page(viewport={"width": 1280, "height": 800}), url, server.pid)
        finally:
            server.terminate()


def read_processor_time(process: int) -> float:
    """Read how many seconds of processor time a process has taken (Linux)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _print_both(name: str, times: list[tuple[float, float]]) -> None:
    waits, work = zip(*times, strict=True)
    server = f"; server {1000 * float(np.mean(work)):.0f} ms of processor"
    print(f"{name}: {1000 * float(np.median(waits)):.0f} ms, at most {1000 * max(waits):.0f} ms{server}", flush=True)


def _time_clicks(page: Any, url: str, server: int) -> None:
    page.set_default_timeout(120_000)

    # The page's own clock: to ask it from outside takes some 50 ms more, and so does each click that Playwright checks.
    page.add_init_script(
        """window.watch = (answer, before) => {
            const about = window.answered = {};
            for (const kind of ["keydown", "pointerdown"])
                window.addEventListener(kind, (event) => { about.begin ??= event.timeStamp; },
                    { capture: true, once: true });
            const look = () => {
                if (about.begin !== undefined && answer(before) &&
                    document.querySelector('[data-test-script-state="notRunning"]'))
                    requestAnimationFrame(() => { about.end = performance.now(); });
                else requestAnimationFrame(look);
            };
            requestAnimationFrame(look);
        }"""
    )

    def until_answered(act: Callable[[], object], answer: str, argument: object = None) -> tuple[float, float]:
        """Return the seconds from a click or key until the page fulfils a condition, and of the server's processor."""
        page.evaluate(f"argument => window.watch({answer}, argument)", argument)
        start = read_processor_time(server)
        act()
        page.wait_for_function("() => window.answered.end !== undefined", polling=50)
        page.wait_for_timeout(300)  # The server may still be at work on what is not seen.
        return page.evaluate("() => window.answered.end - window.answered.begin") / 1000, read_processor_time(
            server
        ) - start

    tiles = "() => [...document.querySelectorAll('[class*=st-key-light-table] .tile-name')].map((e) => e.title).join()"
    changed = f"before => ({tiles})() !== '' && ({tiles})() !== before"
    start = time.perf_counter()
    page.goto(f"{url}/?specimen=SP-000001&trait=wing")
    page.wait_for_function(f"() => ({tiles})() !== ''")
    page.locator('[data-test-script-state="notRunning"]').wait_for()
    print_times("in the browser, first page", [time.perf_counter() - start])
    slider = page.get_by_role("slider", name="shape")
    slider.focus()
    keys = ["ArrowLeft"] * REPEATS
    _print_both(
        "  move a slider",
        [until_answered(lambda key=key: slider.press(key), changed, page.evaluate(tiles)) for key in keys],
    )
    times = []
    for number in range(REPEATS):
        box = page.get_by_role("combobox", name="sex")
        box.click()
        option = page.get_by_role("option", name=("female", "male")[number % 2]).first
        before = page.evaluate(tiles)
        times.append(until_answered(option.click, changed, before))
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Clear filters").click()
        page.wait_for_function("() => !location.search.includes('f.sex')")
        page.locator('[data-test-script-state="notRunning"]').wait_for()
    _print_both("  choose a filter", times)
    more = page.get_by_role("button", name="More")
    _print_both(
        "  the next page of hits",
        [until_answered(more.click, changed, page.evaluate(tiles)) for _ in range(REPEATS)],
    )
    signs = {"Collection": "On how many specimens", "Review": "to look at here", "Search": "Tick tiles to compare"}
    for name, sign in signs.items():
        link = page.get_by_role("link", name=name)
        times = []
        for _ in range(3):
            page.get_by_role("link", name="Annotate").click()
            page.get_by_text("Draw a support").wait_for()
            page.locator('[data-test-script-state="notRunning"]').wait_for()
            times.append(until_answered(link.click, "text => document.body.innerText.includes(text)", sign))
        _print_both(f"  change to {name}", times)


def measure(step: Callable[[], object]) -> float:
    """Return the processor time of a step over all threads, in seconds."""
    start = time.process_time()
    step()
    return time.process_time() - start


def print_times(name: str, times: list[float]) -> None:
    """Print the median, and the slowest if there are several."""
    slowest = f", at most {1000 * max(times):.0f} ms" if len(times) > 1 else ""
    print(f"{name}: {1000 * float(np.median(times)):.0f} ms{slowest}", flush=True)


def make_table(count: int) -> pd.DataFrame:
    """Make a synthetic table with the columns of `Index.table`, one row per region."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "sst:region": np.arange(count),
            "sst:specimen": [f"SP-{number:06d}" for number in range(count)],
            "sst:present": rng.random(count) < 0.95,
            "sst:confidence": rng.random(count),
            "scientificName": [f"Genus species{number}" for number in rng.integers(0, 150, count)],
            "sex": rng.choice(["female", "male"], count),
            "locality": [f"place {number}" for number in rng.integers(0, 60, count)],
            "eventDate": pd.to_datetime("1950-01-01") + pd.to_timedelta(rng.integers(0, 20_000, count), unit="D"),
            "mass": rng.random(count),
        }
    )


def make_index(path: Path, specimens: int) -> None:
    """Write an index of synthetic specimens with two traits each."""
    made_up = make_table(specimens)
    columns = {**dict.fromkeys(["scientificName", "sex", "locality"], "VARCHAR"), "eventDate": "DATE", "mass": "DOUBLE"}
    made_up["eventDate"] = made_up["eventDate"].dt.date
    values = made_up[list(columns)].to_dict("records")
    names = made_up["sst:specimen"].tolist()
    collection = Collection(
        tuple(
            Photograph(name, path / f"{name}.jpg", f"group {number % 50}", {"catalogNumber": name, **row})
            for number, (name, row) in enumerate(zip(names, values, strict=True))
        ),
        {"catalogNumber": "VARCHAR", **columns},
        path / "collection.csv",
    )
    settings = {role: {"engine": "made up", "model": "made up"} for role in ("propagator", "embedder")}
    store = Store.create(path, settings=settings, blocks=BLOCKS)
    with store.lock():
        for part in make_regions(names):
            store.append(part)
        store.commit(collection, numbers=TRAITS, provenance={"supports": [], "photographs": {"indexed": len(names)}})


def make_regions(names: list[str]) -> Iterator[list[ShardRow]]:
    """Make synthetic regions of specimens, one list per shard; their vectors vary as those of real collections."""
    rng, world = np.random.default_rng(1), World(SPECIES)
    drawn = np.zeros((60, 90), dtype=bool)
    drawn[20:40, 30:60] = True
    rle, frame = masks.encode(drawn), Frame((0.01, 0.0, 0.0, 0.0, 0.01, 0.0))
    for start in range(0, len(names), ROWS_PER_SHARD):
        part, own = [], names[start : start + ROWS_PER_SHARD]
        species = rng.integers(0, SPECIES, len(own))
        vectors = {trait: world.vectors(rng, species) for trait in TRAITS}
        for place, name in enumerate(own):
            for trait in TRAITS:
                vector = vectors[trait][place]
                about = (float(rng.random()), (60, 90), rle, (30, 20, 60, 40), frame)
                region = Region(name, trait, True, *about, vector=vector, measurements={"area": 600.0})
                part.append((region, "content", "supports"))
        yield part


if __name__ == "__main__":
    main()
