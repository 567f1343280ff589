"""Evaluation: masks against labels, retrieval against a column of the collection, propagators, confounds."""

from sst_retrieval.evaluate.few_shot import run_protocol
from sst_retrieval.evaluate.few_shot_scores import ProtocolScores, Trial
from sst_retrieval.evaluate.retrieval import (
    RetrievalScore,
    RetrievalScores,
    TraitVectors,
    average_precision,
    recall_at,
    retrieval_scores,
)
from sst_retrieval.evaluate.segmentation import MaskScores, TraitScore, mask_scores

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
