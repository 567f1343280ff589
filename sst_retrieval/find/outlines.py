"""Outlines of found individuals, drawn anew by a network that is prompted with them: any finder, then MobileSAM.

1. The finder finds individuals; how many, and how sure it is of each, does not change.
2. Each is drawn anew from its box and its mask (`nets.mobile_sam`); of the three answers the one that agrees best with
   what was found is taken, if it agrees by `AGREEMENT`; else the found mask stays as it is.
3. A pixel that several reach for goes to the one whose found mask stays, else to the one the network is surer of. One
   that would then no longer agree with what was found keeps its found mask, too.

A build keeps the traits of an individual inside its outline then, where else they may widen it (`build.individuals`).
What the finder gives no mask of, only a box, and what is no individual by its score, stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sst_retrieval.errors import ModelError
from sst_retrieval.find.contract import FOUND, Finder, compares_groups
from sst_retrieval.find.overlaps import Piece, count_shared, share_pixels, tighten
from sst_retrieval.types import Box, Detection, Floats, Mask, RGBImage, Support

AGREEMENT = 0.5
"""IoU with the found mask from which on a new outline is taken: below, it means another thing."""

OUTLINES: Mapping[str, str] = {
    "mobile_sam": "MobileSAM, a small Segment Anything, prompted with box and mask (extra mobilesam)",
    "mobile_sam@FILE": "the same, with weights in a file of your own",
}
"""What draws the outlines of found individuals anew -> what it is, in a few words."""


class EncodedPhotograph(Protocol):
    """A photograph on which outlines can be drawn."""

    def draw(self, box: Box, mask: Mask) -> list[tuple[Box, Floats]]:
        """Draw what a box and a mask mean (see `nets.mobile_sam.EncodedPhotograph.draw`)."""
        ...


class Outliner(Protocol):
    """A network that draws outlines.

    Attributes:
        weights: name, file, sha256 and licence of its weights, for the provenance.
    """

    weights: Mapping[str, str]

    def encode(self, image: RGBImage) -> EncodedPhotograph:
        """Encode a photograph, uint8 (H, W, 3)."""
        ...


class OutliningFinder:
    """A finder whose individuals are drawn anew (a `Finder`).

    Attributes:
        name: the finder's own, and what draws; goes into the provenance.
        outlines: name, file, sha256 and licence of the weights that draw, for the provenance.
        concurrent: whether several threads may call it at the same time: as the finder.
        compares_groups: as the finder (see `find.contract.Finder`).
    """

    def __init__(self, finder: Finder, outliner: Outliner) -> None:
        """Take a finder, and what draws outlines."""
        self._finder, self._outliner = finder, outliner
        self.outlines = outliner.weights
        self.concurrent = getattr(finder, "concurrent", False) is True
        self.compares_groups = compares_groups(finder)
        self.name = (
            f"{finder.name}; outlines drawn anew by {self.outlines['name']} {self.outlines['sha256'][:12]} where they "
            f"agree by {AGREEMENT}"
        )

    def remember(self, supports: Sequence[Support]) -> Any:
        """Encode the annotated individuals of one group, as the finder does."""
        return self._finder.remember(supports)

    def find(self, memory: Any, image: RGBImage) -> list[Detection]:
        """Find the individuals on a photograph and draw them anew (see `Finder.find`)."""
        return redraw(self._finder.find(memory, image), image, self._outliner)


def load_outliner(name: str, device: str = "auto") -> Outliner:
    """Load what draws outlines.

    Args:
        name: a name of `OUTLINES`.
        device: "auto", "cpu" or "cuda".

    Raises:
        ModelError: the name is unknown, or what it needs is not installed.
    """
    kind, at, file = name.partition("@")
    if kind != "mobile_sam" or (at and not file):
        raise ModelError(f"there are no outlines {name!r}; choose {' or '.join(OUTLINES)}")
    from sst_retrieval.nets.mobile_sam import MobileSam  # Here, because it loads PyTorch.

    return MobileSam(Path(file).expanduser() if file else None, device)


@dataclass(frozen=True, slots=True)
class _Drawing:
    """A new outline: its box (x0, y0, x1, y1), and float32 (y1 - y0, x1 - x0), above 0 where it is drawn."""

    box: Box
    logits: Floats


def redraw(found: Sequence[Detection], image: RGBImage, outliner: Outliner) -> list[Detection]:
    """Draw found individuals anew.

    Args:
        found: by a finder.
        image: uint8 (H, W, 3), the photograph.
        outliner: draws.

    Returns:
        The same, in their order, with other masks and boxes; masks of two never share a pixel.
    """
    meant = {
        at: (each.box, each.mask) for at, each in enumerate(found) if each.score >= FOUND and each.mask is not None
    }
    if not meant:
        return list(found)
    encoded = outliner.encode(image)
    drawings = {
        at: drawing for at, piece in meant.items() if (drawing := _choose(piece, encoded.draw(*piece))) is not None
    }
    while True:
        kept = [piece for at, piece in meant.items() if at not in drawings]
        pieces = _settle(drawings, kept)
        lost = [at for at, piece in pieces.items() if piece is None or _agreement(meant[at], piece) < AGREEMENT]
        if not lost:
            break
        for at in lost:
            del drawings[at]
    return _put_in(found, {at: piece for at, piece in pieces.items() if piece is not None})


def _choose(piece: Piece, answers: Sequence[tuple[Box, Floats]]) -> _Drawing | None:
    """Choose the answer that agrees best with what was found; None if none agrees enough."""
    best, agreement = None, AGREEMENT
    for box, logits in answers:
        tight = tighten(box, logits > 0)
        if tight is None:
            continue
        alike = _agreement(piece, tight)
        if alike >= agreement and (best is None or alike > agreement):
            (x0, y0, x1, y1), left, top = tight[0], box[0], box[1]
            best, agreement = _Drawing(tight[0], logits[y0 - top : y1 - top, x0 - left : x1 - left]), alike
    return best


def _settle(drawings: Mapping[int, _Drawing], kept: Sequence[Piece]) -> dict[int, Piece | None]:
    """Give every pixel to one drawing at most, and none of those that are kept; None where nothing is left of one."""
    left = {at: np.where(each.logits > 0, each.logits, 0) for at, each in drawings.items()}
    for at, drawing in drawings.items():
        for box, mask in kept:
            own, other = _shared_parts(drawing.box, box)
            left[at][own][mask[other]] = 0
    order = list(drawings)
    for position, one in enumerate(order):
        for two in order[position + 1 :]:
            first, second = (
                left[at][part]
                for at, part in zip((one, two), _shared_parts(drawings[one].box, drawings[two].box), strict=True)
            )
            # Of equal ones the earlier. Whoever loses a pixel here would lose it to the winner of all, too.
            wins = first >= second
            both = (first > 0) & (second > 0)
            first[both & ~wins] = 0
            second[both & wins] = 0
    return {at: tighten(drawings[at].box, logits > 0) for at, logits in left.items()}


def _shared_parts(one: Box, other: Box) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where the part that two boxes share lies in each of them, (rows, columns); empty if there is none."""
    x0, y0 = max(one[0], other[0]), max(one[1], other[1])
    x1, y1 = max(x0, min(one[2], other[2])), max(y0, min(one[3], other[3]))

    def place(box: Box) -> tuple[slice, slice]:
        return slice(y0 - box[1], y1 - box[1]), slice(x0 - box[0], x1 - box[0])

    return place(one), place(other)


def _agreement(one: Piece, other: Piece) -> float:
    """Return the IoU of two pieces."""
    shared = count_shared(one, other)
    return shared / (int(np.count_nonzero(one[1])) + int(np.count_nonzero(other[1])) - shared)


def _put_in(found: Sequence[Detection], drawn: Mapping[int, Piece]) -> list[Detection]:
    """Put new outlines in; what is no individual by its score gives way to them, and goes if nothing is left of it."""
    put: list[Detection] = []
    for at, each in enumerate(found):
        if at in drawn:
            box, mask = drawn[at]
            put.append(replace(each, box=box, mask=mask))
        elif each.mask is None or each.score >= FOUND:
            put.append(each)
        elif (rest := share_pixels([*drawn.values(), (each.box, each.mask)])[-1]) is not None:
            put.append(replace(each, box=rest[0], mask=rest[1]))
    return put
