"""`sst-retrieval export`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sst_retrieval import export
from sst_retrieval.cli.options import IndexFolder, Weights, Where, read_weights
from sst_retrieval.cli.progress import ProgressBar
from sst_retrieval.morphology.scales import Scale, read_scales
from sst_retrieval.search.index import Index, open_index

app = typer.Typer(no_args_is_help=True, help="Write what an index holds to files that other programs read.")

Output = Annotated[Path, typer.Argument(help="File to write; its ending says which kind.")]
MinScore = Annotated[
    float, typer.Option(help="Leave out individuals that the finder is less sure of than this.", min=0.0, max=1.0)
]
MinConfidence = Annotated[float, typer.Option(help="Leave out masks less sure than this.", min=0.0, max=1.0)]
Trait = Annotated[str, typer.Option(help="Name of the trait.")]
Traits = Annotated[list[str] | None, typer.Option("--trait", help="Name of a trait; may be repeated. All by default.")]
ScaleFile = Annotated[
    Path | None,
    typer.Option(
        "--scale", help="CSV: group and mmPerPixel, or group, lengthMm and lengthPx (a scale bar). For millimetres."
    ),
]
By = Annotated[str | None, typer.Option(help="Compare the groups of this column, not single specimens.")]
Between = Annotated[str, typer.Option(help="Groups are compared by their 'mean', or by 'energy' distance.")]


@app.command("masks")
def export_masks_command(
    index: IndexFolder,
    output: Annotated[Path, typer.Argument(help="Folder for the label pictures; made if it does not exist.")],
    where: Where = None,
    min_confidence: MinConfidence = 0.0,
) -> None:
    """Write a label picture (PNG) for every photograph, named after it, with your own label numbers.

    Where photographs may show several individuals, instances/ has a picture that numbers them, too.
    """
    with open_index(index) as opened, ProgressBar() as progress:
        written = export.export_masks(
            opened,
            output,
            where=where,
            min_confidence=min_confidence,
            progress=partial(progress, "writing masks"),
        )
    typer.echo(f"{len(written)} label pictures in {output}")


@app.command("overlays")
def export_overlays_command(
    index: IndexFolder,
    output: Annotated[Path, typer.Argument(help="Folder for the pictures; made if it does not exist.")],
    where: Where = None,
    side: Annotated[int, typer.Option(help="Edge of a picture in pixels.", min=100)] = export.OVERLAY_SIDE,
) -> None:
    """Draw every photograph with its masks (JPEG), and its individuals with their numbers if it may show several."""
    with open_index(index) as opened, ProgressBar() as progress:
        written, problems = export.export_overlays(
            opened, output, where=where, side=side, progress=partial(progress, "drawing")
        )
    for problem in problems:
        typer.echo(f"left out: {problem}", err=True)
    typer.echo(f"{len(written)} pictures in {output}")


@app.command("coco")
def export_coco_command(
    index: IndexFolder, output: Output, trait: Traits = None, where: Where = None, min_confidence: MinConfidence = 0.0
) -> None:
    """Write masks as COCO JSON (compressed run-length code), which keeps traits that overlap."""
    with open_index(index) as opened:
        count = export.export_coco(opened, output, traits=trait, where=where, min_confidence=min_confidence)
    typer.echo(f"{count} masks in {output}")


@app.command("instances")
def export_instances_command(
    index: IndexFolder, output: Output, where: Where = None, min_score: MinScore = 0.0
) -> None:
    """Write individuals as COCO JSON: one annotation each, with its outline and score; an image is a photograph."""
    with open_index(index) as opened:
        count = export.export_instances(opened, output, where=where, min_score=min_score)
    typer.echo(f"{count} individuals in {output}")


@app.command("counts")
def export_counts_command(index: IndexFolder, output: Output, where: Where = None, min_score: MinScore = 0.0) -> None:
    """Write how many individuals are on every photograph (.csv), 0 included."""
    with open_index(index) as opened:
        count = export.export_counts(opened, output, where=where, min_score=min_score)
    typer.echo(f"{count} photographs in {output}")


@app.command("table")
def export_table_command(
    index: IndexFolder,
    output: Output,
    trait: Traits = None,
    where: Where = None,
    min_confidence: MinConfidence = 0.0,
    scale: ScaleFile = None,
) -> None:
    """Write the trait table (.csv or .parquet): one row a region, with your columns and every measurement."""
    with open_index(index) as opened:
        count = export.export_table(
            opened, output, traits=trait, where=where, min_confidence=min_confidence, scale=_read_scales(opened, scale)
        )
    typer.echo(f"{count} rows in {output}")


@app.command("outlines")
def export_outlines_command(
    index: IndexFolder,
    output: Annotated[Path, typer.Argument(help="A .tps file, or a folder for silhouettes that Momocs reads.")],
    trait: Trait,
    points: Annotated[int, typer.Option(help="Points an outline has in a .tps file.", min=8)] = 128,
    where: Where = None,
    min_confidence: MinConfidence = 0.0,
    scale: ScaleFile = None,
) -> None:
    """Write a trait's outlines: a .tps file (y up, SCALE where it is known), or a folder of black shapes on white."""
    with open_index(index) as opened:
        if output.suffix.lower() == ".tps":
            scales = _read_scales(opened, scale)
            count = export.export_tps(
                opened, output, trait=trait, points=points, where=where, min_confidence=min_confidence, scale=scales
            )
        else:
            count = len(
                export.export_silhouettes(opened, output, trait=trait, where=where, min_confidence=min_confidence)
            )
    typer.echo(f"{count} outlines in {output}")


@app.command("distances")
def export_distances_command(
    index: IndexFolder,
    output: Output,
    trait: Trait,
    by: By = None,
    between: Between = "mean",
    where: Where = None,
    min_confidence: MinConfidence = 0.0,
    weights: Weights = None,
) -> None:
    """Write a distance matrix (.csv, .phy for PHYLIP, or .nex for NEXUS) of specimens or groups."""
    with open_index(index) as opened:
        matrix = export.export_distances(
            opened,
            output,
            trait=trait,
            by=by,
            between=between,
            where=where,
            min_confidence=min_confidence,
            weights=read_weights(weights),
        )
    typer.echo(f"{len(matrix)} x {len(matrix)} distances in {output} ({matrix.about})")


@app.command("characters")
def export_characters_command(
    index: IndexFolder,
    output: Output,
    by: Annotated[str, typer.Option(help="Column whose values are the groups.")] = "scientificName",
    trait: Traits = None,
    where: Where = None,
    min_confidence: MinConfidence = 0.0,
    scale: ScaleFile = None,
    tree: Annotated[
        Path | None, typer.Option(help="Newick or NEXUS: spell names as its tips, list the others.")
    ] = None,
) -> None:
    """Write the mean of every measurement in every group (.nex: continuous characters; .csv for R)."""
    with open_index(index) as opened, _print_warnings():
        found = export.export_characters(
            opened,
            output,
            by=by,
            traits=trait,
            where=where,
            min_confidence=min_confidence,
            scale=_read_scales(opened, scale),
            tree=tree,
        )
    typer.echo(f"{len(found)} groups x {found.shape[1]} characters in {output}")


@app.command("darwin-core")
def export_darwin_core_command(
    index: IndexFolder,
    output: Output,
    trait: Traits = None,
    where: Where = None,
    min_confidence: MinConfidence = 0.0,
    scale: ScaleFile = None,
) -> None:
    """Write a Darwin Core Archive (.zip): measurements (MeasurementOrFact) and regions (Audiovisual Core)."""
    with open_index(index) as opened:
        count = export.export_darwin_core(
            opened, output, traits=trait, where=where, min_confidence=min_confidence, scale=_read_scales(opened, scale)
        )
    typer.echo(f"{count} regions in {output}")


@app.command("vectors")
def export_vectors_command(
    index: IndexFolder, output: Output, trait: Traits = None, where: Where = None, min_confidence: MinConfidence = 0.0
) -> None:
    """Write the vectors (.npz or .parquet)."""
    with open_index(index) as opened:
        count = export.export_vectors(opened, output, traits=trait, where=where, min_confidence=min_confidence)
    typer.echo(f"{count} vectors in {output}")


@app.command("croissant")
def export_croissant_command(
    index: IndexFolder,
    output: Annotated[Path, typer.Argument(help="A folder; gets croissant.json and traits.parquet.")],
    licence: Annotated[
        list[str] | None,
        typer.Option(help="Licence, as SPDX names it or as an address; else what the table says. Repeatable."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the data set; else the index's.")] = None,
    creator: Annotated[str | None, typer.Option(help="A person or an institution.")] = None,
    url: Annotated[str | None, typer.Option(help="Where the data set is to be found.")] = None,
    where: Where = None,
    min_confidence: MinConfidence = 0.0,
) -> None:
    """Write the trait table with Croissant metadata, which search engines and loaders of data sets read."""
    with open_index(index) as opened:
        path = export.export_croissant(
            opened,
            output,
            name=name,
            licences=licence,
            creator=creator,
            url=url,
            where=where,
            min_confidence=min_confidence,
        )
    typer.echo(path)


def _read_scales(index: Index, path: Path | None) -> Scale | None:
    """Read scales; print which groups have none, and which are no groups of the index."""
    if path is None:
        return None
    scales = read_scales(path)
    groups = set(index.groups().values())
    for names, what in (
        (groups - scales.keys(), "no scale for"),
        (scales.keys() - groups, "left out, no group of the index:"),
    ):
        if names:
            typer.echo(f"{path.name}: {what} {', '.join(sorted(names))}", err=True)
    # One file may serve several indexes.
    return {group: scale for group, scale in scales.items() if group in groups}


@contextmanager
def _print_warnings() -> Iterator[None]:
    """Print warnings as lines for a person."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for each in caught:
        typer.echo(f"note: {each.message}", err=True)
