"""The app's pages, run without a browser; and what they are made of."""

from __future__ import annotations

import ast
import datetime
import doctest
import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fakes import FAKES, a_collection_of, build_fake
from invented import without_checksums
from light_table import act, read_text, read_tiles
from PIL import Image
from streamlit import config
from streamlit.testing.v1 import AppTest

import sst_retrieval as sst

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "app" / "Home.py"
Started = list[subprocess.Popen[bytes]]
PAGES = ("search", "annotate", "review", "collection", "morphospace")
PATIENCE = 120
"""Seconds; the first page loads the libraries."""

if str(HOME.parent) not in sys.path:
    sys.path.append(str(HOME.parent))


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of ten specimens and its index, built once."""
    folder = tmp_path_factory.mktemp("app")
    build_fake(a_collection_of(folder / "collection"), folder / "indexes" / "fakes")
    return folder


@pytest.fixture
def index(master: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The index, named on the command line; what people decided is taken back afterwards."""
    path = master / "indexes" / "fakes"
    monkeypatch.setattr(sys, "argv", ["Home.py", str(path)])
    yield path
    (path / "reviews" / "decisions.jsonl").unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def this_computer_only() -> Iterator[None]:
    """As `.streamlit/config.toml` has it, which AppTest does not read."""
    before = config.get_option("server.address")
    config.set_option("server.address", "localhost")
    yield
    config.set_option("server.address", before)


def start_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the app on an index that the fakes built, and describe questions with their embedder."""
    monkeypatch.setattr(sys, "argv", ["Home.py", str(folder)])
    load = sst.embedder_of
    monkeypatch.setattr(
        "sst_retrieval.embedder_of", lambda index, **_: load(index, engine=FAKES.embedder), raising=False
    )


def opened(page_name: str = "search", /, **query: str) -> AppTest:
    app = AppTest.from_file(str(HOME), default_timeout=PATIENCE)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    if page_name != "search":
        app.switch_page(f"sst_app/pages/{page_name}.py").run()
    return app


def shown(app: AppTest) -> str:
    """All text of a page."""
    kinds = (app.markdown, app.caption, app.error, app.info, app.warning, app.success, app.title, app.subheader)
    html = [str(each.proto.body) for each in app.get("html")]
    return "\n".join([str(each.value) for kind in kinds for each in kind] + html + read_text(app))


def quiet(app: AppTest) -> None:
    assert [each.value for each in app.exception] == []
    assert [each.value for each in app.error] == []


# ----------------------------------------------------------------------------------------------------------- pages


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens(index: Path, page: str) -> None:
    quiet(opened(page))


def test_a_specimen_is_found_by_its_name_and_asked_with(index: Path) -> None:
    app = opened()
    app.text_input(key="words").input("r3").run()
    app.button(key="pick-r3").click().run()
    quiet(app)
    assert app.query_params["specimen"] == "r3"
    assert set(names(app)) == {"r0", "r1", "r2", "r4"}


def test_nobody_has_all_of_the_words(index: Path) -> None:
    app = opened()
    app.text_input(key="words").input("nobody at all").run()
    assert "fewer or other" in shown(app)


def test_sliders_filters_and_url(index: Path) -> None:
    app = opened(specimen="r1", trait="bar")
    quiet(app)
    app.slider(key="shape").set_value(0.0).run()
    before = shown(app)
    assert ">1. r" in before
    app.multiselect(key="f.sex").set_value(["male"]).run()
    quiet(app)
    with sst.open_index(index) as opened_index:
        sexes = {each.id: each.metadata["sex"] for each in opened_index.individuals()}
    hits = [name for name in sexes if f". {name}<" in shown(app)]
    assert hits
    assert {sexes[name] for name in hits} == {"male"}
    assert app.query_params["f.sex"] == '["male"]'
    again = opened(specimen="r1", trait="bar", **{"f.sex": '["male"]'})
    assert [name for name in sexes if f". {name}<" in shown(again)] == hits


def test_no_hit_passes_the_filters(index: Path) -> None:
    app = opened(specimen="r1", trait="bar")
    app.slider(key="sure").set_value(1.0).run()
    app.multiselect(key="f.sex").set_value(["male"]).run()
    assert "No specimen passes these filters" in shown(app)


@pytest.mark.parametrize(
    "query", [{"specimen": "../../etc/passwd"}, {"f.sex": "nonsense("}, {"page": "x"}, {"trait": "?"}]
)
def test_a_link_that_makes_no_sense_is_survived(index: Path, query: dict[str, str]) -> None:
    quiet(opened("search", **{"specimen": "r1", **query}))


def test_a_sentence_is_understood(index: Path) -> None:
    app = opened(specimen="r1", trait="spot")
    app.text_input(key="sentence").input("find a similar spot, females").run()
    quiet(app)
    chips = next(pills for pills in app.get("button_group") if "chips" in str(pills.key))
    assert any("sex = female" in str(option) for option in chips.options)


def test_decisions_of_the_review_page_are_kept_and_respected(index: Path) -> None:
    app = opened("review")
    app.text_input(key="reviewer").input("Mary").run()
    first = app.session_state["review-shown"]
    next(button for button in app.button if button.label == "Reject").click().run()
    quiet(app)
    assert app.session_state["review-shown"] != first
    with sst.open_index(index) as opened_index:
        (review,) = opened_index.reviews()
        assert (review.individual, review.trait, review.decision, review.reviewer) == (*first, "reject", "Mary")
    app = opened(specimen="r1" if first[0] != "r1" else "r2", trait=first[1])
    assert f". {first[0]}<" not in shown(app)


def test_nobody_decides_without_a_name(index: Path) -> None:
    app = opened("review")
    app.text_input(key="reviewer").input("").run()
    assert next(button for button in app.button if button.label == "Accept").disabled


def test_a_support_is_saved_where_the_build_reads_it(index: Path, master: Path) -> None:
    app = opened("annotate")
    app.selectbox(key="annotate-specimen").set_value("r3").run()
    press(app, "what the program found")
    next(button for button in app.button if "Save" in button.label).click().run()
    quiet(app)
    path = master / "collection" / "supports" / "r3.png"
    try:
        labels = sst.read_labels(path)
        with sst.open_index(index) as opened_index:
            assert np.array_equal(labels == 7, opened_index.mask("r3", "spot"))
        assert build_fake(master / "collection" / "collection.csv", index).processed == 5
    finally:
        path.unlink(missing_ok=True)


def test_the_collection_page_counts(index: Path) -> None:
    app = opened("collection")
    values = {metric.label: metric.value for metric in app.metric}
    assert values["specimens"] == "10"
    assert values["traits"] == "2"
    assert "sst-retrieval build" in "\n".join(code.value for code in app.code)


# -------------------------------------------------------------------------------------------------- broken states


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "There is no file or folder"),
        (lambda folder: folder.mkdir(), "is not an index"),
    ],
)
def test_without_an_index_the_app_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, said: str
) -> None:
    make(tmp_path / "index")
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path / "index")])
    app = AppTest.from_file(str(HOME), default_timeout=PATIENCE).run()
    assert not app.exception
    assert said in shown(app)
    assert "sst-retrieval build" in app.code[0].value


def test_a_newcomer_has_three_doors(table: Path, ten: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(table.parent, tmp_path / "mine")
    shutil.copytree(ten / "index", tmp_path / "shelf" / "beetles")
    (tmp_path / "requirements.csv").write_text("a\n1\n")
    monkeypatch.setattr(sys, "argv", ["Home.py"])
    monkeypatch.chdir(tmp_path)
    app = AppTest.from_file(str(HOME), default_timeout=PATIENCE).run()
    quiet(app)
    assert app.selectbox(key="door-table").options == ["mine/collection.csv"]
    assert app.selectbox(key="door-index").options == ["shelf/beetles"]
    press(app, "Open this index")
    quiet(app)
    assert "10 specimens" in shown(app)
    press(app, "Open something else")
    press(app, "Open this table")
    quiet(app)
    assert "Draw a support" in shown(app)
    assert "indexes/mine" not in shown(app)  # Nothing is built without a support.


def test_what_a_door_opened_and_is_gone_is_named(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(table.parent, tmp_path / "mine")
    monkeypatch.setattr(sys, "argv", ["Home.py"])
    monkeypatch.chdir(tmp_path)
    app = AppTest.from_file(str(HOME), default_timeout=PATIENCE).run()
    press(app, "Open this table")
    quiet(app)
    shutil.move(tmp_path / "mine", tmp_path / "yours")
    app.run()
    assert "There is no file or folder `mine/collection.csv`" in shown(app)
    press(app, "Open something else")
    quiet(app)
    assert app.selectbox(key="door-table").options == ["yours/collection.csv"]
    again = AppTest.from_file(str(HOME), default_timeout=PATIENCE)
    again.query_params["open"] = "mine/collection.csv"
    again.run()
    assert "`mine/collection.csv`, which is not here" in shown(again)
    assert again.selectbox(key="door-table").options == ["yours/collection.csv"]


def test_after_the_first_build_the_next_step_is_offered(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["Home.py"])
    monkeypatch.chdir(table.parent)
    app = AppTest.from_file(str(HOME), default_timeout=PATIENCE).run()
    press(app, "Open this table")
    (build,) = [button for button in app.button if button.label == "Build the index"]

    def build_at_once(words: list[str], **how: Any) -> Any:
        if "--output" not in words:
            return start(words, **how)
        build_fake(table, Path(words[words.index("--output") + 1]))
        done = start([sys.executable, "-c", ""])
        done.wait()
        return done

    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", build_at_once)
    build.click().run()
    quiet(app)
    monkeypatch.undo()
    monkeypatch.setattr(sys, "argv", ["Home.py"])
    monkeypatch.chdir(table.parent)
    app.run()
    quiet(app)
    assert [link.proto.label for link in app.get("page_link")] == [
        "Search by a trait", "Review the least certain masks", "See what was found",
    ]  # fmt: skip
    press(app, "Close")
    assert not app.get("page_link")


def test_with_no_index_at_all_the_demo_drawer_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["Home.py"])
    monkeypatch.chdir(tmp_path)
    app = AppTest.from_file(str(HOME), default_timeout=PATIENCE).run()
    assert not app.exception
    assert app.button[0].label == "Build the demo drawer"


def test_several_indexes_are_offered(ten: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wasps", "bees"):
        shutil.copytree(ten / "index", tmp_path / name)
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path)])
    app = AppTest.from_file(str(HOME), default_timeout=PATIENCE).run()
    quiet(app)
    assert app.sidebar.selectbox(key="index").options == ["bees", "wasps"]


def test_an_index_that_is_gone_is_not_replaced_by_another(
    ten: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("wasps", "bees", "flies"):
        shutil.copytree(ten / "index", tmp_path / name)
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path)])
    app = opened("review", index="wasps")
    quiet(app)
    shutil.move(tmp_path / "wasps", tmp_path.parent / "wasps")
    press(app, "Accept")  # Of a mask that the bees have, too.
    assert "is no longer there" in app.error[0].value
    assert not any((tmp_path / name / "reviews" / "decisions.jsonl").exists() for name in ("bees", "flies"))
    app.run()
    assert "There is no index 'wasps' here" in shown(app)
    app.run()
    assert "There is no index 'wasps' here" in shown(app)
    assert '<a href="?index=flies" target="_self">flies</a>' in shown(app)
    again = opened("search", index="wasps")
    assert "There is no index 'wasps' here" in shown(again)
    shutil.move(tmp_path.parent / "wasps", tmp_path / "wasps")
    again.run()
    quiet(again)
    assert again.sidebar.selectbox(key="index").value == "wasps"


def test_an_index_that_comes_or_goes_does_not_take_the_place_of_the_only_one(
    ten: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ten / "index", tmp_path / "wasps")
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path)])
    app = opened("review")
    quiet(app)
    shutil.copytree(ten / "index", tmp_path / "bees")  # Before the wasps in every list.
    press(app, "Accept")
    quiet(app)
    assert app.sidebar.selectbox(key="index").value == "wasps"
    assert (tmp_path / "wasps" / "reviews" / "decisions.jsonl").exists()
    shutil.rmtree(tmp_path / "wasps")
    press(app, "Accept")
    assert "is no longer there" in app.error[0].value
    app.run()
    assert "There is no index 'wasps' here" in shown(app)
    assert not (tmp_path / "bees" / "reviews" / "decisions.jsonl").exists()


LACKING = '{"format": "sst-retrieval index", "schema": 1, "generation": null}'


@pytest.mark.parametrize(
    ("file", "content"),
    [("manifest.json", "{"), ("manifest.json", LACKING), ("reviews/decisions.jsonl", "nonsense\n")],
)
def test_a_broken_index_is_explained(
    master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: str
) -> None:
    shutil.copytree(master / "indexes" / "fakes", tmp_path / "broken")
    (tmp_path / "broken" / file).parent.mkdir(exist_ok=True)
    (tmp_path / "broken" / file).write_text(content)
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path / "broken")])
    app = AppTest.from_file(str(HOME), default_timeout=PATIENCE).run()
    assert not app.exception
    assert len(app.error) == 1
    assert file.rsplit("/", maxsplit=1)[-1] in app.error[0].value


def test_a_decision_that_cannot_be_written_is_not_lost_silently(index: Path) -> None:
    app = opened("review")
    (index / "reviews").mkdir(exist_ok=True)
    lock = index / "reviews" / ".lock"
    lock.unlink(missing_ok=True)
    lock.mkdir()  # Nobody may write here; a missing permission would not stop an administrator.
    try:
        app.text_input(key="reviewer").input("Mary").run()
        next(button for button in app.button if button.label == "Accept").click().run()
        assert not app.exception
        assert "the decision was not kept" in app.error[0].value
        app.toggle(key="review-grid").set_value(True).run()
        next(button for button in app.button if button.label.startswith("Accept ")).click().run()
        assert not app.exception
        assert ["the decision was not kept" in error.value for error in app.error] == [True]
    finally:
        lock.rmdir()


def test_photographs_that_are_gone_are_explained(master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = a_collection_of(tmp_path / "collection")
    build_fake(table, tmp_path / "index")
    shutil.rmtree(tmp_path / "collection" / "images")
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path / "index")])
    quiet(opened(specimen="r1", trait="spot"))  # The index has small pictures of its own.
    app = opened("review")
    quiet(app)
    # Of the mask that is shown, not of those that are fetched ahead as well.
    assert ["is no longer at" in each.value for each in app.warning] == [True]
    app = opened("annotate")
    app.selectbox(key="annotate-specimen").set_value("r1").run()
    assert "build again, with --images" in app.error[0].value


# --------------------------------------------------------------------------------------------------------- pieces


def test_the_app_uses_public_names_only() -> None:
    used = set()
    for path in [HOME, *HOME.parent.glob("sst_app/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sst_retrieval"):
                pytest.fail(f"{path} imports from {node.module}; the app uses sst_retrieval's public names")
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sst":
                used.add(node.attr)
    assert used
    assert used <= set(sst.__all__)


@pytest.mark.parametrize("module", ["captions", "filters", "host_check", "json_values", "markdown"])
def test_examples_in_docstrings(module: str) -> None:
    done = doctest.testmod(importlib.import_module(f"sst_app.{module}"))
    assert done.attempted
    assert not done.failed


def test_counts_and_predicates_agree(index: Path) -> None:
    from sst_app.filters import build_predicate, count_words, find_facets, select_rows

    with sst.open_index(index) as opened_index:
        table = opened_index.table("spot")
        kinds = {facet.column: facet for facet in find_facets(table, opened_index.columns)}
        assert {"sex", "eventDate", "group"} <= set(kinds)
        chosen = {"sex": ["female"], "eventDate": (datetime.date(1902, 1, 1), datetime.date(1907, 1, 1))}
        where = build_predicate(chosen, kinds)
        expected = set(table[select_rows(table, chosen, kinds) & table["sst:present"]]["sst:specimen"])
        hits = {hit.individual for hit in opened_index.search(like=("b0", "spot"), k=99, where=where)}
        assert hits == expected - {"b0"}
        assert hits
        number = count_words(table, kinds["sex"], chosen, kinds)
        assert number["female"] == int(select_rows(table, chosen, kinds).sum())


def test_words_with_quotes_stay_words() -> None:
    from sst_app.filters import Facet, build_predicate

    kinds = {'a "b"': Facet('a "b"', "words")}
    assert build_predicate({'a "b"': ["O'Hara"]}, kinds) == '"a ""b""" IN (\'O\'\'Hara\')'


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (40, 600), (0, 4)])
def test_label_maps_come_back_from_their_runs(size: tuple[int, int]) -> None:
    from sst_app.label_runs import decode_runs, encode_runs

    rng = np.random.default_rng(0)
    for most in (1, 2, 256):
        labels = rng.integers(0, most, size, dtype=np.uint8)
        labels[:, size[1] // 2 :] = 0
        if labels.size:
            assert np.array_equal(decode_runs(encode_runs(labels), size), labels)


def test_what_is_no_label_map_is_refused() -> None:
    from sst_app.label_runs import decode_runs, encode_runs

    good = encode_runs(np.zeros((4, 4), dtype=np.uint8))
    assert not decode_runs(good, (4, 4)).any()
    for bad in ("", "!", "AA==", good[:-4], encode_runs(np.zeros((4, 5), dtype=np.uint8)), "gA==", "//////////////8="):
        with pytest.raises(sst.QueryError, match="load the page again"):
            decode_runs(bad, (4, 4))


def test_the_smaller_of_two_masks_covers_the_larger() -> None:
    from sst_app.label_runs import join_masks, split_masks

    wing, spot = np.zeros((6, 6), dtype=bool), np.zeros((6, 6), dtype=bool)
    wing[1:5], spot[2:4, 2:4] = True, True
    apart = split_masks(join_masks({"spot": spot, "wing": wing}, ["spot", "wing"], (6, 6)), ["spot", "wing", "none"])
    assert set(apart) == {"spot", "wing"}
    assert np.array_equal(apart["spot"], spot)
    assert np.array_equal(apart["wing"], wing & ~spot)


def test_drafts_that_are_damaged_or_of_something_else_are_not_shown(own_drafts: Path) -> None:
    from sst_app import drafts

    draft = drafts.Draft("v", 3, ("wing",), "AAE=", (1, 1), "None", "2026-01-01T00:00:00")
    drafts.write(("annotate", "here", "r1"), draft)
    assert drafts.read(("annotate", "here", "r1")) == draft
    assert drafts.read(("annotate", "here", "r2")) is None
    (path,) = (own_drafts / "sst-retrieval" / "drafts").iterdir()
    whole = path.read_text()
    for text in ("", "{}", "[]", whole[:-9], whole.replace('"size": [1, 1]', '"size": 1'), whole.replace("r1", "r3")):
        path.write_text(text)
        assert drafts.read(("annotate", "here", "r1")) is None
    drafts.remove(("annotate", "here", "r1"))
    assert not path.exists()


def test_a_drawing_is_kept_in_the_session_if_it_cannot_be_on_disk(
    index: Path, own_drafts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_drafts / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(own_drafts / "file"))
    app = opened("annotate")
    app.selectbox(key="annotate-specimen").set_value("r3").run()
    press(app, "what the program found")
    quiet(app)
    assert "Drawings are not kept until they are saved" in shown(app)
    assert "**Drawn**: " in shown(app)


def test_the_collections_columns_stand_beside_ours_in_the_table_of_hits() -> None:
    from sst_app.downloads import build_hit_table

    about = {"Colour": "dark brown", "sex": "female"}
    hit = sst.Hit(1, "r1", "spot", 0.8, {"pattern": 0.9, "colour": 0.7}, 0.95, about, 3)
    row = build_hit_table([hit]).iloc[0]
    assert (row["Colour"], row["sst:colour"], row["pattern"], row["sex"]) == ("dark brown", 0.7, 0.9, "female")


def test_typed_ids_come_first() -> None:
    from sst_app.specimen_picker import find_specimens

    table = pd.DataFrame({"sst:specimen": ["ab1", "b1"], "sst:search": ["ab1 panama", "b1 panama"]})
    assert find_specimens(table, "b1") == ["b1", "ab1"]
    assert find_specimens(table, "PANAMA ab") == ["ab1"]
    assert find_specimens(table, "peru") == []


def test_accents_need_not_be_typed() -> None:
    from sst_app.current_index import make_specimen_table
    from sst_app.specimen_picker import find_specimens

    row = sst.Photograph("K1", Path("k.jpg"), "beetles", {"name": "K\u00e4fer", "place": "\u00cele-de-France"})
    table = make_specimen_table([row])
    for words in ("kafer", "K\u00e4fer", "Ka\u0308fer ile", "KAFER"):
        assert find_specimens(table, words) == ["K1"]


def test_no_hits_say_which_part_leaves_none(index: Path) -> None:
    app = opened("search", specimen="b1", trait="spot", sentence="similar spots of females", **{"f.group": '["red"]'})
    quiet(app)
    app.multiselect(key="f.sex").set_value(["male"]).run()
    quiet(app)
    assert "No specimen fulfils" in shown(app)
    assert "without the filters: " in shown(app)
    assert "without *sex = female*: " in shown(app)


# ------------------------------------------------------------------------------- reviews that become supports


@pytest.fixture
def own(master: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A collection and an index of one's own, whose builds may be started from the app."""
    table = a_collection_of(tmp_path / "collection")
    build_fake(table, tmp_path / "index")
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path / "index")])
    # The fakes are somebody's own models, which the app never runs by itself; here they stand for the program's.
    monkeypatch.setattr("sst_retrieval.PROPAGATORS", {FAKES.propagator: ""}, raising=False)
    monkeypatch.setattr("sst_retrieval.EMBEDDERS", {FAKES.embedder: ""}, raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """The processes that the app starts, so that a test can wait for their end."""
    found: Started = []
    start = subprocess.Popen

    def starting(*words: Any, **how: Any) -> subprocess.Popen[bytes]:
        found.append(start(*words, **how))
        return found[-1]

    monkeypatch.setattr(subprocess, "Popen", starting)
    return found


def test_an_index_that_does_not_say_where_it_came_from_is_reviewed_all_the_same(own: Path) -> None:
    manifest = own / "index" / "manifest.json"
    about = without_checksums(own / "index")
    del about["generation"]["provenance"]["supports_folder"]
    manifest.write_text(json.dumps(about), encoding="utf-8")
    with sst.open_index(own / "index") as before:
        before.review("r3", "spot", "accept", reviewer="Mary")
    for page in ("review", "collection"):
        app = opened(page)
        quiet(app)
        assert "does not say where its supports lie" in shown(app)
    assert "Accept" in [button.label for button in opened("review").button]


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def test_an_accepted_specimen_becomes_a_support_and_its_group_is_propagated_again(own: Path, started: Started) -> None:
    with sst.open_index(own / "index") as before:
        for trait in ("spot", "bar"):
            before.review("r3", trait, "accept", reviewer="Mary")
        mask = before.mask("r3", "spot")
    app = opened("review")
    press(app, "Make it a support")
    quiet(app)
    assert np.array_equal(sst.read_labels(own / "collection" / "supports" / "r3.png") == 7, mask)
    assert "sst-retrieval build" in "\n".join(code.value for code in app.code)
    press(app, "Propagate red again")
    quiet(app)
    (build,) = started
    assert build.wait(PATIENCE) == 0
    app.run()
    quiet(app)
    assert "The build is done" in shown(app)
    assert sst.index_state(own / "index")[0] == 2
    with sst.open_index(own / "index") as after:
        made = after.info()["provenance"]
        assert made["settings"]["groups"] == ["red"]
        assert [each["specimen"] for each in made["supports"]] == ["r0", "r3", "b0"]
        assert (made["photographs"]["processed"], made["photographs"]["reused"]) == (5, 5)
        assert {review.trait for review in after.reviews()} == {"spot", "bar"}
    assert "Propagate red again" not in [button.label for button in app.button]


def test_a_folder_of_supports_that_is_gone_is_not_made_anew(own: Path) -> None:
    with sst.open_index(own / "index") as before:
        before.review("r3", "spot", "accept", reviewer="Mary")
    supports = own / "collection" / "supports"
    for kind, text in (("gone", "is not there: it was renamed, moved or removed"), ("file", "are in one file")):
        supports.rename(own / "kept")
        if kind == "file":
            supports.write_text("<annotations/>")
        for page in ("annotate", "review"):
            app = opened(page)
            if page == "annotate":
                app.selectbox(key="annotate-specimen").set_value("r3").run()
            quiet(app)
            assert text in shown(app)
            assert not {button.label for button in app.button} & {"Save the support", "Make it a support"}
        supports.unlink(missing_ok=True)
        assert not supports.exists()
        (own / "kept").rename(supports)
    app = opened("annotate")
    app.selectbox(key="annotate-specimen").set_value("r3").run()
    assert "Save the support" in {button.label for button in app.button}


def test_a_trait_that_nobody_decided_on_is_named(own: Path) -> None:
    with sst.open_index(own / "index") as index:
        index.review("r3", "spot", "accept", reviewer="Mary")
    app = opened("review")
    assert "Nobody has decided about bar yet" in shown(app)


def test_a_build_that_fails_says_why(own: Path, started: Started) -> None:
    (own / "collection" / "supports" / "r3.png").write_bytes(b"no picture")
    app = opened("collection")
    press(app, "Build now")
    (build,) = started
    assert build.wait(PATIENCE) != 0
    app.run()
    assert "stopped with an error" in shown(app)
    assert any("r3.png" in code.value for code in app.code)
    press(app, "Close")
    assert "stopped with an error" not in shown(app)


# ------------------------------------------------------------------------------- a collection that has no index yet


def test_the_first_supports_of_a_collection_are_drawn_and_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Started
) -> None:
    table = a_collection_of(tmp_path / "museum", [("r0", "red"), ("r1", "red"), ("b0", "blue")])
    truth = {name: (tmp_path / "museum" / "labels" / f"{name}.png").read_bytes() for name in ("r0", "b0")}
    shutil.rmtree(tmp_path / "museum" / "supports")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(sys, "argv", ["Home.py", str(table)])
    app = AppTest.from_file(str(HOME), default_timeout=PATIENCE).run()
    quiet(app)
    assert "red (no support yet)" in app.selectbox(key="annotate-group").options
    app.selectbox(key="annotate-group").set_value("red").run()
    app.button(key="draw-r0").click().run()
    quiet(app)
    assert "Which traits do you want to find?" in shown(app)
    app.text_input[1].input("spot")
    press(app, "Add")
    quiet(app)
    for name in truth:
        app.selectbox(key="annotate-group").set_value("every group").run()
        app.selectbox(key="annotate-specimen").set_value(name).run()
        picture = Image.open(io.BytesIO(truth[name])).point([255 * (number == 7) for number in range(256)])
        file = io.BytesIO()
        picture.save(file, "PNG")
        app.file_uploader(key=f"annotate-upload-{name}").set_value(("mask.png", file.getvalue(), "image/png")).run()
        press(app, "Save the support")
        quiet(app)
    labels = sst.read_labels(tmp_path / "museum" / "supports" / "r0.png")
    assert np.array_equal(labels == 1, np.asarray(Image.open(io.BytesIO(truth["r0"]))) == 7)
    press(app, "Build the index")
    quiet(app)
    (build,) = started
    assert build.wait(PATIENCE) == 0
    assert sst.index_state(tmp_path / "indexes" / "museum")[0] == 1
    again = AppTest.from_file(str(HOME), default_timeout=PATIENCE).run()
    quiet(again)
    assert "3 specimens, 1 trait" in shown(again)


def test_a_table_that_cannot_be_read_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "collection.csv").write_text("nothing\n")
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path / "collection.csv")])
    app = AppTest.from_file(str(HOME), default_timeout=PATIENCE).run()
    assert not app.exception
    assert "collection.csv" in app.error[0].value


def test_a_table_names_pictures_of_its_own_folder_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = a_collection_of(tmp_path / "museum")
    Image.new("RGB", (60, 40)).save(tmp_path / "private.png")
    table.write_text(table.read_text().replace("images/r0.png", str(tmp_path / "private.png")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["Home.py", str(table)])
    app = AppTest.from_file(str(HOME), default_timeout=PATIENCE).run()
    app.selectbox(key="annotate-specimen").set_value("r0").run()
    assert "not opened" in app.error[0].value
    monkeypatch.setattr(sys, "argv", ["Home.py", str(table), "--images", str(tmp_path)])
    app.run()
    quiet(app)


# ------------------------------------------------------------------------------------------- forms of a question


def names(app: AppTest) -> list[str]:
    """The specimens on the light table, in their order."""
    found = [tile["id"] for tile in read_tiles(app)]
    assert found
    return found


def test_hits_are_added_to_the_question_and_taken_away(index: Path) -> None:
    app = opened(specimen="r1", trait="spot")
    first, *_, last = names(app)
    act(app, "like", first).run()
    act(app, "unlike", last).run()
    quiet(app)
    with sst.open_index(index) as opened_index:
        like, unlike = [("r1", "spot"), (first, "spot")], [(last, "spot")]
        expected = [hit.individual for hit in opened_index.search(like=like, unlike=unlike, k=20)]
    assert names(app) == expected
    assert f"Asked: like spot of r1 and spot of {first}, unlike spot of {last}." in shown(app)
    assert f'["{first}", "spot"]' in app.query_params["like"]
    # The same link shows the same hits.
    link = {"specimen": "r1", "trait": "spot", "like": app.query_params["like"], "unlike": app.query_params["unlike"]}
    again = opened("search", **link)
    assert names(again) == expected
    app.button(key=f"drop-unlike-{last}-spot").click().run()
    assert last in names(app)
    next(button for button in app.button if button.label == "Only the first example").click().run()
    assert first in names(app)


def test_two_traits_at_once(index: Path) -> None:
    app = opened(specimen="r1", trait="spot")
    next(pills for pills in app.get("button_group") if pills.key == "together").set_value(["bar"]).run()
    quiet(app)
    with sst.open_index(index) as opened_index:
        hits = opened_index.search(like=[("r1", "spot"), ("r1", "bar")], k=20)
    assert names(app) == [hit.individual for hit in hits]
    assert not any(name.startswith("b") for name in names(app))  # The blue ones have no bar.
    app.slider(key="shape").set_value(0.0).run()
    quiet(app)


@pytest.mark.parametrize("text", ["nonsense", "[]", '["r1"]', '["r1", "tail"]', '{"a": 1}', "3", '[["r1"], "spot"]'])
def test_examples_of_a_link_that_make_no_sense_are_left_out(index: Path, text: str) -> None:
    app = opened("search", specimen="r1", trait="spot", like=text)
    quiet(app)
    assert "Asked:" not in shown(app)


def test_an_example_that_is_not_there_is_explained_and_can_be_taken_away(index: Path) -> None:
    app = opened("search", specimen="r1", trait="spot", unlike='["r99", "spot"]')
    assert not app.exception
    assert "r99" in app.error[0].value
    app.button(key="drop-unlike-r99-spot").click().run()
    quiet(app)
    assert names(app)


def test_a_sentence_goes_with_several_examples(index: Path) -> None:
    app = opened("search", specimen="r1", trait="spot", like='["r2", "spot"]', sentence="similar spots of females")
    quiet(app)
    with sst.open_index(index) as opened_index:
        hits = opened_index.search(like=[("r1", "spot"), ("r2", "spot")], where="sex = 'female'", k=20)
    assert names(app) == [hit.individual for hit in hits]


# ------------------------------------------------------------------------------------------- while a build is at work


@pytest.fixture
def at_work(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """An index whose second build is kept waiting in the middle: the collection has grown by one photograph."""
    specimens = [(f"r{number}", "red") for number in range(6)]
    table = a_collection_of(tmp_path / "collection", specimens[:5])
    build_fake(table, tmp_path / "index")
    a_collection_of(tmp_path / "collection", specimens)
    code = "import sys; from pathlib import Path; from fakes import build_fake; build_fake(*map(Path, sys.argv[1:]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    environment["FAKE_TRACKER"] = "stop:1"
    words = [sys.executable, "-c", code, str(table), str(tmp_path / "index")]
    with subprocess.Popen(words, env=environment) as process:
        try:
            os.waitpid(process.pid, os.WUNTRACED)  # It has stopped itself at its photograph.
            yield tmp_path / "index", process
        finally:
            process.send_signal(signal.SIGCONT)


def test_the_app_opens_while_a_build_is_at_work(
    at_work: tuple[Path, subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, process = at_work
    monkeypatch.setattr(sys, "argv", ["Home.py", str(path)])
    app = opened(specimen="r1", trait="spot")
    quiet(app)
    assert set(names(app)) == {"r0", "r2", "r3", "r4"}
    for page in ("review", "collection", "morphospace"):
        quiet(opened(page))
    process.send_signal(signal.SIGCONT)
    assert process.wait(timeout=PATIENCE) == 0
    app.run()
    quiet(app)
    assert set(names(app)) == {"r0", "r2", "r3", "r4", "r5"}


def test_what_a_sentence_says_of_the_weights_moves_the_sliders(index: Path) -> None:
    app = opened(specimen="r1", trait="spot")
    alike = names(app)
    app.text_input(key="sentence").set_value("similar in colour").run()
    quiet(app)
    assert {block: app.slider(key=block).value for block in ("pattern", "colour", "shape")} == {
        "pattern": 0.0, "colour": 1.0, "shape": 0.0,
    }  # fmt: skip
    with sst.open_index(index) as there:
        wanted = [hit.individual for hit in there.search(like=("r1", "spot"), k=12, weights={"colour": 1})]
    assert names(app) == wanted != alike
    # The person has the last word, and a link of what is shown brings it back.
    app.slider(key="shape").set_value(0.5).run()
    assert app.slider(key="shape").value == 0.5
    again = opened(specimen="r1", trait="spot", sentence="similar in colour", pattern="0", shape="0.5")
    assert again.slider(key="shape").value == 0.5
    app.text_input(key="sentence").set_value("").run()
    assert [app.slider(key=block).value for block in ("pattern", "colour", "shape")] == [1.0, 1.0, 1.0]
    assert names(app) == alike


def test_what_a_sentence_asks_in_vain_is_said(index: Path) -> None:
    app = opened(specimen="b1", trait="spot", sentence="bars of males")
    quiet(app)
    assert "The sentence names bar, but compared is **spot**" in shown(app)
    app = opened(specimen="r1", trait="spot", sentence="largest spots")
    assert "*largest* orders nothing here" in shown(app)
    app = opened(sentence="largest spots")
    assert "orders nothing" not in shown(app)
