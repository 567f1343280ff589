"""The folder of a synthetic collection: made, or used again if it is one's own; a stranger's is never touched."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from sst_retrieval.errors import InputError
from sst_retrieval.files import write_text


def prepare_own_folder(
    folder: Path, what: str, *, marker: str, prefix: str, kept: Mapping[str, Set[str]], about: Mapping[str, Any]
) -> None:
    """Make the folders of a collection; remove the specimens of an earlier, larger one.

    Args:
        folder: of the collection.
        what: what the collection is called in messages.
        marker: name of the file that tells this program's own folders from others.
        prefix: with which the names of all specimens begin.
        kept: name of a subfolder -> names, without endings, of the files that it may keep.
        about: how the collection is made; goes into the marker.

    Raises:
        InputError: the folder holds something that this program did not make.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder for the {what}")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / marker).exists():
        raise InputError(
            f"{folder} is not empty and holds no {marker}, so it may be somebody's collection; "
            f"name a new folder for the {what}"
        )
    for part, names in kept.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        for file in (folder / part).glob(f"{prefix}*.*"):
            if file.stem not in names:
                file.unlink()
    write_text(folder / marker, json.dumps({"synthetic": True, **about}, indent=1) + "\n")
