"""Room 2: read annotated specimens and check them against their collection.

The supports are a folder, or a single file of an annotation program (`formats.registry`). A folder may hold

- label pictures: SPECIMEN.png, a number a pixel (0 is the background), and traits.toml, which names the numbers;
  colour masks with CVAT's labelmap.txt; one black-and-white mask a trait, SPECIMEN_TRAIT.png;
- files of annotation programs (`formats.registry`), one for a photograph or for many. Their traits may overlap.

Sub-folders called after a group, a trait or a specimen are read as well, and any where the folder itself has nothing.

How many individuals a photograph of a group shows, "one" or "many", is said by traits.toml or on the command line
(`traits`). With one, all that is drawn on a photograph is one individual. With many, each that was drawn is a support
of its own (`individuals`): PHOTOGRAPH#1, PHOTOGRAPH#2, ... in reading order; what is on the photograph and not
annotated may be more individuals. Pictures may number them (`formats.instance_pictures`).

traits.toml is needed for label pictures only, but where it is present, its names and numbers hold for all files.
Without it the numbers are COCO's category ids, and LabelMe's traits are numbered in alphabetical order.

All is checked when the supports are read, before any work: each file, its specimen, and that it fits the photograph.
Only run-length codes of the masks are kept in memory; `Supports.load` reads the photographs of one group.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sst_retrieval.annotate import fit
from sst_retrieval.annotate.formats import label_pictures, registry
from sst_retrieval.annotate.formats.contract import ImageAnnotation, ReadContext
from sst_retrieval.annotate.formats.instance_pictures import INSTANCES, PARTS
from sst_retrieval.annotate.individuals import DrawnIndividual, count_named, separate_individuals
from sst_retrieval.annotate.specimen_finder import SpecimenFinder, base_name, unusable_photograph
from sst_retrieval.annotate.traits import (
    MANY,
    TRAITS_FILE,
    Traits,
    assign_numbers,
    choose_individuals,
    find_traits_file,
    find_unknown_groups,
    merge_numbers,
    read_traits,
)
from sst_retrieval.collection.expected_individuals import check_individual_names, check_shared_photographs
from sst_retrieval.collection.species_names import find_species
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import ImageError, SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import orientation, read_photograph
from sst_retrieval.types import Box, Mask, MaskStack, Photograph, RGBImage, Support

_NO_SUPPORTS = ("SegmentationObject", "ImageSets", "JPEGImages")
"""Folders of an export in Pascal VOC's layout that hold no masks of traits."""

MAX_NOTES = 20
"""The notes of more shapes than this are counted, not listed."""

MOST, SPECK = 0.5, 5
"""A mask that covers more than this share of the photograph and of its edges, or fewer pixels, is noted."""

SMALL_INDIVIDUAL, SMALL_SHARE = 48, 1 / 8
"""Longer edge of an individual's box, in pixels and as a share of the photograph's, below which a note says that it is
small. A deer of 43 pixels of 640 as the only annotated one found 9 false ones a photograph (one case; no limit was
measured)."""


@dataclass(frozen=True, slots=True)
class SupportReference:
    """An annotated individual that was checked, without its pixels.

    Attributes:
        individual: its id: that of its photograph, and behind it "#" and its number if its group has many.
        group: the group it serves.
        image: absolute path of its photograph.
        size: (height, width) of the photograph in pixels.
        traits: names of the traits drawn on it, in the order of their numbers.
        rles: the mask of each, as compressed COCO run-length counts (see `imaging.masks.encode`).
        source: the annotation file.
        content: SHA-256 of the photograph's content.
        fingerprint: SHA-256 of the photograph's content, the traits and their masks.
        photograph: id of the photograph; several annotated individuals may be on one. "" means that of `individual`.
        outline_rle: mask of the whole animal, where it was drawn; else None.
        number: which of the annotated individuals of its photograph it is, from 1, in reading order.
    """

    individual: str
    group: str
    image: Path
    size: tuple[int, int]
    traits: tuple[str, ...]
    rles: tuple[bytes, ...]
    source: Path
    content: str
    fingerprint: str
    photograph: str = ""
    outline_rle: bytes | None = None
    number: int = 1

    def __post_init__(self) -> None:
        """Take the individual's id for the photograph's, if none is given."""
        object.__setattr__(self, "photograph", self.photograph or self.individual)

    @property
    def box(self) -> Box:
        """The box around all masks and the outline: (x0, y0, x1, y1) in pixels, half-open."""
        rles = self.rles if self.outline_rle is None else (*self.rles, self.outline_rle)
        boxes = [masks.box(masks.decode(rle, self.size)) for rle in rles]
        x0, y0, x1, y1 = zip(*boxes, strict=True)
        return min(x0), min(y0), max(x1), max(y1)


@dataclass(frozen=True, slots=True)
class Supports:
    """The annotated individuals of a collection.

    Attributes:
        references: one an annotated individual: groups in the order of the collection, those of a group in the order
            of their photographs' ids. The first support of a group defines the group's frame, so it must not depend on
            how a table is sorted.
        numbers: trait -> the user's own label number.
        synonyms: trait -> other words for it.
        fingerprints: group -> SHA-256 over its supports in their order. It changes whenever what is propagated would
            change.
        notes: what was left out of the files or read in a way that is not certain, one sentence each.
        individuals: group -> "one" or "many": how many its photographs show; every group of the collection.
        species: group -> its species, of the groups that show many where the table says one (`find_species`).
    """

    references: tuple[SupportReference, ...]
    numbers: Mapping[str, int]
    synonyms: Mapping[str, tuple[str, ...]]
    fingerprints: Mapping[str, str]
    notes: tuple[str, ...] = ()
    individuals: Mapping[str, str] = field(default_factory=dict)
    species: Mapping[str, str] = field(default_factory=dict)

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

        Individuals on one photograph share its array.

        Raises:
            SupportError: a photograph has become unreadable or another one since it was checked.
        """
        images: dict[Path, RGBImage] = {}
        own = [_load_support(reference, images) for reference in self.references if reference.group == group]
        return tuple(replace(each, species=self.species.get(group, "")) for each in own)


def read_supports(source: Path, collection: Collection, individuals: str | None = None) -> Supports:
    """Read annotated individuals and check them against their collection.

    Args:
        source: a folder, or a single file of an annotation program (`formats.registry`).
        collection: whose photographs were annotated.
        individuals: how many a photograph shows, "one" or "many", for all groups; None leaves it to traits.toml.

    Raises:
        SupportError: there are none, a file cannot be read, names an unknown specimen or trait, is empty, or does not
            fit its photograph.
        CollectionError: photographs of many individuals are shared by rows that do not say which is theirs.
    """
    folder = source if source.is_dir() else source.parent
    traits_file = find_traits_file(folder)
    traits = read_traits(traits_file) if traits_file is not None else None
    groups = list(dict.fromkeys(each.group for each in collection.photographs))
    expected = choose_individuals(groups, traits, individuals)
    check_individual_names(collection, expected)
    shared = check_shared_photographs(collection, expected)
    specimens = SpecimenFinder(collection, expected)
    names = {*groups, *({INSTANCES, PARTS} if MANY in expected.values() else ())}
    files, passed_over = _list_files(source, names, traits, specimens, collection.source)
    content = _read_files(files, specimens, traits)
    notes = [*content.notes, *passed_over, *shared, *find_unknown_groups(groups, traits)]
    annotations = _join_traits(content.annotations, specimens, notes)
    if not annotations:
        raise SupportError(_explain_nothing(source, [*files, *content.ignored], [*passed_over, *content.notes]))
    annotations = _name_whole_animals(annotations, traits)
    if traits is None:
        drawn = {trait for annotation in annotations for trait in annotation.rles}
        traits = Traits(assign_numbers(drawn, _count_from_one(content.numbers, notes), source), {})
    _require_known_traits(annotations, traits, traits_file or folder / TRAITS_FILE)
    references = _sort_references(
        [
            reference
            for annotation in annotations
            for reference in _make_references(annotation, specimens, traits, notes)
        ],
        specimens,
    )
    _require_unique(references)
    fingerprints = _group_fingerprints(references, expected)
    several = [group for group in fingerprints if expected[group] == MANY]
    # Where there is nothing to compare, a large table is not read for it.
    species = find_species(collection.photographs, several) if len(several) > 1 else {}
    return Supports(references, traits.numbers, traits.synonyms, fingerprints, _shorten_notes(notes), expected, species)


# --------------------------------------------------------------------------------------------------------- files


@dataclass(slots=True)
class _Content:
    """What the files of the supports hold.

    Attributes:
        annotations: the annotated photographs.
        numbers: trait -> number as the files have them; none if there is a traits.toml.
        notes: what was left out or clipped.
        ignored: files that are no supports.
    """

    annotations: list[ImageAnnotation]
    numbers: dict[str, int]
    notes: list[str]
    ignored: list[Path]


def _list_files(
    source: Path, names: set[str], traits: Traits | None, specimens: SpecimenFinder, table: Path
) -> tuple[list[Path], list[str]]:
    """List the files that may be supports, also in sub-folders called after a trait, a photograph, or one of `names`.

    Returns:
        The files, sorted; and a note for every sub-folder with pictures that is not read.
    """
    suffixes = registry.annotation_suffixes(standalone=True)
    if source.is_file() and source.suffix.lower() in suffixes:
        return [source], []
    if source.is_file() and source.suffix.lower() in registry.OTHER_TOOLS:
        raise SupportError(f"{source} {registry.OTHER_TOOLS[source.suffix.lower()]}")
    if not source.is_dir():
        raise SupportError(
            f"{source} is no folder of supports and no {' or '.join(suffixes)} file; check the path of the supports, "
            f"or draw the first one: sst-retrieval app {table}"
        )
    entries = sorted(path for path in source.iterdir() if not _is_left_out(path.name))
    if (source / "classes.txt").is_file():
        entries = [path for path in entries if path.name != "notes.json"]  # Label Studio's list of YOLO's classes.
    listed = _drop_photographs([path.name for path in entries])
    entries = [path for path in entries if path.name in listed]
    files = [path for path in entries if path.is_file()]
    wanted = {*registry.annotation_suffixes(), *label_pictures.LOSSY_SUFFIXES}
    certain = wanted - registry.optional_suffixes()
    folders = {path: _files_below(path, wanted) for path in entries if path.is_dir() and path.name not in _NO_SUPPORTS}
    # Elsewhere a sub-folder may hold what was put aside.
    anything = any(path.suffix.lower() in certain for path in files)
    notes = []
    for folder, inside in folders.items():
        named = folder.name in names or specimens.position(folder.name) is not None
        named = named or (traits is not None and traits.find(folder.name) is not None)
        pictures = [path for path in inside if path.suffix.lower() in certain]
        if named or not anything:
            files += inside
        elif pictures:
            notes.append(
                f"left out: {len(pictures)} files in the folder {folder}, which is called after no group, trait or "
                f"specimen; move them to {source} if they are supports"
            )
    return files, notes


def _is_left_out(name: str) -> bool:
    """Tell whether a file is hidden, or says where an export of this program came from (`export.file_provenance`)."""
    return name.startswith(".") or name == "provenance.json" or name.endswith(".provenance.json")


def _drop_photographs(names: Sequence[str]) -> list[str]:
    """Leave out the folder images where labels is beside it: data sets for YOLO keep their photographs there."""
    return [name for name in names if name != "images" or "labels" not in names]


def _files_below(folder: Path, suffixes: set[str]) -> list[Path]:
    """List the files of some suffixes in a folder and its folders, hidden ones left out."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = _drop_photographs(sorted(name for name in folders if not name.startswith(".")))
        found += [Path(parent, name) for name in sorted(names) if not _is_left_out(name)]
    return [path for path in found if path.suffix.lower() in suffixes]


def _read_files(files: Sequence[Path], specimens: SpecimenFinder, traits: Traits | None) -> _Content:
    """Read all annotation files; files of other suffixes, and photographs among the label pictures, are passed over."""
    context = ReadContext(traits, specimens)
    content = _Content([], {}, [], [])
    pictures = set(label_pictures.LABEL_PICTURES.suffixes)
    of_programs = set(registry.annotation_suffixes()) - pictures
    for path in files:
        suffix = path.suffix.lower()
        if suffix in of_programs:
            found = registry.read_annotations(path, context)
            content.annotations += found.images
            content.notes += found.notes
            content.numbers = merge_numbers(content.numbers, found.numbers, path) if traits is None else {}
        elif suffix in registry.OTHER_TOOLS:
            content.notes.append(f"left out: {path} {registry.OTHER_TOOLS[suffix]}")
        elif suffix not in pictures:
            content.ignored.append(path)
    # Programs lay their files beside the photographs that they name.
    photographs = {base_name(name) for annotation in content.annotations for name in annotation.names}
    for path in files:
        suffix = path.suffix.lower()
        if path.name in photographs or specimens.is_photograph(path):
            continue
        if suffix in label_pictures.LOSSY_SUFFIXES:
            _refuse_lossy_label(path, context)
        elif suffix in label_pictures.SUFFIXES or (suffix in pictures and _is_named(path, context)):
            found = registry.read_annotations(path, context)
            content.annotations += found.images
            content.notes += found.notes
    return content


def _is_named(path: Path, context: ReadContext) -> bool:
    """Tell whether a picture is called after a specimen."""
    return context.photographs.is_known((label_pictures.split_name(path, context)[0],), ids_only=True)


def _refuse_lossy_label(path: Path, context: ReadContext) -> None:
    """Refuse a label picture that is a JPEG; pass over a photograph."""
    name, _ = label_pictures.split_name(path, context)
    if not context.photographs.is_known((name,), ids_only=True):
        return
    if label_pictures.is_lossy_label(path, context.traits):
        raise label_pictures.explain_lossy(path)


def _join_traits(
    annotations: Sequence[ImageAnnotation], specimens: SpecimenFinder, notes: list[str]
) -> list[ImageAnnotation]:
    """Join the annotations of each photograph, whose traits must differ, and the picture of its individuals."""
    joined: dict[str, ImageAnnotation] = {}
    numbered: dict[str, ImageAnnotation] = {}
    for each in annotations:
        photograph = specimens.find(each.source, each.names, ids_only=each.named_by_specimen).id
        if each.instances:
            if photograph in numbered:
                raise SupportError(
                    f"the individuals of {photograph} are numbered twice, in {numbered[photograph].source} and in "
                    f"{each.source}; remove one"
                )
            numbered[photograph] = each
            continue
        before = joined.get(photograph)
        if before is None:
            joined[photograph] = each
            continue
        twice = min(set(before.rles) & set(each.rles), default=None)
        if twice is not None:
            what = f"{twice} of {photograph}" if before.one_trait and each.one_trait else photograph
            if before.source == each.source:
                raise SupportError(f"{each.source} lists {photograph} twice, and draws {twice} on both; join the two")
            raise SupportError(
                f"{what} is annotated twice, in {before.source} and in {each.source}; remove one of the two"
            )
        joined[photograph] = replace(
            before, rles={**before.rles, **each.rles}, shapes=(*before.shapes, *each.shapes), one_trait=each.one_trait
        )
        if not (before.one_trait and each.one_trait):
            notes.append(
                f"{photograph} is annotated in {before.source} ({', '.join(before.rles)}) and in {each.source} "
                f"({', '.join(each.rles)}), and the traits of both are used"
            )
    alone = numbered.keys() - joined.keys()
    return [
        *(
            replace(each, instances=numbered[photograph].instances) if photograph in numbered else each
            for photograph, each in joined.items()
        ),
        *(each for photograph, each in numbered.items() if photograph in alone),
    ]


def _name_whole_animals(annotations: Sequence[ImageAnnotation], traits: Traits | None) -> list[ImageAnnotation]:
    """Take pictures of individuals without a label picture for the one trait that there is: the whole animal."""
    named = []
    for each in annotations:
        if each.instances and not each.rles:
            if traits is None or len(traits.numbers) != 1:
                raise SupportError(
                    f"{each.source} numbers individuals, but nothing says what their traits are: add the label "
                    f"picture of their parts, {PARTS}/{each.names[0]}.png, or a traits.toml that names one trait, the "
                    f"whole animal: [traits] and below it: animal = 1"
                )
            whole = np.any([masks.decode(rle, each.size) for rle in each.instances.values()], axis=0)
            each = replace(each, rles={next(iter(traits.numbers)): masks.encode(whole)})
        named.append(each)
    return named


def _count_from_one(numbers: Mapping[str, int], notes: list[str]) -> dict[str, int]:
    """Add 1 to the numbers of the traits if one is 0, the background: some programs count from 0."""
    if min(numbers.values(), default=1) != 0:
        return dict(numbers)
    counted = {trait: number + 1 for trait, number in numbers.items()}
    listed = ", ".join(f"{trait} = {number}" for trait, number in sorted(counted.items(), key=lambda item: item[1]))
    notes.append(f"the categories count from 0, which is the background here; the traits are {listed}")
    return counted


def _explain_nothing(source: Path, files: Sequence[Path], notes: Sequence[str]) -> str:
    text = f"{source} has no supports; add {', or '.join(each.description for each in registry.FORMATS)}"
    known = [f"{path.name} {registry.OTHER_TOOLS[path.suffix.lower()]}" for path in files
             if path.suffix.lower() in registry.OTHER_TOOLS]  # fmt: skip
    others = [path.name for path in dict.fromkeys(files) if path.suffix.lower() not in registry.OTHER_TOOLS]
    if known:
        text += f". {'; '.join(known[:5])}"
    if others:
        text += f". Not read: {', '.join(others[:9])}{', ...' * (len(others) > 9)}"
    further = [note.removeprefix("left out: ") for note in notes]
    further = [note for note in further if not note.endswith(tuple(registry.OTHER_TOOLS.values()))]
    return "; ".join([text, *further[:5]])


def _shorten_notes(notes: Sequence[str]) -> tuple[str, ...]:
    """Keep each note once, and count the rest of very many."""
    once = list(dict.fromkeys(notes))
    if len(once) <= MAX_NOTES:
        return tuple(once)
    return (*once[:MAX_NOTES], f"and {len(once) - MAX_NOTES} more notes about the supports")


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


def _make_references(
    annotation: ImageAnnotation, specimens: SpecimenFinder, traits: Traits, notes: list[str]
) -> list[SupportReference]:
    """Check an annotation against its photograph; add notes where it is not certain that it fits.

    Returns:
        One reference an annotated individual.
    """
    photograph = specimens.find(annotation.source, annotation.names, ids_only=annotation.named_by_specimen)
    many = specimens.is_many(photograph)
    specimens.check_size(annotation.source, annotation.names, annotation.size, ids_only=annotation.named_by_specimen)
    try:
        # A photograph that breaks off halfway must not stop the build later.
        read = read_photograph(photograph.image)
        notes += _check_fit(annotation, photograph, read.image, orientation(photograph.image), many=many)
        content = read.checksum
    except ImageError as error:
        raise unusable_photograph(annotation.source, photograph, error) from error
    if not many:
        return [_make_reference(annotation, photograph, annotation.rles, traits, content)]
    individuals = separate_individuals(annotation, notes)
    if not individuals:
        raise SupportError(f"{annotation.source}: no individual has a trait; draw the traits on them")
    notes += _check_extent(annotation, individuals)
    references = []
    for row, number, each in _assign_rows(individuals, specimens.rows_of(photograph), photograph):
        reference = _make_reference(annotation, row, each.rles, traits, content, each.outline)
        references.append(replace(reference, individual=f"{row.id}#{number}", number=number))
    return references


def _check_extent(annotation: ImageAnnotation, individuals: Sequence[DrawnIndividual]) -> list[str]:
    """Return a note if all annotated individuals are so small that others can hardly be told by them."""
    sizes = [(each.box[2] - each.box[0], each.box[3] - each.box[1]) for each in individuals]
    width, height = max(sizes, key=max)
    if max(width, height) >= min(SMALL_INDIVIDUAL, SMALL_SHARE * max(annotation.size)):
        return []
    return [
        f"{annotation.source}: the largest individual that is drawn has {width} x {height} pixels; so small a one "
        f"looks like many things, and false ones may be found: draw one that is larger on its photograph"
    ]


def _make_reference(
    annotation: ImageAnnotation,
    photograph: Photograph,
    drawn: Mapping[str, bytes],
    traits: Traits,
    content: str,
    outline: bytes | None = None,
) -> SupportReference:
    names = tuple(sorted(drawn, key=lambda trait: traits.numbers[trait]))
    rles = tuple(drawn[trait] for trait in names)
    # Without an outline as ever: an index is not built again because individuals may have one.
    identity = (content, names, rles) if outline is None else (content, names, rles, outline)
    return SupportReference(
        individual=photograph.id,
        group=photograph.group,
        image=photograph.image,
        size=annotation.size,
        traits=names,
        rles=rles,
        source=annotation.source,
        content=content,
        fingerprint=hashlib.sha256(repr(identity).encode()).hexdigest(),
        photograph=photograph.id,
        outline_rle=outline,
    )


def _assign_rows(
    individuals: Sequence[DrawnIndividual], rows: Sequence[Photograph], drawn_on: Photograph
) -> list[tuple[Photograph, int, DrawnIndividual]]:
    """Say which row of the table each individual is, where several share a photograph, and number it there.

    A row with a box is the individual whose box has its centre there; one with a number that of those drawn, in reading
    order. It is the row's first. Individuals of no row are further ones of the row that the drawing is called after.
    """
    if len(rows) == 1:
        return [(rows[0], number, each) for number, each in enumerate(individuals, 1)]
    owners: dict[int, Photograph] = {}
    for at, each in enumerate(individuals):
        x, y = (each.box[0] + each.box[2]) / 2, (each.box[1] + each.box[3]) / 2
        for row in rows:
            place = row.place
            inside = isinstance(place, tuple) and place[0] <= x < place[2] and place[1] <= y < place[3]
            if (inside or place == at + 1) and row not in owners.values():
                owners[at] = row
                break
    further = [at for at in range(len(individuals)) if at not in owners]
    return [
        (owners[at], 1, each) if at in owners else (drawn_on, 2 + further.index(at), each)
        for at, each in enumerate(individuals)
    ]


def _check_fit(
    annotation: ImageAnnotation, specimen: Photograph, image: RGBImage, turn: int, *, many: bool
) -> list[str]:
    """Refuse masks that fit their photograph only when turned as its EXIF orientation says.

    Args:
        annotation: the masks.
        specimen: whose photograph.
        image: uint8 (H, W, 3), as `read_image` returns it.
        turn: EXIF orientation, 1..8.
        many: whether the photograph may show several individuals.

    Returns:
        Notes: that it is not certain whether the masks are turned, or that they lie on two individuals where one is
        expected.
    """
    drawn = {trait: masks.decode(rle, annotation.size) for trait, rle in annotation.rles.items()}
    notes = _check_areas(specimen, drawn)
    ratio = None if turn == 1 else fit.compare_turned(image, np.stack(list(drawn.values())), turn)
    stored = f"{specimen.image} is stored turned or mirrored (EXIF orientation {turn})"
    if ratio is not None and ratio > fit.SURE:
        raise SupportError(
            f"{annotation.source} does not fit: {stored}, and the masks fit it as it is stored, not as it is shown. "
            f"Turn the masks the same way, or save the photograph upright without EXIF orientation and draw on that"
        )
    if ratio is not None and ratio > 1 / fit.SURE:
        notes.append(
            f"{stored}; make sure that {annotation.source} was drawn on it as it is shown, not as it is stored"
        )
    if many:
        return notes
    remedy = "if it shows several individuals, say --individuals many; else cut it, and draw on one"
    if (named := count_named(annotation)) > 1:
        notes.append(
            f"{annotation.source} names {named} individuals on {specimen.image}, and they were taken for one; {remedy}"
        )
    elif apart := fit.find_far_apart(image, drawn):
        notes.append(
            f"{annotation.source} draws {', '.join(apart)} on separate pieces of {specimen.image}; one individual a "
            f"photograph is expected: {remedy}"
        )
    return notes


def _check_areas(specimen: Photograph, drawn: Mapping[str, Mask]) -> list[str]:
    """Return notes on masks that can hardly be meant: nearly all of the photograph, or a speck."""
    notes = []
    for trait, mask in drawn.items():
        area = masks.area(mask)
        edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        if area > MOST * mask.size and edge.mean() > MOST:
            notes.append(
                f"{trait} of {specimen.id} is drawn on {area / mask.size:.0%} of the photograph, its edges included; "
                f"if the mask is black on white, invert it"
            )
        elif area < SPECK:
            notes.append(f"{trait} of {specimen.id} is drawn on a speck of {area} px; if that is a slip, erase it")
    return notes


def _sort_references(references: Sequence[SupportReference], specimens: SpecimenFinder) -> tuple[SupportReference, ...]:
    """Sort supports: groups in the order of the collection, those of a group by photographs, then by their numbers."""
    first: dict[str, int] = {}
    for each in references:
        position = specimens.position(each.photograph)
        assert position is not None  # It was found in the collection.
        first[each.group] = min(first.get(each.group, position), position)
    return tuple(sorted(references, key=lambda each: (first[each.group], each.photograph, each.number)))


def _require_unique(references: Iterable[SupportReference]) -> None:
    """Refuse photographs that are annotated twice."""
    source_of: dict[str, Path] = {}
    known: set[str] = set()
    for reference in references:
        if reference.individual in known:
            raise SupportError(
                f"{reference.photograph} is annotated twice, in {source_of[reference.photograph]} and in "
                f"{reference.source}; remove one of the two"
            )
        known.add(reference.individual)
        source_of[reference.photograph] = reference.source


def _group_fingerprints(references: Iterable[SupportReference], individuals: Mapping[str, str]) -> dict[str, str]:
    members: dict[str, list[str]] = {}
    for reference in references:
        members.setdefault(reference.group, []).append(reference.fingerprint)
    for group, own in members.items():
        if individuals.get(group) == MANY:
            own.append(MANY)
    # With a comma: the hash of two or more must not be one that an older program made of them in another order.
    return {group: hashlib.sha256(",".join(own).encode()).hexdigest() for group, own in members.items()}


def _load_support(reference: SupportReference, images: dict[Path, RGBImage]) -> Support:
    """Load one support; photographs that were read before are in `images`, which is filled."""
    if reference.image not in images:
        try:
            read = read_photograph(reference.image)
        except ImageError as error:
            raise SupportError(str(error)) from error
        if read.checksum != reference.content:
            raise SupportError(f"{reference.image} changed since it was checked; start again")
        images[reference.image] = read.image
    outline = None if reference.outline_rle is None else _decode_all([reference.outline_rle], reference.size)[0]
    return Support(
        individual=reference.individual,
        group=reference.group,
        image=images[reference.image],
        traits=reference.traits,
        masks=_decode_all(reference.rles, reference.size),
        photograph=reference.photograph,
        outline=outline,
    )


def _decode_all(rles: Sequence[bytes], size: tuple[int, int]) -> MaskStack:
    """Decode masks: bool (N, H, W).

    Only their boxes are written: of a hundred individuals on a large photograph the rest of the masks, which is empty,
    then takes no memory.
    """
    stack = np.zeros((len(rles), *size), dtype=bool)
    for place, rle in enumerate(rles):
        mask = masks.decode(rle, size)
        x0, y0, x1, y1 = masks.box(mask)
        stack[place, y0:y1, x0:x1] = mask[y0:y1, x0:x1]
    return stack
