"""The files of an index, damaged: the answers are as before, an error, or `verify` says what is wrong.

Now and then the damaged index is verified, repaired, or built again: that is refused, or ends with an index that gives
the answers from before, or with notes about what is lost.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fakes import FAKES, a_collection_of, build_fake

from fuzzing.damages import damage
from fuzzing.outcomes import DIFFERENT, EXPLAINED, REFUSED, RIGHT, Check, Outcome
from sst_retrieval.errors import SSTError
from sst_retrieval.index.verification import repair_index, verify_index
from sst_retrieval.search.index import open_index

UNCHECKED = (".lock", ".photograph-hashes.parquet", ".pictures-compared.json")
"""Files of an index that hold nothing, or only what a build computes again without them."""

Answers = dict[str, Any]


def ask(path: Path) -> Answers:
    """Ask an index all kinds of questions."""
    answers: Answers = {}
    with open_index(path) as index:
        info = index.info()
        answers["info"] = {
            key: value for key, value in info.items() if key not in ("path", "generation", "epoch", "provenance")
        }
        answers["reviews"] = [(each.individual, each.trait, each.decision) for each in index.reviews()]
        answers["skipped"] = [(each.photograph, each.reason) for each in index.skipped()]
        specimens = index.individuals("sex = 'female'") + index.individuals()
        answers["specimens"] = [(each.id, each.group, sorted(map(str, each.metadata.items()))) for each in specimens]
        for trait in index.traits:
            name = next(each.id for each in specimens if each.id.startswith("r"))
            hits = index.search(like=(name, trait), k=20)
            answers[f"hits of {trait}"] = [(hit.individual, round(float(hit.similarity), 6)) for hit in hits]
            answers[f"measurements of {trait}"] = str(index.table(trait).sort_index(axis=1).to_csv())
            crops = [index.crop(each.id, trait) for each in specimens[:3]]
            answers[f"crops of {trait}"] = [
                None if crop is None else hashlib.sha256(crop).hexdigest() for crop in crops
            ]
            masks = [index.mask(each.id, trait) for each in specimens if each.id.startswith("r")]
            answers[f"masks of {trait}"] = [hashlib.sha256(np.packbits(mask)).hexdigest() for mask in masks]
        small = [index.thumbnail(each.id) for each in specimens[:3]]
        answers["thumbnails"] = [None if each is None else hashlib.sha256(each).hexdigest() for each in small]
    return answers


def find_differences(one: Answers, other: Answers) -> list[str]:
    return [key for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key)]


def break_file(path: Path, others: list[Path], rng: Random) -> str:
    """Damage, remove or replace a file."""
    how = rng.choice(
        ("bytes", "bytes", "bytes", "bytes", "bytes", "removed", "replaced", "emptied", "made a folder", "made a pipe")
    )
    if how == "bytes":
        content, how = damage(path.read_bytes(), rng, head=300)
        path.write_bytes(content)
    elif how == "replaced":
        same = [each for each in others if each.suffix == path.suffix and each != path] or others
        path.write_bytes(rng.choice(same).read_bytes())
    elif how == "emptied":
        path.write_bytes(b"")
    else:
        path.unlink()
        if how == "made a folder":
            path.mkdir()
        elif how == "made a pipe":
            os.mkfifo(path)
    return how


def prepare(folder: Path) -> Check:
    """Build an index of ten painted specimens, with two reviews."""
    os.fsync = lambda _: None  # type: ignore[assignment]  # It guards against a power cut, which is not tested here.
    table = a_collection_of(folder / "collection")
    whole, place = folder / "whole", folder / "place"
    build_fake(table, whole)
    with open_index(whole) as index:
        index.review("r1", "spot", "accept", reviewer="A")
        index.review("r2", "spot", "reject", reviewer="A", comment="no")
    build_fake(table, whole)
    before = ask(whole)
    assert not verify_index(whole).damages
    older = {whole / "generations" / "0001", whole / "specimens" / "0001.parquet"}  # Nobody reads them any more.
    written = [path for path in whole.rglob("*") if path.is_file() and path.name not in UNCHECKED]
    files = sorted(path.relative_to(whole) for path in written if not older & {path, *path.parents})
    kinds: dict[str, list[Path]] = {}
    for path in files:
        kinds.setdefault(kind_of(path), []).append(path)

    def check(rng: Random) -> Outcome:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(whole, place)
        file = rng.choice(kinds[rng.choice(sorted(kinds))])
        how = break_file(place / file, [place / each for each in files], rng)
        detail = f"{file}, {how}"
        if (place / file).is_file() and (place / file).read_bytes() == (whole / file).read_bytes():
            return Outcome(RIGHT, "the file is as before")
        noticed, refusal, answers = look(place)
        outcome = judge(file, place, whole, noticed, refusal, answers, before, detail)
        if outcome.verdict == DIFFERENT or how == "replaced" or rng.random() < 0.6:
            return outcome
        after = judge_rebuilt(table, place, before, rng.choice((repair, build)), detail, lost=source_is_damaged(file))
        return outcome if after is None else after

    def repair(path: Path) -> list[str]:
        found = repair_index(path)
        return [*found.lost, *found.done]

    def build(path: Path) -> list[str]:
        return list(getattr(build_fake(table, path, FAKES), "notes", ()))

    return check


def kind_of(path: Path) -> str:
    """Return the kind of a file: its folder, or its own name at the top."""
    return f"{path.parts[0]}{path.suffix}" if len(path.parts) > 1 else path.name


def source_is_damaged(file: Path) -> bool:
    return file.parts[0] in ("shards", "specimens", "reviews") or "manifest" in file.name or "checksums" in file.name


def look(path: Path) -> tuple[list[str], SSTError | None, Answers]:
    """Verify and ask an index: what was noticed, the refusal of either, the answers."""
    try:
        found = verify_index(path)
        noticed = [str(each) for each in (*found.damages, *found.notes)]
    except SSTError as error:
        noticed = [str(error)]
    try:
        return noticed, None, ask(path)
    except SSTError as error:
        return noticed, error, {}


def judge(
    file: Path,
    place: Path,
    whole: Path,
    noticed: list[str],
    refusal: SSTError | None,
    answers: Answers,
    before: Answers,
    detail: str,
) -> Outcome:
    """Judge what came of a damaged file before anything was mended."""
    kind = kind_of(file)
    if file.suffix == ".sqlite" and not noticed and answers and not find_differences(answers, before):
        return Outcome(RIGHT, "space of SQLite that holds nothing, or the version that wrote it", detail)
    if file.suffix == ".jsonl" and not noticed and answers and is_longer(place / file, whole / file):
        differences = find_differences(answers, before)
        verdict = DIFFERENT if differences else RIGHT
        return Outcome(verdict, "a line that is not finished, as a power cut leaves", f"{detail}; {differences}")
    if not noticed and not same_json(place / file, whole / file):
        return Outcome(DIFFERENT, f"verify does not notice it: {kind}", f"{detail}; {refusal}")
    if refusal is not None:
        return Outcome(REFUSED, f"{type(refusal).__name__}, {kind}", f"{detail}; {refusal}")
    differences = find_differences(answers, before)
    if not differences:
        return Outcome(RIGHT, f"the answers are as before, {kind}", detail)
    shown = f"{detail}; {differences}; {noticed}"
    if noticed:
        return Outcome(EXPLAINED, f"verify notices it, {kind}", shown)
    return Outcome(DIFFERENT, f"other answers: {kind}", shown)


def is_longer(one: Path, other: Path) -> bool:
    """Say whether a record is another one with an unfinished line behind it."""
    content, whole = one.read_bytes() if one.is_file() else b"", other.read_bytes()
    return content.startswith(whole) and b"\n" not in content[len(whole) :]


def same_json(one: Path, other: Path) -> bool:
    """Say whether two JSON files hold the same values, in whatever white space and order."""
    if not one.is_file():
        return False
    try:
        return bool(json.loads(one.read_text()) == json.loads(other.read_text()))
    except (OSError, ValueError, RecursionError):
        return False


def judge_rebuilt(
    table: Path, place: Path, before: Answers, action: Callable[[Path], list[str]], detail: str, *, lost: bool
) -> Outcome | None:
    """Repair or build again: the answers are as before, or notes say what is lost; None if all is well."""
    name = action.__name__
    try:
        notes = action(place)
    except SSTError as error:
        return Outcome(REFUSED, f"{name}: {type(error).__name__}", f"{detail}; {error}")
    try:
        differences = find_differences(ask(place), before)
        found = verify_index(place)
        damages = [str(each) for each in (*found.damages, *found.notes)]
    except SSTError as error:
        if notes:
            return Outcome(EXPLAINED, f"{name} says what is lost", f"{detail}; {notes}; {error}")
        return Outcome(DIFFERENT, f"after {name}: {type(error).__name__}", f"{detail}; {error}")
    if not differences and not damages:
        return None
    if notes or damages:
        reason = f"{name} says what is lost" if notes else f"after {name} verify still notices it"
        return Outcome(EXPLAINED, reason, f"{detail}; {notes}; {differences}; {damages}")
    return Outcome(DIFFERENT, f"after {name}: not as before", f"{detail}; {differences}; {damages}; source: {lost}")
