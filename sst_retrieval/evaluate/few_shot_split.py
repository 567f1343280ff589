"""Few-shot splits: which labelled specimens of a group are supports, and which are targets.

For every group some of its labelled specimens are drawn at random to be the supports; all others are targets, whose
masks are scored. This is repeated; no specimen is a support twice.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sst_retrieval.annotate.label_names import find_label_picture, name_label_picture
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import InputError
from sst_retrieval.imaging.images import read_image, read_labels
from sst_retrieval.types import Photograph, RGBImage, Support


class Split(NamedTuple):
    """One draw of supports in one group.

    Attributes:
        draw: its number, from 0.
        supports: the annotated specimens.
        targets: all other labelled specimens of the group.
    """

    draw: int
    supports: list[Photograph]
    targets: list[Photograph]


def group_labelled(collection: Collection, labels: Path) -> dict[str, list[Photograph]]:
    """Group the specimens that have a label picture, `<specimen>.png`.

    Args:
        collection: the specimens.
        labels: folder of the label pictures.

    Returns:
        Group -> its labelled specimens, in the order of the collection.

    Raises:
        InputError: no file in the folder is a label of the collection.
    """
    groups: dict[str, list[Photograph]] = defaultdict(list)
    for specimen in collection.photographs:
        if find_label_picture(labels, specimen.id) is not None:
            groups[specimen.group].append(specimen)
    if not groups:
        raise InputError(f"no file in {labels} is named after a specimen of {collection.source}, like <specimen>.png")
    return groups


def sample_supports(
    labelled: Mapping[str, Sequence[Photograph]],
    shots: int,
    draws: int,
    seed: int,
    usable: Callable[[Photograph], bool],
) -> tuple[list[Split], list[str]]:
    """Draw the supports of every group at random.

    Args:
        labelled: group -> its labelled specimens.
        shots: supports a group.
        draws: most draws a group; a small group gives fewer.
        seed: of the random draws, 0 or more.
        usable: whether a specimen can be a support.

    Returns:
        The splits, and the groups that are too small for one.
    """
    splits: list[Split] = []
    left_out: list[str] = []
    for group, members in labelled.items():
        # Seeded by the group's name, so that adding another group to the collection changes nothing here.
        order = np.random.default_rng([seed, zlib.crc32(group.encode())]).permutation(len(members)).tolist()
        # A specimen without any trait cannot be a support; as a target its masks must be empty.
        order = [place for place in order if usable(members[place])]
        if len(order) < shots or len(members) <= shots:
            left_out.append(group)
            continue
        for draw in range(min(draws, len(order) // shots)):
            chosen = order[draw * shots : (draw + 1) * shots]
            targets = [specimen for place, specimen in enumerate(members) if place not in chosen]
            splits.append(Split(draw, [members[place] for place in chosen], targets))
    return splits, left_out


def locate_label(specimen: Photograph, labels: Path) -> Path:
    """Return the path of a specimen's label picture; where there is none, the one that it would have."""
    return find_label_picture(labels, specimen.id) or labels / name_label_picture(specimen.id)


def shows_any_trait(specimen: Photograph, labels: Path, numbers: Mapping[str, int]) -> bool:
    """Return whether a specimen's label picture has a pixel of any of the traits (name -> number)."""
    return bool(np.isin(read_labels(locate_label(specimen, labels)), list(numbers.values())).any())


def read_labelled(specimen: Photograph, labels: Path) -> tuple[RGBImage, npt.NDArray[np.uint16]]:
    """Read the photograph of a labelled specimen, uint8 (H, W, 3), and its label picture, uint16 (H, W).

    Raises:
        InputError: the label does not fit its photograph.
    """
    path = locate_label(specimen, labels)
    image, label = read_image(specimen.image), read_labels(path)
    if image.shape[:2] != label.shape:
        raise InputError(
            f"{path} is {label.shape[1]} x {label.shape[0]} px and its photograph "
            f"{image.shape[1]} x {image.shape[0]}; label the photograph at its own size"
        )
    return image, label


def load_labelled_support(specimen: Photograph, labels: Path, numbers: Mapping[str, int]) -> Support | None:
    """Read a labelled specimen as a support; None if its label shows none of the traits.

    Raises:
        InputError: the label does not fit its photograph.
    """
    image, label = read_labelled(specimen, labels)
    traits = tuple(trait for trait, number in numbers.items() if (label == number).any())
    if not traits:
        return None
    return Support(specimen.id, specimen.group, image, traits, np.stack([label == numbers[t] for t in traits]))
