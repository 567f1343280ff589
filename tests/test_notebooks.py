"""The notebooks run from the first cell to the last, on a small drawer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FEWER = ("SPECIMENS = 45", "SPECIMENS = 18")


def read(name: str) -> Any:
    nbformat = pytest.importorskip("nbformat")
    return nbformat.read(EXAMPLES / name, as_version=4)


@pytest.mark.parametrize("name", ["quickstart.ipynb", "mimicry.ipynb"])
def test_notebooks_are_stored_without_outputs(name: str) -> None:
    for cell in read(name).cells:
        assert not cell.get("outputs"), "clear the outputs before you commit"


def test_the_notebooks_run_one_after_the_other(tmp_path: Path) -> None:
    pytest.importorskip("ipykernel")
    nbclient = pytest.importorskip("nbclient")
    quickstart = read("quickstart.ipynb")
    (settings,) = [cell for cell in quickstart.cells if FEWER[0] in cell.source]
    settings.source = settings.source.replace(*FEWER)
    run(nbclient, quickstart, tmp_path)
    mimicry = read("mimicry.ipynb")
    run(nbclient, mimicry, tmp_path)
    said = "".join(output.get("text", "") for cell in mimicry.cells for output in cell.get("outputs", ()))
    assert "pairs were drawn as mimics" in said
    assert "#NEXUS" in said
    pictures = [
        output
        for cell in (*quickstart.cells, *mimicry.cells)
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 3


def run(nbclient: Any, notebook: Any, folder: Path) -> None:
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
