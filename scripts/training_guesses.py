"""First guesses for a tracker: the dense propagator's masks of pairs, predicted from the saved features.

One `PAIR_guess.npy` per pair. The decoder has been trained on most collections that the tracker is trained on, so its
masks are better there than on new collections; a tracker therefore also gets guesses of the plain matching
(`DENSE_GUESS_SHARE`). Collections that the tracker is evaluated on must not be in the decoder's training data.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from training_examples import view_target

from sst_retrieval.track.dense.decoder import Decoder
from sst_retrieval.track.dense.propagator import DensePropagator

DENSE_GUESS_SHARE = 0.75  # Share of first guesses that are these masks; the others are the plain matching's.


def get_guess_path(pair: Path) -> Path:
    """Return the path of a pair's first guess."""
    return pair.with_name(f"{pair.stem}_guess.npy")


@torch.inference_mode()
def draw_guess(pair: Path, propagator: DensePropagator, network: Decoder) -> npt.NDArray[np.uint8]:
    """Predict the masks of a pair: share of every cell that a trait covers, uint8 (T, S / 2, S / 2), 255 is all of it.

    Args:
        pair: file of the pair.
        propagator: a dense propagator with a decoder.
        network: the network of that decoder, which makes the keys.
    """
    example, match = view_target(network, pair)
    masks = torch.from_numpy(propagator.predict_masks(match, example.inputs.rivals.numpy()).soft > 0.5).float()
    cells: npt.NDArray[np.uint8] = (functional.avg_pool2d(masks, 2).numpy() * 255 + 0.5).astype(np.uint8)
    return cells
