"""The small pictures of an index, for people: of every specimen, and of its traits with their outlines (JPEG)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sst_retrieval.errors import ImageError
from sst_retrieval.files import inside
from sst_retrieval.imaging.images import image_size, thumbnail, write_jpeg
from sst_retrieval.index.folder import IndexFolder
from sst_retrieval.pictures.overlays import cutout
from sst_retrieval.types import Mask, RGBImage

THUMBNAIL = 512
"""Longer edge of the small pictures of specimens, in pixels."""

CROP = 256
"""Edge of the small pictures of traits, in pixels."""

MOST_BYTES = 4_000_000
MOST_PIXELS = 4_000_000
"""A small picture beyond this was not made by a build, and is not shown."""


def write_small_pictures(folder: IndexFolder, specimen: str, image: RGBImage, masks: Mapping[str, Mask]) -> None:
    """Write the pictures of a specimen and of those of its traits that were found; older ones go.

    Args:
        folder: the index.
        specimen: id of the specimen.
        image: uint8 (H, W, 3), its photograph.
        masks: trait -> bool (H, W).

    Raises:
        IndexFolderError: a folder of pictures is a link out of the index.
    """
    write_jpeg(folder.thumbnail(specimen), thumbnail(image, THUMBNAIL))
    for trait, mask in masks.items():
        path = folder.crop(specimen, trait)
        folder.own(path.parent)
        if mask.any():
            path.parent.mkdir(exist_ok=True)
            write_jpeg(path, cutout(image, mask, CROP))
        else:
            path.unlink(missing_ok=True)


def remove_small_pictures(folder: IndexFolder, specimen: str) -> None:
    """Remove the pictures of a specimen and of its traits.

    Raises:
        IndexFolderError: a folder of pictures is a link out of the index.
    """
    for path in (folder.thumbnail(specimen), *folder.crops(specimen)):
        folder.own(path.parent)
        path.unlink(missing_ok=True)


def read_small_picture(path: Path, index: Path) -> bytes | None:
    """Read a small picture; None if there is none, or one that no build has made.

    Args:
        path: where it should lie.
        index: the folder of the index; a link that leads out of it is not followed.
    """
    if not path.is_file() or not inside(path, [index]) or path.stat().st_size > MOST_BYTES:
        return None
    try:
        height, width = image_size(path)
    except ImageError:
        return None
    return path.read_bytes() if height * width <= MOST_PIXELS else None
