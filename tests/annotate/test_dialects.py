"""Dialects of annotation formats: what programs write beside what is documented, and exports that hold no masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_files import HEIGHT, TRAITS, WIDTH, box_mask, corners, labelme, only, polygon

from sst_retrieval.annotate.supports import Supports, read_supports
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import write_png
from sst_retrieval.types import Photograph

WING, SPOT = (3, 4, 25, 16), (5, 6, 10, 9)
NAME = "IMG_erato-1.png"


def flat(box: Sequence[int]) -> list[float]:
    return [float(value) for corner in corners(*box) for value in corner]


def coco(wing: Any, spot: Any, categories: Sequence[str] = ("wing", "spot"), **image: Any) -> str:
    listed = [{"id": 1 + number, "name": name} for number, name in enumerate(categories)]
    drawn = [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": wing}]
    drawn.append({"id": 2, "image_id": 1, "category_id": 2, "segmentation": spot})
    images = [{"id": 1, "file_name": NAME, "height": HEIGHT, "width": WIDTH, **image}]
    return json.dumps({"images": images, "annotations": drawn, "categories": listed})


def runs(box: Sequence[int]) -> dict[str, Any]:
    return {"size": [HEIGHT, WIDTH], "counts": masks.encode(box_mask(*box)).decode()}


def shapes(**changes: Any) -> list[dict[str, Any]]:
    return [{**polygon("wing", *WING), **changes}, polygon("spot", *SPOT)]


def via(wing: str, spot: str, attributes: Any = None) -> str:
    regions = [
        {
            "shape_attributes": {
                "name": "polygon",
                "all_points_x": [x for x, _ in corners(*box)],
                "all_points_y": [y for _, y in corners(*box)],
            },
            "region_attributes": {"part": trait},
        }
        for trait, box in ((wing, WING), (spot, SPOT))
    ]
    metadata = {f"{NAME}1": {"filename": NAME, "size": 1, "regions": regions, "file_attributes": {}}}
    return json.dumps({"_via_img_metadata": metadata, "_via_attributes": {"region": {"part": attributes or {}}}})


def via_csv() -> str:
    lines = ["filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"]
    for number, (trait, box) in enumerate((("wing", WING), ("spot", SPOT))):
        xs, ys = ([corner[axis] for corner in corners(*box)] for axis in (0, 1))
        shape = json.dumps({"name": "polygon", "all_points_x": xs, "all_points_y": ys})
        cells = [NAME, "1", "{}", "2", str(number), shape, json.dumps({"part": trait})]
        lines.append(",".join('"' + cell.replace('"', '""') + '"' for cell in cells))
    return "\n".join([*lines, 'IMG_erato-2.png,1,"{}",0,0,"{}","{}"']) + "\n"


def result(label: str, box: Sequence[int], kind: str = "polygonlabels", **changes: Any) -> dict[str, Any]:
    points = [[x * 100 / WIDTH, y * 100 / HEIGHT] for x, y in corners(*box)]
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {**size, "id": label, "type": kind, "value": {"points": points, kind: [label]}, **changes}


def bare(label: str, box: Sequence[int]) -> dict[str, Any]:
    """Return the result of <Polygon> beside <Labels>: the shape without its label."""
    drawn = result(label, box)
    return {**drawn, "type": "polygon", "value": {"points": drawn["value"]["points"]}}


def studio(*results: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"id": 5, "data": {"image": NAME}, "annotations": [{"result": list(results)}], **changes}


BOTH = (result("wing", WING), result("spot", SPOT))


def feature(box: Sequence[int], kind: Any, *, height: float | None = None, hole: Any = None) -> dict[str, Any]:
    ring = [[*corner, *([] if height is None else [height])] for corner in (*corners(*box), corners(*box)[0])]
    geometry = {"type": "Polygon", "coordinates": [ring, *([hole] if hole else [])]}
    return {"type": "Feature", "geometry": geometry, "properties": {"objectType": "annotation", "classification": kind}}


def yolo(*drawn: tuple[int, Sequence[int]]) -> str:
    lines = [f"{n} " + " ".join(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in corners(*box)) for n, box in drawn]
    return "\n".join(lines) + "\n"


READ: dict[str, tuple[str, str | bytes]] = {
    "COCO: one polygon without a list around it": ("x.json", coco(flat(WING), flat(SPOT))),
    "COCO: pairs of coordinates": ("x.json", coco([corners(*WING)], corners(*SPOT))),
    "COCO: run lengths in a list": ("x.json", coco([runs(WING)], runs(SPOT))),
    "COCO: sizes as text": ("x.json", coco([flat(WING)], [flat(SPOT)], height=str(HEIGHT), width=str(WIDTH))),
    "COCO: no sizes": ("x.json", coco([flat(WING)], [flat(SPOT)], height=None, width=0)),
    "COCO: a category called like the project": ("x.json", coco([flat(WING)], [flat(SPOT)], ("wing", "spot", "wing"))),
    "JSON in UTF-16": ("x.json", coco([flat(WING)], [flat(SPOT)]).encode("utf-16")),
    "LabelMe of old versions": ("x.json", labelme(shapes(shape_type=None), imageHeight=None, imageWidth=None)),
    "AnyLabeling's turned rectangles": ("x.json", labelme(shapes(shape_type="rotation", direction=0.3))),
    "VIA: numbers of a dropdown list": ("x.json", via("1", "2", {"options": {"1": "wing", "2": "spot"}})),
    "VIA's .csv": ("x.csv", via_csv()),
    "Label Studio: <Labels> beside <Polygon>": (
        "x.json",
        json.dumps([studio(bare("wing", WING), result("wing", WING, "labels"), result("spot", SPOT))]),
    ),
    "Label Studio: the photograph under another name": (
        "x.json",
        json.dumps([studio(*BOTH, data={"id": "x17", "photo": f"/data/upload/1/1a2b3c4d-{NAME}"})]),
    ),
    "Label Studio: one task": ("x.json", json.dumps(studio(*BOTH))),
    "Label Studio: an annotation in a storage": (
        "x.json",
        json.dumps({"id": 9, "result": list(BOTH), "task": {"id": 5, "data": {"image": NAME}}}),
    ),
    "Label Studio: no sizes": (
        "x.json",
        json.dumps([studio(*({**each, "original_width": None, "original_height": None} for each in BOTH))]),
    ),
    "QuPath: derived classes": (
        "IMG_erato-1.geojson",
        json.dumps([feature(WING, {"names": ["wing"]}), feature(SPOT, {"name": "spot"})]),
    ),
    "GeoJSON with heights, and a hole without an area": (
        "IMG_erato-1.geojson",
        json.dumps([feature(WING, {"name": "wing"}, height=0.0, hole=[[1, 1], [1, 1]]), feature(SPOT, "spot")]),
    ),
    "YOLO with a byte order mark": ("IMG_erato-1.txt", b"\xef\xbb\xbf" + yolo((0, WING), (1, SPOT)).encode()),
    "YOLO in folders": ("labels/train/IMG_erato-1.txt", yolo((0, WING), (1, SPOT))),
    "YOLO as Roboflow lays it": ("train/labels/IMG_erato-1_png.rf.0123456789abcdef.txt", yolo((0, WING), (1, SPOT))),
}


def write(folder: Path, name: str, content: str | bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (folder / "data.yaml").write_text("train: ../train/images\nnc: 2\nnames: ['wing', 'spot']\n")


def require_both(supports: Supports) -> None:
    support = only(supports)
    found = dict(zip(support.traits, support.masks, strict=True))
    assert support.individual == "erato-1"
    assert set(found) == {"wing", "spot"}
    assert np.array_equal(found["wing"], box_mask(*WING))
    assert np.array_equal(found["spot"], box_mask(*SPOT))


@pytest.mark.parametrize("dialect", READ)
@pytest.mark.parametrize("traits", [None, TRAITS])
def test_dialects_are_read(supports_folder: Path, butterflies: Collection, dialect: str, traits: str | None) -> None:
    write(supports_folder, *READ[dialect])
    if traits:
        (supports_folder / "traits.toml").write_text(traits)
    supports = read_supports(supports_folder, butterflies)
    require_both(supports)
    assert all("count from 0" in note for note in supports.notes)


def test_a_csv_of_via_needs_no_folder(supports_folder: Path, butterflies: Collection) -> None:
    write(supports_folder, "x.csv", via_csv())
    require_both(read_supports(supports_folder / "x.csv", butterflies))


def test_label_numbers_stand_for_the_traits_of_traits_toml(supports_folder: Path, butterflies: Collection) -> None:
    drawn = [{**polygon("wing", *WING), "label": 2}, polygon("5", *SPOT)]
    write(supports_folder, "x.json", labelme(drawn))
    (supports_folder / "traits.toml").write_text(TRAITS)
    require_both(read_supports(supports_folder, butterflies))


def test_a_shape_without_a_label_is_left_out(supports_folder: Path, butterflies: Collection) -> None:
    write(supports_folder, "x.json", labelme([*shapes(), polygon(" ", 1, 1, 9, 9)]))
    supports = read_supports(supports_folder, butterflies)
    require_both(supports)
    (note,) = supports.notes
    assert note.endswith("a shape has no label; give it the name of its trait")


def test_files_of_one_photograph_with_different_traits_are_joined(
    supports_folder: Path, butterflies: Collection
) -> None:
    write(supports_folder, "a.json", coco([flat(WING)], []))
    write(supports_folder, "b.json", coco([], [flat(SPOT)]))
    supports = read_supports(supports_folder, butterflies)
    require_both(supports)
    assert any("is annotated in" in note and "the traits of both are used" in note for note in supports.notes)
    write(supports_folder, "b.json", coco([flat(WING)], [flat(SPOT)]))
    with pytest.raises(SupportError, match=r"erato-1 is annotated twice, in .*a\.json and in .*b\.json; remove one"):
        read_supports(supports_folder, butterflies)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        (
            "x.json",
            labelme(shapes()).replace("wing", "Fl\u00fcgel").encode("latin-1"),
            r"line 1 is not UTF-8 text; save",
        ),
        (
            "x.xml",
            '<annotations><version>1.1</version><track id="0" label="wing"/></annotations>',
            r'is an export of a video, .*export the annotations as "CVAT for images 1\.1"',
        ),
        ("x.xml", "<annotations><version>1.1</version></annotations>", r'has no images; .*"CVAT for images 1\.1"'),
        (
            "IMG_erato-1.xml",
            "<annotation><object><name>wing</name><bndbox/></object></annotation>",
            r"xml is in Pascal VOC's format, which holds boxes; draw outlines",
        ),
        ("x.json", json.dumps([studio(predictions=[{"result": list(BOTH)}], annotations=[])]), r"predictions only"),
        ("x.json", json.dumps([studio(annotations=[{"was_cancelled": True, "result": []}])]), r"skipped tasks only"),
        (
            "x.json",
            json.dumps([studio(result("wing", WING, image_rotation=90))]),
            r"task 5 was drawn on the photograph turned by 90 degrees in Label Studio; turn it back",
        ),
        ("IMG_erato-1.txt", "0 3 4 25 4 25 16 3 16\n", r"no shares of the photograph \(0 to 1\), perhaps pixels"),
        (
            "x.json",
            json.dumps(
                [studio(result("wing", WING, "bitmasklabels", value={"imageDataURL": "", "bitmasklabels": ["a"]}))]
            ),
            r"region 1 \(a\) is a bit mask, which is not read; draw it with the brush",
        ),
        (
            "IMG_erato-1.txt",
            yolo((0, WING)).strip() + " 0.93\n",
            r"perhaps a confidence at its end; export labels, not",
        ),
        ("x.csv", via_csv().replace("{", "{,"), r"is a damaged \.csv of VIA"),
        ("x.csv", "catalogNumber,image\n1,2\n", r"Not read: data\.yaml, x\.csv"),
    ],
)
def test_exports_without_usable_masks_are_explained(
    supports_folder: Path, butterflies: Collection, name: str, content: str | bytes, reason: str
) -> None:
    write(supports_folder, name, content)
    with pytest.raises(SupportError, match=reason):
        read_supports(supports_folder, butterflies)


def test_a_single_file_that_is_not_read_is_explained(supports_folder: Path, butterflies: Collection) -> None:
    write(supports_folder, "lm.TPS", "LM=1\n1 2\nIMAGE=x\n")
    with pytest.raises(SupportError, match=r"lm\.TPS is a TPS file, which holds landmarks, not masks"):
        read_supports(supports_folder / "lm.TPS", butterflies)


def test_label_studios_export_for_yolo_is_read_as_it_is(supports_folder: Path, butterflies: Collection) -> None:
    write(supports_folder, "labels/IMG_erato-1.txt", yolo((0, WING), (1, SPOT)))
    (supports_folder / "data.yaml").unlink()
    (supports_folder / "classes.txt").write_text("wing\nspot\n")
    (supports_folder / "notes.json").write_text('{"categories": [{"id": 0, "name": "wing"}], "info": {"year": 2026}}')
    images = supports_folder / "images"
    images.mkdir()
    (images / NAME).write_bytes((supports_folder.parent / "images" / NAME).read_bytes())
    require_both(read_supports(supports_folder, butterflies))


def test_the_background_of_coco_is_no_trait(supports_folder: Path, butterflies: Collection) -> None:
    document = json.loads(coco([flat(WING)], [flat(SPOT)]))
    document["categories"].append({"id": 0, "name": "Background"})
    document["annotations"].append({"id": 3, "image_id": 1, "category_id": 0, "segmentation": [flat((0, 0, 9, 3))]})
    write(supports_folder, "x.json", json.dumps(document))
    supports = read_supports(supports_folder, butterflies)
    require_both(supports)
    assert supports.numbers == {"wing": 1, "spot": 2}
    assert any("annotates 'Background', its category 0, which is no trait" in note for note in supports.notes)


def test_a_name_that_several_photographs_have_is_explained(supports_folder: Path, tmp_path: Path) -> None:
    photographs = []
    for folder in ("a", "b"):
        path = tmp_path / folder / "1.png"
        path.parent.mkdir()
        write_png(path, np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
        photographs.append(Photograph(folder.upper(), path, "g"))
    write(supports_folder, "x.json", coco([flat(WING)], [flat(SPOT)], file_name="1.png"))
    collection = Collection(tuple(photographs), {}, tmp_path / "collection.csv")
    with pytest.raises(
        SupportError, match=r"'1\.png', and 2 photographs of .* are called so: .*; write the folder before"
    ):
        read_supports(supports_folder, collection)
