"""Room 2: from annotated specimens to supports.

The supports are a folder, or a single .json file. A folder may hold

- label pictures: SPECIMEN.png, a number a pixel (0 is the background), and traits.toml, which names the numbers;
- LabelMe files, one .json a photograph; a COCO file, one .json for many. Their traits may overlap.

traits.toml is needed for label pictures only, but where it is present, its names and numbers hold for all files.
Without it the numbers are COCO's category ids, and LabelMe's traits are numbered in alphabetical order.

All is checked when the supports are read, before any work: each file, its specimen, and that it fits the photograph.
What is kept is light (masks as run lengths, no pixels); `Supports.load` reads the photographs of one group.
"""

from __future__ import annotations

import difflib
import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from sst_retrieval.annotate.coco_labelme import Drawing, read_annotations
from sst_retrieval.annotate.traits import Traits, check_known, merged, numbered, read_traits, unknown_numbers
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import ImageError, SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import content_hash, image_size, orientation, read_image, read_labels
from sst_retrieval.types import Box, Specimen, Support

LABEL_SUFFIXES = (".png", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class SupportReference:
    """An annotated specimen, checked, without its pixels.

    Attributes:
        specimen: id of the annotated specimen.
        group: the group it serves.
        image: absolute path of its photograph.
        size: (height, width) of the photograph in pixels.
        traits: names of the traits drawn on it, in the order of their numbers.
        rles: the mask of each, as compressed COCO run-length counts.
        source: the file that it was drawn in.
        content: SHA-256 of the photograph's content.
        fingerprint: SHA-256 of the photograph's content, the traits and their masks.
    """

    specimen: str
    group: str
    image: Path
    size: tuple[int, int]
    traits: tuple[str, ...]
    rles: tuple[bytes, ...]
    source: Path
    content: str
    fingerprint: str

    @property
    def box(self) -> Box:
        """The box around all that is drawn."""
        boxes = [masks.box(masks.decode(rle, self.size)) for rle in self.rles]
        x0, y0, x1, y1 = zip(*boxes, strict=True)
        return min(x0), min(y0), max(x1), max(y1)


@dataclass(frozen=True, slots=True)
class Supports:
    """The annotated specimens of a collection.

    Attributes:
        references: one an annotated specimen: groups in the order of the collection, those of a group in the order of
            their ids. A group is laid like its first support, so that one must not depend on how a table is sorted.
        numbers: trait -> the user's own label number.
        synonyms: trait -> other words for it.
        fingerprints: group -> SHA-256 over its supports in their order. It changes whenever what is propagated would
            change.
    """

    references: tuple[SupportReference, ...]
    numbers: Mapping[str, int]
    synonyms: Mapping[str, tuple[str, ...]]
    fingerprints: Mapping[str, str]

    def groups(self) -> tuple[str, ...]:
        """Name the groups that have a support."""
        return tuple(self.fingerprints)

    def require(self, groups: Iterable[str]) -> None:
        """Refuse groups that have no support.

        Raises:
            SupportError: names the first of them, and the groups that have one.
        """
        for group in groups:
            if group not in self.fingerprints:
                known = ", ".join(self.groups()) or "none"
                raise SupportError(f"no support serves the group {group!r}; groups with a support: {known}")

    def by_group(self) -> dict[str, tuple[SupportReference, ...]]:
        """Sort the supports by the group that they serve."""
        return {group: tuple(r for r in self.references if r.group == group) for group in self.fingerprints}

    def load(self, group: str) -> tuple[Support, ...]:
        """Read the supports of one group, pixels and all; none if the group has none.

        Raises:
            SupportError: a photograph has become unreadable or another one since it was checked.
        """
        return tuple(_loaded(reference) for reference in self.references if reference.group == group)


def read_supports(source: Path, collection: Collection) -> Supports:
    """Read annotated specimens and check them against their collection.

    Args:
        source: a folder, or a COCO or LabelMe .json.
        collection: whose specimens were annotated.

    Raises:
        SupportError: there are none, a file cannot be read, names an unknown specimen or trait, is empty, or does not
            fit its photograph.
    """
    specimens = _Specimens(collection)
    files = _files(source)
    folder = source if source.is_dir() else source.parent
    traits = read_traits(folder / "traits.toml") if (folder / "traits.toml").is_file() else None
    drawings: list[Drawing] = []
    numbers: dict[str, int] = {}
    for path in files:
        if path.suffix.lower() == ".json":
            found, own_numbers = read_annotations(path)
            drawings += found
            numbers = merged(numbers, own_numbers, path) if traits is None else numbers
    photographs = {_file_name(name) for drawing in drawings for name in drawing.names}
    for path in files:
        if path.suffix.lower() in LABEL_SUFFIXES and path.name not in photographs and not specimens.is_photograph(path):
            drawings.append(_label_picture(path, traits))
    if not drawings:
        raise SupportError(
            f"{source} has no supports; add a label picture SPECIMEN.png with a traits.toml, or a COCO or LabelMe .json"
        )
    traits = traits or Traits(numbered(drawings, numbers, source), {})
    check_known(drawings, traits, folder / "traits.toml")
    references = _in_order([_reference(drawing, specimens, traits) for drawing in drawings], specimens.position)
    _check_once(references)
    return Supports(references, traits.numbers, traits.synonyms, _fingerprints(references))


# --------------------------------------------------------------------------------------------------------- files


def _files(source: Path) -> list[Path]:
    if source.is_file() and source.suffix.lower() == ".json":
        return [source]
    if not source.is_dir():
        raise SupportError(f"{source} is no folder of supports and no .json file; check the path of the supports")
    return sorted(path for path in source.iterdir() if path.is_file() and not path.name.startswith("."))


def _file_name(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name


def _label_picture(path: Path, traits: Traits | None) -> Drawing:
    if traits is None:
        raise SupportError(
            f"{path} is a label picture, but there is no {path.with_name('traits.toml')} to name its numbers; "
            f"write one: [traits] and below it lines like: forewing_band = 1"
        )
    try:
        labels = read_labels(path)
    except ImageError as error:
        raise SupportError(str(error)) from error
    present = [int(number) for number in np.unique(labels) if number]
    if not present:
        raise SupportError(f"{path} is empty: every pixel is 0, the background; draw the traits or remove the file")
    unknown = sorted(set(present) - set(traits.numbers.values()))
    if unknown:
        raise SupportError(unknown_numbers(path, unknown, present, traits.numbers))
    drawn = {trait: number for trait, number in traits.numbers.items() if number in present}
    stack = masks.from_labels(labels, list(drawn.values()))
    rles = {trait: masks.encode(mask) for trait, mask in zip(drawn, stack, strict=True)}
    return Drawing(path, (path.stem,), (labels.shape[0], labels.shape[1]), rles)


# ----------------------------------------------------------------------------------------------------- specimens


class _Specimens:
    """Finds the specimen that a drawing means."""

    def __init__(self, collection: Collection) -> None:
        self.source = collection.source
        self.without_photograph = {skipped.specimen for skipped in collection.left_out}
        self.position = {specimen.id: i for i, specimen in enumerate(collection.specimens)}
        # Some systems write "é" as one sign in tables and as two in file names.
        self.by_id = {unicodedata.normalize("NFC", specimen.id): specimen for specimen in collection.specimens}
        self.by_file: dict[str, list[Specimen]] = {}
        for specimen in collection.specimens:
            self.by_file.setdefault(specimen.image.name, []).append(specimen)

    def is_photograph(self, path: Path) -> bool:
        """Tell a photograph of the collection, lying among the supports, from a label picture."""
        return any(path.samefile(s.image) for s in self.by_file.get(path.name, ()) if s.image.exists())

    def find(self, drawing: Drawing) -> Specimen:
        label_picture = drawing.source.suffix.lower() in LABEL_SUFFIXES
        for name in drawing.names:
            parts = PurePosixPath(name.replace("\\", "/"))
            alike = [] if label_picture else self.by_file.get(parts.name, [])
            if len(alike) > 1:
                alike = [s for s in alike if s.image.parts[-len(parts.parts) :] == parts.parts]
            if len(alike) == 1:
                return alike[0]
            for candidate in (parts.stem, parts.name) if not label_picture else (name,):
                if (found := self.by_id.get(unicodedata.normalize("NFC", candidate))) is not None:
                    return found
        raise SupportError(self._unknown(drawing))

    def _unknown(self, drawing: Drawing) -> str:
        name = drawing.names[0]
        stem = name if name in self.without_photograph else PurePosixPath(_file_name(name)).stem
        if stem in self.without_photograph:
            return f"{drawing.source}: {self.source} names no photograph for {stem}; add one to its row"
        # Comparing with very many names would take minutes.
        near = difflib.get_close_matches(stem, list(self.by_id)[:20_000], 1)
        hint = (
            f"did you mean {near[0]!r}?" if near else f"its specimens are called like {next(iter(self.by_id), '')!r};"
        )
        return (
            f"{drawing.source} annotates {name!r}, which is not a specimen of {self.source}; {hint} "
            f"name label pictures after the specimen's id, and images in .json files after its photograph"
        )


def _reference(drawing: Drawing, specimens: _Specimens, traits: Traits) -> SupportReference:
    specimen = specimens.find(drawing)
    try:
        size = image_size(specimen.image)
        if drawing.size != size:
            raise SupportError(_misfit(drawing, specimen, size))
        read_image(specimen.image)  # A photograph that breaks off halfway must not stop the build later.
        content = content_hash(specimen.image)
    except ImageError as error:
        raise SupportError(f"{drawing.source}: the photograph of {specimen.id} cannot be used: {error}") from error
    drawn = tuple(sorted(drawing.rles, key=lambda trait: traits.numbers[trait]))
    rles = tuple(drawing.rles[trait] for trait in drawn)
    fingerprint = hashlib.sha256(repr((content, drawn, rles)).encode()).hexdigest()
    return SupportReference(
        specimen=specimen.id,
        group=specimen.group,
        image=specimen.image,
        size=size,
        traits=drawn,
        rles=rles,
        source=drawing.source,
        content=content,
        fingerprint=fingerprint,
    )


def _misfit(drawing: Drawing, specimen: Specimen, size: tuple[int, int]) -> str:
    (height, width), (own_height, own_width) = size, drawing.size
    text = f"{drawing.source} is {own_width} x {own_height} px, but {specimen.image} is {width} x {height}"
    if drawing.size == (width, height) and orientation(specimen.image) >= 5:
        return (
            f"{text} once turned as its EXIF orientation says; the drawing was made on the photograph as stored: "
            f"turn the drawing the same way, or draw in a program that follows EXIF orientation"
        )
    return f"{text}; draw on the photograph at the size that it has now"


def _in_order(references: Sequence[SupportReference], position: Mapping[str, int]) -> tuple[SupportReference, ...]:
    """Sort the groups as the collection names them, the supports of a group by their ids."""
    first: dict[str, int] = {}
    for each in references:
        first[each.group] = min(first.get(each.group, len(position)), position[each.specimen])
    return tuple(sorted(references, key=lambda each: (first[each.group], each.specimen)))


def _check_once(references: Iterable[SupportReference]) -> None:
    seen: dict[str, Path] = {}
    for reference in references:
        if reference.specimen in seen:
            raise SupportError(
                f"{reference.specimen} is annotated twice, in {seen[reference.specimen]} and in {reference.source}; "
                f"remove one of the two"
            )
        seen[reference.specimen] = reference.source


def _fingerprints(references: Iterable[SupportReference]) -> dict[str, str]:
    members: dict[str, list[str]] = {}
    for reference in references:
        members.setdefault(reference.group, []).append(reference.fingerprint)
    # With a comma: the hash of two or more must not be one that an older program made of them in another order.
    return {group: hashlib.sha256(",".join(own).encode()).hexdigest() for group, own in members.items()}


def _loaded(reference: SupportReference) -> Support:
    try:
        image = read_image(reference.image)
    except ImageError as error:
        raise SupportError(str(error)) from error
    if image.shape[:2] != reference.size:
        raise SupportError(f"{reference.image} has another size than when it was checked; start again")
    stack = np.stack([masks.decode(rle, reference.size) for rle in reference.rles])
    return Support(reference.specimen, reference.group, image, reference.traits, stack)
