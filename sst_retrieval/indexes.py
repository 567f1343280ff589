"""Which indexes a folder holds, and whether one has changed since it was opened."""

from __future__ import annotations

from pathlib import Path

from sst_retrieval.errors import IndexFolderError
from sst_retrieval.store import Store


def find_indexes(folder: str | Path) -> dict[str, Path]:
    """Return the indexes in a folder, name -> path, in order of their names; the folder itself may be one.

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
    """Say, in a millisecond, what a reader of an index would see now; it changes whenever that changes.

    Args:
        path: an index folder.

    Returns:
        (number of the generation, 0 before the first; size of the record of reviews in bytes), as `Index.state`.

    Raises:
        IndexFolderError: the folder is not an index or is broken.
    """
    return Store.open(Path(path)).state()


def rebuild_command(provenance: dict[str, object], path: str | Path) -> list[str]:
    """Return the words of the command that builds an index again from where it was built.

    Args:
        provenance: `Index.info()["provenance"]`.
        path: the index folder.

    Raises:
        IndexFolderError: the index was built by a version that did not write down where its supports lie.
    """
    settings = provenance.get("settings")
    folder, table, supports = (provenance.get(name) for name in ("folder", "table", "supports_folder"))
    if not isinstance(settings, dict) or not all(isinstance(part, str) for part in (folder, table, supports)):
        raise IndexFolderError(
            f"{path} does not say where its table and supports lie; build it once more with sst-retrieval build"
        )
    start = Path(str(folder))
    words = ["sst-retrieval", "build", str(start / str(table)), "--supports", str(start / str(supports))]
    words += ["--output", str(Path(path).resolve())]
    for option in ("images", "id_column", "image_column", "group_column", "propagator", "embedder", "device"):
        value = settings.get(option)
        if isinstance(value, str):
            words += [f"--{option.replace('_', '-')}", str(start / value) if option == "images" else value]
    return words
