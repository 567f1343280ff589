"""Checks of click prompts: points and a box on a photograph, before a model gets them."""

from __future__ import annotations

from collections.abc import Sequence

from sst_retrieval.errors import QueryError
from sst_retrieval.types import Box, Point


def check_prompts(size: tuple[int, int], inside: Sequence[Point], outside: Sequence[Point], box: Box | None) -> None:
    """Check that a prompt is not empty and lies within the photograph.

    Args:
        size: (height, width) of the photograph.
        inside: points on the trait.
        outside: points beside it.
        box: around the trait.

    Raises:
        QueryError: neither a point inside nor a box is given, or one lies beside the photograph.
    """
    height, width = size
    if not inside and box is None:
        raise QueryError("click on the trait, or draw a box around it")
    for x, y in (*inside, *outside):
        if not (0 <= x < width and 0 <= y < height):
            raise QueryError(f"the click ({x:g}, {y:g}) lies beside the photograph, which is {width} x {height} px")
    if box is not None:
        x0, y0, x1, y1 = box
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise QueryError(
                f"the box {box} is empty or reaches beyond the photograph, which is {width} x {height} px; "
                "give it as (left, top, right, bottom)"
            )
