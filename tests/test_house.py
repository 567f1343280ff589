"""`docs/house.md` lists every module as it is; the public names stand where it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_listing_of_the_house_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/list_house.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_at_the_top_stand_at_most_eight_modules() -> None:
    assert len(list((ROOT / "sst_retrieval").glob("*.py"))) <= 8


def test_the_ways_name_functions_that_exist() -> None:
    text = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
    ways = text[text.index("## The way of a photograph") : text.index("## Where to change what")]
    named = {word for word in ways.split("`")[1::2] if word.count(".") >= 2 and " " not in word}
    assert len(named) > 15
    for name in sorted(named):
        package, module, *rest = name.split(".")
        source = (ROOT / "sst_retrieval" / package / f"{module}.py").read_text(encoding="utf-8")
        assert all(f"def {part}(" in source or f"class {part}" in source or part == "search" for part in rest), name
