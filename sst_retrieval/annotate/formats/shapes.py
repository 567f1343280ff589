"""From drawn shapes to masks: points are checked, polygons clipped and filled, all shapes of a trait joined.

Polygons are filled by pycocotools, as COCO defines it. What is no drawing of a trait (a box, a line, a label that
traits.toml does not name) is left out; of a trait with a damaged shape nothing is used. Both are noted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from sst_retrieval.annotate.formats.contract import DrawnShape, ImageAnnotation
from sst_retrieval.annotate.traits import Traits
from sst_retrieval.errors import SupportError

EDGE_TOLERANCE = 2.0
"""How many pixels a point may lie beyond the photograph's edge without a note: a hand slips."""

MAX_OUTLINE = 4_000_000
"""Length in pixels of the longest outline that is filled; filling takes 40 bytes a pixel of it."""


INDIVIDUAL_ENTRIES = ("individual", "individualid", "instance", "instanceid", "groupid")
"""What programs call the number of an individual, without blanks, marks and capitals."""


class NoAreaError(SupportError):
    """A shape without an area: it is left out, and the other shapes of its trait are used."""


class TraitShapes:
    """Collects the shapes of one photograph, trait by trait.

    Attributes:
        notes: what was left out or clipped, one sentence each.
    """

    def __init__(
        self,
        source: Path,
        size: tuple[int, int],
        traits: Traits | None,
        *,
        photograph: str = "",
        stored_size: bool = True,
    ) -> None:
        """Begin with no shapes.

        Args:
            source: the annotation file.
            size: (height, width) of the photograph in pixels.
            traits: of the traits.toml; shapes of others are left out. None: all are used.
            photograph: its name, for messages, if the file has several.
            stored_size: whether the file stores the size. If not, a point beyond the photograph's edge is the only
                sign of a drawing at another size, so its shape is not clipped but taken for damaged.
        """
        self.notes: list[str] = []
        self.size = size
        self._source = source
        self._where = f"{source}: image {photograph}" if photograph else str(source)
        self._traits = traits
        self._clips = stored_size
        self._drawn: list[tuple[str, list[bytes], str | None]] = []
        self._damaged: set[str] = set()

    @property
    def clip_notes(self) -> list[str] | None:
        """What `encode_polygon` notes clipped polygons in; None if none may lie outside of the photograph."""
        return self.notes if self._clips else None

    def add(self, label: str, encode: Callable[[], Sequence[bytes]], individual: str | None = None) -> None:
        """Add a shape.

        Args:
            label: its trait as the file calls it.
            encode: return its masks as compressed COCO run-length counts. A SupportError is noted: of a `NoAreaError`
                the shape is left out, of any other the whole trait.
            individual: what the file calls the individual that it belongs to; None if it does not say.
        """
        if not label.strip():
            self.leave_out(f"{self._where}: a shape has no label; give it the name of its trait")
            return
        trait = self._find_trait(label.strip())
        if trait is None:
            return
        rles: list[bytes] = []
        self._drawn.append((trait, rles, individual))
        try:
            rles.extend(encode())
        except NoAreaError as error:
            self.leave_out(error)
        except SupportError as error:
            self._damaged.add(trait)
            self.leave_out(error)

    def add_polygon(self, label: str, points: Sequence[Any], where: str) -> None:
        """Add a polygon of (x, y) corners in pixels."""
        self.add(label, lambda: [encode_polygon(points, self.size, where, self.clip_notes)])

    def leave_out(self, reason: Exception | str) -> None:
        """Note that a shape is left out."""
        note = f"left out: {reason}"
        if note not in self.notes:
            self.notes.append(note)

    def make_images(self, names: tuple[str, ...]) -> list[ImageAnnotation]:
        """Make the annotation of the photograph from all shapes, joined.

        Args:
            names: of the photograph, as the file has them.

        Returns:
            One annotation, or none if no shape is left; read `notes` afterwards, since joining adds to them.
        """
        rles = self.join()
        return [ImageAnnotation(self._source, names, self.size, rles, shapes=self.list_shapes())] if rles else []

    def list_shapes(self) -> tuple[DrawnShape, ...]:
        """Return all shapes that are used, one by one, those of several outlines joined."""
        shapes = []
        for trait, rles, individual in self._drawn:
            if rles and trait not in self._damaged:
                whole = coco.merge([{"size": list(self.size), "counts": rle} for rle in rles])
                if coco.area(whole):
                    shapes.append(DrawnShape(trait, whole["counts"], individual))
        return tuple(shapes)

    def join(self) -> dict[str, bytes]:
        """Join all shapes of a trait to one mask: their union.

        Returns:
            trait -> mask as compressed COCO run-length counts, none of them empty.
        """
        joined = {}
        drawn: dict[str, list[bytes]] = {}
        for trait, rles, _ in self._drawn:
            drawn.setdefault(trait, []).extend(rles)
        for trait, rles in drawn.items():
            if trait in self._damaged:
                if rles:
                    self.leave_out(f"{self._where}: all of {trait!r}, since a shape of it is damaged")
                continue
            if not rles:
                continue
            try:
                joined.update(join_shapes({trait: rles}, self.size, self._where))
            except SupportError as error:
                self.leave_out(error)
        return joined

    def _find_trait(self, label: str) -> str | None:
        if self._traits is None:
            return label
        trait = self._traits.find(label) or self._traits.find_number(label)
        if trait is None:
            self.leave_out(
                f"{self._source} draws {label!r}, but {self._source.parent / 'traits.toml'} names "
                f"{', '.join(self._traits.numbers)}; add it under [traits] with a number of its own, or rename it in "
                f"the drawing"
            )
        return trait


def find_individual(*entries: Any) -> str | None:
    """Find what a file calls the individual of a shape.

    Args:
        entries: objects of the file that may say it, the most telling first; anything else is passed over.

    Returns:
        The first value of an entry called individual, instance or group, perhaps with "id" behind it; None if there is
        none.
    """
    for mapping in entries:
        for name, value in mapping.items() if isinstance(mapping, Mapping) else ():
            if not isinstance(name, str) or re.sub(r"[\W_]", "", name).casefold() not in INDIVIDUAL_ENTRIES:
                continue
            if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
                return str(value).strip().removesuffix(".0")
    return None


def check_points(points: Sequence[Any], size: tuple[int, int], where: str) -> list[tuple[float, float]]:
    """Check that points are (x, y) pairs on the photograph, and move those just beyond its edge onto it.

    Args:
        points: (x, y) in pixels each, if they are right.
        size: (height, width) of the photograph in pixels.
        where: file and place in it, for the message.

    Returns:
        (x, y) in pixels, 0 <= x <= width and 0 <= y <= height.

    Raises:
        SupportError: a point is no pair of finite numbers, or more than `EDGE_TOLERANCE` outside of the photograph.
    """
    array = parse_points(points, where)
    outside = _is_outside(array, size, EDGE_TOLERANCE)
    if outside.any():
        raise _explain_outside(array[outside][0], size, where)
    return [(float(x), float(y)) for x, y in np.clip(array, 0, size[::-1])]


def parse_points(points: Any, where: str) -> npt.NDArray[np.float64]:
    """Check that points are (x, y) pairs of finite numbers.

    Args:
        points: anything.
        where: file and place in it, for the message.

    Returns:
        float64 (N, 2), wherever they lie.

    Raises:
        SupportError: they are something else.
    """
    try:
        array = np.array(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        if isinstance(points, list) and not points:
            raise NoAreaError(f"{where} has no points; draw it as a polygon")
        raise SupportError(f"{where} has points that are no x, y pairs; export the annotations again")
    return array


def encode_polygon(points: Sequence[Any], size: tuple[int, int], where: str, notes: list[str] | None = None) -> bytes:
    """Fill a polygon.

    Args:
        points: corners, (x, y) in pixels each.
        size: (height, width) of the photograph in pixels.
        where: file and place in it, for the message.
        notes: takes a sentence if the polygon is clipped at the photograph's edge. None: it may not lie outside.

    Returns:
        The mask as compressed COCO run-length counts, perhaps of an empty mask.

    Raises:
        NoAreaError: there are fewer than 3 corners, or all lies outside.
        SupportError: as `check_points`; with `notes`, if a point is further outside than the photograph is large.
    """
    corners = parse_points(points, where)
    if len(corners) < 3:
        raise NoAreaError(f"{where} has an outline of {len(corners)} points; an area needs at least 3")
    outside = _is_outside(corners, size, EDGE_TOLERANCE)
    if outside.any():
        far = _is_outside(corners, size, float(max(size)))
        if notes is None or far.any():
            raise _explain_outside(corners[outside if notes is None else far][0], size, where)
        corners = _clip_polygon(corners, size)
        if len(corners) < 3:
            raise NoAreaError(f"{where} lies outside of its photograph of {size[1]} x {size[0]} px")
        notes.append(f"clipped: {where} leads out of its photograph of {size[1]} x {size[0]} px")
    corners = np.clip(corners, 0, size[::-1])
    if np.abs(np.diff(corners, axis=0)).sum() > MAX_OUTLINE:
        raise SupportError(f"{where} has an outline of more than {MAX_OUTLINE:,} pixels; simplify it, or draw it again")
    rle: bytes = coco.frPyObjects([corners.ravel().tolist()], *size)[0]["counts"]
    return rle


def encode_ellipse(
    centre: tuple[float, float], radii: tuple[float, float], degrees: float, size: tuple[int, int], where: str
) -> bytes:
    """Fill an ellipse, or what of it lies on the photograph.

    Args:
        centre: (x, y) in pixels.
        radii: the two half axes in pixels, the first along x before the rotation.
        degrees: rotation, clockwise as seen.
        size: (height, width) of the photograph in pixels.
        where: file and place in it, for the message.

    Returns:
        The mask as compressed COCO run-length counts, perhaps of an empty mask.

    Raises:
        SupportError: a number is not finite, a radius is not positive, or the centre is outside of the photograph.
    """
    numbers = np.array([*centre, *radii, degrees], dtype=np.float64)
    if not np.isfinite(numbers).all() or min(radii) <= 0 or max(radii) > 4 * max(size):
        raise SupportError(f"{where} has an ellipse of impossible size; draw it again")
    check_points([centre], size, where)
    turns = np.linspace(0, 2 * np.pi, 361)[:-1]
    along, across = radii[0] * np.cos(turns), radii[1] * np.sin(turns)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    points = np.stack([centre[0] + along * cos - across * sin, centre[1] + along * sin + across * cos], axis=1)
    points = _clip_polygon(points, size)
    rle: bytes = coco.frPyObjects([points.ravel().tolist()], *size)[0]["counts"]
    return rle


def join_shapes(shapes: Mapping[str, Sequence[bytes]], size: tuple[int, int], where: str) -> dict[str, bytes]:
    """Join all shapes of a trait to one mask: their union.

    Args:
        shapes: trait -> masks as compressed COCO run-length counts.
        size: (height, width) of the photograph in pixels.
        where: the file and the photograph, for the message.

    Returns:
        trait -> mask as compressed COCO run-length counts, none of them empty.

    Raises:
        SupportError: the shapes of a trait cover no pixel.
    """
    joined = {}
    for trait, rles in shapes.items():
        union = coco.merge([{"size": list(size), "counts": rle} for rle in rles])
        if not coco.area(union):
            raise SupportError(f"{where}: {trait!r} covers no pixel; draw it larger, or erase it")
        joined[trait] = union["counts"]
    return joined


def _is_outside(points: npt.NDArray[np.float64], size: tuple[int, int], tolerance: float) -> npt.NDArray[np.bool_]:
    outside = (points < -tolerance) | (points > np.array(size[::-1]) + tolerance)
    return np.asarray(outside.any(axis=1))


def _explain_outside(point: npt.NDArray[np.float64], size: tuple[int, int], where: str) -> SupportError:
    x, y = point
    return SupportError(
        f"{where} has the point ({x:g}, {y:g}) outside of its photograph of {size[1]} x {size[0]} px; "
        f"annotate the photograph at the size that it has now"
    )


def _clip_polygon(points: npt.NDArray[np.float64], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Clip a polygon at the photograph's edges (Sutherland & Hodgman 1974).

    Returns:
        float64 (N, 2); no points if all lies outside.
    """
    for axis, bound, sign in ((0, 0.0, 1), (0, float(size[1]), -1), (1, 0.0, 1), (1, float(size[0]), -1)):
        if not len(points):
            break
        depth = (points[:, axis] - bound) * sign  # Positive inside.
        after = np.roll(points, -1, axis=0)
        depth_after = np.roll(depth, -1)
        clipped: list[npt.NDArray[np.float64]] = []
        for here, there, own, other in zip(points, after, depth, depth_after, strict=True):
            if own >= 0:
                clipped.append(here)
            if (own >= 0) != (other >= 0):
                clipped.append(here + (there - here) * (own / (own - other)))
        points = np.array(clipped).reshape(-1, 2)
    return points
