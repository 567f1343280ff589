"""Annotated specimens: label pictures, specimens and photographs, and what is wrong with them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from annotation_files import HEIGHT, TRAITS, WIDTH, box_mask, label_map, labelme, only, polygon
from PIL import Image

from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.collection.specimens import Collection, read_collection
from sst_retrieval.errors import SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import read_labels, write_png

# ------------------------------------------------------------------------------------------------ label pictures


@pytest.mark.parametrize("kind", ["grey", "palette", "16 bit", "tif"])
def test_a_label_picture(supports_folder: Path, butterflies: Collection, kind: str) -> None:
    labels = label_map()
    picture = Image.fromarray(labels.astype(np.uint16) if kind == "16 bit" else labels)
    if kind == "palette":
        picture.putpalette([0, 0, 0, 255, 0, 0] * 128)
    picture.save(supports_folder / ("melpomene.1.tif" if kind == "tif" else "melpomene.1.png"))
    (supports_folder / "traits.toml").write_text(
        "[traits]\nspot = 5\nantenna = 9\nwing = 2\n[synonyms]\nspot = ['dot', 'Eye']\n"
    )
    supports = read_supports(supports_folder, butterflies)
    support = only(supports)
    assert (support.individual, support.group, support.traits) == ("melpomene.1", "melpomene", ("wing", "spot"))
    assert np.array_equal(support.masks, np.stack([labels == 2, labels == 5]))
    assert support.image.shape == (HEIGHT, WIDTH, 3)
    assert supports.numbers == {"spot": 5, "antenna": 9, "wing": 2}
    assert supports.synonyms == {"spot": ("dot", "Eye")}


def test_large_label_numbers(supports_folder: Path, butterflies: Collection) -> None:
    write_png(supports_folder / "erato-1.png", label_map().astype(np.uint16) * 300)
    (supports_folder / "traits.toml").write_text("[traits]\nwing = 600\nspot = 1500\n")
    assert only(read_supports(supports_folder, butterflies)).traits == ("wing", "spot")


def test_a_group_may_have_several_supports(supports_folder: Path, butterflies: Collection) -> None:
    (supports_folder / "traits.toml").write_text(TRAITS)
    for name in ("melpomene.1", "erato-2", "erato-1"):
        write_png(supports_folder / f"{name}.png", label_map())
    (supports_folder / "notes.txt").write_text("drawn on a Sunday")
    (supports_folder / "._erato-1.png").write_bytes(b"what some systems leave behind")
    supports = read_supports(supports_folder, butterflies)
    assert supports.groups() == ("erato", "melpomene")
    assert [reference.individual for reference in supports.by_group()["erato"]] == ["erato-1", "erato-2"]
    assert [support.individual for support in supports.load("erato")] == ["erato-1", "erato-2"]
    assert supports.load("nobody") == ()


def test_a_black_and_white_mask_needs_its_number(supports_folder: Path, butterflies: Collection) -> None:
    write_png(supports_folder / "erato-1.png", box_mask(3, 3, 9, 9).astype(np.uint8) * 255)
    (supports_folder / "traits.toml").write_text("[traits]\nwing = 1\n")
    with pytest.raises(SupportError, match=r"erato-1\.png has label 255, .*write wing = 255 into traits\.toml"):
        read_supports(supports_folder, butterflies)
    (supports_folder / "traits.toml").write_text(TRAITS)
    with pytest.raises(SupportError, match="does not say which trait"):
        read_supports(supports_folder, butterflies)
    (supports_folder / "traits.toml").write_text("[traits]\nwing = 255\n")
    assert np.array_equal(only(read_supports(supports_folder, butterflies)).masks, box_mask(3, 3, 9, 9)[None])


def test_fingerprints_follow_what_matters(supports_folder: Path, butterflies: Collection) -> None:
    def fingerprints(traits: str = TRAITS) -> dict[str, str]:
        (supports_folder / "traits.toml").write_text(traits)
        return dict(read_supports(supports_folder, butterflies).fingerprints)

    write_png(supports_folder / "erato-1.png", label_map())
    write_png(supports_folder / "melpomene.1.png", label_map())
    first = fingerprints()
    assert first["erato"] != first["melpomene"]
    assert fingerprints(TRAITS + "leg = 7\n") == first
    renamed = fingerprints(TRAITS.replace("spot", "dot"))
    assert renamed["erato"] != first["erato"]
    write_png(supports_folder / "erato-1.png", label_map()[::-1])
    redrawn = fingerprints()
    assert redrawn["erato"] != first["erato"]
    assert redrawn["melpomene"] == first["melpomene"]
    write_png(butterflies.photographs[2].image, np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    assert fingerprints()["melpomene"] != first["melpomene"]
    write_png(supports_folder / "erato-2.png", label_map())
    assert fingerprints()["erato"] != redrawn["erato"]


def test_the_order_of_the_table_changes_no_group(supports_folder: Path, butterflies: Collection) -> None:
    (supports_folder / "traits.toml").write_text(TRAITS)
    write_png(supports_folder / "erato-1.png", label_map())
    write_png(supports_folder / "erato-2.png", label_map()[::-1])
    write_png(supports_folder / "melpomene.1.png", label_map())
    supports = read_supports(supports_folder, butterflies)
    turned = read_supports(supports_folder, replace(butterflies, photographs=butterflies.photographs[::-1]))
    assert turned.groups() == ("melpomene", "erato")  # Groups stand as the table names them.
    assert turned.fingerprints == supports.fingerprints
    assert turned.by_group() == supports.by_group()
    assert [support.individual for support in turned.load("erato")] == ["erato-1", "erato-2"]


def test_the_fingerprint_of_several_supports_follows_their_order(
    supports_folder: Path, butterflies: Collection
) -> None:
    (supports_folder / "traits.toml").write_text(TRAITS)
    write_png(supports_folder / "erato-1.png", label_map())
    write_png(supports_folder / "erato-2.png", label_map()[::-1])
    supports = read_supports(supports_folder, butterflies)
    first, second, other = butterflies.photographs
    renamed = (replace(first, id="erato-2"), replace(second, id="erato-1"), other)
    write_png(supports_folder / "erato-2.png", label_map())
    write_png(supports_folder / "erato-1.png", label_map()[::-1])
    exchanged = read_supports(supports_folder, replace(butterflies, photographs=renamed))
    assert {each.fingerprint for each in exchanged.references} == {each.fingerprint for each in supports.references}
    assert exchanged.fingerprints["erato"] != supports.fingerprints["erato"]  # Another one is first.
    # An older program sorted them, so what it made may lie like either.
    old = hashlib.sha256("".join(sorted(each.fingerprint for each in supports.references)).encode()).hexdigest()
    assert old not in (exchanged.fingerprints["erato"], supports.fingerprints["erato"])


def test_the_fingerprint_of_a_single_support_is_as_ever(supports_folder: Path, butterflies: Collection) -> None:
    (supports_folder / "traits.toml").write_text(TRAITS)
    write_png(supports_folder / "erato-1.png", label_map())
    supports = read_supports(supports_folder, butterflies)
    (reference,) = supports.references
    assert supports.fingerprints["erato"] == hashlib.sha256(reference.fingerprint.encode()).hexdigest()
    photograph = hashlib.sha256(butterflies.photographs[0].image.read_bytes()).hexdigest()
    own = repr((photograph, reference.traits, reference.rles))
    assert reference.fingerprint == hashlib.sha256(own.encode()).hexdigest()
    assert (reference.content, reference.box) == (photograph, (3, 4, 25, 16))


def test_photographs_among_the_supports_are_not_labels(supports_folder: Path, butterflies: Collection) -> None:
    (supports_folder / "IMG_erato-1.png").symlink_to(butterflies.photographs[0].image)
    write_png(supports_folder / "scan.png", np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    (supports_folder / "erato-1.json").write_text(labelme([polygon("wing", 3, 4, 9, 8)], imagePath="scan.png"))
    assert only(read_supports(supports_folder, butterflies)).individual == "erato-1"


# -------------------------------------------------------------------------------------------- what does not fit


def spoil(name: str, labels: npt.NDArray[Any] | None = None, traits: str | None = TRAITS) -> Callable[[Path], None]:
    def write(supports_folder: Path) -> None:
        write_png(supports_folder / name, label_map() if labels is None else labels)
        if traits is not None:
            (supports_folder / "traits.toml").write_text(traits)

    return write


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (
            spoil("erato-1.png", label_map() + 1),
            r"has label 1, 3, 6, but traits\.toml names 2 \(wing\), 5 \(spot\); add a",
        ),
        (spoil("erato-1.png", label_map() * 0), r"erato-1\.png is empty.*draw"),
        (spoil("erato-1.png", np.full((HEIGHT, WIDTH, 3), (9, 0, 0), np.uint8)), r"colour picture.*labelmap\.txt"),
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
        (
            spoil("erato-1.png", traits="[traits]\nwing = '2'"),
            r"wing = '2' has a text where a label number is due; write wing = 2",
        ),
        (spoil("erato-1.png", traits="[traits]\nwing = true"), r"wing = True, but a label number"),
        (spoil("erato-1.png", traits="[traits]\n'a/b' = 2"), r"'a/b' cannot be a file name"),
        (spoil("erato-1.png", traits=TRAITS + "[synonyms]\nleg = ['x']"), r"\[synonyms\] has leg"),
        (spoil("erato-1.png", traits=TRAITS + "[synonyms]\nwing = 'x'"), r"must be a list of words"),
        (spoil("erato-1.png", traits=TRAITS + "[synonyms]\nwing = ['Spot']"), r"'Spot' stands for spot and for wing"),
        (spoil("erato-1.png", traits="synonyms = 3\n" + TRAITS), r"\[synonyms\] takes lines"),
    ],
)
def test_bad_label_pictures(
    supports_folder: Path, butterflies: Collection, write: Callable[[Path], None], reason: str
) -> None:
    write(supports_folder)
    with pytest.raises(SupportError, match=reason):
        read_supports(supports_folder, butterflies)


def test_no_supports_at_all(supports_folder: Path, butterflies: Collection) -> None:
    with pytest.raises(SupportError, match="has no supports; add"):
        read_supports(supports_folder, butterflies)
    with pytest.raises(SupportError, match="no folder of supports"):
        read_supports(supports_folder / "gone", butterflies)
    with pytest.raises(SupportError, match="no folder of supports"):
        read_supports(supports_folder / "gone.json", butterflies)


def test_annotated_twice(supports_folder: Path, butterflies: Collection) -> None:
    spoil("erato-1.png")(supports_folder)
    (supports_folder / "x.json").write_text(labelme([polygon("wing", 1, 1, 5, 5)]))
    with pytest.raises(SupportError, match=r"erato-1 is annotated twice, in .* and in .*; remove one"):
        read_supports(supports_folder, butterflies)


def test_a_specimen_without_a_photograph(supports_folder: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8))
    (tmp_path / "t.csv").write_text("id,image\nerato-1,\nerato-2,a.png\n")
    spoil("erato-1.png")(supports_folder)
    with pytest.raises(SupportError, match=r"names no photograph for erato-1"):
        read_supports(supports_folder, read_collection(tmp_path / "t.csv"))


def test_a_broken_photograph_of_a_support(supports_folder: Path, butterflies: Collection) -> None:
    spoil("erato-1.png")(supports_folder)
    photograph = butterflies.photographs[0].image
    whole = photograph.read_bytes()
    photograph.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SupportError, match=r"photograph of erato-1 cannot be used: .*truncated"):
        read_supports(supports_folder, butterflies)
    photograph.unlink()
    with pytest.raises(SupportError, match=r"photograph of erato-1 cannot be used: .*does not exist"):
        read_supports(supports_folder, butterflies)


def test_a_photograph_exchanged_after_the_check(supports_folder: Path, butterflies: Collection) -> None:
    spoil("erato-1.png")(supports_folder)
    supports = read_supports(supports_folder, butterflies)
    write_png(butterflies.photographs[0].image, np.zeros((HEIGHT, WIDTH + 1, 3), dtype=np.uint8))
    with pytest.raises(SupportError, match="changed since it was checked"):
        supports.load("erato")


def test_a_drawing_on_the_photograph_as_stored_is_recognised(supports_folder: Path, butterflies: Collection) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph = butterflies.photographs[0].image
    Image.fromarray(np.zeros((WIDTH, HEIGHT, 3), dtype=np.uint8)).save(photograph, exif=exif)
    spoil("erato-1.png", label_map())(supports_folder)
    assert only(read_supports(supports_folder, butterflies)).masks.shape == (2, HEIGHT, WIDTH)
    spoil("erato-1.png", np.rot90(label_map()))(supports_folder)
    with pytest.raises(
        SupportError, match=r"is 20 x 30 px, but .* is 30 x 20 once turned as its EXIF orientation says"
    ):
        read_supports(supports_folder, butterflies)


# ------------------------------------------------------------------------------------------------ real specimens


@pytest.mark.parametrize("name", ["heliconius", "pinned_beetles", "neon_beetles", "fish"])
def test_real_supports_come_back_exactly(shared_data: Path, name: str) -> None:
    supports_folder = shared_data / name / "supports"
    supports = read_supports(supports_folder, read_collection(shared_data / name / "collection.csv"))
    assert {reference.individual for reference in supports.references} == {
        path.stem for path in supports_folder.glob("*.png")
    }
    (support, *_) = supports.load(supports.groups()[0])
    labels = read_labels(supports_folder / f"{support.individual}.png")
    again = masks.to_labels(support.masks, [supports.numbers[trait] for trait in support.traits])
    assert np.array_equal(again, labels)
    assert support.image.shape[:2] == labels.shape


def test_pinned_beetles_have_numbers_of_their_own(shared_data: Path) -> None:
    supports_folder = shared_data / "pinned_beetles"
    supports = read_supports(supports_folder / "supports", read_collection(supports_folder / "collection.csv"))
    assert dict(supports.numbers) == {"head": 1, "pronotum": 2, "elytra": 3, "legs": 4, "antennae": 5}
    assert supports.references[0].individual == "0000"


def test_who_has_no_supports_yet_is_told_where_they_are_drawn(butterflies: Collection, tmp_path: Path) -> None:
    with pytest.raises(SupportError, match=f"sst-retrieval app {butterflies.source}"):
        read_supports(tmp_path / "nowhere", butterflies)
