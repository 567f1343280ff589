"""Scores of a few-shot evaluation: one trait on one target at a time, and their averages.

1. The IoU of a trait counts where the label or the prediction has it. Its mean runs over the specimens of a draw, then
   over the traits of a group, then over groups, then over draws; the spread is the standard deviation over draws
   (n - 1).
2. Confidence is compared with IoU: rank correlation (Spearman), and the share of the bad masks that are among the least
   confident ones.
3. Presence: precision and recall of the detection of a trait, and of its absence.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sst_retrieval.evaluate.text_tables import format_share, format_table
from sst_retrieval.types import Mask, Photograph, Propagated

BAD = 0.5
"""A mask with an IoU below this is a bad one."""

LEAST_CONFIDENT = 0.2
"""Share of the masks, the least confident ones, that a person would review first."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One trait on one target of one draw.

    Attributes:
        draw, group, specimen, trait: which.
        iou: of the mask with the label, 0..1; None where neither has the trait.
        confidence: the propagator's, 0..1: in the mask, or in the trait's absence if the mask is empty.
        there: whether the label has the trait.
        found: whether the propagator found it.
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
    """Scores of all draws.

    Attributes:
        trials: every trait on every target of every draw.
        shots: supports a group.
        left_out: groups with too few labelled specimens.
    """

    trials: tuple[Trial, ...]
    shots: int
    left_out: tuple[str, ...]

    def draws(self) -> list[float]:
        """Return the mean IoU of each draw: over specimens, then traits, then groups."""
        return [_mean_over_groups([t for t in self.trials if t.draw == draw]) for draw in self._draw_numbers()]

    def mean_iou(self) -> float:
        """Return the mean IoU over draws, 0..1."""
        return float(np.mean(self.draws()))

    def spread(self) -> float:
        """Return the sample standard deviation over draws (n - 1 in the denominator); NaN for a single draw."""
        draws = self.draws()
        return float(np.std(draws, ddof=1)) if len(draws) > 1 else float("nan")

    def groups(self) -> dict[str, float]:
        """Return group -> mean IoU over its traits and draws."""
        names = dict.fromkeys(trial.group for trial in self.trials if trial.iou is not None)
        return {
            name: float(np.mean([_mean_over_groups(own) for own in self._by_draw("group", name)])) for name in names
        }

    def traits(self) -> dict[str, float]:
        """Return trait -> mean IoU over specimens, then groups, then draws."""
        names = dict.fromkeys(trial.trait for trial in self.trials if trial.iou is not None)
        return {
            name: float(np.mean([_mean_over_groups(own) for own in self._by_draw("trait", name)])) for name in names
        }

    def confidence_order(self) -> float:
        """Return Spearman's rank correlation of confidence and IoU over all non-empty masks; NaN without variation."""
        from scipy.stats import spearmanr  # Here: it takes a second to load, which every command would wait for.

        masks = self._masks()
        if len({t.iou for t in masks}) < 2 or len({t.confidence for t in masks}) < 2:
            return float("nan")
        return float(spearmanr([t.confidence for t in masks], [t.iou for t in masks])[0])

    def bad_among_least_confident(self) -> float | None:
        """Return the share of the bad masks that are in the least confident fifth; None if there is no bad one."""
        masks = sorted(self._masks(), key=lambda t: t.confidence)
        bad = [t.iou is not None and t.iou < BAD for t in masks]
        return sum(bad[: round(LEAST_CONFIDENT * len(masks))]) / sum(bad) if any(bad) else None

    def presence(self) -> dict[str, float | None]:
        """Return precision and recall of the presence of a trait and of its absence; None where undefined."""
        there, found = (np.array([getattr(t, name) for t in self.trials]) for name in ("there", "found"))
        return {
            "precision": _ratio(there & found, found),
            "recall": _ratio(there & found, there),
            "absence_precision": _ratio(~there & ~found, ~found),
            "absence_recall": _ratio(~there & ~found, ~there),
        }

    def as_dict(self) -> dict[str, Any]:
        """Convert the scores to plain, JSON-ready types."""
        order, spread = self.confidence_order(), self.spread()
        return {
            "shots": self.shots,
            "mean_iou": self.mean_iou(),
            "spread": None if np.isnan(spread) else spread,
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
        draws = self.draws()
        scores = " ".join(f"{value:.3f}" for value in draws)
        spread = f" +- {self.spread():.4f}" if len(draws) > 1 else ""
        parts = [
            format_table(("trait", "IoU"), [(name, f"{iou:.3f}") for name, iou in self.traits().items()]),
            "",
            format_table(("group", "IoU"), [(name, f"{iou:.3f}") for name, iou in self.groups().items()]),
            "",
            f"mean IoU {self.mean_iou():.4f}{spread} over {len(draws)} draw{'s' * (len(draws) > 1)} of {self.shots} "
            f"support{'s' * (self.shots > 1)} a group ({scores})",
            f"confidence: Spearman {self.confidence_order():.2f} with the IoU; the least confident "
            f"{LEAST_CONFIDENT:.0%} hold {format_share(self.bad_among_least_confident())} of the masks below {BAD}",
            f"presence: precision {format_share(presence['precision'])}, recall {format_share(presence['recall'])}; "
            f"absence: precision {format_share(presence['absence_precision'])}, "
            f"recall {format_share(presence['absence_recall'])}",
        ]
        if self.left_out:
            parts.append(f"left out, too few labelled specimens: {', '.join(self.left_out)}")
        return "\n".join(parts)

    def _draw_numbers(self) -> list[int]:
        return sorted({trial.draw for trial in self.trials})

    def _by_draw(self, field: str, value: str) -> Iterator[list[Trial]]:
        """Yield, for every draw, its trials whose field has a value, if any of them has an IoU."""
        for draw in self._draw_numbers():
            own = [t for t in self.trials if t.draw == draw and getattr(t, field) == value]
            if any(trial.iou is not None for trial in own):
                yield own

    def _masks(self) -> list[Trial]:
        """Return the trials with a non-empty mask and an IoU."""
        return [trial for trial in self.trials if trial.found and trial.iou is not None]


def score_target(
    draw: int, specimen: Photograph, traits: Sequence[str], found: Propagated, truth: Mapping[str, Mask]
) -> Iterator[Trial]:
    """Compare the masks of one target with the true ones, trait by trait.

    Args:
        draw: number of the draw.
        specimen: the target.
        traits: names of the T traits, in the order of the masks.
        found: the propagator's answer.
        truth: trait -> bool (H, W), its true mask.

    Yields:
        One trial a trait.
    """
    for trait, mask, confidence in zip(traits, found.masks, found.confidence, strict=True):
        drawn = truth[trait]
        union = np.count_nonzero(drawn | mask)
        iou = np.count_nonzero(drawn & mask) / union if union else None
        present, detected = bool(drawn.any()), bool(mask.any())
        yield Trial(draw, specimen.group, specimen.id, trait, iou, float(confidence), present, detected)


def _mean_over_groups(trials: Sequence[Trial]) -> float:
    """Average IoU over specimens, then traits, then groups; NaN if no trial has one."""
    cells: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        if trial.iou is not None:
            cells[trial.group][trial.trait].append(trial.iou)
    if not cells:
        return float("nan")  # A trait was erased on every target: no IoU to average.
    return float(np.mean([np.mean([np.mean(ious) for ious in traits.values()]) for traits in cells.values()]))


def _ratio(part: npt.NDArray[np.bool_], whole: npt.NDArray[np.bool_]) -> float | None:
    """Return the number of true values in `part` per true value in `whole`; None if there is none."""
    return np.count_nonzero(part) / np.count_nonzero(whole) if whole.any() else None
