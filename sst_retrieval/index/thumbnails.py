"""The small pictures of an index (JPEG): a thumbnail of every individual, a crop of each of its traits.

The thumbnail of an individual that is the only one on its photograph shows the photograph, of others their window
(`find.cutouts.get_window`).

After the end of the JPEG data, where no program that shows pictures looks, a file has the SHA-256 of all before it.
Files of older versions end with the JPEG data.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sst_retrieval.errors import ImageError
from sst_retrieval.files import atomic_write, file_name, is_inside
from sst_retrieval.find.cutouts import get_window
from sst_retrieval.imaging import masks as rle
from sst_retrieval.imaging.images import content_hash, image_size, read_image, thumbnail
from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.pictures.overlays import crop_trait
from sst_retrieval.types import Mask, Region, RGBImage

THUMBNAIL_EDGE = 512
"""Longer edge of a thumbnail, in pixels."""

CROP_EDGE = 256
"""Edge of a crop, in pixels."""

_NUMBERED = re.compile(rf".*{re.escape(file_name('#'))}[0-9]+(-[0-9a-f]{{8}})?")
"""How a picture of one of several individuals is called (`files.file_name`)."""

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
    _write_picture(paths.thumbnail_file(specimen), thumbnail(image, THUMBNAIL_EDGE))
    for trait, mask in masks.items():
        path = paths.crop_file(specimen, trait)
        paths.require_inside(path.parent)
        if mask.any():
            path.parent.mkdir(exist_ok=True)
            _write_picture(path, crop_trait(image, mask, CROP_EDGE))
        else:
            path.unlink(missing_ok=True)


def write_individual_thumbnails(paths: IndexPaths, image: RGBImage, regions: Sequence[Region]) -> None:
    """Write the thumbnail of one of several individuals on a photograph, and the crops of its visible traits.

    Args:
        paths: of the index.
        image: uint8 (H, W, 3), the photograph.
        regions: all regions of the individual, whose `placement` has a box.
    """
    placement = regions[0].placement
    if placement is None or placement.box is None:
        raise ValueError(f"{regions[0].individual} has no place on its photograph")
    height, width = image.shape[:2]
    x0, y0, x1, y1 = window = get_window(placement.box, (height, width))
    masks = {each.trait: rle.decode_part(each.rle, each.size, window) for each in regions}
    write_thumbnails(paths, regions[0].individual, np.ascontiguousarray(image[y0:y1, x0:x1]), masks)


def read_thumbnail(path: Path, paths: IndexPaths) -> bytes | None:
    """Read a thumbnail or a crop.

    Args:
        path: of the file.
        paths: of the index; a link that leads out of it is not followed.

    Returns:
        The JPEG file, without its checksum; None if there is none, if it is damaged, or if no build has written it.
    """
    if not path.is_file() or not is_inside(path, [paths.root]) or path.stat().st_size > MAX_BYTES:
        return None
    try:
        height, width = image_size(path)
    except ImageError:
        return None
    if height * width > MAX_PIXELS:
        return None
    data = path.read_bytes()
    return data.removesuffix(_seal(data)) if _find_fault(data) is None else None


def check_picture(path: Path) -> str | None:
    """Read a picture wholly; returns what is wrong with it, None if nothing is."""
    try:
        return _find_fault(path.read_bytes()) if path.stat().st_size <= MAX_BYTES else "is too large for a thumbnail"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def find_missing_pictures(paths: IndexPaths, catalog: Catalog) -> list[str]:
    """List the individuals that lack their thumbnail, or the crop of a trait that they show.

    Args:
        paths: of the index.
        catalog: of its present generation.
    """
    there = {folder.name: names for folder, names in paths.list_pictures_by_folder().items()}
    lacking: dict[str, None] = {}
    last, name = None, ""
    for specimen, trait in catalog.rows(
        "SELECT individual, CASE WHEN present THEN trait END FROM regions ORDER BY individual, trait"
    ):
        if specimen != last:
            last, name = specimen, f"{file_name(specimen)}.jpg"
        wanted = ["thumbnails"] if trait is None else ["thumbnails", file_name(trait)]
        if any(name not in there.get(folder, ()) for folder in wanted):
            lacking[specimen] = None
    return list(lacking)


def restore_pictures(paths: IndexPaths, catalog: Catalog) -> int:
    """Make missing thumbnails and crops again, of photographs that are at hand and unchanged.

    Args:
        paths: of the index.
        catalog: of its present generation.

    Returns:
        Of how many specimens pictures were made.
    """
    made = 0
    for name in find_missing_pictures(paths, catalog):
        specimen = catalog.individual(name)
        try:
            if specimen is None or content_hash(specimen.image) not in catalog.content_hashes(name):
                continue
            image = read_image(specimen.image)
        except ImageError:
            continue
        sql = "SELECT region_id FROM regions WHERE individual = $name"
        ids = np.array([number for (number,) in catalog.rows(sql, {"name": name})], dtype=np.int64)
        regions = list(catalog.iterate_regions(ids))
        blocked = any(path.is_dir() for path in (paths.thumbnail_file(name), *paths.list_crops(name)))
        if not blocked and all(each.size == image.shape[:2] for each in regions):
            if specimen.box is None:
                write_thumbnails(paths, name, image, {each.trait: rle.decode(each.rle, each.size) for each in regions})
            else:
                write_individual_thumbnails(paths, image, regions)
            made += 1
    return made


def remove_stale_pictures(paths: IndexPaths, catalog: Catalog) -> None:
    """Remove the pictures of individuals that are not found any more, of photographs that may show several."""
    there = paths.list_pictures_by_folder()
    if catalog.plain:  # Only what is numbered is a remainder of another kind of build.
        mark = file_name("#")
        for folder, found in there.items():
            there[folder] = {name for name in found if mark in name and _NUMBERED.fullmatch(Path(name).stem)}
    if any(there.values()):
        names = {f"{file_name(name)}.jpg" for (name,) in catalog.rows('SELECT "sst:individual" FROM individuals')}
        for folder, found in there.items():
            for name in found - names:
                (folder / name).unlink(missing_ok=True)


def remove_pictures_of(paths: IndexPaths, specimens: Collection[str]) -> None:
    """Remove the thumbnails and crops of specimens that were taken out of the index.

    Args:
        paths: of the index.
        specimens: ids; may be many.
    """
    names = {f"{file_name(specimen)}.jpg" for specimen in specimens}
    if names:
        for path in paths.list_pictures():
            if path.name in names:
                path.unlink(missing_ok=True)


def _write_picture(path: Path, image: RGBImage) -> None:
    """Write a picture as JPEG, with its checksum behind it; the file appears whole or not at all."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getvalue() + _make_seal(buffer.getvalue()))


def _make_seal(data: bytes) -> bytes:
    return b"sha256:" + hashlib.sha256(data).hexdigest().encode()


def _seal(data: bytes) -> bytes:
    """Return the checksum behind a JPEG file; empty if it has none that fits."""
    end = len(data) - len(_make_seal(b""))
    return data[end:] if end > 0 and data[end:] == _make_seal(data[:end]) else b""


def _find_fault(data: bytes) -> str | None:
    if _seal(data):
        return None
    if not data.endswith(b"\xff\xd9"):
        return "has changed since it was written"
    try:
        # Of an older version, without a checksum: it can only be decoded.
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                return "is too large for a thumbnail"
            picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return "is damaged"
    return None
