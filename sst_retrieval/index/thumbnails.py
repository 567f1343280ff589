"""The small pictures of an index (WebP): a thumbnail of every individual, a crop of each of its traits.

The thumbnail of an individual that is the only one on its photograph shows the photograph, of others their window
(`find.cutouts.get_window`). They lie in one file (`index.picture_pack`); whoever processes a photograph writes its own
beside it (`index.loose_pictures`). Older versions wrote a file each (`index.old_pictures`).

At the end of a build the pack is compared with the catalog (`tidy_pictures`). Where both were alike at the last commit
(`were_compared`), only individuals that the commit changed can differ, and no others are compared.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from sst_retrieval.errors import ImageError
from sst_retrieval.files import write_text
from sst_retrieval.find.cutouts import get_window
from sst_retrieval.imaging import masks as rle
from sst_retrieval.imaging.images import content_hash, read_image, thumbnail
from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.checksums import find_unreadable, parse_json
from sst_retrieval.index.loose_pictures import pack_pictures, write_loose_pictures
from sst_retrieval.index.old_pictures import convert_old_pictures, has_old_pictures, read_old_picture
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.picture_files import encode_picture, is_small
from sst_retrieval.index.picture_pack import (
    THUMBNAIL,
    DamagedPackError,
    compact,
    find_pictures,
    list_pictures,
    mend,
    read_picture,
    remove_pictures,
)
from sst_retrieval.pictures.overlays import crop_trait
from sst_retrieval.types import Mask, Region, RGBImage

THUMBNAIL_EDGE = 512
"""Longer edge of a thumbnail, in pixels."""

CROP_EDGE = 208
"""Edge of a crop, in pixels."""

_BATCH = 10_000


def write_thumbnails(paths: IndexPaths, specimen: str, image: RGBImage, masks: Mapping[str, Mask]) -> None:
    """Write the thumbnail of a specimen and the crops of its visible traits, in place of older ones.

    They are seen when `pack_pictures` has put them into the pack.

    Args:
        paths: of the index.
        specimen: id of the specimen.
        image: uint8 (H, W, 3), its photograph.
        masks: trait -> bool (H, W); of an empty mask there is no crop.

    Raises:
        IndexFolderError: a folder of pictures is a link out of the index.
    """
    pictures = {THUMBNAIL: encode_picture(thumbnail(image, THUMBNAIL_EDGE))}
    pictures |= {
        trait: encode_picture(crop_trait(image, mask, CROP_EDGE)) for trait, mask in masks.items() if mask.any()
    }
    write_loose_pictures(paths, specimen, pictures)


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


def read_thumbnail(paths: IndexPaths, individual: str, trait: str | None = None) -> bytes | None:
    """Read a thumbnail or a crop.

    Args:
        paths: of the index; a link that leads out of it is not followed.
        individual: whose.
        trait: of the crop; None reads the thumbnail.

    Returns:
        The picture, a WebP file (JPEG in an index of an older version); None if there is none, if it is damaged, or if
        no build has written it.
    """
    paths.require_inside(paths.pictures_file)
    data = read_picture(paths.pictures_file, individual, THUMBNAIL if trait is None else trait)
    if data is None:
        return read_old_picture(paths, individual, trait)
    return data if is_small(data) else None


def find_missing_pictures(paths: IndexPaths, catalog: Catalog) -> list[str]:
    """List the individuals that lack their thumbnail, or the crop of a trait that they show.

    Args:
        paths: of the index.
        catalog: of its present generation.
    """
    return [name for name, lacking, _ in _compare(paths, catalog) if lacking]


def were_compared(paths: IndexPaths, generation: int) -> bool:
    """Say whether the pack is as it was when all of it was as the catalog of a generation says.

    Args:
        paths: of the index; no picture was written yet since its lock is held.
        generation: number of its present generation.
    """
    record = paths.pictures_compared_file
    if find_unreadable(record) is not None:
        return False
    try:
        return bool(parse_json(record.read_bytes()) == _describe_pack(paths, generation))
    except (OSError, ValueError):
        return False  # It is a help; all are compared.


def tidy_pictures(
    paths: IndexPaths, catalog: Catalog, *, generation: int, changed: Collection[str] | None = None
) -> int:
    """Leave the pictures of an index as its catalog says: remove those of nobody, convert old ones, make missing ones.

    Missing ones are made of photographs that are at hand and unchanged.

    Args:
        paths: of the index, whose lock is held.
        catalog: of its present generation.
        generation: number of that.
        changed: the only individuals that may differ, besides those whose pictures are not in the pack yet; None
            compares all.

    Returns:
        Of how many specimens pictures were made.
    """
    only = changed if not has_old_pictures(paths) else None
    packed = pack_pictures(paths)
    convert_old_pictures(paths, catalog)
    try:
        differences = list(_compare(paths, catalog, None if only is None else sorted({*only, *packed})))
    except DamagedPackError:
        mend(paths.pictures_file)
        differences = list(_compare(paths, catalog))
    stale = [name for name, _, known in differences if not known]
    if stale:
        remove_pictures(paths.pictures_file, stale)
    lacking = [name for name, lacks, _ in differences if lacks]
    made = _restore(paths, catalog, lacking)
    compact(paths.pictures_file)
    if made == len(lacking) and paths.pictures_file.is_file():
        write_text(paths.pictures_compared_file, json.dumps(_describe_pack(paths, generation)))
    return made


def _describe_pack(paths: IndexPaths, generation: int) -> dict[str, int]:
    state = paths.pictures_file.stat()
    return {"generation": generation, "bytes": state.st_size, "changed": state.st_mtime_ns}


def _compare(
    paths: IndexPaths, catalog: Catalog, only: Sequence[str] | None = None
) -> Iterator[tuple[str, bool, bool]]:
    """Compare the pack with the catalog, in order of individuals; yields those that differ.

    Args:
        paths: of the index.
        catalog: of its present generation.
        only: these individuals, ascending; None compares all.

    Yields:
        Individual, whether it lacks a picture, and whether the catalog knows it.
    """
    wanted = _list_wanted(catalog, only)
    there = list_pictures(paths.pictures_file) if only is None else find_pictures(paths.pictures_file, only)
    one, other = next(wanted, None), next(there, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            if one[1]:
                yield one[0], True, True
            one = next(wanted, None)
        elif one is None or other[0] < one[0]:
            yield other[0], False, False
            other = next(there, None)
        else:
            if not one[1] <= other[1]:
                yield one[0], True, True
            one, other = next(wanted, None), next(there, None)


def _list_wanted(catalog: Catalog, only: Sequence[str] | None) -> Iterator[tuple[str, frozenset[str]]]:
    """List which pictures there must be of individuals (None: all), in their order, as Python orders texts."""
    sql = """SELECT individual, trait, present FROM regions
             UNION ALL SELECT "sst:individual" AS individual, NULL, false FROM individuals"""
    among = "" if only is None else " WHERE individual IN (SELECT unnest($names))"
    parameters = {} if only is None else {"names": list(only)}
    last: str | None = None
    names: set[str] = set()
    with catalog.cursor() as cursor:
        cursor.execute(f"FROM ({sql}){among} ORDER BY 1", parameters)
        while rows := cursor.fetchmany(_BATCH):
            for individual, trait, present in rows:
                if individual != last:
                    if last is not None:
                        yield last, frozenset(names)
                    last, names = individual, set()
                if trait is not None:
                    names |= {THUMBNAIL, trait} if present else {THUMBNAIL}
    if last is not None:
        yield last, frozenset(names)


def _restore(paths: IndexPaths, catalog: Catalog, individuals: Iterable[str]) -> int:
    """Make the pictures of individuals whose photographs are at hand and unchanged; returns of how many."""
    made = 0
    for name in individuals:
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
        if all(each.size == image.shape[:2] for each in regions):
            if specimen.box is None:
                write_thumbnails(paths, name, image, {each.trait: rle.decode(each.rle, each.size) for each in regions})
            else:
                write_individual_thumbnails(paths, image, regions)
            made += 1
    pack_pictures(paths)
    return made
