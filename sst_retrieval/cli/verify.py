"""`sst-retrieval verify`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from sst_retrieval.cli.options import IndexFolder, Json
from sst_retrieval.index.verification import Repair, Verification, repair_index, verify_index

DAMAGED = 1
"""Exit code: something is damaged; with --repair, something is lost."""


def verify_command(
    index: IndexFolder,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make derived files again, and set damaged source data aside.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read an index wholly, compare it with its checksums, and say what is damaged, what is lost and what to do."""
    done = repair_index(index) if repair else None
    found = verify_index(index)
    if as_json:
        typer.echo(json.dumps(_describe(found, done), indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(_format(found, done)))
    if found.damages or (done is not None and done.lost):
        raise typer.Exit(DAMAGED)


def _format(found: Verification, done: Repair | None) -> list[str]:
    lines = [] if done is None else [*done.done, *(f"lost: {line}" for line in done.lost)]
    lines += [f"damaged: {damage}" for damage in found.damages]
    lines += [f"note: {note}" for note in found.notes]
    state = f"{len(found.damages)} are damaged" if found.damages else "none is damaged"
    return [*lines, f"{found.files} files, {found.bytes / 1024**2:.1f} MB read; {state}"]


def _describe(found: Verification, done: Repair | None) -> dict[str, object]:
    described: dict[str, object] = {
        "damages": [
            {"file": str(one.file), "fault": one.fault, "lost": one.lost, "remedy": one.remedy} for one in found.damages
        ],
        "notes": found.notes,
        "files": found.files,
        "bytes": found.bytes,
    }
    return described if done is None else {**described, "repaired": done.done, "lost": done.lost}
