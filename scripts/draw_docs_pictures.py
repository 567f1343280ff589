"""Draw the pictures of the documentation from the synthetic drawer.

    sst-retrieval demo demo-drawer
    python scripts/draw_docs_pictures.py demo-drawer          # writes docs/pictures/

Nothing in them is a photograph, so they may be shown anywhere; the same program draws the same pictures.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import sst_retrieval as sst
from sst_retrieval.cli.demo import choose_target, draw_masks
from sst_retrieval.cli.hits import draw_hits, make_query_tile
from sst_retrieval.export import export_overlays
from sst_retrieval.imaging.images import write_jpeg
from sst_retrieval.pictures.sheets import Tile, overlay_sheet
from sst_retrieval.synthetic.drawer import TRAY
from sst_retrieval.synthetic.tray import NAME
from sst_retrieval.types import RGBImage

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
WIDEST = 1000
"""Pixels; larger pictures are made smaller."""

SUPPORT = "SD-0001"
TRAIT = "forewing_band"


def main() -> None:
    """Draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drawer", type=Path, help="what `sst-retrieval demo` wrote")
    parser.add_argument("--output", type=Path, default=PICTURES)
    options = parser.parse_args()
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    save(output / "support.jpg", draw_support(options.drawer))
    with sst.open_index(options.drawer / "index") as index:
        query = choose_target(index, TRAIT)
        hits = index.search(like=(query, TRAIT), k=6)
        save(output / "masks.jpg", draw_masks(index, 8))
        save(output / "hits.jpg", draw_hits(index, make_query_tile(index, query, TRAIT), hits, f"{TRAIT} like {query}"))
        space = index.morphospace(TRAIT, weights={"pattern": 1})
        space.plot(colour="scientificName").savefig(output / "morphospace.png", dpi=110)
    save(output / "tray.jpg", draw_tray(options.drawer / TRAY))


def draw_support(drawer: Path) -> RGBImage:
    """Draw an annotated specimen twice: as photographed, and with its traits."""
    image = sst.read_image(drawer / "images" / f"{SUPPORT}.jpg")
    labels = sst.read_labels(drawer / "supports" / f"{SUPPORT}.png")
    names = sst.read_traits(drawer / "supports" / "traits.toml").numbers
    masks = {name: labels == number for name, number in names.items() if (labels == number).any()}
    tiles = [Tile(image, {}, SUPPORT, ["as photographed"]), Tile(image, masks, SUPPORT, ["with its traits painted"])]
    return overlay_sheet(tiles, heading="the annotated specimen", tile=420)


def draw_tray(tray: Path) -> RGBImage:
    """Find the individuals of the demo's tray, and draw the photograph with their outlines, numbers and traits."""
    settings = sst.BuildSettings(individuals="many")
    with tempfile.TemporaryDirectory() as folder:
        sst.build_index(tray / "collection.csv", tray / "supports", Path(folder) / "index", settings=settings)
        with sst.open_index(Path(folder) / "index") as index:
            export_overlays(index, Path(folder) / "drawn")
        return sst.read_image(Path(folder) / "drawn" / f"{NAME}.jpg")


def save(path: Path, picture: RGBImage) -> None:
    """Write a picture, at most WIDEST pixels wide."""
    height, width = picture.shape[:2]
    if width > WIDEST:
        smaller = Image.fromarray(picture).resize((WIDEST, round(height * WIDEST / width)), Image.Resampling.LANCZOS)
        picture = np.asarray(smaller)
    write_jpeg(path, picture, quality=85)


if __name__ == "__main__":
    main()
