"""Formless blobs: what a kind that is hardly a form, such as a mushroom's or a stone's, is confused with.

The kind of a pale, round thing has a cosine of 0.3 or more with any small, blurred piece of a photograph; that of a
tiger has none. How much formless blobs look like a group says how much more than others its pieces must look like it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from sst_retrieval.find.appearance import Look, compute_look
from sst_retrieval.nets.efficientnet import EfficientNetTrunk

COUNT = 12
"""How many blobs are drawn."""

_SIDE = 256


def look_at_blobs(trunk: EfficientNetTrunk) -> list[Look]:
    """Draw blobs of random outlines and textures, always the same, and compute what they look like."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    looks = []
    for number in range(COUNT):
        noise = random.normal(0, 1, (_SIDE, _SIDE, 3))
        scales = (1, 3, 9)[: 1 + number % 3]
        texture = np.sum([ndimage.gaussian_filter(noise, (each, each, 0)) * each for each in scales], axis=0)
        texture = (texture - texture.mean()) / texture.std() * 40 + random.uniform(60, 200, 3)
        wobble = ndimage.gaussian_filter(random.normal(0, 1, (_SIDE, _SIDE)), 20)
        outline = wobble / wobble.std() * 0.25 + rows**2 * random.uniform(1, 2) + columns**2 * random.uniform(1, 2)
        image = texture.clip(0, 255).astype(np.uint8)
        looks.append(compute_look(trunk, image, (0, 0, _SIDE, _SIDE), outline < 0.7))
    return looks


def measure_formlessness(looks: Sequence[Look], blobs: Sequence[Look]) -> float:
    """Return the largest cosine of a kind with that of a blob, the mean over annotated individuals; at least 0."""
    return max(0.0, float(np.mean([max(each.kind @ blob.kind for blob in blobs) for each in looks])))
