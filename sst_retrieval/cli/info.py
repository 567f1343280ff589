"""`sst-retrieval info`."""

from __future__ import annotations

import json
from typing import Any

import typer

from sst_retrieval.cli.options import IndexFolder, Json
from sst_retrieval.export.photographs import iterate_contents
from sst_retrieval.search.index import Index, open_index


def info_command(index: IndexFolder, as_json: Json = False) -> None:
    """Say what is in an index and how it was made."""
    with open_index(index) as opened:
        info = {**opened.info(), **count_individuals(opened), "bytes": opened.size()}
    typer.echo(json.dumps(info, indent=2, ensure_ascii=False) if as_json else format_info(info))


def count_individuals(index: Index) -> dict[str, Any]:
    """Count the individuals of the groups whose photographs may show several.

    Returns:
        "many" -> group -> "photographs" that were searched, "individuals" on them, and "empty", how many of the
        photographs show none; nothing if there are no such groups.
    """
    many = [name for name, kind in index.info()["provenance"].get("individuals", {}).items() if kind == "many"]
    if not many:
        return {}
    counts = {group: {"photographs": 0, "individuals": 0, "empty": 0} for group in many}
    for each in iterate_contents(index):
        if (own := counts.get(each.photograph.group)) is not None:
            own["photographs"] += 1
            own["individuals"] += len(each.individuals)
            own["empty"] += not each.individuals
    return {"many": counts}


def format_info(info: dict[str, Any]) -> str:
    """Write what is in an index for a person."""
    made = info["provenance"]
    settings = info["settings"]
    lines = [f"{info['path']}: generation {info['generation']}, {info['bytes'] / 1024**2:.1f} MB"]
    if not made.get("complete", True):
        lines.append("the last build was stopped before its end; run it again, it goes on from there")
    nouns = [f"{noun}: {info[noun]}" for noun in ("specimens", "photographs", "individuals") if noun in info]
    lines += [", ".join(nouns), *_list_many(info)]
    lines.append(f"traits (label number): on how many {nouns[-1].split(':')[0]} found, on how many not")
    lines += [
        f"  {trait} ({counts['number']}): {counts['present']}, {counts['absent']}"
        for trait, counts in info["traits"].items()
    ]
    lines += ["skipped:"] * bool(info["skipped"])
    lines += [f"  {count}: {reason}" for reason, count in info["skipped"].items()]
    lines += [f"note: {note}" for note in made.get("notes", ())]  # Older indexes have none.
    lines += _describe_epoch(info)
    lines.append("columns: " + ", ".join(f"{name} {kind}" for name, kind in info["columns"].items()))
    lines.append(f"masks by {settings['propagator']['model']}; vectors by {settings['embedder']['embedder']}")
    lines.append(f"built {made['started']} to {made['ended']} from {made['table']}")
    return "\n".join(lines)


def _describe_epoch(info: dict[str, Any]) -> list[str]:
    """Say since when similarities can be compared, where something was added since."""
    epoch = info.get("epoch")  # Older indexes have none.
    if epoch is None or epoch["number"] == info["generation"]:
        return []
    return [
        f"similarities can be compared with those since generation {epoch['number']}: {epoch['added']} regions were "
        f"added to it (in {epoch['segments']} segments) and {epoch['removed']} removed; build --refit begins anew"
    ]


def _list_many(info: dict[str, Any]) -> list[str]:
    """List the groups whose photographs may show several individuals, and what found them."""
    counts = info.get("many", {})
    lines = [f"several individuals a photograph, by {info['provenance']['finder']}:"] if counts else []
    for group, own in counts.items():
        line = f"  {group}: {own['individuals']} individuals on {own['photographs']} photographs"
        lines.append(line + (f", none on {own['empty']} of them" if own["empty"] else ""))
    return lines
