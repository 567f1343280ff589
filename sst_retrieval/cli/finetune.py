"""`sst-retrieval finetune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sst_retrieval.engines import ModelOptions
from sst_retrieval.finetuning import FinetuneSettings, finetune

if TYPE_CHECKING:
    from sst_retrieval.models.sam2_finetune import Epoch

DEFAULTS = FinetuneSettings()


def finetune_command(
    table: Annotated[Path, typer.Argument(help="Specimen table, as for `build`.")],
    supports: Annotated[Path, typer.Option(help="Annotated specimens, as for `build`.")],
    group: Annotated[str, typer.Option(help="The group to learn.")],
    checkpoint: Annotated[str, typer.Option(help="SAM 2's weights: a name of `weights list`, or a .pt file.")],
    output: Annotated[Path, typer.Option(help="Folder of the adapter; a training that was stopped there goes on.")],
    sam2_config: Annotated[Path | None, typer.Option(help="SAM 2's architecture, if it is none of Meta's own.")] = None,
    propagator: Annotated[str, typer.Option(help="What finds the poses: sam2 or dense+sam2.")] = DEFAULTS.propagator,
    full: Annotated[bool, typer.Option("--full", help="Train the two parts fully, not by low-rank additions.")] = False,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the additions (LoRA).")] = DEFAULTS.rank,
    rate: Annotated[float, typer.Option(min=0, help="Learning rate of AdamW.")] = DEFAULTS.rate,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the photographs.")] = DEFAULTS.epochs,
    patience: Annotated[int, typer.Option(min=1, help="Stop after so many epochs without gain.")] = DEFAULTS.patience,
    photographs: Annotated[
        int, typer.Option(min=2, help="Most photographs; each takes 17 MB of memory.")
    ] = DEFAULTS.photographs,
    seed: Annotated[int, typer.Option(help="Of the choice of photographs and of the training.")] = DEFAULTS.seed,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = DEFAULTS.device,
    images: Annotated[Path | None, typer.Option(help="Folder of the photographs, if not the table's.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column that names the specimens.")] = None,
    image_column: Annotated[str | None, typer.Option(help="Column that names the photographs.")] = None,
    group_column: Annotated[str | None, typer.Option(help="Column that says whose support is shared.")] = None,
) -> None:
    """Teach SAM 2 one group from its annotated specimen and unlabelled photographs (one-shot cycle consistency).

    The mask is followed onto a photograph and back; what comes back should be what was drawn. Use the result with
    `sst-retrieval build --propagator sam2 --checkpoint ... --adapter FOLDER`.
    """
    settings = FinetuneSettings(
        models=ModelOptions(checkpoint, sam2_config),
        propagator=propagator,
        device=device,
        full=full,
        rank=rank,
        rate=rate,
        epochs=epochs,
        patience=patience,
        photographs=photographs,
        seed=seed,
        images=images,
        id_column=id_column,
        image_column=image_column,
        group_column=group_column,
    )
    done = finetune(table, supports, output, group=group, settings=settings, tell=_say)
    best = max(done, key=lambda epoch: epoch.agreement)
    if best.number == 0:
        typer.echo("nothing got better on the held-out photographs; no adapter was written")
    else:
        gain = f"agreement there and back {done[0].agreement:.3f} -> {best.agreement:.3f}"
        typer.echo(f"{output}: {gain}; use it with --adapter {output}")


def _say(epoch: Epoch) -> None:
    learnt = "before learning" if epoch.number == 0 else f"epoch {epoch.number}: loss {epoch.loss:.3f}"
    typer.echo(f"{learnt}, agreement on held-out photographs {epoch.agreement:.3f}", err=True)
