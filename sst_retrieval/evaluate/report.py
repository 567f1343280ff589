"""Scores as aligned text, for the command line."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table as text: the first column to the left, the others to the right.

    >>> print(aligned(("trait", "IoU"), [("elytra", "0.83"), ("legs", "0.4")]))
    trait    IoU
    elytra  0.83
    legs     0.4
    """
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in (head, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)


def share(value: float | None) -> str:
    """Write a share of 0..1; a dash if there is none."""
    return "-" if value is None else f"{value:.3f}"
