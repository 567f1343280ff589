"""Fine-tuning of keys and decoder on a group with one annotated specimen, from its unlabelled photographs.

1. Propagate the supports to the photographs; the masks found are not checked by anybody.
2. Turn around: each photograph, with the masks found on it, becomes the support, and the annotated specimen its target,
   whose true masks are known. So nothing but what was drawn is learnt to be true, however wrong a mask in between is.
3. Train keys and decoder on these pairs, flipped, recoloured and cropped as when they were trained at first. Some
   photographs are held out: how well the masks return from them decides which epoch is kept, and when to stop.

The cycle of the SST paper (Feng et al. 2025, arXiv 2501.06749), for networks that see votes: gradients pass through the
way back, not through the masks in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sst_retrieval.errors import ModelError
from sst_retrieval.imaging import frames
from sst_retrieval.track.adapter_files import compute_fingerprint
from sst_retrieval.track.dense.decoder import Decoder, build_decoder_inputs
from sst_retrieval.track.dense.examples import TrainingExample, add_key_votes, flip_randomly
from sst_retrieval.track.dense.keys import KeyVotes
from sst_retrieval.track.dense.losses import compute_key_losses, compute_mask_losses
from sst_retrieval.track.dense.matching import compute_cell_colours
from sst_retrieval.track.dense.propagator import DensePropagator
from sst_retrieval.track.dense.refine import compute_initial_masks, compute_layer_posteriors
from sst_retrieval.track.epochs import Epoch
from sst_retrieval.track.fine_tuning import FineTuning
from sst_retrieval.types import Propagated, RGBImage, Support

FORMAT = "sst-retrieval decoder adapter 1"

LEAST_CONFIDENCE = 0.3
"""Confidence of a mask that may stand for what was drawn, on the way back."""


@dataclass(frozen=True, slots=True)
class CycleSettings:
    """Settings of a fine-tuning. They are stored in `training.pt` and `adapter.json`: keep the field names.

    Attributes:
        rate: learning rate of AdamW (Loshchilov and Hutter 2019).
        epochs: most passes over the photographs. Few: with more of them what comes back agrees better still, but the
            masks get worse (NEON *goryi* 0.676, after 4 passes 0.680, after 20 0.666).
        patience: epochs without a better validation after which the training stops.
        held_out: share of the photographs that are held out for validation.
        seed: of the split, the order and the augmentation.
    """

    rate: float = 3e-4
    epochs: int = 4
    patience: int = 5
    held_out: float = 0.25
    seed: int = 0


def finetune(
    propagator: DensePropagator,
    supports: Sequence[Support],
    images: Sequence[RGBImage],
    output: Path,
    *,
    settings: CycleSettings,
    progress: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Fine-tune keys and decoder on a group, and save the best epoch as an adapter.

    Args:
        propagator: with a decoder, whose own weights are not changed.
        supports: annotated specimens of one group; the masks return to the first.
        images: unlabelled photographs of the group, two or more with masks that are sure enough.
        output: folder of the adapter; an interrupted training there is resumed.
        settings: of the training.
        progress: called with every epoch.

    Returns:
        The epochs. If the best is number 0, training did not help, and no adapter is written.

    Raises:
        ModelError: the propagator has no decoder, there are too few photographs, or the folder holds the training of
            something else.
    """
    if propagator.decoder is None:
        raise ModelError("only a dense propagator with a decoder can be fine-tuned; matching learns nothing")
    memory = propagator.remember(supports)
    examples = []
    for image in images:
        found = propagator.propagate(memory, [image])[0]
        if (example := make_returning_example(propagator, supports[0], memory.traits, image, found)) is not None:
            examples.append(example)
    if len(examples) < 2:
        raise ModelError(
            "fine-tuning needs two photographs, beside the annotated one, on which the traits are found with some "
            f"confidence: one to learn from, one to check; of {len(images)}, {len(examples)} are such"
        )
    about = {
        "group": supports[0].group,
        "traits": list(memory.traits),
        "checkpoint": {"name": propagator.decoder.name, "sha256": propagator.decoder.sha256},
        "settings": asdict(settings),
        "targets": len(examples),
        "content": compute_fingerprint(supports, images),
    }
    return _Training(propagator.decoder.copy_network(), examples, settings, output, about).run(progress)


def make_returning_example(
    propagator: DensePropagator, support: Support, traits: Sequence[str], image: RGBImage, found: Propagated
) -> TrainingExample | None:
    """Make an example of the way back, from a photograph and its masks to the annotated specimen.

    Args:
        propagator: which matches them.
        support: the annotated specimen.
        traits: names of the T masks found.
        image: the photograph.
        found: its masks.

    Returns:
        The example; None if no mask is sure enough.
    """
    confident = found.confidence > LEAST_CONFIDENCE
    sure = [place for place, mask in enumerate(found.masks) if mask.any() and confident[place]]
    if not sure:
        return None
    names = tuple(traits[place] for place in sure)
    memory = propagator.remember([Support("found", support.group, image, names, found.masks[sure])])
    match = propagator.match(memory, support.image)
    side, colour = propagator.settings.side, propagator.settings.colour
    drawn = dict(zip(support.traits, support.masks, strict=True))
    empty = np.zeros(support.image.shape[:2], dtype=bool)
    truth = np.stack([frames.warp_mask(drawn.get(name, empty), match.frame, side) for name in names])
    posteriors = compute_layer_posteriors(match.view, match.shares, memory.rivals, colour=colour)
    view = frames.warp_image(image, memory.supports[0].frame, side)
    # Cloned, because tensors made in inference mode cannot take part in autograd.
    levels = [level[0].clone() for level in propagator.trunk.levels(view[None], deepest=4)[1:]]
    labels = memory.supports[0].key_labels.clone()
    nothing = torch.zeros_like(labels)
    inputs = build_decoder_inputs(
        match.view,
        match.shares,
        match.distance,
        match.warped_masks,
        compute_initial_masks(posteriors, memory.rivals),
        memory.rivals,
        [level.clone() for level in match.levels],
        KeyVotes(nothing, nothing[0]),
    )
    cells = labels.shape[-1]
    return TrainingExample(
        inputs,
        [levels],
        torch.from_numpy(compute_cell_colours(view, cells))[None],
        labels[None],
        torch.from_numpy(compute_cell_colours(match.view, cells)),
        torch.stack(match.displacements).clone(),
        torch.from_numpy(truth),
        list(names),
    )


class _Training(FineTuning[TrainingExample]):
    """A fine-tuning in progress."""

    def __init__(
        self,
        network: Decoder,
        examples: Sequence[TrainingExample],
        settings: CycleSettings,
        output: Path,
        about: Mapping[str, Any],
    ) -> None:
        super().__init__(examples, settings, output, about, FORMAT)
        self.network, self.settings = network.train(), settings
        keys = list(network.keys.parameters())
        own = {id(parameter) for parameter in keys}
        others = [parameter for parameter in network.parameters() if id(parameter) not in own]
        self.steps = (
            (compute_key_losses, keys, torch.optim.AdamW(keys, lr=settings.rate)),
            (compute_mask_losses, others, torch.optim.AdamW(others, lr=settings.rate)),
        )

    def train_epoch(self, number: int) -> float:
        """Take a step of the keys and a step of the decoder per photograph, in random order; return the mean loss."""
        rng = np.random.default_rng([self.settings.seed, number])
        losses = []
        for place in rng.permutation(len(self.training)):
            example = flip_randomly(self.training[place], rng)
            for compute, parameters, optimiser in self.steps:
                optimiser.zero_grad()
                loss = torch.stack(list(compute(self.network, example, rng).values())).sum()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimiser.step()
                losses.append(float(loss.detach()))
        return sum(losses) / len(losses)

    @torch.no_grad()
    def validate(self) -> float:
        """Compute the mean IoU of returned and drawn masks over the held-out photographs."""
        self.network.eval()
        ious = []
        for example in self.validation:
            logits, _ = self.network(add_key_votes(self.network, example)[0])
            returned, drawn = logits > 0, example.truth > 0.5
            shown = drawn.any((1, 2))
            iou = (returned & drawn).sum((1, 2)) / (returned | drawn).sum((1, 2)).clamp(min=1)
            ious += iou[shown].tolist()
        self.network.train()
        return float(np.mean(ious)) if ious else 0.0

    def copy_tensors(self) -> dict[str, torch.Tensor]:
        """Copy keys and decoder, in half precision."""
        return {name: tensor.half() for name, tensor in self.network.state_dict().items()}

    def get_state(self) -> dict[str, Any]:
        """Return the state of the network and of its optimisers."""
        optimisers = [optimiser.state_dict() for _, _, optimiser in self.steps]
        return {"network": self.network.state_dict(), "optimisers": optimisers}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        for (_, _, optimiser), kept in zip(self.steps, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
