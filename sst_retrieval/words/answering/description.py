"""The part of a question that measurements cannot answer, for an index whose patterns and words share a space."""

from __future__ import annotations

from sst_retrieval.describe.contract import Embedder, TextEmbedder
from sst_retrieval.errors import QueryError
from sst_retrieval.search.index import Index
from sst_retrieval.types import Floats
from sst_retrieval.words.question import Question


def description(question: Question, trait: str) -> str:
    """Write what is left of a sentence as a description of the trait.

    >>> from sst_retrieval.words.question import Question
    >>> description(Question("iridescent bands", (), unknown=("iridescent",)), "forewing_band")
    'iridescent forewing band'

    Args:
        question: the question.
        trait: the trait that is looked at.

    Returns:
        The words that were not understood and those for colours and sizes, in the order of the sentence, then the
        trait; "" if there are none: a trait alone describes nothing. "Broader" describes nothing either: than what?
    """
    words = (part.words for part in question.rank if not part.negated and not part.than_example)
    said = [*question.unknown, *words]
    if not said:
        return ""
    place = question.text.casefold().find
    said.sort(key=lambda words: place(words.casefold()))
    return " ".join([*said, trait.replace("_", " ")])


def words_for_model(index: Index, question: Question, trait: str) -> str:
    """Say which words of a question the index's own model compares with what it sees.

    Args:
        index: the index.
        question: the question.
        trait: the trait that is looked at.

    Returns:
        A description, to be turned into a vector by `described`; "" if the index's model reads no words (only OpenCLIP
        and BioCLIP do) or the sentence describes nothing.
    """
    return description(question, trait) if index.settings["embedder"]["engine"] == "openclip" else ""


def described(embedder: Embedder, text: str) -> Floats:
    """Turn a description into a vector.

    Args:
        embedder: the one that the index was made with.
        text: what is described.

    Returns:
        float32 (D,), unit length, to be given to `answer`.

    Raises:
        QueryError: the embedder knows no words.
    """
    if not isinstance(embedder, TextEmbedder):
        raise QueryError(f"the embedder {embedder.name} knows no words; build the index with --embedder openclip")
    vector: Floats = embedder.texts([text])[0]
    return vector
