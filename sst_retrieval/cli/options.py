"""Arguments and options that several commands take, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sst_retrieval.errors import QueryError

IndexFolder = Annotated[Path, typer.Argument(help="Index folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Where = Annotated[
    str | None, typer.Option(help="Condition on the table's columns and confidence, in SQL: \"sex = 'female'\".")
]
Weights = Annotated[str | None, typer.Option(help="What counts how much: pattern=1,colour=0.5 (and shape nothing).")]

DEVICE = typer.Option(help="auto, cpu or cuda.")
Device = Annotated[str, DEVICE]
TRUNK = typer.Option(
    help="Dense matching: another network of timm, timm:NAME or timm:NAME@weights.safetensors; else EfficientNet-lite0."
)
SAM2_CONFIG = typer.Option(help="SAM 2's architecture as a YAML file, if it is none of Meta's own.")

ClipModel = Annotated[str | None, typer.Option(help="Of an OpenCLIP index: its --clip-model, if not as it was built.")]
ClipPretrained = Annotated[
    str | None, typer.Option(help="Of an OpenCLIP index: its --clip-pretrained, if not as it was built.")
]

TABLE_OPTIONS = {
    "images": typer.Option(help="Folder of the photographs, if not the table's."),
    "id_column": typer.Option(help="Column that names the specimens."),
    "image_column": typer.Option(help="Column that names the photographs."),
    "group_column": typer.Option(help="Column that says whose support is shared."),
}
"""How a specimen table is read: field of the settings -> option (see `dataclass_options`)."""


def read_weights(text: str | None) -> dict[str, float] | None:
    """Parse the text of `--weights`; None without it.

    >>> read_weights("pattern=1, colour=0.5")
    {'pattern': 1.0, 'colour': 0.5}

    Raises:
        QueryError: a part is not NAME=NUMBER.
    """
    if text is None:
        return None
    weights = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            weights[name.strip()] = float(value)
        except ValueError as error:
            raise QueryError(
                f"the weights {text!r} are not understood at {part!r}; write: pattern=1,colour=0.5"
            ) from error
    return weights
