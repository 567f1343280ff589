"""The manifest of an index, `manifest.json`: its recipe, its current generation, and the checksums of what it needs.

The file is replaced as a whole by an atomic rename; one read of it is one consistent state of the index. Its own
checksum, over the canonical form of the rest, is its last entry. A manifest of an older version has none: it is read as
well, but no source data is removed on its word (`Manifest.sealed`). `manifest.backup.json` is a copy, for
`index.verification` to repair the original with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from sst_retrieval.errors import IndexFolderError, ModelMismatchError
from sst_retrieval.index.checksums import FileChecksum, find_unreadable, hash_json, is_sha256, parse_json
from sst_retrieval.index.paths import explain_no_index

FORMAT = "sst-retrieval index"
SCHEMA = 5
"""Version of the layout; incremented whenever an older program could misread the folder. Checksums did not raise it:
an older program reads past them, and its next commit leaves an index without them."""

SCHEMA_WITHOUT_ADDITIONS = 2
"""Version that a manifest has whose generation nothing was added to: programs that know no segments read it, too."""

SCHEMA_WITHOUT_PLACES = 3
"""The same of a generation that has all vectors in files of its own, and reads none in the shards."""

SCHEMA_WITHOUT_REGION_ROWS = 4
"""The same of a generation whose catalog has three tables of regions instead of one (`index.catalog_tables`)."""

MAX_BYTES = 64_000_000
"""A larger manifest was not written by a build."""

COMPARISON = ("whitening", "spread", "trust")
"""Settings of a recipe that change no region, but how regions are compared: a generation is derived with them."""

_ENTRIES = frozenset(("format", "schema", "recipe", "generation"))
"""The entries of a manifest without checksums."""

_MAX_NUMBER = 10**9


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
class Contents:
    """What a commit found in the index folder.

    Attributes:
        files: path in the index -> checksum: the files of the generation, and its specimen table.
        last_shard: number of the last shard that the generation was made from. All from the recipe's first one on were
            there, but for those that were set aside (`index.shard_checksums`).
        reviews: the record of reviews as it was then (size, SHA-256); it only grows.
    """

    files: Mapping[str, FileChecksum]
    last_shard: int
    reviews: tuple[int, str]

    def to_json(self) -> dict[str, Any]:
        """Return the contents in JSON values."""
        size, sha256 = self.reviews
        files = {name: checksum.to_json() for name, checksum in self.files.items()}
        return {"files": files, "last_shard": self.last_shard, "reviews": {"size": size, "sha256": sha256}}


@dataclass(frozen=True, slots=True)
class Manifest:
    """The state of an index folder.

    Attributes:
        recipe: how the next shards are made. While an index is being rebuilt it differs from the generation's.
        generation: what readers see; None before the first commit.
        contents: of the generation; None before the first commit, or if an older version committed it.
        sealed: whether it was read with a checksum that fits, or was made by this process.
    """

    recipe: Recipe
    generation: Generation | None
    contents: Contents | None = None
    sealed: bool = True

    @property
    def rebuild_begun(self) -> bool:
        """Whether a rebuild has begun that is not committed: its shards have higher numbers than the generation's."""
        return self.generation is not None and self.recipe.first_shard > self.generation.recipe.first_shard

    @property
    def reads_shards(self) -> bool:
        """Whether searches of the generation read vectors in the shards (see `index.shard_vectors`)."""
        return self.contents is not None and any(name.endswith(".places.npz") for name in self.contents.files)

    @property
    def schema(self) -> int:
        """The lowest version of the layout that describes it; every addition writes which regions were removed."""
        files = () if self.contents is None else self.contents.files
        if any(name.endswith(("/owners/records.jsonl", "/base.duckdb")) for name in files):
            return SCHEMA
        if self.reads_shards:
            return SCHEMA_WITHOUT_REGION_ROWS
        added = any(name.endswith("/owners/removed.npy") for name in files)
        return SCHEMA_WITHOUT_PLACES if added else SCHEMA_WITHOUT_ADDITIONS

    def to_json(self) -> str:
        """Serialise to JSON, with the checksum."""
        entries: dict[str, Any] = {
            "format": FORMAT,
            "schema": self.schema,
            "recipe": asdict(self.recipe),
            "generation": None if self.generation is None else asdict(self.generation),
            "contents": None if self.contents is None else self.contents.to_json(),
        }
        # As they are read again: names are strings, tuples are lists, and what is no number is missing.
        fields = json.loads(json.dumps(entries), parse_constant=lambda _: None)
        fields["checksum"] = hash_json(fields)
        return json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Args:
        path: the `manifest.json` of an index folder, or its copy.

    Raises:
        IndexFolderError: it is missing, damaged, of another program, or of a newer version of this one.
    """
    folder = path.parent
    fields = _read_fields(path)
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise IndexFolderError(
            f"{path} was not written by this program, or is damaged; {folder} is not an index, or "
            f"{repair_advice(folder)}"
        )
    sealed = "checksum" in fields
    if sealed:
        checksum = fields.pop("checksum")
        if hash_json(fields) != checksum:
            _refuse(path, "its content does not fit its checksum")
    schema = fields.get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise IndexFolderError(
            f"{folder} was written by a newer version of this program (schema {schema}, this one knows "
            f"{SCHEMA}); update this program"
        )
    if not sealed and not fields.keys() <= _ENTRIES:
        _refuse(path, f"its checksum is lost, or {sorted(fields.keys() - _ENTRIES)[0]!r} is none of its entries")
    try:
        return _parse(fields, sealed=sealed)
    except KeyError as error:
        _refuse(path, f"it lacks a part ({error})")
    except (TypeError, ValueError) as error:
        _refuse(path, str(error))


def repair_advice(folder: Path) -> str:
    """Say how a damaged index is repaired, as the end of a sentence."""
    return f"restore the file from a backup, or: sst-retrieval verify {folder} --repair"


def _read_fields(path: Path) -> Any:
    folder = path.parent
    wrong = find_unreadable(path)
    if wrong == "is missing":
        if path.with_name("manifest.backup.json").is_file() and path.name == "manifest.json":
            raise IndexFolderError(f"{path} is missing; {repair_advice(folder)}")
        raise IndexFolderError(explain_no_index(folder))
    if wrong is not None:
        raise IndexFolderError(f"{path} {wrong}; {repair_advice(folder)}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES // 1_000_000} MB")
        fields = parse_json(path.read_bytes().decode())
        hash_json(fields)  # Raises for 1e999, which is parsed as an infinity.
    except (OSError, ValueError, RecursionError) as error:
        raise IndexFolderError(f"{path} cannot be read: {error}; {repair_advice(folder)}") from error
    return fields


def _refuse(path: Path, reason: str) -> NoReturn:
    raise IndexFolderError(
        f"{path} is damaged: {reason}; settings, label numbers and the current state of the index are not certain; "
        f"{repair_advice(path.parent)}"
    )


def _parse(fields: Mapping[str, Any], *, sealed: bool) -> Manifest:
    """Make a manifest of JSON values of any kind.

    Raises:
        KeyError: an entry is missing.
        ValueError: an entry has another type or an impossible value, or two contradict each other.
    """
    _number(fields["schema"], "schema", 1)
    recipe = _parse_recipe(fields["recipe"], "recipe")
    generation = None if fields["generation"] is None else _parse_generation(fields["generation"])
    if generation is not None:
        last = generation.recipe
        if recipe.first_shard < last.first_shard or (recipe.first_shard == last.first_shard and recipe != last):
            raise ValueError("the recipe is not the generation's, and no rebuild has begun")
    contents = fields.get("contents")
    return Manifest(recipe, generation, None if contents is None else _parse_contents(contents), sealed)


def _parse_recipe(value: Any, name: str) -> Recipe:
    fields = _entries(value, name, ("settings", "blocks", "first_shard"))
    settings, blocks = _dict(fields["settings"], f"{name}.settings"), _dict(fields["blocks"], f"{name}.blocks")
    for block, size in blocks.items():
        _number(size, f"{name}.blocks.{block}", 1)
    for block, ridge in _dict(settings.get("whitening", {}), f"{name}.settings.whitening").items():
        if type(ridge) not in (int, float) or ridge < 0:
            raise ValueError(f"{name}.settings.whitening.{block} is not a number from 0")
        if block not in blocks:
            raise ValueError(f"{name}.settings.whitening names {block!r}, which is no block")
    for block, share in _dict(settings.get("spread", {}), f"{name}.settings.spread").items():
        if type(share) not in (int, float) or share < 0:
            raise ValueError(f"{name}.settings.spread.{block} is not a number from 0")
        if not {block, "pattern"} <= blocks.keys():
            raise ValueError(f"{name}.settings.spread names {block!r}, which is no block, or there is no pattern")
    trust = settings.get("trust", [])
    if trust and not (
        isinstance(trust, list)
        and len(trust) == 3
        and all(type(limit) in (int, float) for limit in trust)
        and trust[0] < trust[1]
        and 0 <= trust[2] <= 1
    ):
        raise ValueError(f"{name}.settings.trust is not two limits, the lower one first, and a share")
    return Recipe(settings, blocks, _number(fields["first_shard"], f"{name}.first_shard", 0))


def _parse_generation(value: Any) -> Generation:
    fields = _entries(value, "generation", ("number", "recipe", "numbers", "provenance"))
    numbers, made = _dict(fields["numbers"], "generation.numbers"), _dict(fields["provenance"], "generation.provenance")
    for trait, number in numbers.items():
        _number(number, f"generation.numbers.{trait}", 0)
    _check_provenance(made)
    number = _number(fields["number"], "generation.number", 1)
    return Generation(number, _parse_recipe(fields["recipe"], "generation.recipe"), numbers, made)


def _check_provenance(made: Mapping[str, Any]) -> None:
    """Check those values of the provenance that other modules use without a check of their own."""
    for words in _dict(made.get("synonyms", {}), "generation.provenance.synonyms").values():
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("generation.provenance.synonyms is not lists of words")
    supports = made.get("supports", [])
    if not isinstance(supports, list) or not all(isinstance(each, dict) and "specimen" in each for each in supports):
        raise ValueError("generation.provenance.supports is not a list of annotated specimens")
    if "photographs" in made:
        _number(
            _dict(made["photographs"], "generation.provenance.photographs").get("indexed"), "photographs.indexed", 0
        )
    if not isinstance(made.get("laid_like"), str | None):
        raise ValueError("generation.provenance.laid_like is not a name")


def _parse_contents(value: Any) -> Contents:
    fields = _entries(value, "contents", ("files", "last_shard", "reviews"))
    files = {}
    for name, checksum in _dict(fields["files"], "contents.files").items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(f"contents.files names {name!r}, which is no file of an index")
        files[name] = FileChecksum.from_json(checksum)
    reviews = _entries(fields["reviews"], "contents.reviews", ("size", "sha256"))
    size = reviews["size"]
    if type(size) is not int or size < 0 or not is_sha256(reviews["sha256"]):
        raise ValueError("contents.reviews is not a size and a checksum")
    return Contents(files, _number(fields["last_shard"], "contents.last_shard", 0), (size, reviews["sha256"]))


def _entries(value: Any, name: str, expected: tuple[str, ...]) -> dict[str, Any]:
    fields = _dict(value, name)
    unknown = sorted(fields.keys() - set(expected))
    if unknown:
        raise ValueError(f"{name} has an entry {unknown[0]!r}, which is unknown")
    return {key: fields[key] for key in expected}


def _dict(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a set of names and values")
    return value


def _number(value: Any, name: str, least: int) -> int:
    if type(value) is not int or not least <= value <= _MAX_NUMBER:
        raise ValueError(f"{name} is not a whole number from {least} to {_MAX_NUMBER}")
    return value


def same_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Compare settings as they are stored: a tuple and a list are the same.

    Weights with a checksum are compared by it: a file that was renamed is the same file. What changes no region
    (`COMPARISON`) is not compared.
    """
    return not _differences(one, other)


def adopt_comparison(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return a recipe whose regions are compared as the settings of a build say (see `COMPARISON`)."""
    kept = {name: value for name, value in recipe.settings.items() if name not in COMPARISON}
    return replace(recipe, settings=kept | {name: settings[name] for name in COMPARISON if name in settings})


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
    names = sorted((old.keys() | new.keys()).difference(COMPARISON))
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
