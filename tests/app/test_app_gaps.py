"""A collection with gaps in columns of every kind: all that goes to the browser is valid, and nothing is called nan."""

from __future__ import annotations

import datetime
import json
import re
import sys
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from fakes import a_collection_of, build_fake
from light_table import act
from test_app import opened, quiet, shown

import sst_retrieval as sst

SPECIMENS = [(f"{group[0]}{number}", group) for group in ("red", "blue") for number in range(6)]
GAPS: dict[str, list[object]] = {
    "text": ["a", None, "b", "a", None, "c"] * 2,
    "whole": [1, None, 3, 4, None, 6] * 2,
    "broken": [1.5, None, 2.5, -3.25, None, 7.0] * 2,
    "endless": ["1.5", "inf", "2.5", "-inf", None, "3.0"] * 2,
    "yes": ["true", None, "false", "true", None, "false"] * 2,
    "day": ["1901-05-01", None, "1902-05-01", "1903-05-01", None, "1904-05-01"] * 2,
    "moment": ["1901-05-01 10:00:00", None, "1902-05-01 11:30:00", "1903-05-01 12:00:00", None, "1904-05-01 01:02:03"]
    * 2,
    "single": [None] * 11 + [4.5],
    "empty": [None] * 12,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gaps")
    table = a_collection_of(folder / "collection", SPECIMENS)
    rows = pd.read_csv(table)
    for name, values in GAPS.items():
        rows[name] = pd.Series(values, dtype=object)
    rows.loc[[1, 4, 7], "sex"] = None
    rows.to_csv(table, index=False)
    build_fake(table, folder / "index")
    return folder / "index"


@pytest.fixture
def index(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "argv", ["Home.py", str(made)])
    return made


def refuse(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def check_json(value: Any) -> None:
    """Check a text, and the texts inside it, where they are JSON."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            check_json(json.loads(value, parse_constant=refuse))
        except json.JSONDecodeError:
            return
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_json(each)


def check_messages(app: Any) -> None:
    """Check all that is sent to the browser."""

    def walk(message: Any) -> None:
        for field, value in message.ListFields():
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                continue
            for each in value if field.is_repeated else [value]:
                if field.message_type is not None:
                    walk(each)
                elif field.type == field.TYPE_STRING:
                    check_json(each)

    for each in app._tree:
        if getattr(each, "proto", None) is not None:
            walk(each.proto)
    assert not re.search(r"\b(nan|NaN|NaT|<NA>|None)\b", shown(app)), shown(app)


def test_columns_of_every_kind_have_gaps(index: Path) -> None:
    with sst.open_index(index) as there:
        kinds = {there.columns[name] for name in GAPS}
    assert {"VARCHAR", "BIGINT", "DOUBLE", "DATE"} <= kinds


def test_the_morphospace_is_coloured_by_columns_with_gaps(index: Path) -> None:
    app = opened("morphospace")
    options = app.selectbox(key="space-colour").options
    assert {"text", "whole", "broken", "day", "sex"} <= set(options)
    assert len(options) == len(set(options))
    for column in options:
        app.selectbox(key="space-colour").set_value(column).run()
        quiet(app)
        check_messages(app)


@pytest.mark.parametrize("page", ["annotate", "review", "collection"])
def test_pages(index: Path, page: str) -> None:
    app = opened(page)
    quiet(app)
    check_messages(app)


def test_filters_and_details(index: Path) -> None:
    app = opened(specimen="r1", trait="spot")
    quiet(app)
    check_messages(app)
    with sst.open_index(index) as there:
        filtered = [name for name in GAPS if there.columns[name] in ("BIGINT", "DOUBLE", "DATE", "TIMESTAMP")]
    keys = {str(each.key) for each in app.slider}
    assert {f"f.{name}" for name in ("whole", "broken", "day")} <= keys
    for name in filtered:
        if f"f.{name}" in keys:
            slider = app.slider(key=f"f.{name}")
            assert all(map(pd.notna, slider.value))
            low, high = slider.value
            step = datetime.timedelta(days=30) if isinstance(low, datetime.date) else 0.25
            slider.set_value((low + step, high)).run()
            quiet(app)
            check_messages(app)
            app.slider(key=f"f.{name}").set_value((low, high)).run()
            quiet(app)
    act(app, "details", "r2").run()
    quiet(app)
    check_messages(app)
    details = app.dataframe[0].value
    assert not details["value"].str.fullmatch("nan|NaN|NaT|None|<NA>").any()


def test_the_last_day_of_a_range_of_moments_is_in() -> None:
    from sst_app.filters import Facet, build_predicate, select_rows

    table = pd.DataFrame({"moment": pd.to_datetime(["1901-05-01 10:00", "1904-05-01 23:59", "1904-05-02 00:00", None])})
    facets = {"moment": Facet("moment", "dates")}
    chosen = {"moment": (datetime.date(1901, 5, 1), datetime.date(1904, 5, 1))}
    assert select_rows(table, chosen, facets).tolist() == [True, True, False, False]
    assert duckdb.from_df(table).filter(str(build_predicate(chosen, facets))).count("*").fetchall() == [(2,)]


@pytest.mark.parametrize("text", ["[NaN, 2]", "[9, 1]", "[-Infinity, Infinity]", '["a", "b"]', "[1]", "null", "{}"])
def test_a_range_in_a_link_that_makes_no_sense(index: Path, text: str) -> None:
    quiet(opened(specimen="r1", trait="spot", **{"f.whole": text, "f.broken": text, "f.day": text}))


def test_the_group_stands_once_in_every_choice(index: Path) -> None:
    for page, key in (("morphospace", "space-colour"), ("collection", "coverage-by")):
        options = [name.removeprefix("sst:") for name in opened(page).selectbox(key=key).options]
        assert options.count("group") == 1
        assert options[0] == "group"
