"""Train the presence classifier of a decoder: is a trait on a specimen at all?

    python scripts/train_presence.py pairs decoder.pt --output decoder.pt --leave-out neon_beetles/aestivus

Run it after `train_decoder.py`, which writes the pairs and trains the masks on crops, where a trait of the specimen may
be outside. Here whole views are used, as in a build, and only the weights of `track.dense.presence` are trained. Every
collection has the same weight, and within it present and absent traits have the same weight, times `FALSE_ABSENCE_COST`
for present ones. Collections and groups that are left out are scored.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from torch.nn import functional
from training_examples import load_decoder, view_target
from training_pairs import is_within, list_pairs

from sst_retrieval.track.dense.decoder import Decoder, build_decoder_inputs, build_presence_inputs
from sst_retrieval.track.dense.presence import PresenceNetwork, compute_presence_features
from sst_retrieval.track.dense.refine import compute_initial_masks, compute_layer_posteriors
from sst_retrieval.track.dense.settings import DenseSettings
from sst_retrieval.track.dense.view import fuse_votes

STEPS = 600
FALSE_ABSENCE_COST = 6.0  # Cost of calling a present trait absent, relative to the opposite error.
MIN_PIXELS = 32.0  # A trait with more pixels than this in a view is present.
FULL_WEIGHT_COUNT = 60  # A collection with fewer absent traits than this has a proportionally lower weight.


def train(
    pairs: Path,
    weights: Path,
    output: Annotated[
        Path,
        typer.Option(help="The decoder's weights with the new classifier; a log is written beside, .presence.json."),
    ],
    seed: int = 0,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="COLLECTION or COLLECTION/GROUP: scored, not trained on; repeatable.")
    ] = None,
    offset: Annotated[
        float, typer.Option(help="Added to the logit of presence after the fit, so that fewer parts go missing.")
    ] = 0,
    most: Annotated[
        int | None,
        typer.Option(help="Most pairs of a collection: those with a lost trait, then others at random.", min=1),
    ] = None,
) -> None:
    """Fit the presence classifier of a decoder, and score it."""
    torch.manual_seed(seed)
    network = load_decoder(weights)
    files = list_pairs(pairs) if most is None else _draw_pairs(list_pairs(pairs), most, np.random.default_rng(seed))
    found = [_compute_signs(network, path) for path in files]
    numbers, there = (torch.cat(parts) for parts in zip(*found, strict=True))
    homes = np.repeat([path.parents[1].name for path in files], [len(one) for _, one in found])
    apart = np.repeat([is_within(path, pairs, leave_out or []) for path in files], [len(one) for _, one in found])
    fitted = _fit(numbers[~apart], there[~apart], _compute_weights(homes[~apart], there[~apart].numpy()))
    fitted.answer.bias.data += offset
    network.presence.load_state_dict(fitted.state_dict())
    torch.save({name: tensor.half() for name, tensor in network.state_dict().items()}, output)
    with torch.no_grad():
        predicted = (fitted(numbers) > 0).numpy()
    truth = there.numpy() > 0
    about = {
        "seed": seed, "steps": STEPS, "care": FALSE_ABSENCE_COST, "pairs": len(files), "most": most, "offset": offset,
        "left_out": leave_out or [],
        "learnt": _score(predicted[~apart], truth[~apart]), "new": _score(predicted[apart], truth[apart]),
    }  # fmt: skip
    output.with_suffix(".presence.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    typer.echo(json.dumps(about, indent=1))


def _draw_pairs(files: Sequence[Path], most: int, rng: np.random.Generator) -> list[Path]:
    """Draw at most so many pairs of each collection, those with a lost trait first, the others at random."""
    by_home: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        by_home[path.parents[1].name].append(path)
    drawn = []
    for members in by_home.values():
        order = [members[place] for place in rng.permutation(len(members)).tolist()]
        drawn += sorted(order, key=lambda path: not _lacks_trait(path))[:most]
    return sorted(drawn)


def _lacks_trait(path: Path) -> bool:
    """Return whether a trait of the supports is nowhere on the target of a pair."""
    with np.load(path) as kept:
        return bool((kept["truth"].sum((1, 2), dtype=np.int64) <= 255 * MIN_PIXELS).any())


@torch.inference_mode()
def _compute_signs(network: Decoder, path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the classifier's inputs for a pair, float32 (T, SIGNS), and the traits' presence, float32 (T,)."""
    example, match = view_target(network, path)
    fused, rivals = fuse_votes(match), example.inputs.rivals.numpy()
    posteriors = compute_layer_posteriors(match.view, fused.shares, rivals, colour=DenseSettings().colour)
    first = compute_initial_masks(posteriors, rivals)
    inputs = build_decoder_inputs(
        match.view, match.shares, match.distance, match.warped_masks, first, rivals, match.levels, fused.key_votes
    )
    logits, _ = network(inputs)
    features = compute_presence_features(build_presence_inputs(inputs, torch.sigmoid(logits.detach())))
    return features, (example.truth.sum((1, 2)) > MIN_PIXELS).float()


def _compute_weights(homes: npt.NDArray[np.str_], there: npt.NDArray[np.float32]) -> torch.Tensor:
    weights = np.zeros(len(there))
    for home in np.unique(homes):
        lost = int(np.count_nonzero((homes == home) & (there == 0)))
        for value, care in ((1, FALSE_ABSENCE_COST), (0, 1.0)):
            own = (homes == home) & (there == value)
            weights[own] = care * min(1, lost / FULL_WEIGHT_COUNT) / max(1, int(np.count_nonzero(own)))
    return torch.tensor(weights / weights.sum(), dtype=torch.float32)


def _fit(numbers: torch.Tensor, there: torch.Tensor, weights: torch.Tensor) -> PresenceNetwork:
    presence = PresenceNetwork()
    presence.mean, presence.spread = numbers.mean(0), numbers.std(0) + 1e-6
    torch.nn.init.normal_(presence.answer.weight, std=0.3)
    optimiser = torch.optim.AdamW(presence.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(STEPS):
        optimiser.zero_grad()
        surprise = functional.binary_cross_entropy_with_logits(presence(numbers), there, reduction="none")
        (surprise * weights).sum().backward()
        optimiser.step()
    return presence.eval()


def _score(predicted: npt.NDArray[np.bool_], there: npt.NDArray[np.bool_]) -> dict[str, float | int]:
    """Compute recall of present traits, and the share of absent traits that are recognised."""
    if not there.any() or there.all():
        return {"traits": len(there)}
    found, noticed = round(float(predicted[there].mean()), 4), round(float((~predicted)[~there].mean()), 4)
    return {"traits": len(there), "lost": int((~there).sum()), "recall": found, "lost_noticed": noticed}


if __name__ == "__main__":
    typer.run(train)
