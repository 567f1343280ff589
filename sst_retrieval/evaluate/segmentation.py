"""Segmentation scores: mean IoU, precision and recall of predicted label maps against labels that people drew.

1. The supports themselves are left out, and so are groups without a support: nobody could find their traits.
2. A trait of a specimen counts where the label or the prediction has it and the group's supports show it. Its IoU is 0
   if only one of the two has it. A specimen without a prediction counts as one on which nothing was found.
3. Labels that seem to be numbered otherwise than the predictions, or to lack a trait, are noted: their IoU of 0 says
   nothing of the masks.
4. The mean runs over specimens, then over the traits of a group, then over groups: a common species does not outweigh a
   rare one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from sst_retrieval.annotate.label_names import find_label_picture, list_label_picture_names
from sst_retrieval.errors import InputError
from sst_retrieval.evaluate.text_tables import format_share, format_table
from sst_retrieval.imaging.images import read_labels

LabelMap: TypeAlias = npt.NDArray[np.integer[Any]]
"""(H, W): one trait number a pixel, 0 = background."""

_PICTURES = (".png", ".tif", ".tiff", ".bmp", ".gif")


class Annotated(Protocol):
    """What the scores need to know of a support; `types.Support` and `annotate.supports.SupportReference` have it."""

    @property
    def individual(self) -> str:
        """Id of the annotated individual."""
        ...

    @property
    def group(self) -> str:
        """The group it serves."""
        ...

    @property
    def traits(self) -> tuple[str, ...]:
        """The traits drawn on it."""
        ...


@dataclass(frozen=True, slots=True)
class TraitScore:
    """How well one trait was found.

    Attributes:
        iou: mean IoU over groups of the means over specimens, 0..1.
        precision: of the specimens on which the trait was found, the share that have it; None if it was never found.
        recall: of the specimens that have the trait, the share on which it was found; None if none has it.
        specimens: how many specimens have it, by label or prediction.
    """

    iou: float
    precision: float | None
    recall: float | None
    specimens: int


@dataclass(frozen=True, slots=True)
class MaskScores:
    """How well the masks agree with the labels.

    Attributes:
        mean_iou: mean over groups, 0..1.
        traits: trait -> its scores.
        groups: group -> mean IoU over its traits.
        group_traits: (group, trait) -> mean IoU over specimens.
        specimens: how many specimens were scored.
        without_prediction: how many of them have no prediction.
        ignored: names of the pictures in the folder of labels that are called after no specimen.
        notes: why the labels may not be what they were taken for, one sentence each.
    """

    mean_iou: float
    traits: Mapping[str, TraitScore]
    groups: Mapping[str, float]
    group_traits: Mapping[tuple[str, str], float]
    specimens: int
    without_prediction: int
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def table(self) -> str:
        """Write the scores as aligned text."""
        traits = [
            (name, f"{score.iou:.3f}", format_share(score.precision), format_share(score.recall), str(score.specimens))
            for name, score in self.traits.items()
        ]
        groups = [(name, f"{iou:.3f}") for name, iou in self.groups.items()]
        return "\n".join(
            (
                format_table(("trait", "IoU", "found, is there", "is there, found", "specimens"), traits),
                "",
                format_table(("group", "IoU"), groups),
                "",
                f"mean IoU {self.mean_iou:.4f} over {self.specimens} specimens"
                f" ({self.without_prediction} of them without a prediction)",
                *self._list_ignored(),
                *(f"note: {note}" for note in self.notes),
            )
        )

    def _list_ignored(self) -> list[str]:
        if not self.ignored:
            return []
        named = ", ".join(self.ignored[:5]) + ", ..." * (len(self.ignored) > 5)
        count = f"{len(self.ignored):,} picture{'s' * (len(self.ignored) != 1)}"
        return [f"not compared: {count} called after no specimen ({named}); a label is called <specimen>.png"]

    def as_dict(self) -> dict[str, Any]:
        """Convert the scores to plain, JSON-ready types."""
        by_group: dict[str, dict[str, float]] = defaultdict(dict)
        for (group, trait), iou in self.group_traits.items():
            by_group[group][trait] = iou
        return {
            "mean_iou": self.mean_iou,
            "traits": {name: score.iou for name, score in self.traits.items()},
            "groups": dict(self.groups),
            "group_traits": dict(by_group),
            "presence": {
                name: {"precision": score.precision, "recall": score.recall, "specimens": score.specimens}
                for name, score in self.traits.items()
            },
            "specimens": self.specimens,
            "specimens_without_prediction": self.without_prediction,
            "notes": [*self._list_ignored(), *self.notes],
        }


def mask_scores(
    labels: Path,
    predicted: Callable[[str], LabelMap | None] | Mapping[str, LabelMap],
    *,
    groups: Mapping[str, str],
    supports: Sequence[Annotated],
    numbers: Mapping[str, int],
    label_numbers: Mapping[str, int] | None = None,
) -> MaskScores:
    """Compute IoU, precision and recall of predicted masks; the top of this module says what counts.

    Args:
        labels: folder with one label picture a specimen, named `<specimen>.png`.
        predicted: returns the label map of a specimen, integer (H, W) at the label's own size; None, or no entry, if
            there is none.
        groups: specimen -> its group, for every specimen of the collection.
        supports: the annotated specimens.
        numbers: trait -> its number in both kinds of label map.
        label_numbers: trait -> its number in the labels, if these are numbered otherwise; a trait that is not in it was
            not drawn there, and is not scored.

    Returns:
        The scores, averaged over specimens, then traits, then groups.

    Raises:
        InputError: no label fits a specimen, a prediction is not of its label's size, or there is nothing to score.
    """
    find = predicted.get if isinstance(predicted, Mapping) else predicted
    traits_of: dict[str, set[str]] = defaultdict(set)
    for support in supports:
        traits_of[support.group].update(support.traits)
    ious: dict[tuple[str, str], list[float]] = defaultdict(list)
    presence: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    scored = missing = 0
    drawn_as = numbers if label_numbers is None else label_numbers
    numbering = _Numbering(numbers, drawn_as)
    for specimen, path in _find_labelled(labels, groups, {support.individual for support in supports}, traits_of):
        truth = read_labels(path)
        found = find(specimen)
        scored, missing = scored + 1, missing + (found is None)
        found = _check_size(found, truth, specimen)
        numbering.add(truth, found)
        for trait in traits_of[groups[specimen]] & numbers.keys() & drawn_as.keys():
            drawn, predicted_mask = truth == drawn_as[trait], found == numbers[trait]
            presence[trait].append((bool(drawn.any()), bool(predicted_mask.any())))
            if either := np.count_nonzero(drawn | predicted_mask):
                ious[groups[specimen], trait].append(np.count_nonzero(drawn & predicted_mask) / either)
    if not ious:
        raise InputError(
            f"{scored} labels in {labels} were compared, and neither they nor the predictions show a trait of their "
            f"group's support; check that the labels use the numbers {dict(drawn_as)}"
        )
    scores = _average(ious, presence, numbers, scored, missing)
    expected = [trait for trait in numbers if trait in scores.traits]
    return replace(scores, ignored=_find_ignored(labels, groups), notes=numbering.explain(labels, expected))


_OWN, _OTHER = 0.1, 0.4
"""A trait whose masks overlap less than the one with its own number in the labels, and more than the other with another
number, seems to be numbered otherwise there (IoU over all labels)."""


class _Numbering:
    """Notices labels that are numbered otherwise than the predictions, or do not show a trait at all."""

    def __init__(self, numbers: Mapping[str, int], drawn_as: Mapping[str, int]) -> None:
        self._numbers, self._drawn_as = numbers, drawn_as
        self._together: Counter[tuple[int, int]] = Counter()  # (number in the label, in the prediction) -> pixels.

    def add(self, truth: LabelMap, found: LabelMap) -> None:
        """Count the pixels of a label and its prediction, both (H, W)."""
        pairs, counts = np.unique(truth.astype(np.int64) << 16 | found.astype(np.int64), return_counts=True)
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
            self._together[pair >> 16, pair & 0xFFFF] += count

    def explain(self, folder: Path, traits: Sequence[str]) -> tuple[str, ...]:
        """Say which labels are doubtful.

        Args:
            folder: of the labels.
            traits: those that were scored.

        Raises:
            InputError: no label shows any trait, so that nothing can be compared.
        """
        used = {number for number, _ in self._together} - {0}
        known = ", ".join(f"{trait} = {number}" for trait, number in self._drawn_as.items())
        strange = sorted(used - set(self._drawn_as.values()))
        absent = [trait for trait in traits if self._drawn_as[trait] not in used]
        remedy = f"give the labels these numbers, or write a traits.toml with theirs into {folder}"
        if strange and len(absent) == len(traits):
            raise InputError(f"the labels in {folder} show {_list_numbers(strange)}, but {known}; {remedy}")
        notes = []
        if strange:
            notes.append(f"the labels show {_list_numbers(strange)}, which no trait has: {known}; {remedy}")
        if absent:
            notes.append(
                f"no label shows {', '.join(absent)}: if people did not draw that, its IoU of 0 says nothing of the "
                f"masks; a traits.toml in {folder} that names only what they drew leaves the others out"
            )
        elsewhere = [(trait, other) for trait in traits if (other := self._find_other(trait, used)) is not None]
        if elsewhere:
            listed = ", ".join(f"masks of {trait} lie where labels have {other}" for trait, other in elsewhere)
            notes.append(f"are the labels numbered otherwise? {listed}, but {known}; {remedy}")
        return tuple(notes)

    def _find_other(self, trait: str, used: Collection[int]) -> int | None:
        """Return the number that labels have where the trait's masks lie, if it is not the trait's own."""
        own = self._drawn_as[trait]
        overlaps = {number: self._iou(number, self._numbers[trait]) for number in {own, *used}}
        best = max(sorted(overlaps), key=lambda number: overlaps[number])
        return best if overlaps[own] < _OWN and overlaps[best] > _OTHER else None

    def _iou(self, drawn: int, predicted: int) -> float:
        """Intersection over union of two numbers, over all labels."""
        sizes = [0, 0]
        for pair, count in self._together.items():
            sizes[0] += count * (pair[0] == drawn)
            sizes[1] += count * (pair[1] == predicted)
        both = self._together[drawn, predicted]
        return both / max(sum(sizes) - both, 1)


def _list_numbers(numbers: Sequence[int]) -> str:
    return (
        ("the number " if len(numbers) == 1 else "the numbers ")
        + ", ".join(map(str, numbers[:8]))
        + (", ..." if len(numbers) > 8 else "")
    )


def _find_labelled(
    labels: Path, groups: Mapping[str, str], supports: set[str], traits_of: Mapping[str, set[str]]
) -> Iterator[tuple[str, Path]]:
    """Yield every specimen to be scored, with the path of its label."""
    if not labels.is_dir():
        raise InputError(
            f"{labels} is not a folder; name the one that holds a <specimen>.png for each labelled specimen"
        )
    with_label = [(name, path) for name in groups if (path := find_label_picture(labels, name)) is not None]
    if not with_label:
        example = next(iter(groups), "<specimen>")
        raise InputError(
            f"no file in {labels} is named after a specimen of the collection; a label is called like {example}.png"
        )
    scored = [(name, path) for name, path in with_label if name not in supports and groups[name] in traits_of]
    if not scored:
        raise InputError(
            f"all {len(with_label)} labels in {labels} are of supports or of groups without a support; "
            "add labels of other specimens"
        )
    yield from scored


def _find_ignored(labels: Path, groups: Iterable[str]) -> tuple[str, ...]:
    """Find the pictures that are called after no specimen, or have a suffix that is not read here."""
    known = {picture for name in groups for picture in list_label_picture_names(name)}
    pictures = (path.name for path in labels.iterdir() if path.suffix.lower() in _PICTURES and path.name[0] != ".")
    return tuple(sorted(name for name in pictures if name not in known))


def _check_size(found: LabelMap | None, truth: LabelMap, specimen: str) -> LabelMap:
    """Return a prediction if it has its label's size; an empty one if there is none."""
    if found is None:
        return np.zeros_like(truth)
    if found.shape != truth.shape:
        raise InputError(
            f"{specimen}: the prediction is {found.shape[1]} x {found.shape[0]} pixels, its label "
            f"{truth.shape[1]} x {truth.shape[0]}; label the photograph that is in the collection, at its own size"
        )
    return found


def _average(
    ious: Mapping[tuple[str, str], list[float]],
    presence: Mapping[str, list[tuple[bool, bool]]],
    numbers: Mapping[str, int],
    scored: int,
    missing: int,
) -> MaskScores:
    """Average over specimens, then traits, then groups."""
    order = list(numbers)
    means = {key: float(np.mean(ious[key])) for key in sorted(ious, key=lambda k: (k[0], order.index(k[1])))}
    by_group: dict[str, list[float]] = defaultdict(list)
    by_trait: dict[str, list[float]] = defaultdict(list)
    for (group, trait), mean in means.items():
        by_group[group].append(mean)
        by_trait[trait].append(mean)
    traits = {
        name: _make_trait_score(float(np.mean(by_trait[name])), np.array(presence[name]))
        for name in order
        if by_trait[name]
    }
    groups = {name: float(np.mean(values)) for name, values in by_group.items()}
    return MaskScores(float(np.mean(list(groups.values()))), traits, groups, means, scored, missing)


def _make_trait_score(iou: float, presence: npt.NDArray[np.bool_]) -> TraitScore:
    """Compute precision and recall of presence, bool (N, 2): drawn, found."""
    drawn, found = presence.T
    both = np.count_nonzero(drawn & found)
    precision = both / np.count_nonzero(found) if found.any() else None
    recall = both / np.count_nonzero(drawn) if drawn.any() else None
    return TraitScore(iou, precision, recall, int(np.count_nonzero(drawn | found)))
