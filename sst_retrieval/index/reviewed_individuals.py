"""Reviews of individuals: what people decide on them, where a photograph may show several.

A review of an individual is a review of the trait `reviews.WHOLE` and bears the outline of the individual. Functions of
an index's reader; `search.index.Index` offers them as methods, so their docstrings leave the reader out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sst_retrieval.errors import QueryError
from sst_retrieval.imaging import images, masks
from sst_retrieval.index.reader import Reader
from sst_retrieval.index.reviews import WHOLE, Key, Review, make_individual_review
from sst_retrieval.types import Individual, Mask


def review_individual(
    reader: Reader, individual: str, decision: str, *, reviewer: str, outline: Mask | None = None, comment: str = ""
) -> Review:
    """Record a review of an individual itself, on a photograph that may show several; every build keeps it.

    Two that were taken for one: "redraw" the one, and `add_individual` the other. One that was taken for two:
    "redraw" the one with the outline of both, and "reject" the other.

    Args:
        individual: its id.
        decision: "accept" (it stays so, whatever a later build finds), "reject" (it is none, and no hit from now on),
            "redraw" (this is its outline; it is no hit until the next build) or "reopen" (earlier decisions on it no
            longer count; the next build finds it again, or not if it was added).
        reviewer: name of who decides.
        outline: with "redraw", bool (H, W) at the photograph's own size: all pixels of the individual.
        comment: anything else.

    Raises:
        QueryError: there is no such individual or decision, no reviewer is given, the outline does not fit or belongs
            to another one that was decided on, or the individual is annotated in the supports.
    """
    with reader.hold_reviews():
        history = _read_history(reader, individual.rpartition("#")[0])
        found, content = _find(reader, individual, history)
        if found.id in reader.support_specimens():
            raise QueryError(f"{found.id} is annotated in the supports of the index; change it there, and build again")
        if decision == "reopen" and (found.id, WHOLE, content) not in history:
            raise QueryError(f"nobody has decided on {found.id} yet, so there is nothing to reopen")
        made = make_individual_review(found, content, decision, reviewer, outline, comment)
        if made.overrides_propagation:
            _refuse_taken(made, history)
        return reader.add_review(made)


def add_individual(reader: Reader, photograph: str, outline: Mask, *, reviewer: str, comment: str = "") -> str:
    """Record an individual that was not found; the next build finds its traits.

    Args:
        photograph: id of the photograph, of a group whose photographs may show several.
        outline: bool (H, W) at the photograph's own size: all its pixels.
        reviewer: name of who decides.
        comment: anything else.

    Returns:
        The id that the individual will have.

    Raises:
        QueryError: as for `review_individual`, or there is no such photograph.
        ImageError: no individual was found on the photograph, and it cannot be read now.
    """
    with reader.hold_reviews():  # Two that are added at once have two numbers.
        history = _read_history(reader, photograph)
        known = reader.catalog.photograph(photograph)
        if known is None:
            raise QueryError(f"the index has no photograph {photograph!r}")
        reader.refuse_skipped(photograph)
        on = [reader.individual(name) for name in reader.catalog.individuals_of(photograph)]
        if on:
            _require_one_of_several(on[0])
            content, size = reader.catalog.content_hashes(on[0].id)[0], on[0].size
        else:
            path = reader.check_photograph(photograph)
            content, size = images.content_hash(path), images.image_size(path)
        taken = {each.number for each in on} | {_read_number(name) for name, *_ in history}
        number = max(taken, default=0) + 1
        new = Individual(f"{photograph}#{number}", known, number, size=size)
        made = make_individual_review(new, content, "redraw", reviewer, outline, comment)
        _refuse_taken(made, history)
        reader.add_review(made)
        return new.id


def individual_reviews(reader: Reader, photograph: str | None = None) -> list[Review]:
    """Return the reviews of individuals that count on the photographs of this index, in order of their ids.

    Args:
        photograph: id of a photograph; None takes all.
    """
    found = [own[-1] for own in _read_history(reader, photograph).values()]
    return sorted((each for each in found if each.decision != "reopen"), key=lambda each: each.individual)


def pending_individuals(reader: Reader, photograph: str | None = None) -> dict[str, str]:
    """Return what the next build will do about individuals that people decided on since the last one.

    Args:
        photograph: id of a photograph; None takes all.

    Returns:
        Individual -> "reject" (it is taken out), "redraw" (it gets this outline; or it is added, if the index has none
        of this id) or "reopen" (what was decided on it is undone).
    """
    pending = {}
    for (name, *_), own in sorted(_read_history(reader, photograph).items()):
        known = reader.catalog.individual(name)
        last = own[-1]
        before = next((each for each in reversed(own) if each.decision != "reopen"), last)
        as_drawn = known is not None and known.outline == before.rle
        waits = {
            "reject": known is not None,
            "redraw": not as_drawn,
            "accept": False,
            "reopen": (before.decision == "reject" and known is None) or (before.decision == "redraw" and as_drawn),
        }
        if waits[last.decision]:
            pending[name] = last.decision
    return pending


def _read_history(reader: Reader, photograph: str | None) -> Mapping[Key, list[Review]]:
    """Return all reviews of each individual, oldest first, on photographs of the index whose content is still that."""
    history: dict[Key, list[Review]] = {}
    for each in reader.record():
        if each.trait == WHOLE and photograph in (None, each.individual.rpartition("#")[0]):
            history.setdefault(each.key, []).append(each)
    contents: dict[str, tuple[str, ...] | None] = {}
    for name, *_ in history:
        owner = name.rpartition("#")[0]
        if owner not in contents:
            contents[owner] = _find_contents(reader, owner)
    current = {}
    for key, own in history.items():
        known = contents[key[0].rpartition("#")[0]]
        if known is not None and (not known or key[2] in known):
            current[key] = own
    return current


def _find_contents(reader: Reader, photograph: str) -> tuple[str, ...] | None:
    """Return the SHA-256 of a photograph's content; empty if unknown, as none was found on it; None without it."""
    if reader.catalog.photograph(photograph) is None:
        return None
    on = reader.catalog.individuals_of(photograph)
    return reader.catalog.content_hashes(on[0]) if on else ()


def _find(reader: Reader, individual: str, history: Mapping[Key, list[Review]]) -> tuple[Individual, str]:
    """Return an individual and the SHA-256 of its photograph: of the index, else one that only the record knows."""
    decided = [own for (name, *_), own in history.items() if name == individual]
    if reader.catalog.individual(individual) is None and decided:
        last = decided[-1][-1]
        owner, number = individual.rpartition("#")[0], _read_number(individual)
        photograph = next(each for each in [reader.catalog.photograph(owner)] if each is not None)
        return Individual(individual, photograph, number, outline=last.rle, size=last.size), last.content
    found = reader.individual(individual)
    if found.size is None:
        reader.refuse_skipped(found.id)
    _require_one_of_several(found)
    return found, reader.catalog.content_hashes(found.id)[0]


def _require_one_of_several(individual: Individual) -> None:
    """Refuse an individual that is the whole photograph."""
    if individual.box is None:
        raise QueryError(
            f"{individual.id} is the only individual of its photograph; build its group with individuals = "
            f'"many" to decide on individuals'
        )


def _refuse_taken(made: Review, history: Mapping[Key, list[Review]]) -> None:
    """Refuse an outline with pixels of another individual that somebody has decided on: no pixel is of two."""
    outline = masks.decode(made.rle, made.size)
    for own in history.values():
        other = own[-1]
        if other.individual == made.individual or other.content != made.content or not other.overrides_propagation:
            continue
        shared = int(np.count_nonzero(outline & masks.decode(other.rle, other.size)))
        if shared:
            raise QueryError(
                f"{shared:,} px of the outline belong to {other.individual}, which {other.reviewer} has decided on; "
                "leave them out, or redraw that one first"
            )


def _read_number(individual: str) -> int:
    number = individual.rpartition("#")[2]
    return int(number) if number.isdecimal() else 0
