"""How a state of an index came about: what a build leaves in the manifest, beside its own figures (JSON values).

`index.origin` reads it again, to say where an index comes from and to build it once more.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from sst_retrieval import provenance
from sst_retrieval.annotate.supports import Supports
from sst_retrieval.engines import Engines


def what_went_in(table: Path, supports: Path, settings: Mapping[str, Any], engines: Engines) -> dict[str, Any]:
    """Say what a build was given, and what worked on it.

    Args:
        table: the specimen table.
        supports: folder of the annotated specimens.
        settings: what the build was told.
        engines: the models.
    """
    return {
        "table": str(table),
        "supports_folder": str(supports),
        "folder": str(Path.cwd()),
        "settings": _as_json(settings),
        "device": engines.device,
        "weights": engines.weights,
        **provenance.programs(),
    }


def groups_were_made(
    supports: Supports, alignments: Mapping[str, str], before: Mapping[str, Any], alone: Container[str]
) -> dict[str, Any]:
    """Say what the masks of every group were made from, and how it was laid like the reference.

    Args:
        supports: the annotated specimens of today.
        alignments: group -> how it was laid; groups that needed no work may be missing.
        before: the same account of the state before this one; it says it of groups that were left alone.
        alone: the only groups that were worked on; empty if no group was left alone.
    """
    now = [
        {"specimen": each.specimen, "group": each.group, "traits": list(each.traits)}
        for each in supports.references
        if not alone or each.group in alone
    ]
    kept = [each for each in before.get("supports", []) if alone and each["group"] not in alone]
    every = {**before.get("alignments", {}), **alignments}
    return {
        "supports": [*now, *kept],
        "alignments": {group: account for group, account in every.items() if group in supports.fingerprints},
    }


def _as_json(value: Any) -> Any:
    """Write settings in JSON values: true stays true, a number a number; a path becomes text."""
    if isinstance(value, Mapping):
        return {str(name): _as_json(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(part) for part in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
