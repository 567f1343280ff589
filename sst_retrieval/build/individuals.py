"""The way of a photograph that may show several individuals: each is found, cut out, and processed by itself.

1. What a person drew on the photograph are individuals; the others are found by the finder (`find_individuals`). A row
   of the table that says where its individual is has that one alone.
2. Each keeps the number that a drawing or a review gave it; the others are numbered in reading order.
3. Each is cut out, its neighbours painted out (`find.cutouts`), and the traits are propagated to it as to a photograph.
4. Masks of two individuals never share a pixel; a trait that reaches a little out of its individual's outline widens
   it, but not one that a person decided on or a network drew anew.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sst_retrieval.annotate.supports import Supports
from sst_retrieval.build.regions import describe_regions, replace_drawn, replace_reviewed
from sst_retrieval.build.workers import PartWorkers
from sst_retrieval.describe.contract import Embedder
from sst_retrieval.errors import InputError
from sst_retrieval.find.contract import FOUND, Finder, check_detections, compares_groups
from sst_retrieval.find.cutouts import Cutout, cut_out, cut_out_supports
from sst_retrieval.imaging import masks as rle
from sst_retrieval.imaging.reading_order import sort_in_reading_order
from sst_retrieval.index.reviews import WHOLE, Review
from sst_retrieval.track.contract import Memory, Propagator, check_propagated, get_batch_size
from sst_retrieval.types import (
    Box,
    Detection,
    Mask,
    Photograph,
    Placement,
    Propagated,
    Region,
    RGBImage,
    Support,
)

SAME = 0.3
"""IoU from which on a found individual is the one that was drawn, or reviewed."""


@dataclass(frozen=True, slots=True)
class GroupFinder:
    """What finds the individuals of a group.

    Attributes:
        finder: the model.
        memory: of the group's supports.
        drawn: photograph -> the individuals that a person drew on it, masks of the photograph's size.
    """

    finder: Finder
    memory: Any
    drawn: Mapping[str, Sequence[Support]]


@dataclass(frozen=True, slots=True)
class Numbered:
    """An individual with its name.

    Attributes:
        id: of the individual (see `types.Individual`).
        number: on its photograph, from 1.
        detection: where it is.
        support: what a person drew of it; None if it was found.
        decided: whether a person decided that it is one, in this outline; no trait changes it then.
        redrawn: whether its outline comes from a finder that draws outlines anew (`find.outlines`); no trait changes it
            then, either.
    """

    id: str
    number: int
    detection: Detection
    support: Support | None = None
    decided: bool = False
    redrawn: bool = False


def name_individual(photograph: str, number: int) -> str:
    """Name an individual of a photograph that may show several."""
    return f"{photograph}#{number}"


def add_finder_to_fingerprints(supports: Supports, finder: Finder) -> Supports:
    """Make the fingerprints of groups that may show several individuals depend on what finds them.

    Args:
        supports: the supports of all groups.
        finder: what finds the individuals.

    Returns:
        The same supports; the fingerprints of groups with one individual a photograph are unchanged. Those of the
        others depend on each other if the finder compares groups, and on their species where two are known.
    """

    several = [each for group, each in sorted(supports.fingerprints.items()) if supports.individuals[group] == "many"]
    beside = f" beside {' '.join(several)}" if compares_groups(finder) else ""
    named = f" of {sorted(supports.species.items())}" if beside and len(supports.species) > 1 else ""

    def join(group: str, own: str) -> str:
        if supports.individuals[group] == "one":
            return own
        return hashlib.sha256(
            f"{own} individuals by {finder.name}{beside}{named if group in supports.species else ''}".encode()
        ).hexdigest()

    return replace(supports, fingerprints={group: join(group, own) for group, own in supports.fingerprints.items()})


def as_propagated(supports: Sequence[Support], individuals: str) -> tuple[Support, ...]:
    """Return supports as the propagator sees them.

    Args:
        supports: of one group, on whole photographs.
        individuals: "one" leaves them as they are; "many" cuts each annotated individual out of its photograph, as
            those are that it is propagated to.
    """
    return tuple(supports) if individuals == "one" else cut_out_supports(supports)


class AnnotatedBeside:
    """The annotated individuals of the groups that may show several, cut out, for finders that compare groups."""

    def __init__(self, supports: Supports) -> None:
        """Take the supports of all groups; each is read when it is first asked for."""
        self._supports = supports
        self._cut: dict[str, tuple[Support, ...]] = {}
        self._lock = threading.Lock()  # Groups are prepared on several threads.

    def list_others(self, group: str) -> list[Support]:
        """List the annotated individuals of all groups but one."""
        others = [each for each, kind in self._supports.individuals.items() if kind == "many" and each != group]
        with self._lock:
            for each in others:
                if each not in self._cut:
                    self._cut[each] = cut_out_supports(self._supports.load(each))
            return [support for each in others for support in self._cut[each]]


def find_individuals(
    photograph: Photograph, image: RGBImage, group: GroupFinder, reviews: Sequence[Review] = ()
) -> list[Numbered]:
    """Find and number the individuals on a photograph.

    Args:
        photograph: which one.
        image: uint8 (H, W, 3).
        group: what finds them.
        reviews: decisions about masks on this photograph; an individual keeps the number it was reviewed under.

    Returns:
        The individuals in order of their numbers.

    Raises:
        InputError: the row of the table means an individual that is not there.
        ModelError: the finder answers nonsense.
    """
    kept, rejected = _read_decisions(reviews, image.shape[:2])
    if photograph.place is None:
        drawn = _join(_list_drawn(photograph, group), kept)
        return _find_all(photograph, image, group, reviews, drawn, rejected)
    added = [each for each in kept if each.number != 1]
    return _find_meant(photograph, image, group, reviews, kept, rejected) + added


def _find_meant(
    photograph: Photograph,
    image: RGBImage,
    group: GroupFinder,
    reviews: Sequence[Review],
    kept: Sequence[Numbered],
    rejected: Sequence[Numbered],
) -> list[Numbered]:
    """Find the individual that a row of the table means by its place: one, or none if people decided so."""
    place = photograph.place
    own = [each for each in group.drawn.get(photograph.id, ()) if _read_number(each.individual, 0) == 1]
    if own:  # A support was drawn on it.
        return [Numbered(own[0].individual, 1, _to_detection(own[0].body), own[0])]
    if any(each.number == 1 for each in rejected):
        return []
    if decided := [each for each in kept if each.number == 1]:
        return decided[:1]
    if not isinstance(place, int):
        assert place is not None
        return [Numbered(name_individual(photograph.id, 1), 1, Detection(place, 1.0))]
    numbered = _find_all(photograph, image, group, reviews, _list_drawn(photograph, group), rejected)
    if not 1 <= place <= len(numbered):
        raise InputError(
            f"the table means individual {place} of {photograph.image.name}, on which {len(numbered)} were "
            f"found; give its place as a box (xFrac, yFrac, widthFrac, heightFrac) instead of a number"
        )
    # In reading order, whatever numbers drawings gave.
    chosen = numbered[sort_in_reading_order([each.detection.box for each in numbered])[place - 1]]
    return [replace(chosen, id=name_individual(photograph.id, 1), number=1)]


def _list_drawn(photograph: Photograph, group: GroupFinder) -> list[Numbered]:
    """List the individuals of a photograph that the supports draw."""
    return [
        Numbered(each.individual, _read_number(each.individual, at), _to_detection(each.body), each)
        for at, each in enumerate(group.drawn.get(photograph.id, ()), start=1)
    ]


def _find_all(
    photograph: Photograph,
    image: RGBImage,
    group: GroupFinder,
    reviews: Sequence[Review],
    drawn: Sequence[Numbered],
    rejected: Sequence[Numbered],
) -> list[Numbered]:
    """Find and number all individuals on a photograph, those that people drew or decided on first."""
    found = check_detections(group.finder.find(group.memory, image), image, group.finder.name)
    others = [each for each in found if each.score >= FOUND and not _is_among(each, [*drawn, *rejected])]
    order = sort_in_reading_order([each.box for each in others])
    numbered = _number([others[at] for at in order], photograph.id, drawn, rejected, reviews)
    if getattr(group.finder, "outlines", None) is None:
        return numbered
    known = {each.number for each in drawn}
    return [each if each.number in known else replace(each, redrawn=True) for each in numbered]


def describe_individuals(
    photograph: Photograph,
    image: RGBImage,
    individuals: Sequence[Numbered],
    memory: Memory,
    reviews: Sequence[Review],
    *,
    propagator: Propagator,
    embedder: Embedder,
    align: Any,
    parts: PartWorkers | None = None,
) -> tuple[list[list[Region]], list[str]]:
    """Propagate the traits to each individual by itself, describe and measure them.

    Args:
        photograph: which one.
        image: uint8 (H, W, 3).
        individuals: on it.
        memory: of the group's cut-out supports.
        reviews: decisions about masks on this photograph.
        propagator: finds the traits.
        embedder: describes them.
        align: a function that aligns what was found to the reference (`Alignment.apply`).
        parts: work on several individuals at the same time, with the same results; None works on one after the other.

    Returns:
        The regions of each individual, in order of their numbers; and what was left out, a sentence each.
    """
    parts = parts or PartWorkers()
    detections = [each.detection for each in individuals]
    cutouts = [cut_out(image, detections, at) for at in range(len(individuals))]
    results = _propagate(propagator, memory, cutouts, parts)
    taken = np.zeros(image.shape[:2], dtype=bool)
    settled: dict[int, tuple[Propagated, Placement]] = {}
    notes = []
    # The surest first: where two reach for the same pixels, it has them.
    for at in sorted(range(len(individuals)), key=lambda at: (not individuals[at].decided, -detections[at].score, at)):
        individual, cutout, found = individuals[at], cutouts[at], results[at]
        if isinstance(found, InputError):
            notes.append(f"individual {individual.number} is left out: {found}")
            continue
        free = ~_inside(taken, cutout)
        outlined = individual.decided or individual.redrawn
        allowed = free & cutout.own if outlined else free
        found = replace(found, masks=cutout.keep_inside(found.masks) & allowed)
        found = _replace_drawn(found, memory.traits, individual, cutout)
        own = [
            _cut_review(each, cutout) for each in reviews if each.individual == individual.id and each.trait != WHOLE
        ]
        found = replace_reviewed(found, memory.traits, own)
        outline = cutout.own if individual.decided else found.masks.any(axis=0) | (cutout.own & free)
        _inside(taken, cutout)[...] |= outline
        place = cutout.place_box(rle.box(outline))
        encoded = cutout.encode(outline)
        score = individual.detection.score
        settled[at] = found, Placement(photograph.id, individual.number, place, score, encoded)

    def describe(at: int) -> list[Region]:
        found, placement = settled[at]
        cutout = cutouts[at]
        return describe_regions(
            individuals[at].id, cutout.image, align(found), memory.traits, embedder, cutout=cutout, placement=placement
        )

    return parts.map(describe, sorted(settled)), notes


def _propagate(
    propagator: Propagator, memory: Memory, cutouts: Sequence[Cutout], parts: PartWorkers
) -> list[Propagated | InputError]:
    """Find the traits on every cut-out; an individual that the propagator refuses takes no other with it."""
    size = get_batch_size(propagator)
    batches = [cutouts[start : start + size] for start in range(0, len(cutouts), size)]
    results = parts.map(lambda batch: _propagate_together(propagator, memory, batch), batches)
    return [each for batch in results for each in batch]


def _propagate_together(
    propagator: Propagator, memory: Memory, cutouts: Sequence[Cutout]
) -> list[Propagated | InputError]:
    """Find the traits on the cut-outs of a batch; if one is refused, on each alone."""
    images = [each.image for each in cutouts]
    try:
        return [*check_propagated(propagator.propagate(memory, images), images, memory.traits, propagator.name)]
    except InputError as error:
        if len(images) == 1:
            return [error]
        return [_propagate_together(propagator, memory, [one])[0] for one in cutouts]


def _replace_drawn(found: Propagated, traits: Sequence[str], individual: Numbered, cutout: Cutout) -> Propagated:
    """Replace the masks that were found on an annotated individual by those that a person drew."""
    support = individual.support
    if support is None:
        return found
    (x, y), (height, width) = cutout.corner, cutout.own.shape
    masks = np.ascontiguousarray(support.masks[:, y : y + height, x : x + width])
    return replace_drawn(found, traits, replace(support, image=cutout.image, masks=masks))


def _read_decisions(reviews: Sequence[Review], size: tuple[int, ...]) -> tuple[list[Numbered], list[Numbered]]:
    """Read what people decided on individuals: those that there are, and those that are none."""
    kept: list[Numbered] = []
    rejected: list[Numbered] = []
    for each in reviews:
        if each.trait == WHOLE and each.size == size:
            outline = _to_detection(rle.decode(each.rle, each.size))
            decided = Numbered(each.individual, _read_number(each.individual, 1), outline, decided=True)
            (kept if each.overrides_propagation else rejected).append(decided)
    return kept, rejected


def _join(drawn: Sequence[Numbered], kept: Sequence[Numbered]) -> list[Numbered]:
    """Join annotated individuals and those that people decided on; one that is both has the outline of the decision."""
    outlines = {each.number: each for each in kept}
    joined = [
        replace(each, detection=outlines[each.number].detection, decided=True) if each.number in outlines else each
        for each in drawn
    ]
    known = {each.number for each in drawn}
    return [*joined, *(each for each in kept if each.number not in known)]


def _cut_review(review: Review, cutout: Cutout) -> Review:
    """Return a review with its mask cut as the individual is; one of another photograph's size stays as it is."""
    if review.size != cutout.size:
        return review
    (x, y), (height, width) = cutout.corner, cutout.own.shape
    part = rle.decode_part(review.rle, review.size, (x, y, x + width, y + height))
    return replace(review, size=part.shape, rle=rle.encode(part))


def _inside(whole: Mask, cutout: Cutout) -> Mask:
    """Return the part of a mask of the photograph's size that a cut-out shows, as a view."""
    (x, y), (height, width) = cutout.corner, cutout.own.shape
    return whole[y : y + height, x : x + width]


def _to_detection(body: Mask) -> Detection:
    x0, y0, x1, y1 = rle.box(body)
    return Detection((x0, y0, x1, y1), 1.0, body[y0:y1, x0:x1])


def _read_number(individual: str, otherwise: int) -> int:
    """Read the number of an annotated individual from its name."""
    number = individual.rpartition("#")[2]
    return int(number) if number.isdecimal() else otherwise


def _is_among(found: Detection, drawn: Sequence[Numbered]) -> bool:
    """Say whether a found individual is one that was drawn: a good part of one lies in the other."""
    for each in drawn:
        other = each.detection
        shared = np.count_nonzero(_look(found, other.box) & _look(other, found.box))
        if shared > SAME * min(_count(found), _count(other)):
            return True
    return False


def _look(detection: Detection, box: Box) -> Mask:
    """Return the detection's mask inside the part of its box that it shares with another box."""
    x0, y0, x1, y1 = detection.box
    left, top = max(x0, box[0]), max(y0, box[1])
    right, bottom = max(left, min(x1, box[2])), max(top, min(y1, box[3]))
    if detection.mask is None:
        return np.ones((bottom - top, right - left), dtype=bool)
    return detection.mask[top - y0 : bottom - y0, left - x0 : right - x0]


def _count(detection: Detection) -> int:
    x0, y0, x1, y1 = detection.box
    return (x1 - x0) * (y1 - y0) if detection.mask is None else int(np.count_nonzero(detection.mask))


def _number(
    found: Sequence[Detection],
    photograph: str,
    drawn: Sequence[Numbered],
    rejected: Sequence[Numbered],
    reviews: Sequence[Review],
) -> list[Numbered]:
    """Number found individuals, in reading order, beside those that were drawn; reviewed ones keep their numbers.

    The number of one that was rejected stays its own: nobody else may be taken for it.
    """
    numbers: dict[int, int] = {}
    settled = {each.number for each in (*drawn, *rejected)}
    for number, box in _find_reviewed_boxes(photograph, reviews).items():
        if number in settled:
            continue  # Its mask may reach into a neighbour's box.
        free = [at for at in range(len(found)) if at not in numbers]
        best = max(free, key=lambda at: _overlap(found[at].box, box), default=None)
        if best is not None and _overlap(found[best].box, box) > 0:
            numbers[best] = number
    used = settled | set(numbers.values())
    following = (number for number in range(1, len(found) + len(used) + 1) if number not in used)
    for at in range(len(found)):
        if at not in numbers:
            numbers[at] = next(following)
    named = [Numbered(name_individual(photograph, numbers[at]), numbers[at], each) for at, each in enumerate(found)]
    return sorted([*drawn, *named], key=lambda each: each.number)


def _find_reviewed_boxes(photograph: str, reviews: Sequence[Review]) -> dict[int, Box]:
    """Return number -> box around the masks that were reviewed under that number."""
    boxes: dict[int, list[Box]] = {}
    for each in reviews:
        name, _, number = each.individual.rpartition("#")
        if name == photograph and number.isdecimal() and each.trait != WHOLE:
            box = rle.box(rle.decode(each.rle, each.size))
            if box != (0, 0, 0, 0):
                boxes.setdefault(int(number), []).append(box)
    return {
        number: (min(b[0] for b in own), min(b[1] for b in own), max(b[2] for b in own), max(b[3] for b in own))
        for number, own in boxes.items()
    }


def _overlap(first: Box, second: Box) -> int:
    """Return how many pixels two boxes share."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(0, width) * max(0, height)
