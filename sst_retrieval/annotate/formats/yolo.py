"""YOLO's segmentation labels: one .txt a photograph, each line a class and its outline in shares of the photograph.

The classes are named by classes.txt, obj.names or data.yaml, in the folder of the file or up to two above it. Lines of
four numbers are boxes and are left out. https://docs.ultralytics.com/datasets/segment/
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sst_retrieval.annotate.formats.contract import (
    AnnotationFile,
    AnnotationFormat,
    ReadContext,
    make_annotation_file,
)
from sst_retrieval.annotate.formats.shapes import TraitShapes
from sst_retrieval.errors import SupportError

Line = tuple[int, list[float]]

LISTS = ("classes.txt", "obj.names", "labels.txt")
"""Files of one class a line, the first being class 0."""

DATA_FILES = ("data.yaml", "data.yml", "dataset.yaml")


def load_yolo(path: Path) -> list[Line] | None:
    """Read the lines of a text file: class and numbers each; None if it is some other text.

    Raises:
        SupportError: it cannot be opened.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SupportError(f"{path} cannot be opened ({error.strerror}); check the path of the supports") from error
    lines = []
    for line in text.removeprefix(codecs.BOM_UTF8).splitlines():
        if not line.strip():
            continue
        first, *rest = line.split()
        try:
            values = [float(word) for word in rest]
        except ValueError:
            return None
        if not re.fullmatch(rb"\d{1,6}", first) or len(values) < 4:
            return None
        lines.append((int(first), values))
    if lines and not all(-1 <= value <= 2 for _, values in lines for value in values):
        if _find_classes(path):
            raise SupportError(
                f"{path} has coordinates that are no shares of the photograph (0 to 1), perhaps pixels; export the "
                f"labels in YOLO's format for segmentation"
            )
        return None  # Some other table of numbers.
    return lines or None


def read_yolo(path: Path, lines: Sequence[Line], context: ReadContext) -> AnnotationFile:
    """Read YOLO's labels of one photograph.

    Returns:
        One image, called like the file, and the classes as the numbers of the traits, from 0.

    Raises:
        SupportError: no file names the classes, the photograph is unknown, or nothing can be used.
    """
    names = _read_classes(path)
    height, width = context.image_size(path, (path.stem,))
    shapes = TraitShapes(path, (height, width), context.traits)
    for position, (number, values) in enumerate(lines, 1):
        where = f"{path} line {position}"
        if number >= len(names):
            shapes.leave_out(f"{where} is of class {number}, but the classes are {', '.join(names)}")
        elif len(values) == 4:
            shapes.leave_out(f"{where} ({names[number]}) is a box, not an outline; export segmentation labels")
        elif len(values) % 2:
            shapes.add(names[number], lambda where=where: _refuse_odd(where))  # type: ignore[misc]
        else:
            points = np.array(values).reshape(-1, 2) * (width, height)
            shapes.add_polygon(names[number], points.tolist(), where)
    rles = shapes.join()
    images = shapes.make_images((path.stem,))
    numbers = {name: number for number, name in enumerate(names) if name in rles}
    return make_annotation_file(path, images, shapes.notes, numbers)


def _refuse_odd(where: str) -> list[bytes]:
    raise SupportError(
        f"{where} has an odd number of coordinates, perhaps a confidence at its end; export labels, not predictions"
    )


def _read_classes(path: Path) -> list[str]:
    if names := _find_classes(path):
        return names
    raise SupportError(
        f"{path} is in YOLO's format, but no classes.txt or data.yaml beside it names its classes; "
        f"write a classes.txt with the traits, one a line, class 0 first"
    )


def _find_classes(path: Path) -> list[str]:
    """Find the names of the classes, class 0 first; none if no file beside or above names them."""
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        for name in (*LISTS, *DATA_FILES):
            file = folder / name
            if file.is_file() and file != path and file.stat().st_size < 1_000_000:
                text = file.read_text(encoding="utf-8-sig", errors="replace")
                names = _read_yaml_names(text) if name in DATA_FILES else [line.strip() for line in text.splitlines()]
                if any(names):
                    return names
    return []


def _read_yaml_names(text: str) -> list[str]:
    """Read `names` of a data.yaml: [a, b], a list below it, or numbers and names."""
    lines = [line.split(" #")[0].rstrip() for line in text.splitlines()]
    start = next((i for i, line in enumerate(lines) if line.startswith("names:")), None)
    if start is None:
        return []
    inline = lines[start].removeprefix("names:").strip()
    below = [line.strip() for line in _take_indented(lines[start + 1 :])]
    text = inline + " ".join(below) if inline else "\n".join(below)
    if inline.startswith(("[", "{")):
        entries = [entry.strip() for entry in text.strip("[]{} ").split(",")]
    else:
        entries = [line.removeprefix("- ").strip() for line in below]
    numbered = [re.fullmatch(r"(\d{1,4})\s*:\s*(.+)", entry) for entry in entries]
    if entries and all(numbered):
        names = [""] * (1 + max(int(match[1]) for match in numbered if match))
        for match in numbered:
            if match:
                names[int(match[1])] = match[2].strip("'\" ")
        return names
    return [entry.strip("'\" ") for entry in entries]


def _take_indented(lines: Sequence[str]) -> list[str]:
    taken = []
    for line in lines:
        if line and not line.startswith((" ", "\t", "-", "]", "}")):
            break
        if line.strip():
            taken.append(line)
    return taken


YOLO = AnnotationFormat(
    description="YOLO segmentation labels (.txt with a classes.txt or data.yaml)",
    suffixes=(".txt",),
    load=load_yolo,
    matches=lambda lines: lines is not None,
    read=read_yolo,
    standalone=False,
    optional=True,
)
