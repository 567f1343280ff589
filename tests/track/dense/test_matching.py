"""The arithmetic of matching, against slow and obvious versions of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sst_retrieval.track.dense import matching
from sst_retrieval.track.dense.matching import (
    DescriptorSettings,
    MatchSettings,
    PCAProjection,
    Votes,
    compute_cell_centres,
    compute_descriptors,
    factor_coarsest,
    find_voting_window,
    project_coarsest,
    sample_displaced,
    smooth_displacement,
)

G = 16
BLOCK = matching.BLOCK
EVERYWHERE = torch.ones(G, G, dtype=torch.bool)


def random_grid(seed: int, depth: int = 5, cells: int = G) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(depth, cells, cells)).astype(np.float32))


def random_labels(seed: int, count: int = 3, cells: int = G) -> torch.Tensor:
    return torch.softmax(3 * random_grid(seed, count, cells), dim=0)


def slow_votes(
    target: torch.Tensor, supports: list[tuple[torch.Tensor, torch.Tensor]], settings: MatchSettings
) -> tuple[np.ndarray, np.ndarray]:
    """One softmax for every cell over the cells that its block may settings at on all supports."""
    cells = target.shape[-1]
    radius = max(1, round(settings.window * cells))
    shares = np.zeros((len(supports[0][1]), cells, cells))
    nearest = np.zeros((cells, cells))
    rows, columns = np.mgrid[:cells, :cells]
    for row in range(cells):
        for column in range(cells):
            top, left = row // BLOCK * BLOCK, column // BLOCK * BLOCK
            in_window = (rows >= top - radius) & (rows < top + BLOCK + radius)
            in_window &= (columns >= left - radius) & (columns < left + BLOCK + radius)
            place = settings.position_cost * ((rows - row) ** 2 + (columns - column) ** 2) / cells**2
            apart = [(features.numpy() - target[:, row, column, None, None].numpy()) ** 2 for features, _ in supports]
            distances = np.concatenate([(one.sum(0) + place)[in_window] for one in apart])
            labels = np.concatenate([each.numpy()[:, in_window] for _, each in supports], axis=1)
            nearest[row, column] = distances.min()
            weights = np.exp((nearest[row, column] - distances) / settings.temperature)
            shares[:, row, column] = labels @ weights / weights.sum()
    return shares, nearest


@pytest.mark.parametrize(
    "settings",
    [MatchSettings(0.1, 5.0, 2.0), MatchSettings(0.2, 0.0, 0.5), MatchSettings(0.001, 40.0, 5.0)],
    ids=["near", "far", "least"],
)
@pytest.mark.parametrize("supports", [1, 2])
def test_votes_are_a_softmax_over_the_window_of_all_supports(settings: MatchSettings, supports: int) -> None:
    target = random_grid(0)
    given = [(random_grid(1 + n), random_labels(9 + n)) for n in range(supports)]
    votes = Votes(target, EVERYWHERE, settings)
    for features, labels in given:
        votes.add(features, labels)
    shares, distance = votes.result()
    expected_shares, expected_distance = slow_votes(target, given, settings)
    assert shares.numpy() == pytest.approx(expected_shares, abs=1e-4)
    assert distance.numpy() == pytest.approx(expected_distance, abs=1e-3)
    assert votes.active_cells().all()


def test_many_blocks_are_matched_like_few(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = []
    for chunk in (1, 3, 100):
        monkeypatch.setattr(matching, "CHUNK", chunk)
        votes = Votes(random_grid(0, cells=40), torch.ones(40, 40, dtype=torch.bool), MatchSettings(0.1, 5.0, 2.0))
        votes.add(random_grid(1, cells=40), random_labels(2, cells=40))
        answers.append(votes.result()[0].numpy())
    assert answers[1] == pytest.approx(answers[0], abs=1e-5)
    assert answers[2] == pytest.approx(answers[0], abs=1e-5)


def test_the_order_of_supports_changes_nothing() -> None:
    given = [(random_grid(n), random_labels(9 + n)) for n in range(3)]
    answers = []
    for order in (given, given[::-1]):
        votes = Votes(random_grid(7), EVERYWHERE, MatchSettings(0.1, 5.0, 0.05))
        for features, labels in order:
            votes.add(features, labels)
        answers.append(votes.result()[0].numpy())
    assert answers[0] == pytest.approx(answers[1], abs=1e-5)


def test_a_vote_of_low_temperature_takes_over_the_labels_of_an_equal_picture() -> None:
    grid, labels = random_grid(0), random_labels(1)
    votes = Votes(grid, EVERYWHERE, MatchSettings(0.1, 5.0, 0.01))
    votes.add(grid, labels)
    shares, distance = votes.result()
    assert shares.numpy() == pytest.approx(labels.numpy(), abs=1e-3)
    assert distance.abs().max() < 1e-4


def test_a_block_far_from_every_label_gets_no_label_and_is_not_computed() -> None:
    cells = 32
    labelled = torch.zeros(cells, cells, dtype=torch.bool)
    labelled[0, 0] = True  # A radius of two cells: only the window of the first block contains it.
    target, features, labels = random_grid(0, cells=cells), random_grid(1, cells=cells), random_labels(2, cells=cells)
    settings = MatchSettings(2 / cells, 5.0, 2.0)
    votes, all_votes = Votes(target, labelled, settings), Votes(target, torch.ones_like(labelled), settings)
    for each in (votes, all_votes):
        each.add(features, labels)
    shares, distance = votes.result()
    block = np.zeros((cells, cells), dtype=bool)
    block[:BLOCK, :BLOCK] = True
    assert np.array_equal(votes.active_cells().numpy() == 1, block)
    assert shares[:, block].numpy() == pytest.approx(all_votes.result()[0][:, block].numpy(), abs=1e-6)
    assert (shares[0, ~block] == 1).all()
    assert (shares[1:, ~block] == 0).all()
    assert (distance[~block] == 0).all()


def test_a_label_just_within_reach_of_the_next_block_counts() -> None:
    for column, blocks in ((BLOCK + 1, 2), (BLOCK + 2, 1)):
        labelled = torch.zeros(G, G, dtype=torch.bool)
        labelled[0, column] = True
        votes = Votes(random_grid(0), labelled, MatchSettings(2 / G, 5.0, 2.0))
        assert votes.active_cells().sum() == blocks * BLOCK**2


def test_no_label_anywhere_is_no_label_everywhere() -> None:
    votes = Votes(random_grid(0), ~EVERYWHERE, MatchSettings(0.1, 5.0, 2.0))
    for seed in range(2):
        votes.add(random_grid(1 + seed), random_labels(3 + seed))
    shares, distance = votes.result()
    assert shares.shape == (3, G, G)
    assert (shares[0] == 1).all()
    assert not shares[1:].any()
    assert not distance.any()


# Displacement


def test_no_displacement_changes_nothing() -> None:
    grid = random_grid(0)
    assert sample_displaced(grid, torch.zeros(2, G, G)).numpy() == pytest.approx(grid.numpy(), abs=1e-5)


def test_a_displacement_says_where_to_look() -> None:
    grid = random_grid(0)
    field = torch.zeros(2, G, G)
    field[0], field[1] = 3 / G, -2 / G  # Three cells to the right, two up.
    moved = sample_displaced(grid, field)
    assert moved[:, 2:, :-3].numpy() == pytest.approx(grid[:, :-2, 3:].numpy(), abs=1e-4)
    assert moved[:, 5, -1].numpy() == pytest.approx(grid[:, 3, -1].numpy(), abs=1e-4)  # The edge is repeated.


def test_a_constant_displacement_stays() -> None:
    field = torch.tensor([0.1, -0.05])[:, None, None].expand(2, 40, 40)
    smooth = smooth_displacement(field, torch.ones(40, 40), 0.06)
    assert smooth.numpy() == pytest.approx(field.numpy(), rel=0.01)


def test_a_displacement_without_confidence_is_replaced_by_its_neighbours() -> None:
    weight = torch.ones(40, 40)
    weight[18:22, 18:22] = 0
    field = torch.full((2, 40, 40), 0.1)
    field[:, 18:22, 18:22] = -9
    assert smooth_displacement(field, weight, 0.06).numpy() == pytest.approx(np.full((2, 40, 40), 0.1), rel=0.01)


def test_nothing_moves_far_from_every_confident_cell() -> None:
    weight = torch.zeros(40, 40)
    weight[:5, :5] = 1
    smooth = smooth_displacement(torch.full((2, 40, 40), 0.1), weight, 0.05)
    assert smooth[:, 2, 2].numpy() == pytest.approx([0.1, 0.1], rel=0.02)
    assert not smooth[:, 20:, 20:].any()


# Description


def test_all_directions_keep_all_distances() -> None:
    support, other = random_grid(0), random_grid(1)
    compress = PCAProjection(support, 5)
    small, small_other = compress(support).flatten(1), compress(other).flatten(1)
    assert small.shape == (5, G * G)
    expected = torch.cdist(support.flatten(1).T, other.flatten(1).T)
    assert torch.cdist(small.T, small_other.T).numpy() == pytest.approx(expected.numpy(), abs=1e-3)


def test_the_directions_kept_are_those_that_differ() -> None:
    support = random_grid(0) * torch.tensor([0.01, 5.0, 0.01, 3.0, 0.01])[:, None, None] + 7
    expected = torch.cdist(support.flatten(1).T, support.flatten(1).T)
    small = PCAProjection(support, 2)(support).flatten(1)
    assert torch.cdist(small.T, small.T).numpy() == pytest.approx(expected.numpy(), abs=0.1)


def pictures(count: int) -> list[np.ndarray]:
    return [np.random.default_rng(n).integers(0, 256, (32, 32, 3), dtype=np.uint8) for n in range(count)]


def levels_of(seed: int, count: int = 1) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.normal(2, 3, (count, 4, s, s)).astype(np.float32)) for s in (32, 16, 8)]


def test_a_cell_has_unit_length_beside_its_colour() -> None:
    settings = DescriptorSettings(cells=8, level_weights=(0.5, 0, 1), colour_weight=0.3)
    grid, normalisation = compute_descriptors(levels_of(0, 2), pictures(2), settings)
    assert grid.shape == (2, 4 + 4 + 3, 8, 8)
    assert len(normalisation.statistics) == 2
    lengths = [(part**2).sum(1).numpy() for part in (grid[:, :4], grid[:, 4:8])]
    assert lengths[0] == pytest.approx(np.full((2, 8, 8), 0.5 / 1.5), abs=1e-5)
    assert lengths[1] == pytest.approx(np.full((2, 8, 8), 1 / 1.5), abs=1e-5)


def test_colour_is_scaled_lab() -> None:
    white = [np.full((32, 32, 3), 255, dtype=np.uint8)]
    grid, _ = compute_descriptors(
        levels_of(0), white, DescriptorSettings(cells=8, level_weights=(1,), colour_weight=0.25)
    )
    assert grid[0, 4:].numpy() == pytest.approx(np.broadcast_to([[[0.5]], [[0]], [[0]]], (3, 8, 8)), abs=1e-3)


def test_the_norm_of_the_support_is_used_again() -> None:
    settings = DescriptorSettings(cells=8, level_weights=(0.5, 1, 1))
    _, normalisation = compute_descriptors(levels_of(0), pictures(1), settings)
    other, same = compute_descriptors(levels_of(1), pictures(1), settings, normalisation)
    assert same is normalisation
    level = levels_of(1)[2]
    mean, spread = levels_of(0)[2].mean((0, 2, 3)), levels_of(0)[2].std((0, 2, 3)) + 1e-3
    standard = (level[0] - mean[:, None, None]) / spread[:, None, None]
    expected = standard / (standard**2).sum(0).sqrt() * (1 / 2.5) ** 0.5
    assert other[0, 8:].numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    own, _ = compute_descriptors(levels_of(1), pictures(1), settings)
    assert (own - other).abs().max() > 0.01


def test_the_norm_is_the_first_pictures() -> None:
    settings = DescriptorSettings(cells=8, level_weights=(0.5, 1, 1), colour_weight=0.2)
    pair = [torch.cat(both) for both in zip(levels_of(0), levels_of(1), strict=True)]
    together, normalisation = compute_descriptors(pair, pictures(2), settings)
    alone, own = compute_descriptors(levels_of(0), pictures(1), settings)
    assert together[:1].numpy() == pytest.approx(alone.numpy(), abs=1e-5)
    assert [mean.numpy() for mean, _ in normalisation.statistics] == [
        pytest.approx(mean.numpy(), abs=1e-5) for mean, _ in own.statistics
    ]


def test_cell_centres_go_row_by_row() -> None:
    assert compute_cell_centres(2).tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]


def test_a_cells_share_is_the_mean_of_its_pixels() -> None:
    coverage = np.random.default_rng(0).random((12, 12)).astype(np.float32)
    expected = coverage.reshape(4, 3, 4, 3).mean((1, 3))
    assert matching.average_over_cells(coverage, 4) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("first", "last"), [((30, 40), (41, 60)), ((0, 0), (3, 3)), ((60, 1), (63, 63)), ((0, 0), (63, 63))]
)
def test_votes_in_a_window_are_those_of_the_whole_grid(first: tuple[int, int], last: tuple[int, int]) -> None:
    torch.manual_seed(3)
    target, support = torch.randn(2, 6, 64, 64)
    labels = torch.zeros(3, 64, 64)
    labels[1, first[0] : last[0] + 1, first[1] : last[1] + 1] = 0.7
    labels[0] = 1 - labels[1]
    labelled, settings = labels[1] > 0, MatchSettings(window=0.08, position_cost=2.0, temperature=0.1)
    whole = Votes(target, labelled, settings)
    whole.add(support, labels)
    rows, columns = find_voting_window(labelled, settings)
    assert all(end % BLOCK == 0 for part in (rows, columns) for end in (part.start, part.stop))
    part = Votes(target[:, rows, columns], labelled[rows, columns], settings, cells=64)
    part.add(support[:, rows, columns], labels[:, rows, columns])
    for all_cells, some_cells in zip(whole.result(), part.result(), strict=True):
        assert torch.equal(all_cells[..., rows, columns], some_cells)
    outside = torch.ones(64, 64, dtype=torch.bool)
    outside[rows, columns] = False
    shares, distance = whole.result()
    assert (shares[0][outside] == 1).all()
    assert (distance[outside] == 0).all()


def test_without_a_label_the_window_is_the_whole_grid() -> None:
    nothing = torch.zeros(64, 64, dtype=torch.bool)
    assert find_voting_window(nothing, MatchSettings(0.1, 1.0, 1.0)) == (slice(0, 64), slice(0, 64))


@pytest.mark.parametrize("coarse", [(3, 3), (8, 8)])
def test_inner_products_are_the_same_with_the_coarsest_level_factored(coarse: tuple[int, int]) -> None:
    settings = DescriptorSettings(cells=12, level_weights=(0, 1, 0.5))
    rng = np.random.default_rng(0)
    levels = [torch.from_numpy(rng.normal(size=size).astype(np.float32)) for size in ((1, 2, 24, 24), (1, 5, 12, 12))]
    levels.append(torch.from_numpy(rng.normal(size=(1, 40, *coarse)).astype(np.float32)))
    grid, normalisation = compute_descriptors(levels, [], settings)
    others = torch.from_numpy(rng.normal(size=(7, 45)).astype(np.float32))
    factored, coarsest = factor_coarsest(grid[0].flatten(1), levels, settings, normalisation)
    assert (coarsest is None) == (coarse == (8, 8))  # There it would be more work.
    assert len(factored) == (5 + 9 if coarse == (3, 3) else 45)
    expected = others @ grid[0].flatten(1)
    torch.testing.assert_close(project_coarsest(others, coarsest) @ factored, expected, rtol=0, atol=1e-5)
