"""Measurements and outlines of real wing masks, against other libraries (of all: benchmarks/bench_reference.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ktch.harmonic import EllipticFourierAnalysis
from pycocotools import mask as coco
from skimage.measure import regionprops
from sklearn.decomposition import PCA

from sst_retrieval.describe.measure import measure_geometry
from sst_retrieval.imaging import frames
from sst_retrieval.imaging.images import read_labels
from sst_retrieval.morphology.morphospace import principal_components
from sst_retrieval.morphology.outlines import elliptic_fourier, trace_outline
from sst_retrieval.morphology.sides import average_masks, find_middle_line, split_sides
from sst_retrieval.types import Mask

UPRIGHT = frames.square_frame((512, 512), 1024, 0.0)
Picture = tuple[dict[int, Mask], dict[int, int]]


@pytest.fixture(scope="module")
def pictures(shared_data: Path) -> list[Picture]:
    """Label -> mask and label -> pair of every 50th picture."""
    folder = shared_data / "butterfly_masks"
    index = json.loads((folder / "index.json").read_text())
    names = [(taxon, name) for taxon in sorted(index) for name in sorted(index[taxon]) if index[taxon][name]["pairs"]]
    found = []
    for taxon, name in names[::50]:
        labels = read_labels(folder / taxon / f"{name}.png")
        pairs = {int(label): pair for label, pair in index[taxon][name]["pairs"].items()}
        found.append(({int(number): labels == number for number in np.unique(labels) if number}, pairs))
    return found


def pieces(pictures: list[Picture]) -> Iterator[Mask]:
    for masks, _ in pictures:
        yield from masks.values()


# pycocotools' own arrays, seen by numpy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_area_perimeter_and_hull(pictures: list[Picture]) -> None:
    for mask in pieces(pictures):
        ours = measure_geometry(mask)
        assert ours["area_px"] == int(coco.area(coco.encode(np.asfortranarray(mask, dtype=np.uint8))))
        (theirs,) = regionprops(mask.astype(np.uint8))
        assert ours["elongation"] == pytest.approx(theirs.axis_major_length / theirs.axis_minor_length, rel=0.01)
        assert ours["length_px"] == pytest.approx(theirs.feret_diameter_max, abs=1.5)
        if ours["pieces"] == 1 and theirs.euler_number == 1:
            photograph, _ = trace_outline(mask, UPRIGHT, points=2000)
            around = np.hypot(*np.diff(photograph, axis=0, append=photograph[:1]).T).sum()
            assert ours["perimeter_px"] == pytest.approx(around, rel=0.05)


def test_fourier_coefficients_and_principal_components(pictures: list[Picture]) -> None:
    analysis = EllipticFourierAnalysis(n_harmonics=8, registration=None)
    rows = []
    for mask in pieces(pictures):
        _, laid = trace_outline(mask, UPRIGHT)
        raw = np.asarray(analysis.fit_transform([np.roll(laid, -1, axis=0)])[0])
        theirs = np.stack([part[1:9] for part in np.split(raw, 4)], axis=1)
        scale = np.linalg.svd(theirs[0].reshape(2, 2), compute_uv=False)[0]
        rows.append(elliptic_fourier(laid, 8))
        assert rows[-1] == pytest.approx(theirs / scale, abs=1e-9)
    matrix = np.stack(rows).reshape(len(rows), -1)
    scores, _, explained, _ = principal_components(len(matrix), lambda places: matrix[places], 5)
    reference = PCA(n_components=5, svd_solver="full").fit(matrix)
    assert explained == pytest.approx(reference.explained_variance_ratio_, abs=1e-9)
    assert np.abs(scores) == pytest.approx(np.abs(reference.transform(matrix)), abs=1e-7)


def test_the_two_of_a_pair_lie_on_two_sides(pictures: list[Picture]) -> None:
    pairs = apart = 0
    for masks, pairing in pictures:
        line = find_middle_line(average_masks([(np.any(list(masks.values()), axis=0), UPRIGHT)]))
        for pair in set(pairing.values()):
            two = [masks[label] for label, of in pairing.items() if of == pair and label in masks]
            if len(two) == 2:
                pairs += 1
                found = [set(split_sides(mask, UPRIGHT, line)) for mask in two]
                apart += {"left"} in found and {"right"} in found
    assert pairs >= 15
    assert apart >= pairs - 1  # In one picture a left and a right spot are labelled as one.
