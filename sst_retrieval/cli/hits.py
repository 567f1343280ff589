"""Hits for people: as a table of text, and as a contact sheet."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from sst_retrieval.errors import ImageError
from sst_retrieval.evaluate.text_tables import format_table
from sst_retrieval.pictures import sheets
from sst_retrieval.pictures.sheets import Tile
from sst_retrieval.search.index import Index
from sst_retrieval.types import Hit, RGBImage

CAPTION_COLUMNS = ("scientificName", "infraspecificEpithet", "species", "subspecies", "sex", "locality")
"""Columns of usual collections that say most about a hit; the first three that an index has are shown."""

NOT_AT_HAND = "photograph not at hand"
"""Caption of a tile that shows the index's own small picture; longer, it would be cut off."""


def format_hits(hits: Sequence[Hit]) -> str:
    """Write hits as aligned text."""
    if not hits:
        return "no specimen answers this search"
    shown = choose_columns(hits[0].metadata)
    head = ("specimen", "rank", "similarity", *hits[0].blocks, "confidence", *shown)
    rows = [
        (
            *(
                hit.individual,
                str(hit.rank),
                f"{hit.similarity:.3f}",
                *(f"{value:.3f}" for value in hit.blocks.values()),
            ),
            *(f"{hit.confidence:.2f}", *(str(hit.metadata[name] or "") for name in shown)),
        )
        for hit in hits
    ]
    return format_table(head, rows)


def choose_columns(columns: Mapping[str, object]) -> list[str]:
    """Choose the columns that say most about a hit."""
    return [name for name in CAPTION_COLUMNS if name in columns][:3]


def draw_hits(index: Index, query: Tile | None, hits: Sequence[Hit], heading: str = "") -> RGBImage:
    """Draw a search: the query (None if it was words), then the hits."""
    columns = choose_columns(index.columns)
    tiles = [_make_hit_tile(index, hit, columns) for hit in hits]
    return sheets.contact_sheet(query, tiles, heading=heading)


def _make_hit_tile(index: Index, hit: Hit, columns: Sequence[str]) -> Tile:
    """Make the tile of a hit from its photograph, or from the crop in the index if that is not at hand."""
    try:
        return sheets.hit_tile(
            hit, index.photograph(hit.individual), columns=columns, window=index.window(hit.individual)
        )
    except ImageError:
        crop = _read_crop(index, hit.individual, hit.trait)
        if crop is None:
            raise
    tile = sheets.hit_tile(hit, crop, columns=columns)
    return replace(tile, masks={}, lines=[*tile.lines, NOT_AT_HAND])


def _read_crop(index: Index, specimen: str, trait: str) -> RGBImage | None:
    """Read the crop of a trait, its outline drawn, or else the thumbnail; None if the index has neither."""
    data = index.crop(specimen, trait) or index.thumbnail(specimen)
    if data is None:
        return None
    with Image.open(io.BytesIO(data)) as picture:  # Checked by the index.
        return np.asarray(picture.convert("RGB"))


def count_absent_photographs(index: Index, hits: Sequence[Hit]) -> int:
    """Count the hits whose photograph is no longer where it was when the index was built."""
    return sum(not index.individual(hit.individual).image.is_file() for hit in hits)


def make_query_tile(index: Index, specimen: str, trait: str) -> Tile:
    """Make the tile of the region that is the query."""
    columns = choose_columns(index.columns)
    metadata = index.individual(specimen).metadata
    line = " · ".join(str(metadata[name]) for name in columns if metadata[name] not in (None, ""))
    lines = [line] if line else []
    try:
        image, mask, window = index.photograph(specimen), index.mask(specimen, trait), index.window(specimen)
        if window is not None:
            x0, y0, x1, y1 = window
            image, mask = image[y0:y1, x0:x1], mask[y0:y1, x0:x1]
        return Tile(image, {trait: mask}, specimen, lines)
    except ImageError:
        crop = _read_crop(index, specimen, trait)
        if crop is None:
            raise
        return Tile(crop, {}, specimen, [*lines, NOT_AT_HAND])
