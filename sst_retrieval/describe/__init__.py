"""Room 4: from a trait mask to a vector of blocks and to measurements: the contract, and what keeps it."""

from sst_retrieval import nets as nets  # Settings for torch, which must be made before it is loaded.
