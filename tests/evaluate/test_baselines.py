from __future__ import annotations

import numpy as np

from sst_retrieval.evaluate.baselines import describe_photograph, describe_region, score
from sst_retrieval.evaluate.index_audit import measure_rim_colours
from sst_retrieval.imaging import frames
from sst_retrieval.imaging.foreground import remove_background

SIDE = 64
FRAME = frames.square_frame((SIDE / 2, SIDE / 2), SIDE, 0.0)


class MeanColour:
    """Describes every cell by its colour."""

    name = "mean colour"
    dim = 3
    side = 16

    def features(self, images: list[np.ndarray]) -> list[np.ndarray]:
        return [image.astype(np.float32) / 255 for image in images]


def specimen(spot: tuple[int, int, int], paper: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    image = np.full((SIDE, SIDE, 3), paper, dtype=np.uint8)
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[20:40, 24:36] = True
    image[mask] = spot
    return image, mask


def test_each_baseline_sees_its_own_part_of_the_photograph() -> None:
    embedder = MeanColour()
    (red, mask), (green, _) = specimen((200, 0, 0), (90, 90, 250)), specimen((0, 200, 0), (90, 90, 250))
    of_red, of_green = describe_photograph(red, embedder), describe_photograph(green, embedder)
    np.testing.assert_allclose(of_red["background"], of_green["background"])
    assert np.linalg.norm(of_red["photograph"] - of_green["photograph"]) > 0.05
    one, other = (describe_region(image, mask, FRAME, embedder) for image in (red, green))
    np.testing.assert_allclose(one["outline"], other["outline"])
    assert np.linalg.norm(one["mean colour"] - other["mean colour"]) > 50
    assert np.linalg.norm(one["crop"] - other["crop"]) > 0.5


def test_the_rim_of_a_photograph_is_its_background() -> None:
    image, _ = specimen((200, 0, 0), (255, 255, 255))
    np.testing.assert_allclose(measure_rim_colours(image), [100, 0, 0, 0, 0, 0], atol=0.02)


def test_without_its_background_a_specimen_looks_the_same_on_every_paper() -> None:
    pictures = []
    for paper in ((90, 90, 250), (240, 240, 230)):
        image, mask = specimen((200, 0, 0), paper)
        image[50:56, 5:11] = (0, 60, 0)  # Belongs to the specimen, though no trait covers it.
        image[:30, 60:] = (30, 30, 30)  # A part that reaches the border.
        pictures.append(remove_background(image, mask[None]))
    np.testing.assert_array_equal(*pictures)
    assert (pictures[0][51:55, 6:10] == (0, 60, 0)).all()
    assert (pictures[0][1:29, 61:] == (30, 30, 30)).all()
    assert (pictures[0][:15, :50] == 127).all()


def test_distances_rank_what_is_not_learnt() -> None:
    rng = np.random.default_rng(0)
    values = {f"s{number:02d}": f"kind {number % 3}" for number in range(30)}
    # The longest rows are the worst guesses: an inner product alone would rank them first.
    centre = {"kind 0": [1.0, 0, 0], "kind 1": [5.0, 0, 0], "kind 2": [9.0, 0, 0]}
    rows = {name: (rng.normal(0, 0.1, 3) + centre[kind]).astype(np.float32) for name, kind in values.items()}
    found = score("mean colour", {"wing": rows}, values, column="kind", blocks={"pattern": 3})
    assert found["wing"].precision_at_1 == 1
    assert found["wing"].mean_ap > 0.9
    shuffled = dict(zip(values, rng.permutation(list(values.values())).tolist(), strict=True))
    assert score("mean colour", {"wing": rows}, shuffled, column="kind", blocks={"pattern": 3})["wing"].mean_ap < 0.6
