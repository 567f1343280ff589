"""The registry of annotation formats: one module and one line are a new format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import a_collection_of

from sst_retrieval.annotate.formats import registry
from sst_retrieval.annotate.formats.contract import AnnotationFile, AnnotationFormat, ImageAnnotation, ReadContext
from sst_retrieval.annotate.formats.json_documents import load_json
from sst_retrieval.annotate.formats.shapes import encode_polygon
from sst_retrieval.annotate.specimen_finder import SpecimenFinder
from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.collection.specimens import Collection, read_collection
from sst_retrieval.errors import SupportError


def relative_boxes(suffix: str = ".boxes") -> AnnotationFormat:
    """A format without sizes, as YOLO's: each line a trait and x0, y0, x1, y1 as shares of the photograph."""

    def read(path: Path, lines: list[str], context: ReadContext) -> AnnotationFile:
        height, width = context.image_size(path, (path.stem,))
        rles = {}
        for line in lines:
            trait, *numbers = line.split()
            x0, y0, x1, y1 = np.array(numbers, dtype=float) * (width, height, width, height)
            rles[trait] = encode_polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], (height, width), str(path))
        return AnnotationFile((ImageAnnotation(path, (path.stem,), (height, width), rles),))

    return AnnotationFormat("boxes", (suffix,), lambda path: path.read_text().splitlines(), lambda lines: True, read)


def test_a_new_format_is_read_once_it_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = read_collection(a_collection_of(tmp_path))
    folder = tmp_path / "drawn"
    folder.mkdir()
    (folder / "r2.boxes").write_text("spot 0.1 0.25 0.5 0.75\n")
    with pytest.raises(SupportError, match="has no supports"):
        read_supports(folder, collection)
    monkeypatch.setattr(registry, "FORMATS", (*registry.FORMATS, relative_boxes()))
    for source in (folder, folder / "r2.boxes"):
        (reference,) = read_supports(source, collection).references
        height, width = reference.size
        assert (reference.individual, reference.traits) == ("r2", ("spot",))
        assert reference.box == (width // 10, height // 4, width // 2, height * 3 // 4)
    (folder / "nobody.boxes").write_text("spot 0.1 0.25 0.5 0.75\n")
    with pytest.raises(SupportError, match=r"nobody\.boxes annotates 'nobody', which is not a specimen"):
        read_supports(folder, collection)
    with pytest.raises(SupportError, match=r"no \.json or .* or \.boxes file"):
        read_supports(folder / "gone.boxes", collection)


def test_formats_of_one_suffix_parse_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Path] = []

    def load(path: Path) -> Any:
        loaded.append(path)
        return load_json(path)

    def a_format(name: str) -> AnnotationFormat:
        return AnnotationFormat(
            name, (".json",), load, lambda document: name in document, lambda *_: AnnotationFile(())
        )

    monkeypatch.setattr(registry, "FORMATS", tuple(map(a_format, ("one", "two", "three"))))
    context = ReadContext(None, SpecimenFinder(Collection((), {}, tmp_path)))
    (tmp_path / "x.JSON").write_text('["two"]')
    assert registry.read_annotations(tmp_path / "x.JSON", context) == AnnotationFile(())
    assert len(loaded) == 1
    (tmp_path / "x.JSON").write_text('["four"]')
    with pytest.raises(SupportError, match="neither one nor two nor three"):
        registry.read_annotations(tmp_path / "x.JSON", context)
