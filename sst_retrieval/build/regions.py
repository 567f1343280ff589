"""From the masks of one individual to the regions that are stored, one a trait: described and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sst_retrieval.describe.contract import Embedder
from sst_retrieval.describe.measure import measure
from sst_retrieval.describe.region_vectors import embed_regions
from sst_retrieval.find.cutouts import Cutout
from sst_retrieval.imaging import frames
from sst_retrieval.imaging.foreground import foreground_mask
from sst_retrieval.imaging.masks import box, decode, encode
from sst_retrieval.index.reviews import Review
from sst_retrieval.types import Floats, Frame, MaskStack, Placement, Propagated, Region, RGBImage, Support

DOUBTFUL = 0.1
"""Confidence below which no mask of a photograph may lie for it to count as one of another animal, or of none."""


def describe_regions(
    individual: str,
    image: RGBImage,
    found: Propagated,
    traits: Sequence[str],
    embedder: Embedder,
    *,
    cutout: Cutout | None = None,
    placement: Placement | None = None,
) -> list[Region]:
    """Describe and measure every trait of an individual.

    Args:
        individual: its id.
        image: uint8 (H, W, 3), the photograph or the cut-out.
        found: its masks, of the image's size.
        traits: names of the T traits, in the order of the masks.
        embedder: describes the traits.
        cutout: how the image was cut out of the photograph; None if it is the photograph.
        placement: where the individual is on the photograph, if it was cut out.

    Returns:
        T regions in pixels of the photograph; that of an absent trait has no vector and no measurements.
    """
    body = foreground_mask(image) | found.masks.any(axis=0)
    if cutout is not None:
        body = (body & ~cutout.others) | cutout.own
    described = _compute_vectors(image, found.masks, found.frame, embedder)
    cycle = [np.nan] * len(traits) if found.cycle is None else found.cycle
    regions = [
        Region(
            individual=individual,
            trait=trait,
            present=vector is not None,
            confidence=float(confidence),
            size=(image.shape[0], image.shape[1]),
            rle=encode(mask),
            box=box(mask),
            frame=frame,
            vector=vector,
            measurements={} if vector is None else measure(mask, image, body) | _store_cycle(agreement),
        )
        for trait, mask, confidence, agreement, (vector, frame) in zip(
            traits, found.masks, found.confidence, cycle, described, strict=True
        )
    ]
    if cutout is None:
        return regions
    encoded = [cutout.encode(mask) for mask in found.masks]
    return [_place(region, rle, cutout, placement) for region, rle in zip(regions, encoded, strict=True)]


def describe_doubt(regions: Sequence[Region]) -> str | None:
    """Say if a photograph does not seem to show such a specimen at all.

    Args:
        regions: of all traits, on a photograph of one individual.

    Returns:
        A few words, or None. A group's only trait may be absent, so that its absence alone is no doubt.
    """
    found = [region.confidence for region in regions if region.present]
    if found and max(found) < DOUBTFUL:
        return "it does not seem to show such a specimen: all masks on it are very unsure"
    return "none of the traits was found" if not found and len(regions) > 1 else None


def _place(region: Region, rle: bytes, cutout: Cutout, placement: Placement | None) -> Region:
    """Return a region of a cut-out in pixels of the photograph; `rle` is its mask there."""
    moved = {
        name: value + shift
        for name, shift in zip(("centroid_x", "centroid_y"), cutout.corner, strict=True)
        if (value := region.measurements.get(name)) is not None
    }
    return replace(
        region,
        size=cutout.size,
        rle=rle,
        box=cutout.place_box(region.box),
        frame=cutout.place_frame(region.frame),
        measurements={**region.measurements, **moved},
        placement=placement,
    )


def replace_drawn(found: Propagated, traits: Sequence[str], support: Support) -> Propagated:
    """Replace the masks that were found on a support by those that a person drew on it.

    A trait that the person did not draw is absent; propagation reads a support in the same way.

    Args:
        found: what the propagator finds on it; its frame is kept.
        traits: names of the T traits, in the order of the masks.
        support: the annotated specimen.

    Returns:
        The drawn masks, with confidence 1.
    """
    masks = np.zeros((len(traits), *support.image.shape[:2]), dtype=bool)
    for trait, mask in zip(support.traits, support.masks, strict=True):
        masks[traits.index(trait)] = mask
    return Propagated(masks, np.ones(len(traits), dtype=np.float32), found.frame)


def replace_reviewed(found: Propagated, traits: Sequence[str], reviews: Sequence[Review]) -> Propagated:
    """Replace masks that were found by those that a reviewer accepted or drew.

    Args:
        found: what the propagator finds; its frame is kept.
        traits: names of the T traits, in the order of the masks.
        reviews: the decisions that count on this photograph; those on other traits change nothing.

    Returns:
        The masks; those of the reviewer with confidence 1.
    """
    reviewed = {
        each.trait: each for each in reviews if each.overrides_propagation and each.size == found.masks.shape[1:]
    }
    masks, confidence = found.masks.copy(), found.confidence.copy()
    cycle = None if found.cycle is None else found.cycle.copy()
    for row, trait in enumerate(traits):
        if trait in reviewed:
            masks[row], confidence[row] = decode(reviewed[trait].rle, reviewed[trait].size), 1.0
            if cycle is not None:
                cycle[row] = np.nan  # It was measured on another mask.
    return Propagated(masks, confidence, found.frame, cycle)


def _store_cycle(cycle: float) -> dict[str, float]:
    """Return the cycle consistency of a mask, if there is one, as one more measurement."""
    return {} if np.isnan(cycle) else {"cycle_consistency": float(cycle)}


def _compute_vectors(
    image: RGBImage, masks: MaskStack, frame: Frame, embedder: Embedder
) -> list[tuple[Floats | None, Frame]]:
    """Describe every trait, each in a frame that it comes with; a present one always has a vector."""
    vectors = embed_regions(image, masks, frame, embedder)
    height, width = image.shape[:2]
    whole = frames.square_frame((width / 2, height / 2), max(height, width), 0.0)
    described: list[tuple[Floats | None, Frame]] = []
    for mask, vector in zip(masks, vectors, strict=True):
        if vector is None and mask.any():
            # A person drew it outside the frame: the whole photograph is its frame.
            described.append((embed_regions(image, mask[None], whole, embedder)[0], whole))
        else:
            described.append((vector, frame))
    return described
