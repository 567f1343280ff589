"""The data types, in the order in which the data passes through them.

    Photograph + Support -> Individual -> Propagated (masks) -> Region (vector + measurements) -> Hit

A *specimen* is one catalogue record, and may have several photographs. A *photograph* is one file, a row of the table.
An *individual* is one organism on one photograph, a *region* one trait of one individual.

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
class Photograph:
    """One row of a collection: a photograph and what is known about it.

    Attributes:
        id: the photograph's name, unique in its collection; the specimen's own if the specimen has no other photograph.
        image: absolute path of the file.
        group: photographs of one group share a support (a species, a subspecies x view, ...).
        metadata: every column of the table, under the collection's own names.
        specimen: catalogue number of the specimen it shows (Darwin Core `catalogNumber`); `id` if "" is given.
        view: what the table says of it, such as "dorsal"; else "".
        place: where on the file the row's individual is, for files that several rows share: its box in pixels, or its
            number in reading order, from 1; None if the row says nothing.
    """

    id: str
    image: Path
    group: str
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    specimen: str = ""
    view: str = ""
    place: Box | int | None = None

    def __post_init__(self) -> None:
        """Take the photograph's name for the specimen's, if none is given."""
        if not self.specimen:
            object.__setattr__(self, "specimen", self.id)


@dataclass(frozen=True, slots=True)
class Individual:
    """One organism on one photograph.

    Attributes:
        id: its name, unique in its index: that of the photograph, and behind it "#" and the number if photographs of
            its group may show several.
        photograph: what it is on.
        number: its number there, from 1, in reading order.
        box: (x0, y0, x1, y1) in pixels, half-open; None if the whole photograph is its own.
        score: 0..1, how sure the finder was of it; None if it was not looked for, being the only one.
        outline: all its pixels as compressed COCO run-length counts at the photograph's size; None if unknown.
        size: (height, width) of the photograph in pixels; None if it was not processed.
    """

    id: str
    photograph: Photograph
    number: int = 1
    box: Box | None = None
    score: float | None = None
    outline: bytes | None = None
    size: tuple[int, int] | None = None

    @property
    def specimen(self) -> str:
        """Catalogue number of the specimen."""
        return self.photograph.specimen

    @property
    def image(self) -> Path:
        """Absolute path of the photograph."""
        return self.photograph.image

    @property
    def group(self) -> str:
        """The group of the photograph."""
        return self.photograph.group

    @property
    def metadata(self) -> Mapping[str, Scalar]:
        """The row of the collection."""
        return self.photograph.metadata


@dataclass(frozen=True, slots=True)
class Support:
    """An annotated individual of a group: a photograph and the masks a person drew on it.

    Attributes:
        individual: id of the annotated individual (see `Individual`).
        group: the group it serves.
        image: uint8 (H, W, 3).
        traits: names of the traits drawn on it, T of them.
        masks: bool (T, H, W), none of them empty.
        photograph: id of the photograph; several annotated individuals may be on one. "" means that of `individual`.
        outline: bool (H, W), the whole animal where it was drawn; else see `body`.
        species: of its group, "Carabus granulatus", for finders that compare groups; "" if the table does not say one.
    """

    individual: str
    group: str
    image: RGBImage
    traits: tuple[str, ...]
    masks: MaskStack
    photograph: str = ""
    outline: Mask | None = None
    species: str = ""

    @property
    def body(self) -> Mask:
        """bool (H, W): the individual: its outline, or all traits together where it was not drawn."""
        whole: Mask = np.any(self.masks, axis=0)
        return whole if self.outline is None else np.logical_or(whole, self.outline)


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
class Placement:
    """Where an individual is on its photograph, as it is stored with its regions.

    Attributes:
        photograph: id of the photograph.
        number: the individual's number there, from 1, in reading order.
        box: (x0, y0, x1, y1) in pixels, half-open; None if the whole photograph is its own.
        score: 0..1, how sure the finder was of it; None if it was not looked for.
        outline: all its pixels as compressed COCO run-length counts at the photograph's size; None if unknown.
    """

    photograph: str
    number: int = 1
    box: Box | None = None
    score: float | None = None
    outline: bytes | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """One trait on one individual, as it is stored.

    Attributes:
        individual: id of the individual.
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
        placement: where the individual is; None if it is the only one of the photograph that bears its name.
    """

    individual: str
    trait: str
    present: bool
    confidence: float
    size: tuple[int, int]
    rle: bytes
    box: Box
    frame: Frame
    vector: Floats | None
    measurements: Mapping[str, float]
    placement: Placement | None = None

    @property
    def photograph(self) -> str:
        """Id of the photograph."""
        return self.individual if self.placement is None else self.placement.photograph


@dataclass(frozen=True, slots=True)
class Skipped:
    """A photograph that could not be indexed, and why.

    Attributes:
        photograph: its id.
        stage: where it stopped: "image", "support" or "propagation".
        reason: a sentence for a person.
    """

    photograph: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer to a search.

    Attributes:
        rank: 1 for the most similar.
        specimen: catalogue number of the specimen.
        trait: name of the trait.
        similarity: 0..1, higher is closer: the weighted mean of `blocks`, not below 0.
        blocks: block name -> cosine with the query, -1..1; the mean over several examples, less what it resembles of
            those it should be unlike.
        confidence: 0..1, of the mask.
        metadata: the specimen's row of the collection.
        region_id: the region's number in the generation that was searched.
        parts: if several traits were asked for, one hit of each, and the fields above are of the first; else empty.
        photograph: id of the photograph that shows it; "" means that of `specimen`.
        individual: id of the individual on it; "" means that of `photograph`.
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
    photograph: str = ""
    individual: str = ""
    _masks: Any = field(repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        """Where one photograph shows one individual, all have the specimen's name."""
        object.__setattr__(self, "photograph", self.photograph or self.specimen)
        object.__setattr__(self, "individual", self.individual or self.photograph)

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
            "photograph": self.photograph,
            "individual": self.individual,
            "trait": self.trait,
            "similarity": self.similarity,
            "blocks": dict(self.blocks),
            **({"parts": parts} if parts else {}),
            "confidence": self.confidence,
            "metadata": {k: v.isoformat() if isinstance(v, datetime.date) else v for k, v in self.metadata.items()},
        }
