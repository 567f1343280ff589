"""Compare the two poolings of a CLIP embedder on the masks of an index; needs the model's weights.

    python benchmarks/bench_clip.py INDEX --clip-pretrained bioclip --relevant-by specificEpithet

For `--clip-pooling dense` and `crop`, with the pattern block alone:

- mAP: every region is a query for all others of its trait; relevant are specimens with the same value in the column.
- words: zero-shot accuracy, the share of regions whose nearest trait name is their own (chance is 1 / traits); the same
  for the values of the column.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from sst_retrieval.cli.index_scores import column_values
from sst_retrieval.describe.contract import TextEmbedder
from sst_retrieval.describe.openclip import POOLINGS
from sst_retrieval.describe.region_vectors import embed_regions
from sst_retrieval.engines import ModelOptions, load_embedder
from sst_retrieval.errors import QueryError
from sst_retrieval.evaluate.baselines import score
from sst_retrieval.evaluate.text_tables import format_table
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.types import Floats, Scalar

Patterns = dict[str, dict[str, Floats]]
"""Trait -> specimen -> float32 (D,), unit length."""


def describe_patterns(index: Index, embedder: TextEmbedder) -> Patterns:
    """Describe every region of an index with another embedder than the index's own."""
    found: Patterns = defaultdict(dict)
    for specimen in index.individuals():
        image = None
        for trait in index.traits:
            try:
                region = index.region(specimen.id, trait)
            except QueryError:  # Skipped, or its group has no such trait.
                continue
            if region.present:
                image = index.photograph(specimen.id) if image is None else image
                (vector,) = embed_regions(image, index.mask(specimen.id, trait)[None], region.frame, embedder)
                if vector is not None:
                    found[trait][specimen.id] = vector[: embedder.dim]
    return found


def nearest_name_accuracy(embedder: TextEmbedder, patterns: Floats, words: list[str], right: list[int]) -> float:
    """Return the share of patterns, float32 (N, D), whose nearest words are `words[right]`."""
    texts = embedder.texts([each.replace("_", " ") for each in words])
    return float(np.mean((patterns @ texts.T).argmax(axis=1) == right))


def measure_pooling(index: Index, embedder: TextEmbedder, column: str, values: dict[str, Scalar]) -> list[str]:
    """Measure one pooling; return a row of the table."""
    found = describe_patterns(index, embedder)
    scores = score("trait", found, values, column=column, blocks={"pattern": embedder.dim})
    traits = sorted(found)
    rows = [(trait, specimen, row) for trait in traits for specimen, row in found[trait].items()]
    stacked = np.stack([row for _, _, row in rows])
    named = nearest_name_accuracy(embedder, stacked, traits, [traits.index(trait) for trait, _, _ in rows])
    kinds = sorted({str(value) for value in values.values() if value is not None})
    places = [kinds.index(str(values[specimen])) if values[specimen] is not None else -1 for _, specimen, _ in rows]
    of_kind = nearest_name_accuracy(embedder, stacked, kinds, places)
    mean = np.mean([each.mean_ap for each in scores.values()])
    return [f"{mean:.3f}", *(f"{scores[trait].mean_ap:.3f}" for trait in traits), f"{named:.3f}", f"{of_kind:.3f}"]


def main() -> None:
    """Measure both poolings and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path)
    parser.add_argument("--clip-model")
    parser.add_argument("--clip-pretrained")
    parser.add_argument("--relevant-by", required=True)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    with open_index(options.index) as index:
        values = dict(column_values(index, options.relevant_by))
        rows = []
        for pooling in POOLINGS:
            models = ModelOptions(
                clip_model=options.clip_model, clip_pretrained=options.clip_pretrained, clip_pooling=pooling
            )
            embedder = load_embedder("openclip", options.device, models)
            assert isinstance(embedder, TextEmbedder)
            rows.append([pooling, *measure_pooling(index, embedder, options.relevant_by, values)])
        head = ("pooling", "mAP", *sorted(index.traits), "words: trait", f"words: {options.relevant_by}")
        print(format_table(head, rows))


if __name__ == "__main__":
    main()
