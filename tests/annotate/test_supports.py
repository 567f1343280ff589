"""Annotated specimens: label pictures, COCO, LabelMe, and what is wrong with them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from sst_retrieval.annotate.supports import Supports, read_supports
from sst_retrieval.collection.specimens import Collection, read_collection
from sst_retrieval.errors import SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import read_labels, write_png
from sst_retrieval.types import Mask, Specimen, Support

HEIGHT, WIDTH = 20, 30
TRAITS = "[traits]\nwing = 2\nspot = 5\n"


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    """Specimens erato-1, erato-2 (group erato) and melpomene.1 (group melpomene), each with a photograph."""
    specimens = []
    rng = np.random.default_rng(0)
    for name, group in [("erato-1", "erato"), ("erato-2", "erato"), ("melpomene.1", "melpomene")]:
        path = tmp_path / "images" / f"IMG_{name}.png"
        path.parent.mkdir(exist_ok=True)
        write_png(path, rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        specimens.append(Specimen(name, path, group))
    return Collection(tuple(specimens), {}, tmp_path / "collection.csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "supports"
    path.mkdir()
    return path


def label_map() -> npt.NDArray[np.uint8]:
    """A wing (2) with a spot (5) on it."""
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    labels[4:16, 3:25] = 2
    labels[6:9, 5:10] = 5
    return labels


def box_mask(x0: int, y0: int, x1: int, y1: int) -> Mask:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def only(supports: Supports) -> Support:
    (group,) = supports.groups()
    (support,) = supports.load(group)
    return support


# ------------------------------------------------------------------------------------------------ label pictures


@pytest.mark.parametrize("kind", ["grey", "palette", "16 bit", "tif"])
def test_a_label_picture(folder: Path, collection: Collection, kind: str) -> None:
    labels = label_map()
    picture = Image.fromarray(labels.astype(np.uint16) if kind == "16 bit" else labels)
    if kind == "palette":
        picture.putpalette([0, 0, 0, 255, 0, 0] * 128)
    picture.save(folder / ("melpomene.1.tif" if kind == "tif" else "melpomene.1.png"))
    (folder / "traits.toml").write_text(
        "[traits]\nspot = 5\nantenna = 9\nwing = 2\n[synonyms]\nspot = ['dot', 'Eye']\n"
    )
    supports = read_supports(folder, collection)
    support = only(supports)
    assert (support.specimen, support.group, support.traits) == ("melpomene.1", "melpomene", ("wing", "spot"))
    assert np.array_equal(support.masks, np.stack([labels == 2, labels == 5]))
    assert support.image.shape == (HEIGHT, WIDTH, 3)
    assert supports.numbers == {"spot": 5, "antenna": 9, "wing": 2}
    assert supports.synonyms == {"spot": ("dot", "Eye")}


def test_large_label_numbers(folder: Path, collection: Collection) -> None:
    write_png(folder / "erato-1.png", label_map().astype(np.uint16) * 300)
    (folder / "traits.toml").write_text("[traits]\nwing = 600\nspot = 1500\n")
    assert only(read_supports(folder, collection)).traits == ("wing", "spot")


def test_a_group_may_have_several_supports(folder: Path, collection: Collection) -> None:
    (folder / "traits.toml").write_text(TRAITS)
    for name in ("melpomene.1", "erato-2", "erato-1"):
        write_png(folder / f"{name}.png", label_map())
    (folder / "notes.txt").write_text("drawn on a Sunday")
    (folder / "._erato-1.png").write_bytes(b"what some systems leave behind")
    supports = read_supports(folder, collection)
    assert supports.groups() == ("erato", "melpomene")
    assert [reference.specimen for reference in supports.by_group()["erato"]] == ["erato-1", "erato-2"]
    assert [support.specimen for support in supports.load("erato")] == ["erato-1", "erato-2"]
    assert supports.load("nobody") == ()


def test_a_black_and_white_mask_needs_its_number(folder: Path, collection: Collection) -> None:
    write_png(folder / "erato-1.png", box_mask(3, 3, 9, 9).astype(np.uint8) * 255)
    (folder / "traits.toml").write_text("[traits]\nwing = 1\n")
    with pytest.raises(SupportError, match=r"erato-1\.png has label 255, .*write wing = 255 into traits\.toml"):
        read_supports(folder, collection)
    (folder / "traits.toml").write_text(TRAITS)
    with pytest.raises(SupportError, match="does not say which trait"):
        read_supports(folder, collection)
    (folder / "traits.toml").write_text("[traits]\nwing = 255\n")
    assert np.array_equal(only(read_supports(folder, collection)).masks, box_mask(3, 3, 9, 9)[None])


def test_fingerprints_follow_what_matters(folder: Path, collection: Collection) -> None:
    def fingerprints(traits: str = TRAITS) -> dict[str, str]:
        (folder / "traits.toml").write_text(traits)
        return dict(read_supports(folder, collection).fingerprints)

    write_png(folder / "erato-1.png", label_map())
    write_png(folder / "melpomene.1.png", label_map())
    first = fingerprints()
    assert first["erato"] != first["melpomene"]
    assert fingerprints(TRAITS + "leg = 7\n") == first
    renamed = fingerprints(TRAITS.replace("spot", "dot"))
    assert renamed["erato"] != first["erato"]
    write_png(folder / "erato-1.png", label_map()[::-1])
    redrawn = fingerprints()
    assert redrawn["erato"] != first["erato"]
    assert redrawn["melpomene"] == first["melpomene"]
    write_png(collection.specimens[2].image, np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    assert fingerprints()["melpomene"] != first["melpomene"]
    write_png(folder / "erato-2.png", label_map())
    assert fingerprints()["erato"] != redrawn["erato"]


def test_the_order_of_the_table_changes_no_group(folder: Path, collection: Collection) -> None:
    (folder / "traits.toml").write_text(TRAITS)
    write_png(folder / "erato-1.png", label_map())
    write_png(folder / "erato-2.png", label_map()[::-1])
    write_png(folder / "melpomene.1.png", label_map())
    supports = read_supports(folder, collection)
    turned = read_supports(folder, replace(collection, specimens=collection.specimens[::-1]))
    assert turned.groups() == ("melpomene", "erato")  # Groups stand as the table names them.
    assert turned.fingerprints == supports.fingerprints
    assert turned.by_group() == supports.by_group()
    assert [support.specimen for support in turned.load("erato")] == ["erato-1", "erato-2"]


def test_the_fingerprint_of_several_supports_follows_their_order(folder: Path, collection: Collection) -> None:
    (folder / "traits.toml").write_text(TRAITS)
    write_png(folder / "erato-1.png", label_map())
    write_png(folder / "erato-2.png", label_map()[::-1])
    supports = read_supports(folder, collection)
    first, second, other = collection.specimens
    renamed = (replace(first, id="erato-2"), replace(second, id="erato-1"), other)
    write_png(folder / "erato-2.png", label_map())
    write_png(folder / "erato-1.png", label_map()[::-1])
    exchanged = read_supports(folder, replace(collection, specimens=renamed))
    assert {each.fingerprint for each in exchanged.references} == {each.fingerprint for each in supports.references}
    assert exchanged.fingerprints["erato"] != supports.fingerprints["erato"]  # Another one is first.
    # An older program sorted them, so what it made may lie like either.
    old = hashlib.sha256("".join(sorted(each.fingerprint for each in supports.references)).encode()).hexdigest()
    assert old not in (exchanged.fingerprints["erato"], supports.fingerprints["erato"])


def test_the_fingerprint_of_a_single_support_is_as_ever(folder: Path, collection: Collection) -> None:
    (folder / "traits.toml").write_text(TRAITS)
    write_png(folder / "erato-1.png", label_map())
    supports = read_supports(folder, collection)
    (reference,) = supports.references
    assert supports.fingerprints["erato"] == hashlib.sha256(reference.fingerprint.encode()).hexdigest()
    photograph = hashlib.sha256(collection.specimens[0].image.read_bytes()).hexdigest()
    own = repr((photograph, reference.traits, reference.rles))
    assert reference.fingerprint == hashlib.sha256(own.encode()).hexdigest()
    assert (reference.content, reference.box) == (photograph, (3, 4, 25, 16))


def test_photographs_among_the_supports_are_not_labels(folder: Path, collection: Collection) -> None:
    (folder / "IMG_erato-1.png").symlink_to(collection.specimens[0].image)
    write_png(folder / "scan.png", np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    (folder / "erato-1.json").write_text(labelme([polygon("wing", 3, 4, 9, 8)], imagePath="scan.png"))
    assert only(read_supports(folder, collection)).specimen == "erato-1"


# ---------------------------------------------------------------------------------------------------------- COCO


def corners(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def flat(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    return [value for point in corners(x0, y0, x1, y1) for value in point]


def annotation(category: int, segmentation: Any, image: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": 70 + category, "image_id": image, "category_id": category, "segmentation": segmentation, **more}


def coco(annotations: Sequence[Any], file_name: str = "images/IMG_erato-1.png", **changes: Any) -> str:
    image = {"id": 1, "file_name": file_name, "height": HEIGHT, "width": WIDTH}
    categories = [{"id": 3, "name": "wing"}, {"id": 8, "name": "spot"}, {"id": 9, "name": "unused"}]
    return json.dumps({"images": [image], "annotations": list(annotations), "categories": categories, **changes})


def test_coco_polygons_overlap_and_join(folder: Path, collection: Collection) -> None:
    document = coco(
        [
            annotation(3, [flat(3, 4, 25, 16)]),
            annotation(8, [flat(5, 6, 10, 9), flat(12, 6, 14, 9)]),
            annotation(8, [flat(20, 6, 22, 9)]),
        ]
    )
    (folder / "coco.json").write_text(document)
    supports = read_supports(folder, collection)
    support = only(supports)
    assert (support.specimen, support.traits) == ("erato-1", ("wing", "spot"))
    assert np.array_equal(support.masks[0], box_mask(3, 4, 25, 16))
    spots = box_mask(5, 6, 10, 9) | box_mask(12, 6, 14, 9) | box_mask(20, 6, 22, 9)
    assert np.array_equal(support.masks[1], spots)
    assert dict(supports.numbers) == {"wing": 3, "spot": 8}
    assert only(read_supports(folder / "coco.json", collection)).traits == ("wing", "spot")


@pytest.mark.parametrize("compressed", [False, True])
def test_coco_run_lengths_keep_holes(folder: Path, collection: Collection, compressed: bool) -> None:
    ring = box_mask(3, 4, 25, 16) & ~box_mask(8, 8, 12, 12)
    counts: Any = masks.encode(ring).decode()
    if not compressed:
        column_by_column = np.concatenate(([False], ring.T.ravel(), [False]))
        edges = np.flatnonzero(np.diff(column_by_column.astype(int)))
        counts = np.diff(np.concatenate(([0], edges, [ring.size]))).tolist()
    segmentation = {"size": [HEIGHT, WIDTH], "counts": counts}
    (folder / "coco.json").write_text(coco([annotation(3, segmentation, iscrowd=1)]))
    assert np.array_equal(only(read_supports(folder, collection)).masks[0], ring)


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
def test_coco_images_are_specimens(folder: Path, collection: Collection, file_name: str, specimen: str) -> None:
    (folder / "coco.json").write_text(coco([annotation(3, [flat(3, 4, 9, 9)])], file_name))
    assert only(read_supports(folder, collection)).specimen == specimen


def test_two_photographs_of_one_name_are_told_apart_by_their_folders(folder: Path, tmp_path: Path) -> None:
    specimens = []
    for side in ("dorsal", "ventral"):
        (tmp_path / side).mkdir()
        write_png(tmp_path / side / "1.png", np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
        specimens.append(Specimen(f"S-{side}", tmp_path / side / "1.png", "all"))
    both = Collection(tuple(specimens), {}, tmp_path / "t.csv")
    (folder / "coco.json").write_text(coco([annotation(3, [flat(3, 4, 9, 9)])], "ventral/1.png"))
    assert only(read_supports(folder, both)).specimen == "S-ventral"
    (folder / "coco.json").write_text(coco([annotation(3, [flat(3, 4, 9, 9)])], "1.png"))
    with pytest.raises(SupportError, match="not a specimen"):
        read_supports(folder, both)


def test_traits_toml_numbers_coco_too(folder: Path, collection: Collection) -> None:
    (folder / "coco.json").write_text(coco([annotation(3, [flat(3, 4, 9, 9)])]))
    (folder / "traits.toml").write_text(TRAITS)
    assert dict(read_supports(folder, collection).numbers) == {"wing": 2, "spot": 5}
    (folder / "traits.toml").write_text("[traits]\nleg = 1\n")
    with pytest.raises(SupportError, match=r"coco\.json draws 'wing', but .*traits\.toml names leg; add it"):
        read_supports(folder, collection)


BAD_COCO: list[tuple[str, str]] = [
    ("[1, 2", r"not valid JSON"),
    ("[]", r"neither COCO JSON .* nor LabelMe"),
    ('{"images": []}', r"neither COCO"),
    (coco([]), r"no supports"),
    (coco([annotation(3, [[3, 4, 9, 4]])]), r"annotation 73 \(wing on .*\) has an outline of 2 points"),
    (coco([annotation(3, [[3, 4, 9, 4, 5]])]), r"no list of x, y pairs"),
    (coco([annotation(3, [[3, 4, 9, 4, "a", 5]])]), r"no x, y pairs"),
    (coco([annotation(3, [flat(3, 4, 33, 9)])]), r"point \(33, 4\) outside of its photograph of 30 x 20 px"),
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
    (coco([annotation(0, [flat(3, 4, 9, 9)])], categories=[{"id": 0, "name": "wing"}]), r"wing = 0.*traits\.toml"),
    (coco([], categories=[{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]), r"two categories of one name"),
    (coco([{"image_id": 1}]), r"annotation 0: 'category_id' is missing"),
    (coco([5]), r"annotation 0: 'image_id' is missing"),
    (coco([annotation(3, [[]])], images=[{"id": 1, "file_name": "a", "height": 0, "width": 3}]), r"no size"),
]


@pytest.mark.parametrize(("document", "reason"), BAD_COCO)
def test_bad_coco(folder: Path, collection: Collection, document: str, reason: str) -> None:
    (folder / "coco.json").write_text(document)
    with pytest.raises(SupportError, match=reason):
        read_supports(folder, collection)


# ------------------------------------------------------------------------------------------------------- LabelMe


def polygon(label: str, x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
    return {"label": label, "shape_type": "polygon", "points": corners(x0, y0, x1, y1)}


def labelme(shapes: Sequence[Any], **changes: Any) -> str:
    document = {
        "imagePath": "..\\images\\IMG_erato-1.png",
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        "imageData": None,
    }
    return json.dumps({"version": "5.5.0", "flags": {}, "shapes": list(shapes), **document, **changes})


def test_labelme_shapes(folder: Path, collection: Collection) -> None:
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
    (folder / "x.json").write_text(labelme(shapes))
    supports = read_supports(folder, collection)
    support = only(supports)
    assert dict(supports.numbers) == {"bar": 1, "eye": 2, "wing": 3}
    assert support.traits == ("bar", "eye", "wing")
    bar, eye, wing = support.masks
    assert np.array_equal(wing, box_mask(3, 4, 25, 16) | box_mask(27, 17, 29, 19))
    assert np.array_equal(bar[5:7, 4:7], cut_out)
    assert masks.area(bar) == 5
    assert masks.box(eye) == (7, 7, 13, 13)
    assert masks.area(eye) == pytest.approx(np.pi * 9, rel=0.15)


def test_labelme_files_are_found_by_their_own_name_too(folder: Path, collection: Collection) -> None:
    (folder / "erato-2.json").write_text(labelme([polygon("wing", 3, 4, 9, 9)], imagePath="DSC_0001.jpg"))
    assert only(read_supports(folder, collection)).specimen == "erato-2"


def test_labelme_follows_traits_toml(folder: Path, collection: Collection) -> None:
    (folder / "traits.toml").write_text(TRAITS)
    (folder / "x.json").write_text(labelme([polygon("spot", 3, 4, 9, 9), polygon("wing", 3, 4, 20, 9)]))
    write_png(folder / "erato-2.png", label_map())
    supports = read_supports(folder, collection)
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
        (labelme([polygon("a", 1, 1, 5, 5)], imageHeight=40), r"x\.json is 30 x 40 px, but .* is 30 x 20; draw on"),
    ],
)
def test_bad_labelme(folder: Path, collection: Collection, document: str, reason: str) -> None:
    (folder / "x.json").write_text(document)
    with pytest.raises(SupportError, match=reason):
        read_supports(folder, collection)


# -------------------------------------------------------------------------------------------- what does not fit


def spoil(name: str, labels: npt.NDArray[Any] | None = None, traits: str | None = TRAITS) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        write_png(folder / name, label_map() if labels is None else labels)
        if traits is not None:
            (folder / "traits.toml").write_text(traits)

    return write


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (
            spoil("erato-1.png", label_map() + 1),
            r"has label 1, 3, 6, but traits\.toml names 2 \(wing\), 5 \(spot\); add a",
        ),
        (spoil("erato-1.png", label_map() * 0), r"erato-1\.png is empty.*draw"),
        (spoil("erato-1.png", np.zeros((HEIGHT, WIDTH, 3), np.uint8)), r"colour picture"),
        (spoil("erato-1.png", label_map()[:, :-1]), r"is 29 x 20 px, but .*IMG_erato-1\.png is 30 x 20; draw on"),
        (spoil("erato_1.png"), r"'erato_1', which is not a specimen of .*did you mean 'erato-1'\?"),
        (spoil("erato-1.png", traits=None), r"no .*traits\.toml to name its numbers; write one"),
        (spoil("erato-1.png", traits="traits = 3"), r"traits\.toml names no traits; write \[traits\]"),
        (spoil("erato-1.png", traits="[traits]"), r"names no traits"),
        (spoil("erato-1.png", traits="[traits\nwing = 1"), r"not valid TOML.*line 1"),
        (spoil("erato-1.png", traits="[traits]\nwing = 2\nspot = 2"), r"wing and spot both have the number 2"),
        (spoil("erato-1.png", traits="[traits]\nwing = 2\nWing = 5"), r"upper and lower case"),
        (spoil("erato-1.png", traits="[traits]\nwing = 2\nwing = 5"), r"not valid TOML"),
        (spoil("erato-1.png", traits="[traits]\nwing = 0"), r"wing = 0, but a label number"),
        (spoil("erato-1.png", traits="[traits]\nwing = '2'"), r"wing = '2', but a label number"),
        (spoil("erato-1.png", traits="[traits]\nwing = true"), r"wing = True, but a label number"),
        (spoil("erato-1.png", traits="[traits]\n'a/b' = 2"), r"'a/b' cannot be a file name"),
        (spoil("erato-1.png", traits=TRAITS + "[synonyms]\nleg = ['x']"), r"\[synonyms\] has leg"),
        (spoil("erato-1.png", traits=TRAITS + "[synonyms]\nwing = 'x'"), r"must be a list of words"),
        (spoil("erato-1.png", traits=TRAITS + "[synonyms]\nwing = ['Spot']"), r"'Spot' stands for spot and for wing"),
        (spoil("erato-1.png", traits="synonyms = 3\n" + TRAITS), r"\[synonyms\] takes lines"),
    ],
)
def test_bad_label_pictures(folder: Path, collection: Collection, write: Callable[[Path], None], reason: str) -> None:
    write(folder)
    with pytest.raises(SupportError, match=reason):
        read_supports(folder, collection)


def test_no_supports_at_all(folder: Path, collection: Collection) -> None:
    with pytest.raises(SupportError, match="has no supports; add"):
        read_supports(folder, collection)
    with pytest.raises(SupportError, match="no folder of supports"):
        read_supports(folder / "gone", collection)
    with pytest.raises(SupportError, match="no folder of supports"):
        read_supports(folder / "gone.json", collection)


def test_annotated_twice(folder: Path, collection: Collection) -> None:
    spoil("erato-1.png")(folder)
    (folder / "x.json").write_text(labelme([polygon("wing", 1, 1, 5, 5)]))
    with pytest.raises(SupportError, match=r"erato-1 is annotated twice, in .* and in .*; remove one"):
        read_supports(folder, collection)


def test_a_specimen_without_a_photograph(folder: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    (tmp_path / "t.csv").write_text("id,image\nerato-1,\nerato-2,a.png\n")
    spoil("erato-1.png")(folder)
    with pytest.raises(SupportError, match=r"names no photograph for erato-1"):
        read_supports(folder, read_collection(tmp_path / "t.csv"))


def test_a_broken_photograph_of_a_support(folder: Path, collection: Collection) -> None:
    spoil("erato-1.png")(folder)
    photograph = collection.specimens[0].image
    whole = photograph.read_bytes()
    photograph.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SupportError, match=r"photograph of erato-1 cannot be used: .*truncated"):
        read_supports(folder, collection)
    photograph.unlink()
    with pytest.raises(SupportError, match=r"photograph of erato-1 cannot be used: .*does not exist"):
        read_supports(folder, collection)


def test_a_photograph_exchanged_after_the_check(folder: Path, collection: Collection) -> None:
    spoil("erato-1.png")(folder)
    supports = read_supports(folder, collection)
    write_png(collection.specimens[0].image, np.zeros((HEIGHT, WIDTH + 1, 3), dtype=np.uint8))
    with pytest.raises(SupportError, match="another size than when it was checked"):
        supports.load("erato")


def test_a_drawing_on_the_photograph_as_stored_is_recognised(folder: Path, collection: Collection) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph = collection.specimens[0].image
    Image.fromarray(np.zeros((WIDTH, HEIGHT, 3), dtype=np.uint8)).save(photograph, exif=exif)
    spoil("erato-1.png", label_map())(folder)
    assert only(read_supports(folder, collection)).masks.shape == (2, HEIGHT, WIDTH)
    spoil("erato-1.png", np.rot90(label_map()))(folder)
    with pytest.raises(
        SupportError, match=r"is 20 x 30 px, but .* is 30 x 20 once turned as its EXIF orientation says"
    ):
        read_supports(folder, collection)


# ------------------------------------------------------------------------------------------------ real specimens


@pytest.mark.parametrize("name", ["heliconius", "pinned_beetles", "neon_beetles", "fish"])
def test_real_supports_come_back_exactly(shared_data: Path, name: str) -> None:
    folder = shared_data / name / "supports"
    supports = read_supports(folder, read_collection(shared_data / name / "collection.csv"))
    assert {reference.specimen for reference in supports.references} == {path.stem for path in folder.glob("*.png")}
    (support, *_) = supports.load(supports.groups()[0])
    labels = read_labels(folder / f"{support.specimen}.png")
    again = masks.to_labels(support.masks, [supports.numbers[trait] for trait in support.traits])
    assert np.array_equal(again, labels)
    assert support.image.shape[:2] == labels.shape


def test_pinned_beetles_have_numbers_of_their_own(shared_data: Path) -> None:
    folder = shared_data / "pinned_beetles"
    supports = read_supports(folder / "supports", read_collection(folder / "collection.csv"))
    assert dict(supports.numbers) == {"head": 1, "pronotum": 2, "elytra": 3, "legs": 4, "antennae": 5}
    assert supports.references[0].specimen == "0000"
