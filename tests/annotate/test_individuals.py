"""Several annotated individuals on one photograph: shapes of programs, pictures that number them, label pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from annotation_files import HEIGHT, TRAITS, WIDTH, box_mask, corners, labelme, polygon

from sst_retrieval.annotate.supports import Supports, read_supports
from sst_retrieval.annotate.traits import read_traits
from sst_retrieval.collection.specimens import Collection, read_collection
from sst_retrieval.errors import CollectionError, SupportError
from sst_retrieval.imaging.images import write_png
from sst_retrieval.types import Mask, Photograph, Support

ONE_TRAIT = "[traits]\nanimal = 1\n"


def flat(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[value for point in corners(x0, y0, x1, y1) for value in point]]


def coco(drawn: list[tuple[str, tuple[int, int, int, int], dict[str, Any]]], file: str = "IMG_erato-1.png") -> str:
    """Write COCO annotations: category, box, further entries."""
    names = list(dict.fromkeys(name for name, _, _ in drawn))
    annotations = [
        {"id": i, "image_id": 1, "category_id": names.index(name) + 1, "segmentation": flat(*box), **more}
        for i, (name, box, more) in enumerate(drawn, 1)
    ]
    image = {"id": 1, "file_name": file, "height": HEIGHT, "width": WIDTH}
    categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    return json.dumps({"images": [image], "annotations": annotations, "categories": categories})


def read_many(folder: Path, butterflies: Collection) -> Supports:
    return read_supports(folder, butterflies, individuals="many")


def drawn(support: Support) -> dict[str, tuple[int, int, int, int]]:
    """Return trait -> box around its mask, which must fill it."""
    found = {}
    for trait, mask in zip(support.traits, support.masks, strict=True):
        ys, xs = np.nonzero(mask)
        box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
        assert np.array_equal(mask, box_mask(*box))
        found[trait] = box
    return found


def check(supports: Supports, expected: Mapping[str, Mapping[str, tuple[int, int, int, int]]]) -> list[Support]:
    loaded = list(supports.load("erato"))
    assert {support.individual: drawn(support) for support in loaded} == expected
    assert {support.photograph for support in loaded} == {"erato-1"}
    assert len({id(support.image) for support in loaded}) == 1
    return loaded


# ------------------------------------------------------------------------------------------------------------ shapes


def test_each_annotation_of_one_category_is_an_individual(supports_folder: Path, butterflies: Collection) -> None:
    boxes = [(20, 2, 28, 8), (2, 3, 10, 9), (12, 12, 18, 18)]
    (supports_folder / "x.json").write_text(coco([("animal", box, {}) for box in boxes]))
    supports = read_many(supports_folder, butterflies)
    loaded = check(
        supports,
        {
            "erato-1#1": {"animal": (2, 3, 10, 9)},
            "erato-1#2": {"animal": (20, 2, 28, 8)},
            "erato-1#3": {"animal": (12, 12, 18, 18)},
        },
    )
    assert [support.outline is None for support in loaded] == [True] * 3
    assert supports.notes == ()
    assert [each.photograph for each in supports.references] == ["erato-1"] * 3
    assert [each.number for each in supports.references] == [1, 2, 3]
    assert dict(supports.individuals) == {"erato": "many", "melpomene": "many"}


def test_small_individuals_on_a_large_photograph_are_noted(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.full((400, 600, 3), 90, dtype=np.uint8))
    (tmp_path / "herd.csv").write_text("id,image,species\nA,a.png,deer\n")
    herd = read_collection(tmp_path / "herd.csv")
    supports = tmp_path / "supports"
    supports.mkdir()
    for boxes, noted in (
        ([(100, 100, 123, 143), (300, 200, 310, 220)], True),
        ([(100, 100, 123, 143), (300, 200, 360, 280)], False),
    ):
        image = {"id": 1, "file_name": "a.png", "height": 400, "width": 600}
        content = json.loads(coco([("animal", box, {}) for box in boxes]))
        (supports / "a.json").write_text(json.dumps({**content, "images": [image]}))
        notes = read_many(supports, herd).notes
        assert (len(notes), any("has 23 x 43 pixels" in note for note in notes)) == (int(noted), noted)


def test_one_group_takes_them_for_one(supports_folder: Path, butterflies: Collection) -> None:
    both = [("animal", (2, 3, 10, 9), {"instance_id": 1}), ("animal", (20, 2, 28, 8), {"instance_id": 2})]
    (supports_folder / "x.json").write_text(coco(both))
    supports = read_supports(supports_folder, butterflies)
    (support,) = supports.load("erato")
    assert (support.individual, support.photograph) == ("erato-1", "erato-1")
    assert np.array_equal(support.masks[0], box_mask(2, 3, 10, 9) | box_mask(20, 2, 28, 8))
    (note,) = supports.notes
    assert "names 2 individuals on" in note
    assert "say --individuals many" in note
    assert dict(supports.individuals) == {"erato": "one", "melpomene": "one"}
    with pytest.raises(SupportError, match="individuals are 'two'"):
        read_supports(supports_folder, butterflies, individuals="two")


PARTS = [
    ("head", (2, 3, 6, 9)),
    ("body", (6, 3, 12, 9)),
    ("head", (16, 3, 20, 9)),
    ("body", (20, 3, 26, 9)),
]
TWO = {
    "erato-1#1": {"head": (2, 3, 6, 9), "body": (6, 3, 12, 9)},
    "erato-1#2": {"head": (16, 3, 20, 9), "body": (20, 3, 26, 9)},
}


@pytest.mark.parametrize(
    "entries",
    [
        [{"instance_id": 4}, {"instance_id": 4}, {"instance_id": 5}, {"instance_id": 5}],
        [
            {"attributes": {"individual": "a"}},
            {"attributes": {"individual": "a"}},
            {"individual": 1},
            {"individual": 1.0},
        ],
        [{"group_id": 1}, {"group_id": 1}, {"group_id": 2}, {"group_id": 2}],
        [{"Instance ID": "x"}, {"Instance ID": "x"}, {}, {}],
        [{}, {}, {}, {}],
        [{"group_id": 0}] * 4,
        [{"instance_id": i} for i in range(4)],
    ],
)
def test_parts_belong_to_individuals(
    supports_folder: Path, butterflies: Collection, entries: list[dict[str, Any]]
) -> None:
    listed = [(name, box, more) for (name, box), more in zip(PARTS, entries, strict=True)]
    (supports_folder / "x.json").write_text(coco(listed))
    supports = read_many(supports_folder, butterflies)
    check(supports, TWO)
    guessed = entries[0] in ({}, {"group_id": 0}, {"instance_id": 0})
    assert any("told apart as parts that touch" in note for note in supports.notes) == guessed


def test_a_crowd_is_no_individual(supports_folder: Path, butterflies: Collection) -> None:
    drawn_so = [("animal", (2, 3, 10, 9), {"iscrowd": 0}), ("animal", (12, 3, 28, 18), {"iscrowd": 1})]
    (supports_folder / "x.json").write_text(coco(drawn_so))
    supports = read_many(supports_folder, butterflies)
    check(supports, {"erato-1#1": {"animal": (2, 3, 10, 9)}})
    assert "is a crowd (iscrowd), not one individual" in supports.notes[0]
    (support,) = read_supports(supports_folder, butterflies).load("erato")
    assert np.array_equal(support.masks[0], box_mask(2, 3, 10, 9) | box_mask(12, 3, 28, 18))


def test_individuals_that_touch_need_numbers(supports_folder: Path, butterflies: Collection) -> None:
    touching = [
        *(("head", (2, 3, 6, 9)), ("body", (6, 3, 12, 9))),
        *(("head", (12, 3, 16, 9)), ("body", (16, 3, 26, 9))),
    ]
    (supports_folder / "x.json").write_text(coco([(name, box, {}) for name, box in touching]))
    assert len(read_many(supports_folder, butterflies).references) == 1
    numbered = [(name, box, {"instance_id": place // 2}) for place, (name, box) in enumerate(touching)]
    (supports_folder / "x.json").write_text(coco(numbered))
    assert [drawn(each) for each in read_many(supports_folder, butterflies).load("erato")] == [
        {"head": (2, 3, 6, 9), "body": (6, 3, 12, 9)},
        {"head": (12, 3, 16, 9), "body": (16, 3, 26, 9)},
    ]


def test_the_whole_animal_holds_its_parts(supports_folder: Path, butterflies: Collection) -> None:
    """Two animals that touch are told apart by the category that holds the others."""
    listed = [
        *(("beetle", (2, 2, 14, 10)), ("head", (2, 3, 6, 9)), ("spot", (8, 4, 10, 6)), ("spot", (8, 7, 10, 9))),
        *(("beetle", (14, 2, 26, 10)), ("head", (14, 3, 18, 9)), ("beetle", (14, 12, 26, 19))),
    ]
    (supports_folder / "x.json").write_text(coco([(name, box, {}) for name, box in listed]))
    supports = read_many(supports_folder, butterflies)
    first, second, third = supports.load("erato")
    assert drawn(second) == {"beetle": (14, 2, 26, 10), "head": (14, 3, 18, 9)}
    assert drawn(third) == {"beetle": (14, 12, 26, 19)}
    assert first.traits == ("beetle", "head", "spot")
    assert first.outline is not None
    assert np.array_equal(first.outline, box_mask(2, 2, 14, 10))
    assert np.array_equal(first.masks[2], box_mask(8, 4, 10, 6) | box_mask(8, 7, 10, 9))
    assert "each 'beetle' with the parts on it" in supports.notes[0]


def test_a_part_on_no_whole_animal_goes_to_the_nearest_and_is_said(
    supports_folder: Path, butterflies: Collection
) -> None:
    listed = [
        ("beetle", (2, 2, 14, 10)),
        ("head", (2, 3, 6, 9)),
        ("beetle", (14, 2, 26, 10)),
        ("spot", (24, 13, 26, 14)),
    ]
    (supports_folder / "x.json").write_text(coco([(name, box, {}) for name, box in listed]))
    supports = read_many(supports_folder, butterflies)
    first, second = supports.load("erato")
    assert first.traits == ("beetle", "head")
    assert drawn(second) == {"beetle": (14, 2, 26, 10), "spot": (24, 13, 26, 14)}
    assert any("1 of its shapes lie on no 'beetle'" in note for note in supports.notes)


def test_wings_cut_apart_are_one_butterfly(supports_folder: Path, butterflies: Collection) -> None:
    """No piece has most of the traits."""
    wings = [("fore", (2, 2, 8, 8)), ("fore", (20, 2, 26, 8)), ("hind", (2, 12, 8, 18)), ("tail", (20, 12, 26, 18))]
    (supports_folder / "x.json").write_text(coco([(name, box, {}) for name, box in wings]))
    supports = read_many(supports_folder, butterflies)
    assert [each.individual for each in supports.references] == ["erato-1#1"]
    assert supports.notes == ()


def test_an_individual_without_most_of_its_parts_is_none_the_less_one(
    supports_folder: Path, butterflies: Collection
) -> None:
    listed = [("head", (2, 2, 5, 8)), ("body", (5, 2, 9, 8)), ("tail", (9, 2, 12, 8))]
    listed += [(name, (x0 + 15, y0, x1 + 15, y1)) for name, (x0, y0, x1, y1) in listed]
    listed += [("body", (5, 14, 11, 20)), ("tail", (20, 12, 22, 13))]  # The last is a scrap.
    (supports_folder / "x.json").write_text(coco([(name, box, {}) for name, box in listed]))
    assert [each.traits for each in read_many(supports_folder, butterflies).references] == [
        *(("head", "body", "tail"), ("head", "body", "tail"), ("body",)),
    ]


def cvat(shapes: str) -> str:
    image = f'<image id="0" name="IMG_erato-1.png" width="{WIDTH}" height="{HEIGHT}">'
    return f"<annotations>{image}{shapes}</image></annotations>"


def cvat_polygon(label: str, box: tuple[int, int, int, int], group: str, attribute: str = "") -> str:
    points = ";".join(f"{x},{y}" for x, y in corners(*box))
    inner = f'<attribute name="individual">{attribute}</attribute>' if attribute else ""
    return f'<polygon label="{label}" points="{points}" {group}>{inner}</polygon>'


def via(attributes: list[dict[str, str]]) -> str:
    regions = [
        {
            "shape_attributes": {
                "name": "polygon",
                "all_points_x": [x for x, _ in corners(*box)],
                "all_points_y": [y for _, y in corners(*box)],
            },
            "region_attributes": {"trait": name, **more},
        }
        for (name, box), more in zip(PARTS, attributes, strict=True)
    ]
    return json.dumps({"x": {"filename": "IMG_erato-1.png", "size": 1, "regions": regions, "file_attributes": {}}})


def geojson() -> str:
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*corners(*box), corners(*box)[0]]]},
            "properties": {"classification": {"name": name}, "metadata": {"individual": place // 2}},
        }
        for place, (name, box) in enumerate(PARTS)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "x.json",
            labelme([{**polygon(name, *box), "group_id": place // 2} for place, (name, box) in enumerate(PARTS)]),
        ),
        ("x.json", labelme([{**polygon(name, *box), "group_id": None} for name, box in PARTS])),
        ("x.xml", cvat("".join(cvat_polygon(n, box, f'group_id="{i // 2 + 1}"') for i, (n, box) in enumerate(PARTS)))),
        ("x.xml", cvat("".join(cvat_polygon(n, box, "", f"beetle {i // 2}") for i, (n, box) in enumerate(PARTS)))),
        ("x.json", via([{"individual": "7"}, {"individual": "7"}, {"individual": "8"}, {"individual": "8"}])),
        ("IMG_erato-1.geojson", geojson()),
    ],
)
def test_other_programs_number_individuals(
    supports_folder: Path, butterflies: Collection, name: str, content: str
) -> None:
    (supports_folder / name).write_text(content)
    loaded = read_many(supports_folder, butterflies).load("erato")
    assert {each.individual: drawn(each) for each in loaded} == TWO


# ---------------------------------------------------------------------------------------------------------- pictures


def number_map(*boxes: tuple[int, int, int, int], numbers: tuple[int, ...] = ()) -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint16)
    for place, (x0, y0, x1, y1) in enumerate(boxes):
        labels[y0:y1, x0:x1] = numbers[place] if numbers else place + 1
    return labels


def part_map() -> np.ndarray:
    """Two animals that touch, wing (2) and spot (5) each."""
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for x in (2, 14):
        labels[3:12, x : x + 12] = 2
        labels[5:8, x + 2 : x + 6] = 5
    return labels


@pytest.mark.parametrize(
    ("instances", "parts"),
    [
        ("erato-1.instances.png", "erato-1.png"),
        ("erato-1_instances.png", "erato-1.png"),
        ("instances/erato-1.png", "erato-1.png"),
        ("erato-1.png", "parts/erato-1.png"),
        ("instances/erato-1.png", "parts/erato-1.png"),
    ],
)
def test_a_picture_of_individuals_beside_the_label_picture(
    supports_folder: Path, butterflies: Collection, instances: str, parts: str
) -> None:
    for name, picture in (
        (instances, number_map((2, 3, 14, 12), (14, 3, 26, 12), numbers=(700, 40_000))),
        (parts, part_map()),
    ):
        (supports_folder / name).parent.mkdir(exist_ok=True)
        write_png(supports_folder / name, picture)
    (supports_folder / "traits.toml").write_text(TRAITS)
    supports = read_many(supports_folder, butterflies)
    assert supports.notes == ()
    first, second = supports.load("erato")
    assert [first.individual, second.individual] == ["erato-1#1", "erato-1#2"]
    for support, x in ((first, 2), (second, 14)):
        assert support.traits == ("wing", "spot")
        spot = box_mask(x + 2, 5, x + 6, 8)
        assert np.array_equal(support.masks[1], spot)
        assert np.array_equal(support.masks[0], box_mask(x, 3, x + 12, 12) & ~spot)
        assert support.outline is not None
        assert np.array_equal(support.outline, box_mask(x, 3, x + 12, 12))


def test_a_picture_of_individuals_beside_shapes(supports_folder: Path, butterflies: Collection) -> None:
    shapes = [polygon("wing", 2, 3, 14, 12), polygon("wing", 14, 3, 26, 12), polygon("spot", 4, 5, 8, 8)]
    (supports_folder / "x.json").write_text(labelme(shapes))
    write_png(supports_folder / "erato-1.instances.png", number_map((2, 3, 14, 12), (14, 3, 26, 12)))
    supports = read_many(supports_folder, butterflies)
    assert [each.traits for each in supports.references] == [("spot", "wing"), ("wing",)]


def test_what_lies_on_no_individual_is_left_out(supports_folder: Path, butterflies: Collection) -> None:
    write_png(supports_folder / "erato-1.png", part_map())
    write_png(supports_folder / "erato-1.instances.png", number_map((2, 3, 14, 12), (2, 14, 9, 18)))
    (supports_folder / "traits.toml").write_text(TRAITS)
    supports = read_many(supports_folder, butterflies)
    assert [each.individual for each in supports.references] == ["erato-1#1"]
    assert "left out: 1 individuals of" in supports.notes[0]
    assert "left out: 108 pixels of traits in" in supports.notes[1]


@pytest.mark.parametrize("name", ["erato-1.png", "erato-1.instances.png", "instances/erato-1.png"])
def test_whole_animals_need_no_label_picture(supports_folder: Path, butterflies: Collection, name: str) -> None:
    (supports_folder / name).parent.mkdir(exist_ok=True)
    write_png(supports_folder / name, number_map((2, 3, 10, 9), (10, 3, 18, 9), numbers=(3, 1)))
    (supports_folder / "traits.toml").write_text(ONE_TRAIT)
    check(
        read_many(supports_folder, butterflies),
        {"erato-1#1": {"animal": (2, 3, 10, 9)}, "erato-1#2": {"animal": (10, 3, 18, 9)}},
    )


@pytest.mark.parametrize(
    ("boxes", "individuals"),
    [
        ([(2, 3, 10, 9)], 1),
        ([(2, 3, 10, 9), (12, 3, 20, 9)], 2),
        ([(2, 3, 10, 9), (12, 3, 14, 4)], 1),  # A scrap.
        ([(2, 3, 10, 9), (12, 3, 20, 9), (27, 2, 29, 4)], 2),
    ],
)
def test_pieces_of_a_label_picture(
    supports_folder: Path, butterflies: Collection, boxes: list[tuple[int, int, int, int]], individuals: int
) -> None:
    write_png(supports_folder / "erato-1.png", number_map(*boxes, numbers=(1,) * len(boxes)))
    (supports_folder / "traits.toml").write_text(ONE_TRAIT)
    supports = read_many(supports_folder, butterflies)
    assert len(supports.references) == individuals
    assert any("2 individuals on erato-1, told apart as separate pieces" in note for note in supports.notes) == (
        individuals > 1
    )
    whole: Mask = np.any([each.body for each in supports.load("erato")], axis=0)
    assert np.array_equal(whole, np.any([box_mask(*box) for box in boxes], axis=0))


@pytest.mark.parametrize(
    ("files", "traits", "reason"),
    [
        (
            ["erato-1.instances.png"],
            TRAITS,
            r"nothing says what their traits are: add .* parts/erato-1\.png, or a traits",
        ),
        (["erato-1.instances.png", "instances/erato-1.png"], ONE_TRAIT, "erato-1 are numbered twice"),
    ],
)
def test_pictures_of_individuals_that_cannot_be_used(
    supports_folder: Path, butterflies: Collection, files: list[str], traits: str, reason: str
) -> None:
    for name in files:
        (supports_folder / name).parent.mkdir(exist_ok=True)
        write_png(supports_folder / name, number_map((2, 3, 10, 9)))
    (supports_folder / "traits.toml").write_text(traits)
    with pytest.raises(SupportError, match=reason):
        read_many(supports_folder, butterflies)
    write_png(supports_folder / files[0], np.zeros((HEIGHT, WIDTH), dtype=np.uint8))
    with pytest.raises(SupportError, match="number the individuals from 1"):
        read_many(supports_folder, butterflies)
    write_png(supports_folder / files[0], np.ones((HEIGHT, WIDTH + 1), dtype=np.uint8))
    with pytest.raises(SupportError, match=f"is {WIDTH + 1} x {HEIGHT} px"):
        read_many(supports_folder, butterflies)


def test_a_picture_of_individuals_means_nothing_where_one_is_expected(
    supports_folder: Path, butterflies: Collection
) -> None:
    write_png(supports_folder / "erato-1.png", part_map())
    before = read_supports_with(supports_folder, butterflies, TRAITS)
    write_png(supports_folder / "erato-1.instances.png", number_map((2, 3, 14, 12), (14, 3, 26, 12)))
    supports = read_supports(supports_folder, butterflies)
    assert supports.fingerprints == before.fingerprints
    assert "numbers individuals, but the group expects one" in supports.notes[0]
    (supports_folder / "erato-1.png").unlink()
    with pytest.raises(SupportError, match=r"has no supports.*numbers individuals, but the group expects one"):
        read_supports(supports_folder, butterflies)


# ------------------------------------------------------------------------------------------------------- traits.toml


def read_supports_with(folder: Path, butterflies: Collection, traits: str) -> Supports:
    (folder / "traits.toml").write_text(traits)
    return read_supports(folder, butterflies)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ONE_TRAIT, ("one", "one")),
        (f'individuals = "many"\n{ONE_TRAIT}', ("many", "many")),
        (f"individuals = 'one'\n{ONE_TRAIT}", ("one", "one")),
        (f'{ONE_TRAIT}[individuals]\nerato = "many"\n', ("many", "one")),
        (f'{ONE_TRAIT}[individuals]\nmelpomene = "one"\n"*" = "many"\n', ("many", "one")),
        (f'{ONE_TRAIT}[individuals]\n"a b" = "many"\n', ("one", "one")),
    ],
)
def test_traits_toml_says_how_many(
    supports_folder: Path, butterflies: Collection, text: str, expected: tuple[str, str]
) -> None:
    write_png(supports_folder / "erato-1.png", number_map((2, 3, 10, 9), (12, 3, 20, 9), numbers=(1, 1)))
    supports = read_supports_with(supports_folder, butterflies, text)
    assert (supports.individuals["erato"], supports.individuals["melpomene"]) == expected
    assert len(supports.references) == (2 if expected[0] == "many" else 1)
    assert any("'a b', which is no group" in note for note in supports.notes) == ("a b" in text)
    assert set(read_supports(supports_folder, butterflies, individuals="one").individuals.values()) == {"one"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f'individuals = "some"\n{ONE_TRAIT}', "the individuals are 'some'; write individuals"),
        (f"individuals = 3\n{ONE_TRAIT}", "the individuals are 3; write"),
        (f"{ONE_TRAIT}[individuals]\nerato = 2\n", "the individuals of erato are 2; write"),
        (f'{ONE_TRAIT}individuals = "many"\n', r"stands below \[traits\] and so belongs to it; move it above"),
        (f'{ONE_TRAIT}[synonyms]\nindividuals = "many"\n', r"stands below \[synonyms\]"),
    ],
)
def test_bad_words_for_how_many(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "traits.toml").write_text(text)
    with pytest.raises(SupportError, match=reason):
        read_traits(tmp_path / "traits.toml")


def test_fingerprints_tell_one_from_many(supports_folder: Path, butterflies: Collection) -> None:
    write_png(supports_folder / "erato-1.png", number_map((2, 3, 10, 9), numbers=(1,)))
    one = read_supports_with(supports_folder, butterflies, ONE_TRAIT)
    many = read_many(supports_folder, butterflies)
    assert one.references[0].fingerprint == many.references[0].fingerprint
    assert one.fingerprints != many.fingerprints
    write_png(supports_folder / "erato-1.png", number_map((2, 3, 10, 9), (12, 3, 20, 9), numbers=(1, 1)))
    assert read_many(supports_folder, butterflies).fingerprints != many.fingerprints


# ------------------------------------------------------------------------------- photographs of specimens and of rows


def test_rows_that_share_a_photograph(supports_folder: Path, butterflies: Collection) -> None:
    first, second, third = butterflies.photographs
    (supports_folder / "x.json").write_text(
        coco([("animal", (20, 2, 28, 8), {}), ("animal", (2, 3, 10, 9), {}), ("animal", (12, 12, 18, 18), {})])
    )
    rows = (
        replace(first, place=(1, 1, 12, 10)),
        replace(second, image=first.image, place=(18, 0, 30, 10)),
        third,
    )
    supports = read_many(supports_folder, replace(butterflies, photographs=rows))
    assert [(each.individual, each.box) for each in supports.references] == [
        ("erato-1#1", (2, 3, 10, 9)),
        ("erato-1#2", (12, 12, 18, 18)),  # Of no row.
        ("erato-2#1", (20, 2, 28, 8)),
    ]
    numbered = (replace(rows[0], place=5), replace(rows[1], place=1), third)
    supports = read_many(supports_folder, replace(butterflies, photographs=numbered))
    assert [(each.individual, each.box) for each in supports.references] == [
        ("erato-1#2", (20, 2, 28, 8)),  # Of the row that the drawing is called after; its own was not drawn.
        ("erato-1#3", (12, 12, 18, 18)),
        ("erato-2#1", (2, 3, 10, 9)),
    ]
    unplaced = (replace(rows[0], place=None), rows[1], third)
    with pytest.raises(CollectionError, match="erato-1 does not say which of its individuals it is"):
        read_many(supports_folder, replace(butterflies, photographs=unplaced))
    with pytest.raises(SupportError, match=r"photograph of erato-1 and erato-2; .* say --individuals many"):
        read_supports(supports_folder / "x.json", replace(butterflies, photographs=rows), individuals="one")


def test_a_drawing_called_after_a_specimen_with_several_photographs(
    supports_folder: Path, butterflies: Collection
) -> None:
    first, second, third = butterflies.photographs
    views = (
        replace(first, id="erato dorsal", specimen="erato", view="dorsal"),
        replace(second, id="erato ventral", specimen="erato", view="ventral"),
        third,
    )
    collection = replace(butterflies, photographs=views)
    (supports_folder / "traits.toml").write_text(TRAITS)
    write_png(supports_folder / "erato.png", part_map())
    with pytest.raises(
        SupportError,
        match=r"'erato', which is a specimen with several .* 'erato dorsal' \(IMG_erato-1\.png\), 'erato ventral'",
    ):
        read_supports(supports_folder, collection)
    (supports_folder / "erato.png").rename(supports_folder / "erato ventral.png")
    assert read_supports(supports_folder, collection).references[0].individual == "erato ventral"
    (supports_folder / "erato ventral.png").rename(supports_folder / "IMG_erato-1.png")
    assert read_supports(supports_folder, collection).references[0].individual == "erato dorsal"


def test_the_name_of_a_specimen_is_not_the_file_of_another(supports_folder: Path, butterflies: Collection) -> None:
    first, second, third = butterflies.photographs
    rows = (
        replace(first, id="img_melpomene.1 a", specimen="img_melpomene.1"),
        replace(second, id="img_melpomene.1 b", specimen="img_melpomene.1"),
        third,
    )
    (supports_folder / "traits.toml").write_text(TRAITS)
    write_png(supports_folder / "img_melpomene.1.png", part_map())
    with pytest.raises(SupportError, match="specimen with several photographs"):
        read_supports(supports_folder, replace(butterflies, photographs=rows))


def test_a_specimen_whose_photograph_has_a_name_of_its_own(supports_folder: Path, butterflies: Collection) -> None:
    first, *others = butterflies.photographs
    rows = (Photograph("P1", first.image, first.group, specimen="E1"), *others)
    (supports_folder / "traits.toml").write_text(TRAITS)
    write_png(supports_folder / "E1.png", part_map())
    assert read_supports(supports_folder, replace(butterflies, photographs=rows)).references[0].individual == "P1"


# ---------------------------------------------------------------------------------------------------- real specimens


@pytest.mark.parametrize(
    ("name", "individuals"), [("wild_animals", 87), ("mushroom_beds", 2030), ("beetle_drawers", 510)]
)
def test_annotated_individuals_of_real_photographs(shared_data: Path, name: str, individuals: int) -> None:
    folder = shared_data / name
    collection = read_collection(folder / "collection.csv")
    supports = read_supports(folder / "labels" / "instances.json", collection, individuals="many")
    assert len(supports.references) == individuals
    counted = {each.id: each.metadata["individualCount"] for each in collection.photographs}
    for photograph in {each.photograph for each in supports.references}:
        found = sum(each.photograph == photograph for each in supports.references)
        assert found == counted[photograph] or name == "beetle_drawers"  # Strangers are not counted there.
    assert len(read_supports(folder / "supports", collection, individuals="many").references) == len(
        set(counted) & {path.stem for path in (folder / "supports").glob("*.png")}
    )
