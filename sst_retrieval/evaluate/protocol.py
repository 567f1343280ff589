"""How good is a propagator on a labelled collection, whichever specimens happen to be annotated.

The protocol of the SST paper (Feng et al. 2025, arXiv 2501.06749), for one or several supports:

1. For every group some of its labelled specimens are drawn at random to be the supports; all others are scored. This is
   repeated, each draw with other supports.
2. The IoU of a trait counts where the label or the prediction has it. Its mean runs over the specimens of a draw, then
   over the traits of a group, then over groups, then over draws; the spread is the standard deviation over draws.
3. The confidences are compared with the IoU of the masks they speak of: does the order agree (Spearman), and do the
   least confident masks hold the bad ones?
4. Presence: of the traits that were said to be there, how many are; of those that are, how many were found.

`erased` is the share of targets on which one trait is painted over with colours of the photograph's border, as if it
had been torn off: a propagator should say that it is absent. These targets count for presence only.

`turned=True` turns every target by a random angle and mirrors half of them: who survives pose scores alike.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from sst_retrieval import pose
from sst_retrieval.collection import Collection
from sst_retrieval.errors import InputError
from sst_retrieval.evaluate.report import aligned, share
from sst_retrieval.images import read_image, read_labels
from sst_retrieval.propagation import Propagator
from sst_retrieval.types import Mask, MaskStack, RGBImage, Specimen, Support

BAD = 0.5
"""A mask of a lower IoU is a bad one."""

LEAST_CONFIDENT = 0.2
"""Share of the masks that a person would look at first."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One trait on one target of one draw.

    Attributes:
        draw, group, specimen, trait: which.
        iou: of the mask with the label, 0..1; None where neither has the trait.
        confidence: the propagator's, 0..1: in the mask, or in the trait's absence if the mask is empty.
        there, found: the label has it; the propagator found it.
    """

    draw: int
    group: str
    specimen: str
    trait: str
    iou: float | None
    confidence: float
    there: bool
    found: bool


@dataclass(frozen=True, slots=True)
class ProtocolScores:
    """What the draws came to.

    Attributes:
        trials: every trait on every target of every draw.
        shots: supports a group.
        left_out: groups with too few labelled specimens.
    """

    trials: tuple[Trial, ...]
    shots: int
    left_out: tuple[str, ...]

    def draws(self) -> list[float]:
        """Mean IoU of each draw: over specimens, then traits, then groups."""
        return [_mean_over_groups([t for t in self.trials if t.draw == draw]) for draw in self._numbers()]

    def mean_iou(self) -> float:
        """Mean over draws."""
        return float(np.mean(self.draws()))

    def spread(self) -> float:
        """Standard deviation over draws; 0 for a single one."""
        return float(np.std(self.draws()))

    def groups(self) -> dict[str, float]:
        """Group -> mean IoU over its traits and draws."""
        names = dict.fromkeys(trial.group for trial in self.trials if trial.iou is not None)
        return {
            name: float(np.mean([_mean_over_groups(own) for own in self._by_draw("group", name)])) for name in names
        }

    def traits(self) -> dict[str, float]:
        """Trait -> mean IoU over specimens, then groups, then draws."""
        names = dict.fromkeys(trial.trait for trial in self.trials if trial.iou is not None)
        return {
            name: float(np.mean([_mean_over_groups(own) for own in self._by_draw("trait", name)])) for name in names
        }

    def confidence_order(self) -> float:
        """Spearman's correlation of confidence and IoU over all masks that are not empty; NaN without variation."""
        from scipy.stats import spearmanr  # Here: it takes a second to load, which every command would wait for.

        made = self._made()
        if len({t.iou for t in made}) < 2 or len({t.confidence for t in made}) < 2:
            return float("nan")
        return float(spearmanr([t.confidence for t in made], [t.iou for t in made])[0])

    def bad_among_least_confident(self) -> float | None:
        """Share of the bad masks that the least confident fifth holds; None if there is no bad one."""
        made = sorted(self._made(), key=lambda t: t.confidence)
        bad = [t.iou is not None and t.iou < BAD for t in made]
        return sum(bad[: round(LEAST_CONFIDENT * len(made))]) / sum(bad) if any(bad) else None

    def presence(self) -> dict[str, float | None]:
        """Precision and recall of "the trait is there", and of "it is not"."""
        there, found = (np.array([getattr(t, name) for t in self.trials]) for name in ("there", "found"))
        return {
            "precision": _portion(there & found, found),
            "recall": _portion(there & found, there),
            "absence_precision": _portion(~there & ~found, ~found),
            "absence_recall": _portion(~there & ~found, ~there),
        }

    def as_dict(self) -> dict[str, Any]:
        """Say the scores in plain, JSON-ready types."""
        order = self.confidence_order()
        return {
            "shots": self.shots,
            "mean_iou": self.mean_iou(),
            "spread": self.spread(),
            "draws": self.draws(),
            "groups": self.groups(),
            "traits": self.traits(),
            "confidence_spearman": None if np.isnan(order) else order,
            "bad_masks_among_least_confident_fifth": self.bad_among_least_confident(),
            "presence": self.presence(),
            "left_out": list(self.left_out),
        }

    def table(self) -> str:
        """Write the scores as aligned text."""
        presence = self.presence()
        scores = " ".join(f"{value:.3f}" for value in self.draws())
        parts = [
            aligned(("trait", "IoU"), [(name, f"{iou:.3f}") for name, iou in self.traits().items()]),
            "",
            aligned(("group", "IoU"), [(name, f"{iou:.3f}") for name, iou in self.groups().items()]),
            "",
            f"mean IoU {self.mean_iou():.4f} +- {self.spread():.4f} over {len(self.draws())} draws of {self.shots} "
            f"support{'s' * (self.shots > 1)} a group ({scores})",
            f"confidence: Spearman {self.confidence_order():.2f} with the IoU; the least confident "
            f"{LEAST_CONFIDENT:.0%} hold {share(self.bad_among_least_confident())} of the masks below {BAD}",
            f"presence: precision {share(presence['precision'])}, recall {share(presence['recall'])}; "
            f"absence: precision {share(presence['absence_precision'])}, recall {share(presence['absence_recall'])}",
        ]
        if self.left_out:
            parts.append(f"left out, too few labelled specimens: {', '.join(self.left_out)}")
        return "\n".join(parts)

    def _numbers(self) -> list[int]:
        return sorted({trial.draw for trial in self.trials})

    def _by_draw(self, field: str, value: str) -> Iterator[list[Trial]]:
        for draw in self._numbers():
            own = [t for t in self.trials if t.draw == draw and getattr(t, field) == value]
            if any(trial.iou is not None for trial in own):
                yield own

    def _made(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.found and trial.iou is not None]


def run_protocol(
    collection: Collection,
    labels: Path,
    numbers: Mapping[str, int],
    propagator: Propagator,
    *,
    shots: int = 1,
    draws: int = 3,
    seed: int = 0,
    turned: bool = False,
    erased: float = 0.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ProtocolScores:
    """Draw supports, propagate them to all other labelled specimens of their group, and score the masks.

    Args:
        collection: the specimens.
        labels: folder with one label picture a specimen, `<specimen>.png`.
        numbers: trait -> its number in the labels.
        propagator: what is measured.
        shots: supports a group.
        draws: how often supports are drawn; a group with few labelled specimens gives fewer draws.
        seed: of the draws and turns, 0 or more.
        turned: turn every target by a random angle, and mirror half of them.
        erased: share of the targets on which one trait is painted over, 0..1.
        progress: is told how many of how many targets are done.

    Raises:
        InputError: no group has enough labelled specimens, or a label does not fit its photograph.
    """
    if shots < 1 or draws < 1 or seed < 0:
        raise InputError(f"{draws} draws of {shots} supports from seed {seed}: ask for at least 1, and a seed from 0")
    if not 0 <= erased <= 1:
        raise InputError(f"a share of {erased} erased targets cannot be; give one of 0 to 1")
    labelled = by_group(collection, labels)
    plans, left_out = _plans(labelled, shots, draws, seed, lambda one: _shows_any(labels / f"{one.id}.png", numbers))
    if not plans:
        raise InputError(
            f"no group has more than {shots} labelled specimens in {labels}; ask for fewer supports, or label more"
        )
    total = sum(len(targets) for _, _, targets in plans)
    trials: list[Trial] = []
    done = 0
    for draw, chosen, targets in plans:
        supports = [each for one in chosen if (each := labelled_support(one, labels, numbers)) is not None]
        memory = propagator.remember(supports)
        for specimen in targets:
            image, truth = _target(specimen, labels, numbers, seed if turned else None)
            rng = np.random.default_rng([seed, draw, zlib.crc32(specimen.id.encode())])
            lost = rng.random() < erased
            image, truth = _erased(image, truth, memory.traits, rng) if lost else (image, truth)
            found = propagator.propagate(memory, [image])[0]
            own = _trials(draw, specimen, memory.traits, found.masks, found.confidence, truth)
            trials += [replace(trial, iou=None) for trial in own] if lost else own
            done += 1
            progress(done, total)
    return ProtocolScores(tuple(trials), shots, tuple(left_out))


def by_group(collection: Collection, labels: Path) -> dict[str, list[Specimen]]:
    """Sort the labelled specimens by group.

    Raises:
        InputError: no file in the folder is a label of the collection.
    """
    groups: dict[str, list[Specimen]] = defaultdict(list)
    for specimen in collection.specimens:
        if (labels / f"{specimen.id}.png").is_file():
            groups[specimen.group].append(specimen)
    if not groups:
        raise InputError(f"no file in {labels} is named after a specimen of {collection.source}, like <specimen>.png")
    return groups


def _plans(
    labelled: Mapping[str, Sequence[Specimen]], shots: int, draws: int, seed: int, usable: Callable[[Specimen], bool]
) -> tuple[list[tuple[int, list[Specimen], list[Specimen]]], list[str]]:
    """Draw: (number of the draw, supports, targets), and the groups that are too small."""
    plans, left_out = [], []
    for group, members in labelled.items():
        # By name, not by place: another group in the collection changes nothing here.
        order = np.random.default_rng([seed, zlib.crc32(group.encode())]).permutation(len(members)).tolist()
        # What shows no trait cannot be a support; as a target it must come back empty.
        order = [place for place in order if usable(members[place])]
        if len(order) < shots or len(members) <= shots:
            left_out.append(group)
            continue
        for draw in range(min(draws, len(order) // shots)):
            chosen = order[draw * shots : (draw + 1) * shots]
            targets = [specimen for place, specimen in enumerate(members) if place not in chosen]
            plans.append((draw, [members[place] for place in chosen], targets))
    return plans, left_out


def _shows_any(label: Path, numbers: Mapping[str, int]) -> bool:
    return bool(np.isin(read_labels(label), list(numbers.values())).any())


def _read(specimen: Specimen, labels: Path) -> tuple[RGBImage, npt.NDArray[np.uint16]]:
    image, label = read_image(specimen.image), read_labels(labels / f"{specimen.id}.png")
    if image.shape[:2] != label.shape:
        raise InputError(
            f"{labels / specimen.id}.png is {label.shape[1]} x {label.shape[0]} px and its photograph "
            f"{image.shape[1]} x {image.shape[0]}; label the photograph at its own size"
        )
    return image, label


def labelled_support(specimen: Specimen, labels: Path, numbers: Mapping[str, int]) -> Support | None:
    """Read a labelled specimen as a support; None if its label shows none of the traits.

    Raises:
        InputError: the label does not fit its photograph.
    """
    image, label = _read(specimen, labels)
    traits = tuple(trait for trait, number in numbers.items() if (label == number).any())
    if not traits:
        return None
    return Support(specimen.id, specimen.group, image, traits, np.stack([label == numbers[t] for t in traits]))


def _target(
    specimen: Specimen, labels: Path, numbers: Mapping[str, int], seed: int | None
) -> tuple[RGBImage, dict[str, Mask]]:
    """Read a target, turned if there is a seed: its photograph, and the true mask of every trait."""
    image, label = _read(specimen, labels)
    if seed is None:
        return image, {trait: label == number for trait, number in numbers.items()}
    rng = np.random.default_rng([seed, zlib.crc32(specimen.id.encode())])
    height, width = label.shape
    side = int(np.ceil(np.hypot(height, width)))  # Nothing is cut off; beyond the edge, the edge is repeated.
    frame = pose.turned((width / 2, height / 2), side, float(rng.uniform(0, 2 * np.pi)))
    frame = pose.mirrored(frame) if rng.random() < 0.5 else frame
    truth = {trait: pose.warp_mask(label == number, frame, side) > 0.5 for trait, number in numbers.items()}
    return pose.warp(image, frame, side), truth


def torn_off(image: RGBImage, mask: Mask) -> tuple[Mask, RGBImage]:
    """Say which pixels go with a lost trait, bool (H, W), and give pixels of the photograph's border, uint8 (N, 3)."""
    gone: Mask = ndimage.binary_dilation(mask, iterations=max(2, round(0.006 * max(image.shape))))
    return gone, np.concatenate([image[:8].reshape(-1, 3), image[-8:].reshape(-1, 3)])


def _erased(
    image: RGBImage, truth: Mapping[str, Mask], traits: Sequence[str], rng: np.random.Generator
) -> tuple[RGBImage, dict[str, Mask]]:
    """Paint one trait over, with pixels drawn from the photograph's border."""
    shown = [trait for trait in traits if truth[trait].any()]
    if not shown:
        return image, dict(truth)
    lost = shown[int(rng.integers(len(shown)))]
    gone, border = torn_off(image, truth[lost])
    painted = image.copy()
    painted[gone] = border[rng.integers(0, len(border), np.count_nonzero(gone))]
    left = {trait: mask & ~gone for trait, mask in truth.items()}
    left[lost] = np.zeros_like(gone)
    return painted, left


def _trials(
    draw: int,
    specimen: Specimen,
    traits: Sequence[str],
    masks: MaskStack,
    confidence: npt.NDArray[np.float32],
    truth: Mapping[str, Mask],
) -> Iterator[Trial]:
    for trait, mask, sure in zip(traits, masks, confidence, strict=True):
        drawn = truth[trait]
        either = np.count_nonzero(drawn | mask)
        iou = np.count_nonzero(drawn & mask) / either if either else None
        yield Trial(draw, specimen.group, specimen.id, trait, iou, float(sure), bool(drawn.any()), bool(mask.any()))


def _mean_over_groups(trials: Sequence[Trial]) -> float:
    cells: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        if trial.iou is not None:
            cells[trial.group][trial.trait].append(trial.iou)
    if not cells:
        return float("nan")  # Every target lost a trait: nothing to compare.
    return float(np.mean([np.mean([np.mean(ious) for ious in traits.values()]) for traits in cells.values()]))


def _portion(part: npt.NDArray[np.bool_], whole: npt.NDArray[np.bool_]) -> float | None:
    return np.count_nonzero(part) / np.count_nonzero(whole) if whole.any() else None
