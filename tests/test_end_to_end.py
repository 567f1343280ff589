"""The whole road with the real default models, on a few synthetic and a few real specimens."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sst_retrieval.build.pipeline import build_index
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.cli import app
from sst_retrieval.cli.index_scores import score_masks, score_retrieval
from sst_retrieval.imaging.images import read_image, read_labels
from sst_retrieval.search.index import open_index

MIMICS = ("SD-0001", "SD-0002")  # Supports of two species that wear the same pattern.
OTHER = "SD-0006"


def shortened(table: Path, output: Path, keep: Callable[[dict[str, str]], bool]) -> Path:
    """Copy the rows of a table that are to be kept."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if keep(row)]
    with output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return output


def only(supports: Path, folder: Path, specimens: set[str]) -> Path:
    """Copy the supports of some specimens."""
    folder.mkdir()
    for path in supports.iterdir():
        if path.suffix == ".toml" or path.stem in specimens:
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def built(drawer: Path, folder: Path) -> None:
    """Build an index of three species of nine, three specimens each but for the last; keep the report beside it."""
    shutil.copytree(drawer, folder, dirs_exist_ok=True)
    with (folder / "collection.csv").open(newline="") as file:
        species = {row["scientificName"] for row in csv.DictReader(file) if row["catalogNumber"] in (*MIMICS, OTHER)}
    only(folder / "supports", folder / "three", {*MIMICS, OTHER})
    shortened(folder / "collection.csv", folder / "few.csv", lambda row: row["scientificName"] in species)
    report = build_index(folder / "few.csv", folder / "three", folder / "index")
    (folder / "report.json").write_text(json.dumps(report.as_dict()))


@pytest.fixture(scope="session")
def few(once: Callable[[str, Callable[[Path], object]], Path], drawer: Path) -> Path:
    """Folder with a drawer, the supports of three species (`three/`) and their index. Only to read."""
    return once("end-to-end", lambda folder: built(drawer, folder))


def test_all_specimens_are_processed_and_the_propagator_is_named(few: Path) -> None:
    report = json.loads((few / "report.json").read_text())
    assert (report["processed"], report["skipped"]) == (8, {})
    assert report["propagator"].startswith("dense matching")
    assert "not SAM 2" in report["propagator"]


def test_masks_are_where_they_were_drawn(few: Path) -> None:
    with open_index(few / "index") as index:
        assert score_masks(index, few / "labels").mean_iou > 0.8


def test_a_trait_query_finds_the_mimics_before_the_others(few: Path) -> None:
    with open_index(few / "index") as index:
        hits = index.search(like=(MIMICS[0], "forewing_band"), k=8)
        ring = index.individual(MIMICS[0]).metadata["mimicryRing"]
        rings = [hit.metadata["mimicryRing"] for hit in hits]
        assert rings == sorted(rings, key=lambda value: value != ring)
        assert {hit.metadata["scientificName"] for hit in hits if hit.metadata["mimicryRing"] == ring} == {
            index.individual(name).metadata["scientificName"] for name in MIMICS
        }
        assert score_retrieval(index, "mimicryRing").traits["forewing_band"].mean_ap == 1


def test_a_turned_photograph_from_outside_finds_its_twin(few: Path, tmp_path: Path) -> None:
    twin = "SD-0010"
    image, labels = read_image(few / "images" / f"{twin}.jpg"), read_labels(few / "labels" / f"{twin}.png")
    Image.fromarray(np.rot90(image)).save(tmp_path / "photo.png")
    Image.fromarray(np.rot90(labels)).save(tmp_path / "mask.png")
    words = ["--image", str(tmp_path / "photo.png"), "--mask", str(tmp_path / "mask.png"), "--trait", "forewing_band"]
    result = CliRunner().invoke(app, ["search", str(few / "index"), *words, "--json"])
    assert json.loads(result.stdout)[0]["specimen"] == twin


def test_a_second_build_does_nothing_and_exports_agree_with_the_index(few: Path, tmp_path: Path) -> None:
    index_folder = shutil.copytree(few / "index", tmp_path / "index")
    again = build_index(few / "few.csv", few / "three", index_folder)
    assert (again.processed, again.reused) == (0, 8)
    CliRunner().invoke(app, ["export", "masks", str(index_folder), str(tmp_path / "masks")])
    assert np.array_equal(
        read_labels(tmp_path / "masks" / f"{OTHER}.png"), read_labels(few / "labels" / f"{OTHER}.png")
    )
    with open_index(index_folder) as index:
        number = index.trait_numbers["forewing_band"]
        assert np.array_equal(
            read_labels(tmp_path / "masks" / "SD-0011.png") == number, index.mask("SD-0011", "forewing_band")
        )


def test_real_butterflies_are_segmented(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "heliconius"
    with (folder / "collection.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    supports = {path.stem for path in (folder / "supports").glob("*.png")}
    group = next(row["group"] for row in rows if row["catalogNumber"] in supports)
    names = [row["catalogNumber"] for row in rows if row["group"] == group][:5]
    table = shortened(folder / "collection.csv", tmp_path / "few.csv", lambda row: row["catalogNumber"] in names)
    own = only(folder / "supports", tmp_path / "supports", set(names))
    build_index(table, own, tmp_path / "index", settings=BuildSettings(images=folder))
    with open_index(tmp_path / "index") as index:
        assert score_masks(index, folder / "labels").mean_iou > 0.8
