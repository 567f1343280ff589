"""Perturbations of a target before it is scored: rotated and mirrored, or one trait painted over."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from sst_retrieval.evaluate.few_shot_split import read_labelled
from sst_retrieval.imaging import frames
from sst_retrieval.types import Mask, Photograph, RGBImage


@dataclass(frozen=True, slots=True)
class Perturbation:
    """How targets are changed.

    Attributes:
        rotate: whether to rotate every target by a random angle, and mirror half of them.
        erased_share: share of the targets on which one trait is painted over, 0..1.
        seed: of both.
    """

    rotate: bool
    erased_share: float
    seed: int


@dataclass(frozen=True, slots=True)
class Target:
    """A photograph to propagate to, with its true masks.

    Attributes:
        specimen: whose photograph.
        image: uint8 (H, W, 3), perturbed.
        truth: trait -> bool (H, W), its true mask on the perturbed photograph.
        erased: whether a trait was painted over.
    """

    specimen: Photograph
    image: RGBImage
    truth: Mapping[str, Mask]
    erased: bool


def load_target(
    specimen: Photograph,
    labels: Path,
    numbers: Mapping[str, int],
    traits: Sequence[str],
    *,
    draw: int,
    perturbation: Perturbation,
) -> Target:
    """Read a target and perturb it.

    Args:
        specimen: whose photograph.
        labels: folder with its label picture, `<specimen>.png`.
        numbers: trait -> its number in the labels.
        traits: those that will be propagated, of which one may be painted over.
        draw: number of the draw; each may erase another trait.
        perturbation: how the target is changed.

    Raises:
        InputError: the label does not fit its photograph.
    """
    image, truth = read_target(specimen, labels, numbers, perturbation.seed if perturbation.rotate else None)
    rng = np.random.default_rng([perturbation.seed, draw, zlib.crc32(specimen.id.encode())])
    erased = bool(rng.random() < perturbation.erased_share)
    image, truth = erase_random_trait(image, truth, traits, rng) if erased else (image, truth)
    return Target(specimen, image, truth, erased)


def read_target(
    specimen: Photograph, labels: Path, numbers: Mapping[str, int], seed: int | None
) -> tuple[RGBImage, dict[str, Mask]]:
    """Read a target's photograph, uint8 (H, W, 3), and the true mask of every trait; rotated if there is a seed."""
    image, label = read_labelled(specimen, labels)
    if seed is None:
        return image, {trait: label == number for trait, number in numbers.items()}
    rng = np.random.default_rng([seed, zlib.crc32(specimen.id.encode())])
    height, width = label.shape
    side = int(np.ceil(np.hypot(height, width)))  # Nothing is cut off; beyond the edge, the edge is repeated.
    frame = frames.square_frame((width / 2, height / 2), side, float(rng.uniform(0, 2 * np.pi)))
    frame = frames.mirror(frame) if rng.random() < 0.5 else frame
    truth = {trait: frames.warp_mask(label == number, frame, side) > 0.5 for trait, number in numbers.items()}
    return frames.warp_image(image, frame, side), truth


def find_erased_pixels(image: RGBImage, mask: Mask) -> tuple[Mask, RGBImage]:
    """Find the pixels to paint over for a trait, bool (H, W), and colours of the photograph's border, uint8 (N, 3).

    The mask is dilated, so that no rim of the trait is left.
    """
    area: Mask = ndimage.binary_dilation(mask, iterations=max(2, round(0.006 * max(image.shape))))
    return area, np.concatenate([image[:8].reshape(-1, 3), image[-8:].reshape(-1, 3)])


def erase_random_trait(
    image: RGBImage, truth: Mapping[str, Mask], traits: Sequence[str], rng: np.random.Generator
) -> tuple[RGBImage, dict[str, Mask]]:
    """Paint over one trait, chosen at random, with pixels of the photograph's border; return image and masks."""
    shown = [trait for trait in traits if truth[trait].any()]
    if not shown:
        return image, dict(truth)
    erased = shown[int(rng.integers(len(shown)))]
    area, border = find_erased_pixels(image, truth[erased])
    painted = image.copy()
    painted[area] = border[rng.integers(0, len(border), np.count_nonzero(area))]
    remaining = {trait: mask & ~area for trait, mask in truth.items()}
    remaining[erased] = np.zeros_like(area)
    return painted, remaining
