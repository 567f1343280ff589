"""A table that is not there: what lies beside it is offered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.errors import CollectionError
from sst_retrieval.imaging.images import write_png


def test_a_table_that_is_not_there_is_offered_where_photographs_are(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(CollectionError, match="sst-retrieval init"):
        read_collection(tmp_path / "collection.csv")
    (tmp_path / "specimens.csv").write_text("catalogNumber,image\na,a.png\n")
    with pytest.raises(CollectionError, match=r"its folder has the table specimens\.csv"):
        read_collection(tmp_path / "collection.csv")
