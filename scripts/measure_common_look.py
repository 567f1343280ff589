"""Measure what beetles have in common: `sst_retrieval/find/common_look.npy` (see `sst_retrieval.find.kinship`).

    python scripts/measure_common_look.py pinned_beetles --output sst_retrieval/find/common_look.npy

The folder is a collection with a label picture of every specimen in `labels/`, one individual a photograph.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.find.board import remember_board
from sst_retrieval.imaging.images import read_image
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.types import Support

HALF_WIDTH = 48.0
"""Half-width, in pixels, at which individuals are described: as many have on drawers."""


def main() -> None:
    """Describe every labelled specimen and save the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    trunk = EfficientNetTrunk("cpu")
    features = []
    for photograph in read_collection(options.folder / "collection.csv").photographs:
        labels = options.folder / "labels" / f"{photograph.id}.png"
        if labels.is_file():
            mask = np.asarray(Image.open(labels)) > 0
            support = Support(photograph.id, photograph.group, read_image(photograph.image), ("beetle",), mask[None])
            (sitter,) = remember_board([support]).sitters
            features.append(sitter.portray(trunk, HALF_WIDTH).features)
    np.save(options.output, np.mean(features, axis=0).astype(np.float16), allow_pickle=False)
    print(f"{options.output}: the mean of {len(features)} individuals")


if __name__ == "__main__":
    main()
