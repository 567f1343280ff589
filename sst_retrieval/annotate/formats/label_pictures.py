"""Label pictures: SPECIMEN.png, a number a pixel (0 is the background); traits.toml names the numbers.

Also read: CVAT's colour masks beside their labelmap.txt, and one black-and-white mask a trait, SPECIMEN_TRAIT.png or
TRAIT/SPECIMEN.png; and pictures that number individuals (`instance_pictures`).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from sst_retrieval.annotate.formats.contract import AnnotationFile, AnnotationFormat, ImageAnnotation, ReadContext
from sst_retrieval.annotate.formats.instance_pictures import (
    make_instance_image,
    read_instance_picture,
    split_instance_name,
)
from sst_retrieval.annotate.formats.soft_edges import are_only_rings, find_mixed_numbers
from sst_retrieval.annotate.traits import BACKGROUND, TRAITS_FILE, Traits, suggest_traits_file
from sst_retrieval.errors import ImageError, SupportError
from sst_retrieval.imaging import masks
from sst_retrieval.imaging.images import image_size, orientation, read_image, read_labels
from sst_retrieval.imaging.png_header import check_png
from sst_retrieval.imaging.sources import DECODING_ERRORS, turn
from sst_retrieval.types import Mask

SUFFIXES = (".png", ".tif", ".tiff")
FURTHER_SUFFIXES = (".bmp",)
"""Of pictures that are read if they are named after a specimen, and else passed over."""

LOSSY_SUFFIXES = (".jpg", ".jpeg", ".webp", ".gif")
"""Of pictures that do not keep label numbers."""

LABEL_MAPS = ("labelmap.txt", "label_colors.txt")
"""Files that name the colours of colour masks."""

_COLOUR_LAST = re.compile(r"(?!#)(?P<label>.+?):\s*(?P<r>\d+)\s*,\s*(?P<g>\d+)\s*,\s*(?P<b>\d+)\s*(:|$)")
_COLOUR_FIRST = re.compile(r"(?P<r>\d+)[\s,]+(?P<g>\d+)[\s,]+(?P<b>\d+)[\s,:]+(?P<label>\S.*)")


@dataclass(frozen=True, slots=True)
class LabelPicture:
    """A label picture that was not decoded yet.

    Attributes:
        path: the file.
        size: (height, width) in pixels, from its header.
    """

    path: Path
    size: tuple[int, int]


def read_label_picture(path: Path, picture: LabelPicture, context: ReadContext) -> AnnotationFile:
    """Separate a label picture into one mask a trait.

    Args:
        path: named after the specimen's id, or after it and a trait.
        picture: its size.
        context: with the traits that name the numbers.

    Returns:
        One image.

    Raises:
        SupportError: there is no traits.toml, all is background, no number has a trait, the edges are soft, or the
            size is not the photograph's. It is compared before the picture is decoded.
    """
    if (of_individuals := split_instance_name(path, context)) is not None:
        return read_instance_picture(path, of_individuals, context)
    name, trait = split_name(path, context)
    context.photographs.check_size(path, (name,), picture.size, ids_only=True)
    if trait is None and (colours := read_label_map(path)):
        rles, notes = _read_colours(path, colours, context.traits)
    elif trait is None:
        labels = _decode(picture)
        if _numbers_individuals(name, labels, context):
            image = make_instance_image(path, name, labels)
            note = f"{path} was read as {len(image.instances)} numbered individuals, since traits.toml names one trait"
            return AnnotationFile((image,), notes=(note,))
        folder_trait = _trait_of_folder(path, labels, context.traits)
        if folder_trait is None:
            rles, notes = _separate(path, labels, context.traits)
        else:
            trait, rles, notes = folder_trait, {folder_trait: masks.encode(labels > 0)}, []
    else:
        mask, notes = _decode_mask(picture)
        rles = {trait: masks.encode(mask)}
    image = ImageAnnotation(path, (name,), picture.size, rles, named_by_specimen=True, one_trait=trait is not None)
    return AnnotationFile((image,), notes=tuple(notes))


def split_name(path: Path, context: ReadContext) -> tuple[str, str | None]:
    """Split the name of a label picture into specimen and trait.

    Returns:
        The specimen's name, and the trait of a picture called SPECIMEN_TRAIT, TRAIT_SPECIMEN or SPECIMEN/TRAIT; None if
        it holds all traits.
    """

    def find_trait(name: str) -> str | None:
        return name if context.traits is None else context.traits.find(name)

    known = context.photographs.is_known
    if known((path.stem,), ids_only=True):
        return path.stem, None
    for place in reversed(list(re.finditer(r"[_. -]+", path.stem))):  # The longest specimen first.
        before, after = path.stem[: place.start()], path.stem[place.end() :]
        for specimen, rest in ((before, after), (after, before)) if context.traits else ((before, after),):
            if specimen and rest and (trait := find_trait(rest)) and known((specimen,), ids_only=True):
                return specimen, trait
    trait = context.traits.find(path.stem) if context.traits else None
    if trait and known((path.parent.name,), ids_only=True):
        return path.parent.name, trait
    return path.stem, None


def read_label_map(path: Path) -> dict[tuple[int, int, int], str]:
    """Read CVAT's labelmap.txt (label:color_rgb:parts:actions) or label_colors.txt (red green blue label).

    It lies in the picture's folder or the one above it.

    Returns:
        (red, green, blue), 0..255 -> label; empty if there is no such file.

    Raises:
        SupportError: a colour is none.
    """
    colours: dict[tuple[int, int, int], str] = {}
    for file in [folder / name for folder in (path.parent, path.parent.parent) for name in LABEL_MAPS]:
        if file.is_file() and file.stat().st_size < 1_000_000:
            for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines():
                match = _COLOUR_LAST.match(line.strip()) or _COLOUR_FIRST.match(line.strip())
                if match:
                    red, green, blue = (int(match[channel][:9]) for channel in "rgb")
                    if max(red, green, blue) > 255:
                        raise SupportError(f"{file} has a colour above 255: {line.strip()[:80]}; export it again")
                    colours[red, green, blue] = match["label"].strip()
            break
    return colours


def is_lossy_label(path: Path, traits: Traits | None) -> bool:
    """Tell whether a JPEG or the like is a label picture, not a photograph: nearly all pixels are near its numbers."""
    try:
        pixels = read_image(path)
    except ImageError:
        return False
    numbers = [0, 255, *(traits.numbers.values() if traits else range(1, 9))]
    wanted = {(number, number, number) for number in numbers if number < 256} | set(read_label_map(path))
    near = np.zeros(pixels.shape[:2], dtype=bool)
    for colour in wanted:
        near |= np.abs(pixels.astype(np.int16) - np.array(colour, dtype=np.int16)).max(axis=2) <= 6
    return bool(near.mean() > 0.9)


def explain_lossy(path: Path) -> SupportError:
    """Make the error for a label picture in a format that changes its numbers."""
    kind = {".webp": "WebP", ".gif": "GIF"}.get(path.suffix.lower(), "JPEG")
    change = "whose palette programs reorder" if kind == "GIF" else "whose compression changes label numbers"
    return SupportError(
        f"{path} is a {kind}, {change}; save the labels as PNG, from the program they were drawn in: "
        f"a {kind} that is only converted stays wrong"
    )


def _separate(path: Path, labels: npt.NDArray[np.uint16], traits: Traits | None) -> tuple[dict[str, bytes], list[str]]:
    """Separate a label map by the numbers of traits.toml; return trait -> run-length counts, and notes."""
    if traits is None:
        raise SupportError(
            f"{path} is a label picture, but there is no {path.with_name(TRAITS_FILE)} to name its numbers; "
            f"{suggest_traits_file(path.parent)}"
        )
    numbers = traits.numbers
    present = [int(number) for number in np.unique(labels) if number]
    if not present:
        raise SupportError(f"{path} is empty: every pixel is 0, the background; draw the traits or remove the file")
    unknown = sorted(set(present) - set(numbers.values()))
    mixed = find_mixed_numbers(labels) or (unknown if unknown and are_only_rings(labels, unknown) else ())
    if mixed:
        raise SupportError(_explain_soft_edges(path, mixed))
    number_of = {trait: number for trait, number in numbers.items() if number in present}
    if not number_of:
        raise SupportError(_explain_unknown(path, unknown, present, numbers))
    notes = [f"left out: {_explain_unknown(path, unknown, present, numbers)}"] if unknown else []
    stack = masks.from_labels(labels, list(number_of.values()))
    return {trait: masks.encode(mask) for trait, mask in zip(number_of, stack, strict=True)}, notes


def _read_colours(
    path: Path, colours: Mapping[tuple[int, int, int], str], traits: Traits | None
) -> tuple[dict[str, bytes], list[str]]:
    """Separate a colour mask by the colours of labelmap.txt."""
    pixels = _decode_colours(path)
    notes: list[str] = []
    drawn: dict[str, Mask] = {}
    rest = pixels.any(axis=2)
    for colour, label in colours.items():
        mask = (pixels == np.array(colour, dtype=np.uint8)).all(axis=2)
        rest &= ~mask
        if label.casefold() in BACKGROUND or not mask.any():
            continue
        trait = label if traits is None else traits.find(label)
        if trait is None:
            notes.append(f"left out: {path} draws {label!r}, which traits.toml does not name")
        else:
            drawn[trait] = drawn.get(trait, False) | mask
    if np.count_nonzero(rest):
        if not drawn and (pixels == pixels[..., :1]).all():  # Numbers after all, beside a label map of something else.
            return _separate(path, pixels[..., 0].astype(np.uint16), traits)
        y, x = np.argwhere(rest)[0]
        raise SupportError(
            f"{path} has the colour {tuple(map(int, pixels[y, x]))} at ({x}, {y}), which labelmap.txt does not list, "
            f"on {np.count_nonzero(rest)} pixels; if the edges are soft, export the masks again without smoothing"
        )
    if not drawn:
        raise SupportError("; ".join(note.removeprefix("left out: ") for note in notes) or f"{path} is empty")
    return {trait: masks.encode(mask) for trait, mask in drawn.items()}, notes


def _trait_of_folder(path: Path, labels: npt.NDArray[np.uint16], traits: Traits | None) -> str | None:
    """Return the trait that a folder of black-and-white masks is called after; None if the numbers count."""
    present = [int(number) for number in np.unique(labels) if number]
    trait = traits.find(path.parent.name) if traits is not None else None
    if traits is None or trait is None or len(present) != 1:
        return None
    return trait if present[0] in (1, 255, traits.numbers[trait]) else None


def _numbers_individuals(name: str, labels: npt.NDArray[np.uint16], context: ReadContext) -> bool:
    """Tell whether a picture of a photograph of many can only number individuals: there is one trait to number."""
    if context.traits is None or len(context.traits.numbers) != 1:
        return False
    known = {0, 255, *context.traits.numbers.values()}
    return context.photographs.expects_many((name,), ids_only=True) and not set(np.unique(labels).tolist()) <= known


# ------------------------------------------------------------------------------------------------------- decoding


def _load(path: Path) -> LabelPicture:
    try:
        return LabelPicture(path, image_size(path))
    except ImageError as error:
        raise SupportError(str(error)) from error


def _decode(picture: LabelPicture) -> npt.NDArray[np.uint16]:
    """Decode label numbers, also those that were saved as decimal numbers."""
    try:
        return read_labels(picture.path, max_pixels=picture.size[0] * picture.size[1])
    except ImageError as error:
        try:
            pixels = _open_pixels(picture.path)
        except SupportError:
            pixels = np.zeros((0, 0), dtype=np.uint8)
        if pixels.ndim == 2 and pixels.size:
            return _round_numbers(picture.path, pixels.astype(np.float32))
        hint = "; or lay CVAT's labelmap.txt (label:red,green,blue::) beside it" if pixels.ndim == 3 else ""
        raise SupportError(f"{error}{hint}") from error


def _decode_colours(path: Path) -> npt.NDArray[np.uint8]:
    """Decode a colour mask, indexed or not: uint8 (H, W, 3)."""
    pixels = _open_pixels(path, colours=True)
    if pixels.ndim == 3:
        return pixels.astype(np.uint8)
    raise SupportError(f"{path} holds no colours, but labelmap.txt lies beside it; export the masks again")


def _decode_mask(picture: LabelPicture) -> tuple[Mask, list[str]]:
    """Decode the mask of one trait: everything but black or transparent; soft edges are cut at half."""
    try:
        values = read_labels(picture.path, max_pixels=picture.size[0] * picture.size[1]).astype(np.float32)
    except ImageError as error:
        try:
            pixels = _open_pixels(picture.path)
        except SupportError:
            raise SupportError(str(error)) from error
        values = (pixels.max(axis=2) if pixels.ndim == 3 else pixels).astype(np.float32)
    levels = np.unique(values)
    if not levels[-1] > 0:
        raise SupportError(f"{picture.path} is empty: every pixel is 0, the background; draw the trait or remove it")
    if len(levels) <= 2:
        return values > 0, []
    if levels[-1] < 64:
        listed = ", ".join(f"{level:g}" for level in levels[levels > 0][:5])
        raise SupportError(
            f"{picture.path} has the numbers {listed}, but is called after one trait; "
            f"call it after its specimen alone if it holds several traits"
        )
    mask: Mask = values >= (levels[-1] + 1) / 2
    return mask, [
        f"{picture.path} has soft edges or several numbers; what is at least half of {levels[-1]:g} was taken"
    ]


def _open_pixels(path: Path, *, colours: bool = False) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
    """Decode a colour, transparent or decimal picture; transparent pixels become 0.

    Returns:
        uint8 (H, W, 3), or float32 (H, W) of a picture of decimal numbers.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about large pictures and odd TIFF tags.
            with path.open("rb") as file, Image.open(file, formats=("PNG", "TIFF", "BMP")) as opened:
                if opened.format == "PNG":
                    check_png(file)
                if opened.mode == "F":
                    return np.array(opened, dtype=np.float32)
                if opened.mode not in ("RGB", "RGBA", "LA", "PA") and not colours:
                    raise SupportError(f"{path} is a picture of the kind {opened.mode}, which holds no label numbers")
                pixels = np.array(opened.convert("RGBA"))
                turned = opened.format == "TIFF"  # By Pillow.
    except (*DECODING_ERRORS, Image.DecompressionBombError) as error:
        raise SupportError(f"{path} cannot be decoded ({error}); save the labels as an indexed PNG") from error
    pixels[pixels[..., 3] == 0] = 0
    return turn(pixels[..., :3], 1 if turned else orientation(path))


def _round_numbers(path: Path, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 65535 or (pixels % 1).any():
        raise SupportError(
            f"{path} holds decimal numbers that are no label numbers; save the labels as 8- or 16-bit whole numbers"
        )
    return pixels.astype(np.uint16)


# ------------------------------------------------------------------------------------------------------- messages


def _explain_soft_edges(path: Path, mixed: Sequence[int]) -> str:
    numbers = ", ".join(map(str, mixed[:5])) + ", ..." * (len(mixed) > 5)
    return (
        f"{path} has soft edges: label {numbers} lies as a ring of one or two pixels between two others, where numbers "
        f"were mixed. Paint with a hard brush (a pencil, no smoothing or anti-aliasing), change its size only by the "
        f"nearest pixel, and never save it as JPEG; if a trait really is such a line, save a mask of its own for every "
        f"trait ({path.stem}_TRAIT.png), or draw outlines"
    )


def _explain_unknown(path: Path, unknown: Sequence[int], present: Sequence[int], numbers: Mapping[str, int]) -> str:
    """Explain what to do about label numbers that no trait has, out of all that are present but 0."""
    text = f"{path} has label {', '.join(map(str, unknown[:9]))}{', ...' * (len(unknown) > 9)}, but traits.toml names "
    text += ", ".join(f"{number} ({trait})" for trait, number in numbers.items())
    if present == [255] and len(numbers) == 1:
        return f"{text}; it is a black-and-white mask: write {next(iter(numbers))} = 255 into traits.toml"
    if present == [255]:
        return f"{text}; a black-and-white mask does not say which trait it is: paint each trait in its own number"
    return f"{text}; add a line NAME = {unknown[0]} under [traits], or erase it"


LABEL_PICTURES = AnnotationFormat(
    description="a label picture SPECIMEN.png with a traits.toml",
    suffixes=(*SUFFIXES, *FURTHER_SUFFIXES),
    load=_load,
    matches=lambda picture: True,
    read=read_label_picture,
    standalone=False,
)
