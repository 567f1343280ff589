"""Rooms 3 and 4 met: what is kept of one photograph, one region a trait."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sst_retrieval.describe.contract import Embedder
from sst_retrieval.describe.measure import measure
from sst_retrieval.describe.region_vectors import embed_regions
from sst_retrieval.imaging import frames
from sst_retrieval.imaging.foreground import foreground_mask
from sst_retrieval.imaging.masks import box, decode, encode
from sst_retrieval.index.reviews import Review
from sst_retrieval.types import Floats, Frame, MaskStack, Propagated, Region, RGBImage, Support


def regions_of(
    specimen: str, image: RGBImage, found: Propagated, traits: Sequence[str], embedder: Embedder
) -> list[Region]:
    """Describe and measure every trait that was looked for on a photograph.

    Args:
        specimen: id of the specimen.
        image: uint8 (H, W, 3).
        found: its masks.
        traits: names of the T traits, in the order of the masks.
        embedder: describes the pattern.

    Returns:
        T regions; that of an absent trait has no vector and no measurements.
    """
    body = foreground_mask(image) | found.masks.any(axis=0)
    described = _vectors(image, found.masks, found.frame, embedder)
    cycle = [np.nan] * len(traits) if found.cycle is None else found.cycle
    return [
        Region(
            specimen=specimen,
            trait=trait,
            present=vector is not None,
            confidence=float(confidence),
            size=(image.shape[0], image.shape[1]),
            rle=encode(mask),
            box=box(mask),
            frame=frame,
            vector=vector,
            measurements={} if vector is None else measure(mask, image, body) | _agreement(agreement),
        )
        for trait, mask, confidence, agreement, (vector, frame) in zip(
            traits, found.masks, found.confidence, cycle, described, strict=True
        )
    ]


def as_drawn(support: Support, found: Propagated, traits: Sequence[str]) -> Propagated:
    """Put the masks that a person drew in the place of those that were found on the same photograph.

    A trait that the person did not draw is not there; propagation reads a support in the same way.

    Args:
        support: the annotated specimen.
        found: what the propagator finds on it; its frame is kept.
        traits: names of the T traits, in the order of the masks.
    """
    masks = np.zeros((len(traits), *support.image.shape[:2]), dtype=bool)
    for trait, mask in zip(support.traits, support.masks, strict=True):
        masks[traits.index(trait)] = mask
    return Propagated(masks, np.ones(len(traits), dtype=np.float32), found.frame)


def as_reviewed(found: Propagated, traits: Sequence[str], reviews: Sequence[Review]) -> Propagated:
    """Put the masks that a reviewer accepted or drew in the place of those that were found now.

    Args:
        found: what the propagator finds; its frame is kept.
        traits: names of the T traits, in the order of the masks.
        reviews: the decisions that count on this photograph; those on other traits are left alone.
    """
    settled = {r.trait: r for r in reviews if r.overrides_propagation and r.size == found.masks.shape[1:]}
    masks, confidence = found.masks.copy(), found.confidence.copy()
    cycle = None if found.cycle is None else found.cycle.copy()
    for place, trait in enumerate(traits):
        if trait in settled:
            masks[place], confidence[place] = decode(settled[trait].rle, settled[trait].size), 1.0
            if cycle is not None:
                cycle[place] = np.nan  # It was another mask that went there and back.
    return Propagated(masks, confidence, found.frame, cycle)


def _agreement(cycle: float) -> dict[str, float]:
    """Store the cycle consistency of a mask, if there is one, as one more column beside the measurements."""
    return {} if np.isnan(cycle) else {"cycle_consistency": float(cycle)}


def _vectors(image: RGBImage, masks: MaskStack, frame: Frame, embedder: Embedder) -> list[tuple[Floats | None, Frame]]:
    """Describe every trait, and say in which frame."""
    vectors = embed_regions(image, masks, frame, embedder)
    height, width = image.shape[:2]
    whole = frames.turned((width / 2, height / 2), max(height, width), 0.0)
    described: list[tuple[Floats | None, Frame]] = []
    for mask, vector in zip(masks, vectors, strict=True):
        if vector is None and mask.any():
            # Somebody drew it where the specimen was not looked for: the whole photograph is its frame.
            described.append((embed_regions(image, mask[None], whole, embedder)[0], whole))
        else:
            described.append((vector, frame))
    return described
