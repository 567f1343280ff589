"""Photographs with all masks tinted and outlined, to be looked through: individuals in white, with their numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from sst_retrieval.errors import ImageError
from sst_retrieval.export.file_provenance import file_provenance, write_provenance
from sst_retrieval.export.labels import regions
from sst_retrieval.export.photographs import PhotographContent, collect_outlines, list_photographs, paint
from sst_retrieval.files import escape_name
from sst_retrieval.imaging.images import write_jpeg
from sst_retrieval.imaging.masks import decode
from sst_retrieval.pictures.sheets import Tile, overlay_sheet
from sst_retrieval.search.index import Index
from sst_retrieval.types import Mask

OVERLAY_SIDE = 1200
"""Edge of a picture, in pixels, unless another is asked for."""


def export_overlays(
    index: Index,
    folder: Path,
    *,
    where: str | None = None,
    side: int = OVERLAY_SIDE,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Path], list[str]]:
    """Draw every photograph with the masks that were found on it, as JPEG, named after it.

    Args:
        index: what to export.
        folder: where to; made if it does not exist. Older files of the same names are replaced.
        where: predicate over the collection's columns, `photograph`, `specimen` and `view`.
        side: edge of a picture in pixels.
        progress: called with how many photographs are done, of how many.

    Returns:
        The files, in the order of the photographs; and why others could not be read, a sentence each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_provenance(folder, file_provenance(index, "overlays", where=where, side=side))
    photographs = list_photographs(index, where)
    written, problems = [], []
    for done, content in enumerate(photographs, start=1):
        try:
            tile = make_photograph_tile(index, content)
        except ImageError as error:
            problems.append(str(error))
        else:
            written.append(folder / f"{escape_name(content.id)}.jpg")
            write_jpeg(written[-1], overlay_sheet([tile], tile=side))
        progress(done, len(photographs))
    return written, problems


def make_photograph_tile(index: Index, content: PhotographContent) -> Tile:
    """Make the tile of a whole photograph for an overlay sheet: its traits, and its individuals if it may show several.

    Args:
        index: where it is indexed.
        content: the photograph.

    Raises:
        ImageError: the photograph is not at hand.
    """
    image = index.photograph(content.id)
    # All traits in the order of their numbers, so that each has the same colour on every picture.
    masks: dict[str, Mask] = {trait: np.zeros(image.shape[:2], dtype=bool) for trait in index.traits}
    for individual in content.individuals:
        for trait, region in regions(index, individual.id).items():
            paint(region.rle, region.size, masks[trait])
    photograph, lines, numbered = content.photograph, [content.photograph.group], {}
    if content.may_show_several:
        outlines = collect_outlines(index, content.individuals)
        size = (image.shape[0], image.shape[1])
        numbered = {each.number: decode(outlines[each.id], size) for each in content.individuals if each.id in outlines}
        lines[0] += f": {len(content.individuals)} individual{'s' * (len(content.individuals) != 1)}"
    return Tile(image, masks, photograph.id, lines, individuals=numbered)
