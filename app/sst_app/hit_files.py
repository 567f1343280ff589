"""Hits to take along: as a table (CSV) and as a contact sheet (PNG)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

import sst_retrieval as sst
from sst_app import asking, choosing, pictures


def offer(places: Sequence[object], index: sst.Index, question: asking.Question, hits: Sequence[sst.Hit]) -> None:
    """Show the two buttons, each in a place of its own; files are made when somebody asks for them."""
    table, sheet = places
    name = f"{question.trait}-hits"
    table.download_button(  # type: ignore[attr-defined]
        "CSV", lambda: as_table(hits).to_csv(index=False).encode(), f"{name}.csv", "text/csv", disabled=not hits,
        help="The hits up to this page as a table", icon=":material/download:", width="stretch", on_click="ignore",
    )  # fmt: skip
    sheet.download_button(  # type: ignore[attr-defined]
        "Sheet", lambda: _sheet(index, question, hits), f"{name}.png", "image/png", disabled=not hits,
        help="The hits up to this page as a contact sheet (PNG)", icon=":material/download:", width="stretch",
        on_click="ignore",
    )  # fmt: skip


def _sheet(index: sst.Index, question: asking.Question, hits: Sequence[sst.Hit]) -> bytes:
    columns = [name for name in ("scientificName", "species", "subspecies", "sex", "locality") if name in index.columns]
    tiles = [_sheet_tile(index, hit, columns[:3]) for hit in hits]
    heading = f"Most similar first: {question.words()}"
    return pictures.png(sst.contact_sheet(asking.query_tile(index, question), tiles, heading=heading))


def _sheet_tile(index: sst.Index, hit: sst.Hit, columns: list[str]) -> sst.Tile:
    """Show a hit on the sheet: on its photograph, or if that cannot be opened on the small picture of the index."""
    try:
        return sst.hit_tile(hit, index.photograph(hit.specimen), columns=columns)
    except sst.ImageError:
        small = pictures.pixels(pictures.crop(index, choosing.cache_key(index), hit.specimen, hit.trait))
        lines = [f"similarity {hit.similarity:.3f}", "its photograph was not opened"]
        return sst.Tile(small, {}, hit.specimen, lines, badge=str(hit.rank))


def as_table(hits: Sequence[sst.Hit]) -> pd.DataFrame:
    """Write hits as a table, one row a hit: what the search says, then the collection's own columns."""
    return pd.DataFrame([_row(hit) for hit in hits])


def _row(hit: sst.Hit) -> dict[str, Any]:
    ours = {
        "rank": hit.rank,
        "specimen": hit.specimen,
        "trait": hit.trait,
        "similarity": round(hit.similarity, 5),
        **{block: round(value, 5) for block, value in hit.blocks.items()},
        **{f"similarity_{part.trait}": round(part.similarity, 5) for part in hit.parts},
        "mask_confidence": round(hit.confidence, 4),
    }
    return beside(hit.metadata, ours) | dict(hit.metadata)


def beside(metadata: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Call what is ours "sst:" and its name where the collection has a column of that name ("colour", say)."""
    taken = {name.casefold() for name in metadata}
    return {f"sst:{name}" if name.casefold() in taken else name: value for name, value in ours.items()}
