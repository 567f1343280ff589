"""Label maps as text: runs of equal labels, the way the drawing surface in the browser sends and receives them."""

from __future__ import annotations

import base64
import binascii

import numpy as np
import numpy.typing as npt

import sst_retrieval as sst

Labels = npt.NDArray[np.uint8]


def encode_runs(labels: Labels) -> str:
    """Encode a label map.

    Args:
        labels: uint8 (H, W).

    Returns:
        label, length, label, length ... in row order; each number in groups of 7 bits, the lowest first, a set eighth
        bit meaning that more follow (LEB128); the bytes in base64. `browser/drawing.js` does the same.

    >>> decode_runs(encode_runs(np.eye(2, dtype=np.uint8)), (2, 2)).tolist()
    [[1, 0], [0, 1]]
    """
    flat = labels.ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]])) if len(flat) else np.zeros(0, dtype=int)
    lengths = np.diff(np.append(starts, len(flat)))
    numbers = np.column_stack([flat[starts], lengths]).astype(np.int64).ravel()
    groups = (numbers[:, None] >> np.arange(0, 42, 7)) & 127
    used = np.maximum(1, 6 - np.argmax(groups[:, ::-1] != 0, axis=1))
    used[numbers == 0] = 1
    place = np.arange(6)
    groups[place < used[:, None] - 1] |= 128
    return base64.b64encode(groups[place < used[:, None]].astype(np.uint8).tobytes()).decode()


def decode_runs(text: str, size: tuple[int, int]) -> Labels:
    """Decode a label map.

    Args:
        text: see `encode_runs`.
        size: (height, width) of the map.

    Returns:
        uint8 (H, W).

    Raises:
        QueryError: the text is no label map of this size.
    """
    problem = sst.QueryError("a drawing from the browser cannot be read; load the page again and draw it anew")
    try:
        data = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8).astype(np.int64)
    except (binascii.Error, ValueError) as error:
        raise problem from error
    ends = np.flatnonzero(data < 128)
    if not len(ends) or ends[-1] != len(data) - 1:
        raise problem
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(data)) - np.repeat(starts, ends - starts + 1)
    if place.max() > 5:
        raise problem
    numbers = np.add.reduceat((data & 127) << (7 * place), starts)
    if len(numbers) % 2 or numbers[::2].max() > 255 or numbers[1::2].sum() != size[0] * size[1]:
        raise problem
    return np.repeat(numbers[::2].astype(np.uint8), numbers[1::2]).reshape(size)


def join_masks(masks: dict[str, npt.NDArray[np.bool_]], names: list[str], size: tuple[int, int]) -> Labels:
    """Join masks into a label map; where some overlap, the smaller covers the larger.

    Args:
        masks: name -> bool (H, W).
        names: name n has label n + 1.
        size: (height, width).
    """
    labels = np.zeros(size, dtype=np.uint8)
    for name in sorted(masks, key=lambda name: -int(np.count_nonzero(masks[name]))):
        labels[masks[name]] = names.index(name) + 1
    return labels


def split_masks(labels: Labels, names: list[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """Split a label map into masks, without empty ones; labels beyond the names are left out."""
    masks = {name: labels == number for number, name in enumerate(names, start=1)}
    return {name: mask for name, mask in masks.items() if mask.any()}
