"""The dense finder: things that a foreground proposes, judged by how much they are of the annotated individuals' kind.

1. Whatever the foreground holds for a thing is a proposal.
2. Its kind, a vector of the trunk's deepest features (`find.appearance`), is compared with that of the supports.
3. Of proposals that overlap, the best stays.

On a plain board (a drawer, a tray, paper) colour and the support's shape do better: see `find.board`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sst_retrieval.find.appearance import compute_kind
from sst_retrieval.find.board import BoardMemory, find_on_board, remember_board
from sst_retrieval.find.overlaps import share_pixels, suppress
from sst_retrieval.find.proposals import Proposal, find_pieces, resize_map
from sst_retrieval.foregrounds.contract import Foreground
from sst_retrieval.imaging.masks import box as box_of
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.types import Box, Detection, Floats, RGBImage, Support

WORKING_SIDE = 1600
"""Longer edge, in pixels, of the copy of the photograph on which individuals are looked for."""


@dataclass(frozen=True, slots=True)
class DenseFinderMemory:
    """What the dense finder knows of a group.

    Attributes:
        kinds: float32 (N, 320), unit rows: the kinds of the annotated individuals.
        board: what is looked for on boards.
    """

    kinds: Floats
    board: BoardMemory


class DenseFinder:
    """Finds individuals by a foreground and the features of this program's own trunk (a `Finder`).

    Attributes:
        name: the model and its settings; goes into the provenance.
    """

    concurrent = True

    def __init__(self, *, trunk: EfficientNetTrunk, foreground: Foreground) -> None:
        """Take the network and the foreground.

        Args:
            trunk: the network, shared with propagator and embedder.
            foreground: what proposes things.
        """
        self.trunk = trunk
        self.foreground = foreground
        self.name = f"dense finder ({trunk.name}, foreground {foreground.name})"

    def remember(self, supports: Sequence[Support]) -> DenseFinderMemory:
        """Encode the annotated individuals of a group (see `Finder.remember`)."""
        kinds = []
        for support in supports:
            x0, y0, x1, y1 = box_of(support.body)
            mask = support.body[y0:y1, x0:x1]
            kinds.append(compute_kind(self.trunk, support.image, (x0, y0, x1, y1), mask))
        return DenseFinderMemory(np.stack(kinds), remember_board(self.trunk, supports))

    def find(self, memory: DenseFinderMemory, image: RGBImage) -> list[Detection]:
        """Find the individuals on a photograph (see `Finder.find`)."""
        on_board = find_on_board(self.trunk, memory.board, image)
        if on_board is not None:
            return on_board
        working = shrink(image)
        proposals = self._propose(working)
        scores = [self._judge(memory, working, each) for each in proposals]
        pieces = [(each.box, each.mask) for each in proposals]
        chosen = suppress(pieces, scores, iou=0.5, inside=0.7)
        enlarged = [enlarge(proposals[position], working.shape, image.shape) for position in chosen]
        found = []
        for piece, position in zip(share_pixels(enlarged), chosen, strict=True):
            if piece is not None:
                found.append(Detection(piece[0], float(scores[position]), piece[1]))
        return found

    def _propose(self, image: RGBImage) -> list[Proposal]:
        foreground = resize_map(self.foreground.compute(image), image.shape[:2])
        return find_pieces(foreground, 0.5)

    def _judge(self, memory: DenseFinderMemory, image: RGBImage, proposal: Proposal) -> float:
        likeness = float((memory.kinds @ compute_kind(self.trunk, image, proposal.box, proposal.mask)).max())
        return float(1 / (1 + np.exp(-20 * (likeness - 0.2))))


def shrink(image: RGBImage) -> RGBImage:
    """Shrink a photograph until its longer edge has `WORKING_SIDE` pixels; a smaller one stays as it is."""
    factor = max(image.shape[:2]) / WORKING_SIDE
    if factor <= 1:
        return image
    size = (max(1, round(image.shape[1] / factor)), max(1, round(image.shape[0] / factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def enlarge(proposal: Proposal, small: tuple[int, ...], large: tuple[int, ...]) -> tuple[Box, np.ndarray]:
    """Bring a proposal from the shrunken copy to the photograph's own size.

    Args:
        proposal: the proposal.
        small, large: shapes (H, W, ...) of the copy and of the photograph.

    Returns:
        Box and mask on the photograph.
    """
    if small[:2] == large[:2]:
        return proposal.box, proposal.mask
    down, across = large[0] / small[0], large[1] / small[1]
    x0, y0, x1, y1 = proposal.box
    box = (
        *(min(int(x0 * across), large[1] - 1), min(int(y0 * down), large[0] - 1)),
        *(min(max(round(x1 * across), int(x0 * across) + 1), large[1]),),
        *(min(max(round(y1 * down), int(y0 * down) + 1), large[0]),),
    )
    size = (box[2] - box[0], box[3] - box[1])
    soft = Image.fromarray(proposal.mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    return box, np.asarray(soft) >= 128
