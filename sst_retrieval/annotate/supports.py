"""Room 2: read annotated specimens and check them against their collection.

The supports are a folder, or a single file of an annotation program (`formats.registry`). A folder may hold

- label pictures: SPECIMEN.png, a number a pixel (0 is the background), and traits.toml, which names the numbers;
- LabelMe files, one .json a photograph; a COCO file, one .json for many. Their traits may overlap.

traits.toml is needed for label pictures only, but where it is present, its names and numbers hold for all files.
Without it the numbers are COCO's category ids, and LabelMe's traits are numbered in alphabetical order.

All is checked when the supports are read, before any work: each file, its specimen, and that it fits the photograph.
Only run-length codes of the masks are kept in memory; `Supports.load` reads the photographs of one group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sst_retrieval.annotate.formats import label_pictures, registry
from sst_retrieval.annotate.formats.contract import ImageAnnotation, ReadContext
from sst_retrieval.annotate.specimen_finder import SpecimenFinder, base_name, unusable_photograph
from sst_retrieval.annotate.traits import Traits, assign_numbers, merge_numbers, read_traits
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import ImageError, SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import LARGE, image_size, orientation, read_photograph
from sst_retrieval.types import Box, Specimen, Support


@dataclass(frozen=True, slots=True)
class SupportReference:
    """An annotated specimen that was checked, without its pixels.

    Attributes:
        specimen: id of the annotated specimen.
        group: the group it serves.
        image: absolute path of its photograph.
        size: (height, width) of the photograph in pixels.
        traits: names of the traits drawn on it, in the order of their numbers.
        rles: the mask of each, as compressed COCO run-length counts (see `imaging.masks.encode`).
        source: the annotation file.
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
        """The box around all masks: (x0, y0, x1, y1) in pixels, half-open."""
        boxes = [masks.box(masks.decode(rle, self.size)) for rle in self.rles]
        x0, y0, x1, y1 = zip(*boxes, strict=True)
        return min(x0), min(y0), max(x1), max(y1)


@dataclass(frozen=True, slots=True)
class Supports:
    """The annotated specimens of a collection.

    Attributes:
        references: one an annotated specimen: groups in the order of the collection, those of a group in the order of
            their ids. The first support of a group defines the group's frame, so it must not depend on how a table is
            sorted.
        numbers: trait -> the user's own label number.
        synonyms: trait -> other words for it.
        fingerprints: group -> SHA-256 over its supports in their order. It changes whenever what is propagated would
            change.
        notes: what was left out of the files or read in a way that is not certain, one sentence each.
    """

    references: tuple[SupportReference, ...]
    numbers: Mapping[str, int]
    synonyms: Mapping[str, tuple[str, ...]]
    fingerprints: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def groups(self) -> tuple[str, ...]:
        """Return the names of the groups that have a support, in the order of the collection."""
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
        """Return group -> its supports, in their order."""
        return {group: tuple(r for r in self.references if r.group == group) for group in self.fingerprints}

    def load(self, group: str) -> tuple[Support, ...]:
        """Read the supports of one group with their photographs and masks; none if the group has none.

        Raises:
            SupportError: a photograph has become unreadable or another one since it was checked.
        """
        return tuple(_load_support(reference) for reference in self.references if reference.group == group)


def read_supports(source: Path, collection: Collection) -> Supports:
    """Read annotated specimens and check them against their collection.

    Args:
        source: a folder, or a single COCO or LabelMe .json.
        collection: whose specimens were annotated.

    Raises:
        SupportError: there are none, a file cannot be read, names an unknown specimen or trait, is empty, or does not
            fit its photograph.
    """
    specimens = SpecimenFinder(collection)
    folder = source if source.is_dir() else source.parent
    traits = read_traits(folder / "traits.toml") if (folder / "traits.toml").is_file() else None
    annotations, numbers = _read_files(_list_files(source), specimens, traits)
    if not annotations:
        raise SupportError(
            f"{source} has no supports; add {', or '.join(each.description for each in registry.FORMATS)}"
        )
    if traits is None:
        names = {trait for annotation in annotations for trait in annotation.rles}
        traits = Traits(assign_numbers(names, numbers, source), {})
    _require_known_traits(annotations, traits, folder / "traits.toml")
    references = _sort_references(
        [_make_reference(annotation, specimens, traits) for annotation in annotations], specimens.position
    )
    _require_unique(references)
    return Supports(references, traits.numbers, traits.synonyms, _group_fingerprints(references))


# --------------------------------------------------------------------------------------------------------- files


def _list_files(source: Path) -> list[Path]:
    suffixes = registry.annotation_suffixes(standalone=True)
    if source.is_file() and source.suffix.lower() in suffixes:
        return [source]
    if not source.is_dir():
        raise SupportError(
            f"{source} is no folder of supports and no {' or '.join(suffixes)} file; check the path of the supports"
        )
    return sorted(path for path in source.iterdir() if path.is_file() and not path.name.startswith("."))


def _read_files(
    files: Sequence[Path], specimens: SpecimenFinder, traits: Traits | None
) -> tuple[list[ImageAnnotation], dict[str, int]]:
    """Read all annotation files; files of other suffixes, and photographs among the label pictures, are passed over.

    Returns:
        The annotated photographs, and trait -> number as the files have them; none if there is a traits.toml.
    """
    context = ReadContext(traits, specimens.image_size)
    annotations: list[ImageAnnotation] = []
    numbers: dict[str, int] = {}
    of_programs = set(registry.annotation_suffixes()) - set(label_pictures.SUFFIXES)
    for path in files:
        if path.suffix.lower() in of_programs:
            content = registry.read_annotations(path, context)
            annotations += content.images
            numbers = merge_numbers(numbers, content.numbers, path) if traits is None else numbers
    # Programs lay their files beside the photographs that they name.
    photographs = {base_name(name) for annotation in annotations for name in annotation.names}
    for path in files:
        is_picture = path.suffix.lower() in label_pictures.SUFFIXES
        if is_picture and path.name not in photographs and not specimens.is_photograph(path):
            _check_size_of_large(path, specimens)
            annotations += registry.read_annotations(path, context).images
    return annotations, numbers


def _check_size_of_large(path: Path, specimens: SpecimenFinder) -> None:
    """Compare a large label picture with its photograph before it is decoded: few bytes may become gigabytes."""
    try:
        height, width = image_size(path)
        if height * width <= LARGE:
            return
        expected = image_size(specimens.find(path, (path.stem,), ids_only=True).image)
    except (ImageError, SupportError):
        return  # Reading it says what is wrong.
    if (height, width) != expected:
        raise SupportError(
            f"{path} is {width} x {height} px, but its photograph is {expected[1]} x {expected[0]}; "
            f"draw on the photograph at the size that it has now"
        )


def _require_known_traits(annotations: Iterable[ImageAnnotation], traits: Traits, path: Path) -> None:
    """Refuse annotations of traits that `path`, the traits.toml, does not name."""
    for annotation in annotations:
        for trait in annotation.rles:
            if trait not in traits.numbers:
                raise SupportError(
                    f"{annotation.source} draws {trait!r}, but {path} names "
                    f"{', '.join(traits.numbers)}; "
                    f"add it under [traits] with a number of its own, or rename it in the drawing"
                )


# ---------------------------------------------------------------------------------------------------- references


def _make_reference(annotation: ImageAnnotation, specimens: SpecimenFinder, traits: Traits) -> SupportReference:
    """Check an annotation against its specimen's photograph."""
    specimen = specimens.find(annotation.source, annotation.names, ids_only=annotation.named_by_specimen)
    try:
        size = image_size(specimen.image)
        if annotation.size != size:
            raise SupportError(_explain_size(annotation, specimen, size))
        # A photograph that breaks off halfway must not stop the build later.
        content = read_photograph(specimen.image).checksum
    except ImageError as error:
        raise unusable_photograph(annotation.source, specimen, error) from error
    names = tuple(sorted(annotation.rles, key=lambda trait: traits.numbers[trait]))
    rles = tuple(annotation.rles[trait] for trait in names)
    fingerprint = hashlib.sha256(repr((content, names, rles)).encode()).hexdigest()
    return SupportReference(
        specimen=specimen.id,
        group=specimen.group,
        image=specimen.image,
        size=size,
        traits=names,
        rles=rles,
        source=annotation.source,
        content=content,
        fingerprint=fingerprint,
    )


def _explain_size(annotation: ImageAnnotation, specimen: Specimen, size: tuple[int, int]) -> str:
    (height, width), (own_height, own_width) = size, annotation.size
    text = f"{annotation.source} is {own_width} x {own_height} px, but {specimen.image} is {width} x {height}"
    if annotation.size == (width, height) and orientation(specimen.image) >= 5:
        return (
            f"{text} once turned as its EXIF orientation says; the drawing was made on the photograph as stored: "
            f"turn the drawing the same way, or draw in a program that follows EXIF orientation"
        )
    return f"{text}; draw on the photograph at the size that it has now"


def _sort_references(
    references: Sequence[SupportReference], position: Mapping[str, int]
) -> tuple[SupportReference, ...]:
    """Sort supports: groups in the order of the collection, the supports of a group by their ids."""
    first: dict[str, int] = {}
    for each in references:
        first[each.group] = min(first.get(each.group, len(position)), position[each.specimen])
    return tuple(sorted(references, key=lambda each: (first[each.group], each.specimen)))


def _require_unique(references: Iterable[SupportReference]) -> None:
    """Refuse specimens that are annotated twice."""
    source_of: dict[str, Path] = {}
    for reference in references:
        if reference.specimen in source_of:
            raise SupportError(
                f"{reference.specimen} is annotated twice, in {source_of[reference.specimen]} and in "
                f"{reference.source}; remove one of the two"
            )
        source_of[reference.specimen] = reference.source


def _group_fingerprints(references: Iterable[SupportReference]) -> dict[str, str]:
    members: dict[str, list[str]] = {}
    for reference in references:
        members.setdefault(reference.group, []).append(reference.fingerprint)
    # With a comma: the hash of two or more must not be one that an older program made of them in another order.
    return {group: hashlib.sha256(",".join(own).encode()).hexdigest() for group, own in members.items()}


def _load_support(reference: SupportReference) -> Support:
    try:
        read = read_photograph(reference.image)
    except ImageError as error:
        raise SupportError(str(error)) from error
    if read.checksum != reference.content:
        raise SupportError(f"{reference.image} changed since it was checked; start again")
    stack = np.stack([masks.decode(rle, reference.size) for rle in reference.rles])
    return Support(reference.specimen, reference.group, read.image, reference.traits, stack)
