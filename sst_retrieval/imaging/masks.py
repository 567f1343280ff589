"""Operations on masks: run-length coding, boxes, overlap, outlines, label maps.

A mask is bool (H, W). Nothing here depends on a photograph, a trait or a model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco
from skimage.measure import find_contours

from sst_retrieval.imaging.images import MAX_PIXELS
from sst_retrieval.types import Box, Mask, MaskStack


def encode(mask: Mask) -> bytes:
    """Compress a mask to COCO run-length counts; without loss, and readable by any COCO tool.

    Args:
        mask: bool (H, W).

    Returns:
        The `counts` of a compressed COCO RLE. The size is not in them: keep (H, W) next to them.

    >>> import numpy as np
    >>> encode(np.zeros((3, 5), dtype=bool))
    b'?'
    """
    height, width = mask.shape
    # Where a run begins. Found row by row, as the mask lies in memory: to turn a large one round costs far more.
    rows, columns = np.divmod(np.flatnonzero(mask[1:] != mask[:-1]), max(width, 1))
    at_top = np.flatnonzero(mask[:1].ravel() != np.concatenate([[False], mask[-1:].ravel()[:-1]]))
    starts = np.sort(np.concatenate([columns * height + rows + 1, at_top * height]))
    runs = np.diff(starts, prepend=0, append=height * width).tolist()
    counts: bytes = coco.frPyObjects({"counts": runs, "size": [height, width]}, height, width)["counts"]
    return counts


def encode_part(part: Mask, corner: tuple[int, int], size: tuple[int, int]) -> bytes:
    """Compress a mask of which a part is given, as `encode` compresses the whole; the rest is empty.

    Args:
        part: bool (h, w).
        corner: (x, y) of its upper left pixel on the whole mask, inside which it lies.
        size: (height, width) of the whole mask.

    Returns:
        The `counts` of a compressed COCO RLE.

    >>> import numpy as np
    >>> whole = np.zeros((4, 5), dtype=bool)
    >>> whole[1:4, 2:4] = True
    >>> encode_part(whole[1:4, 2:4], (2, 1), (4, 5)) == encode(whole)
    True
    """
    (x, y), (height, width) = corner, size
    if not (0 <= x <= width - part.shape[1] and 0 <= y <= height - part.shape[0]):
        raise ValueError(f"a part of {part.shape} at {corner} does not lie in {size}")
    columns, rows = np.nonzero(np.diff(np.pad(part, ((1, 1), (0, 0))).astype(np.int8), axis=0).T)
    changes = (x + columns) * height + y + rows
    # A run that ends where the next one begins, at the top of the next column, goes on.
    joined = np.flatnonzero(changes[1:] == changes[:-1])
    changes = np.delete(changes, np.concatenate([joined, joined + 1]))
    runs = np.diff(changes, prepend=0, append=height * width).tolist()
    counts: bytes = coco.frPyObjects({"counts": runs, "size": [height, width]}, height, width)["counts"]
    return counts


def decode_part(rle: bytes, size: tuple[int, int], part: Box) -> Mask:
    """Decompress a part of the mask from `encode`, without making the whole.

    Args:
        rle: compressed COCO run-length counts.
        size: (height, width) of the whole mask.
        part: (x0, y0, x1, y1), inside it.

    Returns:
        bool (y1 - y0, x1 - x0).

    Raises:
        ValueError: the counts are damaged or do not fit the size.
    """
    runs = _check_runs(rle, size)
    height = size[0]
    x0, y0, x1, y1 = part
    ends = np.cumsum(runs)
    inside = np.clip(ends, x0 * height, x1 * height) - np.clip(ends - runs, x0 * height, x1 * height)
    column_by_column = np.repeat(np.arange(len(runs)) % 2 == 1, inside)
    return np.ascontiguousarray(column_by_column.reshape(x1 - x0, height).T[y0:y1])


def decode(rle: bytes, size: tuple[int, int]) -> Mask:
    """Decompress the mask from `encode`.

    Args:
        rle: compressed COCO run-length counts.
        size: (height, width) in pixels.

    Returns:
        bool (height, width).

    Raises:
        ValueError: the counts are damaged or do not fit the size. (Why not
            pycocotools: its decoder accepts counts that end early.)
    """
    runs = _check_runs(rle, size)
    height, width = size
    # Runs go down the columns, background and mask in turn.
    column_by_column = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(column_by_column.reshape(width, height).T)


def _check_runs(rle: bytes, size: tuple[int, int]) -> npt.NDArray[np.int64]:
    """Read the lengths of the runs of a mask; raises ValueError if they are not of this size."""
    height, width = size
    if not 0 <= height * width <= MAX_PIXELS:  # A damaged size must not ask for all memory.
        raise ValueError(f"no photograph has {width} x {height} pixels; the mask is damaged")
    runs = _runs(rle)
    if runs.min() < 0 or runs.max() > height * width or runs.sum() != height * width:
        raise ValueError(f"the run-length counts are damaged or not of a mask of {width} x {height} pixels")
    return runs


def _runs(rle: bytes) -> npt.NDArray[np.int64]:
    """Read the lengths of the runs.

    The format, from pycocotools' rleToString: five bits a character above "0", lowest first; bit 6 says that more
    follow, bit 5 of the last is the sign; from the fourth on, a number is the difference to the run before the last.
    """
    bits = np.frombuffer(rle, dtype=np.uint8).astype(np.int64) - 48
    last = (bits & 32) == 0
    if not len(bits) or not last[-1] or bits.min() < 0 or bits.max() > 63:
        raise ValueError("the run-length counts are damaged")
    starts = np.concatenate(([0], np.flatnonzero(last)[:-1] + 1))
    place = np.arange(len(bits)) - np.repeat(starts, np.diff(starts, append=len(bits)))
    if place.max() > 9:
        raise ValueError("the run-length counts are damaged")
    numbers = np.add.reduceat((bits & 31) << (5 * place), starts)
    negative = (bits[last] & 16) != 0
    numbers -= np.where(negative, np.int64(1) << (5 * (place[last] + 1)), 0)
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers


def area(mask: Mask) -> int:
    """Count the pixels of a mask."""
    return int(np.count_nonzero(mask))


def box(mask: Mask) -> Box:
    """Return the tightest box around a mask.

    Args:
        mask: bool (H, W).

    Returns:
        (x0, y0, x1, y1) in pixels, half-open; (0, 0, 0, 0) if the mask is empty.
    """
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return (0, 0, 0, 0)
    return (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def iou(a: Mask, b: Mask) -> float:
    """Compute intersection over union: pixels in both masks, divided by pixels in either.

    Args:
        a: bool (H, W).
        b: bool (H, W), of the same size.

    Returns:
        0..1; two empty masks agree perfectly (1).

    Raises:
        ValueError: the sizes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"masks of different sizes cannot be compared: {a.shape} and {b.shape}")
    either = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / either) if either else 1.0


def resize_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize a mask by the nearest pixel.

    Args:
        mask: bool (h, w).
        size: (height, width) in pixels.

    Returns:
        bool (height, width).
    """
    return np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))


def outlines(mask: Mask) -> list[npt.NDArray[np.float64]]:
    """Trace the edges of a mask, its holes included.

    Marching squares (Lorensen & Cline 1987) as in scikit-image. Pixels that touch only at a corner are one piece, so
    that an antenna one pixel wide is not cut into beads.

    Args:
        mask: bool (H, W).

    Returns:
        Closed curves, the largest first: float64 (N, 2), (x, y) in pixels, pixel centres at half numbers, the first
        point repeated at the end. Holes run the other way round than outer edges. No curves if the mask is empty.
    """
    x0, y0, x1, y1 = box(mask)
    if x0 == x1:
        return []
    # A margin of background closes the curves of a mask that touches the edge of the photograph.
    padded = np.pad(mask[y0:y1, x0:x1].astype(np.float64), 1)
    curves = find_contours(padded, 0.5, fully_connected="high")
    shifted = [curve[:, ::-1] + (x0 - 0.5, y0 - 0.5) for curve in curves]
    return sorted(shifted, key=lambda curve: -abs(signed_area(curve)))


def signed_area(curve: npt.NDArray[np.float64]) -> float:
    """Compute the signed area inside a closed curve, by the shoelace formula.

    Args:
        curve: float64 (N, 2), (x, y) in pixels, the first point repeated at the end.

    Returns:
        Square pixels; the sign is the orientation: outer edges from `outlines` are positive, holes negative.
    """
    x, y = curve[:, 0], curve[:, 1]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


def to_labels(masks: MaskStack, numbers: Sequence[int]) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Paint masks into one label map. Where traits overlap, only one is left.

    The larger mask is painted first and the smaller one over it: a spot stays visible on its wing.

    Args:
        masks: bool (T, H, W).
        numbers: the label number of each trait, 1..65535.

    Returns:
        uint8 (H, W), or uint16 if a number is above 255; 0 is the background.

    Raises:
        ValueError: a number is out of range, used twice, or there are not as many numbers as masks.
    """
    if len(numbers) != len(masks) or len(set(numbers)) != len(numbers):
        raise ValueError(f"{len(masks)} masks need as many different numbers, not {list(numbers)}")
    if any(not 1 <= number <= 65535 for number in numbers):
        raise ValueError(f"label numbers run from 1 to 65535 (0 is the background), not {list(numbers)}")
    labels = np.zeros(masks.shape[1:], dtype=np.uint16 if max(numbers, default=0) > 255 else np.uint8)
    for i in sorted(range(len(masks)), key=lambda i: -area(masks[i])):
        labels[masks[i]] = numbers[i]
    return labels


def from_labels(labels: npt.NDArray[np.integer], numbers: Sequence[int]) -> MaskStack:
    """Separate a label map into masks.

    Args:
        labels: whole numbers (H, W).
        numbers: which to look for.

    Returns:
        bool (T, H, W) in the order of `numbers`; the mask of a number that does not occur is empty.
    """
    return np.stack([labels == number for number in numbers]) if numbers else np.zeros((0, *labels.shape), dtype=bool)
