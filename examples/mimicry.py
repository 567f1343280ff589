"""Find mimics: a worked example of comparative morphology, explained step by step in docs/mimicry.md.

    python examples/mimicry.py                     # on a synthetic drawer with known mimics
    python examples/mimicry.py --index indexes/heliconius --by infraspecificEpithet --apart scientificName

1. Open an index (or make the synthetic drawer and build one; a few minutes).
2. Rank the pairs of species (or subspecies of different species) by how alike their wing bands are.
3. Draw the morphospace, the pairs, and write the trait table and the distances.

On the synthetic drawer the four pairs that were drawn as mimics must rank first; the script fails if they do not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import sst_retrieval as sst


def main() -> None:
    """Run the example."""
    options = read_arguments()
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    folder = options.index or build_drawer(output / "drawer", options.specimens)
    with sst.open_index(folder) as index:
        weights = dict.fromkeys(options.blocks.split(","), 1.0)
        pairs = index.convergence(
            options.trait, by=options.by, apart=options.apart, where=options.where, weights=weights
        )
        print(f"{pairs.about}\n")
        for rank, pair in enumerate(pairs.table.itertuples(index=False), start=1):
            known = f"   {describe_ring(index, options, pair.one, pair.other)}" if options.index is None else ""
            print(f"{rank:3}  {pair.trait_distance:.3f}  {pair.one} / {pair.other}{known}")
        space = index.morphospace(options.trait, where=options.where, weights=weights)
        space.plot(colour=options.by).savefig(output / "morphospace.png", dpi=130)
        distances = index.distances(options.trait, by=options.by, where=options.where, weights=weights)
        draw_matrix(distances.labels, distances.values).savefig(output / "distances.png", dpi=130, bbox_inches="tight")
        sst.export_table(index, output / "traits.csv", traits=[options.trait], where=options.where)
        sst.export_distances(index, output / "distances.nex", trait=options.trait, by=options.by, weights=weights)
        print(f"\nLook at {output / 'morphospace.png'} and {output / 'distances.png'}.")
        if options.index is None:
            check_mimics_first(index, options, [(pair.one, pair.other) for pair in pairs.table.itertuples(index=False)])


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, help="index to use; default: build one of a synthetic drawer")
    parser.add_argument("--trait", default="forewing_band")
    parser.add_argument("--by", default="scientificName", help="column whose values are compared")
    parser.add_argument("--apart", help="column in which the two of a pair must differ")
    parser.add_argument("--where", help="condition on the table's columns, such as: confidence > 0.5")
    parser.add_argument(
        "--blocks", default="pattern,colour,shape", help="blocks of the vectors to compare, separated by commas"
    )
    parser.add_argument("--specimens", type=int, default=45, help="number of specimens of the synthetic drawer")
    parser.add_argument("--output", type=Path, default=Path("mimicry"))
    return parser.parse_args()


def build_drawer(folder: Path, specimens: int) -> Path:
    """Make the synthetic drawer and its index; an existing index is updated."""
    table = sst.make_drawer(folder, specimens=specimens)
    print(sst.build_index(table, folder / "supports", folder / "index").text(), end="\n\n")
    return folder / "index"


def read_rings(index: sst.Index) -> dict[str, str]:
    """Read the mimicry ring of each species: species -> ring, "" if none."""
    return {
        str(each.metadata["scientificName"]): str(each.metadata["mimicryRing"] or "") for each in index.individuals()
    }


def describe_ring(index: sst.Index, options: argparse.Namespace, one: str, other: str) -> str:
    """Describe the ring of a pair that was drawn as mimics; "" for other pairs."""
    ring = read_rings(index)
    return f"drawn as mimics ({ring[one]})" if ring[one] and ring[one] == ring[other] else ""


def check_mimics_first(index: sst.Index, options: argparse.Namespace, pairs: list[tuple[str, str]]) -> None:
    """Check that the pairs that were drawn as mimics rank first.

    Raises:
        SystemExit: they do not.
    """
    ring = read_rings(index)
    expected = [bool(ring[one]) and ring[one] == ring[other] for one, other in pairs]
    first = expected[: sum(expected)]
    if not all(first):
        raise SystemExit(f"only {sum(first)} of the {sum(expected)} pairs drawn as mimics come first")
    print(f"All {sum(expected)} pairs that were drawn as mimics come first.")


def draw_matrix(labels: tuple[str, ...], values: np.ndarray) -> Figure:
    """Draw a distance matrix as a heat map with numbers."""
    size = 3 + 0.45 * len(labels)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(values, cmap="viridis_r")
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right", style="italic")
    axes.set_yticks(range(len(labels)), labels, style="italic")
    for row, column in np.ndindex(values.shape):
        dark = values[row, column] > 0.6 * values.max()
        axes.text(
            column, row, f"{values[row, column]:.2f}", ha="center", va="center", fontsize=7, color="w" if dark else "k"
        )
    figure.colorbar(picture, label="distance (0 = not told apart)", shrink=0.7)
    return figure


if __name__ == "__main__":
    main()
