"""How long the app takes for an index of 100,000 regions: made-up rows, no photographs, no browser.

    python benchmarks/bench_app.py                   # 100,000 regions: 50,000 specimens with two traits
    python benchmarks/bench_app.py --pages           # only whole pages, each run again after an interaction

First single steps, then whole pages: an interaction with a page runs all of it again (`streamlit.testing`, whose own
work is in the figures). The first run of a page, which reads the index, is shown apart. The search is a part of its
page, so it is timed alone, too; what the browser draws is in neither. Milliseconds of processor time, so that a busy
machine says the same as an idle one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.append(str(Path(__file__).resolve().parents[1] / "app"))
from sst_app.choosing import matching
from sst_app.filters import counts, facets, mask, predicate
from sst_app.opening import quick
from streamlit.testing.v1 import AppTest

from sst_retrieval import open_index
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.imaging import masks
from sst_retrieval.index.shards import Row
from sst_retrieval.index.store import Store
from sst_retrieval.types import Frame, Region, Specimen

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = {"pattern": 352, "colour": 128, "shape": 120}
TRAITS = {"wing": 1, "spot": 2}
TIMES = 7
AT_ONCE = 10_000


def main() -> None:
    """Time every step an interaction may take, then the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=100_000)
    parser.add_argument("--pages", action="store_true", help="only whole pages")
    options = parser.parse_args()
    if not options.pages:
        steps(rows(options.regions))
    with tempfile.TemporaryDirectory() as folder:
        invent(Path(folder) / "index", options.regions // len(TRAITS))
        pages(Path(folder) / "index")


def steps(made_up: pd.DataFrame) -> None:
    """Time the parts of an interaction."""
    table = quick(made_up)
    kind = {"scientificName": "VARCHAR", "sex": "VARCHAR", "locality": "VARCHAR", "eventDate": "DATE"}
    columns = {**kind, "mass": "DOUBLE"}
    kinds = {facet.column: facet for facet in facets(table, columns)}
    chosen = {"sex": ["female"], "locality": ["place 3", "place 7"]}
    specimens = pd.DataFrame({"sst:specimen": table["sst:specimen"], "sst:search": table["sst:specimen"] + " panama"})
    every: dict[str, Callable[[], object]] = {
        "find the columns to filter by (once an index)": lambda: facets(table, columns),
        "count the words of all filters, two of them set": lambda: [
            counts(table, kinds[name], chosen, kinds) for name in kinds if kinds[name].kind == "words"
        ],
        "which regions pass": lambda: mask(table, chosen, kinds),
        "write the predicate": lambda: predicate(chosen, kinds),
        "find specimens by two words": lambda: matching(specimens, "sp-99 panama"),
        "sort the masks to review": lambda: table.sort_values(["sst:confidence", "sst:region"]),
    }
    for name, step in every.items():
        say(name, [taken(step) for _ in range(TIMES)])


def pages(index: Path) -> None:
    """Time whole pages: what runs when a person does something."""
    with open_index(index) as opened:
        example = ("SP-000001", "wing")
        filtered = "sex = 'female' AND confidence >= 0.5"
        opened.search(like=example, k=12)
        say("search alone, 12 hits", [taken(lambda: opened.search(like=example, k=13)) for _ in range(TIMES)])
        say("  with a filter", [taken(lambda: opened.search(like=example, k=13, where=filtered)) for _ in range(TIMES)])
    sys.argv = ["Home.py", str(index)]
    app = AppTest.from_file(str(ROOT / "app" / "Home.py"), default_timeout=600)
    app.query_params["specimen"], app.query_params["trait"] = example
    say("Search, first run", [taken(app.run)])
    say("  again", [taken(app.run) for _ in range(TIMES)])
    say("  move a slider", [taken(app.slider(key="shape").set_value(n / 10).run) for n in range(TIMES)])
    sexes = [["female"], ["male"], ["female", "male"], []] * 2
    say("  choose a filter", [taken(app.multiselect(key="f.sex").set_value(sex).run) for sex in sexes[:TIMES]])
    names = [f"SP-00010{n}" for n in range(TIMES)]
    say("  type a name", [taken(app.text_input(key="words").input(name).run) for name in names])
    for page in ("annotate", "review", "collection", "morphospace"):
        say(f"{page.capitalize()}, first run", [taken(app.switch_page(f"sst_app/{page}.py").run)])
        say("  again", [taken(app.run) for _ in range(TIMES)])
        if app.exception or app.error:
            raise SystemExit(f"{page}: {[each.value for each in (*app.exception, *app.error)]}")


def taken(step: Callable[[], object]) -> float:
    """Return the processor time of a step, of all threads, in seconds."""
    start = time.process_time()
    step()
    return time.process_time() - start


def say(name: str, times: list[float]) -> None:
    """Print the median, and the slowest if there are several."""
    slowest = f", at most {1000 * max(times):.0f} ms" if len(times) > 1 else ""
    print(f"{name}: {1000 * float(np.median(times)):.0f} ms{slowest}", flush=True)


def rows(count: int) -> pd.DataFrame:
    """Make up a table as `Index.table` gives it."""
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


def invent(path: Path, specimens: int) -> None:
    """Write an index of made-up specimens."""
    made_up = rows(specimens)
    columns = {**dict.fromkeys(["scientificName", "sex", "locality"], "VARCHAR"), "eventDate": "DATE", "mass": "DOUBLE"}
    made_up["eventDate"] = made_up["eventDate"].dt.date
    values = made_up[list(columns)].to_dict("records")
    names = made_up["sst:specimen"].tolist()
    collection = Collection(
        tuple(
            Specimen(name, path / f"{name}.jpg", f"group {number % 50}", {"catalogNumber": name, **row})
            for number, (name, row) in enumerate(zip(names, values, strict=True))
        ),
        {"catalogNumber": "VARCHAR", **columns},
        path / "collection.csv",
    )
    settings = {role: {"engine": "made up", "model": "made up"} for role in ("propagator", "embedder")}
    store = Store.create(path, settings=settings, blocks=BLOCKS)
    with store.lock():
        for part in regions(names):
            store.append(part)
        store.commit(collection, numbers=TRAITS, provenance={"supports": [], "photographs": {}})


def regions(names: list[str]) -> Iterator[list[Row]]:
    """Make up the traits of specimens, some thousands at a time."""
    rng = np.random.default_rng(1)
    drawn = np.zeros((60, 90), dtype=bool)
    drawn[20:40, 30:60] = True
    rle, frame = masks.encode(drawn), Frame((0.01, 0.0, 0.0, 0.0, 0.01, 0.0))
    for start in range(0, len(names), AT_ONCE):
        part = []
        for name in names[start : start + AT_ONCE]:
            for trait in TRAITS:
                blocks = [rng.standard_normal(size, dtype=np.float32) for size in BLOCKS.values()]
                vector = np.concatenate([block / np.linalg.norm(block) for block in blocks])
                about = (float(rng.random()), (60, 90), rle, (30, 20, 60, 40), frame)
                region = Region(name, trait, True, *about, vector=vector, measurements={"area": 600.0})
                part.append((region, "content", "supports"))
        yield part


if __name__ == "__main__":
    main()
