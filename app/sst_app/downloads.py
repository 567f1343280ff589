"""Downloads of hits: a table (CSV) and a contact sheet (PNG)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

import sst_retrieval as sst
from sst_app import current_index, index_images, individuals, query_input


def show_buttons(
    places: Sequence[object], index: sst.Index, query: query_input.QueryInput, hits: Sequence[sst.Hit]
) -> None:
    """Show the two download buttons, one in each of `places`; the files are made when a button is clicked."""
    table, sheet = places
    name = f"{query.trait}-hits"
    table.download_button(  # type: ignore[attr-defined]
        "CSV", lambda: build_hit_table(hits).to_csv(index=False).encode(), f"{name}.csv", "text/csv", disabled=not hits,
        help="The hits up to this page as a table", icon=":material/download:", width="stretch", on_click="ignore",
    )  # fmt: skip
    sheet.download_button(  # type: ignore[attr-defined]
        "Sheet", lambda: _make_sheet(index, query, hits), f"{name}.png", "image/png", disabled=not hits,
        help="The hits up to this page as a contact sheet (PNG)", icon=":material/download:", width="stretch",
        on_click="ignore",
    )  # fmt: skip


def _make_sheet(index: sst.Index, query: query_input.QueryInput, hits: Sequence[sst.Hit]) -> bytes:
    columns = [name for name in ("scientificName", "species", "subspecies", "sex", "locality") if name in index.columns]
    tiles = [_make_tile(index, hit, columns[:3]) for hit in hits]
    heading = f"Most similar first: {query.words()}"
    return index_images.encode_png(sst.contact_sheet(query_input.make_query_tile(index, query), tiles, heading=heading))


def _make_tile(index: sst.Index, hit: sst.Hit, columns: list[str]) -> sst.Tile:
    """Make the tile of a hit from its photograph, or from its thumbnail if the photograph cannot be opened."""
    place = "" if index.catalog.plain else individuals.describe_hit(hit)
    try:
        image, window = index.photograph(hit.individual), index.window(hit.individual)
        return sst.hit_tile(hit, image, columns=columns, window=window, place=place)
    except sst.ImageError:
        small = index_images.decode(
            index_images.read_crop(index, current_index.get_cache_key(index), hit.individual, hit.trait)
        )
        lines = [line for line in (f"similarity {hit.similarity:.3f}", place, "photograph not at hand") if line]
        return sst.Tile(small, {}, hit.individual, lines, badge=str(hit.rank))


def build_hit_table(hits: Sequence[sst.Hit]) -> pd.DataFrame:
    """Build a table with one row per hit: results of the search, then the columns of the collection."""
    return pd.DataFrame([_make_row(hit) for hit in hits])


def _make_row(hit: sst.Hit) -> dict[str, Any]:
    ours = {
        "rank": hit.rank,
        "specimen": hit.specimen,
        **({} if hit.individual == hit.specimen else {"photograph": hit.photograph, "individual": hit.individual}),
        "trait": hit.trait,
        "similarity": round(hit.similarity, 5),
        **{block: round(value, 5) for block, value in hit.blocks.items()},
        **{f"similarity_{part.trait}": round(part.similarity, 5) for part in hit.parts},
        "mask_confidence": round(hit.confidence, 4),
    }
    return prefix_clashes(hit.metadata, ours) | dict(hit.metadata)


def prefix_clashes(metadata: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Prefix names of this program with "sst:" where the collection has a column of the same name."""
    taken = {name.casefold() for name in metadata}
    return {f"sst:{name}" if name.casefold() in taken else name: value for name, value in ours.items()}
