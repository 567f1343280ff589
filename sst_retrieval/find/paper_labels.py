"""Paper labels on a board: they, their print and their frame, beside an animal or under its legs, are no part of it.

1. Where the paper itself differs from the board as an animal does (a white scale label on tan foam, a colour chart), it
   is foreground, of colours that the annotated animals do not have. If that has a corner, two straight edges of which
   one runs across the other, and fills a rectangle, it is a label: it is board with all on it that does not lead out.
   Animals of another colour fill no rectangle.
2. Other paper is brighter than the board or of another tint, smaller than a few animals, and has a corner: two straight
   edges, one across the other. It is looked for at several brightnesses and tints, for these depend on the light.
3. Its print and its frame are foreground that is thin and does not lead out of it, or runs along its edges: they are
   board, if there is more than one piece of them.
4. What is thick, or leads out, is a leg, or a body that covers the label. Where the thickest place of a piece lies on
   the paper, it is no label, but the card that an animal is mounted on: that stays as it is.

White labels on a board that is as white have no edges; what is printed on them stays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from skimage.color import rgb2lab

from sst_retrieval.find.pieces import Pieces
from sst_retrieval.imaging import masks
from sst_retrieval.types import Doubles, Floats, Mask, RGBImage

SEARCH_SIDE = 800
"""Longer edge, in pixels, of the copy on which labels are looked for."""

LEAST_BRIGHTER, BRIGHTNESSES = 4.0, 8
"""By how much paper is brighter than the board's median, CIE L*, and how many brightnesses above that are tried."""

TINTS = (3.0, 5.0, 8.0)
"""How far paper is from the board's median in the plane of a* and b*."""

LEAST_EDGES = (0.5, 0.8)
"""Lengths of the two straight edges of a corner, in half-widths of an animal."""

LEAST_SCALE_EDGES = (0.25, 0.8)
"""The same of paper whose colours no animal has: scale bars are narrow."""

MOST_AREA = 60.0
"""Area of a label, in squared half-widths of an animal: a beetle's body has about ten."""

ROUGH = 1.5
"""How far, in pixels of the copy, an edge may be from a straight line."""

ALONG = 0.85
"""Share of an edge along which the paper reaches it."""

BEYOND, MOST_BESIDE = 3.0, 0.4
"""So far beyond an edge, in pixels of the copy, is foreground along this share of it at most: else it is a leg's."""

ACROSS = math.radians(8)
"""How much the angle of a corner may differ from a right angle: a photograph may be taken at a slant."""

SOLID = 0.5
"""Share of its convex hull that the paper fills at least, where print, legs and bodies do not hide it."""

FILLED = 0.9
"""Share of a rectangle that differs from the board, from which on something whose colours no annotated animal has is a
sheet. An ellipse fills 0.79. Of 490 drawn animals of six shapes in any colour three were taken for sheets (boxes with
bands); 113 where a corner was enough."""

MOST_OUTSIDE = 0.15
"""The most of its colours, in areas of the sheet, that hangs on a sheet: the bright edge of a leg."""

MOST_CANDIDATES = 200
"""So many places are looked at, at each brightness and tint, the largest."""

SAME = 0.8
"""IoU from which on two places are the same label, found at two brightnesses."""

RIM = 2
"""Width, in pixels, of what is printed along the very edge of the paper, and of the edge itself."""

STROKE, STROKE_SHARE = 1.5, 0.06
"""Half-width up to which something is a stroke of print, in pixels and as a share of an animal's half-width: the larger
counts."""

PARALLEL, LONG = math.radians(10), 2.5
"""A stroke runs along the paper's edges if its direction differs by no more, and it is so much longer than wide."""

LEAST_STROKES, LEAST_STROKE = 2, 6
"""With fewer pieces of print, of so many pixels at least, it is no label, but a bright slat, say, and a leg."""

BODY_DEPTH = 0.7
"""What is deeper than this share of an animal's half-width is its body."""


@dataclass(frozen=True, slots=True)
class PaperLabel:
    """A label on a board.

    Attributes:
        corners: float64 (N, 2), (x, y) of its convex hull, in pixels.
        angle: of one of its edges, in radians.
    """

    corners: Doubles
    angle: float


def leave_out_labels(pieces: Pieces, half_width: float) -> Pieces:
    """Take paper labels, their print and their frames out of the foreground.

    Args:
        pieces: a photograph divided into board and pieces.
        half_width: of an animal, in pixels of its copy.

    Returns:
        The same with less foreground; itself if there is no label.
    """
    sheets = _find_sheets(pieces, half_width)
    foreground = _leave_out_sheets(pieces, sheets, half_width)
    labels = find_labels(pieces.image, foreground, half_width)
    if not sheets and not labels:
        return pieces
    depth = ndimage.distance_transform_edt(np.pad(foreground, 1))[1:-1, 1:-1]
    for label, least in [*((each, 1) for each in sheets), *((each, LEAST_STROKES) for each in labels)]:
        window, paper = _draw(label.corners, foreground.shape, math.ceil(half_width) + RIM)
        if not _is_card(depth[window], paper, half_width):
            foreground[window] &= ~_find_print(foreground[window], paper, half_width, label.angle, least)
    return replace(pieces, foreground=foreground)


def _find_sheets(pieces: Pieces, half_width: float) -> list[PaperLabel]:
    """Find the labels that are foreground themselves, but not of the animals' colours, and on which no animal lies."""
    factor = min(1.0, SEARCH_SIDE / max(pieces.foreground.shape))
    if half_width * factor < 1 or not pieces.unlike_body.any():
        return []
    height, width = (max(1, round(length * factor)) for length in pieces.foreground.shape)
    solid = pieces.foreground & ~pieces.unlike_body
    unlike, covered = (
        np.asarray(Image.fromarray(each).resize((width, height), Image.Resampling.NEAREST))
        for each in (pieces.unlike_body, solid)
    )
    # The edges of bodies are of mixed colours: they hang together with the paper by a pixel's width.
    paper = ndimage.binary_opening(unlike, np.ones((3, 3)))
    found = [
        PaperLabel((each.corners + 0.5) / factor - 0.5, each.angle)
        for each in _list_sheets(paper, covered & ~paper, unlike | covered, half_width * factor)
    ]
    if not found:
        return []
    depth = ndimage.distance_transform_edt(np.pad(solid, 1))[1:-1, 1:-1]

    def is_card(label: PaperLabel) -> bool:
        window, paper = _draw(label.corners, solid.shape, math.ceil(half_width) + RIM)
        return _is_card(depth[window], paper, half_width)

    return [each for each in found if not is_card(each)]


def _list_sheets(paper: Mask, covered: Mask, different: Mask, half_width: float) -> Iterator[PaperLabel]:
    """List the places of a mask that are rectangles: an animal of another colour may have a corner, but is none."""
    for place, window in _list_places(paper, half_width, LEAST_SCALE_EDGES):
        sheets = (
            PaperLabel(rectangle, corner.angle)
            for corner in _find_corners(place, window, covered, half_width, LEAST_SCALE_EDGES)
            # An animal hides a corner of it; or something of its colours hangs on it.
            for rectangle in (_enclose(corner), corner.spanned)
            if _is_sheet(rectangle, place, window, different)
        )
        sheet = next(sheets, None)
        if sheet is not None:
            yield sheet


def _is_sheet(rectangle: Doubles, place: Mask, window: tuple[slice, slice], different: Mask) -> bool:
    """Return whether a rectangle is full, and hardly anything of the place lies outside of it."""
    around, drawn = _draw(rectangle, different.shape, rim=0, edge=0)
    inside = np.zeros_like(different)
    inside[around] = drawn
    outside = int((place & ~inside[window]).sum())
    return bool(different[inside].mean() >= FILLED and outside <= MOST_OUTSIDE * inside.sum())


def _enclose(corner: _Corner) -> Doubles:
    """Return the rectangle around a place that has the corner's direction, (4, 2)."""
    along = np.array([math.cos(corner.angle), math.sin(corner.angle)])
    axes = np.stack([along, [-along[1], along[0]]])
    placed = corner.hull @ axes.T
    (left, top), (right, bottom) = placed.min(axis=0), placed.max(axis=0)
    around: Doubles = np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) @ axes
    return around


def _leave_out_sheets(pieces: Pieces, sheets: Sequence[PaperLabel], half_width: float) -> Mask:
    """Take sheets out of the foreground, with all on them that does not come from outside: bool (h, w)."""
    foreground = pieces.foreground.copy()
    solid = foreground & ~pieces.unlike_body
    for sheet in sheets:
        window, paper = _draw(sheet.corners, foreground.shape, math.ceil(half_width) + RIM)
        # A leg or a body comes from outside; print and the patches of a chart do not.
        foreground[window] &= ~paper | _keep_touching(solid[window], solid[window] & ~paper)
    return foreground


def find_labels(image: RGBImage, foreground: Mask, half_width: float) -> list[PaperLabel]:
    """Find the paper labels of a board, and other places that look so.

    Args:
        image: uint8 (h, w, 3).
        foreground: bool (h, w), what is not board.
        half_width: of an animal, in pixels.
    """
    factor = min(1.0, SEARCH_SIDE / max(foreground.shape))
    size = (max(1, round(foreground.shape[1] * factor)), max(1, round(foreground.shape[0] * factor)))
    lab = rgb2lab(np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))).astype(np.float32)
    covered = np.asarray(Image.fromarray(foreground).resize(size, Image.Resampling.NEAREST))
    found: list[PaperLabel] = []
    if half_width * factor < 1 or covered.all():
        return found
    usual = np.median(lab[~covered], axis=0)
    for paper in _list_paper(lab, usual, float(lab[..., 0][~covered].max())):
        for label in _list_labels(paper & ~covered, covered, half_width * factor):
            enlarged = PaperLabel((label.corners + 0.5) / factor - 0.5, label.angle)
            if all(_measure_iou(enlarged.corners, other.corners) < SAME for other in found):
                found.append(enlarged)
    return found


def _list_paper(lab: Floats, usual: Floats, brightest: float) -> Iterator[Mask]:
    """List what may be paper: bool (h, w), at each brightness and tint."""
    least = float(usual[0]) + LEAST_BRIGHTER
    if brightest > least:
        for bright in np.linspace(least, brightest, BRIGHTNESSES, endpoint=False):
            yield lab[..., 0] > bright
    tint = np.linalg.norm(lab[..., 1:] - usual[1:], axis=2)
    for least in TINTS:
        yield tint > least


@dataclass(frozen=True, slots=True)
class _Corner:
    """Two straight edges of a place, one across the other: its hull, their direction, the rectangle that they span."""

    hull: Doubles
    angle: float
    spanned: Doubles


def _list_labels(paper: Mask, covered: Mask, half_width: float) -> Iterator[PaperLabel]:
    """List the places of a mask that have a straight-edged corner."""
    for place, window in _list_places(paper, half_width, LEAST_EDGES):
        corner = next(_find_corners(place, window, covered, half_width, LEAST_EDGES), None)
        if corner is not None:
            yield PaperLabel(corner.hull, corner.angle)


def _list_places(
    paper: Mask, half_width: float, least: tuple[float, float]
) -> Iterator[tuple[Mask, tuple[slice, slice]]]:
    """List the connected places of a mask that are as large as labels, bool (h, w), and their windows."""
    # Strokes of print do not cut the paper in two.
    labelled, count = ndimage.label(ndimage.binary_closing(paper, np.ones((3, 3))))
    areas = np.bincount(labelled.ravel(), minlength=count + 1)
    usual = (areas >= SOLID * math.prod(least) * half_width**2) & (areas <= MOST_AREA * half_width**2)
    usual[0] = False
    windows = ndimage.find_objects(labelled)
    for number in sorted(np.flatnonzero(usual).tolist(), key=lambda each: -areas[each])[:MOST_CANDIDATES]:
        yield labelled[windows[number - 1]] == number, windows[number - 1]


def _find_corners(
    place: Mask, window: tuple[slice, slice], covered: Mask, half_width: float, least: tuple[float, float]
) -> Iterator[_Corner]:
    """Find the straight-edged corners of a place of the photograph."""
    rows, columns = np.nonzero(place & ~ndimage.binary_erosion(place))
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    try:
        corners = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):  # All in one line.
        return
    hull = _straighten(corners)
    area = abs(_measure_signed_area(hull))
    if area > MOST_AREA * half_width**2 or place.sum() < SOLID * area:
        return
    offset = np.array([window[1].start, window[0].start], np.float64)
    straight: list[tuple[int, float, float]] = []
    away = ndimage.distance_transform_edt(~np.pad(place, 2))
    beyond = math.copysign(BEYOND, _measure_signed_area(hull))
    for at, (start, end) in enumerate(zip(hull, np.roll(hull, -1, axis=0), strict=True)):
        along = end - start
        length = float(np.linalg.norm(along))
        if length < min(least) * half_width or _is_border(start + offset, end + offset, covered.shape):
            continue
        steps = start + along * np.linspace(0, 1, max(2, round(length)))[:, None]
        near = away[np.rint(steps[:, 1]).astype(int) + 2, np.rint(steps[:, 0]).astype(int) + 2] <= ROUGH
        outer = np.rint(steps + offset + beyond * np.array([along[1], -along[0]]) / length).astype(int)
        outer = outer.clip(0, (covered.shape[1] - 1, covered.shape[0] - 1))
        if near.mean() >= ALONG and covered[outer[:, 1], outer[:, 0]].mean() <= MOST_BESIDE:
            straight.append((at, math.atan2(along[1], along[0]), length))
    for at, angle, length in straight:
        for other, second, width in straight:
            turn = abs(math.remainder(second - angle, 2 * math.pi))
            long_enough = max(length, width) >= max(least) * half_width
            if (other - at) % len(hull) in (1, 2) and long_enough and abs(turn - math.pi / 2) <= ACROSS:
                yield _Corner(hull + offset, angle, _span(hull, at, other) + offset)


def _span(hull: Doubles, at: int, other: int) -> Doubles:
    """Return the rectangle (4, 2) that an edge of a polygon and one that runs across it span."""
    start, end, last = (hull[each % len(hull)] for each in (at, at + 1, other + 1))
    along = (end - start) / np.linalg.norm(end - start)
    across = np.array([-along[1], along[0]])
    corner = start + along * max((end - start) @ along, (last - start) @ along)
    width = across * ((last - start) @ across)
    spanned: Doubles = np.stack([start, corner, corner + width, start + width])
    return spanned


def _measure_signed_area(corners: Doubles) -> float:
    """Measure the area of a polygon; positive if it goes clockwise, as seen: y points down."""
    return masks.signed_area(np.concatenate([corners, corners[:1]]))


def _measure_iou(one: Doubles, other: Doubles) -> float:
    """Measure the IoU of the boxes of two polygons."""
    low, high = np.maximum(one.min(axis=0), other.min(axis=0)), np.minimum(one.max(axis=0), other.max(axis=0))
    shared = float(np.clip(high - low, 0, None).prod())
    areas = [float(np.ptp(each, axis=0).prod()) for each in (one, other)]
    return shared / max(sum(areas) - shared, 1e-9)


def _straighten(corners: Doubles) -> Doubles:
    """Leave out the corners of a convex polygon, (N, 2), that lie near the line between their neighbours."""
    kept = list(range(len(corners)))
    while len(kept) > 3:
        before, here, after = corners[np.roll(kept, 1)], corners[kept], corners[np.roll(kept, -1)]
        along = after - before
        height = np.abs(along[:, 0] * (here - before)[:, 1] - along[:, 1] * (here - before)[:, 0])
        height /= np.maximum(np.linalg.norm(along, axis=1), 1e-9)
        flattest = int(height.argmin())
        if height[flattest] > ROUGH:
            break
        del kept[flattest]
    return corners[kept]


def _is_border(start: npt.NDArray[np.float64], end: npt.NDArray[np.float64], size: tuple[int, ...]) -> bool:
    """Return whether an edge lies along the photograph's border."""
    for axis, length in ((0, size[1]), (1, size[0])):
        if max(start[axis], end[axis]) <= 2 or min(start[axis], end[axis]) >= length - 3:
            return True
    return False


def _draw(corners: Doubles, size: tuple[int, ...], rim: int, edge: int = RIM) -> tuple[tuple[slice, slice], Mask]:
    """Draw a polygon with so much of its edge: the window of the photograph, with a rim, and bool (h, w) in it."""
    (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    x0, y0 = max(0, int(left) - rim), max(0, int(top) - rim)
    x1, y1 = min(size[1], int(right) + rim + 1), min(size[0], int(bottom) + rim + 1)
    drawn = Image.new("1", (x1 - x0, y1 - y0))
    ImageDraw.Draw(drawn).polygon([(float(x) - x0, float(y) - y0) for x, y in corners], fill=1)
    paper: Mask = np.asarray(drawn)
    if edge:
        paper = ndimage.binary_dilation(paper, np.ones((3, 3)), iterations=edge)
    return (slice(y0, y1), slice(x0, x1)), paper


def _is_card(depth: Floats, paper: Mask, half_width: float) -> bool:
    """Return whether a body lies on the paper, rather than over its edge."""
    deep = depth > BODY_DEPTH * half_width
    return bool(deep.any() and deep[paper].sum() > 0.5 * deep.sum())


def _find_print(foreground: Mask, paper: Mask, half_width: float, angle: float, least: int) -> Mask:
    """Find the foreground on the paper that is print or frame; nothing if there are fewer than `least` pieces of it."""
    radius = max(STROKE, STROKE_SHARE * half_width)
    rim = math.ceil(radius) + 1
    core = ndimage.distance_transform_edt(np.pad(foreground, rim, mode="edge")) > radius
    thick = np.zeros_like(foreground)
    if core.any():
        thick = (ndimage.distance_transform_edt(~core) <= radius)[rim:-rim, rim:-rim] & foreground
    outside = foreground & ~paper
    leading = _keep_touching(thick | outside, outside)
    # Opening rounds the edges off.
    leading |= foreground & _grow(leading & thick)
    rest, count = ndimage.label(foreground & paper & ~leading & ~thick, np.ones((3, 3)))
    leads_out = np.unique(rest[_grow(outside | leading)])
    from_thin = np.unique(rest[_grow(outside & ~thick)])
    printed = np.ones(count + 1, dtype=bool)
    printed[0] = False
    windows = ndimage.find_objects(rest)
    for number in leads_out[leads_out > 0].tolist():
        along = _runs_along(rest[windows[number - 1]] == number, angle, half_width)
        # An antenna comes from outside, or is long and at any angle.
        printed[number] = along is True or (along is None and number not in from_thin)
    strokes = np.bincount(rest.ravel(), minlength=count + 1)[printed] >= LEAST_STROKE
    if strokes.sum() < least:
        return np.zeros_like(foreground)
    found: Mask = printed[rest]
    return found


def _runs_along(stroke: Mask, angle: float, half_width: float) -> bool | None:
    """Return whether a stroke runs along the edges of its paper; None if it is too short or round to say."""
    rows, columns = np.nonzero(stroke)
    if len(rows) < 3:
        return None
    values, vectors = np.linalg.eigh(np.cov(np.stack([columns, rows])))
    length, width = (4 * math.sqrt(max(float(each), 0.0)) for each in values[::-1])
    if length < LONG * max(width, 1.0) or length < 0.3 * half_width:
        return None
    turn = math.remainder(math.atan2(vectors[1, 1], vectors[0, 1]) - angle, math.pi / 2)
    return abs(turn) <= PARALLEL


def _grow(mask: Mask) -> Mask:
    """Grow a mask by one pixel."""
    grown: Mask = ndimage.binary_dilation(mask, np.ones((3, 3)))
    return grown


def _keep_touching(mask: Mask, touched: Mask) -> Mask:
    """Keep the pieces of a mask that share a pixel with another."""
    pieces, count = ndimage.label(mask, np.ones((3, 3)))
    kept = np.zeros(count + 1, dtype=bool)
    kept[pieces[touched]] = True
    kept[0] = False
    result: Mask = kept[pieces]
    return result
