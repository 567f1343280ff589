"""`sst-retrieval build`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sst_retrieval.build.pipeline import build_index
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.build.workers import MAX_WORKERS
from sst_retrieval.cli.dataclass_options import options_of
from sst_retrieval.cli.options import DEVICE, SAM2_CONFIG, TABLE_OPTIONS, TRUNK
from sst_retrieval.cli.progress import ProgressBar
from sst_retrieval.engines import EMBEDDERS, FINDERS, PROPAGATORS, RUNTIMES
from sst_retrieval.find.outlines import OUTLINES
from sst_retrieval.foregrounds.loading import FOREGROUNDS


def _list_choices(known: Mapping[str, str]) -> str:
    return "; ".join(f"{name} ({about})" for name, about in known.items())


OPTIONS = {
    **TABLE_OPTIONS,
    "individuals": typer.Option(help="How many individuals a photograph shows: one or many; else traits.toml says it."),
    "finder": typer.Option(help=f"What finds individuals: {_list_choices(FINDERS)}; or your own, module:Name."),
    "foreground": typer.Option(help=f"What proposes things to the finder: {_list_choices(FOREGROUNDS)}."),
    "outlines": typer.Option(help=f"What draws found individuals anew: {_list_choices(OUTLINES)}; else nothing does."),
    "propagator": typer.Option(help=f"What finds the traits: {_list_choices(PROPAGATORS)}; or your own, module:Name."),
    "embedder": typer.Option(help=f"What describes them: {_list_choices(EMBEDDERS)}; or your own, module:Name."),
    "checkpoint": typer.Option(help="SAM 2's weights: a name of `sst-retrieval weights list`, or a .pt file."),
    "sam2_config": SAM2_CONFIG,
    "cycle_consistency": typer.Option(
        "--cycle-consistency", help="SAM 2: follow every mask back, and store how well it agrees."
    ),
    "clip_model": typer.Option(help="OpenCLIP's architecture (ViT-B-32), a folder, or hf-hub:imageomics/bioclip."),
    "clip_pretrained": typer.Option(
        help="OpenCLIP's weights: a file, a name of `weights list`, or a tag of open_clip."
    ),
    "clip_pooling": typer.Option(help="OpenCLIP: dense (patches under the mask) or crop (the trait cut out)."),
    "adapters": typer.Option("--adapter", help="A folder made by `finetune`, for its group. May be repeated."),
    "batch": typer.Option(help="SAM 2: photographs at once; else 1 on the CPU, 4 on a card.", min=1),
    "trunk": TRUNK,
    "second_look": typer.Option(
        "--second-look", help="Look twice, enlarged, at small traits where 1,400 pixels or more cross a specimen."
    ),
    "runtime": typer.Option(help=f"What runs EfficientNet-lite0: {_list_choices(RUNTIMES)}."),
    "device": DEVICE,
    "prune": typer.Option("--prune", help="Take out specimens that left the table, are unreadable or have no support."),
    "rebuild": typer.Option("--rebuild", help="Start anew, for example with another model."),
    "reread": typer.Option(
        "--reread", help="Read all photographs to see what has changed, not only those of another size or time."
    ),
    "refit": typer.Option(
        "--refit", help="Fit the comparison of vectors to all regions again; of large indexes, which are else added to."
    ),
    "groups": typer.Option(help="Propagate only this group, as after it got another support; repeatable. Others stay."),
    "second_pass": typer.Option(
        help="Photographs of a group, the surest, that become supports for all others; for groups of many species.",
        min=0,
    ),
    "workers": typer.Option(
        help=f"Photographs at the same time; else one a processor core, at most {MAX_WORKERS}.", min=1
    ),
    "store": typer.Option(
        metavar="ADDRESS",
        help="Photographs lie in a store that fsspec reaches, such as s3://bucket/photographs: copy them to --images.",
    ),
    "ray": typer.Option(
        metavar="ADDRESS",
        help="Process photographs on a Ray cluster: HOST:PORT of its head; auto (the one this computer is part of); or "
        "local (processes on this computer).",
    ),
}
"""Field of `BuildSettings` or of its `ModelOptions` -> option, in the order of the help."""


@options_of(BuildSettings, OPTIONS)
def build_command(
    table: Annotated[Path, typer.Argument(help="Specimen table: CSV, TSV, Parquet or a Darwin Core Archive.")],
    supports: Annotated[Path, typer.Option(help="Folder of annotated specimens, or a file of an annotation program.")],
    output: Annotated[Path, typer.Option(help="Index folder; made if it does not exist.")],
    settings: BuildSettings,
) -> None:
    """Find the annotated traits on every photograph of a table, and make them searchable.

    Run it again to add new or changed photographs, or after it was stopped: it goes on where it was.
    """
    with ProgressBar() as progress:
        try:
            report = build_index(table, supports, output, settings=settings, progress=progress)
        except KeyboardInterrupt:
            typer.echo("\nwhat was done is kept; the same command goes on from there", err=True)
            raise
    typer.echo(report.text())
