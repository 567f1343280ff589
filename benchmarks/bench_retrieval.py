"""Compare retrieval by trait vectors with baselines that describe the photograph in other ways.

    python benchmarks/bench_retrieval.py INDEX --labels COLLECTION/labels --relevant-by infraspecificEpithet

Every region is a query for all others of its trait; relevant are specimens with the same value in the column. All
methods (see `evaluate.baselines`) describe the same regions, once with the drawn masks (labels) and once with the found
masks (of the index). With --without-background the background of every photograph is replaced by the same grey.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from sst_retrieval.cli.index_scores import column_values
from sst_retrieval.describe.region_vectors import embed_regions
from sst_retrieval.engines import choose_shrinkage, load_embedder
from sst_retrieval.errors import QueryError
from sst_retrieval.evaluate.baselines import METHODS, describe_photograph, describe_region, score
from sst_retrieval.evaluate.retrieval import RetrievalScore
from sst_retrieval.evaluate.text_tables import format_table
from sst_retrieval.imaging.foreground import remove_background
from sst_retrieval.imaging.images import read_labels
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.types import Floats, Frame, Mask

Vectors = dict[tuple[str, str], dict[str, dict[str, Floats]]]
"""(method, "drawn" or "found") -> trait -> specimen -> float32 (d,)."""


def iterate_masks(index: Index, specimen: str, labels: Path) -> Iterator[tuple[str, str, Mask, Frame]]:
    """Yield ("found" or "drawn", trait, mask, frame) for every trait of a specimen."""
    path = labels / f"{specimen}.png"
    drawn = read_labels(path) if path.is_file() else None
    for trait in index.traits:
        try:
            region = index.region(specimen, trait)
        except QueryError:  # Its group's support does not show the trait.
            continue
        found = index.mask(specimen, trait)
        if found.any():
            yield "found", trait, found, region.frame
        if drawn is not None and (drawn == index.trait_numbers[trait]).any():
            yield "drawn", trait, drawn == index.trait_numbers[trait], region.frame


def measure_confidences(index: Index) -> dict[str, float]:
    """Compute the mean confidence of the masks of every trait."""
    found = defaultdict(list)
    for specimen in index.individuals():
        for trait in index.traits:
            try:
                region = index.region(specimen.id, trait)
            except QueryError:  # Its group's support does not show the trait.
                continue
            if region.present:
                found[trait].append(region.confidence)
    return {trait: float(np.mean(own)) for trait, own in found.items()}


def describe_regions(index: Index, labels: Path, *, plain: bool) -> Vectors:
    """Describe every region by every method; with `plain`, on photographs without background."""
    embedder = load_embedder(index.settings["embedder"]["engine"], "auto")
    result: Vectors = defaultdict(lambda: defaultdict(dict))
    for specimen in index.individuals():
        regions = list(iterate_masks(index, specimen.id, labels))
        if not regions:
            continue
        image = index.photograph(specimen.id)
        if plain:
            image = remove_background(image, np.stack([mask for _, _, mask, _ in regions]))
        of_photograph = describe_photograph(image, embedder)
        # Drawn masks are described in the frame of the found ones; the network sees the specimen once for all of them.
        vectors = embed_regions(image, np.stack([mask for _, _, mask, _ in regions]), regions[0][3], embedder)
        for (whose, trait, mask, frame), vector in zip(regions, vectors, strict=True):
            if vector is not None:
                rows = {"trait": vector, **of_photograph, **describe_region(image, mask, frame, embedder)}
                for method, row in rows.items():
                    result[method, whose][trait][specimen.id] = row
    return result


def format_row(name: str, scores: Mapping[str, RetrievalScore], traits: list[str]) -> list[str]:
    """Format the row of a method: means over traits, then the mAP of every trait."""
    means = np.mean([(s.mean_ap, s.recall_at_5, s.precision_at_1) for s in scores.values()], axis=0)
    each = [f"{scores[trait].mean_ap:.3f}" if trait in scores else "-" for trait in traits]
    return [name, *(f"{value:.3f}" for value in means), *each]


def main() -> None:
    """Describe, query, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--relevant-by", required=True)
    parser.add_argument("--without-background", action="store_true")
    options = parser.parse_args()
    # With the same grey everywhere the background is no information; ties would be ordered by name.
    methods = [name for name in METHODS if name != "background" or not options.without_background]
    with open_index(options.index) as index:
        ridges = choose_shrinkage(load_embedder(index.settings["embedder"]["engine"], "auto"))
        found = describe_regions(index, options.labels, plain=options.without_background)
        values = column_values(index, options.relevant_by)
        confidences = measure_confidences(index)
        for whose in ("drawn", "found"):
            rows, traits = [], []
            for method in ("trait", *methods):
                scores = score(
                    method,
                    found[method, whose],
                    values,
                    column=options.relevant_by,
                    blocks=index.blocks,
                    shrinkage=ridges,
                    confidences=confidences if whose == "found" else None,
                )
                traits = traits or list(scores)
                rows.append(format_row(method, scores, traits))
            chance = [f"{each.chance:.3f}" for each in scores.values()]
            rows.append(["by chance", "", "", "", *chance])
            print(f"masks {whose}; relevant = same {options.relevant_by}")
            print(format_table(("method", "mAP", "recall@5", "precision@1", *traits), rows), end="\n\n")


if __name__ == "__main__":
    main()
