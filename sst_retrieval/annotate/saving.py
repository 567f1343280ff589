"""Room 2, the other way round: what a person drew on a specimen becomes a support that a build reads.

supports/traits.toml        gets a line for every trait that is new
supports/SPECIMEN.png       label picture: the number of a trait a pixel, 0 = background
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sst_retrieval.annotate.traits import read_traits
from sst_retrieval.errors import ImageError, SupportError
from sst_retrieval.files import write_text
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import read_labels, write_png
from sst_retrieval.types import Mask


def save_support(
    folder: Path, specimen: str, drawn: Mapping[str, Mask], *, numbers: Mapping[str, int] | None = None
) -> Path:
    """Write the traits drawn on a specimen as a label picture, and name their numbers in traits.toml.

    An older label picture of the specimen is kept beside the new one, hidden, as `.SPECIMEN.png.old`.

    Args:
        folder: the folder of supports; made if it does not exist.
        specimen: id of the specimen.
        drawn: trait -> bool (H, W) at the photograph's own size; empty masks are left out. Where traits overlap, the
            smaller covers the larger, since a label picture shows one of them.
        numbers: trait -> label number, for traits that traits.toml does not name yet; the others get the next free one.

    Returns:
        The label picture.

    Raises:
        SupportError: nothing was drawn, a name cannot be that of a file, or traits.toml cannot be used.
    """
    seen = {trait: mask for trait, mask in drawn.items() if mask.any()}
    if not seen:
        raise SupportError(f"nothing is drawn on {specimen}; draw a trait before saving")
    if not specimen or specimen.startswith(".") or re.search(r'[/\\:*?"<>|\x00-\x1f]', specimen):
        raise SupportError(f"{specimen!r} cannot be the name of a file; annotate a specimen with a simpler id")
    if folder.exists() and not folder.is_dir():
        raise SupportError(f"{folder} is a file; put it into a folder of its own, and build with that folder")
    folder.mkdir(parents=True, exist_ok=True)
    known = _named(folder / "traits.toml", list(seen), numbers or {})
    labels = masks.to_labels(np.stack(list(seen.values())), [known[trait] for trait in seen])
    hidden = [trait for trait in seen if not (labels == known[trait]).any()]
    if hidden:
        raise SupportError(f"{hidden[0]} lies wholly under other traits; a label picture cannot show both")
    path = folder / f"{specimen}.png"
    if path.exists():
        _check_labels(path)
        path.replace(folder / f".{specimen}.png.old")
    write_png(path, labels)
    return path


def _check_labels(path: Path) -> None:
    """Refuse to replace what is no label picture: a photograph, say, in a folder that was named by mistake."""
    try:
        read_labels(path)
    except ImageError as error:
        raise SupportError(f"{path} is there already and is no label picture; move it, then save again") from error


def _named(path: Path, traits: list[str], numbers: Mapping[str, int]) -> dict[str, int]:
    """Make sure that a traits.toml names all of the traits, and return its numbers."""
    known = dict(read_traits(path).numbers) if path.exists() else dict(numbers)
    new = {} if path.exists() else dict(numbers)
    for trait in traits:
        if not trait.strip() or not trait.isprintable():
            raise SupportError(f"{trait!r} cannot be the name of a trait; give it a name of letters")
        if trait not in known:
            wanted = numbers.get(trait)
            free = wanted is not None and wanted not in known.values()
            known[trait] = wanted if free and wanted is not None else max(known.values(), default=0) + 1
            new[trait] = known[trait]
    if new:
        text = _with_lines(path.read_text(encoding="utf-8-sig") if path.exists() else "[traits]\n", new)
        if _traits_of(text) != known:
            raise SupportError(f"{path} is written in a way that cannot be added to; add {', '.join(new)} by hand")
        write_text(path, text)
    return known


def _traits_of(text: str) -> object:
    try:
        return tomllib.loads(text).get("traits")
    except tomllib.TOMLDecodeError:
        return None


def _with_lines(text: str, new: Mapping[str, int]) -> str:
    """Add lines at the end of the table [traits]; what else stands there, comments too, stays as it is."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.split("#")[0].strip() == "[traits]"), len(lines) - 1)
    after = (i for i in range(start + 1, len(lines)) if lines[i].lstrip().startswith("["))
    stop = next(after, len(lines))
    while stop > start + 1 and not lines[stop - 1].strip():
        stop -= 1
    added = [f"{_key(trait)} = {number}" for trait, number in new.items()]
    return "\n".join([*lines[:stop], *added, *lines[stop:]]) + "\n"


def _key(trait: str) -> str:
    """Write a trait as a TOML key; a JSON string is a TOML string too."""
    return trait if re.fullmatch(r"[A-Za-z0-9_-]+", trait) else json.dumps(trait, ensure_ascii=False)
