"""An untrusted index: its names are shown as they are, never interpreted as images, links or HTML."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fakes import a_collection_of, build_fake
from light_table import act
from streamlit.testing.v1 import AppTest

HOME = Path(__file__).resolve().parents[2] / "app" / "Home.py"
if str(HOME.parent) not in sys.path:
    sys.path.append(str(HOME.parent))

from sst_app.markdown import WORD_JOINER, escape_md, format_code  # noqa: E402

TRAP = "![x](y.png)"
"""Markdown for a picture; a stranger's would lie on a computer of theirs."""

SHOWN_AS_IT_IS = {"arrow_data_frame", "code", "html", "imgs_url", "json", "arrow_vega_lite_chart", "bidi_component"}
NEVER_SHOWN = {
    "id",
    "key",
    "url",
    "default",
    "value",
    "raw_values",
    "set_value",
    "placeholder",
    "form_id",
    "element_id",
    "alt",  # Of a picture: an attribute, which is text.
}
PLAIN_OPTIONS = {"selectbox", "multiselect"}


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index whose specimens, column and words are all traps."""
    folder = tmp_path_factory.mktemp("stranger")
    names = [(f"{TRAP}{group[0]}{number}", group) for group in ("red", "blue") for number in range(5)]
    table = a_collection_of(folder / "collection", names)
    rows = pd.read_csv(table)
    rows[f"column {TRAP}"] = [f"word {TRAP}{number % 2}" for number in range(len(rows))]
    rows["scientificName"] = f"Genus {TRAP}"
    rows.to_csv(table, index=False)
    build_fake(table, folder / "index")
    return folder / "index"


@pytest.fixture
def opened(trap: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    monkeypatch.setattr(sys, "argv", ["Home.py", str(trap)])
    yield AppTest.from_file(str(HOME), default_timeout=120)
    (trap / "reviews" / "decisions.jsonl").unlink(missing_ok=True)


def read_as_markdown(app: AppTest) -> list[str]:
    """Return all text that the browser takes for Markdown."""
    found: list[str] = []

    def walk(message: Any, kind: str) -> None:
        for field, value in message.ListFields():
            if field.name in NEVER_SHOWN or (field.name == "options" and kind in PLAIN_OPTIONS):
                continue
            several = list(value) if field.is_repeated else [value]
            if field.message_type is not None and not field.message_type.GetOptions().map_entry:
                for each in several:
                    walk(each, kind)
            elif field.type == field.TYPE_STRING:
                found.extend(several)

    for each in app._tree:
        proto = getattr(each, "proto", None)
        if proto is not None and each.type not in SHOWN_AS_IT_IS:
            walk(proto, each.type)
    return found


def test_names_are_no_markdown_on_any_page(opened: AppTest) -> None:
    name = f"{TRAP}r1"
    seen = read_as_markdown(opened.run())  # Thumbnails to choose from.
    seen += read_as_markdown(opened.button(key=f"pick-{name}").click().run())
    seen += read_as_markdown(act(opened, "like", f"{TRAP}r2").run())
    assert not opened.exception
    for hit in (f"{TRAP}r0", f"{TRAP}r3"):
        act(opened, "tick", hit)
    seen += read_as_markdown(opened.run())
    seen += read_as_markdown(act(opened, "details", f"{TRAP}r0").run())
    for page in ("annotate", "review", "collection", "morphospace"):
        seen += read_as_markdown(opened.switch_page(f"sst_app/pages/{page}.py").run())
        assert [each.value for each in (*opened.exception, *opened.error)] == [], page
    opened.switch_page("sst_app/pages/review.py").run()
    opened.text_input(key="reviewer").input(TRAP).run()
    seen += read_as_markdown(next(each for each in opened.button if each.label == "Accept").click().run())
    opened.selectbox(key="review-status").select("accepted").run()
    seen += read_as_markdown(opened)
    seen = [re.sub("`[^`]*`", "", text) for text in seen]  # Nothing is read inside code.
    assert [text for text in seen if re.search(r"(?<!\\)\[x", text)] == []
    assert sum(r"\[x" in text for text in seen) > 20, "the names were not seen at all"


def test_a_link_that_names_a_picture_is_shown_as_it_is(opened: AppTest) -> None:
    opened.query_params["specimen"] = TRAP
    seen = read_as_markdown(opened.run())
    assert any("has no specimen" in text and r"\[x" in text for text in seen)
    assert not any("has no specimen" in text and "![x]" in text for text in seen)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("wing_spot r3 (left) - 1.5", "wing_spot r3 (left) - 1.5"),
        ("_a_ *b* `c` $d$ ~~e~~", r"\_a\_ \*b\* \`c\` \$d\$ \~\~e\~\~"),
        ("<img src=x> &lt;", r"\<img src=x\> \&lt;"),
        ("[a](http://b.c)", rf"\[a\](http:{WORD_JOINER}//b.c)"),
        ("www.b.c a@b.c :bug: :red[x]", rf"www{WORD_JOINER}.b.c a@{WORD_JOINER}b.c :{WORD_JOINER}bug: \:red\[x\]"),
        ("# a", r"\# a"),
        ("1. a\n\n- b", r"1\. a - b"),
        (r"a\[b](c)", r"a\\\[b\](c)"),
    ],
)
def test_what_markdown_would_read_is_escaped(text: str, written: str) -> None:
    assert escape_md(text) == written


@pytest.mark.parametrize(("text", "written"), [("a/b.png", "`a/b.png`"), ("a`b", "`` a`b ``"), ("``", "``` `` ```")])
def test_a_path_stays_code(text: str, written: str) -> None:
    assert format_code(text) == written
