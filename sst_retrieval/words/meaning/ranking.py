"""Words for colours, and for much and little, as parts of a question that order specimens."""

from __future__ import annotations

from sst_retrieval.words.lexicon.colour_words import FAR, Colour
from sst_retrieval.words.lexicon.quantities import QUANTITIES
from sst_retrieval.words.question import Ranking
from sst_retrieval.words.reading.spans import Much

SHARES = {"": 1 / 3, "more": 1 / 3, "very": 1 / 10, "most": 1.0}
"""Degree of a word -> the share of the index's specimens that it fits; "most" only orders."""

_SAID = {"": "third of this index", "very": "tenth of this index", "most": "first"}


def ranking(means: Colour | Much, words: str, *, negated: bool) -> Ranking:
    """Turn a word for a colour, or for much and little, into a part."""
    not_ = "not " if negated else ""
    if isinstance(means, Colour):
        blocks = (
            f"one of the {len(means.centres)} ISCC-NBS colours so called" if len(means.centres) > 1 else "that colour"
        )
        meaning = f"{not_}{means.name}: the mean colour is {blocks}, or nearly; fit 0 from CIEDE2000 {FAR:g} on"
        return Ranking(words, meaning, "colour", share=1.0, colour=means, negated=negated)
    quantity, share = QUANTITIES[means.adjective.quantity], SHARES[means.degree]
    high = means.adjective.high
    end = "highest" if high else "lowest"
    if means.degree == "more":
        more = "more" if high else "less"
        meaning = f"{not_}{more} {quantity.meaning} than the example; without one, {end} {_SAID['']}"
        return Ranking(words, meaning, means.adjective.quantity, high, share, negated=negated, than_example=True)
    meaning = f"{not_}{end} {_SAID[means.degree]} in {quantity.meaning}"
    return Ranking(words, meaning, means.adjective.quantity, high, share, negated=negated)
