"""The individuals that people drew on a collection's photographs: labels/instances.json (COCO), and their parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from sst_retrieval.annotate.formats.coco import list_outlines
from sst_retrieval.annotate.label_names import find_label_picture
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import InputError
from sst_retrieval.imaging.images import image_size, read_image, read_labels
from sst_retrieval.imaging.masks import decode
from sst_retrieval.types import Mask, Photograph, Support

WHOLE = "individual"
"""Name of the trait of a support of which only the whole individual was drawn."""


@dataclass(frozen=True, slots=True)
class DrawnPhotograph:
    """A photograph and the individuals that people drew on it.

    Attributes:
        photograph: the row of the collection.
        size: (height, width) in pixels.
        individuals: one compressed COCO run-length code an individual: {"size": [H, W], "counts": bytes}.
    """

    photograph: Photograph
    size: tuple[int, int]
    individuals: tuple[Mapping[str, Any], ...]

    def mask(self, number: int) -> Mask:
        """Decode an individual, bool (H, W)."""
        return decode(self.individuals[number]["counts"], self.size)


def read_instances(path: Path, collection: Collection) -> list[DrawnPhotograph]:
    """Read the drawn individuals of a collection.

    Args:
        path: COCO: `images` with `file_name`, `width`, `height`; `annotations` with `segmentation` (polygons or
            run-length codes, in the dialects of `annotate.formats.coco`). Photographs that `images` lists without
            annotations show none.
        collection: the photographs, found by their file's name or by their own.

    Returns:
        In the order of the collection.

    Raises:
        InputError: the file is no such COCO file, lists no photograph of the collection, was drawn on photographs of
            another size, or has an annotation that is not one individual: a box without an outline, a crowd.
    """
    try:
        content = json.loads(path.read_bytes())
        images = {each["id"]: each for each in content["images"]}
        drawn: dict[Any, list[Mapping[str, Any]]] = {number: [] for number in images}
        for each in content["annotations"]:
            drawn[each["image_id"]].append(_to_rle(each, images[each["image_id"]], path))
        by_name = {Path(each["file_name"]).stem: number for number, each in images.items()}
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is not there; --protocol instances compares with individuals that people drew, in COCO"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no COCO file of individuals: {type(error).__name__}: {error}") from error
    found = []
    for photograph in collection.photographs:
        number = by_name.get(photograph.image.stem, by_name.get(photograph.id))
        if number is not None:
            size = _read_size(images[number], path)
            own = image_size(photograph.image)
            if own != size:
                raise InputError(
                    f"{path} was drawn on {size[1]} x {size[0]} px, but {photograph.image} is {own[1]} x {own[0]}; "
                    f"compare with drawings on the photographs as they are"
                )
            found.append(DrawnPhotograph(photograph, size, tuple(drawn[number])))
    if not found:
        raise InputError(f"{path} lists no photograph of {collection.source}; its file_name must be one of its files")
    return found


def load_drawn_support(drawn: DrawnPhotograph, number: int, parts: Path, traits: Mapping[str, int]) -> Support:
    """Read one drawn individual as a support.

    Args:
        drawn: the photograph.
        number: which of its individuals, from 0.
        parts: folder of label pictures of parts, `<photograph>.png`; need not exist.
        traits: name -> number in these pictures.

    Returns:
        Its traits are the parts that the label picture has inside the individual, or else the whole individual.

    Raises:
        InputError: a picture does not fit the photograph.
    """
    image = read_image(drawn.photograph.image)
    if image.shape[:2] != drawn.size:
        raise InputError(
            f"{drawn.photograph.image} is {image.shape[1]} x {image.shape[0]} px, but its individuals were drawn on "
            f"{drawn.size[1]} x {drawn.size[0]}"
        )
    outline = drawn.mask(number)
    label = find_label_picture(parts, drawn.photograph.id)
    masks: dict[str, Mask] = {}
    if label is not None:
        numbers = read_labels(label)
        if numbers.shape != outline.shape:
            raise InputError(f"{label} is not of the size of its photograph {drawn.photograph.image}")
        inside = {name: (numbers == value) & outline for name, value in traits.items()}
        masks = {name: mask for name, mask in inside.items() if mask.any()}
    if not masks:
        masks = {next(iter(traits)) if len(traits) == 1 else WHOLE: outline}
    return Support(
        individual=f"{drawn.photograph.id}#{number + 1}" if len(drawn.individuals) > 1 else drawn.photograph.id,
        group=drawn.photograph.group,
        image=image,
        traits=tuple(masks),
        masks=np.stack(list(masks.values())),
        photograph=drawn.photograph.id,
        outline=outline,
    )


def group_drawn(drawn: Sequence[DrawnPhotograph]) -> dict[str, list[DrawnPhotograph]]:
    """Group photographs, in their order."""
    groups: dict[str, list[DrawnPhotograph]] = {}
    for each in drawn:
        groups.setdefault(each.photograph.group, []).append(each)
    return groups


def _read_size(image: Mapping[str, Any], path: Path) -> tuple[int, int]:
    if not image.get("height") or not image.get("width"):
        raise InputError(f"{path}: image {image['file_name']} has no height and width; export the annotations again")
    return int(image["height"]), int(image["width"])


def _to_rle(annotation: Mapping[str, Any], image: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    height, width = _read_size(image, path)
    where = f"{path}: annotation {annotation.get('id')} on {image['file_name']}"
    if annotation.get("iscrowd"):
        raise InputError(f"{where} is a crowd (iscrowd), not one individual; draw each, or leave the photograph out")
    outlines = list_outlines(annotation.get("segmentation"))
    if not outlines or not all(outlines):
        raise InputError(f"{where} has no outline, perhaps only a box; draw it, or leave the photograph out")
    codes = [_encode_outline(outline, (height, width), image) for outline in outlines]
    return codes[0] if len(codes) == 1 else dict(coco.merge(codes))


def _encode_outline(segmentation: Any, size: tuple[int, int], image: Mapping[str, Any]) -> Mapping[str, Any]:
    height, width = size
    if isinstance(segmentation, list):
        flat = np.array(segmentation, dtype=np.float64).ravel().tolist()
        if len(flat) < 6 or len(flat) % 2:
            raise ValueError(f"an outline on {image['file_name']} has {len(flat)} coordinates")
        code = coco.frPyObjects([flat], height, width)[0]
    elif isinstance(segmentation["counts"], list):
        code = coco.frPyObjects(segmentation, height, width)
    else:
        counts = segmentation["counts"]
        code = {"size": list(segmentation["size"]), "counts": counts.encode() if isinstance(counts, str) else counts}
    if list(code["size"]) != [height, width]:
        raise ValueError(f"a segmentation of {image['file_name']} is of the size {code['size']}")
    return dict(code)
