"""Distance matrices as CSV, PHYLIP and NEXUS; means of groups as continuous characters in NEXUS or CSV."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sst_retrieval.describe.measure import MEASUREMENTS
from sst_retrieval.errors import InputError, QueryError
from sst_retrieval.export.file_provenance import combine_predicate, file_provenance, provenance_line, write_provenance
from sst_retrieval.files import write_text
from sst_retrieval.index.duck import column_namer
from sst_retrieval.morphology import trees
from sst_retrieval.morphology.distances import DistanceMatrix
from sst_retrieval.morphology.scales import IN_MILLIMETRES, Scale
from sst_retrieval.morphology.selection import counting_units, to_label_frame
from sst_retrieval.search.index import Index

NO_CHARACTERS = ("centroid_x", "centroid_y", "orientation")
"""Measurements that say where and how a specimen lay, not what it is like."""

_MILLIMETRES = tuple(name for name, _ in IN_MILLIMETRES.values())

_UNIT = "sst:unit"
"""Column of what counts once in the mean of a group."""


def export_distances(
    index: Index,
    path: Path,
    *,
    trait: str,
    by: str | None = None,
    between: str = "mean",
    where: str | None = None,
    min_confidence: float = 0.0,
    weights: Mapping[str, float] | None = None,
) -> DistanceMatrix:
    """Write a distance matrix.

    Args:
        index: what to export.
        path: a .csv, .phy (PHYLIP, square, names of any length) or .nex (NEXUS) file. CSV keeps the names as they are;
            in the other two, spaces and signs that mean something there become underscores.
        trait: its name.
        by: column whose values are compared; None compares specimens.
        between: how groups are compared, see `Index.distances`.
        weights: what counts how much, see `Index.distances`.
        where: predicate, see `Index.search`.
        min_confidence: leave out masks less sure than this, 0..1.

    Returns:
        The matrix.

    Raises:
        InputError: the file is of another kind, or two names become the same.
    """
    matrix = index.distances(
        trait, by=by, between=between, where=combine_predicate(where, min_confidence), weights=weights
    )
    provenance = file_provenance(
        index, f"distances: {matrix.about}", trait=trait, by=by, between=between if by else None, where=where,
        min_confidence=min_confidence, weights=None if weights is None else dict(weights),
    )  # fmt: skip
    suffix = path.suffix.lower()
    if suffix == ".csv":
        text = str(matrix.pandas().to_csv(index_label="label"))
    elif suffix == ".phy":
        names = plain_names(matrix.labels)
        rows = [f"{name} " + " ".join(map(_number, row)) for name, row in zip(names, matrix.values, strict=True)]
        text = "\n".join([str(len(names)), *rows]) + "\n"
    elif suffix in (".nex", ".nexus"):
        names = plain_names(matrix.labels)
        rows = [f"    {name} " + " ".join(map(_number, row)) for name, row in zip(names, matrix.values, strict=True)]
        fields = ["  FORMAT TRIANGLE=BOTH DIAGONAL LABELS=LEFT;", "  MATRIX", *rows, "  ;"]
        text = _nexus(names, "DISTANCES", fields, provenance_line(provenance))
    else:
        raise InputError(f"{path.name}: distances are written as .csv, .phy or .nex; end the file's name so")
    _write(path, text, provenance)
    return matrix


def export_characters(
    index: Index,
    path: Path,
    *,
    by: str = "scientificName",
    traits: Sequence[str] | None = None,
    where: str | None = None,
    min_confidence: float = 0.0,
    scale: Scale | None = None,
    tree: Path | None = None,
) -> Any:
    """Write the mean of every measurement in every group: continuous characters.

    The mean of a group is over its specimens: one with several photographs counts once, with the mean of these; where
    photographs may show several individuals, each of them counts. Where the scale is known, areas and lengths are in
    millimetres alone. Where a specimen lay (`NO_CHARACTERS`) is no character.

    Args:
        index: what to export.
        path: a .nex file, or a .csv for R. In NEXUS, names are spelt as in the tree, or else with underscores.
        by: the column whose values are the groups.
        traits: which; None takes all.
        where: predicate, see `Index.search`.
        min_confidence: leave out masks less sure than this, 0..1.
        scale: group of the build -> millimetres a pixel.
        tree: only groups that are tips of this tree, spelt as there; the others are listed in a warning.

    Returns:
        The characters as a pandas data frame, one row a group; columns TRAIT.MEASUREMENT and TRAIT.specimens.

    Raises:
        InputError: the file is of another kind, two names become the same, or no name is in the tree.
    """
    table = index.trait_table(traits, where=combine_predicate(where, min_confidence), scale=scale)
    if by not in table.columns:
        raise QueryError(
            f"the index has no column {by!r} that says the groups; name one with --by (by= in Python): "
            f"{', '.join(table.columns)}"
        )
    rows = to_label_frame(table.arrow())
    if not index.catalog.plain:  # Individuals of a tray count each; photographs of one specimen count together.
        rows = rows.assign(**{_UNIT: counting_units(rows)})
    found = _means(rows, by, column_namer(index.columns))
    if tree is None:
        found.index = pd.Index(plain_names(list(found.index)), name=by)
    else:
        matched = trees.match_tips_and_warn(list(found.index), trees.read_tree(tree))
        found = found.loc[list(matched.tips)]
        found.index = pd.Index(plain_names(list(matched.tips.values())), name=by)
    provenance = file_provenance(
        index, f"means of each {by}", by=by, traits=traits, where=where, min_confidence=min_confidence,
        mm_per_pixel=scale or None, tree=None if tree is None else str(tree),
    )  # fmt: skip
    if path.suffix.lower() == ".csv":
        text = str(found.to_csv())
    elif path.suffix.lower() in (".nex", ".nexus"):
        labels = [f"    {place} {name}," for place, name in enumerate(map(trees.newick_name, found.columns), start=1)]
        rows = [
            f"    {name} " + " ".join(map(_number, row))
            for name, row in zip(found.index, found.to_numpy(), strict=True)
        ]
        fields = [f"  DIMENSIONS NCHAR={found.shape[1]};", "  FORMAT DATATYPE=CONTINUOUS MISSING=? GAP=-;"]
        fields += ["  CHARSTATELABELS", *labels[:-1], labels[-1].rstrip(",") + ";", "  MATRIX", *rows, "  ;"]
        text = _nexus(list(found.index), "CHARACTERS", fields, provenance_line(provenance))
    else:
        raise InputError(f"{path.name}: characters are written as .nex or .csv; end the file's name so")
    _write(path, text, provenance)
    return found


def plain_names(names: Sequence[str]) -> list[str]:
    """Spell names so that every program reads them.

    Raises:
        InputError: two become the same.
    """
    spelt = [trees.newick_name(name) for name in names]
    twice = [name for name, plain in zip(names, spelt, strict=True) if spelt.count(plain) > 1]
    if twice:
        raise InputError(
            f"spelt without spaces and special signs, these names are the same: {', '.join(twice)}; rename one"
        )
    return spelt


def _means(table: Any, by: str, name_of: Callable[[str], str]) -> Any:
    """Average measurements by group: one row a group, columns TRAIT.MEASUREMENT; rows of one `_UNIT` count once."""
    known = {name for name in (*MEASUREMENTS, *_MILLIMETRES) if name_of(name) in table.columns}
    replaced = {pixels for pixels, (name, _) in IN_MILLIMETRES.items() if name in known}
    measured = [name for name in (*MEASUREMENTS, *_MILLIMETRES) if name in known - {*NO_CHARACTERS, *replaced}]
    filled = table[table[by].notna() & (table[by].astype(str) != "")]
    if filled.empty:
        raise QueryError(f"no specimen has a value in {by!r}; choose another column")
    filled = filled.assign(**{by: filled[by].astype(str)})
    parts = {}
    for trait, rows in filled.groupby("trait", sort=False):
        if _UNIT in rows.columns:
            rows = rows.groupby([by, _UNIT], as_index=False)[[name_of(name) for name in measured]].mean()
        groups = rows.groupby(by)
        for name in measured:
            parts[f"{trait}.{name}"] = groups[name_of(name)].mean()
        parts[f"{trait}.specimens"] = groups.size().astype(float)
    return pd.DataFrame(parts).sort_index()


def _nexus(names: Sequence[str], block: str, fields: Sequence[str], comment: str) -> str:
    taxa = ["BEGIN TAXA;", f"  DIMENSIONS NTAX={len(names)};", f"  TAXLABELS {' '.join(names)};", "END;"]
    return "\n".join(["#NEXUS", f"[{comment}]", *taxa, f"BEGIN {block};", *fields, "END;", ""])


def _number(value: float) -> str:
    return "?" if math.isnan(value) else f"{value:.9g}"


def _write(path: Path, text: str, provenance: Mapping[str, Any]) -> None:
    write_text(path, text)
    write_provenance(path, provenance)
