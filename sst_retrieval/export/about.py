"""Where an exported file came from: said in the file where its format allows, and always in a file beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sst_retrieval import provenance
from sst_retrieval.files import write_text
from sst_retrieval.search.index import Index

COLOURS = (
    "CIE 1976 L*a*b* of the photograph as it is, read as sRGB (IEC 61966-2-1); white reference D65, 2 degree observer; "
    "not corrected by a colour chart"
)


def about(index: Index, what: str, **selection: object) -> dict[str, Any]:
    """Say where an export comes from, in JSON values.

    Args:
        index: what is exported.
        what: what the file holds, in words.
        **selection: what was asked for; None is left out.
    """
    info = index.info()
    rejected = sum(review.decision == "reject" for review in index.reviews())
    return {
        "what": what,
        "written": provenance.now(),
        "program": f"sst-retrieval {provenance.programs()['versions'].get('sst-retrieval', '')}".strip(),
        "selection": {name: value for name, value in selection.items() if value is not None},
        "rejected_masks_left_out": rejected,
        "colour": COLOURS,
        "index": {"name": Path(info["path"]).name, "generation": info["generation"]},
        "settings": info["settings"],
        "made": info["provenance"],
    }


def write_beside(path: Path, said: Mapping[str, Any]) -> None:
    """Write `NAME.provenance.json` beside a file, or `provenance.json` into a folder."""
    beside = path / "provenance.json" if path.is_dir() else path.with_name(f"{path.name}.provenance.json")
    write_text(beside, as_text(said))


def as_text(said: Mapping[str, Any]) -> str:
    """Write as JSON."""
    return json.dumps(said, indent=1, ensure_ascii=False, default=str) + "\n"


def in_a_line(said: Mapping[str, Any]) -> str:
    """Say the most important things in one line of ASCII, for comments; it holds no brackets."""
    chosen = ", ".join(f"{name}: {value}" for name, value in said["selection"].items()) or "everything"
    line = f"{said['what']}; {said['program']}, {said['written']}; index {said['index']['name']}, generation "
    line += f"{said['index']['generation']}; {chosen}; {said['rejected_masks_left_out']} rejected masks left out"
    return line.encode("ascii", "replace").decode().translate(str.maketrans("[]\n", "() "))


def condition(where: str | None, min_confidence: float) -> str | None:
    """Join a predicate and a least confidence."""
    if not min_confidence:
        return where
    # Of the mask: a collection may have a column `confidence` of its own.
    least = f'"sst:confidence" >= {float(min_confidence)!r}'
    # The line break ends a `--` comment.
    return least if where is None else f"({where}\n) AND {least}"
