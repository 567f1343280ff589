"""Checks of a collection against how many individuals its groups expect on a photograph: "one" or "many"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sst_retrieval.collection.places import REMEDY, explain_shared, share_files
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.errors import CollectionError, ImageError, list_names
from sst_retrieval.imaging.images import image_size
from sst_retrieval.types import Box, Photograph


def check_shared_photographs(collection: Collection, individuals: Mapping[str, str]) -> tuple[str, ...]:
    """Check the photographs that several rows share against how many individuals their groups expect.

    Args:
        collection: what was read.
        individuals: group -> "one" or "many".

    Returns:
        Notes on photographs of groups with one individual that rows share although each names a place.

    Raises:
        CollectionError: rows of a group with many individuals share a photograph and do not name their places, or two
            the same.
    """
    notes = []
    shared = share_files({row: each.image for row, each in enumerate(collection.photographs)})
    for path, rows in shared.items():
        own = [collection.photographs[row] for row in rows]
        if all(individuals.get(each.group, "one") == "one" for each in own):
            if all(each.place is not None for each in own):
                notes.append(explain_shared(str(collection.source), own))
            continue
        placed = [each for each in own if individuals.get(each.group) == "many"]
        without = [each for each in placed if each.place is None]
        if without and not _is_readable(path):
            continue  # A build says what is wrong with it.
        if without:
            raise CollectionError(
                f"{collection.source}: {list_names([each.id for each in own])} have one photograph, {path.name}, and "
                f"{without[0].id} does not say which of its individuals it is; give each row its place: {REMEDY}"
            )
        _require_places(collection, path, placed)
    return tuple(notes)


def _require_places(collection: Collection, path: Path, photographs: Sequence[Photograph]) -> None:
    """Refuse one place for two rows, and boxes and numbers on one photograph."""
    of: dict[Box | int, str] = {}
    for each in photographs:
        if each.place is not None and (other := of.setdefault(each.place, each.id)) != each.id:
            raise CollectionError(
                f"{collection.source}: {other} and {each.id} have one place on {path.name}, {each.place}; "
                f"give each its own"
            )
    if len({isinstance(place, int) for place in of}) > 1:
        raise CollectionError(
            f"{collection.source}: some rows of {path.name} name their places by boxes and some by numbers; "
            f"take one way for all of a photograph"
        )


def check_individual_names(collection: Collection, individuals: Mapping[str, str]) -> None:
    """Refuse photographs that are called like an individual of another one: "X#3" beside a photograph "X".

    Args:
        collection: what was read.
        individuals: group -> "one" or "many"; individuals of groups with one are called like their photographs.

    Raises:
        CollectionError: there are such names.
    """
    many = {each.id for each in collection.photographs if individuals.get(each.group) == "many"}
    for each in collection.photographs:
        photograph, mark, number = each.id.rpartition("#")
        if mark and number.isdecimal() and photograph in many:
            raise CollectionError(
                f"{collection.source}: the photograph {each.id!r} is called like an individual on {photograph!r}; "
                f"rename one of them"
            )


def _is_readable(path: Path) -> bool:
    try:
        image_size(path)
    except ImageError:
        return False
    return True
