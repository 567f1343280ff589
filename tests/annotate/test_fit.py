"""Masks that do not fit their photograph: soft edges, drawings on the photograph as stored, two specimens at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from annotation_files import only
from PIL import Image, ImageFilter

from sst_retrieval.annotate import fit
from sst_retrieval.annotate.formats.soft_edges import find_mixed_numbers
from sst_retrieval.annotate.supports import Supports, read_supports
from sst_retrieval.collection.specimens import Collection, read_collection
from sst_retrieval.errors import SupportError
from sst_retrieval.imaging.images import read_image, read_labels, write_png
from sst_retrieval.imaging.sources import turn
from sst_retrieval.types import Photograph

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Labels = npt.NDArray[np.uint8]


def beetle(side: int = 240) -> Labels:
    """Head (1), pronotum (2), elytra (3) and a leg (4) of an ellipse that lies off the middle."""
    ys, xs = np.mgrid[:side, :side] / side
    labels = np.zeros((side, side), dtype=np.uint8)
    labels[((xs - 0.4) / 0.16) ** 2 + ((ys - 0.55) / 0.3) ** 2 < 1] = 3
    labels[(labels == 3) & (ys < 0.42)] = 2
    labels[(labels == 2) & (ys < 0.34)] = 1
    labels[(np.abs(ys - 0.6) < 0.02) & (xs > 0.5) & (xs < 0.8)] = 4
    return labels


def photograph(labels: Labels) -> npt.NDArray[np.uint8]:
    colours = np.array([(225, 220, 210), (60, 40, 30), (90, 50, 30), (40, 60, 30), (30, 25, 20)], dtype=np.uint8)
    noise = np.random.default_rng(0).normal(0, 6, (*labels.shape, 3))
    return np.clip(colours[labels] + noise, 0, 255).astype(np.uint8)


def read(folder: Path, labels: Labels, image: npt.NDArray[np.uint8], orientation: int = 1) -> Supports:
    """Read a label picture of a photograph that is shown as `image`, and stored as its orientation says."""
    inverse = TURNS.get({6: 8, 8: 6}.get(orientation, orientation))
    stored = Image.fromarray(image) if inverse is None else Image.fromarray(image).transpose(inverse)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(folder / "b.png", exif=exif)
    supports = folder / "supports"
    supports.mkdir(exist_ok=True)
    (supports / "traits.toml").write_text("[traits]\nhead = 1\npronotum = 2\nelytra = 3\nleg = 4\n")
    write_png(supports / "B.png", labels)
    return read_supports(supports, Collection((Photograph("B", folder / "b.png", "all"),), {}, folder / "t.csv"))


# --------------------------------------------------------------------------------------------------- soft edges


def soften(labels: Labels, way: str) -> Labels:
    picture = Image.fromarray(labels)
    size = picture.size
    if way == "blur":
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(1.2)))
    resampling = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[way.split()[0]]
    factor = float(way.split()[1])
    return np.asarray(picture.resize((int(size[0] / factor), int(size[1] / factor))).resize(size, resampling))


@pytest.mark.parametrize("way", ["blur", "bilinear 2", "bicubic 2", "bilinear 3", "bilinear 6"])
def test_soft_edges_are_refused(tmp_path: Path, way: str) -> None:
    assert not find_mixed_numbers(beetle().astype(np.uint16))
    soft = soften(beetle(), way)
    with pytest.raises(SupportError, match=r"B\.png has soft edges: label .* Paint with a hard brush"):
        read(tmp_path, soft, photograph(beetle()))


def test_soft_edges_between_numbers_without_a_trait(tmp_path: Path) -> None:
    with pytest.raises(SupportError, match="has soft edges"):
        read(tmp_path, soften((beetle() == 3).astype(np.uint8) * 4, "blur"), photograph(beetle()))


def test_the_mask_of_one_trait_is_cut_at_half(tmp_path: Path) -> None:
    image = photograph(beetle())
    write_png(tmp_path / "b.png", image)
    elytra = beetle() == 3
    write_png(tmp_path / "B_elytra.png", soften(elytra.astype(np.uint8) * 255, "blur"))
    supports = read_supports(
        tmp_path, Collection((Photograph("B", tmp_path / "b.png", "all"),), {}, tmp_path / "t.csv")
    )
    assert np.mean(only(supports).masks[0] != elytra) < 0.002
    assert "has soft edges" in supports.notes[0]


@pytest.mark.parametrize("name", ["neon_beetles", "pinned_beetles", "heliconius", "fly_wings", "trilobite_heads"])
def test_labels_that_people_painted_have_hard_edges(shared_data: Path, name: str) -> None:
    labels = sorted((shared_data / name / "labels").glob("*.png"))[::4]
    assert not [path.name for path in labels if find_mixed_numbers(read_labels(path))]


# ------------------------------------------------------------------------------------------------- orientation


@pytest.mark.parametrize("orientation", TURNS)
def test_drawn_on_the_photograph_as_stored(tmp_path: Path, orientation: int) -> None:
    labels, image = beetle(), photograph(beetle())
    turned = turn(labels, orientation)
    assert np.array_equal(turned, np.asarray(Image.fromarray(labels).transpose(TURNS[orientation])))
    assert read(tmp_path, labels, image, orientation).notes == ()
    as_stored = np.asarray(Image.fromarray(labels).transpose(TURNS[{6: 8, 8: 6}.get(orientation, orientation)]))
    with pytest.raises(SupportError, match=rf"does not fit: .*EXIF orientation {orientation}.* Turn the masks"):
        read(tmp_path, as_stored, image, orientation)


def test_where_a_photograph_does_not_tell_it_is_noted(tmp_path: Path) -> None:
    plain = np.full((240, 240, 3), 120, dtype=np.uint8)
    notes = read(tmp_path, beetle(), plain, 3).notes
    assert any("make sure that" in note for note in notes)
    assert read(tmp_path, beetle(), plain, 1).notes == ()


@pytest.mark.parametrize(
    "name", ["neon_beetles", "pinned_beetles", "heliconius", "fish", "fly_wings", "trilobite_heads"]
)
def test_right_masks_are_never_refused(shared_data: Path, name: str) -> None:
    folder = shared_data / name
    for specimen in read_collection(folder / "collection.csv").photographs[::12]:
        labels = read_labels(folder / "labels" / f"{specimen.id}.png")
        if not labels.any():
            continue  # A fish whose pupil is not to be seen.
        stack = np.stack([labels == number for number in np.unique(labels) if number])
        image = read_image(specimen.image)
        for orientation in (2, 3, 4):
            ratio = fit.compare_turned(image, stack, orientation)
            assert ratio is None or ratio < fit.SURE
            turned = np.stack([turn(mask.astype(np.uint8), orientation) > 0 for mask in stack])
            ratio = fit.compare_turned(image, turned, orientation)
            assert ratio is None or ratio > 1 / fit.SURE  # Refused, or at least noted.


# ----------------------------------------------------------------------------------------------- two specimens


def test_two_specimens_on_a_photograph(tmp_path: Path) -> None:
    two = np.concatenate([beetle(), beetle()], axis=1)
    (note,) = read(tmp_path, two, photograph(two)).notes
    assert "draws head, pronotum, elytra on separate pieces of" in note.replace(", leg", "")
    one = np.concatenate([beetle(), beetle() * 0], axis=1)
    assert read(tmp_path, one, photograph(two)).notes == ()


def test_left_and_right_wings_are_one_specimen(tmp_path: Path) -> None:
    wing = np.zeros((240, 160), dtype=np.uint8)
    for row in range(40, 200):
        wing[row, 20 : 20 + (row - 40) // 2 + 20] = 3
    both = np.concatenate([wing[:, ::-1], np.zeros((240, 40), dtype=np.uint8), wing], axis=1)
    assert read(tmp_path, both, photograph(both)).notes == ()
