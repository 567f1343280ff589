"""Find indexes, compare their states, and read where an index was built from, without opening it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.index.store import Store
from sst_retrieval.nets.weights import WEIGHTS

SETTING_OPTIONS = (
    *("images", "id_column", "image_column", "group_column", "view_column"),
    *("individuals", "finder", "foreground", "outlines", "propagator", "embedder", "device"),
)
"""Settings of a build that a rebuild repeats, each as the option of its name."""

MODEL_OPTIONS = ("checkpoint", "sam2_config", "clip_model", "clip_pretrained", "clip_pooling", "trunk", "runtime")
"""Options of models that a rebuild repeats."""

_CLIP_FOLDER = "local-dir:"
"""Prefix by which open_clip marks the folder of a model."""

_CHECKPOINT_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")


def find_indexes(folder: str | Path) -> dict[str, Path]:
    """Find the indexes in a folder: name -> path, in order of the names.

    Args:
        folder: an index, or a folder of indexes such as `indexes/`.
    """
    path = Path(folder)
    if Store.exists(path):
        return {path.resolve().name: path}
    if not path.is_dir():
        return {}
    return {each.name: each for each in sorted(path.iterdir()) if not each.name.startswith(".") and Store.exists(each)}


def index_state(path: str | Path) -> tuple[int, int]:
    """Return a cheap fingerprint of what a reader would see now; it changes whenever that changes.

    Args:
        path: an index folder.

    Returns:
        (number of the generation, 0 before the first; size of the record of reviews in bytes), as `Index.state`.

    Raises:
        IndexFolderError: the folder is not an index or is broken.
    """
    return Store.open(Path(path)).state()


@dataclass(frozen=True, slots=True)
class Origin:
    """What an index was built from, by its provenance. In an index from somebody else, it may be anything.

    Attributes:
        table: absolute path of the specimen table.
        supports: absolute path of the supports.
        settings: option -> value, of the settings that are strings: names and folders.
        models: (option, value) of its models, such as checkpoints; an option may be repeated. Paths are absolute.
        cycle_consistency: whether SAM 2 propagated every mask back to its support.
        second_pass: most photographs of a group that became supports; 0 for one pass.
        second_look: whether small traits were looked at twice.
    """

    table: Path
    supports: Path
    settings: Mapping[str, str]
    models: Sequence[tuple[str, str]]
    cycle_consistency: bool = False
    second_pass: int = 0
    second_look: bool = False

    @property
    def folder(self) -> Path:
        """The collection's own folder: where its table is."""
        return self.table if self.table.is_dir() else self.table.parent

    @property
    def there(self) -> bool:
        """Whether the table still exists; a folder is a table only with the `meta.xml` of a Darwin Core Archive."""
        return (self.table / "meta.xml").is_file() if self.table.is_dir() else self.table.is_file()


def origin_of(path: str | Path) -> Origin:
    """Read what an index was built from.

    Args:
        path: the index folder.

    Raises:
        IndexFolderError: the folder is no index, its first build has not finished, or it was built by a version that
            did not store the path of its supports.
    """
    generation = Store.open(Path(path)).generation
    provenance = {} if generation is None else generation.provenance
    settings = provenance.get("settings")
    folder, table, supports = (provenance.get(name) for name in ("folder", "table", "supports_folder"))
    if (
        not isinstance(settings, dict)
        or not (isinstance(folder, str) and isinstance(table, str) and isinstance(supports, str))
        or not Path(folder).is_absolute()
    ):
        raise IndexFolderError(
            f"{path} does not say where its table and supports lie; build it once more with sst-retrieval build"
        )
    start = Path(folder)
    stored = settings.get("models")
    known = stored if isinstance(stored, dict) else {}
    given = {str(name): value for name, value in {**known, **settings}.items() if isinstance(value, str)}
    if "images" in given:
        given["images"] = str(start / given["images"])
    for option in ("outlines", "propagator"):
        if option in given:
            given[option] = make_absolute(option, given[option], start)
    clip = settings.get("embedder") == "openclip"  # Else its options are defaults that were not used.
    options = [option for option in MODEL_OPTIONS if clip or not option.startswith("clip_")]
    models = [(o, make_absolute(o, value, start)) for o in options if isinstance(value := known.get(o), str)]
    adapters = known.get("adapters")
    listed = adapters if isinstance(adapters, list) else []
    models += [("adapter", make_absolute("adapter", str(each), start)) for each in listed]
    # Early versions wrote every value as a string.
    cycle = {**settings, **known}.get("cycle_consistency") in (True, "True")
    second = settings.get("second_pass")
    passes = second if isinstance(second, int) and second > 0 else 0
    look = known.get("second_look") is True
    return Origin(start / table, start / supports, given, models, cycle, passes, look)


def make_absolute(option: str, value: str, start: Path) -> str:
    """Make the value of a model's option independent of the build's working directory: a path becomes absolute.

    Args:
        option: "adapter", "outlines", "propagator" or one of `MODEL_OPTIONS`.
        value: its value: a path, or a name, which stays as it is.
        start: the working directory of the build.
    """
    if option in ("clip_pooling", "runtime") or (option in ("checkpoint", "clip_pretrained") and value in WEIGHTS):
        return value
    if option == "clip_model" and value.startswith(_CLIP_FOLDER):
        return _CLIP_FOLDER + str(start / Path(value.removeprefix(_CLIP_FOLDER)).expanduser())
    if option in ("trunk", "outlines", "propagator"):  # NAME or NAME@FILE, such as timm:NAME@FILE, mobile_sam@FILE.
        name, at, file = value.partition("@")
        return f"{name}@{start / Path(file).expanduser()}" if at else name
    path = start / Path(value).expanduser()
    if option == "clip_model":  # Also the name of an architecture ("ViT-B/32"), or a model of the hub.
        return str(path) if path.is_dir() else value
    if option == "clip_pretrained":  # Also a tag of open_clip ("laion2b_s34b_b79k").
        named = path.is_file() or "/" in value or value.endswith(_CHECKPOINT_SUFFIXES)
        return str(path) if named else value
    return str(path)


def rebuild_command(path: str | Path, *, groups: Sequence[str] = ()) -> list[str]:
    """Return the words of the command that builds an index again from where it was built.

    Args:
        path: the index folder.
        groups: only these groups are propagated again; none means all.

    Raises:
        IndexFolderError: the index was built by a version that did not store the path of its supports.
    """
    origin = origin_of(path)
    words = ["sst-retrieval", "build", str(origin.table), "--supports", str(origin.supports)]
    words += ["--output", str(Path(path).resolve())]
    for option in SETTING_OPTIONS:
        if option in origin.settings:
            words += [f"--{option.replace('_', '-')}", origin.settings[option]]
    for option, value in origin.models:
        words += [f"--{option.replace('_', '-')}", value]
    if origin.cycle_consistency:
        words.append("--cycle-consistency")
    if origin.second_look:
        words.append("--second-look")
    if origin.second_pass:
        words += ["--second-pass", str(origin.second_pass)]
    for group in groups:
        words += ["--groups", group]
    return words
