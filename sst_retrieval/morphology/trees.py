"""Phylogenies: read by DendroPy, matched with the names of a collection, measured along their branches."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sst_retrieval.errors import InputError
from sst_retrieval.morphology.libraries import required
from sst_retrieval.types import Doubles


@dataclass(frozen=True, slots=True)
class TipMatch:
    """Names of a collection matched with the tips of a tree.

    Attributes:
        tips: name in the collection -> tip of the tree, in the collection's order.
        not_in_tree: names of the collection that no tip has.
        not_in_collection: tips that no name of the collection has.
    """

    tips: dict[str, str]
    not_in_tree: tuple[str, ...]
    not_in_collection: tuple[str, ...]

    def report(self) -> str:
        """List what does not match; "" if everything does."""
        lines = [
            f"{len(names)} {where}: {', '.join(names)}"
            for where, names in (
                ("in the collection and not in the tree", self.not_in_tree),
                ("in the tree and not in the collection", self.not_in_collection),
            )
            if names
        ]
        return "; ".join(lines)


def read_tree(path: str | Path) -> Any:
    """Read a phylogeny.

    Args:
        path: a Newick or NEXUS file; of several trees the first is taken. Underscores in names stay as they are.

    Returns:
        A `dendropy.Tree`.

    Raises:
        InputError: the file cannot be read, holds no tree, or two tips have the same name.
        SSTError: DendroPy is not installed.
    """
    dendropy = required("dendropy")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the tree {path} cannot be read ({error})") from error
    kind = "nexus" if text.lstrip()[:6].lower() == "#nexus" else "newick"
    try:
        trees = dendropy.TreeList.get(
            data=text, schema=kind, preserve_underscores=True, suppress_internal_node_taxa=True
        )
    except Exception as error:  # DendroPy's readers raise errors of many unrelated classes.
        raise InputError(f"{path} is no {kind} tree that can be read ({error})") from error
    if not trees or len(tip_names(trees[0])) < 2:
        raise InputError(f"{path} holds no tree of two tips or more")
    names = [_plain(tip) for tip in tip_names(trees[0])]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path}: these tips occur more than once: {', '.join(twice)}; keep one of each")
    return trees[0]


def tip_names(tree: Any) -> list[str]:
    """Return the names of a tree's tips, in the tree's order."""
    return [leaf.taxon.label for leaf in tree.leaf_node_iter() if leaf.taxon is not None]


def match_tips(names: Iterable[str], tree: Any) -> TipMatch:
    """Match names with the tips of a tree; spaces and underscores are the same.

    Args:
        names: of species, say, as the collection has them.
        tree: from `read_tree`.
    """
    by_name = {_plain(tip): tip for tip in tip_names(tree)}
    wanted = list(dict.fromkeys(names))
    found = {name: by_name[_plain(name)] for name in wanted if _plain(name) in by_name}
    used = set(found.values())
    missing = tuple(name for name in wanted if name not in found)
    return TipMatch(found, missing, tuple(tip for tip in tip_names(tree) if tip not in used))


def match_tips_and_warn(names: Iterable[str], tree: Any) -> TipMatch:
    """Do as `match_tips`, and warn of every name that does not match: none is left out in silence.

    Raises:
        InputError: fewer than two names match.
    """
    found = match_tips(names, tree)
    if len(found.tips) < 2:
        raise InputError(f"fewer than two names are in the tree; {found.report()}")
    if found.report():
        warnings.warn(f"left out, names that do not match: {found.report()}", UserWarning, stacklevel=3)
    return found


def branch_distances(tree: Any, names: Sequence[str]) -> tuple[Doubles, str]:
    """Measure the way from tip to tip.

    Args:
        tree: from `read_tree`.
        names: N tips, as they are spelt in the tree.

    Returns:
        float64 (N, N), sums of branch lengths (patristic distances); or, if a branch has no length, numbers of
        branches. And which of the two it is, in words.
    """
    matrix = tree.phylogenetic_distance_matrix()
    taxa = {leaf.taxon.label: leaf.taxon for leaf in tree.leaf_node_iter() if leaf.taxon is not None}
    edges = [edge.length for edge in tree.preorder_edge_iter() if edge.tail_node is not None]
    counted = any(length is None for length in edges)
    measure = matrix.path_edge_count if counted else matrix.patristic_distance
    values = np.zeros((len(names), len(names)))
    for i, one in enumerate(names):
        for j in range(i):
            values[i, j] = values[j, i] = float(measure(taxa[one], taxa[names[j]]))
    return values, "number of branches (not all have lengths)" if counted else "sum of branch lengths"


def newick_name(name: str) -> str:
    """Spell a name so that every program reads it: no spaces, no signs that mean something in Newick or NEXUS.

    >>> newick_name("Heliconius erato (L.)")
    'Heliconius_erato_L'
    """
    return re.sub(r"[^\w.+-]+", "_", name).strip("_").rstrip(".") or "unnamed"


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name).strip().strip("'\"")
