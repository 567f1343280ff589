"""`python -m sst_retrieval` is `sst-retrieval`."""

from sst_retrieval.cli import main

main()
