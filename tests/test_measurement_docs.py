"""The page of measurements leaves none out, and the pages show names and options that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import typer

import sst_retrieval as sst
from sst_retrieval.cli import app
from sst_retrieval.describe.measure import MEASUREMENTS
from sst_retrieval.morphology.scales import IN_MILLIMETRES

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = ("measurements.md", "mimicry.md", "morphology.md")


def test_every_measurement_has_its_unit_formula_and_name_on_the_page() -> None:
    rows = [line for line in (DOCS / "measurements.md").read_text().splitlines() if line.startswith("|")]
    for name, (unit, _) in MEASUREMENTS.items():
        (row,) = [line for line in rows if f"`{name}`" in line.split("|")[1]]
        assert unit.split()[-1].replace("*", "\\*") in row.split("|")[2]
        assert len(row.split("|")[3]) > 10
    text = (DOCS / "measurements.md").read_text()
    assert [name for name, _ in IN_MILLIMETRES.values() if f"`{name}`" not in text] == []
    for word in ("D65", "FA1", "FA2", "FA4a", "FA8a", "mmPerPixel"):
        assert word in text


@pytest.mark.parametrize("page", ["mimicry.md", "morphology.md"])
def test_python_of_the_pages_uses_what_exists(page: str) -> None:
    seen = []
    for block in re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), flags=re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                owner: Any = {"sst": sst, "index": sst.Index}.get(node.value.id)
                if owner is not None:
                    assert hasattr(owner, node.attr), node.attr
                    seen.append(node.attr)
    assert seen


def test_every_export_is_on_the_page() -> None:
    command: Any = typer.main.get_command(app)
    text = (DOCS / "morphology.md").read_text()
    assert [name for name in command.commands["export"].commands if f"`{name}" not in text] == []


def test_links_of_the_pages_lead_somewhere() -> None:
    text = "".join((DOCS / page).read_text() for page in PAGES)
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (DOCS / link).exists()] == []
