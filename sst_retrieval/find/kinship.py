"""Which of the individuals on a photograph are of one kind with the annotated one, and which are strangers?

1. Every individual is turned like the annotated one, put on grey, and described by the deeper levels of the trunk, and
   by the quartiles of its colours.
2. Whoever is alike is alike to many: on a drawer of one species most individuals are of it, and strangers differ from
   all others. So an individual is compared with what those have in common that resemble the annotated one, with the
   five that it resembles most, and with the usual colours; each figure relative to the photograph's median, which takes
   light and board out of it. Their weights were learnt on drawers put together from individuals of six species.
3. If what they have in common does not resemble the annotated individual, or few of them do place by place (head with
   head, elytra with elytra), none of them is of its kind. Places tell relatives apart that are alike on the whole.
4. Where annotated individuals of other groups are given, too: an individual that is nearer to one of them than the
   others on its photograph are is rather a stranger, and if most of them are nearer to it than to their own, it takes
   more likeness to keep them. The photograph's median takes an odd annotated individual out of the first, not out of
   the second: so limits are wide, and groups that look the same must not be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

LEAST_LIKENESS = {1: 0.6, 2: 0.86, 3: 0.9, 4: 0.94, 6: 0.96, 8: 0.975, 12: 0.99, 18: 1.01}
"""How many there are on a photograph -> `measure_likeness` below which none is of the annotated kind. Chosen on drawers
of six species of ground beetles, so that of drawers of the own species, and of parts of them, at most 2 in 1000 are
lost with the annotated individuals that come with them; with others at random, in outlines that the program found, 9 in
100 were. Of whole drawers of another species 9 in 10 were refused. A whole drawer that is lost harms more than one of
another species that is taken. One alone is hardly judged: whoever photographs one specimen means it."""

COMMON_WEIGHT = 0.5
"""How much likeness to the common counts beside likeness place by place."""

WEIGHTS = (2.0, 25.0, -1.8)
"""Of likeness to the common, of likeness to the neighbours, and of the logarithm of the difference in colour."""

BIAS = 4.85
"""At the score 0.5 that it leads to, just under 2 % of the own kind are lost."""

CONTRAST_WEIGHT, CONTRAST_BIAS = -10.0, 5.4
"""Weight of how much nearer an individual is to another group's annotated one than to its own, beside `WEIGHTS`, and
the bias that is used then: again just under 2 % of the own kind are lost."""

NEARER, FARTHEST, NEAREST = 0.03, 0.1, 0.05
"""Where a photograph's individuals are by so much nearer to another group's annotated one than to their own, none of
them is of their kind unless their likeness is `NEAREST` above `LEAST_LIKENESS`; elsewhere only if it is `FARTHEST`
below. Chosen on drawers of six species and thirty annotated individuals of each."""

_SHARPNESS = 16.0
_QUANTILES = (10, 25, 50, 75, 90)


@dataclass(frozen=True, slots=True)
class Portrait:
    """How an individual looks.

    Attributes:
        features: float32 (432,), of unit length.
        colours: float32 (5, 3), quantiles of L*, a* and b* inside its trunk.
        places: float32 (2, N, 112), the features of stride 16 of N places, of unit length: as it lies, and the other
            way round.
        covers: float32 (2, N), 0..1: how much of each place is its trunk.
    """

    features: Floats
    colours: Floats
    places: Floats
    covers: Floats


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
    levels = [np.mean(pair, axis=0) for pair in zip(*(means for means, _, _ in views), strict=True)]
    features = np.concatenate([level / max(float(np.linalg.norm(level)), 1e-9) for level in levels])
    lab = rgb2lab(image[core][None])[0]
    return Portrait(
        features=(features / np.sqrt(len(levels))).astype(np.float32),
        colours=np.percentile(lab, _QUANTILES, axis=0).astype(np.float32),
        places=np.stack([places for _, places, _ in views]),
        covers=np.stack([covers for _, _, covers in views]),
    )


def judge(annotated: Sequence[Portrait], found: Sequence[Portrait], others: Sequence[Portrait] = ()) -> Doubles:
    """Judge which individuals of a photograph are of the annotated kind.

    Args:
        annotated: the annotated individuals, at least one.
        found: the individuals of one photograph.
        others: annotated individuals of other groups, described as those found are.

    Returns:
        float64 (N,), 0..1; from 0.5 on they are.
    """
    if not found:
        return np.zeros(0)
    known = np.stack([each.features for each in annotated]).astype(np.float64)
    features = np.stack([each.features for each in found]).astype(np.float64)
    colours = np.stack([each.colours for each in found]).astype(np.float64)
    likeness = (features @ known.T).max(axis=1)
    common, to_common = _find_common(features, likeness)
    to_neighbours = _compare_neighbours(features)
    colour = np.abs(colours - np.median(colours, axis=0)).mean(axis=(1, 2))
    measures = np.stack([_above_median(to_common), _above_median(to_neighbours), np.log1p(colour)], axis=1)
    verdict = measures @ np.array(WEIGHTS)
    least = float(np.interp(len(found), list(LEAST_LIKENESS), list(LEAST_LIKENESS.values())))
    if others:
        nearer = features @ np.stack([each.features for each in others]).T - likeness[:, None]
        contrast = nearer.max(axis=1)
        verdict += CONTRAST_WEIGHT * _above_median(contrast) + CONTRAST_BIAS
        if len(found) > 1:
            least += NEAREST if np.median(nearer, axis=0).max() > NEARER else -FARTHEST
    else:
        verdict += BIAS
    scores: Doubles = 1 / (1 + np.exp(-verdict))
    if measure_likeness(annotated, found, float((known @ common).max())) < least:
        scores = scores * 0.49
    return scores


def measure_likeness(annotated: Sequence[Portrait], found: Sequence[Portrait], to_common: float) -> float:
    """Measure how much the individuals of a photograph are like the annotated ones.

    Args:
        annotated: the annotated individuals, at least one.
        found: the individuals, at least one.
        to_common: cosine of an annotated individual with what they have in common.

    Returns:
        The likeness place by place, the mean of the better half, and a share of that to the common; up to 1.5. Of one
        alone the places say little: a pin or a label may hide them.
    """
    if len(found) == 1:
        return (1 + COMMON_WEIGHT) * to_common
    likeness = np.sort([max(_compare_places(known, each) for known in annotated) for each in found])
    return float(likeness[len(likeness) // 2 :].mean()) + COMMON_WEIGHT * to_common


def _compare_places(known: Portrait, other: Portrait) -> float:
    """Compare two individuals place by place, whichever way round the other one lies: the mean cosine, -1..1."""
    cosines = (known.places[0] * other.places).sum(axis=2)
    covers = np.minimum(known.covers[0], other.covers)
    return float(((cosines * covers).sum(axis=1) / np.maximum(covers.sum(axis=1), 1e-3)).max())


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


def _describe(
    trunk: EfficientNetTrunk, image: RGBImage, core: Mask, frame: Frame
) -> tuple[list[Floats], Floats, Floats]:
    """Describe an individual as a frame shows it.

    Returns:
        The mean features of the strides 16 and 32, each cell of unit length; float32 (N, 112), the cells of stride 16;
        float32 (N,), how much of each cell it covers.
    """
    # What lies outside the template goes, too: legs may have been drawn on the one and not on the other.
    shown = np.array(warp_mask(core, frame, SIDE))
    view = blend_with_grey(warp_image(image, frame, SIDE), shown)
    coverage = torch.from_numpy(shown)[None]
    means, described = [], []
    for level in trunk.levels(view[None])[3:]:
        weights = functional.adaptive_avg_pool2d(coverage, (level.shape[-2], level.shape[-1]))[0].to(level.device)
        cells = functional.normalize(level[0], dim=0)
        mean = (cells * weights).sum((1, 2)) / weights.sum().clamp(min=1e-3)
        means.append(mean.cpu().numpy().astype(np.float32))
        described.append((cells.flatten(1).T.contiguous().cpu().numpy(), weights.flatten().cpu().numpy()))
    return means, *described[0]
