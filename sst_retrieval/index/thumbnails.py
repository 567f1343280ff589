"""The small pictures of an index (JPEG): a thumbnail of every specimen, a crop of each of its traits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sst_retrieval.errors import ImageError
from sst_retrieval.files import is_inside
from sst_retrieval.imaging.images import image_size, thumbnail, write_jpeg
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.pictures.overlays import crop_trait
from sst_retrieval.types import Mask, RGBImage

THUMBNAIL_EDGE = 512
"""Longer edge of a thumbnail, in pixels."""

CROP_EDGE = 256
"""Edge of a crop, in pixels."""

MAX_BYTES = 4_000_000
MAX_PIXELS = 4_000_000
"""A file beyond these was not written by a build, and is not read."""


def write_thumbnails(paths: IndexPaths, specimen: str, image: RGBImage, masks: Mapping[str, Mask]) -> None:
    """Write the thumbnail of a specimen and the crops of its visible traits, in place of older ones.

    Args:
        paths: of the index.
        specimen: id of the specimen.
        image: uint8 (H, W, 3), its photograph.
        masks: trait -> bool (H, W); of an empty mask there is no crop.

    Raises:
        IndexFolderError: a folder of pictures is a link out of the index.
    """
    write_jpeg(paths.thumbnail_file(specimen), thumbnail(image, THUMBNAIL_EDGE))
    for trait, mask in masks.items():
        path = paths.crop_file(specimen, trait)
        paths.require_inside(path.parent)
        if mask.any():
            path.parent.mkdir(exist_ok=True)
            write_jpeg(path, crop_trait(image, mask, CROP_EDGE))
        else:
            path.unlink(missing_ok=True)


def remove_thumbnails(paths: IndexPaths, specimen: str) -> None:
    """Remove the thumbnail and the crops of a specimen.

    Args:
        paths: of the index.
        specimen: id of the specimen.

    Raises:
        IndexFolderError: a folder of pictures is a link out of the index.
    """
    for path in (paths.thumbnail_file(specimen), *paths.list_crops(specimen)):
        paths.require_inside(path.parent)
        path.unlink(missing_ok=True)


def read_thumbnail(path: Path, paths: IndexPaths) -> bytes | None:
    """Read a thumbnail or a crop.

    Args:
        path: of the file.
        paths: of the index; a link that leads out of it is not followed.

    Returns:
        The JPEG file; None if there is none, or one that no build has written.
    """
    if not path.is_file() or not is_inside(path, [paths.root]) or path.stat().st_size > MAX_BYTES:
        return None
    try:
        height, width = image_size(path)
    except ImageError:
        return None
    return path.read_bytes() if height * width <= MAX_PIXELS else None
