"""Room 3: from one annotated specimen to masks on all the others: the contract, and what keeps it (dense, sam2)."""

from sst_retrieval import nets as nets  # Settings for torch, which must be made before it is loaded.
