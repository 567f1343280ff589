"""Teach the decoder when a trait is not there: from the pairs that it learnt from, seen whole.

    python scripts/train_presence.py pairs decoder.pt --output decoder.pt --leave-out neon_beetles/aestivus

Run after `train_decoder.py`, which makes the pairs and the masks. There the decoder sees crops, in which a trait may be
missing that the animal has; here it sees whole views, as in use, and all but the few weights of `models/presence.py`
rest. Every collection counts alike, and so do, within it, traits that are there and traits that are lost, but for
`CARE`. What was left out is scored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from torch.nn import functional
from training_examples import load_decoder, seen_in
from training_pairs import pair_files, within

from sst_retrieval.track.dense.decoder import Decoder, clues, evidence
from sst_retrieval.track.dense.presence import Presence, signs
from sst_retrieval.track.dense.refine import coloured, first_masks
from sst_retrieval.track.dense.settings import DenseSettings
from sst_retrieval.track.dense.view import weighed

STEPS = 600
CARE = 6.0  # A trait that is there and called lost is so much worse than one that is lost and not noticed.
SHOWN = 32.0  # Pixels of a view from which a trait is there.
ENOUGH = 60  # Lost traits of a collection from which it counts in full.
"""Below, a collection teaches as little as it knows."""


def train(
    pairs: Path,
    weights: Path,
    output: Annotated[Path, typer.Option(help="The weights with what was learnt; a log lies beside, .presence.json.")],
    seed: int = 0,
    leave_out: Annotated[list[str] | None, typer.Option(help="COLLECTION or COLLECTION/GROUP, to score.")] = None,
) -> None:
    """Fit the presence of a decoder, and score it."""
    torch.manual_seed(seed)
    network = load_decoder(weights)
    files = list(pair_files(pairs))
    found = [_signs(network, path) for path in files]
    numbers, there = (torch.cat(parts) for parts in zip(*found, strict=True))
    homes = np.repeat([path.parents[1].name for path in files], [len(one) for _, one in found])
    apart = np.repeat([within(path, pairs, leave_out or []) for path in files], [len(one) for _, one in found])
    fitted = _fit(numbers[~apart], there[~apart], _weights(homes[~apart], there[~apart].numpy()))
    network.presence.load_state_dict(fitted.state_dict())
    torch.save({name: tensor.half() for name, tensor in network.state_dict().items()}, output)
    with torch.no_grad():
        said = (fitted(numbers) > 0).numpy()
    about = {"seed": seed, "steps": STEPS, "care": CARE, "pairs": len(files), "left_out": leave_out or []}
    truth = there.numpy() > 0
    about |= {"learnt": _score(said[~apart], truth[~apart]), "new": _score(said[apart], truth[apart])}
    output.with_suffix(".presence.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    typer.echo(json.dumps(about, indent=1))


@torch.inference_mode()
def _signs(network: Decoder, path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """See a pair as the propagator does: its traits' signs, (T, SIGNS), and whether they are there, (T,)."""
    example, seen = seen_in(network, path)
    both, rivals = weighed(seen), example.told.rivals.numpy()
    by_colour = coloured(seen.view, both.both, rivals, evidence=DenseSettings().evidence)
    first = first_masks(by_colour, rivals)
    told = clues(seen.view, seen.shares, seen.distance, seen.bent, first, rivals, seen.levels, both.recalled)
    logits, _ = network(told)
    return signs(evidence(told, logits)), (example.truth.sum((1, 2)) > SHOWN).float()


def _weights(homes: npt.NDArray[np.str_], there: npt.NDArray[np.float32]) -> torch.Tensor:
    weights = np.zeros(len(there))
    for home in np.unique(homes):
        lost = int(np.count_nonzero((homes == home) & (there == 0)))
        for value, care in ((1, CARE), (0, 1.0)):
            own = (homes == home) & (there == value)
            weights[own] = care * min(1, lost / ENOUGH) / max(1, int(np.count_nonzero(own)))
    return torch.tensor(weights / weights.sum(), dtype=torch.float32)


def _fit(numbers: torch.Tensor, there: torch.Tensor, weights: torch.Tensor) -> Presence:
    presence = Presence()
    presence.mean, presence.spread = numbers.mean(0), numbers.std(0) + 1e-6
    torch.nn.init.normal_(presence.answer.weight, std=0.3)
    optimiser = torch.optim.AdamW(presence.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(STEPS):
        optimiser.zero_grad()
        surprise = functional.binary_cross_entropy_with_logits(presence(numbers), there, reduction="none")
        (surprise * weights).sum().backward()
        optimiser.step()
    return presence.eval()


def _score(said: npt.NDArray[np.bool_], there: npt.NDArray[np.bool_]) -> dict[str, float | int]:
    """Of the traits that are there, how many are found; of the lost, how many are said to be lost."""
    if not there.any() or there.all():
        return {"traits": len(there)}
    found, noticed = round(float(said[there].mean()), 4), round(float((~said)[~there].mean()), 4)
    return {"traits": len(there), "lost": int((~there).sum()), "recall": found, "lost_noticed": noticed}


if __name__ == "__main__":
    typer.run(train)
