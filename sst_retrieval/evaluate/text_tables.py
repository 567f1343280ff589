"""Tables as aligned plain text, for the command line."""

from __future__ import annotations

from collections.abc import Sequence


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align a table as text: the first column to the left, the others to the right.

    Args:
        head: headings of the columns.
        rows: cells of every row, as many as headings.

    >>> print(format_table(("trait", "IoU"), [("elytra", "0.83"), ("legs", "0.4")]))
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


def format_share(value: float | None) -> str:
    """Format a share, 0..1, with three decimals; None as a dash."""
    return "-" if value is None else f"{value:.3f}"
