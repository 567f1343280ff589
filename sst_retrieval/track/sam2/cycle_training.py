"""Fine-tuning of SAM 2 on a group with one annotated specimen: one-shot cycle-consistent loss (OC-CCL, SST paper).

1. Propagate the support's masks to an unlabelled target; the predicted mask stays soft, so that gradients pass.
2. Reset the memory and propagate from the target, with the soft mask, back to the support.
3. Compare the returned masks with those drawn: binary cross-entropy and Dice.

A propagator that is led by the dense one (`dense+sam2`, `tracker`) is trained as it is used: on the way to the target
the masks of the dense propagator are its mask prompts. On the way back there is none.

Written after the text of Feng et al. (2025, arXiv 2501.06749): they have published no code for this part (their
repository, Imageomics/SST, lists it as still to be released), so nothing here was compared with theirs. Two choices are
ours: object scores, which switch whole masks off, are left out of the cycle; and held-out targets validate, by the IoU
of the returned masks with those drawn. No label but the support's is used.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from sst_retrieval.errors import ModelError
from sst_retrieval.track.adapter_files import compute_fingerprint
from sst_retrieval.track.epochs import Epoch
from sst_retrieval.track.fine_tuning import FineTuning
from sst_retrieval.track.sam2 import adapter
from sst_retrieval.track.sam2.memory import MemoryBank
from sst_retrieval.track.sam2.network import PRESENT_LOGIT, ImageFeatures, Sam2Network
from sst_retrieval.track.sam2.propagator import Sam2Propagator
from sst_retrieval.types import RGBImage, Support


@dataclass(frozen=True, slots=True)
class CycleSettings:
    """Settings of a fine-tuning. They are stored in `training.pt` and `adapter.json`: keep the field names.

    Attributes:
        rank: of the low-rank updates; None trains mask decoder and memory encoder fully.
        rate: learning rate of AdamW (Loshchilov and Hutter 2019).
        epochs: most passes over the targets.
        patience: epochs without a better validation after which the training stops.
        held_out: share of the targets that are held out for validation.
        seed: of the split, the order and the initialisation.
    """

    rank: int | None = 4
    rate: float = 1e-3
    epochs: int = 20
    patience: int = 5
    held_out: float = 0.25
    seed: int = 0


@dataclass(frozen=True, slots=True)
class CycleTarget:
    """An unlabelled photograph of a training.

    Attributes:
        features: of one image.
        prompts: float32 (1, T, s, s), logits of the initial masks of all traits; None without a dense propagator.
    """

    features: ImageFeatures
    prompts: torch.Tensor | None = None


def finetune(
    propagator: Sam2Propagator,
    supports: Sequence[Support],
    images: Sequence[RGBImage],
    output: Path,
    *,
    settings: CycleSettings,
    progress: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Fine-tune SAM 2 on a group, and save the best epoch as an adapter.

    Args:
        propagator: SAM 2; its own weights are not changed. The features of all targets are held in memory, 17 MB each
            at 1,024 px.
        supports: annotated specimens of one group; each trait is propagated from and to the first that shows it.
        images: unlabelled photographs of the group, two or more.
        output: folder of the adapter; an interrupted training there is resumed.
        settings: of the training.
        progress: called with every epoch.

    Returns:
        The epochs. If the best is number 0, training did not help, and no adapter is written.

    Raises:
        ModelError: there are too few photographs, or the folder holds the training of something else.
    """
    if len(images) < 2:
        raise ModelError("fine-tuning needs two photographs beside the annotated one: one to learn from, one to check")
    memory = propagator.remember(supports)
    # Cloned, because tensors made in inference mode cannot take part in autograd.
    found = [propagator.predict(memory, [image])[0] for image in images]
    prompts = [propagator.make_mask_prompts(each) for each in found]
    targets = [
        CycleTarget(_clone_features(each.features), None if prompt is None else prompt[None].clone())
        for each, prompt in zip(found, prompts, strict=True)
    ]
    banks = [
        replace(bank, support=_clone_features(bank.support), support_masks=bank.support_masks.clone())
        for bank in memory.banks
    ]
    model = _clone_inference_tensors(copy.deepcopy(propagator.network.model))
    torch.manual_seed(settings.seed)
    training = _Training(
        network=Sam2Network(model, propagator.network.device),
        parameters=adapter.make_trainable(model, settings.rank),
        banks=banks,
        targets=targets,
        settings=settings,
        output=output,
        about={
            "group": memory.group,
            "traits": list(memory.traits),
            "checkpoint": dict(propagator.weights),
            "settings": asdict(settings),
            "targets": len(targets),
            "content": compute_fingerprint(supports, images),
        },
    )
    return training.run(progress)


class _Training(FineTuning[CycleTarget]):
    """A fine-tuning in progress."""

    def __init__(
        self,
        *,
        network: Sam2Network,
        parameters: Mapping[str, torch.nn.Parameter],
        banks: Sequence[MemoryBank],
        targets: Sequence[CycleTarget],
        settings: CycleSettings,
        output: Path,
        about: Mapping[str, Any],
    ) -> None:
        super().__init__(targets, settings, output, about, adapter.FORMAT, network.device)
        self.network, self.banks, self.settings, self.parameters = network, banks, settings, parameters
        self.optimizer = torch.optim.AdamW(parameters.values(), lr=settings.rate)

    def train_epoch(self, number: int) -> float:
        """Take one optimiser step per training target, in random order; return the mean loss."""
        rng = random.Random(1000 * self.settings.seed + number)
        losses = []
        for target in rng.sample(self.training, len(self.training)):
            self.optimizer.zero_grad()
            parts = [
                compute_cycle_loss(propagate_cycle(self.network, bank, target), bank.support_masks)
                for bank in self.banks
            ]
            loss = torch.stack(parts).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
            self.optimizer.step()
            losses.append(float(loss.detach()))
        return sum(losses) / len(losses)

    @torch.no_grad()
    def validate(self) -> float:
        """Compute the mean IoU of returned and drawn masks over the validation targets."""
        ious = []
        for target in self.validation:
            for bank in self.banks:
                back = self.network.upsample(propagate_cycle(self.network, bank, target)[:, None])[:, 0] > 0
                drawn = bank.support_masks.to(back.device)
                ious.append(((back & drawn).sum((1, 2)) / (back | drawn).sum((1, 2))).mean())
        return float(torch.stack(ious).mean())

    def copy_tensors(self) -> dict[str, torch.Tensor]:
        """Copy what was trained."""
        return adapter.copy_trained_tensors(self.network.model)

    def get_state(self) -> dict[str, Any]:
        """Return what was learnt, and the state of the optimiser."""
        learnt = {name: each.detach().cpu() for name, each in self.parameters.items()}
        return {"learnt": learnt, "optimizer": self.optimizer.state_dict()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state["learnt"][name])
        self.optimizer.load_state_dict(state["optimizer"])


def propagate_cycle(network: Sam2Network, bank: MemoryBank, target: CycleTarget) -> torch.Tensor:
    """Propagate a support's masks to a target and, with only the target in memory, back to the support.

    Args:
        network: SAM 2.
        bank: the support, its features and masks.
        target: the photograph.

    Returns:
        float32 (T, s, s), logits of the returned masks on the support, at a quarter of the image's edge.
    """
    with without_object_scores(network.model):
        memory = network.encode_conditioning_frame(bank.support, bank.support_masks)
        prompts = None if target.prompts is None else target.prompts[:, list(bank.traits)].to(network.device)
        there = network.track(target.features, network.project_memories([memory]), prompts)
        # The soft mask, since a threshold would stop the gradient; the trait is taken as present.
        soft = replace(there, object_logits=torch.full_like(there.object_logits, PRESENT_LOGIT))
        returned = network.encode_predicted_frame(target.features, soft)
        back = network.track(bank.support, network.project_memories([returned]))
    return back.logits[0]


def compute_cycle_loss(logits: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """Compute binary cross-entropy plus Dice loss of returned masks, mean over the traits.

    Args:
        logits: float32 (T, s, s), of the returned masks.
        drawn: bool (T, S, S), masks drawn on the support.

    Returns:
        float32 scalar.
    """
    wanted = functional.interpolate(drawn[:, None].float().to(logits.device), size=logits.shape[1:], mode="area")[:, 0]
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, wanted)
    probability = logits.sigmoid()
    overlap = 2 * (probability * wanted).sum((1, 2)) + 1
    return cross_entropy + (1 - overlap / (probability.sum((1, 2)) + wanted.sum((1, 2)) + 1)).mean()


@contextmanager
def without_object_scores(model: Any) -> Iterator[None]:
    """Switch off object scores: an absent trait has constant mask logits, through which no gradient passes."""
    before, model.pred_obj_scores = model.pred_obj_scores, False
    try:
        yield
    finally:
        model.pred_obj_scores = before


def _clone_inference_tensors(model: Any) -> Any:
    """Clone the cached tensors of a network that were made in inference mode, which cannot take part in autograd."""
    for module in model.modules():
        for name, value in vars(module).items():
            if torch.is_tensor(value) and value.is_inference():
                setattr(module, name, value.clone())
        if isinstance(getattr(module, "cache", None), dict):
            module.cache = {}
    return model


def _clone_features(images: ImageFeatures) -> ImageFeatures:
    return ImageFeatures(tuple(each.clone() for each in images.features), images.positions.clone())
