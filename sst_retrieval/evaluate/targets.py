"""What is made of a target before it is scored: it may be turned, or lose a trait."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from sst_retrieval.evaluate.draws import read_labelled
from sst_retrieval.imaging import frames
from sst_retrieval.types import Mask, RGBImage, Specimen


@dataclass(frozen=True, slots=True)
class Changes:
    """How targets are changed.

    Attributes:
        turned: turn every target by a random angle, and mirror half of them.
        erased: share of the targets on which one trait is painted over, 0..1.
        seed: of both.
    """

    turned: bool
    erased: float
    seed: int


@dataclass(frozen=True, slots=True)
class Target:
    """A photograph to be propagated to.

    Attributes:
        specimen: whose it is.
        image: uint8 (H, W, 3), changed as it was asked for.
        truth: trait -> bool (H, W), what is there.
        lost: whether a trait was painted over.
    """

    specimen: Specimen
    image: RGBImage
    truth: Mapping[str, Mask]
    lost: bool


def target_of(
    specimen: Specimen, labels: Path, numbers: Mapping[str, int], traits: Sequence[str], *, draw: int, changes: Changes
) -> Target:
    """Read a target and change it.

    Args:
        specimen: whose photograph.
        labels: folder with its label picture, `<specimen>.png`.
        numbers: trait -> its number in the labels.
        traits: those that will be looked for, of which one may be painted over.
        draw: number of the draw; another trait may be lost in each.
        changes: what is done.

    Raises:
        InputError: the label does not fit its photograph.
    """
    image, truth = read_target(specimen, labels, numbers, changes.seed if changes.turned else None)
    rng = np.random.default_rng([changes.seed, draw, zlib.crc32(specimen.id.encode())])
    lost = bool(rng.random() < changes.erased)
    image, truth = without_one(image, truth, traits, rng) if lost else (image, truth)
    return Target(specimen, image, truth, lost)


def read_target(
    specimen: Specimen, labels: Path, numbers: Mapping[str, int], seed: int | None
) -> tuple[RGBImage, dict[str, Mask]]:
    """Read a target, turned if there is a seed: its photograph, and the true mask of every trait."""
    image, label = read_labelled(specimen, labels)
    if seed is None:
        return image, {trait: label == number for trait, number in numbers.items()}
    rng = np.random.default_rng([seed, zlib.crc32(specimen.id.encode())])
    height, width = label.shape
    side = int(np.ceil(np.hypot(height, width)))  # Nothing is cut off; beyond the edge, the edge is repeated.
    frame = frames.turned((width / 2, height / 2), side, float(rng.uniform(0, 2 * np.pi)))
    frame = frames.mirrored(frame) if rng.random() < 0.5 else frame
    truth = {trait: frames.warp_mask(label == number, frame, side) > 0.5 for trait, number in numbers.items()}
    return frames.warp(image, frame, side), truth


def torn_off(image: RGBImage, mask: Mask) -> tuple[Mask, RGBImage]:
    """Say which pixels go with a lost trait, bool (H, W), and give pixels of the photograph's border, uint8 (N, 3)."""
    gone: Mask = ndimage.binary_dilation(mask, iterations=max(2, round(0.006 * max(image.shape))))
    return gone, np.concatenate([image[:8].reshape(-1, 3), image[-8:].reshape(-1, 3)])


def without_one(
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
