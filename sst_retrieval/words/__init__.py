"""Questions in plain words: a sentence becomes a question, a question is answered by hits.

    question = understand(index, "orange bands of females like CAM001, not from Panama")
    question.parts, question.doubts, question.unknown      # shown to the person, who may change them
    hits = answer(index, question)

lexicon/     words known whatever the collection: vocabulary, colours, quantities that can be measured
reading/     sentence -> spans. sentence.py splits it; lookup.py finds values and specimens of the collection,
             numbers.py comparisons, trait_words.py traits; relative.py reads "another species", negation.py "not",
             joining.py "or", unanswerable.py what no index can answer; parser.py chooses among them
meaning/     spans -> question. understanding.py makes its parts, conditions.py writes their predicates
question.py  the question: parts, doubts, words that were not understood
answering/   question -> hits. answer.py chooses and orders; fitting.py says how well colours and sizes fit; with an
             OpenCLIP index, description.py lets the model see what no measurement says

But for that last step no model is involved: a sentence is read by a fixed vocabulary and by what the index holds,
and whatever was not understood is said.
"""

from sst_retrieval.words.answering.answer import answer, remaining
from sst_retrieval.words.answering.description import described, description, words_for_model
from sst_retrieval.words.meaning.understanding import understand
from sst_retrieval.words.question import Count, Doubt, Example, Filter, Part, Question, Ranking, TraitPart, Weights

__all__ = [
    "Count",
    "Doubt",
    "Example",
    "Filter",
    "Part",
    "Question",
    "Ranking",
    "TraitPart",
    "Weights",
    "answer",
    "described",
    "description",
    "remaining",
    "understand",
    "words_for_model",
]
