"""Files of CVAT, VIA, Label Studio, QuPath and YOLO as supports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_files import HEIGHT, TRAITS, WIDTH, box_mask, corners, only

from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import SupportError
from sst_retrieval.types import Mask

WING, SPOT = (3, 4, 25, 16), (5, 6, 10, 9)
NAME = "IMG_erato-1.png"


def cvat(*shapes: str, size: str = f'width="{WIDTH}" height="{HEIGHT}"') -> str:
    start = '<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta></meta>'
    return f'{start}<image id="0" name="x/{NAME}" {size}>{"".join(shapes)}</image></annotations>'


def cvat_polygon(label: str, box: Sequence[int]) -> str:
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners(*box))
    return f'<polygon label="{label}" source="manual" occluded="0" points="{points}" z_order="0"></polygon>'


def via_region(trait: Any, box: Sequence[int], attribute: str = "trait") -> dict[str, Any]:
    xs, ys = zip(*corners(*box), strict=True)
    shape = {"name": "polygon", "all_points_x": list(xs), "all_points_y": list(ys)}
    return {"shape_attributes": shape, "region_attributes": {attribute: trait}}


def via(regions: Any) -> str:
    return json.dumps({f"{NAME}123": {"filename": NAME, "size": 123, "regions": regions, "file_attributes": {}}})


def via_project(regions: Any) -> str:
    return json.dumps({"_via_settings": {}, "_via_img_metadata": json.loads(via(regions)), "_via_attributes": {}})


def via3(*drawn: tuple[str, Sequence[int]]) -> str:
    metadata = {
        f"1_{key}": {"vid": "1", "flg": 0, "z": [], "xy": [7, *np.ravel(corners(*box)).tolist()], "av": {"1": option}}
        for key, (option, box) in enumerate(drawn)
    }
    about = {"1": {"aname": "part", "type": 4, "options": {"0": "wing", "1": "spot"}}}
    files = {"7": {"fid": "7", "fname": NAME, "type": 2, "loc": 1, "src": ""}}
    view = {"1": {"fid_list": ["7"]}}
    return json.dumps({"project": {}, "attribute": about, "file": files, "metadata": metadata, "view": view})


def region(label: str, value: dict[str, Any], kind: str = "polygonlabels") -> dict[str, Any]:
    return {
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "type": kind,
        "value": {**value, kind: [label]},
    }


def percent(box: Sequence[int]) -> dict[str, Any]:
    return {"points": [[x * 100 / WIDTH, y * 100 / HEIGHT] for x, y in corners(*box)], "closed": True}


def studio(*regions: dict[str, Any], name: str = f"/data/upload/1/1a2b3c4d-{NAME}") -> str:
    return json.dumps([{"id": 5, "data": {"image": name}, "annotations": [{"result": list(regions)}]}])


def brush(mask: Mask) -> list[int]:
    """Code a mask as Label Studio's brush does, each pixel's four values by themselves in one run of each row."""
    values = np.repeat(mask.astype(np.uint8) * 255, 4)
    bits = f"{len(values):032b}{7:05b}{3:04b}{7:04b}{11:04b}{15:04b}"
    for start in range(0, len(values), 256):
        run = values[start : start + 256]
        if run.min() == run.max():
            bits += f"1{1:02b}{len(run) - 1:08b}{run[0]:08b}"
        else:
            bits += f"0{2:02b}{len(run) - 1:012b}" + "".join(f"{value:08b}" for value in run)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def feature(label: str, box: Sequence[int], *holes: Sequence[int], **geometry: Any) -> dict[str, Any]:
    rings = [[*corners(*each), corners(*each)[0]] for each in (box, *holes)]
    return {
        "type": "Feature",
        "id": "a",
        "geometry": {"type": "Polygon", "coordinates": rings, **geometry},
        "properties": {"objectType": "annotation", "classification": {"name": label, "color": [255, 0, 0]}},
    }


def features(*listed: dict[str, Any]) -> str:
    return json.dumps({"type": "FeatureCollection", "features": listed})


def yolo(*drawn: tuple[int, Sequence[int]]) -> str:
    lines = [f"{n} " + " ".join(f"{x / WIDTH:.6f} {y / HEIGHT:.6f}" for x, y in corners(*box)) for n, box in drawn]
    return "\n".join(lines) + "\n"


BOTH = {
    "x.xml": cvat(cvat_polygon("wing", WING), cvat_polygon("spot", SPOT)),
    "via.json": via([via_region("wing", WING), via_region("spot", SPOT)]),
    "via1.json": via({"0": via_region("wing", WING, "Type "), "1": via_region({"spot": True, "a": False}, SPOT)}),
    "project.json": via_project([via_region("wing", WING, "anything"), via_region("spot", SPOT)]),
    "via3.json": via3(("0", WING), ("1", SPOT)),
    "studio.json": studio(region("wing", percent(WING)), region("spot", percent(SPOT))),
    "min.json": json.dumps(
        [
            {
                "id": 5,
                "image": f"/data/upload/1/1a2b3c4d-{NAME}",
                "tag": [
                    {**percent(WING), "polygonlabels": ["wing"], "original_width": WIDTH, "original_height": HEIGHT},
                    {**percent(SPOT), "polygonlabels": ["spot"], "original_width": WIDTH, "original_height": HEIGHT},
                ],
            }
        ]
    ),
    "IMG_erato-1.geojson": features(feature("wing", WING), feature("spot", SPOT)),
    "IMG_erato-1.json": json.dumps([feature("wing", WING), feature("spot", SPOT)]),
    "IMG_erato-1.txt": yolo((0, WING), (1, SPOT)),
}


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("traits", [None, TRAITS])
def test_outlines_come_back(supports_folder: Path, butterflies: Collection, name: str, traits: str | None) -> None:
    (supports_folder / name).write_text(BOTH[name])
    (supports_folder / "README.txt").write_text("Drawn by hand.\n")
    if name.endswith(".txt"):
        (supports_folder / "classes.txt").write_text("wing\nspot\n")
    if traits:
        (supports_folder / "traits.toml").write_text(traits)
    supports = read_supports(supports_folder, butterflies)
    support = only(supports)
    found = dict(zip(support.traits, support.masks, strict=True))
    assert (support.individual, set(found)) == ("erato-1", {"wing", "spot"})
    assert np.array_equal(found["wing"], box_mask(*WING))
    assert np.array_equal(found["spot"], box_mask(*SPOT))
    assert dict(supports.numbers) == ({"wing": 2, "spot": 5} if traits else dict(supports.numbers))
    assert set(supports.numbers.values()) <= {1, 2, 5}


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        (
            "x.xml",
            cvat(cvat_polygon("wing", WING), '<box label="label" xtl="1" ytl="1" xbr="3" ybr="3"/>'),
            r"\(label\) is a box, which has no outline",
        ),
        ("via.json", via([via_region("wing", WING), {"shape_attributes": {"name": "rect"}, "region_attributes": {}}]),
         r"does not say its trait"),
        (
            "studio.json",
            studio(region("wing", percent(WING)), region("label", {"x": 1, "y": 1, "width": 9}, "rectanglelabels")),
            r"perhaps only a box",
        ),
        ("IMG_erato-1.geojson", features(feature("wing", WING), feature("dot", SPOT, type="Point")), r"is a Point"),
        ("IMG_erato-1.txt", yolo((0, WING)) + "1 0.5 0.5 0.1 0.1\n7 0.1 0.1 0.2 0.2 0.1 0.2\n", r"is a box"),
    ],
)  # fmt: skip
def test_what_is_no_outline_is_left_out(
    supports_folder: Path, butterflies: Collection, name: str, content: str, note: str
) -> None:
    (supports_folder / name).write_text(content)
    (supports_folder / "data.yaml").write_text("nc: 2\nnames: ['wing', 'label']\n")
    supports = read_supports(supports_folder, butterflies)
    assert only(supports).traits == ("wing",)
    assert np.array_equal(only(supports).masks[0], box_mask(*WING))
    with pytest.raises(SupportError, match=note):
        raise SupportError("; ".join(supports.notes))


@pytest.mark.parametrize("damaged", [None, 7, {"type": "polygonlabels"}, {"type": "brush", "value": {}}, {"value": []}])
def test_regions_of_label_studio_that_are_damaged(supports_folder: Path, butterflies: Collection, damaged: Any) -> None:
    choice = {"type": "choices", "value": {"choices": ["dorsal"]}}
    (supports_folder / "studio.json").write_text(studio(region("wing", percent(WING)), choice, damaged))
    notes = read_supports(supports_folder, butterflies).notes
    assert len(notes) == 1
    assert "region 3 has no label or no shape" in notes[0]


def test_masks_holes_and_ellipses(supports_folder: Path, butterflies: Collection) -> None:
    hole = (8, 8, 12, 12)
    ring = box_mask(*WING) & ~box_mask(*hole)

    def read(name: str, content: str) -> Mask:
        (supports_folder / name).write_text(content)
        support = only(read_supports(supports_folder, butterflies))
        (supports_folder / name).unlink()
        return support.masks[0]

    inside = ring[4:16, 3:25].ravel().astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], inside))))
    runs = ", ".join(map(str, np.diff(np.concatenate(([0], edges, [len(inside)])))))
    shape = f'<mask label="wing" rle="{runs}" left="3" top="4" width="22" height="12"/>'
    assert np.array_equal(read("x.xml", cvat(shape)), ring)
    assert np.array_equal(read("IMG_erato-1.geojson", features(feature("wing", WING, hole))), ring)
    parts = feature("wing", WING, type="MultiPolygon")
    parts["geometry"]["coordinates"] = [[corners(3, 4, 9, 9)], [corners(12, 4, 20, 9)]]
    assert np.array_equal(read("IMG_erato-1.json", features(parts)), box_mask(3, 4, 9, 9) | box_mask(12, 4, 20, 9))
    strokes = region("wing", {"format": "rle", "rle": brush(ring)}, "brushlabels")
    assert np.array_equal(read("studio.json", studio(strokes)), ring)
    ys, xs = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    disc = ((xs - 15) / 9) ** 2 + ((ys - 10) / 5) ** 2 < 1
    for name, content in {
        "x.xml": cvat('<ellipse label="eye" cx="15" cy="10" rx="9" ry="5"/>'),
        "y.xml": cvat('<ellipse label="eye" cx="15" cy="10" rx="5" ry="9" rotation="90"/>'),
        "via.json": via(
            [{"shape_attributes": {"name": "ellipse", "cx": 15, "cy": 10, "rx": 9, "ry": 5},
              "region_attributes": {"a": "eye"}}]
        ),
        "studio.json": studio(region("eye", {"x": 50, "y": 50, "radiusX": 30, "radiusY": 25}, "ellipselabels")),
    }.items():  # fmt: skip
        assert np.mean(read(name, content) != disc) < 0.03


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.xml", cvat(cvat_polygon("wing", WING), size='width="60" height="40"'), r"is 60 x 40 px, but .* is 30 x 20"),
        ("x.xml", cvat('<polygon label="wing" points="1,2;a,3;4,5"/>'), r"is damaged .*export the annotations again"),
        ("x.xml", cvat('<mask label="wing" rle="9, 9" left="1" top="1" width="3" height="3"/>'), r"do not fill"),
        ("x.xml", "<annotation/>", r'is not CVAT\'s XML \("CVAT for images 1\.1"\)'),
        ("x.xml", "<annotations><image", r"not valid XML"),
        (
            "via.json",
            via([via_region("wing", (3, 4, 45, 16))]),
            r"point \(45, 4\) outside .*at the size that it has now",
        ),
        ("via.json", via([]), r"has no regions"),
        ("via.json", via(3.5), r"has no regions"),
        ("studio.json", json.dumps([{"data": {"image": NAME}, "annotations": True}]), r"has no regions"),
        ("studio.json", json.dumps([{"data": {"image": NAME}, "annotations": [{"result": 1}]}]), r"has no regions"),
        ("x.xml", cvat('<mask label="wing" rle="9" top="1" width="3" height="3"/>'), r"is damaged"),
        ("studio.json", studio(), r"has no regions"),
        ("studio.json", studio(region("a", {"rle": [1, 2, 3]}, "brushlabels")), r"damaged brush strokes"),
        ("studio.json", studio(region("a", percent(WING)), name="9.jpg"), r"'9\.jpg', which is not a specimen"),
        ("IMG_erato-1.geojson", features(feature("wing", (3, 4, 45, 16))), r"outside of its photograph"),
        ("9.geojson", features(feature("wing", WING)), r"'9', which is not a specimen"),
        ("IMG_erato-1.txt", yolo((0, WING)), r"no classes\.txt or data\.yaml .*write a classes\.txt"),
        ("IMG_erato-1.txt", "a text of 3 lines", r"Not read: IMG_erato-1\.txt"),
    ],
)
def test_bad_files(supports_folder: Path, butterflies: Collection, name: str, content: str, reason: str) -> None:
    (supports_folder / name).write_text(content)
    with pytest.raises(SupportError, match=reason):
        read_supports(supports_folder, butterflies)


@pytest.mark.parametrize(
    "text",
    [
        "names: [wing, spot]",
        "path: x\nnames:\n  0: wing\n  1: 'spot'\nnc: 2\n",
        "names:\n- wing\n- spot\ntrain: y\n",
        "names: {0: wing, 1: spot}",
    ],
)
def test_names_of_yolo_classes(supports_folder: Path, butterflies: Collection, text: str) -> None:
    labels = supports_folder / "labels" / "train"
    labels.mkdir(parents=True)
    (supports_folder / "data.yaml").write_text(text)
    (labels / "erato-2.txt").write_text(yolo((1, SPOT)))
    assert only(read_supports(labels, butterflies)).traits == ("spot",)
