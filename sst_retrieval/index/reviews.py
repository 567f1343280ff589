"""What people decided about masks: an append-only record beside the shards.

    reviews/decisions.jsonl     one line a decision; the last one on a trait of a photograph counts

A decision belongs to the content of a photograph, not to a build: a rebuild, another model or a renamed file never
loses it, and another photograph under the same name does not inherit it. It keeps the mask it was made on:

- accept: this mask is right, and it stays, whatever a later build finds;
- reject: this mask is wrong; the trait is no hit and is not exported, until somebody decides otherwise;
- redraw: this mask, drawn by the reviewer, takes the place of the one that was found;
- reopen: the earlier decision no longer counts.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from sst_retrieval import provenance
from sst_retrieval.errors import IndexFolderError, QueryError
from sst_retrieval.imaging.masks import box, decode, encode
from sst_retrieval.types import Mask, Region

DECISIONS: Mapping[str, str | None] = {
    "accept": "accepted",
    "reject": "rejected",
    "redraw": "redrawn",
    "reopen": None,
}
"""What a reviewer may decide -> how the column `review` says it."""

WAIT = 10.0
"""How many seconds to wait for another reviewer's line to be written."""

Key: TypeAlias = tuple[str, str, str]
"""(specimen, trait, SHA-256 of the photograph's content)."""


@dataclass(frozen=True, slots=True)
class Review:
    """One decision of one person.

    Attributes:
        specimen: id of the specimen.
        trait: name of the trait.
        content: SHA-256 of the photograph's content.
        decision: a key of `DECISIONS`.
        reviewer: who decided.
        time: when, ISO 8601 in UTC.
        size: (height, width) of the photograph in pixels.
        rle: the mask that was judged, or the one that was drawn, as compressed COCO run-length counts.
        comment: anything else.
    """

    specimen: str
    trait: str
    content: str
    decision: str
    reviewer: str
    time: str
    size: tuple[int, int]
    rle: bytes
    comment: str = ""

    @property
    def key(self) -> Key:
        """What the decision is about."""
        return self.specimen, self.trait, self.content

    @property
    def settles_mask(self) -> bool:
        """Say whether the decision's mask takes the place of whatever a build finds."""
        return self.decision in ("accept", "redraw")

    def to_json(self) -> str:
        """Write as one line."""
        mask = {"size": list(self.size), "counts": self.rle.decode("ascii")}
        names = ("specimen", "trait", "content", "decision", "reviewer", "time", "comment")
        return json.dumps({**{name: getattr(self, name) for name in names}, "mask": mask}, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Judgements:
    """The decisions that count on the regions of one generation. They never change; new ones take their place.

    Attributes:
        reviews: region id -> decision.
        waiting: regions whose mask a person has settled and no build has described yet.
        hidden: int64 (n,), ascending: regions that no search finds, because they were rejected or are waiting.
    """

    reviews: Mapping[int, Review]
    waiting: frozenset[int]
    hidden: npt.NDArray[np.int64]

    @classmethod
    def of(cls, counting: Mapping[Key, Review], regions: Iterable[tuple[Any, ...]]) -> Self:
        """Lay decisions over regions.

        Args:
            counting: the decisions that count (`latest`); those on other photographs are left alone.
            regions: region id, specimen, trait, SHA-256 of the photograph's content, run-length code of the mask.
        """
        judged = {
            number: (counting[specimen, trait, content], rle)
            for number, specimen, trait, content, rle in regions
            if (specimen, trait, content) in counting
        }
        rejected = [number for number, (review, _) in judged.items() if review.decision == "reject"]
        waiting = frozenset(n for n, (review, rle) in judged.items() if review.settles_mask and review.rle != rle)
        hidden = np.sort(np.array([*rejected, *waiting], dtype=np.int64))
        return cls({number: review for number, (review, _) in judged.items()}, waiting, hidden)

    def word(self, region_id: int) -> str | None:
        """Return how the column `review` says the decision on a region; None if nobody decided."""
        review = self.reviews.get(region_id)
        return None if review is None else DECISIONS[review.decision]


def append_reviews(path: Path, reviews: Iterable[Review]) -> None:
    """Add decisions to the record. Once this returns they survive a crash.

    Args:
        path: the file; it and its folder are made if they are not there.
        reviews: what was decided, oldest first.

    Raises:
        IndexFolderError: the file is kept by another program, or cannot be written.
    """
    lines = "".join(review.to_json() + "\n" for review in reviews).encode()
    try:
        path.parent.mkdir(exist_ok=True)
        with FileLock(path.with_name(".lock"), timeout=WAIT), path.open("ab+") as file:
            file.truncate(_whole_lines(file))  # A line that a crash cut short was never a decision.
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except Timeout as error:
        raise IndexFolderError(f"{path} is being written by another program; try again") from error
    except OSError as error:
        raise IndexFolderError(f"the decision was not kept: {path} cannot be written ({error.strerror})") from error


def read_reviews(path: Path) -> tuple[Review, ...]:
    """Read the record, oldest decision first; none if there is no file.

    Raises:
        IndexFolderError: a line is not a decision; says which.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise IndexFolderError(f"{path} cannot be read ({error.strerror}); check that you may read it") from error
    # What follows the last line end was cut short by a crash, or is being written now.
    lines = text[: text.rfind(b"\n") + 1].splitlines()
    return tuple(_read(path, number, line) for number, line in enumerate(lines, start=1))


def latest(reviews: Iterable[Review]) -> dict[Key, Review]:
    """Keep the decisions that count: the last on each trait of a photograph, unless it was reopened."""
    last = {review.key: review for review in reviews}
    return {key: review for key, review in last.items() if review.decision != "reopen"}


def by_photograph(reviews: Iterable[Review]) -> dict[tuple[str, str], tuple[Review, ...]]:
    """Sort the decisions that count by (specimen, content), each in order of the trait's name."""
    sorted_out: dict[tuple[str, str], list[Review]] = {}
    for (specimen, _, content), review in sorted(latest(reviews).items()):
        sorted_out.setdefault((specimen, content), []).append(review)
    return {photograph: tuple(own) for photograph, own in sorted_out.items()}


def with_redraws(supports: str, reviews: Iterable[Review]) -> str:
    """Join the hash of a group's supports with the masks redrawn on one photograph.

    Args:
        supports: the hash of the supports.
        reviews: the decisions that count on the photograph, in a fixed order.

    Returns:
        `supports` itself if nothing was redrawn, else another hash: a build then sees that there is work.
    """
    drawn = [(review.trait, review.rle) for review in reviews if review.decision == "redraw"]
    return hashlib.sha256(repr((supports, drawn)).encode()).hexdigest() if drawn else supports


def judgement(
    region: Region, content: str, decision: str, reviewer: str, mask: Mask | None = None, comment: str = ""
) -> Review:
    """Write up a decision about a region, made now.

    Args:
        region: what is judged.
        content: SHA-256 of its photograph's content.
        decision: a key of `DECISIONS`.
        reviewer: who decides.
        mask: bool (H, W), with "redraw": what the trait really is.
        comment: anything else.

    Raises:
        QueryError: there is no such decision, nobody decides, or the mask is missing, too much, or of another size.
    """
    name = f"{region.trait} of {region.specimen}"
    if decision not in DECISIONS:
        raise QueryError(f"{name}: {decision!r} is no decision; decide {', '.join(DECISIONS)}")
    if not reviewer.strip():
        raise QueryError(f"{name}: say who decides")
    if (mask is not None) != (decision == "redraw"):
        raise QueryError(f"{name}: a mask belongs to the decision 'redraw', and to that only")
    if mask is not None and mask.shape != region.size:
        raise QueryError(
            f"{name}: the mask is {mask.shape[1]} x {mask.shape[0]} px, the photograph {region.size[1]} x "
            f"{region.size[0]}; draw on the photograph at its own size"
        )
    rle = region.rle if mask is None else encode(mask)
    names = region.specimen, region.trait, content, decision, reviewer.strip()
    return Review(*names, provenance.now(), region.size, rle, comment.strip())


def settled(region: Region, review: Review) -> Region:
    """Put the mask that a person settled into a region; nothing was described or measured yet."""
    mask = decode(review.rle, review.size)
    return replace(
        region,
        present=bool(mask.any()),
        confidence=1.0,
        rle=review.rle,
        box=box(mask),
        vector=None,
        measurements={},
    )


def as_absent(region: Region) -> Region:
    """Empty a region: what a rejected one looks like to an export."""
    empty = encode(np.zeros(region.size, dtype=bool))
    return replace(region, present=False, rle=empty, box=(0, 0, 0, 0), vector=None, measurements={})


def _whole_lines(file: Any) -> int:
    """Return how many bytes of a file are whole lines."""
    file.seek(0)
    return int(file.read().rfind(b"\n")) + 1


def _read(path: Path, number: int, line: bytes) -> Review:
    try:
        fields = json.loads(line)
        mask = fields.pop("mask")
        height, width = mask["size"]
        review = Review(size=(int(height), int(width)), rle=mask["counts"].encode("ascii"), **fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IndexFolderError(
            f"{path}, line {number} is not a decision ({error}); repair or remove the line"
        ) from error
    if review.decision not in DECISIONS:
        raise IndexFolderError(
            f"{path}, line {number}: the decision {review.decision!r} is not one of {', '.join(DECISIONS)}"
        )
    return review
