"""From votes on cells to masks on pixels.

1. Colours: the votes say roughly which pixels show which trait. What those pixels of *this* photograph have in common
   (colour, its surroundings, edges) is learnt by linear discriminant analysis (Fisher 1936) and turned back on every
   pixel, so that a leg too thin for the match is found by being as dark as the legs that were matched.
2. Edges: the result follows the photograph's edges (He, Sun and Tang 2013, guided image filtering).
3. Competition: of traits that never overlap on a support the strongest takes the pixel. Traits that do overlap are
   settled apart from each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2lab
from torch.nn import functional

from sst_retrieval.types import Floats, RGBImage

RADIUS = 4  # Of the guided filter, in pixels of the view.
COARSER = 2  # The filter's lines are found on a picture half as large (He and Sun 2015, fast guided filter).
SMOOTHNESS = 1e-3  # Variance (of colours 0..1) below which the guided filter smooths.
TOO_FEW = 2e-3  # A trait with fewer votes than this here and around has none.


@dataclass(frozen=True, slots=True)
class Evidence:
    """How much the pixels' own colours say against the votes.

    Attributes:
        specimen: weight of "shows some trait" against "shows none".
        trait: weight of one trait against the others; colour seldom tells a head from a pronotum.
        vote: share of a cell's own votes against those of its surroundings, in which a thin part may lie.
        spread: how far the surroundings reach, in cells.
    """

    specimen: float = 0.3
    trait: float = 0.2
    vote: float = 0.7
    spread: float = 4.5


def refine(
    view: RGBImage,
    shares: Floats,
    rivals: npt.NDArray[np.bool_],
    *,
    evidence: Evidence,
    seen: Sequence[Floats] | None = None,
) -> tuple[Floats, Floats]:
    """Sharpen votes by a view's colours and edges and let the traits compete.

    Args:
        view: uint8 (R, S, 3).
        shares: float32 (1 + T, G, H): votes for "no trait" and for each trait.
        rivals: bool (T, T): which traits compete for a pixel.
        evidence: how much the colours say.
        seen: from `coloured`, if it was asked before.

    Returns:
        float32 (T, R, S), above 0.5 where a trait wins; float32 (T,), confidence 0..1.
    """
    guide = (view / 255).astype(np.float32)
    soft = np.zeros((len(rivals), *view.shape[:2]), dtype=np.float32)
    confidence = np.zeros(len(rivals), dtype=np.float32)
    seen = seen if seen is not None else coloured(view, shares, rivals, evidence=evidence)
    for layer, probabilities in zip(layers(rivals), seen, strict=True):
        sharp = guided(guide, _resized(probabilities, view.shape[:2]))
        soft[layer] = compete(sharp)
        confidence[layer] = [_confidence(s, m) for s, m in zip(sharp[1:], soft[layer], strict=True)]
    return soft, confidence


def coloured(view: RGBImage, shares: Floats, rivals: npt.NDArray[np.bool_], *, evidence: Evidence) -> list[Floats]:
    """Weigh the votes of every layer with the view's colours (see `layers` and `by_colour`)."""
    return [by_colour(view, _of_layer(shares, layer), evidence) for layer in layers(rivals)]


def first_masks(seen: Sequence[Floats], rivals: npt.NDArray[np.bool_]) -> Floats:
    """Let the traits compete as they are seen on cells: float32 (T, G, H), above 0.5 where a trait wins."""
    first = np.zeros((len(rivals), *seen[0].shape[1:]), dtype=np.float32)
    for layer, probabilities in zip(layers(rivals), seen, strict=True):
        first[layer] = compete(probabilities)
    return first


def _of_layer(shares: Floats, layer: list[int]) -> Floats:
    """Votes for "none of this layer" and for each of its traits: float32 (1 + len(layer), G, H)."""
    # What belongs to another layer's trait only is nothing to this one: a wing goes on below its spot.
    own = shares[1:][layer]
    return np.concatenate([np.maximum(1 - own.sum(axis=0, keepdims=True), 0), own])


def layers(rivals: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Sort traits into layers, in each of which every trait is every other's rival.

    Traits that may overlap (a spot and its wing) come into different layers, and each layer is settled by itself.

    >>> layers(np.array([[False, True, False], [True, False, False], [False, False, False]]))
    [[0, 1], [2]]
    """
    found: list[list[int]] = []
    for trait in range(len(rivals)):
        home = next((layer for layer in found if all(rivals[trait, other] for other in layer)), None)
        if home is None:
            found.append([trait])
        else:
            home.append(trait)
    return found


def by_colour(view: RGBImage, shares: Floats, evidence: Evidence) -> Floats:
    """Weigh votes with what the pixels look like.

    Args:
        view: uint8 (R, S, 3).
        shares: float32 (K, G, H), votes for each of K classes, the first "no trait"; they sum to 1.
        evidence: the weights.

    Returns:
        float32 (K, G, H), probabilities that sum to 1.
    """
    count, *cells = shares.shape
    looks = _looks(view, cells)
    likeness = _discriminant(looks, np.maximum(shares.reshape(count, -1), 0) ** 2)
    around = np.stack([ndimage.gaussian_filter(share, evidence.spread) for share in shares])
    mixed = evidence.vote * shares + (1 - evidence.vote) * around
    mixed = np.maximum(mixed, 0).reshape(count, -1)
    scores = np.log(mixed + 1e-3)
    any_trait = np.logaddexp.reduce(likeness[1:], axis=0)
    scores[0] += evidence.specimen * (likeness[0] - any_trait)
    scores[1:] += evidence.trait * (likeness[1:] - any_trait)
    # Colour alone makes no trait: a scale bar far from every vote may be as black and white as an eyespot.
    scores[1:][mixed[1:] < TOO_FEW] = -np.inf
    chances = np.exp(scores - scores.max(axis=0))
    probabilities: Floats = (chances / chances.sum(axis=0)).reshape(shares.shape).astype(np.float32)
    return probabilities


def _looks(view: RGBImage, cells: Sequence[int]) -> npt.NDArray[np.float64]:
    """Colour, colour of the surroundings and strength of edges of every cell, standardised: float64 (G * H, 11)."""
    rows, columns = cells
    small = np.asarray(Image.fromarray(view).resize((columns, rows), Image.Resampling.BOX))
    lab = rgb2lab(small).astype(np.float32)
    around = [ndimage.gaussian_filter(lab, (spread, spread, 0)) for spread in (0.5, 1.5)]
    edges = [ndimage.gaussian_gradient_magnitude(lab[..., 0], spread)[..., None] for spread in (0.5, 1.25)]
    flat = np.concatenate([lab, *around, *edges], axis=-1).reshape(rows * columns, -1).astype(np.float64)
    standard: npt.NDArray[np.float64] = (flat - flat.mean(axis=0)) / (flat.std(axis=0) + 1e-6)
    return standard


def _discriminant(looks: npt.NDArray[np.float64], weights: Floats) -> npt.NDArray[np.float64]:
    """Log likelihood of every cell under each class: Gaussians of one common shape around each class's mean.

    Args:
        looks: float64 (N, F).
        weights: float32 (K, N), how much each cell counts for each class.

    Returns:
        float64 (K, N), up to a common constant; very low for a class with next to no cells.
    """
    totals = weights.sum(axis=1)
    filled = totals > 4
    means = (weights @ looks) / np.maximum(totals, 1e-9)[:, None]
    # sum w (x - m)(x - m)' = sum w x x' - sum w m m', over the classes that have cells.
    scatter = (looks * weights[filled].sum(axis=0)[:, None]).T @ looks
    scatter -= (means[filled] * totals[filled, None]).T @ means[filled]
    shape = scatter / max(float(totals[filled].sum()), 1e-9) + 0.02 * np.eye(looks.shape[1])
    # |x - m|^2 in that shape, as plain distances after whitening.
    whitener = np.linalg.inv(np.linalg.cholesky(shape))
    white, centres = looks @ whitener.T, means @ whitener.T
    likeness = white @ centres.T - 0.5 * (centres**2).sum(axis=1) - 0.5 * (white**2).sum(axis=1)[:, None]
    likeness[:, ~filled] = -1e3
    result: npt.NDArray[np.float64] = likeness.T
    return result


def compete(shares: Floats) -> Floats:
    """Turn shares (1 + T, H, W) into margins over the strongest rival (T, H, W), float32: above 0.5 for the winner."""
    margins = []
    for own in range(1, len(shares)):
        strongest = np.delete(shares, own, axis=0).max(axis=0)
        margins.append(0.5 + (shares[own] - strongest) / 2)
    return np.stack(margins).astype(np.float32)


def guided(guide: Floats, pictures: Floats, *, radius: int = RADIUS, smoothness: float = SMOOTHNESS) -> Floats:
    """Filter pictures so that their edges follow a guide's (He, Sun and Tang 2013, colour guide).

    Args:
        guide: float32 (H, W, 3), 0..1.
        pictures: float32 (N, H, W).
        radius: of the box, in pixels.
        smoothness: epsilon of the paper.

    Returns:
        float32 (N, H, W).
    """

    height, width = guide.shape[:2]
    small = (height // COARSER, width // COARSER)
    colours = _resized(guide.transpose(2, 0, 1), small)
    coarse = _resized(pictures, small)
    # One pass over everything that has to be averaged.
    pairs = [(i, j) for i in range(3) for j in range(i, 3)]
    products = np.stack([colours[i] * colours[j] for i, j in pairs])
    crossed = (coarse[:, None] * colours).reshape(-1, *small)
    means = _box_mean(np.concatenate([colours, products, coarse, crossed]), radius // COARSER)
    centre, squares, level, cross = np.split(means, [3, 9, 9 + len(coarse)])
    products_apart = [square - centre[i] * centre[j] for (i, j), square in zip(pairs, squares, strict=True)]
    inverse = _inverse(products_apart, np.float32(smoothness))
    together = cross.reshape(-1, 3, *small) - level[:, None] * centre
    slope = np.stack([sum(row[j] * together[:, j] for j in range(3)) for row in inverse], axis=1)
    offset = level - (slope * centre).sum(1)
    lines = _box_mean(np.concatenate([slope, offset[:, None]], axis=1).reshape(-1, *small), radius // COARSER)
    lines = _resized(lines, (height, width)).reshape(-1, 4, height, width)
    result: Floats = (lines[:, :3] * guide.transpose(2, 0, 1)).sum(1) + lines[:, 3]
    return result


def _inverse(covariance: Sequence[Floats], smoothness: np.float32) -> list[list[Floats]]:
    """Invert a symmetric 3 x 3 matrix in every cell, by cofactors: a library's inverse takes them one by one.

    Args:
        covariance: float32 (H, W) each: its upper triangle, row by row.
        smoothness: added to the diagonal.
    """
    a, b, c, d, e, f = covariance
    a, d, f = a + smoothness, d + smoothness, f + smoothness
    aa, bb, cc = d * f - e * e, c * e - b * f, b * e - c * d
    scale = 1 / (a * aa + b * bb + c * cc)
    aa, bb, cc = aa * scale, bb * scale, cc * scale
    dd, ee, ff = (a * f - c * c) * scale, (b * c - a * e) * scale, (a * d - b * b) * scale
    return [[aa, bb, cc], [bb, dd, ee], [cc, ee, ff]]


def _box_mean(stack: Floats, radius: int) -> Floats:
    means: Floats = ndimage.uniform_filter(stack, 2 * radius + 1, mode="nearest", axes=(1, 2))
    return means


def _resized(stack: Floats, size: tuple[int, int]) -> Floats:
    if stack.shape[1:] == (2 * size[0], 2 * size[1]):
        # As "area" below, to the bit, in a tenth of the time.
        pairs = stack[:, ::2, ::2] + stack[:, ::2, 1::2]
        quarters: Floats = (pairs + stack[:, 1::2, ::2] + stack[:, 1::2, 1::2]) * np.float32(0.25)
        return quarters
    tensor = torch.from_numpy(np.ascontiguousarray(stack))[None]
    if size[0] < stack.shape[1]:
        return functional.interpolate(tensor, size=size, mode="area")[0].numpy()
    return functional.interpolate(tensor, size=size, mode="bilinear", align_corners=False)[0].numpy()


def _confidence(share: Floats, margin: Floats) -> float:
    """How clearly a trait wins where it wins; if it wins nowhere, how clearly it loses."""
    won = margin > 0.5
    return float(np.clip(share[won].mean() if won.any() else 1 - share.max(), 0, 1))
