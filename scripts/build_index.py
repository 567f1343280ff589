"""Build an index of a collection: the same code as `sst-retrieval build`.

python scripts/build_index.py collection.csv --supports supports --output indexes/mine
"""

import sys

from sst_retrieval.cli import app

if __name__ == "__main__":
    app(["build", *sys.argv[1:]])
