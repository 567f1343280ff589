"""Drafts: drawings that are not saved yet, kept on this computer after every stroke.

$SST_RETRIEVAL_HOME/drafts/       else $XDG_STATE_HOME/sst-retrieval/drafts/, else ~/.local/state/sst-retrieval/drafts/
    HASH.json                     one drawing; the hash is that of what is drawn on: index or table, specimen, purpose

They are no part of a collection: a support or a decision comes into being only when somebody saves it.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FORMAT = 1


@dataclass(frozen=True)
class Draft:
    """A drawing that is not saved yet.

    Attributes:
        version: identifies the drawing while it is open in a browser.
        serial: number of strokes since it was opened.
        names: name n has label n + 1 in the map.
        runs: the label map, see `label_runs`.
        size: (height, width) of the map.
        base: what identifies the saved file or decision that the drawing is to replace.
        time: when it was last changed, ISO 8601.
    """

    version: str
    serial: int
    names: tuple[str, ...]
    runs: str
    size: tuple[int, int]
    base: str
    time: str


def find_folder() -> Path:
    """Return the folder of drafts."""
    home = os.environ.get("SST_RETRIEVAL_HOME")
    if home:
        return Path(home).expanduser() / "drafts"
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "sst-retrieval" / "drafts"


def write(identity: tuple[str, ...], draft: Draft) -> None:
    """Write a draft; whoever is killed meanwhile leaves the one before.

    Raises:
        OSError: the folder cannot be written.
    """
    path = _get_path(identity)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        unfinished.write_text(json.dumps({"format": FORMAT, "of": identity, **asdict(draft)}), encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(identity: tuple[str, ...]) -> Draft | None:
    """Read a draft; None if there is none, or none that this version understands.

    Raises:
        OSError: it cannot be read.
    """
    try:
        found: Any = json.loads(_get_path(identity).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    try:
        if found["format"] != FORMAT or tuple(found["of"]) != identity:
            return None
        height, width = (int(side) for side in found["size"])
        texts = {name: str(found[name]) for name in ("version", "runs", "base", "time")}
        return Draft(serial=int(found["serial"]), names=tuple(map(str, found["names"])), size=(height, width), **texts)
    except (KeyError, TypeError, ValueError):
        return None


def remove(identity: tuple[str, ...]) -> None:
    """Remove a draft, if there is one."""
    _get_path(identity).unlink(missing_ok=True)


def _get_path(identity: tuple[str, ...]) -> Path:
    name = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:32]
    return find_folder() / f"{name}.json"
