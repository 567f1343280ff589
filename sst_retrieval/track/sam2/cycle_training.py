"""SAM 2 learns a group from its one annotated specimen: the cycle-consistent loss of the SST paper (OC-CCL).

1. From the support onto an unlabelled target: the mask stays soft, so that gradients pass through it.
2. The memory is reset; from the target, with that soft mask, back onto the support.
3. What comes back is compared with what was drawn: binary cross-entropy and Dice.

Written after the text of Feng et al. (2025, arXiv 2501.06749): they have published no code for this part (their
repository, Imageomics/SST, lists it as still to be released), so nothing here was compared with theirs. Two choices are
ours: object scores, which switch whole masks off, are left out of the cycle; held-out targets validate: how well does a
mask that goes there and back fit? No label but the support's is ever used.
"""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from sst_retrieval.errors import ModelError
from sst_retrieval.files import atomic_write
from sst_retrieval.track.sam2 import adapter
from sst_retrieval.track.sam2.memory import Known
from sst_retrieval.track.sam2.network import PRESENT, Encoded, Sam2Network
from sst_retrieval.track.sam2.propagator import Sam2Propagator
from sst_retrieval.types import RGBImage, Support


@dataclass(frozen=True, slots=True)
class CycleSettings:
    """How to fine-tune.

    Attributes:
        rank: of the low-rank additions; None trains mask decoder and memory encoder fully.
        rate: learning rate of AdamW (Loshchilov and Hutter 2019).
        epochs: most passes over the targets.
        patience: epochs without a better validation after which it stops.
        held_out: share of the targets that only validate.
        seed: of the split, the order and the additions.
    """

    rank: int | None = 4
    rate: float = 1e-3
    epochs: int = 20
    patience: int = 5
    held_out: float = 0.25
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Epoch:
    """How one epoch went; the first, number 0, is the network before it learnt anything.

    Attributes:
        number: from 0.
        loss: mean over the targets that teach; NaN for number 0.
        agreement: mean IoU, there and back, over the held-out targets.
    """

    number: int
    loss: float
    agreement: float


def finetune(
    propagator: Sam2Propagator,
    supports: Sequence[Support],
    images: Sequence[RGBImage],
    output: Path,
    *,
    settings: CycleSettings,
    tell: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Fine-tune SAM 2 on a group, and keep the best as an adapter.

    Args:
        propagator: SAM 2; its own weights stay as they are. Every target's features are kept in memory, 17 MB each at
            1,024 px.
        supports: annotated specimens of one group; each trait goes to and fro the first that shows it.
        images: unlabelled photographs of the group, two or more.
        output: folder of the adapter; a training that was stopped there goes on.
        settings: how to fine-tune.
        tell: is told of every epoch.

    Returns:
        The epochs. If the best is number 0 nothing got better, and no adapter is written.

    Raises:
        ModelError: there are too few photographs, or the folder holds the training of something else.
    """
    if len(images) < 2:
        raise ModelError("fine-tuning needs two photographs beside the annotated one: one to learn from, one to check")
    memory = propagator.remember(supports)
    looks = [propagator.look(memory, [image])[0] for image in images]
    # Out of inference mode: what it made cannot take part in learning.
    targets = [_plain(look.encoded) for look in looks]
    lessons = [replace(known, support=_plain(known.support), drawn=known.drawn.clone()) for known in memory.known]
    model = _able_to_learn(copy.deepcopy(propagator.network.model))
    torch.manual_seed(settings.seed)
    course = _Course(
        network=Sam2Network(model, propagator.network.device),
        parameters=adapter.trainable(model, settings.rank),
        lessons=lessons,
        targets=targets,
        settings=settings,
        output=output,
        about={
            "group": memory.group,
            "traits": list(memory.traits),
            "checkpoint": dict(propagator.weights),
            "settings": asdict(settings),
            "targets": len(targets),
            "content": _fingerprint(supports, images),
        },
    )
    return course.run(tell)


class _Course:
    """A training at work."""

    def __init__(
        self,
        *,
        network: Sam2Network,
        parameters: Mapping[str, torch.nn.Parameter],
        lessons: Sequence[Known],
        targets: Sequence[Encoded],
        settings: CycleSettings,
        output: Path,
        about: Mapping[str, Any],
    ) -> None:
        self.network, self.lessons, self.settings, self.output = network, lessons, settings, output
        self.about = about
        order = list(targets)
        random.Random(settings.seed).shuffle(order)
        held = max(1, round(settings.held_out * len(order)))
        self.checking, self.teaching = order[:held], order[held:]
        self.parameters = parameters
        self.optimizer = torch.optim.AdamW(parameters.values(), lr=settings.rate)
        self.epochs: list[Epoch] = []

    @property
    def best(self) -> Epoch:
        return max(self.epochs, key=lambda epoch: epoch.agreement)

    def run(self, tell: Callable[[Epoch], None]) -> list[Epoch]:
        """Learn until it gets no better."""
        self.output.mkdir(parents=True, exist_ok=True)
        self._resume()
        if not self.epochs:
            self.epochs.append(Epoch(0, float("nan"), self._agreement()))
            tell(self.epochs[-1])
        while len(self.epochs) <= self.settings.epochs and not self._stale():
            number = len(self.epochs)
            loss = self._learn(random.Random(1000 * self.settings.seed + number))
            self.epochs.append(Epoch(number, loss, self._agreement()))
            if self.best is self.epochs[-1]:
                self._keep()
            self._note()
            tell(self.epochs[-1])
        return self.epochs

    def _stale(self) -> bool:
        return len(self.epochs) - 1 - self.best.number >= self.settings.patience

    def _learn(self, rng: random.Random) -> float:
        losses = []
        for target in rng.sample(self.teaching, len(self.teaching)):
            self.optimizer.zero_grad()
            parts = [cycle_loss(go_round(self.network, lesson, target), lesson.drawn) for lesson in self.lessons]
            loss = torch.stack(parts).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
            self.optimizer.step()
            losses.append(float(loss.detach()))
        return sum(losses) / len(losses)

    @torch.no_grad()
    def _agreement(self) -> float:
        found = []
        for target in self.checking:
            for lesson in self.lessons:
                back = self.network.enlarged(go_round(self.network, lesson, target)[:, None])[:, 0] > 0
                drawn = lesson.drawn.to(back.device)
                found.append(((back & drawn).sum((1, 2)) / (back | drawn).sum((1, 2))).mean())
        return float(torch.stack(found).mean())

    def _keep(self) -> None:
        """Write the best so far: a training that is stopped leaves a usable adapter."""
        page = {**self.about, "epochs": [asdict(epoch) | {"loss": str(epoch.loss)} for epoch in self.epochs]}
        adapter.save(self.output, adapter.learnt(self.network.model), page)

    def _note(self) -> None:
        with atomic_write(self.output / "training.pt") as path:
            torch.save(
                {
                    "about": dict(self.about),
                    "epochs": [asdict(epoch) for epoch in self.epochs],
                    "learnt": {name: each.detach().cpu() for name, each in self.parameters.items()},
                    "optimizer": self.optimizer.state_dict(),
                },
                path,
            )

    def _resume(self) -> None:
        path = self.output / "training.pt"
        if not path.is_file():
            if (self.output / "adapter.json").exists():
                raise ModelError(f"{self.output} holds an adapter already; choose another folder, or remove it")
            return
        noted = torch.load(path, map_location=self.network.device, weights_only=True)
        if _taught(noted["about"]) != _taught(self.about):
            raise ModelError(
                f"{self.output} holds a training of another group, other photographs, masks or settings; "
                "choose another folder, or remove it"
            )
        self.epochs = [Epoch(**epoch) for epoch in noted["epochs"]]
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(noted["learnt"][name])
        self.optimizer.load_state_dict(noted["optimizer"])


def _fingerprint(supports: Sequence[Support], images: Sequence[RGBImage]) -> str:
    """Tell the photographs and masks of one training from those of another."""
    digest = hashlib.sha256()
    for array in (*(each for support in supports for each in (support.image, support.masks)), *images):
        digest.update(repr(array.shape).encode() + array.tobytes())
    return digest.hexdigest()


def _taught(about: Mapping[str, Any]) -> dict[str, Any]:
    """Say what must be the same for a training to go on; when it ends may be changed."""
    lasting = {name: value for name, value in about["settings"].items() if name not in ("epochs", "patience")}
    return {**about, "settings": lasting}


def go_round(network: Sam2Network, lesson: Known, target: Encoded) -> torch.Tensor:
    """Follow a lesson's masks onto a target, forget, and follow them back: float32 (T, s, s), logits."""
    with ungated(network.model):
        memory = network.remember(lesson.support, lesson.drawn)
        there = network.track(target, network.prepare([memory]))
        # The soft mask, not its outline: a threshold would stop the gradient. Taken as present.
        soft = replace(there, score=torch.full_like(there.score, PRESENT))
        back = network.track(lesson.support, network.prepare([network.recall(target, soft)]))
    return back.logits[0]


def cycle_loss(logits: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
    """Compare what came back with what was drawn: binary cross-entropy plus Dice, mean of the traits.

    Args:
        logits: float32 (T, s, s).
        drawn: bool (T, S, S).
    """
    wanted = functional.interpolate(drawn[:, None].float().to(logits.device), size=logits.shape[1:], mode="area")[:, 0]
    apart = functional.binary_cross_entropy_with_logits(logits, wanted)
    chance = logits.sigmoid()
    shared = 2 * (chance * wanted).sum((1, 2)) + 1
    return apart + (1 - shared / (chance.sum((1, 2)) + wanted.sum((1, 2)) + 1)).mean()


@contextmanager
def ungated(model: Any) -> Iterator[None]:
    """Leave out the object score: where it says "not there" SAM 2 makes the mask a constant, and nothing is learnt."""
    gated, model.pred_obj_scores = model.pred_obj_scores, False
    try:
        yield
    finally:
        model.pred_obj_scores = gated


def _able_to_learn(model: Any) -> Any:
    """Copy the tables that were made in inference mode, which cannot take part in learning."""
    for module in model.modules():
        for name, value in vars(module).items():
            if torch.is_tensor(value) and value.is_inference():
                setattr(module, name, value.clone())
        if isinstance(getattr(module, "cache", None), dict):
            module.cache = {}
    return model


def _plain(encoded: Encoded) -> Encoded:
    return Encoded(tuple(each.clone() for each in encoded.features), encoded.positions.clone())
