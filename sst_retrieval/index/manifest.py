"""The manifest of an index, `manifest.json`: its recipe and its current generation.

The file is replaced as a whole by an atomic rename; one read of it is one consistent state of the index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sst_retrieval.errors import IndexFolderError, ModelMismatchError

FORMAT = "sst-retrieval index"
SCHEMA = 1
"""Version of the layout; incremented whenever an older program could misread the folder."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How regions are made. Regions of different recipes cannot be compared.

    Attributes:
        settings: model names, checksums, sizes: everything that changes a mask or a vector (JSON values).
        blocks: block name -> number of values, in the order they are concatenated.
        first_shard: shards with a lower number were made by an earlier recipe.
    """

    settings: Mapping[str, Any]
    blocks: Mapping[str, int]
    first_shard: int


@dataclass(frozen=True, slots=True)
class Generation:
    """One committed state of an index.

    Attributes:
        number: its folder is `generations/0003` for 3.
        recipe: how its regions were made.
        numbers: trait -> the user's own label number.
        provenance: versions, model names, checksums, time (JSON values).
    """

    number: int
    recipe: Recipe
    numbers: Mapping[str, int]
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The state of an index folder.

    Attributes:
        recipe: how the next shards are made. While an index is being rebuilt it differs from the generation's.
        generation: what readers see; None before the first commit.
    """

    recipe: Recipe
    generation: Generation | None

    def to_json(self) -> str:
        """Serialise to JSON."""
        return json.dumps({"format": FORMAT, "schema": SCHEMA, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Args:
        path: the `manifest.json` of an index folder.

    Raises:
        IndexFolderError: it is missing, broken, of another program, or of a newer version of this one.
    """
    folder = path.parent
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IndexFolderError(f"{folder} is not an index; make one with: sst-retrieval build") from error
    except (OSError, ValueError) as error:
        raise IndexFolderError(f"{path} cannot be read: {error}; restore it or build into a new folder") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise IndexFolderError(f"{path} was not written by this program; {folder} is not an index")
    try:
        if fields["schema"] > SCHEMA:
            raise IndexFolderError(
                f"{folder} was written by a newer version of this program (schema {fields['schema']}, this one knows "
                f"{SCHEMA}); update this program"
            )
        generation = fields["generation"]
        if generation is not None:
            generation = Generation(**{**generation, "recipe": Recipe(**generation["recipe"])})
        return Manifest(Recipe(**fields["recipe"]), generation)
    except (KeyError, TypeError) as error:
        raise IndexFolderError(f"{path} lacks a part ({error}); restore it or build into a new folder") from error


def same_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Compare settings as they are stored: a tuple and a list are the same.

    Weights with a checksum are compared by it: a file that was renamed is the same file.
    """
    return not _differences(one, other)


def require_same(folder: Path, stored: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    """Check that settings are those of an index: regions of different models must not be mixed.

    Args:
        folder: the index, for the message.
        stored: settings of the index.
        requested: settings of the build.

    Raises:
        ModelMismatchError: names each setting that differs, both values, and the way out.
    """
    differences = _differences(stored, requested)
    if differences:
        lines = "\n".join(f"  {name}: {old} in the index, {new} now" for name, (old, new) in differences.items())
        raise ModelMismatchError(
            f"{folder} was made with other settings:\n{lines}\n"
            "use the same settings, build into another folder, or start this index anew with --rebuild"
        )


def _differences(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    comparable = _rename_weights(stored, requested)
    old = {name: json.dumps(value, sort_keys=True, ensure_ascii=False) for name, value in comparable.items()}
    new = {name: json.dumps(value, sort_keys=True, ensure_ascii=False) for name, value in requested.items()}
    names = sorted(old.keys() | new.keys())
    missing = "not set"
    return {n: (old.get(n, missing), new.get(n, missing)) for n in names if old.get(n) != new.get(n)}


def _rename_weights(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give weights in stored settings their requested names, where their content is the same."""
    old, new = _part(stored, "weights"), _part(requested, "weights")
    same = [role for role in old if _content(old[role]) is not None and _content(old[role]) == _content(new.get(role))]
    if not same:
        return stored
    renamed = {**stored, "weights": {**old, **{role: new[role] for role in same}}}
    for role in same:
        before, now = _part(stored, role), _part(requested, role)
        names = str(old[role].get("name")), str(new[role].get("name"))
        if _differ_by_name(*names, str(before.get("model")), str(now.get("model"))):
            renamed[role] = {**before, "model": now["model"]}
    return renamed


def _part(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = settings.get(name)
    return part if isinstance(part, Mapping) else {}


def _content(weights: Any) -> dict[str, Any] | None:
    """Return a description of weights without their names; None if it has no checksum."""
    if not isinstance(weights, Mapping) or not isinstance(weights.get("sha256"), str):
        return None
    return {key: value for key, value in weights.items() if key not in ("name", "file", "licence")}


def _differ_by_name(name: str, other_name: str, model: str, other_model: str) -> bool:
    """Say whether two descriptions of a model differ by one name, at one place, and by nothing else."""
    places = (start for start in range(len(model)) if model.startswith(f" {name} ", start))
    return any(f"{model[:place]} {other_name} {model[place + len(name) + 2 :]}" == other_model for place in places)
