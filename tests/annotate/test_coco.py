"""COCO JSON as supports, and what is wrong with it."""

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
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import write_png
from sst_retrieval.types import Photograph


def flat(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    return [value for point in corners(x0, y0, x1, y1) for value in point]


def annotation(category: int, segmentation: Any, image: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": 70 + category, "image_id": image, "category_id": category, "segmentation": segmentation, **more}


def coco(annotations: Sequence[Any], file_name: str = "images/IMG_erato-1.png", **changes: Any) -> str:
    image = {"id": 1, "file_name": file_name, "height": HEIGHT, "width": WIDTH}
    categories = [{"id": 3, "name": "wing"}, {"id": 8, "name": "spot"}, {"id": 9, "name": "unused"}]
    return json.dumps({"images": [image], "annotations": list(annotations), "categories": categories, **changes})


def test_coco_polygons_overlap_and_join(supports_folder: Path, butterflies: Collection) -> None:
    document = coco(
        [
            annotation(3, [flat(3, 4, 25, 16)]),
            annotation(8, [flat(5, 6, 10, 9), flat(12, 6, 14, 9)]),
            annotation(8, [flat(20, 6, 22, 9)]),
        ]
    )
    (supports_folder / "coco.json").write_text(document)
    supports = read_supports(supports_folder, butterflies)
    support = only(supports)
    assert (support.individual, support.traits) == ("erato-1", ("wing", "spot"))
    assert np.array_equal(support.masks[0], box_mask(3, 4, 25, 16))
    spots = box_mask(5, 6, 10, 9) | box_mask(12, 6, 14, 9) | box_mask(20, 6, 22, 9)
    assert np.array_equal(support.masks[1], spots)
    assert dict(supports.numbers) == {"wing": 3, "spot": 8}
    assert only(read_supports(supports_folder / "coco.json", butterflies)).traits == ("wing", "spot")


@pytest.mark.parametrize("compressed", [False, True])
def test_coco_run_lengths_keep_holes(supports_folder: Path, butterflies: Collection, compressed: bool) -> None:
    ring = box_mask(3, 4, 25, 16) & ~box_mask(8, 8, 12, 12)
    counts: Any = masks.encode(ring).decode()
    if not compressed:
        column_by_column = np.concatenate(([False], ring.T.ravel(), [False]))
        edges = np.flatnonzero(np.diff(column_by_column.astype(int)))
        counts = np.diff(np.concatenate(([0], edges, [ring.size]))).tolist()
    segmentation = {"size": [HEIGHT, WIDTH], "counts": counts}
    (supports_folder / "coco.json").write_text(coco([annotation(3, segmentation, iscrowd=1)]))
    assert np.array_equal(only(read_supports(supports_folder, butterflies)).masks[0], ring)


@pytest.mark.parametrize(
    ("file_name", "specimen"),
    [
        ("IMG_erato-2.png", "erato-2"),
        ("C:\\photos\\IMG_erato-2.png", "erato-2"),
        ("elsewhere/erato-2.jpg", "erato-2"),
        ("melpomene.1.jpg", "melpomene.1"),
        ("melpomene.1", "melpomene.1"),
    ],
)
def test_coco_images_are_specimens(
    supports_folder: Path, butterflies: Collection, file_name: str, specimen: str
) -> None:
    (supports_folder / "coco.json").write_text(coco([annotation(3, [flat(3, 4, 9, 9)])], file_name))
    assert only(read_supports(supports_folder, butterflies)).individual == specimen


def test_two_photographs_of_one_name_are_told_apart_by_their_folders(supports_folder: Path, tmp_path: Path) -> None:
    specimens = []
    for side in ("dorsal", "ventral"):
        (tmp_path / side).mkdir()
        write_png(tmp_path / side / "1.png", np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
        specimens.append(Photograph(f"S-{side}", tmp_path / side / "1.png", "all"))
    both = Collection(tuple(specimens), {}, tmp_path / "t.csv")
    (supports_folder / "coco.json").write_text(coco([annotation(3, [flat(3, 4, 9, 9)])], "ventral/1.png"))
    assert only(read_supports(supports_folder, both)).individual == "S-ventral"
    (supports_folder / "coco.json").write_text(coco([annotation(3, [flat(3, 4, 9, 9)])], "1.png"))
    with pytest.raises(SupportError, match=r"2 photographs of .* are called so"):
        read_supports(supports_folder, both)


def test_traits_toml_numbers_coco_too(supports_folder: Path, butterflies: Collection) -> None:
    (supports_folder / "coco.json").write_text(coco([annotation(3, [flat(3, 4, 9, 9)])]))
    (supports_folder / "traits.toml").write_text(TRAITS)
    assert dict(read_supports(supports_folder, butterflies).numbers) == {"wing": 2, "spot": 5}
    (supports_folder / "traits.toml").write_text("[traits]\nleg = 1\n")
    with pytest.raises(SupportError, match=r"coco\.json draws 'wing', but .*traits\.toml names leg; add it"):
        read_supports(supports_folder, butterflies)


BAD_COCO: list[tuple[str, str]] = [
    ("[1, 2", r"not valid JSON"),
    ("[]", r"neither COCO JSON .* nor LabelMe"),
    ('{"images": []}', r"neither COCO"),
    (coco([]), r"no supports"),
    (coco([annotation(3, [[3, 4, 9, 4]])]), r"annotation 73 \(wing on .*\) has an outline of 2 points"),
    (coco([annotation(3, [[3, 4, 9, 4, 5]])]), r"no list of x, y pairs"),
    (coco([annotation(3, [[3, 4, 9, 4, "a", 5]])]), r"no x, y pairs"),
    (coco([annotation(3, [flat(3, 4, 93, 9)])]), r"point \(93, 4\) outside of its photograph of 30 x 20 px"),
    (coco([annotation(3, [])]), r"perhaps only a box"),
    (coco([annotation(3, None)]), r"perhaps only a box"),
    (coco([annotation(3, [flat(3, 4, 3, 9)])]), r"'wing' covers no pixel"),
    (coco([annotation(4, [flat(3, 4, 9, 9)])]), r"category 4, which the file does not list"),
    (coco([annotation(3, [flat(3, 4, 9, 9)], image=2)]), r"image 2, which the file does not list"),
    (coco([annotation(3, {"size": [WIDTH, HEIGHT], "counts": [600]})]), r"mask of size \[30, 20\]"),
    (coco([annotation(3, {"size": [HEIGHT, WIDTH], "counts": [5, 3]})]), r"damaged mask"),
    (coco([annotation(3, {"size": [HEIGHT, WIDTH], "counts": [10**20]})]), r"damaged mask"),
    (coco([annotation(3, {"size": [HEIGHT, WIDTH], "counts": "12"})]), r"damaged mask"),
    (coco([annotation(3, {"size": [HEIGHT, WIDTH], "counts": None})]), r"damaged mask"),
    (coco([annotation(3, [flat(3, 4, 9, 9)])], "erato-3.png"), r"'erato-3\.png', which is not .*did you mean 'erato-"),
    (coco([annotation(-1, [flat(3, 4, 9, 9)])], categories=[{"id": -1, "name": "wing"}]), r"wing = -1.*traits\.toml"),
    (
        coco(
            [annotation(1, [flat(3, 4, 9, 9)]), annotation(2, [flat(3, 4, 9, 9)])],
            categories=[{"id": 1, "name": "a"}, {"id": 2, "name": "a"}],
        ),
        r"two categories of one name",
    ),
    (coco([{"image_id": 1}]), r"annotation 0: 'category_id' is missing"),
    (coco([5]), r"annotation 0: 'image_id' is missing"),
    (coco([annotation(3, [[]])], images=[{"id": 1, "file_name": "a", "height": 0, "width": 3}]), r"no size"),
]


@pytest.mark.parametrize(("document", "reason"), BAD_COCO)
def test_bad_coco(supports_folder: Path, butterflies: Collection, document: str, reason: str) -> None:
    (supports_folder / "coco.json").write_text(document)
    with pytest.raises(SupportError, match=reason):
        read_supports(supports_folder, butterflies)
