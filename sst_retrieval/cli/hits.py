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
    first = "specimen" if all(hit.individual == hit.specimen for hit in hits) else "individual"
    head = (first, "rank", "similarity", *hits[0].blocks, "confidence", *shown)
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
    place = _say_place(index, hit.individual)
    try:
        image, window = index.photograph(hit.individual), index.window(hit.individual)
        return sheets.hit_tile(hit, image, columns=columns, window=window, place=place)
    except ImageError:
        crop = _read_crop(index, hit.individual, hit.trait)
        if crop is None:
            raise
    tile = sheets.hit_tile(hit, crop, columns=columns, place=place)
    return replace(tile, masks={}, lines=[*tile.lines, NOT_AT_HAND])


def _say_place(index: Index, individual: str) -> str:
    """Say which of several individuals of which of several photographs it is; "" where there is one of each."""
    found = index.individual(individual)
    photograph, parts = found.photograph, []
    if individual != photograph.id and len(others := index.catalog.individuals_of(photograph.id)) > 1:
        parts.append(f"{found.number} of {len(others)} on {photograph.id}")
    if photograph.id != photograph.specimen:
        parts.append(f"specimen {photograph.specimen}" + (f", {photograph.view}" if photograph.view else ""))
    return "; ".join(parts)


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
    """Make the tile of the region that is the query; of a specimen with several photographs, of the first."""
    columns, name = choose_columns(index.columns), index.examples(specimen, trait)[0]
    metadata = index.individual(name).metadata
    line = " · ".join(str(metadata[column]) for column in columns if metadata[column] not in (None, ""))
    lines = [text for text in (_say_place(index, name), line) if text]
    try:
        tile = Tile(index.photograph(name), {trait: index.mask(name, trait)}, name, lines)
    except ImageError:
        crop = _read_crop(index, name, trait)
        if crop is None:
            raise
        return Tile(crop, {}, name, [*lines, NOT_AT_HAND])
    window = index.window(name)
    return tile if window is None else sheets.cut_tile(tile, window)
