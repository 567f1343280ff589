"""Which of the individuals on a photograph are of one kind with the annotated one, and which are strangers?

1. Every individual is turned like the annotated one, put on grey, and described by the deeper levels of the trunk, and
   by the quartiles of its colours. What all beetles have in common (`common_look.npy`) is taken out of the description:
   what is left tells one kind from another.
2. Whoever is alike is alike to many: on a drawer of one species most individuals are of it, and strangers differ from
   all others. So an individual is compared with what those have in common that resemble the annotated one, with the
   five that it resembles most, and with the usual colours; each figure relative to the photograph's median, which takes
   light and board out of it. Their weights were learnt on drawers put together from individuals of six species.
3. The annotated individual is one of them if it is as much like them as they are like each other
   (`measure_kinship`); else none of them is of its kind.
4. Where annotated individuals of other groups are given, too, it must not be much less like them than one of those is
   (`Comparison`). Between groups that look the same that is chance. So by default groups of one species, sexes for
   instance, are not compared, groups of different species always are, and where it is not known whose species a group
   is, it counts only where the annotated individual's own kinship is in doubt (`choose_comparison`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from skimage.color import rgb2lab
from torch.nn import functional

from sst_retrieval.find.templates import HALF_WIDTH, Pose, Template, draw_template, place_points
from sst_retrieval.imaging.foreground import blend_with_grey
from sst_retrieval.imaging.frames import square_frame, warp_image, warp_mask
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.types import Doubles, Floats, Frame, Mask, RGBImage

SIDE = 192
"""Edge, in pixels, of the square an individual is enlarged or shrunk to."""

MARGIN = 1.25
"""The square's side, as a multiple of the template's longer side."""

NEIGHBOURS = 5
"""How many of the others an individual is compared with, those that it resembles most."""

LEAST_KINSHIP = {2: -0.34, 3: -0.29, 4: -0.23, 6: -0.18, 15: -0.175}
"""How many there are on a photograph -> `measure_kinship` below which none is of the annotated kind. Of drawers of six
species of ground beetles 3 in 100 were lost with annotated individuals that are taken at random and were photographed
elsewhere, and of drawers of another of these species 28 in 100 were taken for the own. A whole drawer that is lost
harms more than one of another species that is taken: so the last two were lowered by 0.01 since, when outlines lost
the print of labels, which moved a drawer by 0.006 (of 900 pairs 3 in 100 more are taken, 2 fewer of the own lost)."""

LEAST_ALONE = 0.25
"""One alone is hardly judged: whoever photographs one specimen means it. This is the cosine of features below which it
is none: 2 in 1000 pairs of ground beetles of any species have less, and 1 in 7 of painted organisms of two builds."""

KINSHIP_WEIGHTS = (0.6, 0.4, 0.02)
"""Of likeness to the individuals, of likeness to what they have in common, and of the difference in colour."""

LESS_KIN = 0.25
"""The quantile of the individuals' own likeness that the annotated one is compared with: some of them are odd, too."""

WEIGHTS = (2.0, 25.0, -1.5)
"""Of likeness to the common, of likeness to the neighbours, and of the logarithm of the difference in colour."""

BIAS = 6.6
"""At the score 0.5 that it leads to, just under 2 % of the own kind are lost."""

_SHARPNESS = 16.0
_QUANTILES = (10, 25, 50, 75, 90)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How annotated individuals of other groups count.

    Attributes:
        weight: how much it counts by how much more kinship another group's has with those on a photograph.
        least: how much less kinship of another group's counts at most.
        most: how much more counts at most.
        same_look: likeness of both annotated individuals from which on the other says nothing; 1 if there is none.
        allowance: so much less kinship is enough where there are others.
    """

    weight: float
    least: float
    most: float
    same_look: float
    allowance: float


DOUBTFUL = Comparison(weight=0.25, least=0.0, most=0.15, same_look=1.0, allowance=0.0)
"""Others count only where the own kinship is within 0.0375 above the limit. Chosen on half of 54 annotated ground
beetles and 30 drawers of six species; on the other half 3 in 1000 own drawers were lost, as many as without others, of
other species' 0.22 were taken (0.29 without). If another group is of the same species, 3 in 100 own ones were lost."""

STRICT = Comparison(weight=0.5, least=-0.2, most=2.0, same_look=0.65, allowance=0.015)
"""Others always count: on the same half 0.16 of other species' drawers were taken, as few of the own lost, but 5 in 100
if another group is of the same species, 7 if three are."""

OTHER_SPECIES = Comparison(weight=0.5, least=0.0, most=2.0, same_look=0.65, allowance=0.015)
"""Of groups that are known to be of other species: as `STRICT`, but that they are less alike is no reason to take a
drawer. Where there is only one other group, `STRICT` took 0.34 of the drawers of a third species, this one 0.21, about
as many as are taken without others (other half: 0.40, 0.31). Of drawers of the other species 0.10 were taken, 0.12 by
`DOUBTFUL` (other half: 0.18, 0.23); of the own as many were lost as without others."""


@dataclass(frozen=True, slots=True)
class Portrait:
    """How an individual looks.

    Attributes:
        features: float32 (432,), of unit length.
        special: float32 (432,), the same without what beetles have in common, of unit length.
        colours: float32 (5, 3), quantiles of L*, a* and b* inside its trunk.
    """

    features: Floats
    special: Floats
    colours: Floats


NOBODY: Mapping[Comparison, Sequence[Portrait]] = MappingProxyType({})
"""No annotated individuals of other groups."""


@cache
def load_common_look() -> Floats:
    """Load what beetles have in common: float32 (432,), the mean features of pinned ground beetles.

    Made by `scripts/measure_common_look.py` of 160 photographs (Imageomics/BeetleFlow, CC BY 4.0).
    """
    with files("sst_retrieval.find").joinpath("common_look.npy").open("rb") as stream:
        common: Floats = np.load(stream, allow_pickle=False).astype(np.float32)
    return common


@torch.inference_mode()
def portray(trunk: EfficientNetTrunk, image: RGBImage, mask: Mask, pose: Pose, template: Template) -> Portrait:
    """Describe an individual.

    Args:
        trunk: the network.
        image: uint8 (h, w, 3), the photograph, or a part of it.
        mask: bool (h, w), the individual.
        pose: where the template lies on it, in pixels of `image`.
        template: the shape of the annotated individual.
    """
    window, drawn = draw_template(template, pose, mask.shape[:2])
    core = np.zeros_like(mask)
    core[window] = drawn
    core &= mask
    inner = ndimage.binary_erosion(core)
    if inner.any():
        core = inner
    elif not core.any():
        core = mask
    # A template may fit either way round: both are described.
    views = [_describe(trunk, image, core, _frame(pose, template, turn)) for turn in (0.0, np.pi)]
    levels = [np.mean(pair, axis=0) for pair in zip(*views, strict=True)]
    features = np.concatenate([_scale(level) for level in levels]) / np.sqrt(len(levels))
    lab = rgb2lab(image[core][None])[0]
    return Portrait(
        features=features.astype(np.float32),
        special=_scale(features - load_common_look()).astype(np.float32),
        colours=np.percentile(lab, _QUANTILES, axis=0).astype(np.float32),
    )


def choose_comparison(usual: Comparison, own: str, other: str) -> Comparison | None:
    """Choose how another group counts, by the species of both.

    Args:
        usual: how groups count whose species are not known. `STRICT` is for all groups, whatever their species.
        own: species of the annotated individuals; "" if it is not known.
        other: species of the other group.

    Returns:
        How it counts; None if not at all.
    """
    if usual != DOUBTFUL or not own or not other:
        return usual
    return OTHER_SPECIES if own != other else None


def judge(
    annotated: Sequence[Portrait], found: Sequence[Portrait], others: Mapping[Comparison, Sequence[Portrait]] = NOBODY
) -> Doubles:
    """Judge which individuals of a photograph are of the annotated kind.

    Args:
        annotated: the annotated individuals, at least one.
        found: the individuals of one photograph.
        others: annotated individuals of other groups, described as those found are, by how they count.

    Returns:
        float64 (N,), 0..1; from 0.5 on they are.
    """
    if not found:
        return np.zeros(0)
    features = np.stack([each.special for each in found]).astype(np.float64)
    colours = np.stack([each.colours for each in found]).astype(np.float64)
    likeness = (features @ np.stack([each.special for each in annotated]).T).max(axis=1)
    _, to_common = _find_common(features, likeness)
    colour = np.abs(colours - np.median(colours, axis=0)).mean(axis=(1, 2))
    to_neighbours = _compare_neighbours(features)
    measures = np.stack([_above_median(to_common), _above_median(to_neighbours), np.log1p(colour)], axis=1)
    scores: Doubles = 1 / (1 + np.exp(-(measures @ np.array(WEIGHTS) + BIAS)))
    return scores if _are_kin(annotated, found, others) else scores * 0.49


def _are_kin(
    annotated: Sequence[Portrait], found: Sequence[Portrait], others: Mapping[Comparison, Sequence[Portrait]]
) -> bool:
    """Return whether the individuals of a photograph, at least one, are of the annotated kind as a whole."""
    if len(found) == 1:
        return max(float(each.features @ found[0].features) for each in annotated) >= LEAST_ALONE
    own = kinship = measure_kinship(annotated, found)
    known = np.stack([each.special for each in annotated])
    for comparison, portraits in others.items():
        different = [each for each in portraits if float((known @ each.special).max()) < comparison.same_look]
        more = [measure_kinship([each], found) - own for each in different]
        counted = min(max([comparison.least, *more]), comparison.most)
        kinship += comparison.allowance - comparison.weight * counted
    return kinship >= float(np.interp(len(found), list(LEAST_KINSHIP), list(LEAST_KINSHIP.values())))


def measure_kinship(annotated: Sequence[Portrait], found: Sequence[Portrait]) -> float:
    """Measure how much less an individual is like those on a photograph than they are like each other.

    Args:
        annotated: the individual, or several of its kind: the one that is most alike counts.
        found: those on the photograph, at least two.

    Returns:
        -1..1; about 0 if it could be one of them.
    """
    features = np.stack([each.special for each in found]).astype(np.float64)
    colours = np.stack([each.colours for each in found]).astype(np.float64)
    alike = features @ features.T
    differ = np.abs(colours[:, None] - colours[None]).mean(axis=(2, 3))
    rest = features.sum(axis=0) - features
    usual = (
        float(np.quantile(_average_best(alike), LESS_KIN)),
        float(np.median((features * rest).sum(axis=1) / np.maximum(np.linalg.norm(rest, axis=1), 1e-9))),
        float(np.median(_average_best(-differ))),
    )
    common = _scale(features.sum(axis=0))
    measured = [
        (
            _average_better_half(features @ each.special),
            float(common @ each.special),
            _average_better_half(-np.abs(colours - each.colours).mean(axis=(1, 2))),
        )
        for each in annotated
    ]
    return max(float(np.dot(KINSHIP_WEIGHTS, np.subtract(each, usual))) for each in measured)


def _average_best(likeness: Doubles) -> Doubles:
    """Compute for each of N individuals, float64 (N, N), the mean likeness to the better half of the others."""
    count = len(likeness)
    return np.array([_average_better_half(np.delete(likeness[place], place)) for place in range(count)])


def _average_better_half(likeness: Doubles) -> float:
    return float(np.sort(likeness)[len(likeness) // 2 :].mean())


def _scale(vector: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Scale a vector to unit length."""
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _find_common(features: Doubles, likeness: Doubles) -> tuple[Doubles, Doubles]:
    """Find what those have in common that resemble the annotated individual, and how much each is like it."""
    to_common = likeness
    common = features[0]
    for _ in range(3):
        mixed = (likeness + to_common) / 2
        weights = np.exp(_SHARPNESS * (mixed - mixed.max()))
        total = (weights[:, None] * features).sum(axis=0)
        common = total / np.linalg.norm(total)
        to_common = features @ common
    return common, to_common


def _compare_neighbours(features: Doubles) -> Doubles:
    """Compute the mean likeness of each individual to those that it resembles most; 1 where it is alone."""
    count = min(NEIGHBOURS, len(features) - 1)
    if count < 1:
        return np.ones(len(features))
    alike = features @ features.T
    np.fill_diagonal(alike, -1)
    nearest: Doubles = np.sort(alike, axis=1)[:, -count:].mean(axis=1)
    return nearest


def _above_median(values: npt.NDArray[np.float64]) -> Doubles:
    above: Doubles = values - np.median(values)
    return above


def _frame(pose: Pose, template: Template, turn: float) -> Frame:
    """Return the square around a template on its photograph, turned like the annotated individual."""
    height, width = template.raster.shape
    middle = np.array([[width / 2 - template.origin[0], height / 2 - template.origin[1]]]) / HALF_WIDTH
    ((x, y),) = place_points(middle, np.array([pose]))[0]
    side = max(width, height) / HALF_WIDTH * pose.size * max(pose.stretch, 1.0) * MARGIN
    return square_frame((float(x) + 0.5, float(y) + 0.5), side, pose.angle + turn)


def _describe(trunk: EfficientNetTrunk, image: RGBImage, core: Mask, frame: Frame) -> list[Floats]:
    """Compute the mean features of the strides 16 and 32, each cell of unit length, as a frame shows an individual."""
    # What lies outside the template goes, too: legs may have been drawn on the one and not on the other.
    shown = np.array(warp_mask(core, frame, SIDE))
    view = blend_with_grey(warp_image(image, frame, SIDE), shown)
    coverage = torch.from_numpy(shown)[None]
    means = []
    for level in trunk.levels(view[None])[3:]:
        weights = functional.adaptive_avg_pool2d(coverage, (level.shape[-2], level.shape[-1]))[0].to(level.device)
        cells = functional.normalize(level[0], dim=0)
        mean = (cells * weights).sum((1, 2)) / weights.sum().clamp(min=1e-3)
        means.append(mean.cpu().numpy().astype(np.float32))
    return means
