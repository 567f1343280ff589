"""R reads what is exported: `examples/read_exports.R` runs, where R and ape are installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
from pairs import TREE, an_index_of_pairs
from typer.testing import CliRunner

from sst_retrieval.cli import app

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "read_exports.R"


def has_ape() -> bool:
    if shutil.which("Rscript") is None:
        return False
    return subprocess.run(["Rscript", "-e", "library(ape)"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_ape(), reason="R with ape is not installed (Debian: r-base-core r-cran-ape r-cran-jpeg)")
def test_r_reads_the_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    an_index_of_pairs(tmp_path / "index")
    (tmp_path / "tree.nwk").write_text(TREE)
    for words in (
        "table index traits.csv --trait band",
        "table index traits.parquet --trait band",
        "outlines index outlines.tps --trait band",
        "outlines index silhouettes --trait band",
        "characters index characters.csv --by scientificName --tree tree.nwk",
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # A tip of the tree without specimens.
            done = CliRunner().invoke(app, ["export", *words.split()])
        assert done.exit_code == 0, done.output
    words = ["traits.csv", "outlines.tps", "characters.csv", "tree.nwk", "traits.parquet", "silhouettes"]
    said = subprocess.run(["Rscript", str(SCRIPT), *words], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "regions: 12 species: 3" in said.stdout
    assert "outlines: 24 of 128 points" in said.stdout
    correlation = re.search(r"measured areas: ([-0-9.e]+)", said.stdout)
    assert correlation is not None
    assert float(correlation[1]) > 0.9
    assert "on 3 species" in said.stdout
    assert re.search(r"parquet: (12 rows, the same areas|neither)", said.stdout)
    assert re.search(r"silhouettes: (24 with a black middle|the package)", said.stdout)
