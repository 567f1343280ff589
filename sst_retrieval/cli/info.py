"""`sst-retrieval info`."""

from __future__ import annotations

import json
from typing import Any

import typer

from sst_retrieval.cli.options import IndexFolder, Json
from sst_retrieval.search.index import open_index


def info_command(index: IndexFolder, as_json: Json = False) -> None:
    """Say what is in an index and how it was made."""
    with open_index(index) as opened:
        info = {**opened.info(), "bytes": opened.size()}
    typer.echo(json.dumps(info, indent=2, ensure_ascii=False) if as_json else format_info(info))


def format_info(info: dict[str, Any]) -> str:
    """Write what is in an index for a person."""
    made = info["provenance"]
    settings = info["settings"]
    lines = [f"{info['path']}: generation {info['generation']}, {info['bytes'] / 1024**2:.1f} MB"]
    if not made.get("complete", True):
        lines.append("the last build was stopped before its end; run it again, it goes on from there")
    lines += [f"specimens: {info['specimens']}", "traits (label number): on how many specimens found, on how many not"]
    lines += [
        f"  {trait} ({counts['number']}): {counts['present']}, {counts['absent']}"
        for trait, counts in info["traits"].items()
    ]
    lines += ["skipped:"] * bool(info["skipped"])
    lines += [f"  {count}: {reason}" for reason, count in info["skipped"].items()]
    lines += [f"note: {note}" for note in made.get("notes", ())]  # Older indexes have none.
    lines.append("columns: " + ", ".join(f"{name} {kind}" for name, kind in info["columns"].items()))
    lines.append(f"masks by {settings['propagator']['model']}; vectors by {settings['embedder']['embedder']}")
    lines.append(f"built {made['started']} to {made['ended']} from {made['table']}")
    return "\n".join(lines)
