"""The sentence of `sst-retrieval search --text`: read, explained, answered."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import typer

from sst_retrieval.describe.contract import Embedder
from sst_retrieval.errors import QueryError
from sst_retrieval.search.index import Index
from sst_retrieval.types import Floats, Hit
from sst_retrieval.words import Question, answer, described, remaining, understand, words_for_model


def read_sentence(index: Index, text: str, *, like: str | None, ignored: Sequence[str]) -> Question:
    """Read the sentence and remove the parts that the user does not mean.

    Raises:
        QueryError: a part to be ignored is not there, or nothing at all was understood.
    """
    question = understand(index, text, like=like)
    for words in ignored:
        named = [part for part in question.parts if words.casefold() in (part.words.casefold(), part.kind)]
        if not named:
            known = ", ".join(repr(part.words) for part in question.parts if part.words) or "nothing"
            raise QueryError(f"--ignore {words!r} is no part of the sentence as it was read; its parts are: {known}")
        for part in named:
            question = question.without(part)
    if not question.parts and not question.similar and not question.doubts:
        unknown = ", ".join(question.unknown) or "no word of it says anything"
        raise QueryError(f"the sentence {text!r} was not understood ({unknown}); docs/words.md lists what is")
    return question


def explain_sentence(question: Question, *, as_json: bool) -> None:
    """Print how the sentence was read."""
    typer.echo(json.dumps(question.as_dict(), indent=2, ensure_ascii=False) if as_json else "\n".join(question.lines()))


def describe_words(
    index: Index, question: Question, trait: str | None, load: Callable[[], Embedder], *, beside_example: bool
) -> Floats | None:
    """Let the model of an OpenCLIP index read what the sentence describes; None for another index, or for nothing."""
    text = "" if trait is None else words_for_model(index, question, trait)
    if not text:
        return None
    order = "; they and the likeness to the example order alike" if beside_example else ""
    typer.echo(f"  compared with the words: {text}{order}", err=True)
    return described(load(), text)


def answer_sentence(
    index: Index,
    question: Question,
    *,
    k: int | None,
    trait: str | None,
    vectors: Floats | None,
    described: Floats | None,
    where: str | None,
    weights: Mapping[str, float] | None,
    per: str = "specimen",
) -> list[Hit]:
    """Print how the sentence was read, and answer it; without hits, print which condition excludes how many."""
    # What was not measured is asked all the same if the model compares it.
    for line in (question if described is None else replace(question, unknown=())).lines():
        typer.echo(f"  {line}", err=True)
    hits = answer(
        *(index, question),
        k=k,
        trait=trait,
        vectors=vectors,
        described=described,
        where=where,
        weights=weights,
        per=per,
    )
    compared = trait or question.trait
    if not hits and compared is not None:
        typer.echo(f"of the specimens with {compared}, fulfil", err=True)
        for part, alone, left in remaining(index, question, compared):
            typer.echo(f"  {part.words}: {alone}; with all before it: {left}", err=True)
    return hits
