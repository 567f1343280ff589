"""Label pictures and traits.toml as they really arrive: turned, inverted, of several pages, almost rightly named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from annotation_files import TRAITS, label_map, only
from PIL import Image

from sst_retrieval.annotate.saving import save_support
from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.annotate.traits import add_traits, check_trait_name, read_traits
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import ImageError, SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import read_labels, write_png

STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("turn", STORED)
def test_a_label_picture_is_turned_as_its_exif_says(
    supports_folder: Path, butterflies: Collection, turn: int, suffix: str
) -> None:
    (supports_folder / "traits.toml").write_text(TRAITS)
    exif = Image.Exif()
    exif[0x0112] = turn
    path = supports_folder / f"erato-1{suffix}"
    Image.fromarray(label_map()).transpose(STORED[turn]).save(path, exif=exif)
    assert np.array_equal(read_labels(path), label_map())
    support = only(read_supports(supports_folder, butterflies))
    assert np.array_equal(support.masks, masks.from_labels(label_map(), [2, 5]))
    mask = supports_folder / f"erato-1_wing{suffix}"
    path.unlink()
    wing = np.stack([(label_map() == 2).astype(np.uint8) * 255, label_map() * 0, label_map() * 0], axis=2)
    Image.fromarray(wing).transpose(STORED[turn]).save(mask, exif=exif)
    assert np.array_equal(only(read_supports(supports_folder, butterflies)).masks[0], label_map() == 2)


def test_a_label_picture_of_several_pages_is_refused(supports_folder: Path, butterflies: Collection) -> None:
    (supports_folder / "traits.toml").write_text(TRAITS)
    path = supports_folder / "erato-1.tif"
    tifffile.imwrite(path, np.stack([label_map(), label_map() * 0]))
    with pytest.raises(ImageError, match=r"has 2 pages, and it is not clear which holds the labels; save each"):
        read_labels(path)
    with pytest.raises(SupportError, match=r"erato-1\.tif .*has 2 pages"):
        read_supports(supports_folder, butterflies)
    path.rename(supports_folder / "erato-1_wing.tif")
    with pytest.raises(SupportError, match=r"erato-1_wing\.tif .*has 2 pages"):
        read_supports(supports_folder, butterflies)


def test_masks_that_can_hardly_be_meant_are_noted(supports_folder: Path, butterflies: Collection) -> None:
    (supports_folder / "traits.toml").write_text(TRAITS)
    write_png(supports_folder / "erato-1_wing.png", np.where(label_map() == 2, 0, 255).astype(np.uint8))
    speck = np.zeros_like(label_map())
    speck[7, 7] = 255
    write_png(supports_folder / "erato-1_spot.png", speck)
    small, inverted = read_supports(supports_folder, butterflies).notes
    assert "wing of erato-1 is drawn on 58% of the photograph, its edges included; if the mask is black on" in inverted
    assert "spot of erato-1 is drawn on a speck of 1 px; if that is a slip, erase it" in small


@pytest.mark.parametrize(
    "content",
    [
        TRAITS.encode("utf-16"),
        TRAITS.replace("[traits]", "[traits]\nbackground = 0\n_background_ = 0").encode(),
    ],
)
def test_traits_files_that_are_read(supports_folder: Path, butterflies: Collection, content: bytes) -> None:
    path = supports_folder / "traits.toml"
    path.write_bytes(content)
    write_png(supports_folder / "erato-1.png", label_map())
    assert read_supports(supports_folder, butterflies).numbers == {"wing": 2, "spot": 5}
    assert add_traits(path, ["leg"], {}) == {"wing": 2, "spot": 5, "leg": 6}
    assert read_traits(path).numbers == {"wing": 2, "spot": 5, "leg": 6}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[traits]\nFl\u00fcgel = 2\n".encode("latin-1"), r"is not UTF-8 text; save it as UTF-8"),
        (b'[traits]\n2 = "wing"\n', r"2 = 'wing' has a text where a label number is due; write wing = 2"),
        (b'[traits]\nwing = "2"\n', r"wing = '2' has a text where a label number is due; write wing = 2"),
        (b"[traits]\nwing = 0\n", r"0 is the background"),
    ],
)
def test_traits_files_that_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "traits.toml").write_bytes(content)
    with pytest.raises(SupportError, match=reason):
        read_traits(tmp_path / "traits.toml")


@pytest.mark.parametrize("name", ["a/b", "..", "Wing", "a\nb", " "])
def test_a_traits_file_never_gets_a_name_that_no_reader_takes(tmp_path: Path, name: str) -> None:
    path = tmp_path / "traits.toml"
    path.write_text(TRAITS)
    with pytest.raises(SupportError):
        add_traits(path, [name], {})
    assert path.read_text() == TRAITS
    with pytest.raises(SupportError):
        check_trait_name(name, ["wing"])
    check_trait_name("Fl\u00fcgel", ["wing"])


def test_capitals_of_traits_toml_do_not_count(supports_folder: Path, butterflies: Collection) -> None:
    (supports_folder / "Traits.TOML").write_text(TRAITS)
    write_png(supports_folder / "erato-1.png", label_map())
    assert read_supports(supports_folder, butterflies).numbers == {"wing": 2, "spot": 5}
    drawn = {"leg": label_map() == 5}
    save_support(supports_folder, "erato-2", drawn)
    assert [path.name for path in supports_folder.glob("*") if path.suffix.lower() == ".toml"] == ["Traits.TOML"]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("supports/traits.toml.txt", r"there is .*supports/traits\.toml\.txt: rename it to traits\.toml"),
        ("supports/trait.toml", r"there is .*supports/trait\.toml: rename it"),
        ("traits.toml", r"there is .*traits\.toml: move it to .*supports"),
        ("supports/notes.txt", r"write one: \[traits\]"),
    ],
)
def test_a_traits_file_under_another_name_is_pointed_out(
    supports_folder: Path, butterflies: Collection, name: str, remedy: str
) -> None:
    (supports_folder.parent / name).write_text(TRAITS)
    write_png(supports_folder / "erato-1.png", label_map())
    with pytest.raises(SupportError, match=rf"there is no .*traits\.toml to name its numbers; {remedy}"):
        read_supports(supports_folder, butterflies)


def test_pictures_of_label_studio_name_no_photograph(supports_folder: Path, butterflies: Collection) -> None:
    (supports_folder / "traits.toml").write_text(TRAITS)
    write_png(supports_folder / "task-1-annotation-1-by-1-tag-wing-0.png", label_map())
    with pytest.raises(SupportError, match=r"does not name the photograph .*export the annotations as JSON"):
        read_supports(supports_folder, butterflies)
