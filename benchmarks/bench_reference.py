"""Check measurements and outlines on real wing masks against other libraries; retrieval by outline alone.

    python benchmarks/bench_reference.py ../shared/data/butterfly_masks
    python benchmarks/bench_reference.py ../shared/data/butterfly_masks --every 5

The folder holds label pictures TAXON/NAME.png and index.json with their left/right pairs (Imageomics/SST). It prints
the largest differences between this program's results and those of SimpleITK (area and Crofton perimeter; if it is
installed), shapely (convex hull; if it is installed), ktch (elliptic Fourier coefficients) and scikit-learn (principal
components); how many of the known pairs the middle line separates; and the mean average precision of retrieving the
same taxon by the outline of one pair of traits, and by all pairs together.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ktch.harmonic import EllipticFourierAnalysis
from sklearn.decomposition import PCA

from sst_retrieval.describe.measure import measure_geometry
from sst_retrieval.describe.shape_block import compute_shape_block
from sst_retrieval.evaluate.retrieval import average_precision
from sst_retrieval.imaging import frames, masks
from sst_retrieval.imaging.images import read_labels
from sst_retrieval.morphology.morphospace import principal_components
from sst_retrieval.morphology.outlines import elliptic_fourier, trace_outline
from sst_retrieval.morphology.sides import average_masks, find_middle_line, split_sides
from sst_retrieval.types import Mask

HARMONICS = 12


def read_pictures(folder: Path) -> Iterator[tuple[str, str, dict[int, Mask], dict[int, int]]]:
    """Read the label pictures one by one: (taxon, name, label -> mask, label -> pair)."""
    index = json.loads((folder / "index.json").read_text())
    names = [(taxon, name) for taxon in sorted(index) for name in sorted(index[taxon])]
    for taxon, name in names:
        labels = read_labels(folder / taxon / f"{name}.png")
        found = {int(number): labels == number for number in np.unique(labels) if number}
        yield taxon, name, found, {int(label): pair for label, pair in index[taxon][name]["pairs"].items()}


def measure_simpleitk(mask: Mask) -> tuple[float, float]:
    """Measure area and perimeter, in pixels, with SimpleITK."""
    import SimpleITK as Sitk

    statistics: Any = Sitk.LabelShapeStatisticsImageFilter()
    statistics.ComputePerimeterOn()
    statistics.SetNumberOfThreads(1)
    statistics.Execute(Sitk.GetImageFromArray(mask.astype(np.uint8)))
    return statistics.GetPhysicalSize(1), statistics.GetPerimeter(1)


def measure_shapely(mask: Mask) -> float:
    """Measure the area of the convex hull of the pixels' squares with shapely."""
    from shapely.geometry import MultiPoint

    inner = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    rows, columns = np.nonzero(mask & ~np.pad(inner, 1))
    corners = [(c + i, r + j) for r, c in zip(rows, columns, strict=True) for i in (0, 1) for j in (0, 1)]
    return float(MultiPoint(corners).convex_hull.area)


def main() -> None:
    """Run the checks and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1, help="compare the masks of every n-th picture only")
    options = parser.parse_args()
    upright = frames.square_frame((512, 512), 1024, 0.0)
    analysis = EllipticFourierAnalysis(n_harmonics=HARMONICS, registration=None)
    has = {name: importlib.util.find_spec(name) is not None for name in ("SimpleITK", "shapely")}
    worst: dict[str, list[float]] = {}
    described: list[tuple[str, str, int, np.ndarray, np.ndarray]] = []
    pairs = apart = pieces = 0
    for place, (taxon, name, found, pairing) in enumerate(read_pictures(options.folder)):
        line = find_middle_line(average_masks([(np.any(list(found.values()), axis=0), upright)])) if found else None
        for whole in found.values() if place % options.every == 0 else ():
            pieces += 1
            x0, y0, x1, y1 = masks.box(whole)
            mask = np.pad(whole[y0:y1, x0:x1], 3)
            ours = measure_geometry(mask)
            shoelace = sum(masks.signed_area(curve) for curve in masks.outlines(mask))
            worst.setdefault("area against the outlines' shoelace area, relative", []).append(
                abs(shoelace - ours["area_px"]) / ours["area_px"]
            )
            if has["SimpleITK"]:
                area, perimeter = measure_simpleitk(mask)
                worst.setdefault("area against SimpleITK, px", []).append(abs(area - ours["area_px"]))
                worst.setdefault("perimeter against SimpleITK, relative", []).append(
                    abs(perimeter - ours["perimeter_px"]) / perimeter
                )
            if has["shapely"]:
                worst.setdefault("solidity against shapely", []).append(
                    abs(ours["area_px"] / measure_shapely(mask) - ours["solidity"])
                )
            _, laid = trace_outline(mask, upright)
            coefficients = elliptic_fourier(laid, HARMONICS)
            raw = np.asarray(analysis.fit_transform([np.roll(laid, -1, axis=0)])[0])
            theirs = np.stack([part[1 : HARMONICS + 1] for part in np.split(raw, 4)], axis=1)
            theirs = theirs / np.linalg.svd(theirs[0].reshape(2, 2), compute_uv=False)[0]
            worst.setdefault("Fourier coefficients against ktch", []).append(np.abs(theirs - coefficients).max())
        for pair in sorted(set(pairing.values())):
            two = [found[label] for label, of in pairing.items() if of == pair and label in found]
            if len(two) == 2:
                pairs += 1
                sides = [split_sides(mask, upright, line).keys() for mask in two]
                apart += {"left"} in sides and {"right"} in sides
                both = np.any(two, axis=0)
                left = min(two, key=lambda mask: float(np.nonzero(mask)[1].mean()))
                efa = elliptic_fourier(trace_outline(left, upright)[1], HARMONICS).ravel()
                described.append((taxon, name, pair, compute_shape_block(both, upright), efa))
    print(f"{pairs} pairs; of these on two sides of the middle line: {apart} ({apart / pairs:.1%})")
    print(f"{pieces} masks compared one by one:")
    matrix = np.stack([each[4] for each in described])
    scores, _, explained, _ = principal_components(len(matrix), lambda rows: matrix[rows], 10)
    reference = PCA(n_components=10, svd_solver="full").fit(matrix)
    worst["principal components against scikit-learn"] = [
        float(np.abs(np.abs(scores) - np.abs(reference.transform(matrix))).max()),
        float(np.abs(explained - reference.explained_variance_ratio_).max()),
    ]
    print(f"{'largest difference':>22}{'median':>12}")
    for what, values in worst.items():
        print(f"{max(values):>22.2e}{np.median(values):>12.2e}  {what}")
    print_retrieval(described)


def print_retrieval(described: list[tuple[str, str, int, np.ndarray, np.ndarray]]) -> None:
    """Print the mean average precision of retrieving the same taxon by outlines."""
    print("\nmAP of finding the same taxon by the outline alone (by chance in brackets)")
    names = list(dict.fromkeys((taxon, name) for taxon, name, *_ in described))
    place = {name: number for number, name in enumerate(names)}
    taxa = np.array([taxon for taxon, _ in names])
    for kind, column in (("shape block of the vectors", 3), ("elliptic Fourier coefficients", 4)):
        total, shared = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
        for pair in sorted({each[2] for each in described}):
            rows = [each for each in described if each[2] == pair]
            values = np.stack([each[column] for each in rows]).astype(np.float64)
            away = ((values[:, None] - values[None]) ** 2).sum(axis=2)
            where = np.array([place[each[0], each[1]] for each in rows])
            print(f"  {kind}, pair {pair}: {score_rankings(-away, taxa[where])}")
            total[np.ix_(where, where)] -= away
            shared[np.ix_(where, where)] += 1
        together = np.where(shared > 0, total / np.maximum(shared, 1), -np.inf)
        print(f"  {kind}, all pairs together: {score_rankings(together, taxa)}")


def score_rankings(similarity: np.ndarray, taxa: np.ndarray) -> str:
    """Compute mAP and chance level of rankings, as text; queries without a relevant answer are left out.

    Args:
        similarity: float64 (N, N).
        taxa: text (N,).
    """
    found, chance = [], []
    for query in range(len(taxa)):
        others = np.arange(len(taxa)) != query
        relevant = (taxa == taxa[query])[others]
        if relevant.any():
            order = np.argsort(-similarity[query][others], kind="stable")
            found.append(average_precision(relevant[order]))
            chance.append(relevant.mean())
    return f"{np.mean(found):.3f} ({np.mean(chance):.3f}), {len(found)} queries" if found else "no queries"


if __name__ == "__main__":
    main()
