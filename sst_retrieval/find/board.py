"""Individuals on a board: a drawer, a tray, a sheet of paper, of any plain colour or with slats.

1. What differs from the board is foreground (`find.pieces`), but for print on labels (`find.paper_labels`).
2. The shapes of the annotated individuals are laid on it as often as it has room for them (`find.splitting`).
3. Those that are not of one kind with the annotated ones get a score below one half (`find.kinship`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image
from scipy import ndimage

from sst_retrieval.find.kinship import Comparison, Portrait, judge, portray
from sst_retrieval.find.paper_labels import leave_out_labels
from sst_retrieval.find.pieces import Pieces, find_pieces, list_colours
from sst_retrieval.find.splitting import Split, fit_template, measure_half_width, split_foreground
from sst_retrieval.find.templates import Pose, Template, close_gaps, make_template
from sst_retrieval.imaging.masks import box as box_of
from sst_retrieval.imaging.masks import resize_mask
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.types import Detection, Doubles, Floats, Mask, RGBImage, Support

BODY_COLOURS = 0.8
"""Share of an annotated individual's pixels whose colours, the commonest first, are its body's: not its edge's."""

SMALLEST = 0.12
"""Individuals with less than this share of the photograph's median area are crumbs or torn off parts."""


CLOSE_HALF_WIDTH = 64.0
"""Half-width, in pixels, at which an individual is described, where the photograph has so many."""

BARE = 0.002
"""A board is bare if less than this share of it differs from its colours."""

SPECK_HALF_WIDTH = 6.0
"""Half-width, in pixels of the copy that is searched, below which what lies on a bare board is a crumb: crumbs that are
alike would be taken for individuals, for they are told by what the others look like."""


MOST_OF_BOARD = 0.6
"""Share of all that lies on a board, from which on an individual is alone there."""


MOST_OTHERS = 12
"""With so many annotated individuals of other groups those found are compared: each takes a twentieth of a second."""


@dataclass(frozen=True, slots=True)
class Sitter:
    """An annotated individual, to be described at the size that individuals have on a photograph.

    Attributes:
        image: uint8 (h, w, 3), it with a rim.
        body: bool (h, w).
        pose: where its template lies on it.
        template: its shape.
    """

    image: RGBImage
    body: Mask
    pose: Pose
    template: Template

    def portray(self, trunk: EfficientNetTrunk, half_width: float) -> Portrait:
        """Describe it as if it were no larger than others: features depend on how sharp a picture is.

        Args:
            trunk: the network.
            half_width: of the others, in pixels; a smaller individual is not enlarged.
        """
        factor = min(1.0, half_width / self.pose.size)
        size = (max(1, round(self.image.shape[1] * factor)), max(1, round(self.image.shape[0] * factor)))
        image = np.asarray(Image.fromarray(self.image).resize(size, Image.Resampling.BOX))
        x, y = (self.pose.x + 0.5) * factor - 0.5, (self.pose.y + 0.5) * factor - 0.5
        pose = self.pose._replace(x=x, y=y, size=self.pose.size * factor)
        return portray(trunk, image, resize_mask(self.body, image.shape[:2]), pose, self.template)


@dataclass(frozen=True, slots=True)
class BoardMemory:
    """What is looked for on boards.

    Attributes:
        body: float32 (K, 3), CIE Lab, the colours of the annotated individuals.
        templates: one an annotated individual.
        sitters: one an annotated individual.
        others: annotated individuals of other groups, the shape of one of this group laid on each, by how they count.
    """

    body: Floats
    templates: tuple[Template, ...]
    sitters: tuple[Sitter, ...]
    others: Mapping[Comparison, tuple[Sitter, ...]] = field(default_factory=dict)


def remember_board(supports: Sequence[Support]) -> BoardMemory:
    """Learn colours, shape and looks of annotated individuals; at least one."""
    colours, templates, sitters = [], [], []
    for support in supports:
        image, body = _cut_out(support.image, complete_body(support))
        inner = ndimage.binary_erosion(body, iterations=2)
        colours.append(list_colours(image[inner if inner.any() else body], BODY_COLOURS))
        template = make_template(body)
        templates.append(template)
        sitters.append(Sitter(image, body, fit_template(body, template)[0], template))
    return BoardMemory(np.concatenate(colours), tuple(templates), tuple(sitters))


def compare_with_others(
    trunk: EfficientNetTrunk, memory: BoardMemory, others: Mapping[Comparison, Sequence[Support]]
) -> BoardMemory:
    """Add annotated individuals of other groups, that drawers of another kind are told by them.

    Args:
        trunk: the network.
        memory: of the group.
        others: of other groups, by how they count; of all together the `MOST_OTHERS` that are most like those of the
            group are kept.
    """
    counting, sitters = [], []
    for comparison, support in ((comparison, each) for comparison, some in others.items() for each in some):
        image, body = _cut_out(support.image, complete_body(support))
        laid = [(*fit_template(body, template), template) for template in memory.templates]
        pose, _, template = max(laid, key=lambda each: each[1])
        counting.append(comparison)
        sitters.append(Sitter(image, body, pose, template))
    kept = list(range(len(sitters)))
    if len(sitters) > MOST_OTHERS:
        own = np.stack([each.portray(trunk, CLOSE_HALF_WIDTH).features for each in memory.sitters])
        likeness = [float((own @ each.portray(trunk, CLOSE_HALF_WIDTH).features).max()) for each in sitters]
        kept = sorted(np.argsort(likeness)[-MOST_OTHERS:].tolist())
    by_comparison: dict[Comparison, tuple[Sitter, ...]] = {}
    for place in kept:
        by_comparison[counting[place]] = (*by_comparison.get(counting[place], ()), sitters[place])
    return replace(memory, others=by_comparison)


def find_on_board(trunk: EfficientNetTrunk, memory: BoardMemory, image: RGBImage) -> list[Detection] | None:
    """Find individuals on a board.

    Args:
        trunk: the network.
        memory: what is looked for.
        image: uint8 (H, W, 3), any size; it is searched at 1600 px.

    Returns:
        The individuals and the strangers, the surest first; no pixel belongs to two. None if the photograph shows no
        board.
    """
    laid = lay_shapes(memory, image)
    return None if laid is None else judge_laid(trunk, memory, laid, image)


@dataclass(frozen=True, slots=True)
class Laid:
    """A photograph of a board, split by the shapes laid on it.

    Attributes:
        pieces: board and pieces.
        split: the pieces, split into individuals.
    """

    pieces: Pieces
    split: Split

    @property
    def empty(self) -> bool:
        """Whether the board is bare."""
        return float(self.pieces.foreground.mean()) < BARE

    @property
    def fit(self) -> float:
        """How well the shapes fit: the median of the individuals' fits, 0..1; 0 if there are none."""
        return float(np.median(self.split.fits)) if self.split.fits else 0.0


def lay_shapes(memory: BoardMemory, image: RGBImage) -> Laid | None:
    """Lay the shapes of the annotated individuals on a photograph; None if it shows no board."""
    pieces = find_pieces(image, memory.body)
    if not pieces.is_board:
        return None
    pieces = leave_out_labels(pieces, measure_half_width(pieces.foreground))
    return Laid(pieces, split_foreground(pieces.foreground, memory.templates))


def judge_laid(trunk: EfficientNetTrunk, memory: BoardMemory, laid: Laid, image: RGBImage) -> list[Detection]:
    """Judge the individuals on a board.

    Args:
        trunk: the network.
        memory: what is looked for.
        laid: from `lay_shapes`.
        image: uint8 (H, W, 3), the photograph.

    Returns:
        As `find_on_board`.
    """
    scores = _judge(trunk, memory, laid, image)
    found = [
        _enlarge(laid.split.labels == number + 1, float(scores[number]), image.shape[:2])
        for number in np.argsort(-scores, kind="stable").tolist()
    ]
    return [each for each in found if each is not None]


def complete_body(support: Support) -> Mask:
    """Return the whole individual, where only some traits of it were drawn on a photograph of it alone.

    The drawn traits are the whole, unless they lie apart (bands on wings, say): then it is everything on the board that
    one of them is on, provided that this is most of what lies there.

    Returns:
        bool (H, W).
    """
    body = support.body
    if support.outline is not None or not is_scattered(body):
        return body
    # Not by the colours of what was drawn: beside red bands and a blue board, black wings would be board.
    found = find_pieces(support.image)
    if not found.is_board:
        return body
    pieces, _ = ndimage.label(close_gaps(found.foreground, 2))
    numbers = np.unique(pieces[resize_mask(body, pieces.shape)])
    whole = np.isin(pieces, numbers[numbers > 0]) & found.foreground
    if whole.sum() < MOST_OF_BOARD * found.foreground.sum():
        return body
    return np.logical_or(resize_mask(whole, body.shape), body)


def is_scattered(body: Mask) -> bool:
    """Return whether a body is in pieces that lie farther apart than parts of one trunk do."""
    half_width = float(ndimage.distance_transform_edt(np.pad(body, 1)).max())
    pieces, count = ndimage.label(close_gaps(body, 0.4 * half_width))
    areas = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    return int((areas > 0.1 * areas.max(initial=0)).sum()) > 1


def _cut_out(image: RGBImage, body: Mask) -> tuple[RGBImage, Mask]:
    """Cut an annotated individual out of its photograph, with room around it where the photograph has none, too."""
    x0, y0, x1, y1 = box_of(body)
    rim = round(0.1 * max(x1 - x0, y1 - y0)) + 3
    return (
        np.pad(image[y0:y1, x0:x1], ((rim, rim), (rim, rim), (0, 0)), mode="edge"),
        np.pad(body[y0:y1, x0:x1], rim),
    )


def _judge(trunk: EfficientNetTrunk, memory: BoardMemory, laid: Laid, image: RGBImage) -> Doubles:
    """Judge every individual by its kind, and what is far too small by its size."""
    portraits, areas = [], []
    split = laid.split
    for number, (pose, place) in enumerate(zip(split.poses, split.templates, strict=True), 1):
        template = memory.templates[place]
        window = _window(split, number, pose.size * template.reach)
        mask = split.labels[window] == number
        moved = pose._replace(x=pose.x - window[1].start, y=pose.y - window[0].start)
        portraits.append(portray(trunk, *_look_closer(image, laid.pieces, window, mask, moved), template))
        areas.append(int(mask.sum()))
    usual = float(np.median([pose.size for pose in split.poses])) if split.poses else 1.0
    annotated = [each.portray(trunk, usual) for each in memory.sitters]
    others = {comparison: [each.portray(trunk, usual) for each in some] for comparison, some in memory.others.items()}
    scores = judge(annotated, portraits, others)
    small = np.array(areas) < SMALLEST * np.median(areas) if areas else np.zeros(0, dtype=bool)
    if laid.empty:
        small |= np.array([pose.size < SPECK_HALF_WIDTH for pose in split.poses], dtype=bool)
    return np.where(small, 0.3 * scores, scores)


def _look_closer(
    image: RGBImage, pieces: Pieces, window: tuple[slice, slice], mask: Mask, pose: Pose
) -> tuple[RGBImage, Mask, Pose]:
    """Cut an individual out of the photograph itself, where the copy that was searched shows it too small.

    Args:
        image: uint8 (H, W, 3), the photograph.
        pieces: what was found on its copy.
        window: the individual's part of the copy.
        mask: bool (h, w), the individual in that part.
        pose: of the template in that part.

    Returns:
        The individual's part, its mask and pose, at the copy's size or larger.
    """
    height, width = mask.shape
    factor = min(1 / pieces.scale, CLOSE_HALF_WIDTH / pose.size)
    if factor <= 1:
        return pieces.image[window], mask, pose
    down, across = (large / small for large, small in zip(image.shape[:2], pieces.foreground.shape, strict=True))
    place = (window[1].start * across, window[0].start * down, window[1].stop * across, window[0].stop * down)
    rows = slice(int(place[1]), math.ceil(place[3]))
    columns = slice(int(place[0]), math.ceil(place[2]))
    part = Image.fromarray(np.ascontiguousarray(image[rows, columns]))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    corner = (columns.start, rows.start)
    inside = tuple(value - corner[axis % 2] for axis, value in enumerate(place))
    bounded = (max(0.0, inside[0]), max(0.0, inside[1]), min(part.width, inside[2]), min(part.height, inside[3]))
    closer = np.asarray(part.resize(size, Image.Resampling.BOX, box=bounded, reducing_gap=3.0))
    moved = pose._replace(
        x=(pose.x + 0.5) * size[0] / width - 0.5, y=(pose.y + 0.5) * size[1] / height - 0.5, size=pose.size * factor
    )
    return closer, resize_mask(mask, (size[1], size[0])), moved


def _window(split: Split, number: int, reach: float) -> tuple[slice, slice]:
    """Return the part of the photograph that an individual and its template are on."""
    pose = split.poses[number - 1]
    x0, y0, x1, y1 = box_of(split.labels == number)
    height, width = split.labels.shape
    rows = slice(max(0, min(y0, int(pose.y - reach))), min(height, max(y1, int(pose.y + reach) + 1)))
    return rows, slice(max(0, min(x0, int(pose.x - reach))), min(width, max(x1, int(pose.x + reach) + 1)))


def _enlarge(small: Mask, score: float, size: tuple[int, ...]) -> Detection | None:
    """Bring an individual from the copy that was searched to the photograph's own size; None if nothing is left.

    Every pixel of the photograph takes the individual of the nearest pixel of the copy, so that none belongs to two.
    """
    left, top, right, bottom = box_of(small)
    height, width = small.shape
    rows = np.minimum(((np.arange(size[0]) + 0.5) * height / size[0]).astype(np.int64), height - 1)
    columns = np.minimum(((np.arange(size[1]) + 0.5) * width / size[1]).astype(np.int64), width - 1)
    inside_rows = np.flatnonzero((rows >= top) & (rows < bottom))
    inside_columns = np.flatnonzero((columns >= left) & (columns < right))
    if not len(inside_rows) or not len(inside_columns):
        return None
    box = (int(inside_columns[0]), int(inside_rows[0]), int(inside_columns[-1]) + 1, int(inside_rows[-1]) + 1)
    mask = small[np.ix_(rows[inside_rows], columns[inside_columns])]
    return Detection(box, score, mask) if mask.any() else None
