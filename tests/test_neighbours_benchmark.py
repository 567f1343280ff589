"""benchmarks/bench_neighbours.py: tables of the crossed collection, and answers to queries on other backgrounds."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from fakes import a_collection_of, build_fake

from sst_retrieval.synthetic.crossed import list_truth, plan_crossed
from sst_retrieval.types import BLOCKS

BLOCKS_OF_THREE = dict.fromkeys(BLOCKS, 3)


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "bench_neighbours.py"
    spec = importlib.util.spec_from_file_location("bench_neighbours", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)  # Dataclasses look their module up.
        spec.loader.exec_module(module)
    return module


def test_the_tables_tell_a_trait_that_is_its_truth_from_a_background(
    bench: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = [each for each in plan_crossed(species=2) if each.levels]
    rows = {each.name: list_truth(each) for each in planned}
    described = bench.empty()
    rankings = [bench.Ranking("trait: colour", "trait", BLOCKS_OF_THREE, {"colour": 1.0})]
    rankings += [
        bench.Ranking("trait", "trait", BLOCKS_OF_THREE, {}),
        bench.Ranking("background", "background", {}, {}),
    ]
    for each in planned:
        look = each.looks["forewing"]
        pattern = np.array([look.density, look.breaking, 0]) * 2 - 1
        colour = np.array([*look.lab[1:], 30.0])
        shape = np.array([*each.mixture[:2], 0.3])
        blocks = [block / np.linalg.norm(block) for block in (pattern, colour, shape)]
        described["trait"]["forewing"][each.name] = np.concatenate(blocks).astype(np.float32)
        seen = np.eye(4)[each.sitting.background].astype(np.float32)
        described["background"]["forewing"][each.name] = seen
    bench.print_scores(described, rows, rankings)
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    table = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    tables = {name: [row for row in table if row and row[0] == name] for name in ("trait: colour", "background")}
    precision, correlation, sensitivity = tables["trait: colour"]
    assert float(precision[4]) > 0.95 > 0.4 > float(precision[3])  # By colour, by pattern.
    assert float(correlation[2]) > 0.8
    assert float(sensitivity[2]) > 0.99
    assert {sensitivity[1], sensitivity[3]} <= {f"{value:.3f}" for value in np.arange(0.46, 0.54, 0.001)}
    assert float(tables["background"][2][4]) == 1.0  # Nothing but the background.
    (truth,) = [row for row in table if row and row[0] == "true colour"]
    assert float(truth[4]) == 1.0
    assert float(truth[3]) < 0.4


def test_answers_are_compared_on_grey_and_on_others_photographs(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_fake(a_collection_of(tmp_path), tmp_path / "index")
    (tmp_path / "pictures").mkdir()
    bench.swap_backgrounds(tmp_path / "index", "group", 4, 0, tmp_path / "pictures", ["fakes:FakeEmbedder"])
    out = capsys.readouterr().out
    assert "relevant = same group" in out
    rows = [line.split() for line in out.splitlines() if line.startswith(("grey", "swapped"))]
    assert len(rows) == 2 * (1 + 3 + 2 + 3)
    colour = [row for row in rows if "colour" in row[2]]
    assert all(float(row[3]) > 0.9 for row in colour)  # What is under the mask did not change.
    assert len(list((tmp_path / "pictures").glob("*-swapped.png"))) >= 3
