"""Label pictures (PNG) with the user's own numbers: one a photograph, and one that numbers its individuals.

    PHOTOGRAPH.png              the traits
    instances/PHOTOGRAPH.png    16 bits, the individuals by their numbers; of photographs that may show several
    traits.toml                 the names of the numbers

The names are those that a build reads as supports (`annotate.formats.instance_pictures`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sst_retrieval.annotate.traits import MANY, TRAITS_FILE, read_traits
from sst_retrieval.errors import InputError, QueryError
from sst_retrieval.export.file_provenance import file_provenance, write_provenance
from sst_retrieval.export.photographs import PhotographContent, box_of_rle, collect_outlines, list_photographs, paint
from sst_retrieval.files import escape_name, write_text
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import write_png
from sst_retrieval.index.reviews import make_absent
from sst_retrieval.search.index import Index
from sst_retrieval.types import Region

INSTANCES = "instances"
"""Sub-folder of the pictures of individuals."""


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
    """Write the label map of every indexed photograph as PNG, named after it, and beside it that of its individuals.

    Args:
        index: what to export.
        folder: where to; made if it does not exist. Older files of the same names are replaced.
        where: predicate over the collection's columns, `photograph`, `specimen` and `view`.
        min_confidence: leave out masks less sure than this, 0..1.
        progress: called with how many photographs are done, of how many.

    Returns:
        The label maps of the traits, in the order of the photographs; none of one that is not indexed, or on which no
        individual was found and whose file is not at hand.

    Raises:
        InputError: the folder has a traits.toml of other numbers.
    """
    _write_traits(index, folder)
    provenance = file_provenance(
        index, "label pictures", where=where, min_confidence=min_confidence, numbers=dict(index.trait_numbers)
    )
    write_provenance(folder, provenance)
    photographs, written = list_photographs(index, where), []
    for done, content in enumerate(photographs, start=1):
        name = f"{escape_name(content.id)}.png"
        if not content.may_show_several:
            labels = label_map(index, content.id, min_confidence=min_confidence)
        else:
            labels = _paint_traits(index, content, min_confidence)
            if (numbers := paint_individuals(index, content)) is not None:
                (folder / INSTANCES).mkdir(exist_ok=True)
                write_png(folder / INSTANCES / name, numbers)
        if labels is not None:
            written.append(folder / name)
            write_png(written[-1], labels)
        progress(done, len(photographs))
    return written


def _write_traits(index: Index, folder: Path) -> None:
    """Write the traits.toml that a build needs to read the pictures as supports."""
    path = folder / TRAITS_FILE
    numbers = dict(index.trait_numbers)
    if path.exists() and dict(read_traits(path).numbers) != numbers:
        raise InputError(
            f"{path} has other traits or numbers than the index, so other pictures lie there; choose a new folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    expected = index.info()["provenance"].get("individuals", {})
    lines = ["[traits]", *(f"{_quote(trait)} = {number}" for trait, number in numbers.items())]
    if several := [group for group, kind in expected.items() if kind == MANY]:
        lines += ["", "[individuals]", *(f"{_quote(group)} = {_quote(MANY)}" for group in several)]
    write_text(path, "\n".join([*lines, ""]))


def _quote(text: str) -> str:
    """Write a text as TOML does; a JSON string is one of TOML, too."""
    return json.dumps(text, ensure_ascii=False)


def _paint_traits(
    index: Index, content: PhotographContent, min_confidence: float
) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | None:
    """Paint the traits of all individuals of a photograph into one label map, as `label_map` those of one."""
    if content.size is None:
        return None
    stack = np.zeros((len(index.traits), *content.size), dtype=bool)
    for individual in content.individuals:
        for trait, region in regions(index, individual.id).items():
            if region.confidence >= min_confidence:
                paint(region.rle, region.size, stack[index.traits.index(trait)])
    return masks.to_labels(stack, [index.trait_numbers[trait] for trait in index.traits])


def paint_individuals(index: Index, content: PhotographContent) -> npt.NDArray[np.uint16] | None:
    """Paint the individuals of a photograph by their numbers.

    Args:
        index: where it is indexed.
        content: the photograph.

    Returns:
        uint16 (H, W) at the photograph's own size: 0 is the background. None if its size is not known.
    """
    if content.size is None:
        return None
    numbers = np.zeros(content.size, dtype=np.uint16)
    outlines = collect_outlines(index, content.individuals)
    for individual in content.individuals:
        if individual.id in outlines:
            x0, y0, x1, y1 = box = box_of_rle(outlines[individual.id], content.size)
            numbers[y0:y1, x0:x1][masks.decode_part(outlines[individual.id], content.size, box)] = individual.number
    return numbers
