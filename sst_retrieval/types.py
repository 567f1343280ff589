"""The data types, in the order in which the data passes through them.

    Specimen + Support -> Propagated (masks) -> Region (vector + measurements) -> Hit

Pixels: origin top left, x right, y down, at the photograph's own size with its EXIF orientation applied.
Boxes are half-open: (x0, y0, x1, y1) holds x0 <= x < x1.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

RGBImage: TypeAlias = npt.NDArray[np.uint8]
"""uint8 (H, W, 3), 0..255, sRGB."""

Mask: TypeAlias = npt.NDArray[np.bool_]
"""bool (H, W): which pixels show the trait."""

MaskStack: TypeAlias = npt.NDArray[np.bool_]
"""bool (T, H, W): one mask a trait. Traits may overlap, so this is never a label map."""

FeatureGrid: TypeAlias = npt.NDArray[np.float32]
"""float32 (rows, cols, D): a regular grid that covers the whole image."""

Floats: TypeAlias = npt.NDArray[np.float32]
"""float32; its shape is given where it is used."""

Doubles: TypeAlias = npt.NDArray[np.float64]
"""float64; its shape is given where it is used."""

Box: TypeAlias = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels, half-open."""

Point: TypeAlias = tuple[float, float]
"""(x, y) in pixels; a click on the first pixel is anywhere in 0 <= x < 1."""

Scalar: TypeAlias = str | int | float | bool | datetime.date | datetime.datetime | None
"""One cell of a specimen table."""

BLOCKS = ("pattern", "colour", "shape")
"""The blocks of a vector, in the order they are concatenated."""


@dataclass(frozen=True, slots=True)
class Specimen:
    """One row of a collection: a photograph and what is known about it.

    Attributes:
        id: the specimen's name, unique in its collection (Darwin Core `catalogNumber`).
        image: absolute path of the photograph.
        group: specimens of one group share a support (a species, a subspecies x view, ...).
        metadata: every column of the table, under the collection's own names.
    """

    id: str
    image: Path
    group: str
    metadata: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Support:
    """The annotated specimen of a group: a photograph and the masks a person drew on it.

    Attributes:
        specimen: id of the annotated specimen.
        group: the group it serves.
        image: uint8 (H, W, 3).
        traits: names of the traits drawn on it, T of them.
        masks: bool (T, H, W), none of them empty.
        photograph: id of the photograph; several annotated individuals may be on one. "" means that of `specimen`.
        outline: bool (H, W), the whole animal where it was drawn; else see `body`.
    """

    specimen: str
    group: str
    image: RGBImage
    traits: tuple[str, ...]
    masks: MaskStack
    photograph: str = ""
    outline: Mask | None = None

    @property
    def body(self) -> Mask:
        """bool (H, W): the individual: its outline, or all traits together where it was not drawn."""
        whole: Mask = self.masks.any(axis=0)
        return whole if self.outline is None else whole | self.outline


@dataclass(frozen=True, slots=True)
class Frame:
    """How a specimen lies on its photograph: a map into the upright unit square, and back.

    A similarity transform (turn, one scale, shift, perhaps a mirror), so nothing is squashed:
    `u = a*x + b*y + c`, `v = d*x + e*y + f` takes a point (x, y) of the photograph in pixels to
    (u, v) with 0 <= u, v < 1 inside the square. Pixel centres lie at half numbers.

    Attributes:
        matrix: (a, b, c, d, e, f).
    """

    matrix: tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Propagated:
    """What a propagator found on one photograph.

    Attributes:
        masks: bool (T, H, W) at the photograph's own size, in the order of the memory's traits;
            an absent trait is an empty mask.
        confidence: float32 (T,), 0..1: how sure the propagator is of each mask (or of its absence).
        frame: how the specimen lies, in the frame of its group's support.
        cycle: float32 (T,), 0..1: IoU of what the support showed with what comes back when the mask is propagated back
            to it; NaN where the trait is absent. None if the propagator does not compute it.
    """

    masks: MaskStack
    confidence: Floats
    frame: Frame
    cycle: Floats | None = None


@dataclass(frozen=True, slots=True)
class Detection:
    """One organism that a finder found on one photograph.

    Attributes:
        box: (x0, y0, x1, y1) in pixels, half-open, inside the photograph.
        score: 0..1, how sure the finder is that it is an individual of the group; from 0.5 on it counts as one.
        mask: bool (y1 - y0, x1 - x0), which pixels of the box show it; None if the finder knows the box alone.
    """

    box: Box
    score: float
    mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class Clicked:
    """The answer to some clicks on a photograph.

    Attributes:
        mask: bool (H, W) at the photograph's own size.
        score: 0..1, how sure the model is of it; comparable only between answers of one model.
    """

    mask: Mask
    score: float


@dataclass(frozen=True, slots=True)
class Region:
    """One trait on one specimen, as it is stored.

    Attributes:
        specimen: id of the specimen.
        trait: name of the trait.
        present: False if the propagator says the trait is not on this photograph; then the mask is
            empty, `vector` is None and `measurements` is empty.
        confidence: 0..1.
        size: (height, width) of the photograph in pixels.
        rle: the mask as compressed COCO run-length counts (see `imaging.masks.encode`).
        box: (x0, y0, x1, y1) around the mask, half-open; (0, 0, 0, 0) if it is empty.
        frame: how the specimen lies, in the frame of the collection's reference (see `build.alignment`).
        vector: float32 (D,), the blocks one after the other, each of unit length; None if absent.
        measurements: name -> value; units are in the names (`describe.measure.MEASUREMENTS`).
    """

    specimen: str
    trait: str
    present: bool
    confidence: float
    size: tuple[int, int]
    rle: bytes
    box: Box
    frame: Frame
    vector: Floats | None
    measurements: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A specimen that could not be indexed, and why.

    Attributes:
        specimen: id of the specimen.
        stage: where it stopped: "image", "support" or "propagation".
        reason: a sentence for a person.
    """

    specimen: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer to a search.

    Attributes:
        rank: 1 for the most similar.
        specimen: id of the specimen.
        trait: name of the trait.
        similarity: 0..1, higher is closer: the weighted mean of `blocks`, not below 0.
        blocks: block name -> cosine with the query, -1..1; the mean over several examples, less what it resembles of
            those it should be unlike.
        confidence: 0..1, of the mask.
        metadata: the specimen's row of the collection.
        region_id: the region's number in the generation that was searched.
        parts: if several traits were asked for, one hit of each, and the fields above are of the first; else empty.
    """

    rank: int
    specimen: str
    trait: str
    similarity: float
    blocks: Mapping[str, float]
    confidence: float
    metadata: Mapping[str, Any]
    region_id: int
    parts: tuple[Hit, ...] = ()
    _masks: Any = field(repr=False, compare=False, default=None)

    def mask(self) -> Mask:
        """Decode the trait's mask.

        Returns:
            bool (H, W) at the photograph's own size.
        """
        decoded: Mask = self._masks(self.region_id)
        return decoded

    def as_dict(self) -> dict[str, Any]:
        """Convert the hit to JSON types (`search --json` prints a list of these)."""
        parts = {part.trait: {"similarity": part.similarity, "blocks": dict(part.blocks)} for part in self.parts}
        return {
            "rank": self.rank,
            "specimen": self.specimen,
            "trait": self.trait,
            "similarity": self.similarity,
            "blocks": dict(self.blocks),
            **({"parts": parts} if parts else {}),
            "confidence": self.confidence,
            "metadata": {k: v.isoformat() if isinstance(v, datetime.date) else v for k, v in self.metadata.items()},
        }
