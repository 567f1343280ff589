"""A folder as the documentation assumes one: `my_collection`, its index, `my_trays`, and what else its commands name.

Made from the synthetic drawer, with the ids, places and names that README and docs use.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from typer.testing import CliRunner

from sst_retrieval.cli import app
from sst_retrieval.synthetic.drawer import make_drawer

NAMES = {"SD-0011": "BMNH_1234", "SD-0013": "A", "SD-0014": "B", "SD-0002": "C"}
"""Specimen of the drawer -> its name in the documentation; the others keep theirs."""

SPECIES = {
    "Fictelia rubella": ("Fictelia rubella", "rubella"),
    "Mimeria rubens": ("Heliconius erato", "erato"),
    "Noctaria tigrina": ("Noctaria tigrina", "tigrina"),
    "Caerulia nitens": ("Caerulia nitens", "nitens"),
    "Carabella smaragdina": ("Carabella smaragdina", "smaragdina"),
}
"""Species of the drawer that are taken -> (scientificName, infraspecificEpithet)."""

TREE = "((Fictelia_rubella:1,Heliconius_erato:1):1,(Noctaria_tigrina:1.5,Caerulia_nitens:1.5):0.5);"


def make_workplace(folder: Path) -> None:
    """Make it; the index is built as the documentation says, by the command line, with the default models."""
    drawer = make_drawer(folder / "drawer", seed=0, specimens=18).parent
    collection = folder / "my_collection"
    for name in ("images", "supports", "labels"):
        (collection / name).mkdir(parents=True)
    shutil.copy(drawer / "supports" / "traits.toml", collection / "supports")
    with (drawer / "collection.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["group"] in SPECIES]
    for row in rows:
        old = row["catalogNumber"]
        new = row["catalogNumber"] = NAMES.get(old, old)
        row["scientificName"], row["infraspecificEpithet"] = SPECIES[row["group"]]
        row["locality"] = f"Panama, {row['locality']}"
        shutil.copy(drawer / row["image"], collection / "images" / f"{new}.jpg")
        row["image"] = f"images/{new}.jpg"
        for part in ("supports", "labels"):
            if (drawer / part / f"{old}.png").is_file():
                shutil.copy(drawer / part / f"{old}.png", collection / part / f"{new}.png")
    with (collection / "collection.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    index = folder / "indexes" / "my_collection"
    words = ["build", str(collection / "collection.csv"), "--supports", str(collection / "supports")]
    done = CliRunner().invoke(app, [*words, "--output", str(index)])
    assert done.exit_code == 0, done.output
    shutil.copytree(drawer / "images", folder / "my_photographs")
    shutil.copy(drawer / "images" / "SD-0010.jpg", folder / "photo.jpg")
    shutil.copy(drawer / "labels" / "SD-0010.png", folder / "label.png")
    shutil.copytree(drawer / "tray", folder / "my_trays")
    (folder / "tree.nwk").write_text(TREE)
    for other in ("demo-drawer/index", "indexes/heliconius", "mimicry/drawer/index"):
        shutil.copytree(index, folder / other)
