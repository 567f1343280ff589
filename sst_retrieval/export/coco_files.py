"""Write a COCO file of any length: its images and annotations are written as they come, and never held together."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from sst_retrieval.export.file_provenance import provenance_line, write_provenance
from sst_retrieval.files import atomic_write


class CocoWriter:
    """Takes the images and the annotations of a COCO file, in any order (see `write_coco`).

    Attributes:
        images, annotations: how many there are.
    """

    def __init__(self, images: TextIO, annotations: TextIO) -> None:
        """Take two open files, of which the second is put behind the first later."""
        self._files = images, annotations
        self.images = self.annotations = 0

    def add_image(self, image: Mapping[str, Any]) -> None:
        """Write one entry of `images`."""
        self._files[0].write(", " * bool(self.images) + _to_json(image))
        self.images += 1

    def add_annotation(self, annotation: Mapping[str, Any]) -> None:
        """Write one entry of `annotations`."""
        self._files[1].write(", " * bool(self.annotations) + _to_json(annotation))
        self.annotations += 1


@contextmanager
def write_coco(
    path: Path, provenance: Mapping[str, Any], categories: Sequence[Mapping[str, Any]]
) -> Iterator[CocoWriter]:
    """Write a COCO file that appears when it is complete, and beside it where it comes from (a context manager).

    Args:
        path: a .json file.
        provenance: see `file_provenance`.
        categories: its `categories`.

    Yields:
        What takes its images and annotations.

    Raises:
        OSError: it cannot be written.
    """
    info = {
        "description": provenance_line(provenance),
        "date_created": provenance["written"],
        "provenance": provenance,
    }
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
        tempfile.TemporaryFile("w+", encoding="utf-8", newline="", dir=path.parent) as annotations,
    ):
        file.write(f'{{"info": {_to_json(info)}, "licenses": [], "images": [')
        yield CocoWriter(file, annotations)
        file.write(f'], "categories": {_to_json(categories)}, "annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, file)
        file.write("]}")
    write_provenance(path, provenance)


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
