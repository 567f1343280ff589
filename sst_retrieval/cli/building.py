"""`sst-retrieval build`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sst_retrieval.build import build_index
from sst_retrieval.build_settings import DEFAULTS, BuildSettings
from sst_retrieval.cli.progress import ProgressBar
from sst_retrieval.engines import EMBEDDERS, PROPAGATORS, ModelOptions
from sst_retrieval.workers import MOST


def _choices(known: dict[str, str]) -> str:
    return "; ".join(f"{name} ({about})" for name, about in known.items())


def build_command(
    table: Annotated[Path, typer.Argument(help="Specimen table: CSV, TSV, Parquet or a Darwin Core Archive.")],
    supports: Annotated[Path, typer.Option(help="Folder of annotated specimens, or a COCO or LabelMe .json.")],
    output: Annotated[Path, typer.Option(help="Index folder; made if it does not exist.")],
    images: Annotated[Path | None, typer.Option(help="Folder of the photographs, if not the table's.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column that names the specimens.")] = None,
    image_column: Annotated[str | None, typer.Option(help="Column that names the photographs.")] = None,
    group_column: Annotated[str | None, typer.Option(help="Column that says whose support is shared.")] = None,
    propagator: Annotated[
        str, typer.Option(help=f"What finds the traits: {_choices(dict(PROPAGATORS))}; or your own, module:Name.")
    ] = DEFAULTS.propagator,
    embedder: Annotated[
        str, typer.Option(help=f"What describes them: {_choices(dict(EMBEDDERS))}; or your own, module:Name.")
    ] = DEFAULTS.embedder,
    checkpoint: Annotated[
        str | None, typer.Option(help="SAM 2's weights: a name of `sst-retrieval weights list`, or a .pt file.")
    ] = None,
    sam2_config: Annotated[
        Path | None, typer.Option(help="SAM 2's architecture as a YAML file, if it is none of Meta's own.")
    ] = None,
    cycle_consistency: Annotated[
        bool, typer.Option("--cycle-consistency", help="SAM 2: follow every mask back, and store how well it agrees.")
    ] = False,
    clip_model: Annotated[
        str | None, typer.Option(help="OpenCLIP's architecture (ViT-B-32), a folder, or hf-hub:imageomics/bioclip.")
    ] = None,
    clip_pretrained: Annotated[
        str | None, typer.Option(help="OpenCLIP's weights: a file, a name of `weights list`, or a tag of open_clip.")
    ] = None,
    clip_pooling: Annotated[
        str, typer.Option(help="OpenCLIP: dense (patches under the mask) or crop (the trait cut out).")
    ] = DEFAULTS.models.clip_pooling,
    adapter: Annotated[
        list[Path] | None, typer.Option(help="SAM 2: a folder made by `finetune`, for its group. May be repeated.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="SAM 2: photographs at once; else 1 on the CPU, 4 on a card.", min=1)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = DEFAULTS.device,
    prune: Annotated[
        bool, typer.Option("--prune", help="Take out specimens that left the table, are unreadable or have no support.")
    ] = DEFAULTS.prune,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Start anew, for example with another model.")
    ] = DEFAULTS.rebuild,
    groups: Annotated[
        list[str] | None,
        typer.Option(help="Propagate only this group, as after it got another support; repeatable. Others stay."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help=f"Photographs at the same time; else one a processor core, at most {MOST}.", min=1),
    ] = None,
) -> None:
    """Find the annotated traits on every photograph of a table, and make them searchable.

    Run it again to add new or changed photographs, or after it was stopped: it goes on where it was.
    """
    settings = BuildSettings(
        images=images,
        id_column=id_column,
        image_column=image_column,
        group_column=group_column,
        propagator=propagator,
        embedder=embedder,
        device=device,
        models=ModelOptions(
            checkpoint=checkpoint,
            sam2_config=sam2_config,
            cycle_consistency=cycle_consistency,
            adapters=tuple(adapter or ()),
            batch=batch,
            clip_model=clip_model,
            clip_pretrained=clip_pretrained,
            clip_pooling=clip_pooling,
        ),
        prune=prune,
        rebuild=rebuild,
        groups=tuple(groups or ()),
        workers=workers,
    )
    with ProgressBar() as progress:
        try:
            report = build_index(table, supports, output, settings=settings, progress=progress)
        except KeyboardInterrupt:
            typer.echo("\nwhat was done is kept; the same command goes on from there", err=True)
            raise
    typer.echo(report.text())
