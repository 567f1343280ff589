"""Pictures of individuals: a number a pixel, 8 or 16 bits, 0 is the background; each other number is one individual.

They stand beside the label picture of the parts, in one of three ways:

SPECIMEN.instances.png      SPECIMEN.png is the label picture
instances/SPECIMEN.png      SPECIMEN.png is the label picture
SPECIMEN.png                parts/SPECIMEN.png is the label picture

or stand alone where traits.toml names one trait, the whole animal. They are read for groups with many individuals.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sst_retrieval.annotate.formats.contract import AnnotationFile, ImageAnnotation, ReadContext
from sst_retrieval.errors import ImageError, SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import image_size, read_labels

INSTANCES, PARTS = "instances", "parts"
"""Folders of pictures of individuals and of label pictures."""

MAX_INDIVIDUALS = 10_000
"""A picture of more numbers is none of individuals."""

_ENDING = re.compile(r"(?P<name>.+)[._ -]instances?", re.IGNORECASE)


def split_instance_name(path: Path, context: ReadContext) -> str | None:
    """Return the photograph that a picture of individuals is called after; None if the picture is no such.

    Args:
        path: a picture among the supports.
        context: with the photographs.
    """
    match = _ENDING.fullmatch(path.stem)
    if match and context.photographs.is_known((match["name"],), ids_only=True):
        return match["name"]
    many = context.photographs.expects_many((path.stem,), ids_only=True)
    beside = path.parent / PARTS / path.name
    if many and (path.parent.name.lower() == INSTANCES or (path.parent.name.lower() != PARTS and beside.is_file())):
        return path.stem
    return None


def read_instance_picture(path: Path, name: str, context: ReadContext) -> AnnotationFile:
    """Read a picture of individuals.

    Args:
        path: the picture.
        name: of the photograph.
        context: with the photographs.

    Returns:
        One image with `instances` and no traits; none, and a note, if the photograph shows one individual.

    Raises:
        SupportError: it cannot be read, is empty, is not of the photograph's size, or has too many numbers.
    """
    if not context.photographs.expects_many((name,), ids_only=True):
        note = f"left out: {path} numbers individuals, but the group expects one a photograph; say --individuals many"
        return AnnotationFile((), notes=(note,))
    try:
        size = image_size(path)
        context.photographs.check_size(path, (name,), size, ids_only=True)
        labels = read_labels(path, max_pixels=size[0] * size[1])
    except ImageError as error:
        raise SupportError(str(error)) from error
    return AnnotationFile((make_instance_image(path, name, labels),))


def make_instance_image(path: Path, name: str, labels: npt.NDArray[np.uint16]) -> ImageAnnotation:
    """Separate a picture of individuals into one mask each.

    Args:
        path: the picture, for messages.
        name: of the photograph.
        labels: uint16 (H, W).

    Raises:
        SupportError: it is empty or has too many numbers.
    """
    size = (int(labels.shape[0]), int(labels.shape[1]))
    windows = {
        number: window
        for number, window in enumerate(ndimage.find_objects(labels.astype(np.int32)), 1)
        if window is not None
    }
    if not windows:
        raise SupportError(f"{path} is empty: every pixel is 0, the background; number the individuals from 1")
    if len(windows) > MAX_INDIVIDUALS:
        raise SupportError(
            f"{path} has {len(windows):,} numbers, more than a photograph has individuals; save it again"
        )
    instances = {
        number: masks.encode_part(labels[rows, columns] == number, (columns.start, rows.start), size)
        for number, (rows, columns) in windows.items()
    }
    return ImageAnnotation(path, (name,), size, {}, named_by_specimen=True, instances=instances)
