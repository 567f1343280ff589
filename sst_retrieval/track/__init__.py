"""Room 3: from one annotated specimen to masks on the others: the contract of propagators, and those that keep it."""

from sst_retrieval import nets as nets  # Sets environment variables that torch reads when it is loaded.
