"""`sst-retrieval search`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from sst_retrieval import sheets
from sst_retrieval.asking import Pair
from sst_retrieval.cli import asking
from sst_retrieval.describer import embedder_of
from sst_retrieval.embedding import Embedder
from sst_retrieval.errors import QueryError
from sst_retrieval.evaluate.report import aligned
from sst_retrieval.images import read_image, write_png
from sst_retrieval.outside import query_vectors, read_mask
from sst_retrieval.query import Index, open_index
from sst_retrieval.sheets import Tile
from sst_retrieval.types import Floats, Hit, RGBImage
from sst_retrieval.words import Question

CAPTION = ("scientificName", "infraspecificEpithet", "species", "subspecies", "sex", "locality")
"""Columns of usual collections that say most about a hit; the first three that an index has are shown."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked with: a region of the index or vectors from outside, and a picture of it for the contact sheet."""

    picture: Callable[[], Tile]
    like: Sequence[Pair] = ()
    vectors: Floats | None = None


def search_command(
    index: Annotated[Path, typer.Argument(help="Index folder.")],
    like: Annotated[
        list[str] | None,
        typer.Option(
            help="Ask with this specimen of the index; repeatable. Name its trait as SPECIMEN:TRAIT to mix traits."
        ),
    ] = None,
    unlike: Annotated[
        list[str] | None, typer.Option(help="With --like: what hits should not resemble; repeatable.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="Ask with a photograph of your own; needs --mask.")] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Label picture of --image: the trait alone, or as the index's own number.")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(help='Ask in plain words: "narrow orange bands of females from Panama"; may go with --like.'),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(help="With --text: leave this part out, as the sentence was read; repeatable.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="With --text: only say how it is read.")] = False,
    trait: Annotated[str | None, typer.Option(help="Trait to compare; needed if the index has several.")] = None,
    k: Annotated[int | None, typer.Option("-k", help="How many hits; else 12, or what --text says.", min=1)] = None,
    where: Annotated[
        str | None, typer.Option(help="Condition on the table's columns and confidence, in SQL: \"sex = 'female'\".")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="What counts how much: pattern=1,colour=0.5 (and shape nothing).")
    ] = None,
    expand: Annotated[
        int, typer.Option(help="Ask again together with so many of the first hits; 2 is a good start.", min=0)
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    contact_sheet: Annotated[Path | None, typer.Option(help="Write a picture of the hits to this PNG.")] = None,
    embedder: Annotated[
        str | None, typer.Option(help="With --image: your own embedder, module:Name, if the index was made with it.")
    ] = None,
    clip_model: Annotated[
        str | None, typer.Option(help="With an OpenCLIP index: its --clip-model, if not as it was built.")
    ] = None,
    clip_pretrained: Annotated[
        str | None, typer.Option(help="With an OpenCLIP index: its --clip-pretrained, if not as it was built.")
    ] = None,
    device: Annotated[str, typer.Option(help="With --image: auto, cpu or cuda.")] = "auto",
) -> None:
    """Find the specimens whose trait looks most like a given one, or fits a description in plain words."""
    shares = None if weights is None else read_weights(weights)
    with open_index(index) as opened:
        read = None if text is None else _sentence(opened, text, like or [], unlike or [], ignore or ())
        if read is None and (ignore or explain):
            raise QueryError("--ignore and --explain are about a sentence; ask one with --text")
        if read is not None and explain:
            asking.explain(read, as_json=as_json)
            return
        if read is not None and expand:
            raise QueryError("--expand asks again with the first hits of an example; leave out --text, or --expand")
        named = like or ([read.example] if read and read.example else [])
        trait = trait or (read.trait if read else None)
        question: _Question | None = None

        @cache
        def load() -> Embedder:
            return embedder_of(
                opened, engine=embedder, device=device, clip_model=clip_model, clip_pretrained=clip_pretrained
            )

        if named and image is None and mask is None:
            question = _indexed(opened, named, trait)
        elif not named and image is not None and mask is not None:
            trait = _trait(opened, trait)
            question = _outside(opened, image, mask, trait, load)
        elif read is None or named or image is not None or mask is not None:
            raise QueryError(
                "ask with a specimen of the index (--like), a photograph (--image and --mask), or in words (--text)"
            )
        vectors = question.vectors if question else None
        if read is not None:
            seen = asking.described_if_possible(opened, read, trait, load, beside_example=question is not None)
            hits = asking.answered(
                opened, read, k=k, trait=trait, vectors=vectors, described=seen, where=where, weights=shares
            )
        else:
            hits = opened.search(
                like=question.like if question else (),
                unlike=_pairs(opened, unlike or [], trait),
                vectors=vectors,
                trait=trait,
                k=k or 12,
                where=where,
                weights=shares,
                expand=expand,
            )
        if contact_sheet is not None:
            heading = text or _heading(trait, question.like if question else (), unlike or [])
            heading += f", where {where}" if where else ""
            write_png(contact_sheet, hits_sheet(opened, question.picture() if question else None, hits, heading))
            typer.echo(f"contact sheet: {contact_sheet}", err=True)
        typer.echo(
            json.dumps([hit.as_dict() for hit in hits], indent=2, ensure_ascii=False) if as_json else table(hits)
        )


def read_weights(text: str) -> dict[str, float]:
    """Read weights.

    >>> read_weights("pattern=1, colour=0.5")
    {'pattern': 1.0, 'colour': 0.5}
    """
    weights = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            weights[name.strip()] = float(value)
        except ValueError as error:
            raise QueryError(
                f"the weights {text!r} are not understood at {part!r}; write: pattern=1,colour=0.5"
            ) from error
    return weights


def table(hits: Sequence[Hit]) -> str:
    """Write hits as aligned text."""
    if not hits:
        return "no specimen answers this search"
    shown = caption(hits[0].metadata)
    head = ("specimen", "rank", "similarity", *hits[0].blocks, "confidence", *shown)
    rows = [
        (
            *(hit.specimen, str(hit.rank), f"{hit.similarity:.3f}", *(f"{value:.3f}" for value in hit.blocks.values())),
            *(f"{hit.confidence:.2f}", *(str(hit.metadata[name] or "") for name in shown)),
        )
        for hit in hits
    ]
    return aligned(head, rows)


def caption(columns: Mapping[str, object]) -> list[str]:
    """Choose the columns that say most about a hit."""
    return [name for name in CAPTION if name in columns][:3]


def hits_sheet(index: Index, query: Tile | None, hits: Sequence[Hit], heading: str = "") -> RGBImage:
    """Draw a search: the query (None if it was words), then the hits."""
    columns = caption(index.columns)
    tiles = [sheets.hit_tile(hit, index.photograph(hit.specimen), columns=columns) for hit in hits]
    return sheets.contact_sheet(query, tiles, heading=heading)


def indexed_tile(index: Index, specimen: str, trait: str) -> Tile:
    """Show the region that was asked with."""
    columns = caption(index.columns)
    metadata = index.specimen(specimen).metadata
    line = " · ".join(str(metadata[name]) for name in columns if metadata[name] not in (None, ""))
    return Tile(index.photograph(specimen), {trait: index.mask(specimen, trait)}, specimen, [line] if line else [])


def _trait(index: Index, trait: str | None) -> str:
    if trait is None and len(index.traits) == 1:
        return index.traits[0]
    if trait not in index.traits:
        said = "say which trait to compare" if trait is None else f"the index has no trait {trait!r}"
        raise QueryError(f"{said}; it has: {', '.join(index.traits) or 'none'} (--trait)")
    return trait


def _sentence(index: Index, text: str, like: Sequence[str], unlike: Sequence[str], ignored: Sequence[str]) -> Question:
    if len(like) > 1 or unlike:
        raise QueryError("a sentence (--text) goes with one --like at most, and with no --unlike")
    return asking.understood(index, text, like=like[0] if like else None, ignored=ignored)


def _pairs(index: Index, named: Sequence[str], trait: str | None) -> list[Pair]:
    """Read SPECIMEN or SPECIMEN:TRAIT; a colon that no trait follows belongs to the specimen's name."""
    pairs = []
    for name in named:
        specimen, colon, own = name.rpartition(":")
        pairs.append((specimen, own) if colon and own in index.traits else (name, _trait(index, trait)))
    return pairs


def _indexed(index: Index, named: Sequence[str], trait: str | None) -> _Question:
    pairs = _pairs(index, named, trait)
    return _Question(lambda: indexed_tile(index, *pairs[0]), like=pairs)


def _heading(trait: str | None, like: Sequence[Pair], unlike: Sequence[str]) -> str:
    """Say what was asked, for people."""
    traits = list(dict.fromkeys(own for _, own in like)) if trait is None else [trait]
    heading = f"{' and '.join(traits)} most like that of the query"
    if len(like) > 1:
        heading = "most like " + " and ".join(f"{own} of {specimen}" for specimen, own in like)
    return heading + (f", unlike {' and '.join(unlike)}" if unlike else "")


def _outside(index: Index, photo: Path, mask: Path, trait: str, embedder: Callable[[], Embedder]) -> _Question:
    image = read_image(photo)
    drawn = read_mask(mask, image, trait=trait, number=index.trait_numbers[trait])
    vectors = query_vectors(image, drawn, embedder())
    return _Question(lambda: Tile(image, {trait: drawn}, photo.name), vectors=vectors)
