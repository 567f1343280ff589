"""What is made of a target before it is scored: it may be turned, or lose a trait."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from sst_retrieval import pose
from sst_retrieval.evaluate.draws import read_labelled
from sst_retrieval.types import Mask, RGBImage, Specimen


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
    frame = pose.turned((width / 2, height / 2), side, float(rng.uniform(0, 2 * np.pi)))
    frame = pose.mirrored(frame) if rng.random() < 0.5 else frame
    truth = {trait: pose.warp_mask(label == number, frame, side) > 0.5 for trait, number in numbers.items()}
    return pose.warp(image, frame, side), truth


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
