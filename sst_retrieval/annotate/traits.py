"""The names and numbers of traits: traits.toml, and what stands in for it.

[traits]
forewing_band = 1
hindwing_bar = 2

[synonyms]
forewing_band = ["stripe", "band"]
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sst_retrieval.annotate.coco_labelme import Drawing
from sst_retrieval.errors import SupportError


@dataclass(frozen=True, slots=True)
class Traits:
    """What traits.toml says.

    Attributes:
        numbers: trait -> its label number, 1..65535, in the order of the file.
        synonyms: trait -> other words for it.
    """

    numbers: Mapping[str, int]
    synonyms: Mapping[str, tuple[str, ...]]


def read_traits(path: Path) -> Traits:
    """Read a traits.toml.

    Raises:
        SupportError: not TOML, no `[traits]`, or a name or number that is impossible or not unique.
    """
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise SupportError(f"{path} cannot be opened ({error.strerror}); check the path") from error
    except ValueError as error:
        raise SupportError(f"{path} is not valid TOML ({error}); write lines like: forewing_band = 1") from error
    numbers = document.get("traits")
    if not isinstance(numbers, dict) or not numbers:
        raise SupportError(f"{path} names no traits; write [traits] and below it lines like: forewing_band = 1")
    _check_numbers(numbers, str(path))
    return Traits(numbers, _synonyms(document.get("synonyms", {}), numbers, path))


def merged(numbers: Mapping[str, int], more: Mapping[str, int], path: Path) -> dict[str, int]:
    """Join the numbers of several COCO files.

    Raises:
        SupportError: `path`, where `more` comes from, has another number for a trait than the files before.
    """
    for trait, number in more.items():
        if numbers.get(trait, number) != number:
            raise SupportError(
                f"{path} has {trait} as category {number}, another file as {numbers[trait]}; write a traits.toml"
            )
    return {**numbers, **more}


def numbered(drawings: Iterable[Drawing], numbers: Mapping[str, int], source: Path) -> dict[str, int]:
    """Number the traits that have no number yet: the next ones, in alphabetical order.

    Raises:
        SupportError: a name or number of `source` is impossible or not unique.
    """
    unnumbered = sorted({trait for drawing in drawings for trait in drawing.rles} - set(numbers))
    first = max(numbers.values(), default=0) + 1
    complete = {**numbers, **{trait: number for number, trait in enumerate(unnumbered, first)}}
    _check_numbers(complete, str(source))
    return complete


def check_known(drawings: Iterable[Drawing], traits: Traits, path: Path) -> None:
    """Refuse drawings of traits that `path`, the traits.toml, does not name.

    Raises:
        SupportError: there is one.
    """
    for drawing in drawings:
        for trait in drawing.rles:
            if trait not in traits.numbers:
                raise SupportError(
                    f"{drawing.source} draws {trait!r}, but {path} names "
                    f"{', '.join(traits.numbers)}; "
                    f"add it under [traits] with a number of its own, or rename it in the drawing"
                )


def unknown_numbers(path: Path, unknown: Sequence[int], present: Sequence[int], numbers: Mapping[str, int]) -> str:
    """Say what to do about label numbers without a trait.

    Args:
        path: the label picture.
        unknown: the numbers that no trait has.
        present: all numbers of the picture but 0.
        numbers: trait -> number.
    """
    text = f"{path} has label {', '.join(map(str, unknown[:9]))}{', ...' * (len(unknown) > 9)}, but traits.toml names "
    text += ", ".join(f"{number} ({trait})" for trait, number in numbers.items())
    if present == [255] and len(numbers) == 1:
        return f"{text}; it is a black-and-white mask: write {next(iter(numbers))} = 255 into traits.toml"
    if present == [255]:
        return f"{text}; a black-and-white mask does not say which trait it is: paint each trait in its own number"
    return f"{text}; add a line NAME = {unknown[0]} under [traits], or erase it"


def _check_numbers(numbers: Mapping[str, Any], where: str) -> None:
    by_name: dict[str, str] = {}
    by_number: dict[int, str] = {}
    for trait, number in numbers.items():
        if not trait.strip() or not trait.isprintable() or trait in (".", "..") or "/" in trait or "\\" in trait:
            raise SupportError(f"{where}: the trait {trait!r} cannot be a file name; use letters, digits and _")
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= 65535:
            raise SupportError(
                f"{where}: {trait} = {number!r}, but a label number is a whole number from 1 to 65535 (0 is the "
                f"background); give it a number of its own, for COCO files in a traits.toml next to them"
            )
        if (other := by_number.setdefault(number, trait)) != trait:
            raise SupportError(f"{where}: {other} and {trait} both have the number {number}; give each its own")
        if (other := by_name.setdefault(trait.lower(), trait)) != trait:
            raise SupportError(f"{where}: {other} and {trait} are one name but for upper and lower case; rename one")


def _synonyms(listed: Any, numbers: Mapping[str, int], path: Path) -> dict[str, tuple[str, ...]]:
    owners = {trait.lower(): trait for trait in numbers}
    if not isinstance(listed, dict):
        raise SupportError(f'{path}: [synonyms] takes lines like: forewing_band = ["stripe", "band"]')
    for trait, words in listed.items():
        if trait not in numbers:
            raise SupportError(f"{path}: [synonyms] has {trait}, which [traits] does not name; correct one of them")
        if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
            raise SupportError(f'{path}: the synonyms of {trait} must be a list of words: {trait} = ["stripe", "band"]')
        for word in words:
            if owners.setdefault(word.lower(), trait) != trait:
                raise SupportError(f"{path}: {word!r} stands for {owners[word.lower()]} and for {trait}; erase one")
    return {trait: tuple(words) for trait, words in listed.items()}
