"""Few-shot evaluation of a finder on a collection whose individuals people drew, with randomly drawn supports.

1. Of every group some photographs are drawn, and of each one individual: the supports of that many draws. No photograph
   is a support twice.
2. In every draw the finder remembers the support of each group and finds the individuals on the group's other
   photographs, which are scored (`instance_scores`).
3. In the first draw every photograph is also searched with another group's support: whatever is found then is false.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from sst_retrieval.collection.species_names import find_species
from sst_retrieval.errors import InputError
from sst_retrieval.evaluate.instance_scores import InstanceScores, InstanceSummary, ScoredPhotograph, score_instances
from sst_retrieval.evaluate.instance_truth import DrawnPhotograph, group_drawn, load_drawn_support
from sst_retrieval.evaluate.text_tables import format_table
from sst_retrieval.find.contract import FOUND, Finder, check_detections, compares_groups
from sst_retrieval.find.cutouts import cut_out_supports
from sst_retrieval.imaging.images import read_image
from sst_retrieval.types import Detection, RGBImage, Support


@dataclass(frozen=True, slots=True)
class InstanceReport:
    """What an evaluation found.

    Attributes:
        draws: one a draw of supports.
        foreign: mean number of individuals found on a photograph with another group's support; None with one group.
        found: of the first draw: what was found on every photograph.
        left_out: groups without a support, or without a photograph to search.
    """

    draws: tuple[InstanceScores, ...]
    foreign: float | None
    found: tuple[ScoredPhotograph, ...]
    left_out: tuple[str, ...]

    def mean(self, name: str) -> float:
        """Return the mean of a figure over draws; not a number if it has none."""
        values = [value for each in self.draws if not np.isnan(value := float(getattr(each, name)))]
        return float(np.mean(values)) if values else float("nan")

    def spread(self, name: str) -> float:
        """Return the sample standard deviation over draws; not a number for a single one."""
        values = [float(getattr(each, name)) for each in self.draws]
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """Convert to plain, JSON-ready types."""
        content = {
            **{name: {"mean": self.mean(name), "spread": self.spread(name)} for name in ("ap25", "ap50", "ap")},
            "draws": [each.as_dict() for each in self.draws],
            "false_individuals_with_foreign_support": self.foreign,
            "left_out": list(self.left_out),
        }
        cleaned: dict[str, Any] = _drop_nan(content)
        return cleaned

    def as_coco(self) -> dict[str, Any]:
        """Return what the first draw found, as COCO with scores, which other programs can score."""
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, each in enumerate(self.found, 1):
            height, width = (each.drawn or each.found)[0]["size"] if each.drawn or each.found else (0, 0)
            images.append({"id": number, "file_name": f"{each.id}.jpg", "width": width, "height": height})
            for code, score in zip(each.found, each.scores, strict=True):
                counts = {"size": list(code["size"]), "counts": code["counts"].decode()}
                entry = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "score": score}
                annotations.append({**entry, "segmentation": counts, "iscrowd": 0})
        return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "individual"}]}

    def table(self) -> str:
        """Write the scores as aligned text."""
        count = len(self.draws)
        rows = [_name_figures("all", [each.whole for each in self.draws])]
        for name in ("single", "several"):
            some = [found for each in self.draws if (found := getattr(each, name)) is not None]
            if some:
                rows.append(_name_figures(f"{name} on a photograph", some))
        head = ("individuals", "photographs", "drawn", "AP50", "recall50", "mean IoU", "count error", "relative")
        groups = {name: [each.groups[name] for each in self.draws if name in each.groups] for name in self._groups()}
        parts = [
            format_table(("group", "AP50"), [(name, f"{_mean(values):.3f}") for name, values in groups.items()]),
            "",
            format_table(head, rows),
            "",
            f"mean over groups and {count} draw{'s' * (count > 1)}: " + ", ".join(self._name_precisions()),
        ]
        if self.foreign is not None:
            parts.append(f"with another group's support: {self.foreign:.2f} false individuals a photograph")
        if self.left_out:
            parts.append(f"left out, no support or nothing to search: {', '.join(self.left_out)}")
        return "\n".join(parts)

    def _groups(self) -> list[str]:
        return list(dict.fromkeys(name for each in self.draws for name in each.groups))

    def _name_precisions(self) -> list[str]:
        spread = len(self.draws) > 1
        return [
            f"{title} {self.mean(name):.3f}" + (f" +- {self.spread(name):.3f}" if spread else "")
            for title, name in (("AP50", "ap50"), ("AP25", "ap25"), ("AP", "ap"))
        ]


def run_instances(
    drawn: Sequence[DrawnPhotograph],
    finder: Finder,
    *,
    given: Mapping[str, Sequence[Support]] | None = None,
    parts: Path | None = None,
    traits: Mapping[str, int] | None = None,
    draws: int = 3,
    seed: int = 0,
    foreign: bool = True,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> InstanceReport:
    """Draw supports, find individuals on all other photographs of their groups, and score them.

    Args:
        drawn: the photographs and what people drew on them.
        finder: the finder to measure.
        given: group -> its annotated individuals; then nothing is drawn at random, and there is one draw.
        parts: folder of label pictures of the individuals' parts, for the supports.
        traits: name -> number in these pictures.
        draws: most draws of supports; a group with few photographs gives fewer.
        seed: of the draws, 0 or more.
        foreign: whether to search every photograph with another group's support, too.
        progress: called with the number of searches done and their total.

    Raises:
        InputError: no group has a support and another photograph.
        ModelError: the finder breaks its contract.
    """
    if draws < 1 or seed < 0:
        raise InputError(f"{draws} draws of supports from seed {seed}: ask for at least 1, and a seed from 0")
    groups = group_drawn(drawn)
    if given is not None:
        plans = [_take_given(groups, given)]
    else:
        plans = _draw_supports(groups, parts or Path(), traits or {}, draws, seed)
    # As a build does that is told that groups show many.
    species = find_species((each.photograph for each in drawn), groups)
    plans = [_name_species(plan, species) for plan in plans if plan]
    if not plans:
        raise InputError("no group has both a support and another photograph with drawn individuals")
    foreign = foreign and len(plans[0]) > 1
    total = sum(len(targets) for plan in plans for _, targets in plan.values())
    total += foreign * sum(len(targets) for _, targets in plans[0].values())
    done = 0
    scores: list[InstanceScores] = []
    first: tuple[ScoredPhotograph, ...] = ()
    false: list[int] = []
    for number, plan in enumerate(plans):
        memories = _remember(finder, {group: supports for group, (supports, _) in plan.items()})
        others = dict(zip(plan, [*list(plan)[1:], next(iter(plan))], strict=True))
        scored: list[ScoredPhotograph] = []
        for group, (_, targets) in plan.items():
            for target in targets:
                image = read_image(target.photograph.image)
                scored.append(_score(target, _find(finder, memories[group], image)))
                if foreign and number == 0:
                    strange = _find(finder, memories[others[group]], image)
                    false.append(sum(each.score >= FOUND for each in strange))
                    done += 1
                done += 1
                progress(done, total)
        scores.append(score_instances(scored))
        first = first or tuple(scored)
    left_out = tuple(group for group in groups if group not in plans[0])
    return InstanceReport(tuple(scores), float(np.mean(false)) if false else None, first, left_out)


Plan = dict[str, tuple[Sequence[Support], list[DrawnPhotograph]]]
"""Group -> its supports, and the photographs to search."""


def _take_given(groups: Mapping[str, Sequence[DrawnPhotograph]], given: Mapping[str, Sequence[Support]]) -> Plan:
    plan: Plan = {}
    for group, members in groups.items():
        supports = given.get(group, ())
        shown = {support.photograph or support.individual for support in supports}
        targets = [each for each in members if each.photograph.id not in shown]
        if supports and targets:
            plan[group] = (supports, targets)
    return plan


def _draw_supports(
    groups: Mapping[str, Sequence[DrawnPhotograph]], parts: Path, traits: Mapping[str, int], draws: int, seed: int
) -> list[Plan]:
    plans: list[Plan] = [{} for _ in range(draws)]
    for group, members in groups.items():
        # Seeded by the group's name, so that adding another group to the collection changes nothing here.
        random = np.random.default_rng([seed, zlib.crc32(group.encode())])
        usable = [place for place in random.permutation(len(members)).tolist() if members[place].individuals]
        if len(members) < 2:
            continue
        for plan, place in zip(plans, usable, strict=False):
            chosen = members[place]
            support = load_drawn_support(chosen, int(random.integers(len(chosen.individuals))), parts, traits)
            plan[group] = ((support,), [each for each in members if each is not chosen])
    return plans


def _name_species(plan: Plan, species: Mapping[str, str]) -> Plan:
    """Say of which species the supports are, for finders that compare groups."""
    return {
        group: ([replace(each, species=species.get(group, "")) for each in supports], targets)
        for group, (supports, targets) in plan.items()
    }


def _remember(finder: Finder, supports: Mapping[str, Sequence[Support]]) -> dict[str, Any]:
    """Have the finder remember every group's supports, beside those of the others if it wants them."""
    if not compares_groups(finder):
        return {group: finder.remember(own) for group, own in supports.items()}
    cut = {group: cut_out_supports(own) for group, own in supports.items()}
    return {
        group: finder.remember([*own, *(each for other in cut if other != group for each in cut[other])])
        for group, own in supports.items()
    }


def _find(finder: Finder, memory: Any, image: RGBImage) -> list[Detection]:
    return check_detections(finder.find(memory, image), image, finder.name)


def _score(target: DrawnPhotograph, found: Sequence[Detection]) -> ScoredPhotograph:
    return ScoredPhotograph(
        target.photograph.id,
        target.photograph.group,
        target.individuals,
        tuple(encode_detection(each, target.size) for each in found),
        tuple(each.score for each in found),
    )


def encode_detection(found: Detection, size: tuple[int, int]) -> Mapping[str, Any]:
    """Encode a detection as a COCO run-length code of the photograph; without a mask its box counts.

    Args:
        found: the detection.
        size: (height, width) of the photograph in pixels.
    """
    x0, y0, x1, y1 = found.box
    mask = np.zeros(size, dtype=np.uint8, order="F")
    mask[y0:y1, x0:x1] = 1 if found.mask is None else found.mask
    code: Mapping[str, Any] = coco.encode(mask)
    return code


def _name_figures(name: str, figures: Sequence[InstanceSummary]) -> tuple[str, ...]:
    def mean(field: str) -> float:
        return _mean([getattr(each, field) for each in figures])

    counts = [str(round(mean(field))) for field in ("photographs", "individuals")]
    fields = ("ap50", "recall50", "mean_iou", "count_error", "count_error_relative")
    return (name, *counts, *(f"{mean(field):.3f}" for field in fields))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _drop_nan(content: Any) -> Any:
    """Put None where a figure is not a number: JSON has no such thing."""
    if isinstance(content, dict):
        return {key: _drop_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_drop_nan(value) for value in content]
    return None if isinstance(content, float) and np.isnan(content) else content
