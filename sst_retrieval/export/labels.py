"""Label pictures (PNG) with the user's own numbers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import QueryError
from sst_retrieval.export.file_provenance import file_provenance, write_provenance
from sst_retrieval.files import escape_name
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import write_png
from sst_retrieval.index.reviews import make_absent
from sst_retrieval.search.index import Index
from sst_retrieval.types import Region


def regions(index: Index, specimen: str) -> dict[str, Region]:
    """Return the regions of a specimen, trait -> region; none if it is not indexed. A rejected one is absent."""
    found = {}
    for trait in index.traits:
        with suppress(QueryError):  # A trait of another group was never looked for.
            region = index.region(specimen, trait)
            review = index.decision(specimen, trait)
            found[trait] = make_absent(region) if review is not None and review.decision == "reject" else region
    return found


def label_map(
    index: Index, specimen: str, *, min_confidence: float = 0.0
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | None:
    """Paint the masks of a specimen into one label map.

    Args:
        index: where it is indexed.
        specimen: its id.
        min_confidence: leave out masks less sure than this, 0..1.

    Returns:
        uint8 (H, W), or uint16 if the index has a number above 255, at the photograph's own size: 0 is the background,
        the numbers are the user's own. Where traits overlap, the smaller covers the larger. None if the specimen is
        not indexed.
    """
    found = regions(index, specimen)
    if not found:
        return None
    # All traits, found or not: the pictures of an index are all of one kind.
    size = next(iter(found.values())).size
    stack = np.zeros((len(index.traits), *size), dtype=bool)
    for trait, region in found.items():
        if region.confidence >= min_confidence:
            stack[index.traits.index(trait)] = masks.decode(region.rle, region.size)
    return masks.to_labels(stack, [index.trait_numbers[trait] for trait in index.traits])


def export_masks(
    index: Index,
    folder: Path,
    *,
    where: str | None = None,
    min_confidence: float = 0.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Write the label map of every indexed specimen as PNG, named after the specimen.

    Args:
        index: what to export.
        folder: where to; made if it does not exist. Older files of the same names are replaced.
        where: predicate over the collection's columns, see `Index.specimens`.
        min_confidence: leave out masks less sure than this, 0..1.
        progress: called with how many specimens are done, of how many.

    Returns:
        The files, in the order of the specimens; none of a specimen that is not indexed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    provenance = file_provenance(
        index, "label pictures", where=where, min_confidence=min_confidence, numbers=dict(index.trait_numbers)
    )
    write_provenance(folder, provenance)
    specimens, written = index.individuals(where), []
    for done, specimen in enumerate(specimens, start=1):
        labels = label_map(index, specimen.id, min_confidence=min_confidence)
        if labels is not None:
            written.append(folder / f"{escape_name(specimen.id)}.png")
            write_png(written[-1], labels)
        progress(done, len(specimens))
    return written
