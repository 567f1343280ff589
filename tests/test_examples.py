"""The examples: the one in Python runs, the one for R gets the files, columns and names that it reads."""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from ktch.io import read_tps
from pairs import SPECIES, TREE, an_index_of_pairs
from typer.testing import CliRunner

from sst_retrieval.cli import app

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_mimicry_on_an_index(tmp_path: Path) -> None:
    an_index_of_pairs(tmp_path / "index")
    words = ["--index", "index", "--trait", "band", "--output", "out"]
    script = [sys.executable, "-W", "error::UserWarning", str(EXAMPLES / "mimicry.py"), *words]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=True)
    first = next(line for line in done.stdout.splitlines() if line.startswith("  1 "))
    assert first.endswith("Aus albus / Bus rubens")
    for name in ("morphospace.png", "distances.png", "traits.csv", "distances.nex"):
        assert (tmp_path / "out" / name).stat().st_size > 300


def test_the_script_for_r_finds_what_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    an_index_of_pairs(tmp_path / "index")
    (tmp_path / "tree.nwk").write_text(TREE)
    script = (EXAMPLES / "phylogeny.R").read_text()
    commands = re.findall(r"^#\s+sst-retrieval (export .+)$", script, flags=re.MULTILINE)
    assert len(commands) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # A tip without specimens.
        for command in commands:
            words = shlex.split(command.replace("INDEX", "index").replace("forewing_band", "band"))
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, done.output
    read = set(re.findall(r'read(?:\.tree|\.csv|land\.tps)\("([^"]+)"', script))
    assert read == {"tree.nwk", "characters.csv", "outlines.tps", "traits.csv"}
    assert [name for name in read if not (tmp_path / name).is_file()] == []
    with (tmp_path / "characters.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    tips = {name.replace(" ", "_") for name in SPECIES}
    assert {row["scientificName"] for row in rows} == tips  # read.csv(row.names = "scientificName")
    assert {"band.area_px", "band.area_mm2"} & rows[0].keys()
    assert "band.lightness_mean" in rows[0]
    with (tmp_path / "traits.csv").open(newline="") as file:
        owners = {row["specimen"]: row["scientificName"].replace(" ", "_") for row in csv.DictReader(file)}
    outlines = read_tps(tmp_path / "outlines.tps")
    left = [each for each in outlines if re.search("__left$", each.specimen_name)]
    assert len(left) == len(owners) == 12
    assert {owners[re.sub("__left$", "", each.specimen_name)] for each in left} == tips
    assert len({each.to_numpy().shape for each in outlines}) == 1
