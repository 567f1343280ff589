"""The app on an index of trays: photographs that show several individuals."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import a_collection_of, build_fake
from streamlit.testing.v1 import AppTest
from trays import COLLECTION, a_collection_of_trays, build_trays

import sst_retrieval as sst

HOME = Path(__file__).resolve().parents[2] / "app" / "Home.py"
PATIENCE = 120
"""Seconds; the first page loads the libraries."""

if str(HOME.parent) not in sys.path:
    sys.path.append(str(HOME.parent))


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trays")
    build_trays(a_collection_of_trays(folder / "collection"), folder / "index")
    return folder


@pytest.fixture
def folder(master: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The index, named on the command line; what people decided is taken back afterwards."""
    monkeypatch.setattr(sys, "argv", ["Home.py", str(master / "index")])
    yield master / "index"
    (master / "index" / "reviews" / "decisions.jsonl").unlink(missing_ok=True)


def opened(page_name: str = "search", /, **query: str) -> AppTest:
    app = AppTest.from_file(str(HOME), default_timeout=PATIENCE)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    if page_name != "search":
        app.switch_page(f"sst_app/pages/{page_name}.py").run()
    return app


def shown(app: AppTest) -> str:
    kinds = (app.markdown, app.caption, app.error, app.info, app.warning, app.success, app.title, app.subheader)
    html = [str(each.proto.body) for each in app.get("html")]
    return "\n".join([str(each.value) for kind in kinds for each in kind] + html)


def quiet(app: AppTest) -> None:
    assert [each.value for each in app.exception] == []
    assert [each.value for each in app.error] == []


def hits(app: AppTest) -> set[str]:
    return {str(each.key).removeprefix("hop-") for each in app.button if str(each.key).startswith("hop-")}


@pytest.mark.parametrize("page", ["search", "annotate", "review", "collection", "morphospace"])
def test_every_page_opens(folder: Path, page: str) -> None:
    quiet(opened(page))


def test_one_hit_a_specimen_or_every_individual(folder: Path) -> None:
    app = opened(specimen="t0#1", trait="spot")
    quiet(app)
    assert len(hits(app)) == 3
    assert len({name.partition("#")[0] for name in hits(app)}) == 3
    choice = next(each for each in app.get("button_group") if each.key == "per")
    choice.set_value("individual").run()
    quiet(app)
    everyone = {f"{name}#{at + 1}" for name, corners in COLLECTION.items() for at in range(len(corners))}
    assert hits(app) == everyone - {"t0#1"}
    assert "individual 3" in shown(app)
    assert hits(opened(specimen="t0#1", trait="spot", per="individual")) == everyone - {"t0#1"}


def test_a_photograph_is_picked_then_an_individual_on_it(folder: Path) -> None:
    app = opened()
    picks = [str(each.key) for each in app.button if str(each.key).startswith("pick-")]
    assert picks == ["pick-t0#1", "pick-t1#1", "pick-t2#1", "pick-t4#1"]
    app.button(key="pick-t1#1").click().run()
    quiet(app)
    assert app.query_params["specimen"] == "t1#1"
    assert "individual 1" in shown(app)


def test_a_link_to_a_photograph_means_its_first_individual(folder: Path) -> None:
    app = opened(specimen="t4", trait="bar")
    quiet(app)
    assert "individual 1" in shown(app)


def test_what_is_shown_of_an_individual_is_cut_to_it(folder: Path) -> None:
    from sst_app import index_images, individuals

    with sst.open_index(folder) as index:
        window = index.window("t1#2")
        assert window is not None
        x0, y0, x1, y1 = window
        size, outlines = index_images.read_outlines.__wrapped__(index, ("", ()), "t1#2")
        assert size == (y1 - y0, x1 - x0)
        # The spot lies at (5, 4) of the beetle at (60, 12).
        path = next(each.path for each in outlines if each.trait == "spot")
        xs = [float(pair.split()[0]) for pair in path.strip("MZ").split("L")]
        ys = [float(pair.split()[1]) for pair in path.strip("MZ").split("L")]
        assert min(xs) == pytest.approx(65 - x0, abs=1)
        assert min(ys) == pytest.approx(16 - y0, abs=1)
        assert max(xs) <= x1 - x0
        picture, whole = index_images.read_photograph.__wrapped__(index, ("", ()), "t1#2")
        assert whole == size
        assert index_images.decode(picture).shape[:2] == size
        size, placed = individuals.read_placed.__wrapped__(index, ("", ()), "t1")
        assert size == (100, 160)
        assert {each.id: each.centre for each in placed} == {
            f"t1#{at}": (x + 10, y + 14) for at, (x, y) in enumerate(COLLECTION["t1"], start=1)
        }
        assert all(each.outline.path for each in placed)


def test_masks_are_reviewed_by_individual(folder: Path) -> None:
    app = opened("review")
    app.text_input(key="reviewer").input("Mary").run()
    for _ in range(2):
        next(each for each in app.button if each.label == "Accept").click().run()
        quiet(app)
    with sst.open_index(folder) as index:
        assert len(index.reviews()) == 2


def test_plain_indexes_offer_no_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_fake(a_collection_of(tmp_path / "collection"), tmp_path / "index")
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path / "index")])
    app = opened(specimen="r1", trait="spot")
    quiet(app)
    assert "per" not in [each.key for each in app.get("button_group")]
    assert "individual" not in shown(app)
