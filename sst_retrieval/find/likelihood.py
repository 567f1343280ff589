"""Which pixels look like the annotated individuals, and which like what lies around them.

1. Every cell of 4 x 4 pixels is described by its colour and the trunk's finest features.
2. The cells of the annotated individuals and those around them give prototypes (k-means). A cell around that looks
   like the individual itself is left out, and where there are many, as in a crowd of which one was annotated, so are
   the prototypes around that lie among the individual's own: they are of others, which nobody annotated.
3. A cell of a photograph is as likely as it is nearer to a prototype of the individuals than to one of the rest.

What the model is worth is known from the support: how much of what was drawn it finds again. What it finds besides
says nothing: in a crowd most of the surroundings are of the kind, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from scipy.spatial import cKDTree
from skimage.color import rgb2lab
from torch.nn import functional

from sst_retrieval.imaging.masks import box as box_of
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.types import Floats, RGBImage, Support

SIDE = 1280
"""Longer edge, in pixels, of the copy of a photograph that is looked at; smaller ones are enlarged to twice at most."""

BODY_SIDE = 160
"""Longer side, in pixels, of an annotated individual's box where its prototypes are computed."""

SURROUNDINGS = 1.0
"""Width of the surroundings, as a share of the box's longer side."""

PROTOTYPES = (16, 32)
"""How many prototypes individuals and surroundings have."""

AMONG, CROWDED = 60.0, 0.08
"""A prototype of the surroundings lies among the individual's own if it is nearer to one of them than this percentage
of the individual's cells are; those prototypes are left out if they stand for at least this share of the surroundings.
Chosen on four beds of mushrooms, seen on four others."""

SOFTNESS = 0.05
"""Difference of squared distances at which a cell is of the individuals with a probability of 0.73."""

_LAB_SCALE = (50.0, 30.0, 30.0)
_LEVEL_WEIGHT = 0.7


@dataclass(frozen=True, slots=True)
class PixelModel:
    """What individuals and their surroundings look like, cell by cell.

    Attributes:
        bodies: float32 (K, D), prototypes of the individuals.
        rest: float32 (L, D), prototypes of what lies around them.
        trust: 0..1, the share of what was drawn that the model finds again.
    """

    bodies: Floats
    rest: Floats
    trust: float


def fit_pixel_model(trunk: EfficientNetTrunk, supports: Sequence[Support]) -> PixelModel | None:
    """Fit the model of a group.

    Args:
        trunk: the network.
        supports: the annotated individuals.

    Returns:
        The model; None if there is nothing around the individuals.
    """
    cells, covers = zip(*(_describe_support(trunk, each) for each in supports), strict=True)
    described = np.concatenate([each.reshape(-1, each.shape[2]) for each in cells])
    coverage = np.concatenate([each.ravel() for each in covers])
    inside, outside = described[coverage > 0.9], described[coverage == 0]
    if len(inside) < 8 or len(outside) < 8:
        return None
    own = cKDTree(inside).query(inside, k=2)[0][:, 1]
    unlike = cKDTree(inside).query(outside)[0] > np.percentile(own, 90)
    if unlike.sum() >= 20:
        outside = outside[unlike]
    bodies = find_prototypes(inside, PROTOTYPES[0])
    rest = _leave_out_others(find_prototypes(outside, PROTOTYPES[1]), outside, bodies, inside)
    model = PixelModel(bodies, rest, 0.0)
    found, drawn = _rate(model, described) > 0.5, coverage > 0.5
    return PixelModel(model.bodies, model.rest, float(found[drawn].mean()))


def compute_likelihood(trunk: EfficientNetTrunk, model: PixelModel, image: RGBImage) -> Floats:
    """Compute which pixels look like the individuals.

    Args:
        trunk: the network.
        model: from `fit_pixel_model`.
        image: uint8 (H, W, 3).

    Returns:
        float32 (h, w), 0..1, a cell for 4 x 4 pixels of a copy whose longer edge has at most `SIDE` pixels.
    """
    cells = _describe(trunk, _resize(image, min(2.0, SIDE / max(image.shape[:2]))))
    return _rate(model, cells.reshape(-1, cells.shape[2])).reshape(cells.shape[:2])


def find_prototypes(points: Floats, count: int, rounds: int = 20) -> Floats:
    """Find the middles of clusters, always the same: k-means (Lloyd 1982), begun with far points (Gonzalez 1985).

    Args:
        points: float32 (N, D).
        count: how many there are at most.
        rounds: how often they are moved.

    Returns:
        float32 (count or fewer, D).
    """
    middles = [points.mean(axis=0)]
    nearest = np.full(len(points), np.inf)
    for _ in range(min(count, len(points))):
        nearest = np.minimum(nearest, ((points - middles[-1]) ** 2).sum(axis=1))
        # Not the farthest, which may be a single odd cell: the last of the 98 % that are nearest.
        place = np.argsort(nearest, kind="stable")[int(0.98 * (len(points) - 1))]
        middles.append(points[place])
    chosen = np.stack(middles[1:])
    for _ in range(rounds):
        _, owner = cKDTree(chosen).query(points)
        sums = np.stack([np.bincount(owner, weights=each, minlength=len(chosen)) for each in points.T], axis=1)
        sizes = np.bincount(owner, minlength=len(chosen))
        chosen = (sums[sizes > 0] / sizes[sizes > 0, None]).astype(np.float32)
    return chosen


def _leave_out_others(rest: Floats, outside: Floats, bodies: Floats, inside: Floats) -> Floats:
    """Leave out the prototypes of what looks like the annotated individuals, if there is much of it around them.

    Args:
        rest: float32 (L, D), prototypes of the surroundings.
        outside: float32 (N, D), their cells.
        bodies: float32 (K, D), prototypes of the individuals.
        inside: float32 (M, D), their cells.
    """
    own = cKDTree(bodies)
    others = own.query(rest)[0] <= np.percentile(own.query(inside)[0], AMONG)
    share = others[cKDTree(rest).query(outside)[1]].mean()
    return rest[~others] if share >= CROWDED and not others.all() else rest


def _rate(model: PixelModel, cells: Floats) -> Floats:
    """Return how likely cells are of the individuals: float32 (N, D) to (N,)."""
    to_bodies, to_rest = (_nearest_squared(cells, each) for each in (model.bodies, model.rest))
    rated: Floats = (1 / (1 + np.exp(np.clip((to_bodies - to_rest) / SOFTNESS, -50, 50)))).astype(np.float32)
    return rated


def _nearest_squared(cells: Floats, prototypes: Floats) -> Floats:
    lengths = (prototypes**2).sum(axis=1)
    nearest: Floats = (lengths[None] - 2 * cells @ prototypes.T).min(axis=1) + (cells**2).sum(axis=1)
    return nearest


def _describe_support(trunk: EfficientNetTrunk, support: Support) -> tuple[Floats, Floats]:
    """Describe the cells of an annotated individual and its surroundings, and how much of each it covers."""
    x0, y0, x1, y1 = box_of(support.body)
    longer = max(x1 - x0, y1 - y0)
    rim = round(SURROUNDINGS * longer)
    window = np.s_[max(0, y0 - rim) : y1 + rim, max(0, x0 - rim) : x1 + rim]
    cells = _describe(trunk, _resize(np.ascontiguousarray(support.image[window]), BODY_SIDE / longer))
    body = Image.fromarray(support.body[window].astype(np.float32))
    return cells, np.asarray(body.resize(cells.shape[1::-1], Image.Resampling.BOX))


@torch.inference_mode()
def _describe(trunk: EfficientNetTrunk, image: RGBImage) -> Floats:
    """Describe every cell of 4 x 4 pixels: float32 (h, w, D)."""
    _, fine, coarse = trunk.levels(image[None], deepest=3)
    size = fine.shape[-2:]
    lab = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BOX)
    colours = (rgb2lab(np.asarray(lab)) / _LAB_SCALE).astype(np.float32)
    coarse = functional.interpolate(coarse, size, mode="bilinear", align_corners=False)
    levels = [functional.normalize(each[0], dim=0) * _LEVEL_WEIGHT for each in (fine, coarse)]
    described: Floats = np.concatenate([colours, *(each.permute(1, 2, 0).cpu().numpy() for each in levels)], axis=2)
    return described


def _resize(image: RGBImage, factor: float) -> RGBImage:
    size = (max(8, round(image.shape[1] * factor)), max(8, round(image.shape[0] * factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))
