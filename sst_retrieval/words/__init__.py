"""Room 6b: questions in plain words.

    question = understand(index, "orange bands of females like CAM001, not from Panama")
    question.parts, question.doubts, question.unknown      # shown to the person, who may change them
    hits = answer(index, question)

1. sentence.py splits the sentence; vocabulary.py, colours.py and quantities.py know words and what they measure.
2. lookup.py finds values and specimens of the collection; numbers.py comparisons; traitwords.py traits.
   relative.py reads "another species", denying.py what "not" excludes, joining.py "or", unasked.py what cannot be.
3. reading.py gives every word its reading; understanding.py makes a question of them; conditions.py writes predicates.
4. answering.py answers it; with an OpenCLIP index, description.py lets the model see what no measurement says.

But for that last step no model is involved: a sentence is read by a fixed vocabulary and by what the index holds,
and whatever was not understood is said.
"""

from sst_retrieval.words.answering import answer, remaining
from sst_retrieval.words.description import described, description, words_for_model
from sst_retrieval.words.question import Count, Doubt, Example, Filter, Part, Question, Ranking, TraitPart, Weights
from sst_retrieval.words.understanding import understand

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
