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
from training_examples import read_example
from training_pairs import LEVELS

from sst_retrieval import pose
from sst_retrieval.models.dense import DensePropagator
from sst_retrieval.models.dense_seen import Seen, bend
from sst_retrieval.models.keys import spreads
from sst_retrieval.models.trained_decoder import TrainedDecoder

BETTER = 0.75  # Share of guided examples that are led by these masks; the rest by the plain matching's.


def guess_path(pair: Path) -> Path:
    """Say where the guess of a pair lies."""
    return pair.with_name(f"{pair.stem}_guess.npy")


@torch.inference_mode()
def guess(pair: Path, propagator: DensePropagator, decoder: TrainedDecoder) -> npt.NDArray[np.uint8]:
    """Draw the masks of a pair: uint8 (T, S / 2, S / 2), how much of every cell is drawn, 255 for all."""
    example, kept = read_example(pair), np.load(pair)
    like = spreads(example.levels[0])
    levels = tuple(torch.from_numpy(kept[name].astype(np.float32)) for name in LEVELS)
    flows = tuple(torch.from_numpy(flow) for flow in kept["flows"].astype(np.float32))
    each = zip(example.levels, example.colours, example.labels, example.flows, strict=True)
    supports = [
        (bend(decoder.keys_of(theirs, colours, like), flow), bend(labels, flow))
        for theirs, colours, labels, flow in each
    ]
    view = kept["view"]
    shares, distance, bent = (kept[name].astype(np.float32) for name in ("shares", "distance", "bent"))
    recalled = decoder.recall(decoder.keys(view, levels, like), supports)
    frame = pose.turned((view.shape[1] / 2, view.shape[0] / 2), view.shape[0], 0.0)
    seen = Seen(frame, view, shares, distance, bent, levels, flows, recalled)
    masks = torch.from_numpy(propagator.draw(seen, kept["rivals"]).soft > 0.5).float()
    cells: npt.NDArray[np.uint8] = (torch.nn.functional.avg_pool2d(masks, 2).numpy() * 255 + 0.5).astype(np.uint8)
    return cells
