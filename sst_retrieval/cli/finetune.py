"""`sst-retrieval finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sst_retrieval.build.finetuning import LEARNING, FinetuneSettings, finetune_group
from sst_retrieval.cli.dataclass_options import options_of
from sst_retrieval.cli.options import DEVICE, SAM2_CONFIG, TABLE_OPTIONS

if TYPE_CHECKING:
    from sst_retrieval.track.epochs import Epoch

OPTIONS = {
    "checkpoint": typer.Option(help="SAM 2's weights: a name of `weights list`, or a .pt file; else our small one."),
    "sam2_config": SAM2_CONFIG,
    "propagator": typer.Option(help=f"What learns: {', '.join(LEARNING)}; else sam2 with a --checkpoint, or tracker."),
    "full": typer.Option("--full", help="SAM 2: train the two parts fully, not by low-rank additions."),
    "rank": typer.Option(min=1, help="SAM 2: rank of the additions (LoRA)."),
    "rate": typer.Option(min=0, help="Learning rate of AdamW; else 0.001 for SAM 2, 0.0003 for dense."),
    "epochs": typer.Option(min=1, help="Most passes over the photographs; else 20 for SAM 2, 4 for dense."),
    "patience": typer.Option(min=1, help="Stop after so many epochs without gain."),
    "photographs": typer.Option(min=2, help="Most photographs; each takes 17 MB of memory."),
    "seed": typer.Option(help="Of the choice of photographs and of the training."),
    "device": DEVICE,
    **TABLE_OPTIONS,
}
"""Field of `FinetuneSettings` or of its `ModelOptions` -> option, in the order of the help."""


@options_of(FinetuneSettings, OPTIONS)
def finetune_command(
    table: Annotated[Path, typer.Argument(help="Specimen table, as for `build`.")],
    supports: Annotated[Path, typer.Option(help="Annotated specimens, as for `build`.")],
    group: Annotated[str, typer.Option(help="The group to learn.")],
    output: Annotated[Path, typer.Option(help="Folder of the adapter; a training that was stopped there goes on.")],
    settings: FinetuneSettings,
) -> None:
    """Teach a model one group from its annotated specimen and unlabelled photographs (one-shot cycle consistency).

    The mask is followed onto a photograph and back; what comes back should be what was drawn. With `--propagator dense`
    the keys and the decoder learn, without a checkpoint and a --propagator the small SAM 2 of the program. Use the
    result with `sst-retrieval build --adapter FOLDER` and the same `--propagator` (and `--checkpoint`).
    """
    epochs = finetune_group(table, supports, output, group=group, settings=settings, progress=_print_epoch)
    best = max(epochs, key=lambda epoch: epoch.agreement)
    if best.number == 0:
        typer.echo("nothing got better on the held-out photographs; no adapter was written")
    else:
        gain = f"agreement there and back {epochs[0].agreement:.3f} -> {best.agreement:.3f}"
        typer.echo(f"{output}: {gain}; use it with --adapter {output}")


def _print_epoch(epoch: Epoch) -> None:
    learnt = "before learning" if epoch.number == 0 else f"epoch {epoch.number}: loss {epoch.loss:.3f}"
    typer.echo(f"{learnt}, agreement on held-out photographs {epoch.agreement:.3f}", err=True)
