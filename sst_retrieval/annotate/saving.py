"""Room 2: save the masks that a person drew on a specimen as a support that a build reads.

supports/traits.toml        gets a line for every trait that is new
supports/SPECIMEN.png       label picture: the number of a trait a pixel, 0 = background
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sst_retrieval.annotate.label_names import name_label_picture
from sst_retrieval.annotate.traits import TRAITS_FILE, add_traits, find_traits_file
from sst_retrieval.errors import ImageError, SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import read_labels, write_png
from sst_retrieval.types import Mask


def save_support(
    folder: Path, specimen: str, drawn: Mapping[str, Mask], *, numbers: Mapping[str, int] | None = None
) -> Path:
    """Write the traits of a specimen as a label picture, and name their numbers in traits.toml.

    An older label picture of the specimen is kept beside the new one, hidden, as `.SPECIMEN.png.old`.

    Args:
        folder: the folder of supports; made if it does not exist.
        specimen: id of the specimen.
        drawn: trait -> bool (H, W) at the photograph's own size; empty masks are left out. Where traits overlap,
            the smaller covers the larger, since a label picture holds one trait a pixel.
        numbers: trait -> label number, for traits that traits.toml does not name yet; the others get the next free one.

    Returns:
        The path of the label picture.

    Raises:
        SupportError: all masks are empty, one is wholly covered by others, the specimen's id is empty, `folder` is a
            file, a file of the specimen's name is no label picture, or traits.toml cannot be used.
    """
    present = {trait: mask for trait, mask in drawn.items() if mask.any()}
    if not present:
        raise SupportError(f"nothing is drawn on {specimen}; draw a trait before saving")
    if not specimen:
        raise SupportError("a label picture is called after its specimen, and the id is empty; give the specimen's id")
    if folder.exists() and not folder.is_dir():
        raise SupportError(f"{folder} is a file; put it into a folder of its own, and build with that folder")
    folder.mkdir(parents=True, exist_ok=True)
    number_of = add_traits(find_traits_file(folder) or folder / TRAITS_FILE, present, numbers or {})
    labels = masks.to_labels(np.stack(list(present.values())), [number_of[trait] for trait in present])
    hidden = [trait for trait in present if not (labels == number_of[trait]).any()]
    if hidden:
        raise SupportError(f"{hidden[0]} lies wholly under other traits; a label picture cannot show both")
    path = folder / name_label_picture(specimen)
    if path.exists():
        _require_label_picture(path)
        path.replace(folder / f".{path.name}.old")
    write_png(path, labels)
    return path


def _require_label_picture(path: Path) -> None:
    """Refuse to replace what is no label picture: a photograph, say, in a folder that was named by mistake."""
    try:
        read_labels(path)
    except ImageError as error:
        raise SupportError(f"{path} is there already and is no label picture; move it, then save again") from error
