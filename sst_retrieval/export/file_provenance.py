"""Where an exported file came from: record in the file where its format allows, and always in a file beside it."""

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


def file_provenance(index: Index, what: str, **selection: object) -> dict[str, Any]:
    """Describe where an export comes from, in JSON values.

    Args:
        index: what is exported.
        what: what the file holds, in words.
        **selection: what was chosen to be exported; None is left out.
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


def write_provenance(path: Path, record: Mapping[str, Any]) -> None:
    """Write `NAME.provenance.json` beside a file, or `provenance.json` into a folder."""
    beside = path / "provenance.json" if path.is_dir() else path.with_name(f"{path.name}.provenance.json")
    write_text(beside, provenance_json(record))


def provenance_json(record: Mapping[str, Any]) -> str:
    """Format a record of `file_provenance` as JSON."""
    return json.dumps(record, indent=1, ensure_ascii=False, default=str) + "\n"


def provenance_line(record: Mapping[str, Any]) -> str:
    """Format a record of `file_provenance` as one line of ASCII without brackets, for comments in a file."""
    chosen = ", ".join(f"{name}: {value}" for name, value in record["selection"].items()) or "everything"
    line = f"{record['what']}; {record['program']}, {record['written']}; index {record['index']['name']}, generation "
    line += f"{record['index']['generation']}; {chosen}; {record['rejected_masks_left_out']} rejected masks left out"
    return line.encode("ascii", "replace").decode().translate(str.maketrans("[]\n", "() "))


def combine_predicate(where: str | None, min_confidence: float) -> str | None:
    """Combine a predicate and a least confidence into one predicate; None if there is neither."""
    if not min_confidence:
        return where
    # Of the mask: a collection may have a column `confidence` of its own.
    least = f'"sst:confidence" >= {float(min_confidence)!r}'
    # The line break ends a `--` comment.
    return least if where is None else f"({where}\n) AND {least}"
