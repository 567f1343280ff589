"""The pieces of a photograph that differ from its board: what may be individuals, alone or several together.

1. The board's colours are the commonest of the photograph, found where cells of CIE Lab space are fullest, and those
   other common colours that are nearer to them than to the annotated body (slats, grain, shade).
2. A pixel is foreground if it differs from all of them by more than half of Otsu's threshold (1979), and is not much
   nearer to the board than to the body's colours: white labels and scale bars on a light board are left out so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.color import rgb2lab
from skimage.filters import threshold_otsu

from sst_retrieval.types import Floats, Mask, RGBImage

WORKING_SIDE = 1600
"""Longer edge, in pixels, of the copy of a photograph on which pieces are found and split."""

CELL = 6.0
"""Edge, in CIE Lab units, of the cells in which colours count as one."""

BOARD_RADIUS = 10.0
"""Distance in CIE Lab within which colours are the same board."""

LEAST_DIFFERENCE = 6.0
"""Distance in CIE Lab below which a pixel is board, whatever Otsu's threshold says."""

SPECK = 12
"""Pieces of fewer pixels are noise."""

UNLIKE_BODY = 25.0
"""Distance in CIE Lab from all colours of the annotated body, from which on foreground may be a label."""

BODY_SHARE = 0.25
"""A pixel is board if its distance to the board is less than this share of its distances to board and body together."""

LEAST_PLAINNESS, LEAST_FRAMING, MOST_ROUGHNESS = 0.3, 0.65, 1.6
"""What a board has at least, and at most (see `Pieces`)."""

_BORDER = 0.03
_ROUGHNESS_SIDE = 800


@dataclass(frozen=True, slots=True)
class Pieces:
    """A photograph divided into board and pieces.

    Attributes:
        image: uint8 (h, w, 3), the copy it was computed on.
        foreground: bool (h, w).
        unlike_body: bool (h, w), foreground without the annotated body's colours; nothing if these are not known.
        scale: pixels of the copy in one of the photograph, at most 1.
        plainness: 0..1, the share of the pixels that are of the board's colours within `BOARD_RADIUS`.
        framing: 0..1, the share of the photograph's border that is board.
        roughness: how much the board's lightness varies from pixel to pixel: the median standard deviation, in CIE L*,
            in squares of 5 pixels of a copy of 800 px. Paper and foam have about 1, grass and soil 2 to 8.
    """

    image: RGBImage
    foreground: Mask
    unlike_body: Mask
    scale: float
    plainness: float
    framing: float
    roughness: float

    @property
    def is_board(self) -> bool:
        """Whether what is no piece is a plain board, rather than grass, water or soil."""
        return self.plainness >= LEAST_PLAINNESS and self.framing >= LEAST_FRAMING and self.roughness <= MOST_ROUGHNESS


def find_pieces(image: RGBImage, body: Floats | None = None) -> Pieces:
    """Divide a photograph into board and pieces.

    Args:
        image: uint8 (H, W, 3), any size.
        body: float32 (K, 3), CIE Lab, the colours of annotated individuals (`list_colours`). None if they are not all
            known: then the board has its main colour alone, and what else is on it is a piece.
    """
    small = shrink(image, WORKING_SIDE)
    lab = rgb2lab(small).astype(np.float32)
    board = _board_colours(lab, body)
    distance = cKDTree(board).query(lab)[0].astype(np.float32)
    otsu = float(threshold_otsu(np.minimum(distance, np.percentile(distance, 99.5)))) if np.ptp(distance) > 0 else 0.0
    found = distance > max(otsu / 2, LEAST_DIFFERENCE)
    to_body = np.zeros_like(distance)
    if body is not None:
        to_body[found] = cKDTree(body).query(lab[found])[0]
        found &= distance >= BODY_SHARE * (distance + to_body)
    found = _drop_specks(found)
    return Pieces(
        image=small,
        foreground=found,
        unlike_body=found & (to_body > UNLIKE_BODY),
        scale=small.shape[1] / image.shape[1],
        plainness=float((distance < BOARD_RADIUS).mean()),
        framing=float((~found)[_border(found.shape)].mean()),
        roughness=_measure_roughness(lab[..., 0], found),
    )


def list_colours(pixels: npt.NDArray[np.uint8], share: float = 0.9) -> Floats:
    """List the commonest colours of some pixels.

    Args:
        pixels: uint8 (N, 3), sRGB.
        share: 0..1, of the pixels that they stand for, the commonest first.

    Returns:
        float32 (K, 3), CIE Lab.
    """
    colours, counts = _count_cells(rgb2lab(pixels[None])[0].astype(np.float32))
    order = np.argsort(-counts, kind="stable")
    kept = order[: int(np.searchsorted(np.cumsum(counts[order]), share)) + 1]
    return colours[kept].astype(np.float32)


def shrink(image: RGBImage, side: int) -> RGBImage:
    """Shrink an image until its longer edge has at most `side` pixels; a smaller one stays as it is."""
    factor = max(image.shape[:2]) / side
    if factor <= 1:
        return image
    size = (max(1, round(image.shape[1] / factor)), max(1, round(image.shape[0] / factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX, reducing_gap=3.0))


def _board_colours(lab: Floats, body: Floats | None) -> npt.NDArray[np.float64]:
    """Find the colours of the board, float64 (K, 3), CIE Lab."""
    # The border twice: individuals lie rather in the middle.
    colours, shares = _count_cells(np.concatenate([lab[_border(lab.shape[:2])][::2], lab[::3, ::3].reshape(-1, 3)]))
    common = shares > 1e-4
    colours, shares = colours[common], shares[common]
    mass = (np.linalg.norm(colours[:, None] - colours[None], axis=2) < BOARD_RADIUS) @ shares
    to_main = np.linalg.norm(colours - colours[np.argmax(mass)], axis=1)
    kept = to_main < BOARD_RADIUS
    if body is not None:
        to_body = cKDTree(body).query(colours)[0]
        kept |= (to_main < to_body) & (mass > 0.02) & (shares > 1e-3)
    colours, shares = colours[kept], shares[kept]
    order = np.argsort(-shares, kind="stable")
    board: npt.NDArray[np.float64] = colours[
        order[: int(np.searchsorted(np.cumsum(shares[order]), 0.97 * shares.sum())) + 1]
    ]
    return board


def _drop_specks(mask: Mask) -> Mask:
    """Remove pieces of a few pixels; what is thin and long stays."""
    pieces, count = ndimage.label(mask, np.ones((3, 3)))
    areas = np.bincount(pieces.ravel(), minlength=count + 1)
    areas[0] = 0
    kept: Mask = (areas >= SPECK)[pieces]
    return kept


def _border(size: tuple[int, ...]) -> Mask:
    """Mark the border of a photograph, bool (h, w)."""
    width = max(1, round(_BORDER * max(size)))
    border = np.ones(size, dtype=bool)
    border[width:-width, width:-width] = False
    return border


def _measure_roughness(lightness: Floats, foreground: Mask) -> float:
    """Measure how rough the board is; 0 if none is visible."""
    step = max(1, round(max(lightness.shape) / _ROUGHNESS_SIDE))
    rows, columns = (length // step * step for length in lightness.shape)
    blocks = lightness[:rows, :columns].reshape(rows // step, step, columns // step, step).mean(axis=(1, 3))
    near = ndimage.binary_dilation(foreground[:rows:step, :columns:step], iterations=3)
    mean, square = ndimage.uniform_filter(blocks, 5), ndimage.uniform_filter(blocks**2, 5)
    spread = np.sqrt(np.maximum(square - mean**2, 0))[~near]
    return float(np.median(spread)) if spread.size else 0.0


def _count_cells(lab: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute the mean colours of the cells of Lab space, float64 (K, 3), and their shares of the pixels, (K,)."""
    lightness, red, yellow = np.floor(lab / CELL).astype(np.int64).T + 1000
    _, cell, counts = np.unique((lightness * 10_000 + red) * 10_000 + yellow, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(cell.ravel(), weights=channel) for channel in lab.T], axis=1)
    return sums / counts[:, None], counts / len(lab)
