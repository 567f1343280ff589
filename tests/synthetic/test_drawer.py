"""The synthetic drawer: its layout, its exact masks, its mimics, its repeatability."""

from __future__ import annotations

import csv
import json
import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from skimage.color import rgb2lab

from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.errors import InputError
from sst_retrieval.evaluate.instance_truth import read_instances
from sst_retrieval.imaging.images import read_image, read_labels
from sst_retrieval.synthetic.canvas import Canvas, Part, Pose
from sst_retrieval.synthetic.drawer import COLUMNS, TRAY, make_drawer
from sst_retrieval.synthetic.species import SPECIES, TRAITS, Butterfly
from sst_retrieval.synthetic.specimen import SpecimenPlan, draw_specimen


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "collection.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def drawn(number: int, *, wear: str = "fresh", angle: float = 0.0, seed: int = 0) -> tuple[np.ndarray, dict]:
    plan = SpecimenPlan(SPECIES[number], angle, wear, True, ())
    return draw_specimen(plan, np.random.default_rng((seed, number)))


# --- the collection ------------------------------------------------------------------------------------------------


def test_the_drawer_is_a_collection_that_the_program_reads(drawer: Path) -> None:
    collection = read_collection(drawer / "collection.csv")
    assert len(collection.photographs) == 20
    assert tuple(rows(drawer)[0]) == COLUMNS
    supports = read_supports(drawer / "supports", collection)
    assert dict(supports.numbers) == TRAITS
    assert "eyespot" in supports.synonyms["hindwing_eyespot"]
    assert set(supports.groups()) == {species.name for species in SPECIES}
    shown = {reference.group: set(reference.traits) for reference in supports.references}
    assert shown["Fictelia rubella"] == {"forewing_band", "hindwing_bar"}
    assert shown["Ocellina fulva"] == {"forewing_band", "hindwing_eyespot"}
    assert shown["Carabella smaragdina"] == {"elytra", "pronotum"}


def test_every_specimen_has_a_label_of_its_photographs_size(drawer: Path) -> None:
    for row in rows(drawer):
        image, label = read_image(drawer / row["image"]), read_labels(drawer / "labels" / f"{row['catalogNumber']}.png")
        assert image.shape[:2] == label.shape
        assert 360 <= image.shape[0] <= 480
        assert set(np.unique(label)) <= {0, *TRAITS.values()}
    for support in (drawer / "supports").glob("*.png"):
        assert support.read_bytes() == (drawer / "labels" / support.name).read_bytes()
    assert len(list((drawer / "supports").glob("*.png"))) == len(SPECIES)


def test_traits_toml_and_marker_say_what_the_drawer_is(drawer: Path) -> None:
    assert tomllib.loads((drawer / "supports" / "traits.toml").read_text())["traits"] == TRAITS
    assert json.loads((drawer / "drawer.json").read_text())["synthetic"] is True


def test_rings_are_of_different_genera() -> None:
    rings: dict[str, set[str]] = {}
    for species in SPECIES:
        if isinstance(species, Butterfly):
            rings.setdefault(species.ring, set()).add(species.name.split()[0])
    assert len(rings) == 4
    assert all(len(genera) == 2 for genera in rings.values())


def test_the_same_seed_makes_the_same_drawer_and_a_larger_one_begins_alike(tmp_path: Path) -> None:
    make_drawer(tmp_path / "a", seed=3, specimens=2)
    make_drawer(tmp_path / "b", seed=3, specimens=2)
    make_drawer(tmp_path / "c", seed=3, specimens=3)
    make_drawer(tmp_path / "d", seed=4, specimens=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    photograph = "images/SD-0002.jpg"
    assert contents(tmp_path / "a")[photograph] == contents(tmp_path / "c")[photograph]
    assert contents(tmp_path / "a")["images/SD-0001.jpg"] != contents(tmp_path / "d")["images/SD-0001.jpg"]


def test_a_smaller_drawer_replaces_a_larger_one(tmp_path: Path) -> None:
    make_drawer(tmp_path, specimens=2)
    (tmp_path / "images" / "notes.txt").write_text("mine")
    make_drawer(tmp_path, specimens=1)
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == ["SD-0001.jpg", "notes.txt"]
    assert [p.name for p in (tmp_path / "labels").iterdir()] == ["SD-0001.png"]
    assert sorted(p.name for p in (tmp_path / "supports").iterdir()) == ["SD-0001.png", "traits.toml"]
    assert len(rows(tmp_path)) == 1


def test_somebody_elses_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "collection.csv").write_text("catalogNumber\n1\n")
    with pytest.raises(InputError, match=r"not empty.*name a new folder"):
        make_drawer(tmp_path, specimens=1)
    assert (tmp_path / "collection.csv").read_text() == "catalogNumber\n1\n"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(InputError, match="is a file"):
        make_drawer(tmp_path / "collection.csv", specimens=1)
    for specimens, seed in ((0, 0), (1, -1)):
        with pytest.raises(InputError, match="1 specimen or more"):
            make_drawer(tmp_path / "new", specimens=specimens, seed=seed)
    assert not (tmp_path / "new").exists()


# --- the drawings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("angle", [0.0, 2.2])
def test_the_mask_is_the_red_band_and_nothing_else(number: int, angle: float) -> None:
    image, masks = drawn(number, angle=angle)
    band = masks["forewing_band"]
    redness = image[..., 0].astype(int) - image[..., 1]
    around = ndimage.binary_dilation(band, iterations=6) & ~ndimage.binary_dilation(band, iterations=2)
    assert np.mean(redness[ndimage.binary_erosion(band)] > 50) > 0.99
    assert np.percentile(redness[around], 90) < 30
    # Not the colour card's red patch, which lies in a corner.
    red = (redness > 70) & ndimage.binary_dilation(band, iterations=30)
    assert np.count_nonzero(red & ndimage.binary_dilation(band, iterations=2)) > 0.97 * np.count_nonzero(red)


@pytest.mark.parametrize("angle", [0.0, 0.8, math.pi / 2, -2.5])
def test_the_specimen_is_inside_its_photograph_whatever_its_angle(angle: float) -> None:
    _, masks = drawn(5, angle=angle)
    for mask in masks.values():
        assert not (mask & ~np.pad(np.ones(np.subtract(mask.shape, 6), bool), 3)).any()
        assert ndimage.label(ndimage.binary_closing(mask, iterations=2))[1] >= 2  # left and right


def test_masks_do_not_overlap_and_what_hides_them_is_taken_out() -> None:
    for number in (6, 8):
        _, masks = drawn(number)
        assert np.sum([*masks.values()], axis=0).max() == 1
    elytra = drawn(8)[1]["elytra"]
    holes = ndimage.binary_fill_holes(elytra) & ~elytra
    assert 10 < holes.sum() < 400  # the head of the pin


def test_a_lost_trait_is_not_in_the_label() -> None:
    assert set(drawn(0)[1]) == {"forewing_band", "hindwing_bar"}
    assert set(drawn(0, wear="hindwings lost")[1]) == {"forewing_band"}
    assert set(drawn(0, wear="wing tips lost")[1]) == {"hindwing_bar"}
    assert "hindwing_bar" in drawn(0, wear="one hindwing lost")[1]


def test_a_tear_takes_part_of_a_trait() -> None:
    whole = [drawn(6, seed=s)[1] for s in range(2)]
    torn = [drawn(6, wear="torn", seed=s)[1] for s in range(2)]
    assert sum(m.sum() for masks in torn for m in masks.values()) < sum(
        m.sum() for masks in whole for m in masks.values()
    )


def test_mimics_wear_the_same_colours(drawer: Path) -> None:
    """A band is more like its mimic's in another genus than like any band of another ring."""
    colours = []
    for row in rows(drawer)[: len(SPECIES) - 1]:
        band = read_labels(drawer / "labels" / f"{row['catalogNumber']}.png") == TRAITS["forewing_band"]
        colours.append(rgb2lab(read_image(drawer / row["image"])[band]).mean(0))
    away = np.linalg.norm(np.subtract.outer(colours, colours)[:, range(3), :, range(3)], axis=0)
    np.fill_diagonal(away, np.inf)
    nearest = away.argmin(1)
    rings = [species.ring for species in SPECIES[:-1]]
    assert [rings[k] for k in nearest] == rings


def test_placing_a_part_covers_what_is_below_it() -> None:
    """A red square with a mask, half covered by a blue one."""

    def square(colour: tuple[int, int, int], *names: str) -> Part:
        full = np.full((280, 280), 255, np.uint8)
        return Part(np.full((280, 280, 3), colour, np.uint8), full, dict.fromkeys(names, full), (0.0, 0.0))

    canvas = Canvas.blank((40, 60))
    canvas.place(square((200, 0, 0), "red"), Pose((10.0, 10.0), 0.0, 20.0))
    canvas.place(square((0, 0, 200), "blue"), Pose((20.0, 10.0), 0.0, 20.0))
    canvas.place(square((0, 200, 0), "away"), Pose((500.0, 10.0), 0.0, 20.0))
    assert canvas.masks["red"].sum() == pytest.approx(200, abs=25)
    assert canvas.masks["blue"].sum() == pytest.approx(400, abs=25)
    assert canvas.colour[20, 35].tolist() == [0, 0, 200]
    assert canvas.cover.sum() == pytest.approx(600, abs=40)
    assert "away" not in canvas.masks


# --- the tray ------------------------------------------------------------------------------------------------------


def test_the_tray_is_a_collection_of_its_own_with_exact_individuals(drawer: Path) -> None:
    tray = drawer / TRAY
    collection = read_collection(tray / "collection.csv")
    support, photograph = collection.photographs
    (drawn,) = read_instances(tray / "labels" / "instances.json", collection)
    assert drawn.photograph == photograph
    numbers = read_labels(tray / "labels" / f"{photograph.id}.png")
    assert numbers.max() == len(drawn.individuals) == int(photograph.metadata["individualCount"] or 0)
    assert all(np.array_equal(drawn.mask(place), numbers == place + 1) for place in range(numbers.max()))
    supports = read_supports(tray / "supports", collection)
    assert [each.photograph for each in supports.load(support.group)] == [support.id]
    assert read_image(photograph.image).shape[:2] == numbers.shape


def test_a_drawer_without_a_ground_beetle_has_no_tray(tmp_path: Path) -> None:
    make_drawer(tmp_path / "drawer", specimens=9)
    assert (tmp_path / "drawer" / TRAY / "collection.csv").is_file()
    make_drawer(tmp_path / "drawer", specimens=2)
    assert not (tmp_path / "drawer" / TRAY).exists()
