"""Reviews of masks: an append-only record of decisions beside the shards.

    reviews/decisions.jsonl     one line a review; the last one of a trait on a photograph counts

A review belongs to the content of a photograph, not to a build: a rebuild, another model or a renamed file never
loses it, and another photograph under the same name does not inherit it. Each line has a checksum, over its other
entries; lines of older versions have none, and the manifest has one of the whole record as it was at the last commit.
It stores the mask that was reviewed:

- accept: this mask is right, and it stays, whatever a later build finds;
- reject: this mask is wrong; the trait is no hit and is not exported, until a later review;
- redraw: this mask, drawn by the reviewer, takes the place of the one that was found;
- reopen: earlier reviews no longer count.

Of photographs that may show several individuals, people also decide on the individuals themselves: a review of the
trait `WHOLE` bears the outline of the individual. "reject" says that it is none, "redraw" what it really is, or, under
a number that no individual has, that there is one more; the next build takes it so.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from sst_retrieval import provenance
from sst_retrieval.errors import IndexFolderError, QueryError
from sst_retrieval.imaging.masks import box, decode, encode
from sst_retrieval.index.checksums import find_unreadable, hash_json, parse_json
from sst_retrieval.types import Frame, Individual, Mask, Photograph, Region

DECISIONS: Mapping[str, str | None] = {
    "accept": "accepted",
    "reject": "rejected",
    "redraw": "redrawn",
    "reopen": None,
}
"""Decision -> value of the column `review`."""

WHOLE = "sst:individual"
"""Stands for the individual itself in the place of a trait."""

LOCK_TIMEOUT = 10.0
"""Seconds to wait while another process appends."""

Key: TypeAlias = tuple[str, str, str]
"""(specimen, trait, SHA-256 of the photograph's content)."""


@dataclass(frozen=True, slots=True)
class Review:
    """One decision of one person about one mask.

    Attributes:
        individual: id of the individual; "specimen" in the record.
        trait: name of the trait.
        content: SHA-256 of the photograph's content.
        decision: a key of `DECISIONS`.
        reviewer: who decided.
        time: when, ISO 8601 in UTC.
        size: (height, width) of the photograph in pixels.
        rle: the mask that was reviewed, or for "redraw" the new one, as compressed COCO run-length counts.
        comment: anything else.
    """

    individual: str
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
        """What was reviewed."""
        return self.individual, self.trait, self.content

    @property
    def overrides_propagation(self) -> bool:
        """Whether this mask replaces whatever a build propagates."""
        return self.decision in ("accept", "redraw")

    def mask(self) -> Mask:
        """Decode the mask that was reviewed, or drawn: bool (H, W).

        Raises:
            IndexFolderError: it is damaged.
        """
        try:
            return decode(self.rle, self.size)
        except ValueError as error:
            raise IndexFolderError(
                f"the review of {self.trait} of {self.individual} at {self.time} has a damaged mask ({error}); "
                "review it again"
            ) from error

    settles_mask = overrides_propagation  # Its name in version 0.1.

    def to_json(self, *, sealed: bool = True) -> str:
        """Write as one line.

        Args:
            sealed: with a checksum; it stands in "mask", where older programs read past it.
        """
        mask: dict[str, Any] = {"size": list(self.size), "counts": self.rle.decode("ascii")}
        names = ("trait", "content", "decision", "reviewer", "time", "comment")
        fields = {"specimen": self.individual, **{name: getattr(self, name) for name in names}, "mask": mask}
        if sealed:
            mask["checksum"] = hash_json(fields)
        return json.dumps(fields, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class RegionReviews:
    """The reviews that count, matched to the regions of one generation; immutable.

    Attributes:
        by_region: region id -> review.
        stale_ids: regions whose mask a review replaced since the build: vector and measurements are of the old mask.
        hidden_ids: int64 (n,), ascending: regions that are left out of every result, being rejected or stale.
        by_individual: individual -> the review of itself, of photographs that may show several.
    """

    by_region: Mapping[int, Review]
    stale_ids: frozenset[int]
    hidden_ids: npt.NDArray[np.int64]
    by_individual: Mapping[str, Review] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        current: Mapping[Key, Review],
        regions: Iterable[tuple[Any, ...]],
        individuals: Sequence[tuple[str, bytes | None, str]] = (),
    ) -> Self:
        """Match reviews to regions.

        Args:
            current: the reviews that count (`latest_reviews`); those of other photographs match no region.
            regions: region id, individual, trait, SHA-256 of the photograph's content, run-length code of the mask.
            individuals: individual, run-length code of its outline, SHA-256 of the photograph's content.
        """
        regions = list(regions)
        outlines = {name: outline for name, outline, content in individuals if (name, WHOLE, content) in current}
        by_individual = {name: current[name, WHOLE, content] for name, _, content in individuals if name in outlines}
        # Those that a review took away, or drew otherwise than the build found them.
        changed = {
            name
            for name, review in by_individual.items()
            if review.decision == "reject" or (review.decision == "redraw" and review.rle != outlines[name])
        }
        gone = [number for number, individual, *_ in regions if individual in changed]
        matched = {
            number: (current[specimen, trait, content], rle)
            for number, specimen, trait, content, rle in regions
            if (specimen, trait, content) in current
        }
        rejected = [number for number, (review, _) in matched.items() if review.decision == "reject"]
        stale = frozenset(
            n for n, (review, rle) in matched.items() if review.overrides_propagation and review.rle != rle
        )
        hidden = np.unique(np.array([*rejected, *stale, *gone], dtype=np.int64))
        by_region = {number: review for number, (review, _) in matched.items()}
        return cls(by_region, stale, hidden, by_individual)

    def status(self, region_id: int) -> str | None:
        """Return a region's value of the column `review`; None without a review."""
        review = self.by_region.get(region_id)
        return None if review is None else DECISIONS[review.decision]

    def statuses(self, region_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
        """Return the value of the column `review` of regions, int64 (n,): texts, object (n,); "" without a review."""
        found = np.full(len(region_ids), "", dtype=object)
        for row in np.flatnonzero(np.isin(region_ids, list(self.by_region))).tolist():
            found[row] = self.status(int(region_ids[row]))
        return found


@contextmanager
def hold_record(path: Path) -> Iterator[None]:
    """Keep other programs from adding to the record; whoever holds it may hold it once more, and append.

    Args:
        path: the file; its folder is made if it is missing.

    Raises:
        IndexFolderError: another program holds it, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(exist_ok=True)
        # One lock for all who ask in this process: in a thread that holds it, it is no obstacle.
        with FileLock(path.with_name(".lock"), timeout=LOCK_TIMEOUT, is_singleton=True):
            yield
    except Timeout as error:
        raise IndexFolderError(f"{path} is being written by another program; try again") from error
    except OSError as error:
        raise IndexFolderError(f"the decision was not kept: {path} cannot be written ({error.strerror})") from error


def append_reviews(path: Path, reviews: Iterable[Review]) -> None:
    """Append reviews to the record. Once this returns they survive a crash.

    Args:
        path: the file; it and its folder are made if they are missing.
        reviews: oldest first.

    Raises:
        IndexFolderError: another process holds the file, or it cannot be written.
    """
    lines = "".join(review.to_json() + "\n" for review in reviews).encode()
    with hold_record(path), path.open("ab+") as file:
        file.seek(0)
        text = file.read()
        whole = text.rfind(b"\n") + 1
        if len(split_record(text)) > text.count(b"\n"):
            raise IndexFolderError(f"{path} is damaged in its last byte; {_remedy(path)}")
        file.truncate(whole)  # A line that a crash cut short was never a review.
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def read_reviews(path: Path, start: tuple[int, str] | None = None) -> tuple[Review, ...]:
    """Read the record, oldest review first; empty if there is no file.

    Args:
        path: the file.
        start: what the record must begin with: size in bytes and SHA-256.

    Raises:
        IndexFolderError: the file cannot be read, or a line is not a review; says which.
    """
    text = read_record(path)
    reviews = tuple(_read(path, number, line) for number, line in enumerate(split_record(text), start=1))
    if start is not None and start != _hash_start(text, start[0]):
        raise IndexFolderError(
            f"{path} does not begin as it did at the last build: reviews of masks were lost or changed; {_remedy(path)}"
        )
    return reviews


def read_record(path: Path) -> bytes:
    """Read the file of the record; empty if there is none.

    Raises:
        IndexFolderError: it cannot be read.
    """
    wrong = find_unreadable(path)
    if wrong == "is missing":
        return b""
    if wrong is not None:
        raise IndexFolderError(f"{path} {wrong}; put the record of reviews there, or remove it")
    try:
        return path.read_bytes()
    except OSError as error:
        raise IndexFolderError(f"{path} cannot be read ({error.strerror}); check that you may read it") from error


def split_record(text: bytes) -> list[bytes]:
    """Split a record into its lines.

    What follows the last line end was cut short by a crash, or is being written now, unless only its line end is
    damaged.
    """
    *lines, rest = text.split(b"\n")
    try:
        parse_review(rest[:-1], sealed=True)
    except ValueError:
        return lines
    return [*lines, rest]


def hash_record(text: bytes) -> tuple[int, str]:
    """Return size and SHA-256 of the whole lines of a record, as `read_reviews` compares them."""
    return _hash_start(text, text.rfind(b"\n") + 1)


def _hash_start(text: bytes, size: int) -> tuple[int, str]:
    return min(size, len(text)), hashlib.sha256(text[:size]).hexdigest()


def _remedy(path: Path) -> str:
    return (
        f"restore the file from a backup, or: sst-retrieval verify {path.parent.parent} --repair sets damaged lines "
        "aside and keeps the others"
    )


def latest_reviews(reviews: Iterable[Review]) -> dict[Key, Review]:
    """Select the reviews that count: the last of each trait on a photograph, unless it was reopened."""
    last = {review.key: review for review in reviews}
    return {key: review for key, review in last.items() if review.decision != "reopen"}


def group_by_content(reviews: Iterable[Review]) -> dict[str, tuple[Review, ...]]:
    """Group the reviews that count by the content of the photograph, each group in order of individuals and traits."""
    groups: dict[str, list[Review]] = {}
    for (_, _, content), review in sorted(latest_reviews(reviews).items()):
        groups.setdefault(content, []).append(review)
    return {content: tuple(own) for content, own in groups.items()}


def select_reviews(reviews: Iterable[Review], photograph: Photograph) -> tuple[Review, ...]:
    """Select the reviews of the individuals on a photograph, from those of its content: files may be named twice."""
    return tuple(
        each
        for each in reviews
        if each.individual == photograph.id
        or (each.individual.startswith(f"{photograph.id}#") and each.individual[len(photograph.id) + 1 :].isdecimal())
    )


def hash_redraws(supports: str, reviews: Iterable[Review]) -> str:
    """Combine the hash of a group's supports with the masks redrawn on one photograph.

    Args:
        supports: the hash of the supports.
        reviews: those that count on the photograph, in a fixed order.

    Returns:
        `supports` itself if nothing was redrawn, else another hash: a build then processes the photograph again.
    """
    drawn: list[tuple[object, ...]] = []
    for each in reviews:
        if each.trait == WHOLE and each.decision != "accept":
            drawn.append((each.individual, each.decision, each.rle))
        elif each.decision == "redraw":
            drawn.append((each.trait, each.rle))
    return hashlib.sha256(repr((supports, drawn)).encode()).hexdigest() if drawn else supports


def make_review(
    region: Region, content: str, decision: str, reviewer: str, mask: Mask | None = None, comment: str = ""
) -> Review:
    """Make the review of a region, dated now.

    Args:
        region: what is reviewed.
        content: SHA-256 of its photograph's content.
        decision: a key of `DECISIONS`.
        reviewer: who decides.
        mask: bool (H, W), with "redraw": what the trait really is.
        comment: anything else.

    Raises:
        QueryError: there is no such decision, nobody decides, or the mask is missing, too much, or of another size.
    """
    name = f"{region.trait} of {region.individual}"
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
    names = region.individual, region.trait, content, decision, reviewer.strip()
    return Review(*names, provenance.now(), region.size, rle, comment.strip())


def make_individual_review(
    individual: Individual, content: str, decision: str, reviewer: str, outline: Mask | None = None, comment: str = ""
) -> Review:
    """Make the review of an individual itself, dated now.

    Args:
        individual: of a photograph that may show several; with "redraw" it may be a new one.
        content: SHA-256 of its photograph's content.
        decision: "accept", "reject", "redraw" or "reopen".
        reviewer: who decides.
        outline: bool (H, W) at the photograph's size, with "redraw": all its pixels.
        comment: anything else.

    Raises:
        QueryError: there is no such decision, nobody decides, the outline is missing, too much, empty or of another
            size, or the photograph was not processed.
    """
    if individual.size is None:
        raise QueryError(f"{individual.photograph.id} was not processed, so there is nothing to decide on")
    if outline is not None and not outline.any():
        raise QueryError(f"{individual.id}: the outline is empty; to say that there is none, decide 'reject'")
    rle = individual.outline or encode(np.zeros(individual.size, dtype=bool))
    whole = Region(
        *(individual.id, WHOLE, True, 1.0, individual.size, rle, (0, 0, 0, 0), Frame((1, 0, 0, 0, 1, 0))),
        vector=None,
        measurements={},
    )
    return make_review(whole, content, decision, reviewer, outline, comment)


def apply_review_mask(region: Region, review: Review) -> Region:
    """Return a region with the mask of its review, confidence 1, and neither vector nor measurements.

    Raises:
        IndexFolderError: the mask of the review is damaged.
    """
    mask = review.mask()
    return replace(
        region,
        present=bool(mask.any()),
        confidence=1.0,
        rle=review.rle,
        box=box(mask),
        vector=None,
        measurements={},
    )


def make_absent(region: Region) -> Region:
    """Return a region without its mask, vector and measurements: how an export writes a rejected one."""
    empty = encode(np.zeros(region.size, dtype=bool))
    return replace(region, present=False, rle=empty, box=(0, 0, 0, 0), vector=None, measurements={})


def parse_review(line: bytes, *, sealed: bool = False) -> Review:
    """Parse one line of the record.

    Args:
        line: without its line end.
        sealed: refuse lines without a checksum, too.

    Raises:
        ValueError: it is no review, or does not fit its checksum; says why.
    """
    fields = parse_json(line.decode())
    try:
        mask = fields.pop("mask")
        has_checksum = mask.keys() != {"size", "counts"}
        height, width = mask["size"]
        individual = fields.pop("specimen")
        review = Review(individual, size=(height, width), rle=mask["counts"].encode("ascii"), **fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error
    names = ("individual", "trait", "content", "decision", "reviewer", "time", "comment")
    if not all(isinstance(getattr(review, name), str) for name in names):
        raise ValueError("an entry is no text")
    if not all(type(side) is int and 0 < side < 1 << 31 for side in review.size):
        raise ValueError("the size of the mask is no number of pixels")
    if (has_checksum or sealed) and review.to_json().encode() != line.removesuffix(b"\r"):
        raise ValueError("it does not fit its checksum")
    if review.decision not in DECISIONS:
        raise ValueError(f"the decision {review.decision!r} is not one of {', '.join(DECISIONS)}")
    return review


def _read(path: Path, number: int, line: bytes) -> Review:
    try:
        return parse_review(line)
    except ValueError as error:
        raise IndexFolderError(
            f"{path}, line {number} is not a decision ({error}): a review of a mask is lost; {_remedy(path)}"
        ) from error
