"""Whose a drawing is: names that programs and file systems change, sub-folders, and files of other tools."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from annotation_files import HEIGHT, TRAITS, WIDTH, box_mask, label_map, labelme, only, polygon
from PIL import Image

from sst_retrieval.annotate.saving import save_support
from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import SupportError
from sst_retrieval.imaging.images import write_png
from sst_retrieval.types import Photograph


@pytest.fixture
def beetles(tmp_path: Path) -> Collection:
    """B 0 (photograph b 0.1.jpg), B1 (b1.jpg) and NHMUK 1929/12/B2 (c.jpg), in the groups g and h."""
    specimens = []
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for name, file, group in [("B 0", "b 0.1.jpg", "g"), ("B1", "b1.jpg", "g"), ("NHMUK 1929/12/B2", "c.jpg", "h")]:
        path = tmp_path / "images" / file
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(path)
        specimens.append(Photograph(name, path, group))
    return Collection(tuple(specimens), {}, tmp_path / "collection.csv")


@pytest.mark.parametrize(
    ("name", "specimen"),
    [
        ("b1_jpg.rf.0123456789abcdef0123456789abcdef.jpg", "B1"),
        ("b-0-1_jpg.rf.AbCdEfGhIjKlMnOpQrSt.jpg", "B 0"),
        ("train/b1_JPG.rf.0123456789abcdef0123456789abcdef.png", "B1"),
        ("1a2b3c4d-b1.jpg", "B1"),
        ("/data/upload/7/1a2b3c4d-b_0.1.jpg", "B 0"),
        ("/data/local-files/?d=photos/b%200.1.jpg", "B 0"),
        ("https://example.org/store/b1.jpg?signature=x", "B1"),
        ("s3://bucket/b1.jpg", "B1"),
        ("b1.png", "B1"),
        ("B1.JPG", "B1"),
    ],
)
def test_names_that_programs_change(supports_folder: Path, beetles: Collection, name: str, specimen: str) -> None:
    (supports_folder / "x.json").write_text(labelme([polygon("wing", 3, 4, 9, 9)], imagePath=name))
    assert only(read_supports(supports_folder, beetles)).individual == specimen


@pytest.mark.parametrize(
    ("name", "specimen"),
    [
        ("NHMUK 1929%2F12%2FB2", "NHMUK 1929/12/B2"),
        ("NHMUK 1929_12_B2", "NHMUK 1929/12/B2"),
        ("c", "NHMUK 1929/12/B2"),
        ("B1_mask", "B1"),
        ("b1", "B1"),
        ("b1_jpg.rf.0123456789abcdef0123456789abcdef_mask", "B1"),
    ],
)
def test_names_of_label_pictures(supports_folder: Path, beetles: Collection, name: str, specimen: str) -> None:
    write_png(supports_folder / f"{name}.png", label_map())
    (supports_folder / "traits.toml").write_text(TRAITS)
    assert only(read_supports(supports_folder, beetles)).individual == specimen


def test_an_id_comes_before_a_file_name(supports_folder: Path, beetles: Collection) -> None:
    first, second, third = beetles.photographs
    crossed = replace(beetles, photographs=(replace(first, id="b1"), second, third))
    write_png(supports_folder / "b1.png", label_map())
    (supports_folder / "traits.toml").write_text(TRAITS)
    assert only(read_supports(supports_folder, crossed)).individual == "b1"


def test_an_unknown_name_says_how_label_pictures_are_called(supports_folder: Path, beetles: Collection) -> None:
    write_png(supports_folder / "NHMUK 1929-12-B2.png", label_map())
    (supports_folder / "traits.toml").write_text(TRAITS)
    with pytest.raises(SupportError, match=r"did you mean 'NHMUK 1929/12/B2'\? .* called NHMUK 1929%2F12%2FB2\.png or"):
        read_supports(supports_folder, beetles)


def test_an_id_with_slashes_is_saved_and_read_again(tmp_path: Path, beetles: Collection) -> None:
    path = save_support(tmp_path / "drawn", "NHMUK 1929/12/B2", {"wing": box_mask(1, 1, 9, 9)})
    assert path.name == "NHMUK 1929%2F12%2FB2.png"
    assert only(read_supports(tmp_path / "drawn", beetles)).individual == "NHMUK 1929/12/B2"


def test_a_photograph_of_two_specimens(supports_folder: Path, beetles: Collection) -> None:
    first, second, third = beetles.photographs
    shared = replace(beetles, photographs=(first, second, replace(third, image=second.image)))
    (supports_folder / "x.json").write_text(labelme([polygon("wing", 3, 4, 9, 9)], imagePath="b1.jpg"))
    with pytest.raises(SupportError, match=r"the photograph of B1 and NHMUK 1929/12/B2; .*shows one specimen"):
        read_supports(supports_folder, shared)


# ----------------------------------------------------------------------------------------------------- pixels


@pytest.mark.parametrize("kind", ["LA", "RGB", "RGBA", "F", "bmp"])
def test_numbers_as_other_programs_save_them(supports_folder: Path, beetles: Collection, kind: str) -> None:
    labels = label_map()
    picture = Image.fromarray(labels.astype(np.float32) if kind == "F" else labels)
    picture = picture.convert(kind) if kind in ("LA", "RGB", "RGBA") else picture
    picture.save(supports_folder / ("B1." + {"F": "tif", "bmp": "bmp"}.get(kind, "png")))
    (supports_folder / "traits.toml").write_text(TRAITS)
    assert np.array_equal(only(read_supports(supports_folder, beetles)).masks, np.stack([labels == 2, labels == 5]))


def test_decimal_numbers_are_no_labels(supports_folder: Path, beetles: Collection) -> None:
    Image.fromarray(label_map() * np.float32(0.3)).save(supports_folder / "B1.tif")
    (supports_folder / "traits.toml").write_text(TRAITS)
    with pytest.raises(SupportError, match="decimal numbers that are no label numbers"):
        read_supports(supports_folder, beetles)


@pytest.mark.parametrize("indexed", [False, True])
def test_colours_of_a_label_map(supports_folder: Path, beetles: Collection, indexed: bool) -> None:
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[2], colours[5] = (250, 50, 83), (51, 221, 255)
    picture = Image.fromarray(colours[label_map()])
    if indexed:  # Its numbers are 1 and 2, not those of traits.toml.
        picture = Image.fromarray((label_map() == 2).astype(np.uint8) + 2 * (label_map() == 5).astype(np.uint8))
        picture.putpalette([0, 0, 0, 250, 50, 83, 51, 221, 255])
    picture.save(supports_folder / "B1.png")
    lines = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nwing:250,50,83::\nspot:51,221,255::\n"
    (supports_folder / "labelmap.txt").write_text(lines)
    for traits in (None, TRAITS, "[traits]\nwing = 2\nspot = 1\n"):
        if traits:
            (supports_folder / "traits.toml").write_text(traits)
        support = only(read_supports(supports_folder, beetles))
        found = dict(zip(support.traits, support.masks, strict=True))
        assert np.array_equal(found["wing"], label_map() == 2)
        assert np.array_equal(found["spot"], label_map() == 5)
    (supports_folder / "labelmap.txt").rename(supports_folder / "label_colors.txt")
    (supports_folder / "label_colors.txt").write_text("0 0 0 background\n250 50 83 wing\n51 221 255 spot\n")
    assert only(read_supports(supports_folder, beetles)).traits == ("spot", "wing")
    (supports_folder / "labelmap.txt").write_text("wing:250,50,83::\n")
    with pytest.raises(SupportError, match=r"the colour \(51, 221, 255\) at \(5, 6\), which labelmap\.txt does not"):
        read_supports(supports_folder, beetles)


def test_colour_masks_that_are_damaged(supports_folder: Path, beetles: Collection) -> None:
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[2], colours[5] = (250, 50, 83), (51, 221, 255)
    path = supports_folder / "B1.png"
    write_png(path, colours[label_map()])
    listed = supports_folder / "labelmap.txt"
    listed.write_text("wing:250,50,83::\nwing:51,221,255::\n")
    support = only(read_supports(supports_folder, beetles))
    assert np.array_equal(support.masks[0], label_map() > 0)  # Two colours of one trait are joined.
    for number in ("256", "9" * 5000):
        listed.write_text(f"wing:250,50,83::\nspot:51,{number},255::\n")
        with pytest.raises(SupportError, match="colour above 255"):
            read_supports(supports_folder, beetles)
    listed.write_text("wing:250,50,83::\nspot:51,221,255::\n")
    content = path.read_bytes()
    end = content.index(b"IDAT") + 4 + int.from_bytes(content[content.index(b"IDAT") - 4 :][:4], "big")
    path.write_bytes(content[:end] + b"0000" + content[end + 4 :])
    with pytest.raises(SupportError, match="IDAT chunk has a wrong checksum"):
        read_supports(supports_folder, beetles)


@pytest.mark.parametrize("layout", ["B1_{}.png", "{}/B1.png", "B1-{}.png", "{}_b1.png", "B1/{}.png"])
@pytest.mark.parametrize("traits", [None, TRAITS])
def test_one_mask_a_trait(supports_folder: Path, beetles: Collection, layout: str, traits: str | None) -> None:
    if traits:
        (supports_folder / "traits.toml").write_text(traits)
    elif not layout.startswith("B1") or "/" in layout:
        return  # Only traits.toml says which part of the name is a trait.
    wing, spot = box_mask(3, 4, 25, 16), box_mask(5, 6, 10, 9)
    for trait, mask in (("wing", wing), ("spot", spot)):
        path = supports_folder / layout.format(trait)
        path.parent.mkdir(exist_ok=True)
        write_png(path, mask.astype(np.uint8) * 255)
    support = only(read_supports(supports_folder, beetles))
    assert support.individual == "B1"
    found = dict(zip(support.traits, support.masks, strict=True))
    assert np.array_equal(found["wing"], wing)  # They overlap, which a label map cannot show.
    assert np.array_equal(found["spot"], spot)
    Image.fromarray(wing.astype(np.uint8) * 255).save(supports_folder / "B1_wing.bmp")
    with pytest.raises(SupportError, match=r"wing of B1 is annotated twice"):
        read_supports(supports_folder, beetles)
    (supports_folder / "B1_wing.bmp").unlink()
    if layout == "{}/B1.png":
        return  # Such a picture is called like any other.
    write_png(path, label_map())
    with pytest.raises(SupportError, match=r"has the numbers 2, 5, but is called after one trait"):
        read_supports(supports_folder, beetles)


@pytest.mark.parametrize("name", ["B1.jpg", "b1.jpeg", "B1_wing.JPG"])
def test_jpeg_labels(supports_folder: Path, beetles: Collection, name: str) -> None:
    (supports_folder / "traits.toml").write_text(TRAITS)
    Image.fromarray(label_map()).save(supports_folder / name, format="JPEG")
    with pytest.raises(SupportError, match=rf"{name} is a JPEG, whose compression changes label numbers"):
        read_supports(supports_folder, beetles)
    write_png(supports_folder / "NHMUK 1929_12_B2.png", label_map())
    with pytest.raises(SupportError, match=rf"{name} is a JPEG"):
        read_supports(supports_folder, beetles)
    Image.open(beetles.photographs[1].image).save(supports_folder / name, format="JPEG")  # A copy of the photograph.
    assert only(read_supports(supports_folder, beetles)).individual == "NHMUK 1929/12/B2"


# ----------------------------------------------------------------------------------------------------- folders


def test_sub_folders(supports_folder: Path, beetles: Collection) -> None:
    (supports_folder / "traits.toml").write_text(TRAITS)
    for folder in ("h", "old"):
        (supports_folder / folder).mkdir()
    write_png(supports_folder / "h" / "c.png", label_map())
    write_png(supports_folder / "old" / "B 0.png", label_map())
    write_png(supports_folder / "B1.png", label_map())
    supports = read_supports(supports_folder, beetles)
    assert [reference.individual for reference in supports.references] == ["B1", "NHMUK 1929/12/B2"]
    assert len(supports.notes) == 1
    assert "1 files in the folder" in supports.notes[0]
    (supports_folder / "B1.png").unlink()
    supports = read_supports(supports_folder, beetles)  # Nothing lies above, so any folder is meant.
    assert [reference.individual for reference in supports.references] == ["B 0", "NHMUK 1929/12/B2"]


def test_an_export_in_the_layout_of_pascal_voc(supports_folder: Path, beetles: Collection) -> None:
    (supports_folder / "labelmap.txt").write_text("wing:250,0,0::\n")
    for folder, colour in (("SegmentationClass", (250, 0, 0)), ("SegmentationObject", (9, 9, 90))):
        (supports_folder / folder).mkdir()
        Image.new("RGB", (WIDTH, HEIGHT), colour).save(supports_folder / folder / "b1.png")
    assert only(read_supports(supports_folder, beetles)).traits == ("wing",)


def test_what_lies_there_is_named(supports_folder: Path, beetles: Collection) -> None:
    (supports_folder / "notes.txt").write_text("drawn on a Sunday, 3 4 5")
    (supports_folder / "b1.tps").write_text("LM=1\n1 1\nIMAGE=b1.jpg\n")
    with pytest.raises(SupportError, match=r"no supports; add .*b1\.tps is a TPS file, which holds landmarks, .*notes"):
        read_supports(supports_folder, beetles)
    (supports_folder / "x.json").write_text(labelme([polygon("wing", 3, 4, 9, 9)], imagePath="b1.jpg"))
    (note,) = read_supports(supports_folder, beetles).notes
    assert "holds landmarks" in note
    (supports_folder / "y.json").write_text(json.dumps({"shapes of": base64.b64encode(b"?").decode()}))
    with pytest.raises(SupportError, match=r"y\.json is neither COCO JSON .* nor LabelMe .* nor VIA .* nor Label St"):
        read_supports(supports_folder, beetles)
