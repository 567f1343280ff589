"""Reduce brightness values of any depth to 8 bits, by a rule that is the same for every picture.

1. Sixteen bits become eight by dropping the low byte (65535 -> 255), never by stretching a picture to its own range.
2. Cameras of 8, 10, 12 or 14 bits write their values into 16 bits as they are. So where no value of a picture is
   above a quarter of the range, and the brightest is near the top of such a depth, that depth is taken, and a note says
   so. Where it is near none and below a sixteenth of the range, the depth is unknown, and the picture is refused.
3. Floating point runs from 0 to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

CAMERA_DEPTHS = {8: 0.75, 10: 0.75, 12: 0.75, 14: 0.9}
"""Bits of cameras whose values are found, unscaled, in files of 16 bits, and the share of the range of that depth above
which the brightest value of a well exposed photograph lies. A dim photograph of 16 bits may end where 14 bits do."""

DIM = 1 << 14
"""Only where all values of a 16-bit picture are below this, its depth is in doubt."""

DARK = 1 << 12
"""A picture of unknown depth whose values are all below this is refused."""

_PART = 1 << 22


class UnsupportedPixelsError(ValueError):
    """A whole file of a kind whose brightness or colours have no known meaning."""


def find_depth(brightest: int, declared: int | None = None) -> int:
    """Find how many bits the values of a 16-bit picture have.

    Args:
        brightest: the largest value of the picture.
        declared: how many bits the file says, if it does; passed over where a value is larger.

    Returns:
        8 to 16.

    Raises:
        UnsupportedPixelsError: it cannot be known.

    >>> find_depth(65535), find_depth(20000), find_depth(4095), find_depth(6000)
    (16, 16, 12, 16)
    """
    if declared is not None and 8 <= declared < 16 and brightest < 1 << declared:
        return declared
    if brightest >= DIM or brightest == 0:
        return 16
    for bits, share in CAMERA_DEPTHS.items():
        if share * ((1 << bits) - 1) <= brightest < 1 << bits:
            return bits
    if brightest >= DARK:
        return 16
    raise UnsupportedPixelsError(
        f"its 16-bit values end at {brightest:,} of 65,535, which would be nearly black, and the file does not say how "
        f"many bits the camera had; scale the values to 16 bits, or save it with 8 bits"
    )


def reduce_depth(values: npt.NDArray[Any], declared: int | None = None) -> tuple[npt.NDArray[np.uint8], str | None]:
    """Reduce brightness values to 8 bits.

    Args:
        values: whole numbers or floating point, of any shape.
        declared: how many bits the file says that they have; all whole numbers of more than 8 bits are else taken as
            16-bit ones, or as `find_depth` finds.

    Returns:
        uint8 of the same shape; and a note if the depth was found from the values.

    Raises:
        UnsupportedPixelsError: the brightness has no known meaning: floating point beyond 0..1, whole numbers beyond 16
            bits or below 0, or a depth that cannot be known.
    """
    floating = np.issubdtype(values.dtype, np.floating)
    if not floating and not np.issubdtype(values.dtype, np.integer):
        raise UnsupportedPixelsError(f"its brightness is of the kind {values.dtype}, which has no known meaning")
    if values.dtype == np.uint8:
        return values, None
    top = 1 if floating else 65535
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # also true for not-a-number
        raise UnsupportedPixelsError(
            f"its brightness runs from {low} to {high}, and only 0 to {top} has a known meaning"
        )
    if floating:
        return _by_parts(values, lambda part: np.round(part * np.float32(255))), None
    if values.dtype == np.int8:
        raise UnsupportedPixelsError("its values are signed 8-bit numbers, whose brightness has no known meaning")
    depth = find_depth(int(high), declared)
    if values.dtype == np.int16 and depth == 16 and high:
        raise UnsupportedPixelsError(
            f"its values are signed 16-bit numbers up to {high:,}, whose brightness has no known meaning"
        )
    note = (
        f"its 16-bit values fill {depth} bits only, and are taken as {depth}-bit ones"
        if depth not in (16, declared)
        else None
    )
    return _by_parts(values, lambda part: part >> (depth - 8)), note


def _by_parts(values: npt.NDArray[Any], convert: Any) -> npt.NDArray[np.uint8]:
    """Convert an array in parts, so that no second one of its size is needed."""
    result = np.empty(values.shape, dtype=np.uint8)
    step = max(1, _PART // max(1, values[:1].size))
    for start in range(0, len(values), step):
        result[start : start + step] = convert(values[start : start + step])
    return result
