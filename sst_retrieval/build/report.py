"""The report of a build: what it did, for a person and as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did.

    Attributes:
        index: the index folder.
        generation: number of the state it committed.
        propagator: what found the traits, in a few words.
        embedder: what described them.
        device: where the models ran.
        workers: how many photographs were processed at the same time.
        processed: photographs processed.
        reused: photographs that needed no work: neither they nor their supports had changed.
        waiting: photographs of groups that the build left alone, which need work all the same.
        skipped: reason -> how many specimens were skipped for it.
        removed: ids of the specimens that were taken out (`prune`).
        vanished: how many indexed specimens are no longer in the table, and were kept.
        seconds: from start to end.
        seconds_per_image: mean over the photographs processed, supports included; None if there were none.
        peak_memory: the most memory the process ever held, in bytes.
        notes: what a person should know about the inputs, one sentence each: how the table, the supports and the
            photographs were read where that was not certain, and what was left out.
        rows: how many rows of the table were read.
    """

    index: Path
    generation: int
    propagator: str
    embedder: str
    device: str
    workers: int
    processed: int
    reused: int
    waiting: int
    skipped: Mapping[str, int]
    removed: tuple[str, ...]
    vanished: int
    seconds: float
    seconds_per_image: float | None
    peak_memory: int
    notes: tuple[str, ...] = ()
    rows: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the report in JSON values."""
        return {**asdict(self), "index": str(self.index), "removed": list(self.removed), "notes": list(self.notes)}

    def text(self) -> str:
        """Write the report for a person."""
        pace = "" if self.seconds_per_image is None else f", {self.seconds_per_image:.2f} s each"
        pace += f", {self.workers} at the same time" if pace and self.workers > 1 else ""
        lines = [
            f"{self.rows} row{'s' * (self.rows != 1)} read",
            f"{self.processed} photograph{'s' * (self.processed != 1)} processed{pace}; {self.reused} needed no work",
        ]
        if self.waiting:
            lines.append(f"{self.waiting} of other groups wait for a build of theirs; without --groups all are built")
        lines += [f"{count} skipped: {reason}" for reason, count in self.skipped.items()]
        lines += [f"note: {note}" for note in self.notes]
        if self.removed:
            lines.append(f"{len(self.removed)} specimens taken out (--prune)")
        if self.vanished:
            lines.append(f"{self.vanished} specimens are no longer in the table and were kept; --prune takes them out")
        lines += [
            f"masks by {self.propagator}; vectors by {self.embedder}; on {self.device}",
            f"{self.index}: generation {self.generation}, {self.seconds:.0f} s in all, "
            f"at most {self.peak_memory / 1024**3:.1f} GB of memory",
        ]
        return "\n".join(lines)
