"""Products of many vectors of bytes with each other, exactly: on the CPU, or on a card.

Whole numbers have no rounding: a product is the same on every device, whichever way it is computed. PyTorch is
imported with the first table: opening an index to search it once does not wait for that.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from sst_retrieval.errors import ModelError

if TYPE_CHECKING:
    import torch

Bytes = npt.NDArray[np.int8]

GROUP = 16
"""Rows in a group, of whose products the largest is returned."""

MOST_WIDTH = 1024
"""Up to so many bytes a row, products (127 * 127 a byte) are exact in single precision, too: they stay below 2^24."""

_CHUNK = 4096
_CARD_CHUNK = 1 << 18
_ALIGNED = 8
"""PyTorch multiplies bytes on a card only if their number is a multiple of this."""

Multiply: TypeAlias = "Callable[[torch.Tensor, torch.Tensor], torch.Tensor]"


class ByteTable:
    """Rows of bytes, to be multiplied with queries. On a card they are copied there once."""

    def __init__(self, parts: Sequence[Bytes], device: str = "cpu") -> None:
        """Prepare rows.

        Args:
            parts: int8 (n, width) each; may be memory-mapped, and must stay as they are.
            device: "auto", "cpu" or "cuda".

        Raises:
            ModelError: there is no such device, or its memory is too small.
        """
        import torch

        from sst_retrieval.nets.device import resolve_device

        self.device = resolve_device(device)
        self._width = parts[0].shape[1]
        if self._width > MOST_WIDTH:
            raise AssertionError(f"{self._width} bytes a row; products are exact up to {MOST_WIDTH}")
        self._padded = -(-self._width // _ALIGNED) * _ALIGNED
        self._parts = parts
        self._on_card: list[torch.Tensor] | None = None
        if is_card(self.device):
            try:
                # A copy of each: the buffer that the chunks share is overwritten.
                self._on_card = [chunk.clone().to(self.device) for chunk in self._chunks(_CARD_CHUNK)]
            except torch.cuda.OutOfMemoryError as error:
                size = sum(map(len, parts)) * self._padded / 1e9
                raise ModelError(f"codes of {size:.1f} GB do not fit into the memory of {device}; use cpu") from error

    def group_maxima(self, queries: Bytes) -> npt.NDArray[np.int32]:
        """Multiply all rows with all queries, and return the largest product of each group of rows.

        Args:
            queries: int8 (m, width).

        Returns:
            int32 (g, m): every part begins a group, and its last one may be smaller than `GROUP`.
        """
        import torch

        padded = np.zeros((-(-len(queries) // _ALIGNED) * _ALIGNED, self._padded), np.int8)
        padded[: len(queries), : self._width] = queries
        factors = torch.from_numpy(padded).to(self.device).T
        multiply = _choose_product() if self._on_card is None else _multiply_bytes
        found = []
        with torch.inference_mode():
            for chunk in self._chunks(_CHUNK) if self._on_card is None else self._on_card:
                products = multiply(chunk, factors)
                largest = products.view(len(chunk) // GROUP, GROUP, len(padded)).amax(dim=1)
                found.append(largest[:, : len(queries)].cpu().numpy())
        return np.concatenate(found) if found else np.zeros((0, len(queries)), np.int32)

    def _chunks(self, rows: int) -> Iterator[torch.Tensor]:
        """Copy chunk after chunk into a buffer, int8 (a multiple of `GROUP`, padded width)."""
        import torch

        buffer = torch.zeros((rows, self._padded), dtype=torch.int8)
        view = buffer.numpy()
        for part in self._parts:
            for start in range(0, len(part), rows):
                chunk = part[start : start + rows]
                filled = -(-len(chunk) // GROUP) * GROUP
                view[: len(chunk), : self._width] = chunk
                view[len(chunk) : filled, : self._width] = chunk[-1]  # The same row again changes no maximum.
                yield buffer[:filled]


def is_card(device: torch.device) -> bool:
    """Say whether rows must be copied to a device."""
    return device.type != "cpu"


def count_groups(rows: int) -> int:
    """Return how many groups so many rows of a part make."""
    return -(-rows // GROUP)


def _multiply_bytes(rows: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    import torch

    return torch._int_mm(rows, factors)


def _multiply_floats(rows: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    return (rows.float() @ factors.float()).int()


@functools.cache
def _choose_product() -> Multiply:
    """Choose the quicker of the two products on this processor; both are exact."""
    import torch

    rows, factors = torch.ones((1024, 256), dtype=torch.int8), torch.ones((64, 256), dtype=torch.int8).T
    times: dict[Multiply, float] = {}
    for multiply in (_multiply_bytes, _multiply_floats):
        try:
            multiply(rows, factors)
            start = time.perf_counter()
            multiply(rows, factors)
            times[multiply] = time.perf_counter() - start
        except (RuntimeError, NotImplementedError):  # PyTorch without products of bytes for this processor.
            times[multiply] = float("inf")
    return min(times, key=lambda each: times[each])
