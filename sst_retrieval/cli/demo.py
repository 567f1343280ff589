"""`sst-retrieval demo`: build, search and evaluate once, on a synthetic museum drawer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.build.pipeline import build_index
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.cli.hits import draw_hits, format_hits, make_query_tile
from sst_retrieval.cli.index_scores import score_masks, score_retrieval
from sst_retrieval.cli.options import Device
from sst_retrieval.cli.progress import ProgressBar
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.engines import load_finder
from sst_retrieval.evaluate.instance_truth import read_instances
from sst_retrieval.evaluate.instances import run_instances
from sst_retrieval.export import regions
from sst_retrieval.imaging.images import write_png
from sst_retrieval.imaging.masks import decode
from sst_retrieval.pictures import sheets
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.synthetic.drawer import TRAY, make_drawer
from sst_retrieval.types import RGBImage

TRAIT = "forewing_band"
OVERLAYS = 18
"""How many specimens the overlay sheet shows."""


def demo_command(
    output: Annotated[Path, typer.Argument(help="Folder for the drawer, its index and the pictures.")],
    specimens: Annotated[int, typer.Option(help="How many specimens; at least two a species.", min=18)] = 100,
    seed: Annotated[int, typer.Option(help="Another number makes another drawer.", min=0)] = 0,
    device: Device = "auto",
) -> None:
    """Make a synthetic museum drawer, find the traits from one label a species, search by trait, and keep score."""
    typer.echo(f"drawing {specimens} specimens with known traits in {output}", err=True)
    drawer = make_drawer(output, seed=seed, specimens=specimens)
    settings = BuildSettings(device=device, prune=True, rebuild=True)
    with ProgressBar() as progress:
        report = build_index(drawer, output / "supports", output / "index", settings=settings, progress=progress)
    typer.echo(report.text())
    with open_index(output / "index") as index:
        typer.echo("\n" + format_scores(index, output / "labels"))
        query = choose_target(index, TRAIT)
        hits = index.search(like=(query, TRAIT), k=12)
        heading = f"{TRAIT} like that of {query}"
        typer.echo(f"\nWhose {heading}?\n{format_hits(hits)}")
        write_png(output / "contact_sheet.png", draw_hits(index, make_query_tile(index, query, TRAIT), hits, heading))
        write_png(output / "overlay_sheet.png", draw_masks(index, OVERLAYS))
    typer.echo(f"\nIndividuals found on the photograph of a tray:\n{score_tray(output / TRAY, device)}")
    typer.echo(f"\nLook at {output / 'contact_sheet.png'} and {output / 'overlay_sheet.png'}.")


def format_scores(index: Index, labels: Path) -> str:
    """Compare the masks and the search with what was drawn, as text."""
    return "\n\n".join(
        (
            "Masks found, compared with the masks drawn:",
            score_masks(index, labels).table(),
            "Search, a hit is right if it is of the same species:",
            score_retrieval(index, "scientificName").table(),
            "... if it wears the same warning pattern (mimics of other species count as right):",
            score_retrieval(index, "mimicryRing").table(),
            "... the same, with the query's own species left out, so that only mimics are right:",
            score_retrieval(index, "mimicryRing", apart="scientificName").table(),
        )
    )


def score_tray(tray: Path, device: str) -> str:
    """Find the individuals on the photograph of a tray, from one annotated elsewhere, and compare them, as text."""
    collection = read_collection(tray / "collection.csv")
    supports = read_supports(tray / "supports", collection)
    report = run_instances(
        read_instances(tray / "labels" / "instances.json", collection),
        load_finder("dense", "colour", device),  # Needs no extra, and is asked on plain boards hardly ever.
        given={group: supports.load(group) for group in supports.groups()},
    )
    return report.table()


def choose_target(index: Index, trait: str) -> str:
    """Choose the first specimen that shows a trait and was not annotated."""
    supports = {each["specimen"] for each in index.info()["provenance"]["supports"]}
    found = [str(name) for name in index.measurements(trait)["specimen"]]
    return next((name for name in found if name not in supports), found[0])


def draw_masks(index: Index, count: int) -> RGBImage:
    """Draw the masks found on the first specimens that were not annotated."""
    supports = {each["specimen"] for each in index.info()["provenance"]["supports"]}
    shown = [each for each in index.individuals() if each.id not in supports][:count]
    tiles = [
        sheets.Tile(
            index.photograph(each.id),
            {trait: decode(region.rle, region.size) for trait, region in regions(index, each.id).items()},
            each.id,
            [each.group],
        )
        for each in shown
    ]
    return sheets.overlay_sheet(tiles, heading="traits found")
