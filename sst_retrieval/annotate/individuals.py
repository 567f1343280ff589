"""From what was drawn on a photograph of many to one annotated individual each.

1. A picture of individuals (`formats.instance_pictures`) says which pixels are whose.
2. Shapes that the file gives to an individual (`formats.shapes.find_individual`) are put together by that.
3. Of the rest: if one trait is drawn, each shape is an individual, as COCO means it. If one trait holds the others (the
   whole animal beside its parts), its shapes are the individuals, and parts belong to the one that holds most of them.
   Else parts that touch or nearly touch belong together. Where at least two such pieces have most of the traits, they
   are the individuals, and what is left goes to the nearest; else all is one: wings cut apart, a leg by itself.
4. A label picture has no shapes: its connected pieces are taken, those of one trait each by itself.

Two animals that touch, drawn without 1 and 2, are one individual; a note says how many there are, to be checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco
from scipy import ndimage
from scipy.spatial import cKDTree

from sst_retrieval.annotate.formats.contract import DrawnShape, ImageAnnotation
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.reading_order import sort_in_reading_order
from sst_retrieval.types import Box, Mask

NEAR = 0.15
"""Parts of one individual are at most so far apart, in sizes (square roots of the area) of the smaller one."""

NEAR_PIXELS = 3.0
"""The same in pixels, where parts are small."""

SCRAP = 0.1
"""Pieces of less than this share of the largest individual's area are no individuals of their own."""

COMPLETE = 0.6
"""Pieces with less than this share of the traits are no individuals of their own."""

WHOLE = 0.5
"""But those are that have this share of the usual area of the others: a part is missing, or lies apart."""

HOLDS = 0.9
"""A trait stands for the whole animal if it holds this share of the area of all others."""

_EIGHT = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True, slots=True)
class DrawnIndividual:
    """One individual that was drawn.

    Attributes:
        rles: trait -> mask as compressed COCO run-length counts, none of them empty.
        outline: mask of the whole animal, where one was drawn; else None.
        box: around all of it, (x0, y0, x1, y1) in pixels, half-open.
    """

    rles: Mapping[str, bytes]
    outline: bytes | None
    box: Box


def separate_individuals(annotation: ImageAnnotation, notes: list[str]) -> list[DrawnIndividual]:
    """Separate the individuals of an annotated photograph.

    Args:
        annotation: of a photograph that may show several; not without traits.
        notes: gets what was left out, and how the individuals were told apart where nothing says it.

    Returns:
        In reading order.
    """
    if annotation.instances:
        found = _separate_by_picture(annotation, notes)
    elif annotation.shapes:
        found = _separate_shapes(annotation, notes)
    else:
        found = _separate_pieces(annotation, notes)
    order = sort_in_reading_order([each.box for each in found])
    return [found[place] for place in order]


def count_named(annotation: ImageAnnotation) -> int:
    """Count the individuals that a file names, if at least two of them have the same trait; else 0."""
    shapes = annotation.shapes
    drawn = {(each.trait, name) for each, name in zip(shapes, _read_names(shapes), strict=True) if name is not None}
    repeated = len({trait for trait, _ in drawn}) < len(drawn)
    return len({name for _, name in drawn}) if repeated else 0


# ------------------------------------------------------------------------------------------------------- by picture


def _separate_by_picture(annotation: ImageAnnotation, notes: list[str]) -> list[DrawnIndividual]:
    size = annotation.size
    drawn = {trait: masks.decode(rle, size) for trait, rle in annotation.rles.items()}
    covered = np.zeros(size, dtype=bool)
    found, empty = [], 0
    for rle in annotation.instances.values():
        whole = masks.decode(rle, size)
        covered |= whole
        x0, y0, x1, y1 = box = masks.box(whole)
        window = (slice(y0, y1), slice(x0, x1))
        parts = {}
        for trait, mask in drawn.items():
            inside = mask[window] & whole[window]
            if inside.any():
                parts[trait] = masks.encode_part(inside, (x0, y0), size)
        if parts:
            found.append(DrawnIndividual(parts, rle, box))
        else:
            empty += 1
    if empty:
        notes.append(f"left out: {empty} individuals of {annotation.source} on which no trait is drawn")
    outside = sum(masks.area(mask & ~covered) for mask in drawn.values())
    if outside > 0.01 * sum(map(masks.area, drawn.values())):
        notes.append(f"left out: {outside:,} pixels of traits in {annotation.source} that lie on no individual")
    return found


# -------------------------------------------------------------------------------------------------------- by shapes


def _read_names(shapes: Sequence[DrawnShape]) -> list[str | None]:
    """Return whose each shape is; None for all if the numbers are none of individuals.

    Programs without individuals write the same 0 everywhere, or number the shapes, parts of one animal, too.
    """
    named = [each.individual for each in shapes]
    only_shapes = len({each.trait for each in shapes}) > 1 and len(set(named)) == len(named) > 1
    return [None] * len(named) if only_shapes or set(named) <= {"0", None} else named


def _separate_shapes(annotation: ImageAnnotation, notes: list[str]) -> list[DrawnIndividual]:
    shapes, size = annotation.shapes, annotation.size
    names = _read_names(shapes)
    members: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        if name is not None:
            members.setdefault(name, []).append(place)
    rest = [place for place, name in enumerate(names) if name is None]
    groups = list(members.values())
    whole = _find_whole(shapes, size)
    if rest:
        unnamed, how = _group_shapes([shapes[place] for place in rest], size, whole)
        stray = _find_stray([shapes[place] for place in rest], size, whole)
        if stray:
            traits = ", ".join(sorted({each.trait for each in stray}))
            notes.append(
                f"{traits} of {annotation.source}: {len(stray)} of its shapes lie on no {whole!r}; each was given to "
                f"the nearest; if it belongs to another individual, draw that one, too"
            )
        groups += [[rest[place] for place in group] for group in unnamed]
        if how and len(unnamed) > 1:
            notes.append(_explain_guess(annotation, len(unnamed), how))
    return [_join([shapes[place] for place in group], size, whole) for group in groups]


def _find_whole(shapes: Sequence[DrawnShape], size: tuple[int, int]) -> str | None:
    """Find the trait that stands for the whole animal: it holds nearly all of the others; None if there is none."""
    traits = sorted({each.trait for each in shapes})
    union = {trait: _merge([each.rle for each in shapes if each.trait == trait], size) for trait in traits}
    area = {trait: int(coco.area(_rle(rle, size))) for trait, rle in union.items()}
    for trait in sorted(traits, key=lambda trait: -area[trait]):
        others = [union[other] for other in traits if other != trait]
        if not others:
            return None
        rest = _merge(others, size)
        held = float(coco.iou([_rle(rest, size)], [_rle(union[trait], size)], [1])[0, 0])
        if held >= HOLDS and area[trait] > int(coco.area(_rle(rest, size))):
            return trait
    return None


def _group_shapes(
    shapes: Sequence[DrawnShape], size: tuple[int, int], whole: str | None
) -> tuple[list[list[int]], str]:
    """Group shapes that the file gives to nobody; returns the groups, and how if it is not certain."""
    if len({each.trait for each in shapes}) == 1:
        return [[place] for place in range(len(shapes))], ""
    owners = [place for place, each in enumerate(shapes) if each.trait == whole]
    if owners:
        groups = {place: [place] for place in owners}
        for place, each in enumerate(shapes):
            if each.trait != whole:
                held = _share_held(each, [shapes[owner] for owner in owners], size)
                nearest = np.argmax(held) if held.any() else np.argmin([_gap(each, shapes[o], size) for o in owners])
                groups[owners[int(nearest)]].append(place)
        return list(groups.values()), f"each {whole!r} with the parts on it"
    pieces = [_Piece.of_mask(masks.decode(each.rle, size), each.trait) for each in shapes]
    return _cluster(pieces, NEAR), "parts that touch or nearly touch"


def _find_stray(shapes: Sequence[DrawnShape], size: tuple[int, int], whole: str | None) -> list[DrawnShape]:
    """Find parts that lie on no whole animal, though whole animals are drawn."""
    owners = [each for each in shapes if each.trait == whole]
    parts = [each for each in shapes if each.trait != whole] if owners else []
    return [each for each in parts if not _share_held(each, owners, size).any()]


def _share_held(part: DrawnShape, owners: Sequence[DrawnShape], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return which share of a part each of the whole animals holds."""
    held = coco.iou([_rle(part.rle, size)], [_rle(owner.rle, size) for owner in owners], [1] * len(owners))
    return np.asarray(held[0], dtype=np.float64)


def _gap(part: DrawnShape, owner: DrawnShape, size: tuple[int, int]) -> float:
    """Return how far the boxes of two shapes are apart, in pixels."""
    boxes = [coco.toBbox(_rle(each.rle, size)) for each in (part, owner)]
    starts = np.array([box[:2] for box in boxes])
    ends = np.array([box[:2] + box[2:] for box in boxes])
    return float(np.hypot(*np.maximum(starts.max(axis=0) - ends.min(axis=0), 0)))


def _join(shapes: Sequence[DrawnShape], size: tuple[int, int], whole: str | None) -> DrawnIndividual:
    rles = {
        trait: _merge([each.rle for each in shapes if each.trait == trait], size)
        for trait in dict.fromkeys(each.trait for each in shapes)
    }
    outline = rles.get(whole) if whole is not None else None
    x, y, width, height = coco.toBbox(_rle(_merge(list(rles.values()), size), size))
    return DrawnIndividual(rles, outline, (int(x), int(y), int(x + width), int(y + height)))


def _rle(counts: bytes, size: tuple[int, int]) -> dict[str, object]:
    return {"size": list(size), "counts": counts}


def _merge(rles: Sequence[bytes], size: tuple[int, int]) -> bytes:
    merged: bytes = coco.merge([_rle(rle, size) for rle in rles])["counts"]
    return merged


# -------------------------------------------------------------------------------------------------------- by pieces


def _separate_pieces(annotation: ImageAnnotation, notes: list[str]) -> list[DrawnIndividual]:
    """Separate a label picture by its connected pieces."""
    size = annotation.size
    drawn = {trait: masks.decode(rle, size) for trait, rle in annotation.rles.items()}
    together: Mask = np.any(list(drawn.values()), axis=0)
    labels, _ = ndimage.label(together, _EIGHT)
    windows = ndimage.find_objects(labels)
    pieces = []
    for number, window in enumerate(windows, 1):
        crop = labels[window] == number
        traits = frozenset(trait for trait, mask in drawn.items() if (mask[window] & crop).any())
        pieces.append(_Piece.of_crop(crop, (window[1].start, window[0].start), traits))
    groups = _cluster(pieces, 0.0 if len(drawn) == 1 else NEAR)
    if len(groups) > 1:
        how = "separate pieces" if len(drawn) == 1 else "parts that touch or nearly touch"
        notes.append(_explain_guess(annotation, len(groups), how))
    found = []
    for group in groups:
        corners = np.array([pieces[place].box for place in group])
        x0, y0 = corners[:, :2].min(axis=0).tolist()
        x1, y1 = corners[:, 2:].max(axis=0).tolist()
        mine = np.isin(labels[y0:y1, x0:x1], [place + 1 for place in group])
        inside = {trait: mask[y0:y1, x0:x1] & mine for trait, mask in drawn.items()}
        rles = {trait: masks.encode_part(mask, (x0, y0), size) for trait, mask in inside.items() if mask.any()}
        found.append(DrawnIndividual(rles, None, (x0, y0, x1, y1)))
    return found


@dataclass(frozen=True, slots=True)
class _Piece:
    """A connected piece, or a shape.

    Attributes:
        area: in pixels.
        edge: float64 (N, 2), (y, x) of the pixels at its edge.
        box: around it.
        traits: names of the traits on it.
    """

    area: int
    edge: npt.NDArray[np.float64]
    box: Box
    traits: frozenset[str]

    @classmethod
    def of_mask(cls, mask: Mask, trait: str) -> _Piece:
        x0, y0, x1, y1 = masks.box(mask)
        return cls.of_crop(mask[y0:y1, x0:x1], (x0, y0), frozenset((trait,)))

    @classmethod
    def of_crop(cls, crop: Mask, corner: tuple[int, int], traits: frozenset[str]) -> _Piece:
        x0, y0 = corner
        edge = np.argwhere(crop & ~ndimage.binary_erosion(crop, _EIGHT)) + np.array([y0, x0])
        box = (x0, y0, x0 + crop.shape[1], y0 + crop.shape[0])
        return cls(masks.area(crop), edge.astype(np.float64), box, traits)


def _cluster(pieces: Sequence[_Piece], near: float) -> list[list[int]]:
    """Put pieces together that are near each other, then those that are no individuals to the nearest one.

    Args:
        pieces: of one photograph.
        near: how far apart pieces of one individual are at most, in sizes of the smaller; 0 joins none.

    Returns:
        Positions of the pieces of each individual, in the order of their first pieces.
    """
    trees = [cKDTree(piece.edge) for piece in pieces]
    groups = _join_near(pieces, trees, near) if near > 0 else [[place] for place in range(len(pieces))]
    area = [sum(pieces[place].area for place in group) for group in groups]
    traits = [frozenset().union(*(pieces[place].traits for place in group)) for group in groups]
    wanted = COMPLETE * len(frozenset().union(*traits))
    large = [
        position
        for position in range(len(groups))
        if area[position] >= SCRAP * max(area) and len(traits[position]) >= wanted
    ]
    if len(large) < 2:
        return [list(range(len(pieces)))]
    usual = float(np.median([area[position] for position in large]))
    large = [position for position in range(len(groups)) if position in large or area[position] >= WHOLE * usual]
    individuals = {position: list(groups[position]) for position in large}
    for position in set(range(len(groups))) - set(large):
        edge = np.concatenate([pieces[place].edge for place in groups[position]])
        nearest = min(large, key=lambda other: _distance(edge, [trees[place] for place in groups[other]]))
        individuals[nearest] += groups[position]
    return sorted((sorted(group) for group in individuals.values()), key=lambda group: group[0])


def _join_near(pieces: Sequence[_Piece], trees: Sequence[cKDTree], near: float) -> list[list[int]]:
    owner = list(range(len(pieces)))

    def find(place: int) -> int:
        while owner[place] != place:
            place = owner[place]
        return place

    for one in range(len(pieces)):
        for other in range(one):
            reach = max(NEAR_PIXELS, near * min(pieces[one].area, pieces[other].area) ** 0.5)
            if find(one) != find(other) and _box_gap(pieces[one].box, pieces[other].box) <= reach:
                gap, _ = trees[one].query(pieces[other].edge, distance_upper_bound=reach + 1)
                if gap.min() - 1 <= reach:
                    owner[find(one)] = find(other)
    groups: dict[int, list[int]] = {}
    for place in range(len(pieces)):
        groups.setdefault(find(place), []).append(place)
    return list(groups.values())


def _distance(edge: npt.NDArray[np.float64], trees: Iterable[cKDTree]) -> float:
    return min(float(tree.query(edge)[0].min()) for tree in trees)


def _box_gap(one: Box, other: Box) -> float:
    """Return how far apart two boxes are, in pixels; 0 if they meet."""
    across = max(one[0] - other[2], other[0] - one[2], 0)
    down = max(one[1] - other[3], other[1] - one[3], 0)
    return float(np.hypot(across, down))


def _explain_guess(annotation: ImageAnnotation, count: int, how: str) -> str:
    return (
        f"{annotation.source} draws {count} individuals on {annotation.names[0]}, told apart as {how}; if that is not "
        f"so, number them: shapes by an instance_id or group_id, label pictures by a picture of individuals "
        f"instances/{annotation.names[0]}.png"
    )
