"""`sst-retrieval search`: read the query, search, print."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import typer

from sst_retrieval.cli.dataclass_options import options_of
from sst_retrieval.cli.hits import count_absent_photographs, draw_hits, format_hits, make_query_tile
from sst_retrieval.cli.options import ClipModel, ClipPretrained, IndexFolder, Json, Weights, Where, read_weights
from sst_retrieval.cli.search_text import answer_sentence, describe_words, explain_sentence, read_sentence
from sst_retrieval.describe.contract import Embedder
from sst_retrieval.errors import QueryError
from sst_retrieval.imaging.images import check_picture_name, read_image, write_picture
from sst_retrieval.pictures.sheets import Tile
from sst_retrieval.search.index import Index, open_index
from sst_retrieval.search.outside import embedder_of, query_vectors, read_mask
from sst_retrieval.search.query import Pair
from sst_retrieval.types import Floats, Hit
from sst_retrieval.words import Question


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """A query and how it is answered: `like`, or `image` and `mask`, or `text`, which may go with one `like`."""

    like: Annotated[
        tuple[str, ...],
        typer.Option(
            help="Ask with this specimen of the index; repeatable. Name its trait as SPECIMEN:TRAIT to mix traits."
        ),
    ] = ()
    unlike: Annotated[
        tuple[str, ...], typer.Option(help="With --like: what hits should not resemble; repeatable.")
    ] = ()
    image: Annotated[Path | None, typer.Option(help="Ask with a photograph of your own; needs --mask.")] = None
    mask: Annotated[
        Path | None, typer.Option(help="Label picture of --image: the trait alone, or as the index's own number.")
    ] = None
    text: Annotated[
        str | None,
        typer.Option(help='Ask in plain words: "narrow orange bands of females from Panama"; may go with --like.'),
    ] = None
    ignore: Annotated[
        tuple[str, ...],
        typer.Option(help="With --text: leave this part out, as the sentence was read; repeatable."),
    ] = ()
    explain: Annotated[bool, typer.Option("--explain", help="With --text: only say how it is read.")] = False
    trait: Annotated[str | None, typer.Option(help="Trait to compare; needed if the index has several.")] = None
    k: Annotated[int | None, typer.Option("-k", help="How many hits; else 12, or what --text says.", min=1)] = None
    where: Where = None
    weights: Weights = None
    per: Annotated[
        str, typer.Option(help="At most one hit a specimen, or show all: one a photograph, or an individual.")
    ] = "specimen"
    expand: Annotated[
        int, typer.Option(help="Ask again together with so many of the first hits; 2 is a good start.", min=0)
    ] = 0
    rerank: Annotated[
        int,
        typer.Option(
            help="Put so many of the first hits into a new order, those first whose own neighbours are the example's, "
            "too; 100 is a good start.",
            min=0,
        ),
    ] = 0
    as_json: Json = False
    contact_sheet: Annotated[
        Path | None, typer.Option(help="Write a picture of the hits to this file: .png, .jpg ...")
    ] = None
    embedder: Annotated[
        str | None, typer.Option(help="With --image: your own embedder, module:Name, if the index was made with it.")
    ] = None
    clip_model: ClipModel = None
    clip_pretrained: ClipPretrained = None
    device: Annotated[str, typer.Option(help="With --image: auto, cpu or cuda.")] = "auto"


@dataclass(frozen=True, slots=True)
class _Example:
    """The part of a query that is no sentence.

    Attributes:
        trait: the trait to compare, where one was named.
        picture: draws the example for the contact sheet; None if there are only words.
        like: regions of the index.
        vectors: of a photograph from outside, float32 (variants, D).
    """

    trait: str | None
    picture: Callable[[], Tile] | None = None
    like: Sequence[Pair] = ()
    vectors: Floats | None = None


@options_of(SearchOptions)
def search_command(index: IndexFolder, options: SearchOptions) -> None:
    """Find the specimens whose trait looks most like a given one, or fits a description in plain words."""
    weights = read_weights(options.weights)
    if options.contact_sheet is not None:
        check_picture_name(options.contact_sheet)
    with open_index(index) as opened:
        sentence = _read_sentence(opened, options)
        if sentence is not None and options.explain:
            explain_sentence(sentence, as_json=options.as_json)
            return
        load = cache(partial(_load_embedder, opened, options))
        example = _read_example(opened, options, sentence, load)
        if sentence is not None:
            hits = _answer_sentence(opened, options, sentence, example, weights, load)
        else:
            hits = _answer_example(opened, options, example, weights)
        if options.contact_sheet is not None:
            picture = None if example.picture is None else example.picture()
            write_picture(options.contact_sheet, draw_hits(opened, picture, hits, _make_heading(options, example)))
            typer.echo(f"contact sheet: {options.contact_sheet}", err=True)
            if absent := count_absent_photographs(opened, hits):
                typer.echo(
                    f"  {absent} of {len(hits)} photographs were not at hand, so these tiles show the small pictures "
                    "of the index; with the photographs: sst-retrieval build, with --images FOLDER",
                    err=True,
                )
        typer.echo(
            json.dumps([hit.as_dict() for hit in hits], indent=2, ensure_ascii=False)
            if options.as_json
            else format_hits(hits)
        )


def _read_sentence(index: Index, options: SearchOptions) -> Question | None:
    """Read `--text`; None without it.

    Raises:
        QueryError: an option does not go with a sentence, or only with one, or the sentence is not understood.
    """
    if options.text is None:
        if options.ignore or options.explain:
            raise QueryError("--ignore and --explain are about a sentence; ask one with --text")
        return None
    if len(options.like) > 1 or options.unlike:
        raise QueryError("a sentence (--text) goes with one --like at most, and with no --unlike")
    like = options.like[0] if options.like else None
    sentence = read_sentence(index, options.text, like=like, ignored=options.ignore)
    if options.expand and not options.explain:
        raise QueryError("--expand asks again with the first hits of an example; leave out --text, or --expand")
    if options.rerank and not options.explain:
        raise QueryError("--rerank compares the first hits of an example; leave out --text, or --rerank")
    return sentence


def _read_example(
    index: Index, options: SearchOptions, sentence: Question | None, load: Callable[[], Embedder]
) -> _Example:
    """Read `--like`, or `--image` and `--mask`; a sentence may name an example, too, or do without one.

    Raises:
        QueryError: there is no query, or there are two.
    """
    trait = options.trait or (sentence.trait if sentence else None)
    named = options.like or ((sentence.example,) if sentence and sentence.example else ())
    if named and options.image is None and options.mask is None:
        pairs = _read_pairs(index, named, trait)
        return _Example(trait, lambda: make_query_tile(index, *pairs[0]), like=pairs)
    if not named and options.image is not None and options.mask is not None:
        return _read_photograph(index, options.image, options.mask, _require_trait(index, trait), load)
    if sentence is None or named or options.image is not None or options.mask is not None:
        raise QueryError(
            "ask with a specimen of the index (--like), a photograph (--image and --mask), or in words (--text)"
        )
    return _Example(trait)


def _answer_sentence(
    index: Index,
    options: SearchOptions,
    sentence: Question,
    example: _Example,
    weights: dict[str, float] | None,
    load: Callable[[], Embedder],
) -> list[Hit]:
    described = describe_words(index, sentence, example.trait, load, beside_example=example.picture is not None)
    return answer_sentence(
        index,
        sentence,
        k=options.k,
        trait=example.trait,
        vectors=example.vectors,
        described=described,
        where=options.where,
        weights=weights,
        per=options.per,
    )


def _answer_example(
    index: Index, options: SearchOptions, example: _Example, weights: dict[str, float] | None
) -> list[Hit]:
    return index.search(
        like=example.like,
        unlike=_read_pairs(index, options.unlike, example.trait),
        vectors=example.vectors,
        trait=example.trait,
        k=options.k or 12,
        where=options.where,
        weights=weights,
        expand=options.expand,
        per=options.per,
        rerank=options.rerank,
    )


def _load_embedder(index: Index, options: SearchOptions) -> Embedder:
    """Load the embedder that the index was made with."""
    return embedder_of(
        index,
        engine=options.embedder,
        device=options.device,
        clip_model=options.clip_model,
        clip_pretrained=options.clip_pretrained,
    )


def _require_trait(index: Index, trait: str | None) -> str:
    if trait is None and len(index.traits) == 1:
        return index.traits[0]
    if trait not in index.traits:
        problem = "say which trait to compare" if trait is None else f"the index has no trait {trait!r}"
        raise QueryError(f"{problem}; it has: {', '.join(index.traits) or 'none'} (--trait)")
    return trait


def _read_pairs(index: Index, named: Sequence[str], trait: str | None) -> list[Pair]:
    """Read SPECIMEN or SPECIMEN:TRAIT; a colon that no trait follows belongs to the specimen's name."""
    pairs = []
    for name in named:
        specimen, colon, own = name.rpartition(":")
        pairs.append((specimen, own) if colon and own in index.traits else (name, _require_trait(index, trait)))
    return pairs


def _read_photograph(index: Index, photo: Path, mask: Path, trait: str, load: Callable[[], Embedder]) -> _Example:
    image = read_image(photo)
    drawn = read_mask(mask, image, trait=trait, number=index.trait_numbers[trait])
    return _Example(trait, lambda: Tile(image, {trait: drawn}, photo.name), vectors=query_vectors(image, drawn, load()))


def _make_heading(options: SearchOptions, example: _Example) -> str:
    """Describe the query, as the heading of a contact sheet."""
    where = f", where {options.where}" if options.where else ""
    if options.text:
        return options.text + where
    traits = list(dict.fromkeys(own for _, own in example.like)) if example.trait is None else [example.trait]
    heading = f"{' and '.join(traits)} most like that of the query"
    if len(example.like) > 1:
        heading = "most like " + " and ".join(f"{own} of {specimen}" for specimen, own in example.like)
    return heading + (f", unlike {' and '.join(options.unlike)}" if options.unlike else "") + where
