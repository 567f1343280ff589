"""The dense propagator's own masks of pairs, from what a pair keeps: what a tracker will be asked to correct.

One `PAIR_guess.npy` beside every pair. The decoder must not have learnt from the collections that a tracker is measured
on, and has learnt from most that it is trained on: there its masks are better than they will be on strangers, so a
tracker also sees the plain matching's (`BETTER`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from training_examples import seen_in

from sst_retrieval.track.dense.decoder import Decoder
from sst_retrieval.track.dense.propagator import DensePropagator

BETTER = 0.75  # Share of guided examples that are led by these masks; the rest by the plain matching's.


def guess_path(pair: Path) -> Path:
    """Say where the guess of a pair lies."""
    return pair.with_name(f"{pair.stem}_guess.npy")


@torch.inference_mode()
def guess(pair: Path, propagator: DensePropagator, network: Decoder) -> npt.NDArray[np.uint8]:
    """Draw the masks of a pair: uint8 (T, S / 2, S / 2), how much of every cell is drawn, 255 for all.

    Args:
        pair: its file.
        propagator: with a decoder.
        network: that decoder's, for the keys.
    """
    example, seen = seen_in(network, pair)
    masks = torch.from_numpy(propagator.draw(seen, example.told.rivals.numpy()).soft > 0.5).float()
    cells: npt.NDArray[np.uint8] = (functional.avg_pool2d(masks, 2).numpy() * 255 + 0.5).astype(np.uint8)
    return cells
