"""The app on an index of trays: photographs that show several individuals."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import a_collection_of, build_fake
from light_table import read_text, read_tiles
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
    return "\n".join([str(each.value) for kind in kinds for each in kind] + html + read_text(app))


def quiet(app: AppTest) -> None:
    assert [each.value for each in app.exception] == []
    assert [each.value for each in app.error] == []


def hits(app: AppTest) -> set[str]:
    return {tile["id"] for tile in read_tiles(app)}


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


def test_a_mask_is_redrawn_on_its_individual_alone(folder: Path) -> None:
    from sst_app import index_images

    app = opened("review")
    app.text_input(key="reviewer").input("Mary").run()
    next(each for each in app.button if each.label == "Redraw").click().run()
    quiet(app)
    with sst.open_index(folder) as index:
        window, whole = index.window("t1#2"), index.mask("t1#2", "spot")
        shown_part = index_images.show_window(whole, window)
        assert shown_part.shape[0] < whole.shape[0] / 2
        assert np.array_equal(index_images.place_in_photograph(shown_part, window, whole.shape), whole)
        assert index_images.place_in_photograph(whole, None, whole.shape) is whole


def test_plain_indexes_offer_no_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_fake(a_collection_of(tmp_path / "collection"), tmp_path / "index")
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path / "index")])
    app = opened(specimen="r1", trait="spot")
    quiet(app)
    assert "per" not in [each.key for each in app.get("button_group")]
    assert "individual" not in shown(app)


# --------------------------------------------------------------------------------------------------------------- review


def reviewing(photograph: str) -> AppTest:
    app = opened("review")
    next(each for each in app.get("button_group") if each.key == "review-what").set_value("individuals").run()
    app.text_input(key="reviewer").input("Mary").run()
    app.selectbox(key="review-photograph").select(photograph).run()
    quiet(app)
    return app


def choose(app: AppTest, *names: str) -> AppTest:
    pills = next(each for each in app.get("button_group") if str(each.key).startswith("individuals-on-"))
    pills.set_value(list(names)).run()
    return app


def press(app: AppTest, icon: str) -> AppTest:
    app.button(key=f"individual-{icon}").click().run()
    quiet(app)
    return app


def undo(app: AppTest) -> AppTest:
    app.button(key="individual-undo-button").click().run()
    quiet(app)
    return app


def decided(folder: Path) -> dict[str, str]:
    with sst.open_index(folder) as index:
        return {each.individual: each.decision for each in index.individual_reviews()}


def test_annotated_individuals_are_not_to_be_decided_on(folder: Path) -> None:
    app = reviewing("t0")
    assert "**t0**: 1 individual, 1 annotated" in shown(app)
    button = app.button(key="individual-done_all")
    assert (button.label, button.disabled) == ("None is left to decide on", True)
    assert "3 individuals, 3 not decided" in shown(reviewing("t1"))


def test_one_that_is_none_is_taken_out_and_taken_back(folder: Path) -> None:
    app = press(choose(reviewing("t1"), "t1#2"), "delete")
    assert decided(folder) == {"t1#2": "reject"}
    assert "2 individuals" in shown(app)
    assert "t1#2 is taken out" in shown(app)
    undo(app)
    assert decided(folder) == {}
    assert "3 individuals" in shown(app)
    press(choose(app, "t1#1", "t1#3"), "delete")
    press(choose(app, "t1#1"), "restore_from_trash")
    assert decided(folder) == {"t1#3": "reject"}
    undo(app)
    assert decided(folder) == {"t1#1": "reject", "t1#3": "reject"}


def test_two_are_merged_and_taken_apart_again(folder: Path) -> None:
    app = press(choose(reviewing("t2"), "t2#1", "t2#2"), "merge")
    assert decided(folder) == {"t2#1": "redraw", "t2#2": "reject"}
    with sst.open_index(folder) as index:
        merged = index.individual_reviews("t2")[0].mask()
        assert merged.sum() == 2 * 20 * 28
    undo(app)
    assert decided(folder) == {}


def test_one_is_split(folder: Path) -> None:
    app = press(choose(reviewing("t1"), "t1#2"), "call_split")
    assert decided(folder) == {"t1#2": "redraw", "t1#4": "redraw"}
    with sst.open_index(folder) as index:
        one, other = (each.mask() for each in index.individual_reviews("t1"))
        assert one.sum() == other.sum() == 20 * 14
        assert not (one & other).any()
    assert "t1#4 is added" in shown(app)
    # A half that is split, and both that are merged, before any build.
    press(choose(app, "t1#2", "t1#4"), "merge")
    assert decided(folder) == {"t1#2": "redraw", "t1#4": "reject"}
    undo(app)
    undo(app)
    assert decided(folder) == {}


def test_what_is_right_is_accepted_at_once(folder: Path) -> None:
    app = press(reviewing("t1"), "done_all")
    assert decided(folder) == {"t1#1": "accept", "t1#2": "accept", "t1#3": "accept"}
    assert app.button(key="individual-done_all").disabled
    assert "all decided" in shown(app)


def test_an_annotated_individual_is_not_decided_on(folder: Path) -> None:
    app = choose(reviewing("t0"), "t0#1")
    assert "annotated in the supports" in shown(app)
    assert app.button(key="individual-delete").disabled


def test_where_none_was_found_one_can_be_added(folder: Path) -> None:
    app = reviewing("t3")
    assert "none was found" in shown(app)
    press(app, "add")
    assert "Draw a new individual of t3" in shown(app)
    next(each for each in app.button if each.label == "Leave it as it was").click().run()
    quiet(app)
    assert "none was found" in shown(app)


def test_a_decision_made_meanwhile_is_not_overwritten(folder: Path) -> None:
    app = choose(reviewing("t1"), "t1#2")
    with sst.open_index(folder) as index:
        index.review_individual("t1#2", "accept", reviewer="John")
    # The page of this person still shows what was there before.
    app.session_state["individuals-seen"] = ("t1", "")
    press(app, "delete")
    assert decided(folder) == {"t1#2": "accept"}
    assert any("meanwhile" in each.value for each in app.toast)


def test_a_split_is_across_the_longest_extent() -> None:
    from sst_app.individual_review import split_in_two

    mask = np.zeros((40, 100), dtype=bool)
    mask[10:30, 10:40] = mask[10:30, 60:90] = True
    mask[18:22, 40:60] = True
    one, other = split_in_two(mask)
    assert np.array_equal(one | other, mask)
    assert one[:, :52].sum() == one.sum()
    assert other[:, 48:].sum() == other.sum()


# ------------------------------------------------------------------------------------------------------------- annotate


def test_a_support_is_drawn_on_a_photograph_and_what_it_means_is_said(folder: Path) -> None:
    app = opened("annotate")
    quiet(app)
    picks = {str(each.key) for each in app.button if str(each.key).startswith("draw-")}
    assert picks == {f"draw-{name}" for name in COLLECTION}
    app.button(key="draw-t1").click().run()
    quiet(app)
    assert "may show several individuals" in shown(app)
    assert "t0" in str([each.value for each in opened("annotate").dataframe])


def test_an_individual_of_several_is_no_label_picture(folder: Path) -> None:
    """Its label picture would bear a name that no photograph has."""
    with sst.open_index(folder) as index:
        index.review("t1#2", "spot", "accept", reviewer="Mary")
    app = opened("review")
    quiet(app)
    assert "new-support" not in [each.key for each in app.selectbox]


def test_the_sheet_of_hits_shows_where_on_the_tray_each_is(folder: Path) -> None:
    from sst_app.downloads import _make_tile

    with sst.open_index(folder) as index:
        hit = next(hit for hit in index.search(like=("t1#1", "spot"), k=9, per="individual") if "#" in hit.individual)
        tile = _make_tile(index, hit, [])
        x0, y0, x1, y1 = index.window(hit.individual)
        assert tile.image.shape[:2] == (y1 - y0, x1 - x0)
        assert tile.masks["spot"].shape == tile.image.shape[:2]
        assert tile.inset is not None
        assert any("individual" in line for line in tile.lines)


def test_a_box_is_tightened_to_what_stands_out_in_it() -> None:
    from sst_app.mask_canvas import tighten_box

    image = np.full((200, 300, 3), 210, dtype=np.uint8) + np.random.default_rng(0).integers(0, 6, (200, 300, 3))
    ys, xs = np.mgrid[:200, :300]
    animal = ((xs - 150) / 40) ** 2 + ((ys - 100) / 25) ** 2 < 1
    image[animal] = (60, 40, 30)
    photograph = image.astype(np.uint8)
    found = tighten_box(photograph, (100, 65, 200, 140))
    assert found is not None
    assert (found & animal).sum() > 0.97 * (found | animal).sum()
    assert tighten_box(photograph, (5, 5, 50, 50)) is None  # Nothing is there.
    assert tighten_box(photograph, (140, 95, 160, 105)) is None  # All of it is the animal.
