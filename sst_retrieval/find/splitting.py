"""Split pieces of foreground into individuals: the support's trunk is laid on them, as often as they have room for it.

1. Thick places of the foreground are the seeds (maxima of the distance transform), and say how large an individual
   that lies there is.
2. On every seed the template is turned, mirrored, moved, sized and stretched until it covers foreground and is
   surrounded by background.
3. Of all poses those are chosen that together cover most foreground, little background and little of each other; one
   more individual must cover enough that is new (greedily, each exchanged for a better one once others are there).
4. What is left over, legs and outlines, goes to the individual that it hangs on, and if it hangs on none, to one that
   is near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from skimage.segmentation import watershed

from sst_retrieval.find.templates import GAP, Pose, Template, close_gaps, draw_template, find_trunk, place_points
from sst_retrieval.types import Doubles, Floats, Mask

ANGLES = 36
"""Turns that are tried on every seed."""

SIZES = (0.8, 1.0, 1.15)
"""Sizes that are tried on every seed, relative to its half-width."""

SHIFTS = (-0.5, 0.0, 0.5)
"""Moves along the template that are tried on every seed, in half-widths."""

SIZE_RANGE = (0.7, 1.3)
"""Least and largest size of a fitted template, relative to its seed's half-width."""

STRETCH_RANGE = (0.8, 1.25)
"""Least and largest stretch of a fitted template."""

POSES = 4
"""Turns that are followed on every seed."""

SELECTION_HALF_WIDTH = 10.0
"""Half-width, in pixels, of a usual individual where poses are chosen."""

SMALLEST_SEED = 0.3
"""Half-width of a seed, as a share of that of large ones, below which nothing begins."""

MOST_INDIVIDUALS = 500
"""On one photograph; of more seeds the thickest are taken."""

BACKGROUND_COST, OVERLAP_COST, INDIVIDUAL_COST = 1.5, 1.0, 0.3
"""What covered background, overlap, and one more individual cost, in shares of its area."""


@dataclass(frozen=True, slots=True)
class Split:
    """Foreground split into individuals.

    Attributes:
        labels: int32 (h, w), 0 for background, else 1 + the number of the individual.
        poses: one an individual.
        templates: which template fitted best, one an individual.
        fits: 0..1, IoU of each individual's trunk with the template laid on it.
    """

    labels: npt.NDArray[np.int32]
    poses: tuple[Pose, ...]
    templates: tuple[int, ...]
    fits: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    pose: Pose
    template: int


def split_foreground(foreground: Mask, templates: Sequence[Template]) -> Split:
    """Split foreground into individuals.

    Args:
        foreground: bool (h, w).
        templates: one an annotated individual, at least one.
    """
    half_width = measure_half_width(foreground)
    empty = Split(np.zeros(foreground.shape, np.int32), (), (), ())
    if half_width < 2:
        return empty
    closed = close_gaps(foreground, GAP * half_width)
    trunk = find_trunk(closed, 0.8 * half_width)
    gap = max([0.35, *(1.15 * each.gap + 0.1 for each in templates if each.gap > 0)])
    pieces, count = ndimage.label(close_gaps(trunk, gap * half_width))
    seeds = _find_seeds(trunk, half_width)
    chosen: list[_Candidate] = []
    for number, window in enumerate(ndimage.find_objects(pieces), 1):
        inside = [seed for seed in seeds if pieces[int(seed[1]), int(seed[0])] == number]
        if not inside or count == 0:
            continue
        rim = round(half_width)
        y0, x0 = max(0, window[0].start - rim), max(0, window[1].start - rim)
        part = (slice(y0, window[0].stop + rim), slice(x0, window[1].stop + rim))
        piece = trunk[part] & (pieces[part] == number)
        local = [(x - x0, y - y0, size) for x, y, size in inside]
        found = _choose(piece, _fit(piece, local, templates), templates, half_width)
        chosen += [
            _Candidate(each.pose._replace(x=each.pose.x + x0, y=each.pose.y + y0), each.template) for each in found
        ]
    if not chosen:
        return empty
    return _assign(foreground, closed, trunk, chosen, templates, half_width)


def fit_template(mask: Mask, template: Template) -> tuple[Pose, float]:
    """Lay a template on one individual, wherever it fits best.

    Args:
        mask: bool (h, w), the individual, not empty.
        template: the shape.

    Returns:
        Where, and IoU of the individual's trunk with it.
    """
    half_width = float(ndimage.distance_transform_edt(np.pad(mask, 1)).max())
    trunk = find_trunk(close_gaps(mask, GAP * half_width), 0.8 * half_width)
    depth = ndimage.distance_transform_edt(np.pad(trunk, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    padded = np.pad(trunk, 1).astype(np.float32)

    def rate(pose: Pose) -> float:
        window, drawn = draw_template(template, pose, mask.shape[:2])
        shared = int((trunk[window] & drawn).sum())
        return shared / max(1, int(trunk.sum()) + int(drawn.sum()) - shared)

    poses = _fit_seed(padded, template, float(x), float(y), float(depth.max()))
    rates = [rate(pose) for pose in poses]
    best = int(np.argmax(rates))
    return poses[best], rates[best]


def measure_half_width(foreground: Mask) -> float:
    """Estimate the half-width of an individual: the median over pieces, the larger ones, of their thickest place."""
    depth = ndimage.distance_transform_edt(foreground)
    pieces, count = ndimage.label(foreground)
    if not count:
        return 0.0
    thickest = np.asarray(ndimage.maximum(depth, pieces, range(1, count + 1)))
    return float(np.median(thickest[thickest >= 0.4 * thickest.max()]))


def _find_seeds(trunk: Mask, half_width: float) -> list[tuple[float, float, float]]:
    """Find the thick places: (x, y, half-width) in pixels."""
    depth = ndimage.distance_transform_edt(np.pad(trunk, 1))[1:-1, 1:-1]
    smooth = ndimage.gaussian_filter(depth, 0.06 * half_width)
    width = 2 * round(0.3 * half_width) + 1
    peaks = (ndimage.maximum_filter(smooth, size=width) == smooth) & (depth > SMALLEST_SEED * half_width)
    labelled, count = ndimage.label(peaks, np.ones((3, 3)))
    middles = ndimage.center_of_mass(peaks, labelled, range(1, count + 1))
    places = [(min(round(y), trunk.shape[0] - 1), min(round(x), trunk.shape[1] - 1)) for y, x in middles]
    seeds = [(float(x), float(y), float(depth[y, x])) for y, x in places if trunk[y, x]]
    return sorted(seeds, key=lambda seed: -seed[2])[: 2 * MOST_INDIVIDUALS]


def _fit(piece: Mask, seeds: Sequence[tuple[float, float, float]], templates: Sequence[Template]) -> list[_Candidate]:
    """Lay the templates on every seed of a piece, at the turns that fit best."""
    padded = np.pad(piece, 1).astype(np.float32)
    return [
        _Candidate(pose, number)
        for x, y, size in seeds
        for number, template in enumerate(templates)
        for pose in _fit_seed(padded, template, x, y, size)
    ]


def _fit_seed(padded: Floats, template: Template, x: float, y: float, size: float) -> list[Pose]:
    turns = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    # A long body is about equally thick over a good part of its length: the template may lie before or behind.
    grid = np.array(
        [
            (x + shift * size * np.cos(turn), y + shift * size * np.sin(turn), turn, size * factor, 1.0, mirror)
            for turn in turns
            for shift in SHIFTS
            for factor in SIZES
            for mirror in (1.0, -1.0)
        ]
    )
    values = _rate(padded, template, grid)
    kept: list[Doubles] = []
    for place in np.argsort(-values, kind="stable"):
        pose = grid[place]
        if all(abs(np.angle(np.exp(1j * (pose[2] - other[2])))) > 0.6 for other in kept):
            kept.append(pose)
        if len(kept) == POSES:
            break
    return [Pose(*_refine(padded, template, pose, size).tolist()) for pose in kept]


def _refine(padded: Floats, template: Template, pose: Doubles, size: float) -> Doubles:
    """Improve a pose step by step, one of its numbers at a time."""
    best, value = pose, _rate(padded, template, pose[None])[0]
    steps = np.array([0.3 * size, 0.3 * size, 0.15, 0.1 * size, 0.08])
    for _ in range(7):
        tries = np.repeat(best[None], 10, axis=0)
        tries[np.arange(10), np.repeat(np.arange(5), 2)] += np.repeat(steps, 2) * np.tile([1, -1], 5)
        tries[:, 3] = np.clip(tries[:, 3], SIZE_RANGE[0] * size, SIZE_RANGE[1] * size)
        tries[:, 4] = np.clip(tries[:, 4], *STRETCH_RANGE)
        values = _rate(padded, template, tries)
        place = int(values.argmax())
        if values[place] > value + 1e-4:
            best, value = tries[place], values[place]
        else:
            steps = steps / 2
    return best


def _rate(padded: Floats, template: Template, poses: Doubles) -> Doubles:
    """Rate poses: the foreground inside the template, less a third of that around it."""
    inside = _sample(padded, place_points(template.inside, poses)).mean(axis=1)
    around = _sample(padded, place_points(template.around, poses)).mean(axis=1)
    # The larger of two that fit alike covers more.
    rated: Doubles = inside - 0.35 * around + 0.1 * np.log(poses[:, 3] ** 2 * poses[:, 4] / poses[:, 3].max() ** 2)
    return rated


def _sample(padded: Floats, points: Doubles) -> Floats:
    columns = np.clip(np.rint(points[..., 0]).astype(np.int64), -1, padded.shape[1] - 2) + 1
    rows = np.clip(np.rint(points[..., 1]).astype(np.int64), -1, padded.shape[0] - 2) + 1
    sampled: Floats = padded[rows, columns]
    return sampled


def _choose(
    piece: Mask, candidates: Sequence[_Candidate], templates: Sequence[Template], half_width: float
) -> list[_Candidate]:
    """Choose the poses that explain a piece together."""
    factor = min(1.0, SELECTION_HALF_WIDTH / half_width)
    height, width = (max(1, round(length * factor)) for length in piece.shape)
    soft = Image.fromarray(piece.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BOX)
    small = np.asarray(soft) > 127
    drawn = [draw_template(templates[each.template], _scale(each.pose, factor), (height, width)) for each in candidates]
    cover = np.zeros(small.shape, np.int16)
    # A head alone must not be cheaper than the animal that it belongs to.
    least = INDIVIDUAL_COST * 0.5 * min(each.area for each in templates) * (half_width * factor) ** 2

    def gain(number: int) -> float:
        window, mask = drawn[number]
        area = int(mask.sum())
        if not area:
            return 0.0
        inside, covered = small[window] & mask, cover[window] > 0
        new, overlap = int((inside & ~covered).sum()), int((mask & covered).sum())
        cost = BACKGROUND_COST * (area - int(inside.sum())) + OVERLAP_COST * overlap
        return new - cost - max(INDIVIDUAL_COST * area, least)

    near = [_list_neighbours(window, [other for other, _ in drawn]) for window, _ in drawn]
    gains = np.array([gain(number) for number in range(len(candidates))])
    chosen: list[int] = []

    def change(number: int, by: int) -> None:
        window, mask = drawn[number]
        cover[window] += (mask * by).astype(np.int16)
        if by > 0:
            chosen.append(number)
        else:
            chosen.remove(number)
        for other in near[number]:
            gains[other] = gain(other)

    def best_left() -> int | None:
        left = gains.copy()
        left[chosen] = -np.inf
        place = int(left.argmax())
        return place if left[place] > 0 else None

    while (best := best_left()) is not None:
        change(best, 1)
        for earlier in list(chosen):
            change(earlier, -1)
            better = best_left()
            if better is not None:
                change(better, 1)
        if len(chosen) > MOST_INDIVIDUALS:  # Two that replace each other for ever would be a fault of the costs.
            break
    return [candidates[number] for number in sorted(chosen)]


def _list_neighbours(window: tuple[slice, slice], others: Sequence[tuple[slice, slice]]) -> list[int]:
    """List the windows that share a pixel with a window."""
    rows, columns = window
    return [
        number
        for number, (other_rows, other_columns) in enumerate(others)
        if rows.start < other_rows.stop
        and other_rows.start < rows.stop
        and columns.start < other_columns.stop
        and other_columns.start < columns.stop
    ]


def _scale(pose: Pose, factor: float) -> Pose:
    return pose._replace(x=(pose.x + 0.5) * factor - 0.5, y=(pose.y + 0.5) * factor - 0.5, size=pose.size * factor)


def _assign(
    foreground: Mask,
    closed: Mask,
    trunk: Mask,
    chosen: Sequence[_Candidate],
    templates: Sequence[Template],
    half_width: float,
) -> Split:
    """Give every pixel of the foreground to an individual."""
    markers = np.zeros(foreground.shape, np.int32)
    covered = np.zeros(foreground.shape, np.int16)
    drawn = [draw_template(templates[each.template], each.pose, foreground.shape[:2]) for each in chosen]
    for number, (window, mask) in enumerate(drawn, 1):
        covered[window] += mask
        markers[window][mask] = number
    markers[(covered > 1) | ~closed] = 0
    reach = foreground | closed
    grown = ndimage.distance_transform_edt(~reach) <= max(1.5, 0.1 * half_width)
    labels = np.asarray(watershed(np.zeros(foreground.shape, np.uint8), markers, mask=grown), np.int32)
    labels[~foreground] = 0
    labels = _fill_holes(_adopt(labels, foreground, half_width), markers)
    fits = []
    for number, (window, mask) in enumerate(drawn, 1):
        own = (labels[window] == number) & trunk[window]
        fits.append(float((own & mask).sum() / max(1, (own | mask).sum())))
    kept = [number for number in range(len(chosen)) if (labels == number + 1).any()]
    renumber = np.zeros(len(chosen) + 1, np.int32)
    renumber[[number + 1 for number in kept]] = np.arange(1, len(kept) + 1)
    return Split(
        renumber[labels],
        tuple(chosen[number].pose for number in kept),
        tuple(chosen[number].template for number in kept),
        tuple(fits[number] for number in kept),
    )


def _fill_holes(labels: npt.NDArray[np.int32], markers: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Fill the enclosed holes that mostly lie under a template, such as glints; those between legs stay open."""
    holes, count = ndimage.label(labels == 0)
    under = np.asarray(ndimage.mean(markers > 0, holes, range(1, count + 1)))
    filled = labels.copy()
    for number, window in enumerate(ndimage.find_objects(holes), 1):
        if under[number - 1] > 0.6:
            hole = holes[window] == number
            owners = markers[window][hole]
            filled[window][hole] = np.bincount(owners[owners > 0]).argmax()
    return filled


def _adopt(labels: npt.NDArray[np.int32], foreground: Mask, half_width: float) -> npt.NDArray[np.int32]:
    """Give small loose pieces to the individual beside them."""
    loose, count = ndimage.label(foreground & (labels == 0), np.ones((3, 3)))
    if not count:
        return labels
    distance, (rows, columns) = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    numbers = range(1, count + 1)
    nearest = np.asarray(ndimage.minimum(distance, loose, numbers))
    areas = np.bincount(loose.ravel(), minlength=count + 1)[1:]
    adopted = labels.copy()
    for number, window in enumerate(ndimage.find_objects(loose), 1):
        if nearest[number - 1] > 0.6 * half_width or areas[number - 1] > 2 * half_width**2:
            continue
        own = loose[window] == number
        near = np.where(own, distance[window], np.inf)
        place = np.unravel_index(near.argmin(), near.shape)
        adopted[window][own] = labels[rows[window][place], columns[window][place]]
    return adopted
