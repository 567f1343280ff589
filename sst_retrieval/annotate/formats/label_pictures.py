"""Label pictures: SPECIMEN.png, a number a pixel (0 is the background); traits.toml names the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sst_retrieval.annotate.formats.contract import AnnotationFile, AnnotationFormat, ImageAnnotation, ReadContext
from sst_retrieval.errors import ImageError, SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import read_labels

SUFFIXES = (".png", ".tif", ".tiff")


def read_label_picture(path: Path, labels: npt.NDArray[np.uint16], context: ReadContext) -> AnnotationFile:
    """Separate a label map into one mask a trait.

    Args:
        path: named after the specimen's id.
        labels: uint16 (H, W), as `imaging.images.read_labels` returns it.
        context: with the traits that name the numbers.

    Returns:
        One image.

    Raises:
        SupportError: there is no traits.toml, all is background, or a number has no trait.
    """
    if context.traits is None:
        raise SupportError(
            f"{path} is a label picture, but there is no {path.with_name('traits.toml')} to name its numbers; "
            f"write one: [traits] and below it lines like: forewing_band = 1"
        )
    numbers = context.traits.numbers
    present = [int(number) for number in np.unique(labels) if number]
    if not present:
        raise SupportError(f"{path} is empty: every pixel is 0, the background; draw the traits or remove the file")
    unknown = sorted(set(present) - set(numbers.values()))
    if unknown:
        raise SupportError(_explain_unknown(path, unknown, present, numbers))
    number_of = {trait: number for trait, number in numbers.items() if number in present}
    stack = masks.from_labels(labels, list(number_of.values()))
    rles = {trait: masks.encode(mask) for trait, mask in zip(number_of, stack, strict=True)}
    size = (labels.shape[0], labels.shape[1])
    return AnnotationFile((ImageAnnotation(path, (path.stem,), size, rles, named_by_specimen=True),))


def _load(path: Path) -> Any:
    try:
        return read_labels(path)
    except ImageError as error:
        raise SupportError(str(error)) from error


def _explain_unknown(path: Path, unknown: Sequence[int], present: Sequence[int], numbers: Mapping[str, int]) -> str:
    """Explain what to do about label numbers that no trait has, out of all that are present but 0."""
    text = f"{path} has label {', '.join(map(str, unknown[:9]))}{', ...' * (len(unknown) > 9)}, but traits.toml names "
    text += ", ".join(f"{number} ({trait})" for trait, number in numbers.items())
    if present == [255] and len(numbers) == 1:
        return f"{text}; it is a black-and-white mask: write {next(iter(numbers))} = 255 into traits.toml"
    if present == [255]:
        return f"{text}; a black-and-white mask does not say which trait it is: paint each trait in its own number"
    return f"{text}; add a line NAME = {unknown[0]} under [traits], or erase it"


LABEL_PICTURES = AnnotationFormat(
    description="a label picture SPECIMEN.png with a traits.toml",
    suffixes=SUFFIXES,
    load=_load,
    matches=lambda labels: True,
    read=read_label_picture,
    standalone=False,
)
