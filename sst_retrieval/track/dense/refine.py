"""From label votes on cells to masks on pixels, by rules.

1. Colours (`compute_posterior`): the votes say roughly which cells show which trait. Class likelihoods of colour, local
   mean colour and edge strength are estimated from those cells of *this* photograph by linear discriminant analysis
   (Fisher 1936) and combined with the votes as a prior, so that a leg too thin for the match is found by being as dark
   as the legs that were matched.
2. Edges (`apply_guided_filter`): the posteriors follow the photograph's edges (He, Sun and Tang 2013, guided image
   filtering).
3. Competition (`compute_margins`): of traits that never overlap on a support the most probable takes the pixel. Traits
   that do overlap are in different layers (`group_into_layers`), each of which is decided by itself.
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

FILTER_RADIUS = 4  # Of the guided filter's box, in pixels of the view.
SUBSAMPLING = 2  # The filter's coefficients are computed at half the resolution (He and Sun 2015, fast guided filter).
FILTER_EPSILON = 1e-3  # Variance (of colours 0..1) below which the guided filter smooths.
MIN_VOTE = 2e-3  # A trait whose smoothed vote is lower than this in a cell has probability 0 there.


@dataclass(frozen=True, slots=True)
class ColourSettings:
    """How strongly the pixels' colours correct the votes.

    Attributes:
        foreground_weight: weight of the log likelihood ratio of "no trait" against any trait.
        trait_weight: weight of the log likelihood ratio of one trait against any; colour seldom tells a head from a
            pronotum.
        own_share: share of a cell's own votes in the prior; the rest is the Gaussian mean of its neighbourhood, in
            which a thin part may lie.
        sigma: standard deviation of that Gaussian, in cells.
    """

    foreground_weight: float = 0.3
    trait_weight: float = 0.2
    own_share: float = 0.7
    sigma: float = 4.5


def refine(
    view: RGBImage,
    shares: Floats,
    rivals: npt.NDArray[np.bool_],
    *,
    colour: ColourSettings,
    posteriors: Sequence[Floats] | None = None,
) -> tuple[Floats, Floats]:
    """Make masks of votes: correct them by colour, align them with edges, and let the traits compete.

    Args:
        view: uint8 (R, S, 3).
        shares: float32 (1 + T, G, H): votes for "no trait" and for each trait.
        rivals: bool (T, T): which traits compete for a pixel.
        colour: how strongly colours correct the votes.
        posteriors: from `compute_layer_posteriors`, if they are known already.

    Returns:
        float32 (T, R, S), above 0.5 where a trait wins; float32 (T,), confidence 0..1.
    """
    guide = (view / 255).astype(np.float32)
    soft = np.zeros((len(rivals), *view.shape[:2]), dtype=np.float32)
    confidence = np.zeros(len(rivals), dtype=np.float32)
    if posteriors is None:
        posteriors = compute_layer_posteriors(view, shares, rivals, colour=colour)
    for layer, probabilities in zip(group_into_layers(rivals), posteriors, strict=True):
        sharp = apply_guided_filter(guide, _resize(probabilities, view.shape[:2]))
        soft[layer] = compute_margins(sharp)
        confidence[layer] = [_compute_confidence(s, m) for s, m in zip(sharp[1:], soft[layer], strict=True)]
    return soft, confidence


def compute_layer_posteriors(
    view: RGBImage, shares: Floats, rivals: npt.NDArray[np.bool_], *, colour: ColourSettings
) -> list[Floats]:
    """Compute the posterior of every layer of traits, see `group_into_layers` and `compute_posterior`.

    Args:
        view: uint8 (R, S, 3).
        shares: float32 (1 + T, G, H): votes for "no trait" and for each trait.
        rivals: bool (T, T): which traits compete for a pixel.
        colour: how strongly colours correct the votes.

    Returns:
        float32 (1 + traits of the layer, G, H) a layer.
    """
    layers = group_into_layers(rivals)
    return [compute_posterior(view, _select_layer(shares, layer), colour) for layer in layers]


def compute_initial_masks(posteriors: Sequence[Floats], rivals: npt.NDArray[np.bool_]) -> Floats:
    """Let the traits compete for cells: float32 (T, G, H), above 0.5 where a trait wins.

    Args:
        posteriors: from `compute_layer_posteriors`.
        rivals: bool (T, T): which traits compete.
    """
    initial = np.zeros((len(rivals), *posteriors[0].shape[1:]), dtype=np.float32)
    for layer, probabilities in zip(group_into_layers(rivals), posteriors, strict=True):
        initial[layer] = compute_margins(probabilities)
    return initial


def _select_layer(shares: Floats, layer: list[int]) -> Floats:
    """Return the votes for "none of this layer" and for each of its traits: float32 (1 + len(layer), G, H)."""
    # What belongs to another layer's trait only is background to this one: a wing continues below its spot.
    own = shares[1:][layer]
    return np.concatenate([np.maximum(1 - own.sum(axis=0, keepdims=True), 0), own])


def group_into_layers(rivals: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Group traits into layers, in each of which every trait is every other's rival.

    Traits that may overlap (a spot and its wing) come into different layers, and each layer is decided by itself.

    >>> group_into_layers(np.array([[False, True, False], [True, False, False], [False, False, False]]))
    [[0, 1], [2]]
    """
    layers: list[list[int]] = []
    for trait in range(len(rivals)):
        home = next((layer for layer in layers if all(rivals[trait, other] for other in layer)), None)
        if home is None:
            layers.append([trait])
        else:
            home.append(trait)
    return layers


def compute_posterior(view: RGBImage, shares: Floats, settings: ColourSettings) -> Floats:
    """Combine votes (the prior) with the likelihood of the pixels' colours.

    Args:
        view: uint8 (R, S, 3).
        shares: float32 (K, G, H), votes for each of K classes, the first "no trait"; they sum to 1.
        settings: the weights.

    Returns:
        float32 (K, G, H), probabilities that sum to 1.
    """
    count, *cells = shares.shape
    features = _compute_colour_features(view, cells)
    likelihood = _compute_log_likelihood(features, np.maximum(shares.reshape(count, -1), 0) ** 2)
    smoothed = np.stack([ndimage.gaussian_filter(share, settings.sigma) for share in shares])
    prior = settings.own_share * shares + (1 - settings.own_share) * smoothed
    prior = np.maximum(prior, 0).reshape(count, -1)
    # Colour alone makes no trait: a scale bar far from every vote may be as black and white as an eyespot.
    voted = (prior[1:] >= MIN_VOTE).any(axis=0)
    probabilities = np.zeros(prior.shape, dtype=np.float32)
    probabilities[0] = 1
    prior, likelihood = prior[:, voted], likelihood[:, voted]
    scores = np.log(prior + 1e-3)
    any_trait = np.logaddexp.reduce(likelihood[1:], axis=0)
    scores[0] += settings.foreground_weight * (likelihood[0] - any_trait)
    scores[1:] += settings.trait_weight * (likelihood[1:] - any_trait)
    scores[1:][prior[1:] < MIN_VOTE] = -np.inf
    unscaled = np.exp(scores - scores.max(axis=0))
    probabilities[:, voted] = unscaled / unscaled.sum(axis=0)
    result: Floats = probabilities.reshape(shares.shape)
    return result


def _compute_colour_features(view: RGBImage, cells: Sequence[int]) -> npt.NDArray[np.float64]:
    """Compute colour, local mean colour and edge strength of every cell, standardised: float64 (G * H, 11)."""
    rows, columns = cells
    small = np.asarray(Image.fromarray(view).resize((columns, rows), Image.Resampling.BOX))
    lab = rgb2lab(small).astype(np.float32)
    local = [ndimage.gaussian_filter(lab, (sigma, sigma, 0)) for sigma in (0.5, 1.5)]
    edges = [ndimage.gaussian_gradient_magnitude(lab[..., 0], sigma)[..., None] for sigma in (0.5, 1.25)]
    flat = np.concatenate([lab, *local, *edges], axis=-1).reshape(rows * columns, -1).astype(np.float64)
    centred = flat - flat.mean(axis=0)
    deviation = np.sqrt((centred * centred).mean(axis=0))  # As `flat.std`, which centres once more.
    standard: npt.NDArray[np.float64] = np.divide(centred, deviation + 1e-6, out=centred)
    return standard


def _compute_log_likelihood(features: npt.NDArray[np.float64], weights: Floats) -> npt.NDArray[np.float64]:
    """Compute the log likelihood of every cell under each class: Gaussians with a pooled covariance.

    Args:
        features: float64 (N, F).
        weights: float32 (K, N), how much each cell counts for each class.

    Returns:
        float64 (K, N), up to a common constant; very low for a class with next to no cells.
    """
    totals = weights.sum(axis=1)
    filled = totals > 4
    means = (weights @ features) / np.maximum(totals, 1e-9)[:, None]
    # sum w (x - m)(x - m)' = sum w x x' - sum w m m', over the classes that have cells.
    scatter = (features * weights[filled].sum(axis=0)[:, None]).T @ features
    scatter -= (means[filled] * totals[filled, None]).T @ means[filled]
    covariance = scatter / max(float(totals[filled].sum()), 1e-9) + 0.02 * np.eye(features.shape[1])
    # Mahalanobis distances, as Euclidean distances after whitening.
    whitener = np.linalg.inv(np.linalg.cholesky(covariance))
    white, centres = features @ whitener.T, means @ whitener.T
    likelihood = white @ centres.T - 0.5 * (centres**2).sum(axis=1) - 0.5 * (white**2).sum(axis=1)[:, None]
    likelihood[:, ~filled] = -1e3
    result: npt.NDArray[np.float64] = likelihood.T
    return result


def compute_margins(shares: Floats) -> Floats:
    """Compute each trait's margin over the strongest other class.

    Args:
        shares: float32 (1 + T, H, W), the first "no trait".

    Returns:
        float32 (T, H, W), 0..1, above 0.5 for the winner.
    """
    # The strongest of the others: of those before and of those behind, each computed once for all traits.
    margins = shares[:-1].copy()
    for own in range(1, len(margins)):
        np.maximum(margins[own], margins[own - 1], out=margins[own])
    behind = shares[-1]
    for own in range(len(margins) - 2, -1, -1):
        np.maximum(margins[own], behind, out=margins[own])
        behind = np.maximum(behind, shares[1 + own])
    np.subtract(shares[1:], margins, out=margins)
    return (0.5 + margins / 2).astype(np.float32)


def apply_guided_filter(
    guide: Floats, images: Floats, *, radius: int = FILTER_RADIUS, epsilon: float = FILTER_EPSILON
) -> Floats:
    """Filter images so that their edges follow a guide's (He, Sun and Tang 2013, colour guide).

    Args:
        guide: float32 (H, W, 3), 0..1.
        images: float32 (N, H, W).
        radius: of the box, in pixels.
        epsilon: regularisation, as in the paper.

    Returns:
        float32 (N, H, W).
    """
    height, width = guide.shape[:2]
    small = (height // SUBSAMPLING, width // SUBSAMPLING)
    colours = _resize(guide.transpose(2, 0, 1), small)
    coarse = _resize(images, small)
    # One pass over everything that has to be averaged.
    pairs = [(i, j) for i in range(3) for j in range(i, 3)]
    products = np.stack([colours[i] * colours[j] for i, j in pairs])
    cross_products = (coarse[:, None] * colours).reshape(-1, *small)
    means = _compute_box_mean(np.concatenate([colours, products, coarse, cross_products]), radius // SUBSAMPLING)
    centre, squares, level, cross = np.split(means, [3, 9, 9 + len(coarse)])
    covariances = [square - centre[i] * centre[j] for (i, j), square in zip(pairs, squares, strict=True)]
    inverse = _invert_covariance(covariances, np.float32(epsilon))
    cross_covariance = cross.reshape(-1, 3, *small) - level[:, None] * centre
    slope = np.stack([sum(row[j] * cross_covariance[:, j] for j in range(3)) for row in inverse], axis=1)
    offset = level - (slope * centre).sum(1)
    stacked = np.concatenate([slope, offset[:, None]], axis=1).reshape(-1, *small)
    coefficients = _compute_box_mean(stacked, radius // SUBSAMPLING)
    coefficients = _resize(coefficients, (height, width)).reshape(-1, 4, height, width)
    result: Floats = (coefficients[:, :3] * guide.transpose(2, 0, 1)).sum(1) + coefficients[:, 3]
    return result


def _invert_covariance(covariance: Sequence[Floats], epsilon: np.float32) -> list[list[Floats]]:
    """Invert a symmetric 3 x 3 matrix in every cell, by cofactors; numpy's inverse is slower.

    Args:
        covariance: float32 (H, W) each: its upper triangle, row by row.
        epsilon: added to the diagonal.
    """
    a, b, c, d, e, f = covariance
    a, d, f = a + epsilon, d + epsilon, f + epsilon
    aa, bb, cc = d * f - e * e, c * e - b * f, b * e - c * d
    scale = 1 / (a * aa + b * bb + c * cc)
    aa, bb, cc = aa * scale, bb * scale, cc * scale
    dd, ee, ff = (a * f - c * c) * scale, (b * c - a * e) * scale, (a * d - b * b) * scale
    return [[aa, bb, cc], [bb, dd, ee], [cc, ee, ff]]


def _compute_box_mean(stack: Floats, radius: int) -> Floats:
    """Average over a box of 2 radius + 1 pixels; the edge is repeated: float32 (N, H, W)."""
    means: Floats = ndimage.uniform_filter(stack, 2 * radius + 1, mode="nearest", axes=(1, 2))
    return means


def _resize(stack: Floats, size: tuple[int, int]) -> Floats:
    """Resize float32 (N, H, W): the mean over areas to shrink, bilinear to enlarge."""
    if stack.shape[1:] == (2 * size[0], 2 * size[1]):
        # As "area" below, to the bit, in a tenth of the time.
        pairs = stack[:, ::2, ::2] + stack[:, ::2, 1::2]
        quarters: Floats = (pairs + stack[:, 1::2, ::2] + stack[:, 1::2, 1::2]) * np.float32(0.25)
        return quarters
    tensor = torch.from_numpy(np.ascontiguousarray(stack))[None]
    if size[0] < stack.shape[1]:
        return functional.interpolate(tensor, size=size, mode="area")[0].numpy()
    return functional.interpolate(tensor, size=size, mode="bilinear", align_corners=False)[0].numpy()


def _compute_confidence(share: Floats, margin: Floats) -> float:
    """Return the mean probability where a trait wins; if it wins nowhere, one minus the largest: 0..1."""
    won = margin > 0.5
    return float(np.clip(share[won].mean() if won.any() else 1 - share.max(), 0, 1))
