"""LabelMe JSON as supports, and what is wrong with it."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from annotation_files import TRAITS, box_mask, label_map, labelme, only, polygon
from PIL import Image

from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import write_png


def test_labelme_shapes(supports_folder: Path, butterflies: Collection) -> None:
    cut_out = np.array([[True, False, True], [True, True, True]])
    buffer = io.BytesIO()
    Image.fromarray(cut_out).save(buffer, "PNG")
    shapes = [
        polygon("wing", 3, 4, 25, 16),
        {"label": "wing", "shape_type": "rectangle", "points": [[29, 19], [27, 17]]},
        {"label": "eye", "shape_type": "circle", "points": [[10, 10], [10, 13]]},
        {
            "label": "bar",
            "shape_type": "mask",
            "points": [[4, 5], [6, 6]],
            "mask": base64.b64encode(buffer.getvalue()).decode(),
        },
    ]
    (supports_folder / "x.json").write_text(labelme(shapes))
    supports = read_supports(supports_folder, butterflies)
    support = only(supports)
    assert dict(supports.numbers) == {"bar": 1, "eye": 2, "wing": 3}
    assert support.traits == ("bar", "eye", "wing")
    bar, eye, wing = support.masks
    assert np.array_equal(wing, box_mask(3, 4, 25, 16) | box_mask(27, 17, 29, 19))
    assert np.array_equal(bar[5:7, 4:7], cut_out)
    assert masks.area(bar) == 5
    assert masks.box(eye) == (7, 7, 13, 13)
    assert masks.area(eye) == pytest.approx(np.pi * 9, rel=0.15)


def test_labelme_files_are_found_by_their_own_name_too(supports_folder: Path, butterflies: Collection) -> None:
    (supports_folder / "erato-2.json").write_text(labelme([polygon("wing", 3, 4, 9, 9)], imagePath="DSC_0001.jpg"))
    assert only(read_supports(supports_folder, butterflies)).individual == "erato-2"


def test_labelme_follows_traits_toml(supports_folder: Path, butterflies: Collection) -> None:
    (supports_folder / "traits.toml").write_text(TRAITS)
    (supports_folder / "x.json").write_text(labelme([polygon("spot", 3, 4, 9, 9), polygon("wing", 3, 4, 20, 9)]))
    write_png(supports_folder / "erato-2.png", label_map())
    supports = read_supports(supports_folder, butterflies)
    assert dict(supports.numbers) == {"wing": 2, "spot": 5}
    assert [support.traits for support in supports.load("erato")] == [("wing", "spot")] * 2


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (labelme([]), r"no shapes"),
        (labelme([{"label": "a", "shape_type": "line", "points": [[1, 1], [2, 2]]}]), r"shape 1 \(a\) is a line of 2"),
        (labelme([{"label": "a", "shape_type": "polygon", "points": [[1, 1], [2, 2]]}]), r"outline of 2 points"),
        (
            labelme([{"label": "a", "shape_type": "mask", "points": [[1, 1], [2, 2]], "mask": "?"}]),
            r"cannot be decoded",
        ),
        (labelme([{"label": "a", "shape_type": "mask", "points": [[1, 1], [2, 2]]}]), r"cannot be decoded"),
        (labelme([{"shape_type": "polygon", "points": []}]), r"shape 1: 'label' is missing"),
        (labelme([polygon("a/b", 1, 1, 5, 5)]), r"'a/b' cannot be a file name"),
        (labelme([polygon("a", 1, 1, 5, 5), polygon("A", 1, 1, 5, 5)]), r"upper and lower case"),
        (labelme([polygon("a", 1, 1, 5, 5)], imageHeight=None), r"'imageHeight' is missing"),
        (
            labelme([polygon("a", 1, 1, 45, 5)], imageHeight=None, imageWidth=None),
            r"point \(45, 1\) outside of its photograph of 30 x 20 px",
        ),
        (labelme([polygon("a", 1, 1, 5, 5)], imageHeight=40), r"x\.json is 30 x 40 px, but .* is 30 x 20; draw on"),
    ],
)
def test_bad_labelme(supports_folder: Path, butterflies: Collection, document: str, reason: str) -> None:
    (supports_folder / "x.json").write_text(document)
    with pytest.raises(SupportError, match=reason):
        read_supports(supports_folder, butterflies)
