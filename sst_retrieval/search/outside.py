"""A photograph from outside the index, with the mask of one trait, as query vectors; and the embedder for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sst_retrieval.describe.contract import Embedder
from sst_retrieval.describe.region_vectors import describe_embedder, embed_regions
from sst_retrieval.engines import EMBEDDERS, ModelOptions, load_embedder
from sst_retrieval.errors import ModelMismatchError, QueryError
from sst_retrieval.imaging.foreground import frame_specimen
from sst_retrieval.imaging.frames import pose_hypotheses
from sst_retrieval.imaging.images import LARGE, read_labels
from sst_retrieval.index.origin import make_absolute
from sst_retrieval.search.index import Index
from sst_retrieval.types import Floats, Mask, RGBImage

TURNS = 8
"""How many turns of a specimen from outside are described, all the way round: how it lies is not known."""


def read_mask(path: Path, image: RGBImage, *, trait: str, number: int) -> Mask:
    """Read the mask of one trait from a label picture.

    Args:
        path: the label picture: one number for the trait and 0 for all else (such as 0 and 255), or several numbers, of
            which the index's own number of the trait counts.
        image: uint8 (H, W, 3), the photograph it was drawn on.
        trait: name of the trait.
        number: the index's own number of the trait.

    Returns:
        bool (H, W), not empty.

    Raises:
        ImageError: the file is no label picture.
        QueryError: it does not fit the photograph, is empty, or does not say which of its numbers is meant.
    """
    labels = read_labels(path, max_pixels=max(image.shape[0] * image.shape[1], LARGE))
    if labels.shape != image.shape[:2]:
        (height, width), (own_height, own_width) = image.shape[:2], labels.shape
        raise QueryError(
            f"{path} is {own_width} x {own_height} px, but the photograph is {width} x {height} (turned as its EXIF "
            "orientation says); draw the mask on the photograph at its own size"
        )
    values = [int(value) for value in np.unique(labels) if value]
    if not values:
        raise QueryError(f"{path} is empty: every pixel is 0, the background; draw the trait")
    if number in values:
        return np.asarray(labels == number)
    if len(values) == 1:
        return np.asarray(labels != 0)
    raise QueryError(
        f"{path} has the numbers {values}, none of which is {number}, the index's number of {trait}; "
        f"draw {trait} as {number}, or alone"
    )


def query_vectors(image: RGBImage, mask: Mask, embedder: Embedder) -> Floats:
    """Describe one trait on a photograph, once a turn that its specimen may have.

    Args:
        image: uint8 (H, W, 3).
        mask: bool (H, W), not empty.
        embedder: the one that the index was made with.

    Returns:
        float32 (M, D), one vector a turn (the query's pose variants); `Index.search(vectors=...)` takes the best.

    Raises:
        QueryError: the mask lies where no specimen is.
    """
    # The mirror images that come after the turns would give the same vectors: these do not tell left from right.
    frames = pose_hypotheses(frame_specimen(image), TURNS)[:TURNS]
    vectors = [embed_regions(image, mask[None], frame, embedder)[0] for frame in frames]
    described = [vector for vector in vectors if vector is not None]
    if not described:
        raise QueryError("the mask lies outside the specimen of its photograph; draw it on the specimen")
    return np.stack(described)


_HUB = "hf-hub:"


def embedder_of(
    index: Index,
    *,
    engine: str | None = None,
    device: str = "auto",
    clip_model: str | None = None,
    clip_pretrained: str | None = None,
    from_hub: bool = True,
) -> Embedder:
    """Load the embedder that an index was made with.

    Args:
        index: the index.
        engine: your own embedder, "module:Name", if the index was made with it.
        device: "auto", "cpu" or "cuda".
        clip_model: of an OpenCLIP index: its architecture, if not as it was built.
        clip_pretrained: of an OpenCLIP index: its weights, if not as it was built.
        from_hub: False for an index that may come from somebody else: a model of the hub, gigabytes to be downloaded,
            must then be named in `clip_model`; that the index names it is not enough.

    Returns:
        The embedder; what it makes can be compared with what the index holds.

    Raises:
        QueryError: the index was made with somebody's own embedder, and `engine` does not name it; or with a model of
            the hub, and neither `from_hub` nor `clip_model` allows it.
        ModelError: the model cannot be loaded.
        ModelMismatchError: it is not the one that the index was made with.
    """
    made_with = index.settings["embedder"]
    if engine is None and made_with["engine"] not in EMBEDDERS:
        # Never by itself: an index may come from somebody else, and a name in it would run code here.
        raise QueryError(
            f"the index was made with the embedder {made_with['engine']}, which is not part of this program; "
            f"if you know it, ask with --embedder {made_with['engine']}"
        )
    options = _options(index, clip_model, clip_pretrained)
    if not from_hub and clip_model is None and (options.clip_model or "").startswith(_HUB):
        raise QueryError(
            f"the index was made with {options.clip_model}, a model of the hub; if you know it, say so: "
            f"--clip-model {options.clip_model}"
        )
    name = engine or made_with["engine"]
    embedder = load_embedder(name, device, options if name == "openclip" else None)
    loaded = {"engine": name, **describe_embedder(embedder)}
    if loaded != made_with:
        raise ModelMismatchError(
            f"the index was made with {made_with}, and this is {loaded}: their vectors cannot be compared; "
            "build the index again with --rebuild, or ask with a specimen of the index (--like)"
        )
    return embedder


def _options(index: Index, clip_model: str | None, clip_pretrained: str | None) -> ModelOptions:
    """Choose the CLIP model to load: the one that is named, else the one that the index was built with."""
    made = index.info()["provenance"]
    built = made.get("settings", {}).get("models") or {}
    start = Path(made.get("folder") or "")  # Where the build ran; relative paths start there.
    recorded = {
        name: make_absolute(name, built[name], start) if built.get(name) else None
        for name in ("clip_model", "clip_pretrained")
    }
    return ModelOptions(
        clip_model=clip_model or recorded["clip_model"],
        clip_pretrained=clip_pretrained or recorded["clip_pretrained"],
        clip_pooling=built.get("clip_pooling") or "dense",
    )
