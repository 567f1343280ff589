"""From votes on cells to masks on pixels."""

from __future__ import annotations

import numpy as np
import pytest

from sst_retrieval.track.dense import refine as refining
from sst_retrieval.track.dense.refine import (
    ColourSettings,
    apply_guided_filter,
    compute_margins,
    compute_posterior,
    group_into_layers,
    refine,
)

G, SIDE = 56, 112
PAPER, BODY, WING = (230, 225, 215), (40, 30, 30), (200, 60, 40)
ALONE = np.zeros((1, 1), dtype=bool)
COLOUR = ColourSettings(sigma=1.1)  # The views of these tests are small.
RIVALS = ~np.eye(2, dtype=bool)


def votes_for(*traits: np.ndarray, sure: float = 0.9) -> np.ndarray:
    """Votes from masks of cells: `sure` where a trait is drawn, the rest goes to "no trait"."""
    shares = sure * np.stack([trait.astype(np.float32) for trait in traits])
    return np.concatenate([1 - shares.sum(0, keepdims=True), shares]).astype(np.float32)


def square(y0: int, y1: int, x0: int, x1: int, cells: int = G) -> np.ndarray:
    mask = np.zeros((cells, cells), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def enlarged(mask: np.ndarray) -> np.ndarray:
    return np.kron(mask, np.ones((SIDE // G, SIDE // G), dtype=bool))


def picture(*painted: tuple[np.ndarray, tuple[int, int, int]]) -> np.ndarray:
    view = np.full((SIDE, SIDE, 3), PAPER, dtype=np.uint8)
    for mask, colour in painted:
        view[enlarged(mask)] = colour
    return view


# The guided filter


def slow_guided(guide: np.ndarray, image: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Equations 14, 15 and 16 of He, Sun and Tang (2013), window by window; the edge is repeated."""
    height, width = image.shape
    edge = 2 * radius + 1
    guides = np.pad(guide, ((radius, radius), (radius, radius), (0, 0)), mode="edge").astype(float)
    images = np.pad(image, radius, mode="edge").astype(float)
    lines = np.zeros((height, width, 4))
    for y in range(height):
        for x in range(width):
            colours = guides[y : y + edge, x : x + edge].reshape(-1, 3)
            values = images[y : y + edge, x : x + edge].ravel()
            centred = colours - colours.mean(0)
            together = centred.T @ (values - values.mean()) / len(values)
            slope = np.linalg.solve(centred.T @ centred / len(values) + epsilon * np.eye(3), together)
            lines[y, x] = *slope, values.mean() - slope @ colours.mean(0)
    padded = np.pad(lines, ((radius, radius), (radius, radius), (0, 0)), mode="edge")
    mean = np.array([[padded[y : y + edge, x : x + edge].mean((0, 1)) for x in range(width)] for y in range(height)])
    return (mean[..., :3] * guide).sum(-1) + mean[..., 3]


@pytest.mark.parametrize(("radius", "epsilon"), [(2, 1e-2), (1, 1e-1), (3, 1e-3)])
def test_the_guided_filter_is_the_papers(monkeypatch: pytest.MonkeyPatch, radius: int, epsilon: float) -> None:
    monkeypatch.setattr(refining, "SUBSAMPLING", 1)
    rng = np.random.default_rng(0)
    guide = rng.random((13, 17, 3)).astype(np.float32)
    pictures = rng.random((2, 13, 17)).astype(np.float32)
    found = apply_guided_filter(guide, pictures, radius=radius, epsilon=epsilon)
    expected = [slow_guided(guide, each, radius, epsilon) for each in pictures]
    assert found == pytest.approx(np.array(expected), abs=1e-3)


def test_a_constant_stays_whatever_the_guide() -> None:
    guide = np.random.default_rng(0).random((40, 40, 3)).astype(np.float32)
    found = apply_guided_filter(guide, np.full((1, 40, 40), 0.3, dtype=np.float32))
    assert found == pytest.approx(np.full((1, 40, 40), 0.3), abs=1e-3)


@pytest.mark.parametrize("drawn", [18, 22])
def test_an_edge_moves_to_the_guides_edge(drawn: int) -> None:
    guide = np.zeros((40, 40, 3), dtype=np.float32)
    guide[:, 20:] = (0.9, 0.5, 0.2)
    rough = np.zeros((1, 40, 40), dtype=np.float32)
    rough[:, :, drawn:] = 1
    found = apply_guided_filter(guide, rough)[0]
    assert (found[:, :20] < 0.5).all()
    assert (found[:, 20:] > 0.5).all()


# Competition


def test_the_strongest_of_rivals_takes_the_pixel() -> None:
    shares = np.array([[0.2, 0.5, 0.1], [0.5, 0.3, 0.45], [0.3, 0.2, 0.45]], dtype=np.float32)[:, None]
    margins = compute_margins(shares)
    assert margins[:, 0] == pytest.approx(np.array([[0.6, 0.4, 0.5], [0.4, 0.35, 0.5]]))
    assert not (margins > 0.5).all(axis=0).any()


@pytest.mark.parametrize("traits", [1, 2, 3, 12])
def test_margins_are_those_over_the_strongest_of_all_others(traits: int) -> None:
    shares = np.random.default_rng(traits).random((1 + traits, 6, 5)).astype(np.float32)
    others = [np.delete(shares, own, axis=0).max(axis=0) for own in range(1, 1 + traits)]
    assert np.array_equal(compute_margins(shares), 0.5 + (shares[1:] - np.stack(others)) / 2)


def test_traits_that_may_overlap_share_a_pixel() -> None:
    shares = np.zeros((3, 32, 32), dtype=np.float32)
    shares[1, 4:28, 4:28] = 1  # A wing,
    shares[2, 10:20, 10:20] = 1  # and a spot on it.
    shares[0] = 1 - shares[1]
    view = np.full((64, 64, 3), 255, dtype=np.uint8)
    view[8:56, 8:56] = (120, 60, 20)
    view[20:40, 20:40] = (20, 20, 200)
    wing, spot = refine(view, shares, np.zeros((2, 2), dtype=bool), colour=COLOUR)[0] > 0.5
    assert wing[24:36, 24:36].all()
    assert spot[24:36, 24:36].all()
    assert np.count_nonzero(wing) == pytest.approx(48 * 48, rel=0.1)
    assert np.count_nonzero(spot) == pytest.approx(20 * 20, rel=0.2)


def test_every_two_traits_of_a_layer_are_rivals() -> None:
    rivals = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]], dtype=bool)
    assert group_into_layers(rivals) == [[0, 1], [2, 3]]
    assert group_into_layers(np.zeros((3, 3), dtype=bool)) == [[0], [1], [2]]
    assert group_into_layers(~np.eye(3, dtype=bool)) == [[0, 1, 2]]


# Colour


def test_posteriors_sum_to_one() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet((2, 1, 1, 0.2), size=(G, G)).transpose(2, 0, 1).astype(np.float32)
    view = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    posterior = compute_posterior(view, shares, COLOUR)
    assert posterior.shape == (4, G, G)
    assert (posterior >= 0).all()
    assert posterior.sum(0) == pytest.approx(np.ones((G, G)), abs=1e-5)


def test_without_weights_of_colour_the_votes_stay() -> None:
    view = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    shares = votes_for(square(20, 30, 20, 40))
    posterior = compute_posterior(view, shares, ColourSettings(foreground_weight=0, trait_weight=0, own_share=1))
    assert posterior == pytest.approx(shares, abs=2e-3)


@pytest.mark.parametrize("painted", [False, True])
def test_a_trait_without_votes_stays_absent(painted: bool) -> None:
    wing = square(15, 40, 15, 40)
    view = picture((wing, WING)) if painted else picture()
    shares = votes_for(wing, np.zeros_like(wing))
    assert compute_posterior(view, shares, COLOUR)[2].max() < 0.01
    soft, _ = refine(view, shares, RIVALS, colour=COLOUR)
    assert not (soft[1] > 0.5).any()
    assert (soft[0] > 0.5).any()


def test_a_class_without_cells_has_a_very_low_likelihood() -> None:
    features = np.random.default_rng(0).normal(size=(50, 3))
    weights = np.zeros((2, 50), dtype=np.float32)
    weights[0] = 1
    likelihood = refining._compute_log_likelihood(features, weights)
    assert (likelihood[1] < likelihood[0] - 100).all()


def test_no_votes_for_any_trait_find_nothing() -> None:
    none = np.zeros((G, G), dtype=bool)
    soft, confidence = refine(picture((square(15, 40, 15, 40), WING)), votes_for(none, none), RIVALS, colour=COLOUR)
    assert not (soft > 0.5).any()
    assert confidence == pytest.approx([1, 1], abs=0.01)


def test_a_leg_that_the_match_missed_is_found_by_its_colour() -> None:
    body, leg = square(15, 40, 15, 30), square(27, 28, 30, 45)
    view = picture((body | leg, BODY))
    shares = votes_for(body)
    shares[1, 25:30, 30:45] = 0.25  # A fuzzy quarter of the votes around the leg.
    shares[0] = 1 - shares[1]
    found = compute_posterior(view, shares, COLOUR)[1] > 0.5
    assert found[leg].mean() > 0.9
    assert not found[25, 30:45].any()
    assert not found[29, 30:45].any()
    assert not (compute_posterior(view, shares, ColourSettings(foreground_weight=0, trait_weight=0))[1] > 0.5)[
        leg
    ].any()


def test_paper_that_was_voted_for_is_given_back() -> None:
    wing = square(15, 40, 15, 40)
    sloppy = square(15, 40, 15, 42)
    soft, _ = refine(picture((wing, WING)), votes_for(sloppy, sure=0.6), ALONE, colour=COLOUR)
    found = soft[0] > 0.5
    expected = enlarged(wing)
    assert np.count_nonzero(found & expected) / np.count_nonzero(found | expected) > 0.98


# The whole


def test_two_traits_end_at_the_edge_between_their_colours() -> None:
    left, right = square(15, 40, 10, 28), square(15, 40, 28, 46)
    view = picture((left, WING), (right, BODY))
    soft, confidence = refine(
        view, votes_for(square(15, 40, 10, 30), square(15, 40, 30, 46), sure=0.8), RIVALS, colour=COLOUR
    )
    for found, expected in zip(soft > 0.5, (enlarged(left), enlarged(right)), strict=True):
        assert np.count_nonzero(found & expected) / np.count_nonzero(found | expected) > 0.97
    assert not (soft > 0.5).all(axis=0).any()
    assert (confidence > 0.8).all()


def test_confidence_follows_the_votes() -> None:
    wing = square(15, 40, 15, 40)
    found = [
        refine(picture((wing, WING)), votes_for(wing, sure=sure), ALONE, colour=COLOUR)[1][0]
        for sure in (0.55, 0.75, 0.98)
    ]
    assert found == sorted(found)
    assert found[2] > 0.95
    assert found[0] < found[2] - 0.01


@pytest.mark.parametrize("seed", range(5))
def test_confidence_is_a_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet((1, 0.3, 0.1), size=(G, G)).transpose(2, 0, 1).astype(np.float32)
    view = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    soft, confidence = refine(view, shares, RIVALS, colour=COLOUR)
    assert soft.shape == (2, SIDE, SIDE)
    assert soft.dtype == confidence.dtype == np.float32
    assert ((confidence >= 0) & (confidence <= 1)).all()


@pytest.mark.parametrize("colour", [0, 255])
def test_a_view_of_one_colour_leaves_it_to_the_votes(colour: int) -> None:
    wing = square(15, 40, 15, 40)
    soft, _ = refine(np.full((SIDE, SIDE, 3), colour, dtype=np.uint8), votes_for(wing), ALONE, colour=COLOUR)
    found = soft[0] > 0.5
    assert np.count_nonzero(found & enlarged(wing)) / np.count_nonzero(found | enlarged(wing)) > 0.9


def test_cells_without_votes_are_no_trait_whatever_their_colour() -> None:
    view = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    posterior = compute_posterior(view, votes_for(square(4, 12, 4, 12), square(12, 20, 4, 12)), COLOUR)
    far = square(30, G, 30, G)
    np.testing.assert_array_equal(posterior[0][far], 1)
    np.testing.assert_array_equal(posterior[1:, far], 0)
    assert (posterior[1:].max(axis=0)[square(6, 10, 6, 10)] > 0).all()
