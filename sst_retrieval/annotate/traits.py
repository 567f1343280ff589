"""Names, label numbers and synonyms of traits: traits.toml is read and extended; numbers are assigned without it.

How many individuals the photographs of a group show stands there, too: "one" (the default) or "many". For all groups it
is written above the first table; for some in a table of its own, whose "*" stands for the groups that it does not name.
`--individuals` on the command line comes first.

individuals = "many"

[traits]
forewing_band = 1
hindwing_bar = 2

[synonyms]
forewing_band = ["stripe", "band"]

[individuals]
"Agaricus bisporus" = "many"
"*" = "one"

(Of `individuals` a file has one or the other.)
"""

from __future__ import annotations

import codecs
import difflib
import json
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sst_retrieval.errors import SupportError
from sst_retrieval.files import write_text

ONE, MANY = "one", "many"
"""How many individuals the photographs of a group show."""

TRAITS_FILE = "traits.toml"

BACKGROUND = ("background", "_background_", "unlabeled", "unlabelled", "void")
"""What programs call the pixels that are no trait."""

ALL_GROUPS = "*"
"""In a table of groups: those that it does not name."""


@dataclass(frozen=True, slots=True)
class Traits:
    """The content of a traits.toml.

    Attributes:
        numbers: trait -> its label number, 1..65535, in the order of the file.
        synonyms: trait -> other words for it.
        individuals: group, or "*", -> "one" or "many"; groups that are not in it have one.
    """

    numbers: Mapping[str, int]
    synonyms: Mapping[str, tuple[str, ...]]
    individuals: Mapping[str, str] = field(default_factory=dict)

    def find(self, label: str) -> str | None:
        """Return the trait that a drawing calls `label`; None if there is none.

        Letters may differ in case, and blanks, hyphens and underscores stand for each other, where one trait fits.
        """
        if label in self.numbers:
            return label
        alike = [trait for trait in self.numbers if _simplify(trait) == _simplify(label)]
        return alike[0] if len(alike) == 1 else None

    def find_number(self, label: str) -> str | None:
        """Return the trait whose label number a drawing writes in place of its name; None if there is none."""
        return next((trait for trait, number in self.numbers.items() if label == str(number)), None)


def find_traits_file(folder: Path) -> Path | None:
    """Find the traits.toml of a folder, or the only one of its sub-folders if it has none; capitals do not count."""
    for depth in (folder.glob("*"), folder.glob("*/*")):
        found = [path for path in depth if path.name.lower() == TRAITS_FILE and not path.parent.name.startswith(".")]
        exact = [path for path in found if path.name == TRAITS_FILE] or found
        if exact:
            return exact[0] if len(exact) == 1 and exact[0].is_file() else None
    return None


def suggest_traits_file(folder: Path) -> str:
    """Say what to do where a traits.toml is missing: rename what is called almost so, move one, or write one."""
    for place, remedy in ((folder, f"rename it to {TRAITS_FILE}"), (folder.parent, f"move it to {folder}")):
        for path in sorted(place.glob("*")):
            name = path.name.lower()
            almost = re.fullmatch(r"traits?(\.toml)?(\.txt|\.toml|\.tml)?", name) is not None
            if path.is_file() and (almost if place == folder else name == TRAITS_FILE):
                return f"there is {path}: {remedy}"
    return "write one: [traits] and below it lines like: forewing_band = 1"


def read_traits(path: Path) -> Traits:
    """Read a traits.toml.

    Args:
        path: TOML in UTF-8, or in UTF-16 with a byte order mark. A number 0 of what is called "background" or the like
            says only what holds anyway.

    Raises:
        SupportError: it cannot be opened, is not TOML, has no `[traits]`, or has a name, number or synonym that is
            impossible or not unique, or says neither "one" nor "many" of the individuals of a group.
    """
    try:
        document = _parse_toml(_decode(path.read_bytes()))
    except OSError as error:
        raise SupportError(f"{path} cannot be opened ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise SupportError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise SupportError(f"{path} is not valid TOML ({error}); write lines like: forewing_band = 1") from error
    numbers = _drop_background(document.get("traits"))
    if not isinstance(numbers, dict) or not numbers:
        raise SupportError(f"{path} names no traits; write [traits] and below it lines like: forewing_band = 1")
    for table in ("traits", "synonyms"):
        if isinstance(document.get(table), dict) and document[table].get("individuals") in (ONE, MANY):
            raise SupportError(
                f"{path}: individuals = {document[table]['individuals']!r} stands below [{table}] and so belongs to "
                f"it; move it above the first [ of the file"
            )
    _check_numbers(numbers, str(path))
    synonyms = _read_synonyms(document.get("synonyms", {}), numbers, path)
    return Traits(numbers, synonyms, _read_individuals(document.get("individuals", {}), path))


def choose_individuals(groups: Iterable[str], traits: Traits | None, chosen: str | None = None) -> dict[str, str]:
    """Say for every group how many individuals its photographs show.

    Args:
        groups: names of all groups.
        traits: of the traits.toml; None if there is none.
        chosen: "one" or "many" for all groups, whatever traits.toml says.

    Returns:
        Group -> "one" or "many".

    Raises:
        SupportError: `chosen` is something else.
    """
    if chosen not in (None, ONE, MANY):
        raise SupportError(f"individuals are {chosen!r}, but a photograph shows one or many: --individuals one or many")
    listed = traits.individuals if traits is not None else {}
    usual = listed.get(ALL_GROUPS, ONE)
    return {group: chosen or listed.get(group, usual) for group in groups}


def find_unknown_groups(groups: Iterable[str], traits: Traits | None) -> list[str]:
    """Note the groups of [individuals] that a collection does not have."""
    known = list(groups)
    notes = []
    for group in traits.individuals if traits is not None else ():
        if group != ALL_GROUPS and group not in known:
            near = difflib.get_close_matches(group, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"its groups are {', '.join(known[:5])}"
            notes.append(f"[individuals] of traits.toml has {group!r}, which is no group of the collection; {hint}")
    return notes


def check_trait_name(name: str, known: Iterable[str] = ()) -> None:
    """Check that a new trait may have a name, before anything is drawn.

    Args:
        name: the name.
        known: names of the traits beside it.

    Raises:
        SupportError: the name is impossible, or that of another trait but for upper and lower case.
    """
    _check_numbers({trait: number for number, trait in enumerate([*known, name], 1)}, "new trait")


def add_traits(path: Path, traits: Iterable[str], numbers: Mapping[str, int]) -> dict[str, int]:
    """Add the traits that a traits.toml does not name yet; what else stands in the file, comments too, is kept.

    Args:
        path: the traits.toml; written if it does not exist, then with all of `numbers`.
        traits: names that the file must have.
        numbers: trait -> wanted label number; a trait without one, or whose number is taken, gets the next free one.

    Returns:
        trait -> label number, all of the file.

    Raises:
        SupportError: a name is impossible, or the file cannot be read or is written in a way that cannot be added to.
    """
    present = path.exists()
    known = dict(read_traits(path).numbers) if present else dict(numbers)
    new = {} if present else dict(numbers)
    for trait in traits:
        if not trait.strip() or not trait.isprintable():
            raise SupportError(f"{trait!r} cannot be the name of a trait; give it a name of letters")
        if trait not in known:
            wanted = numbers.get(trait)
            free = wanted is not None and wanted not in known.values()
            known[trait] = wanted if free and wanted is not None else max(known.values(), default=0) + 1
            new[trait] = known[trait]
    if new:
        # What is written must be readable: a file with an impossible name would stop everything that reads it.
        _check_numbers(known, str(path))
        text = _insert_lines(_decode(path.read_bytes()) if present else "[traits]\n", new)
        if _parse_numbers(text) != known:
            raise SupportError(f"{path} is written in a way that cannot be added to; add {', '.join(new)} by hand")
        write_text(path, text)
    return known


def merge_numbers(numbers: Mapping[str, int], more: Mapping[str, int], path: Path) -> dict[str, int]:
    """Join the trait numbers of several annotation files.

    Args:
        numbers: trait -> number, of the files before.
        more: trait -> number, of the file `path`.
        path: for the message.

    Raises:
        SupportError: `path` has another number for a trait than the files before.
    """
    for trait, number in more.items():
        if numbers.get(trait, number) != number:
            raise SupportError(
                f"{path} has {trait} as category {number}, another file as {numbers[trait]}; write a traits.toml"
            )
    return {**numbers, **more}


def assign_numbers(traits: Iterable[str], numbers: Mapping[str, int], source: Path) -> dict[str, int]:
    """Number the traits that have no number yet: the next ones, in alphabetical order.

    Args:
        traits: names of all traits.
        numbers: trait -> number, of those that have one.
        source: the supports, for the message.

    Returns:
        trait -> number, 1..65535.

    Raises:
        SupportError: a name or number is impossible or not unique.
    """
    unnumbered = sorted(set(traits) - set(numbers))
    first = max(numbers.values(), default=0) + 1
    complete = {**numbers, **{trait: number for number, trait in enumerate(unnumbered, first)}}
    _check_numbers(complete, str(source))
    return complete


def _check_numbers(numbers: Mapping[str, Any], where: str) -> None:
    by_name: dict[str, str] = {}
    by_number: dict[int, str] = {}
    for trait, number in numbers.items():
        if not trait.strip() or not trait.isprintable() or trait in (".", "..") or "/" in trait or "\\" in trait:
            raise SupportError(f"{where}: the trait {trait!r} cannot be a file name; use letters, digits and _")
        if isinstance(number, str):
            line = f"{_quote_key(trait)} = {number}" if number.isdecimal() else f"{_quote_key(number)} = {trait}"
            raise SupportError(f"{where}: {trait} = {number!r} has a text where a label number is due; write {line}")
        if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= 65535:
            raise SupportError(
                f"{where}: {trait} = {number!r}, but a label number is a whole number from 1 to 65535 (0 is the "
                f"background); give it a number of its own, for COCO files in a traits.toml next to them"
            )
        if (other := by_number.setdefault(number, trait)) != trait:
            raise SupportError(f"{where}: {other} and {trait} both have the number {number}; give each its own")
        if (other := by_name.setdefault(trait.lower(), trait)) != trait:
            raise SupportError(f"{where}: {other} and {trait} are one name but for upper and lower case; rename one")


def _read_synonyms(listed: Any, numbers: Mapping[str, int], path: Path) -> dict[str, tuple[str, ...]]:
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


def _read_individuals(listed: Any, path: Path) -> dict[str, str]:
    """Read how many individuals to expect: a word for all groups, or a table."""
    table = listed if isinstance(listed, dict) else {ALL_GROUPS: listed}
    for group, word in table.items():
        if word not in (ONE, MANY):
            of = "" if group == ALL_GROUPS else f" of {group}"
            raise SupportError(
                f'{path}: the individuals{of} are {word!r}; write individuals = "many" above the first [ of the file, '
                f'or below [individuals] lines like: "Agaricus bisporus" = "many"'
            )
    return dict(table)


def _parse_numbers(text: str) -> object:
    """Return the table [traits] of a TOML text; None if it is no TOML."""
    try:
        return _drop_background(_parse_toml(text).get("traits"))
    except (ValueError, RecursionError):
        return None


def _decode(content: bytes) -> str:
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if marked else "utf-8-sig")


def _drop_background(numbers: object) -> object:
    """Leave out lines such as background = 0."""
    if not isinstance(numbers, dict):
        return numbers
    return {
        name: number
        for name, number in numbers.items()
        if number != 0 or isinstance(number, bool) or name.casefold() not in BACKGROUND
    }


def _parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML, in which a name may stand without quotes though it has blanks or letters beyond ASCII."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        quoted = re.sub(r"(?m)^[ \t]*([^\s\"'\[\]#={},.][^\"'\[\]#={},.\n]*?)[ \t]*=", _quote_line, text)
        if quoted == text:
            raise
        try:
            return tomllib.loads(quoted)
        except tomllib.TOMLDecodeError:
            pass
        raise  # The message counts lines and columns of the file as it is.


def _quote_line(match: re.Match[str]) -> str:
    return f"{_quote_key(match[1])} ="


def _simplify(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name).casefold()).strip()


def _insert_lines(text: str, new: Mapping[str, int]) -> str:
    """Insert lines at the end of the table [traits] of a TOML text."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.split("#")[0].strip() == "[traits]"), len(lines) - 1)
    after = (i for i in range(start + 1, len(lines)) if lines[i].lstrip().startswith("["))
    stop = next(after, len(lines))
    while stop > start + 1 and not lines[stop - 1].strip():
        stop -= 1
    added = [f"{_quote_key(trait)} = {number}" for trait, number in new.items()]
    return "\n".join([*lines[:stop], *added, *lines[stop:]]) + "\n"


def _quote_key(trait: str) -> str:
    """Write a trait as a TOML key; a JSON string is a TOML string too."""
    return trait if re.fullmatch(r"[A-Za-z0-9_-]+", trait) else json.dumps(trait, ensure_ascii=False)
