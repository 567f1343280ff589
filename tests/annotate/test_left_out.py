"""One unwanted shape does not refuse a whole file: what is no drawing of a trait is left out or clipped, and listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_files import HEIGHT, TRAITS, WIDTH, box_mask, label_map, labelme, only, polygon

from sst_retrieval.annotate.supports import MAX_NOTES, Supports, read_supports
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import SupportError
from sst_retrieval.imaging.images import write_png

WING = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[3, 4, 25, 4, 25, 16, 3, 16]]}


def coco(*annotations: dict[str, Any], **changes: Any) -> str:
    image = {"id": 1, "file_name": "IMG_erato-1.png", "height": HEIGHT, "width": WIDTH}
    categories = [{"id": 1, "name": "wing"}, {"id": 2, "name": "scale_bar"}]
    return json.dumps({"images": [image], "categories": categories, "annotations": annotations, **changes})


def read(folder: Path, collection: Collection, content: str) -> Supports:
    (folder / "x.json").write_text(content)
    return read_supports(folder, collection)


@pytest.mark.parametrize(
    ("unwanted", "note"),
    [
        ({"category_id": 2, "segmentation": [], "bbox": [1, 1, 9, 2]}, r"annotation 2 \(scale_bar on .* only a box"),
        ({"category_id": 1, "segmentation": [[1, 1, 2, 2]]}, r"outline of 2 points"),
        ({"category_id": 1, "segmentation": [[-20, -20, -10, -20, -10, -10]]}, r"lies outside of its photograph"),
        ({"category_id": 2, "segmentation": {"size": [HEIGHT, WIDTH], "counts": [0, 900]}}, r"damaged mask"),
        ({"category_id": 7, "segmentation": [[1, 1, 9, 1, 9, 9]]}, r"category 7, which the file does not list"),
        ({"category_id": 2, "segmentation": [[1, 1, 9, 1, float("nan"), 9]]}, r"no x, y pairs"),
        ({"category_id": 2, "segmentation": [[1, 1, 9, 1, 1e300, 9]]}, r"outside of its photograph"),
    ],
)
def test_coco_shapes_left_out(
    supports_folder: Path, butterflies: Collection, unwanted: dict[str, Any], note: str
) -> None:
    supports = read(supports_folder, butterflies, coco(WING, {"id": 2, "image_id": 1, **unwanted}))
    assert only(supports).traits == ("wing",)
    assert np.array_equal(only(supports).masks[0], box_mask(3, 4, 25, 16))
    assert any(np.array(["left out: " in each for each in supports.notes]))
    with pytest.raises(SupportError, match=note):
        raise SupportError("; ".join(supports.notes))


def test_a_trait_with_a_damaged_shape_is_left_out_as_a_whole(supports_folder: Path, butterflies: Collection) -> None:
    spot = {"id": 2, "image_id": 1, "category_id": 2, "segmentation": [[5, 5, 9, 5, 9, 9]]}
    damaged = {"id": 3, "image_id": 1, "category_id": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": [1]}}
    supports = read(supports_folder, butterflies, coco(WING, spot, damaged))
    assert only(supports).traits == ("scale_bar",)
    assert any("all of 'wing', since a shape of it is damaged" in note for note in supports.notes)


def test_what_lies_outside_is_clipped(supports_folder: Path, butterflies: Collection) -> None:
    outside = {**WING, "segmentation": [[-7.5, 4, 25, 4, 25, 16, -7.5, 16]]}
    supports = read(supports_folder, butterflies, coco(outside))
    assert np.array_equal(only(supports).masks[0], box_mask(0, 4, 25, 16))
    (note,) = supports.notes
    assert note.startswith("clipped: ")
    slanted = {**WING, "segmentation": [[-10, 0, 10, 0, 10, 20]]}  # It enters the photograph at y = 10.
    mask = only(read(supports_folder, butterflies, coco(slanted))).masks[0]
    assert mask[9, 0]
    assert not mask[12, 0]
    assert mask[18, 9]


def test_categories_from_zero(supports_folder: Path, butterflies: Collection) -> None:
    spot = {"id": 2, "image_id": 1, "category_id": 1, "segmentation": [[5, 5, 9, 5, 9, 9]]}
    document = coco({**WING, "category_id": 0}, spot, categories=[{"id": 0, "name": "wing"}, {"id": 1, "name": "spot"}])
    supports = read(supports_folder, butterflies, document)
    assert dict(supports.numbers) == {"wing": 1, "spot": 2}
    assert any("wing = 1, spot = 2" in note for note in supports.notes)
    # A category 0 that nothing is drawn of (Roboflow's group of all) changes no number.
    unused = coco(WING, categories=[{"id": 0, "name": "insects"}, {"id": 1, "name": "wing"}])
    assert dict(read(supports_folder, butterflies, unused).numbers) == {"wing": 1}


def test_sizes_and_ids_as_other_programs_write_them(supports_folder: Path, butterflies: Collection) -> None:
    image = {"id": "1", "file_name": "IMG_erato-1.png", "height": float(HEIGHT), "width": float(WIDTH)}
    document = coco({**WING, "category_id": "1"}, images=[image])
    assert only(read(supports_folder, butterflies, document)).traits == ("wing",)
    image["height"] = HEIGHT + 0.5
    with pytest.raises(SupportError, match="no whole number"):
        read(supports_folder, butterflies, coco(WING, images=[image]))


def test_images_that_are_not_in_the_collection(supports_folder: Path, butterflies: Collection) -> None:
    images = [{"id": n, "file_name": f"n{n}.jpg", "height": 9, "width": 9} for n in range(2, 60)]
    images.append({"id": 1, "file_name": "IMG_erato-1.png", "height": HEIGHT, "width": WIDTH})
    others = [{**WING, "id": n, "image_id": n} for n in range(2, 60)]
    supports = read(supports_folder, butterflies, coco(*others, WING, images=images))
    assert only(supports).individual == "erato-1"
    assert len(supports.notes) == MAX_NOTES + 1
    assert supports.notes[-1] == f"and {58 - MAX_NOTES} more notes about the supports"


def test_a_size_is_compared_before_anything_is_painted(
    supports_folder: Path, butterflies: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("painted")

    monkeypatch.setattr("sst_retrieval.annotate.formats.shapes.coco.frPyObjects", fail)
    image = {"id": 1, "file_name": "IMG_erato-1.png", "height": 40_000, "width": 40_000}
    with pytest.raises(SupportError, match=r"is 40000 x 40000 px, but .* is 30 x 20"):
        read(supports_folder, butterflies, coco(WING, images=[image]))
    with pytest.raises(SupportError, match=r"is 40000 x 40000 px, but .* is 30 x 20"):
        read(
            supports_folder,
            butterflies,
            labelme([{**polygon("a", 1, 1, 5, 5), "shape_type": "circle"}], imageHeight=40_000, imageWidth=40_000),
        )


def test_an_endless_outline_is_not_filled(supports_folder: Path, butterflies: Collection) -> None:
    zigzag = [[0, 0], [WIDTH, HEIGHT]] * 60_000
    with pytest.raises(SupportError, match="outline of more than 4,000,000 pixels"):
        read(supports_folder, butterflies, labelme([{**polygon("a", 1, 1, 5, 5), "points": zigzag}] * 2))


@pytest.mark.parametrize("kind", ["line", "point", "linestrip", "points"])
def test_labelme_shapes_without_an_area(supports_folder: Path, butterflies: Collection, kind: str) -> None:
    unwanted = {"label": "wing", "shape_type": kind, "points": [[1, 1], [2, 2]]}
    supports = read(supports_folder, butterflies, labelme([polygon("wing", 3, 4, 25, 16), unwanted]))
    assert np.array_equal(only(supports).masks[0], box_mask(3, 4, 25, 16))
    assert any(f"shape 2 (wing) is a {kind}" in note for note in supports.notes)


def test_traits_toml_chooses(supports_folder: Path, butterflies: Collection) -> None:
    (supports_folder / "traits.toml").write_text("[traits]\nwing = 2\n")
    shapes = [polygon("Wing", 3, 4, 25, 16), polygon("label paper", 1, 1, 5, 5)]
    supports = read(supports_folder, butterflies, labelme(shapes))
    assert only(supports).traits == ("wing",)
    assert any("'label paper'" in note for note in supports.notes)
    write_png(supports_folder / "erato-2.png", label_map())
    supports = read_supports(supports_folder, butterflies)
    assert [support.traits for support in supports.load("erato")] == [("wing",)] * 2
    assert any("erato-2.png has label 5, but traits.toml names 2 (wing)" in note for note in supports.notes)


def test_trait_names_need_no_quotes(supports_folder: Path, butterflies: Collection) -> None:
    write_png(supports_folder / "erato-1.png", label_map())
    text = "# of the wing\n[traits]\nfore wing = 2  # the first\nÄugelchen = 5\n[synonyms]\nfore wing = ['a = b']\n"
    (supports_folder / "traits.toml").write_text(text, encoding="utf-8")
    supports = read_supports(supports_folder, butterflies)
    assert only(supports).traits == ("fore wing", "Äugelchen")
    assert supports.synonyms == {"fore wing": ("a = b",)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("traits.toml", "a = " + "[" * 50_000),
        ("traits.toml", TRAITS + "x = " + "1" * 9_000),
        ("x.json", "[" * 200_000),
        ("x.json", '{"images": [], "annotations": ' + "9" * 9_000 + "}"),
        ("x.json", labelme([{**polygon("a", 1, 1, 5, 5), "points": [[1e999, 1], [2, 2], [3, 3]]}])),
        ("x.json", labelme([{**polygon("a", 1, 1, 5, 5), "points": [[10**400, 1], [2, 2], [3, 3]]}])),
        ("x.json", labelme([{**polygon("a", 1, 1, 5, 5), "points": [[[[1]]], "b", {}]}])),
        ("x.json", labelme([{**polygon("a", 1, 1, 5, 5), "shape_type": {"a": 1}}])),
        ("x.json", labelme([], imageHeight=1e999)),
        ("x.json", coco(WING, images=[{"id": 1, "file_name": "IMG_erato-1.png", "height": 1e999, "width": 30}])),
        ("x.json", coco({**WING, "segmentation": {"size": {"a": 1}, "counts": [1]}})),
        ("x.xml", "<a>" * 100_000),
        ("x.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations><image>&b;</image></annotations>'),
        ("x.xml", '<annotations><image name="IMG_erato-1.png" width="nan" height="inf"><box/></image></annotations>'),
        ("x.geojson", json.dumps({"type": "Feature"})),
    ],
)
def test_files_that_break_parsers(supports_folder: Path, butterflies: Collection, name: str, content: str) -> None:
    write_png(supports_folder / "erato-1.png", label_map() * 0)
    (supports_folder / name).write_text(content)
    with pytest.raises(SupportError, match=rf"{name}.*; "):
        read_supports(supports_folder, butterflies)
