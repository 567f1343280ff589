"""How good the masks and the retrieval are, against labels and a column of the collection."""

from sst_retrieval.evaluate.masks import MaskScores, TraitScore, mask_scores
from sst_retrieval.evaluate.protocol import run_protocol
from sst_retrieval.evaluate.retrieval import (
    RetrievalScore,
    RetrievalScores,
    TraitVectors,
    average_precision,
    recall_at,
    retrieval_scores,
)
from sst_retrieval.evaluate.trials import ProtocolScores, Trial

__all__ = [
    "MaskScores",
    "ProtocolScores",
    "RetrievalScore",
    "RetrievalScores",
    "TraitScore",
    "TraitVectors",
    "Trial",
    "average_precision",
    "mask_scores",
    "recall_at",
    "retrieval_scores",
    "run_protocol",
]
