"""Are neighbours alike in the trait? Score search where trait, background, pose and photographer are crossed.

    python benchmarks/bench_neighbours.py make FOLDER
    python benchmarks/bench_neighbours.py score FOLDER
    python benchmarks/bench_neighbours.py swap INDEX --relevant-by infraspecificEpithet --sample 60

`make` draws the crossed synthetic collection (`sst_retrieval.synthetic.crossed`). `score` draws it if it is not there,
builds FOLDER/index with the program's defaults unless it exists, and prints, with masks found and with the true ones:

1. mAP by race, pattern, colour and outline, of the trait's vector, of each of its blocks, of the same network on the
   bounding box and on the whole photograph, and of the background's colours;
2. Spearman's correlation of similarity with the true distance, the mean over queries;
3. how much each is sensitive to every factor, all else being equal: 0.5 is blind, 1 sees nothing else;
4. how far answers change if the query lies on another background.

Rows "true ..." rank by the true distances themselves: by one, and by the mean of all three, which is what blocks of
equal weight can do at best. The last rows of the first table are differences: of the trait with equal blocks, and with
the block of each column alone, to the crop and to the whole photograph.

`swap` does the last on any index: every photograph of a sample is put on grey, and on the photograph of another
specimen that differs in the column and from which its specimen was removed. Masks and frames stay as found.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sst_retrieval.build.pipeline import build_index
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.cli.index_scores import column_values, score_masks
from sst_retrieval.describe.contract import Embedder
from sst_retrieval.describe.region_vectors import block_widths, embed_regions
from sst_retrieval.engines import choose_shrinkage, load_embedder
from sst_retrieval.errors import QueryError
from sst_retrieval.evaluate import TraitVectors, retrieval_scores
from sst_retrieval.evaluate.baselines import Preparation, describe_photograph, describe_region
from sst_retrieval.evaluate.neighbours import (
    compare_answers,
    compute_rank_correlation,
    measure_sensitivity,
)
from sst_retrieval.evaluate.retrieval import average_precision
from sst_retrieval.evaluate.swaps import find_specimen, paste_specimen, remove_specimen
from sst_retrieval.evaluate.text_tables import format_table
from sst_retrieval.imaging.foreground import remove_background
from sst_retrieval.imaging.images import read_labels, write_png
from sst_retrieval.index.whitening import SHRINKAGE, block_slices
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.synthetic.crossed import AXES, CrossedSpecimen, compute_true_distances, make_crossed, plan_crossed
from sst_retrieval.types import BLOCKS, Doubles, Floats, Frame, Mask, RGBImage

BASELINES = ("crop", "photograph", "background")
"""What a trait's vector is compared with."""

NUISANCES = ("background", "photographer", "turn", "light")

CHANGES = ("shared", "correlation", "itself", "mean_ap_before", "mean_ap_after", "first_before", "first_after")
"""Fields of `AnswerChange` that are printed."""

Described = dict[str, dict[str, dict[str, Floats]]]
"""Method -> trait -> specimen -> float32 (d,)."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """One way of comparing the regions of a trait.

    Attributes:
        name: in the tables.
        method: "trait", the name of another embedder, or one of `BASELINES`.
        blocks: block of the vector -> number of values; empty for baselines.
        weights: block -> weight; empty for equal ones.
        shrinkage: block -> ridge of the whitening.
    """

    name: str
    method: str
    blocks: Mapping[str, int]
    weights: Mapping[str, float]
    shrinkage: Mapping[str, float] = field(default_factory=lambda: SHRINKAGE)

    def prepare(self, vectors: Floats) -> Preparation:
        """Estimate what is done to the descriptions, float32 (N, d), before they are compared."""
        return Preparation.fit("trait" if self.blocks else self.method, vectors, self.blocks, self.shrinkage)

    def slices(self, width: int) -> dict[str, slice]:
        """Return the blocks of prepared descriptions of so many values."""
        return block_slices(self.blocks or {"all": width})


@dataclass(frozen=True, slots=True)
class Models:
    """What describes.

    Attributes:
        plain: the embedder of the index, also of crop and photograph.
        others: name -> embedder that is compared with it.
    """

    plain: Embedder
    others: Mapping[str, Embedder]

    def list_rankings(self) -> list[Ranking]:
        """List the ways of comparing: vectors, the index's by single blocks too, others' by pattern; baselines."""
        own, ridges = block_widths(self.plain), choose_shrinkage(self.plain)
        rankings = [Ranking("trait", "trait", own, {}, ridges)]
        rankings += [Ranking(f"trait: {block}", "trait", own, {block: 1.0}, ridges) for block in BLOCKS]
        for name, embedder in self.others.items():
            theirs, ridges = block_widths(embedder), choose_shrinkage(embedder)
            rankings += [
                Ranking(name, name, theirs, {}, ridges),
                Ranking(f"{name}: pattern", name, theirs, {"pattern": 1.0}, ridges),
            ]
        return rankings + [Ranking(method, method, {}, {}) for method in BASELINES]


def load_models(index: Index, names: Sequence[str]) -> Models:
    """Load the embedder of an index, and others to compare it with."""
    plain = load_embedder(index.settings["embedder"]["engine"], "auto")
    return Models(plain, {name: load_embedder(name, "auto") for name in names})


def describe(
    image: RGBImage, masks: Mapping[str, Mask], frame: Frame, models: Models, into: Described, name: str
) -> None:
    """Describe the regions of a photograph by all methods."""
    shown = {trait: mask for trait, mask in masks.items() if mask.any()}
    if not shown:
        return
    of_photograph, stack = describe_photograph(image, models.plain), np.stack(list(shown.values()))
    embedders = {"trait": models.plain, **models.others}
    vectors = {method: embed_regions(image, stack, frame, embedder) for method, embedder in embedders.items()}
    for number, (trait, mask) in enumerate(shown.items()):
        if vectors["trait"][number] is None:
            continue
        rows = {**of_photograph, **describe_region(image, mask, frame, models.plain)}
        rows = {method: rows[method] for method in BASELINES} | {
            method: vector for method, own in vectors.items() if (vector := own[number]) is not None
        }
        for method, row in rows.items():
            into[method][trait][name] = row


def empty() -> Described:
    """Return a place for descriptions."""
    return defaultdict(lambda: defaultdict(dict))


def read_regions(index: Index, specimen: str) -> tuple[dict[str, Mask], Frame | None]:
    """Read the masks found on a specimen, and its frame; None without any region."""
    masks, frame = {}, None
    for trait in index.traits:
        try:
            region = index.region(specimen, trait)
        except QueryError:  # Its group's support does not show the trait.
            continue
        masks[trait], frame = index.mask(specimen, trait), region.frame
    return masks, frame


def compare(ranking: Ranking, queries: Floats, vectors: Floats) -> npt.NDArray[np.float32]:
    """Compute the similarities (Q, N) of prepared descriptions."""
    slices = ranking.slices(vectors.shape[1])
    weighted = np.zeros_like(queries)
    for block, part in slices.items():
        weighted[:, part] = queries[:, part] * (ranking.weights.get(block, 0.0) if ranking.weights else 1 / len(slices))
    similar: npt.NDArray[np.float32] = weighted @ vectors.T
    return similar


def score_collection(folder: Path, seed: int, species: int, embedders: Sequence[str], kinds: Sequence[str]) -> None:
    """Print all tables of the crossed collection."""
    began = time.perf_counter()
    table = folder / "collection.csv"
    if not table.is_file():
        make_crossed(folder, seed=seed, species=species)
    if not (folder / "index").is_dir():
        print(build_index(table, folder / "supports", folder / "index", settings=BuildSettings()).text(), "\n")
    with open_index(folder / "index") as index:
        print(score_masks(index, folder / "labels").table(), "\n")
        models = load_models(index, embedders)
        rows = {each.id: dict(each.metadata) for each in index.individuals() if each.metadata["role"] == "crossed"}
        described = {kind: empty() for kind in ("found", *kinds)}
        frames: dict[str, Frame] = {}
        found_masks: dict[str, dict[str, Mask]] = {}
        for name in rows:
            found_masks[name], frame = read_regions(index, name)
            if frame is None:
                continue
            frames[name] = frame
            image, drawn = index.photograph(name), read_labels(folder / "labels" / f"{name}.png")
            describe(image, found_masks[name], frame, models, described["found"], name)
            true = {trait: drawn == number for trait, number in index.trait_numbers.items()}
            if "true" in kinds:
                describe(image, true, frame, models, described["true"], name)
        for whose in kinds:
            print(f"--- masks {whose}, mean over {', '.join(index.traits)}\n")
            print_scores(described[whose], rows, models.list_rankings())
        planned = {each.name: each for each in plan_crossed(seed, species)}
        print("--- queries on another background, masks found\n")
        changed = describe_on_other_backgrounds(planned, frames, found_masks, models)
        races = race_columns(rows, index.traits)
        print_changes(described["found"], {"other background": changed}, models.list_rankings(), races)
    print(f"{time.perf_counter() - began:.0f} s")


def race_columns(rows: Mapping[str, Mapping[str, Any]], traits: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return trait -> specimen -> its race."""
    return {trait: {name: row[f"{trait}Race"] for name, row in rows.items()} for trait in traits}


def describe_on_other_backgrounds(
    planned: Mapping[str, CrossedSpecimen],
    frames: Mapping[str, Frame],
    masks: Mapping[str, Mapping[str, Mask]],
    models: Models,
) -> Described:
    """Photograph every third specimen on the next background, and describe it as it was found on its own."""
    result = empty()
    for name in list(frames)[::3]:
        specimen = planned[name]
        image, _ = specimen.photograph(background=(specimen.sitting.background + 1) % 4)
        describe(image, masks[name], frames[name], models, result, name)
    return result


def print_scores(described: Described, rows: Mapping[str, Mapping[str, Any]], rankings: Sequence[Ranking]) -> None:
    """Print mAP, rank correlation and sensitivity of every ranking."""
    columns = ("Race", "Mimics", "Pattern", "Colour")
    precision: dict[str, list[list[float]]] = defaultdict(list)
    correlation: dict[str, list[list[float]]] = defaultdict(list)
    sensitivity: dict[str, list[list[float]]] = defaultdict(list)
    truth: dict[str, list[list[float]]] = defaultdict(list)
    chances = []
    for trait in described["trait"]:
        names = sorted(described["trait"][trait])
        of_trait = [rows[name] for name in names]
        distances = compute_true_distances(of_trait, trait)
        wanted = [*(f"{trait}{column}" for column in columns), "scientificName"]
        factors = [
            np.unique([str(row[column]) for row in of_trait], return_inverse=True)[1]
            for column in (*wanted[2:], *NUISANCES)
        ]
        for axis, distance in distances.items():
            found = [score_truth(distance, [row[column] for row in of_trait]) for column in wanted]
            truth[f"true {axis}"].append([*(mean_ap for mean_ap, _ in found), found[0][1]])
        chance = []
        for ranking in rankings:
            raw = np.stack([described[ranking.method][trait][name] for name in names])
            vectors = ranking.prepare(raw).apply(raw)
            scores = [
                retrieval_scores(
                    {trait: TraitVectors(names, vectors)},
                    {name: row[column] for name, row in zip(names, of_trait, strict=True)},
                    column=column,
                    blocks=ranking.slices(vectors.shape[1]),
                    weights=ranking.weights or None,
                ).traits[trait]
                for column in wanted
            ]
            chance = [each.chance for each in scores]
            precision[ranking.name].append([*(each.mean_ap for each in scores), scores[0].precision_at_1])
            similarity = compare(ranking, vectors, vectors)
            correlation[ranking.name].append(
                [compute_rank_correlation(similarity, distances[axis]) for axis in (*AXES, "all")]
            )
            sensitivity[ranking.name].append(
                [
                    measure_sensitivity(similarity, own, [other for other in factors[:3] if other is not own])
                    for own in factors
                ]
            )
        chances.append([*chance, chance[0]])
    precision |= truth
    precision["by chance"] = chances
    own = dict(zip(("pattern", "colour", "outline"), ("trait: pattern", "trait: colour", "trait: shape"), strict=True))
    ahead = list_differences({name: np.mean(each, axis=0) for name, each in precision.items()}, own)
    precision |= {name: [row] for name, row in ahead.items()}
    print("mAP; relevant: all three alike (race); pattern and colour (with mimics); one of them")
    print_means(("", "race", "with mimics", "pattern", "colour", "outline", "race: first hit"), precision)
    print("Spearman's correlation with the true distance")
    print_means(("", *AXES, "all three"), correlation)
    print("sensitivity, all else being equal: 0.5 is blind")
    print_means(("", *AXES, *NUISANCES), sensitivity)


def score_truth(distance: Doubles, values: Sequence[Any]) -> tuple[float, float]:
    """Score the ranking by a true distance: mean average precision, and the share of first hits that are relevant."""
    measured = []
    for query, value in enumerate(values):
        others = [other for other in np.argsort(distance[query], kind="stable").tolist() if other != query]
        relevance = np.array([values[other] == value for other in others])
        if relevance.any():
            measured.append((average_precision(relevance), float(relevance[0])))
    mean_ap, first = np.mean(measured, axis=0)
    return float(mean_ap), float(first)


def list_differences(means: Mapping[str, Doubles], blocks: Mapping[str, str]) -> dict[str, list[float]]:
    """List how far the trait is ahead of crop and photograph: with equal blocks, and with the block of each column.

    Args:
        means: ranking -> float64 (6,): the columns of the first table.
        blocks: "pattern", "colour", "outline" -> the ranking by their block alone.
    """
    asked = np.array(means["trait"])
    for column, axis in enumerate(blocks, 2):
        if blocks[axis] in means:
            asked[column] = means[blocks[axis]][column]
    result = {}
    for other in (name for name in ("crop", "photograph") if name in means):
        result[f"equal blocks - {other}"] = (means["trait"] - means[other]).tolist()
        result[f"block asked for - {other}"] = (asked - means[other]).tolist()
    return result


def print_means(head: Sequence[str], measured: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Print a table of means over traits."""
    rows = [[name, *(f"{value:.3f}" for value in np.mean(each, axis=0))] for name, each in measured.items()]
    print(format_table(head, rows), end="\n\n")


def print_changes(
    described: Described,
    changed: Mapping[str, Described],
    rankings: Sequence[Ranking],
    values: Mapping[str, Mapping[str, Any]],
) -> None:
    """Print how far the answers to changed queries differ.

    Args:
        described: of all specimens.
        changed: kind of change -> of the queries.
        rankings: ways of comparing.
        values: trait -> specimen -> what relevant hits share with it.
    """
    table = []
    for kind, queries in changed.items():
        for ranking in rankings:
            measured = []
            for trait, own in queries[ranking.method].items():
                everyone, asked = sorted(described[ranking.method][trait]), sorted(own)
                raw = np.stack([described[ranking.method][trait][name] for name in everyone])
                preparation = ranking.prepare(raw)
                vectors = preparation.apply(raw)
                rows = [everyone.index(name) for name in asked]
                before = compare(ranking, vectors[rows], vectors)
                after = compare(ranking, preparation.apply(np.stack([own[name] for name in asked])), vectors)
                named = [values[trait][name] for name in everyone]
                relevant = np.array([[named[row] == other for other in named] for row in rows])
                measured.append(compare_answers(before, after, rows, relevant))
            means = [np.mean([getattr(each, name) for each in measured]) for name in CHANGES]
            table.append([kind, ranking.name, *(f"{value:.3f}" for value in means)])
    head = (
        "query", "compared by", "ten hits kept", "rank correlation", "finds itself", "mAP before", "after",
        "first hit before", "after",
    )  # fmt: skip
    print(format_table(head, table), end="\n\n")


def iterate_swapped(
    index: Index, values: Mapping[str, Any], sample: Sequence[str], seed: int
) -> Iterator[tuple[str, dict[str, Mask], Frame, dict[str, RGBImage]]]:
    """Yield specimen, masks, frame, and its photograph on grey and on that of another."""
    rng = np.random.default_rng(seed)
    names = [each.id for each in index.individuals()]
    for name in sample:
        masks, frame = read_regions(index, name)
        if frame is None or not any(mask.any() for mask in masks.values()):
            continue
        others = [other for other in names if values[other] != values[name]]
        donor = others[int(rng.integers(len(others)))]
        image, theirs = index.photograph(name), index.photograph(donor)
        traits = np.any(list(masks.values()), axis=0)
        their_masks, _ = read_regions(index, donor)
        hidden = np.any([np.zeros(theirs.shape[:2], bool), *their_masks.values()], axis=0)
        ground = remove_specimen(theirs, find_specimen(theirs, hidden), rng)
        yield (
            name,
            masks,
            frame,
            {
                "grey": remove_background(image, traits[None]),
                "swapped": paste_specimen(image, find_specimen(image, traits), ground),
            },
        )


def swap_backgrounds(
    folder: Path, column: str, sample: int, seed: int, pictures: Path | None, embedders: Sequence[str] = ()
) -> None:
    """Print how far answers change on any index if the queries' backgrounds are replaced."""
    with open_index(folder) as index:
        models = load_models(index, embedders)
        values = column_values(index, column)
        described, changed = empty(), {"grey": empty(), "swapped": empty()}
        names = [each.id for each in index.individuals()]
        for name in names:
            masks, frame = read_regions(index, name)
            if frame is not None:
                describe(index.photograph(name), masks, frame, models, described, name)
        chosen = names[:: max(1, math.ceil(len(names) / sample))]
        for name, masks, frame, images in iterate_swapped(index, values, chosen, seed):
            for kind, image in images.items():
                describe(image, masks, frame, models, changed[kind], name)
                if pictures is not None:
                    write_png(pictures / f"{name}-{kind}.png", image)
        print(
            f"{len(chosen)} of {len(names)} photographs; relevant = same {column}; mean over {len(index.traits)} traits"
        )
        print_changes(described, changed, models.list_rankings(), {trait: values for trait in index.traits})


def main() -> None:
    """Draw, build, describe, compare, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for name in ("make", "score"):
        part = parts.add_parser(name)
        part.add_argument("folder", type=Path)
        part.add_argument("--seed", type=int, default=0)
        part.add_argument("--species", type=int, default=3, choices=(1, 2, 3))
        if name == "score":
            part.add_argument("--masks", nargs="+", choices=("found", "true"), default=["found", "true"])
    part.add_argument("--embedder", action="append", default=[], help="another, to compare with the index's")
    part = parts.add_parser("swap")
    part.add_argument("index", type=Path)
    part.add_argument("--relevant-by", required=True)
    part.add_argument("--sample", type=int, default=60)
    part.add_argument("--seed", type=int, default=0)
    part.add_argument("--embedder", action="append", default=[], help="another, to compare with the index's")
    part.add_argument("--pictures", type=Path, help="folder for the changed photographs, to look at")
    options = parser.parse_args()
    if options.part == "make":
        print(make_crossed(options.folder, seed=options.seed, species=options.species))
    elif options.part == "score":
        score_collection(options.folder, options.seed, options.species, options.embedder, options.masks)
    else:
        swap_backgrounds(
            options.index, options.relevant_by, options.sample, options.seed, options.pictures, options.embedder
        )


if __name__ == "__main__":
    main()
