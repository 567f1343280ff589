"""Trait-based image retrieval for biological specimen collections.

    import sst_retrieval as sst
    with sst.open_index("indexes/heliconius") as index:
        hits = index.search(like=("CAM001", "forewing_band"), k=12)

What is public is named here, and loaded when it is first used: importing the package loads no library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from sst_retrieval.errors import (
    CollectionError,
    ImageError,
    IndexFolderError,
    InputError,
    ModelError,
    ModelMismatchError,
    QueryError,
    SSTError,
    SupportError,
)

if TYPE_CHECKING:
    from sst_retrieval.annotating import save_support
    from sst_retrieval.build import build as build_index
    from sst_retrieval.build_settings import BuildSettings
    from sst_retrieval.clicks import Clicker, load_clicker
    from sst_retrieval.collection import Collection, read_collection
    from sst_retrieval.demo import make_drawer
    from sst_retrieval.describer import embedder_of
    from sst_retrieval.embedding import Embedder
    from sst_retrieval.embedding import describe as describe_embedder
    from sst_retrieval.engines import EMBEDDERS, PROPAGATORS, load_embedder
    from sst_retrieval.export import (
        export_characters,
        export_coco,
        export_darwin_core,
        export_distances,
        export_masks,
        export_silhouettes,
        export_table,
        export_tps,
        export_vectors,
    )
    from sst_retrieval.images import read_image, read_labels
    from sst_retrieval.indexes import Origin, find_indexes, index_state, origin_of, rebuild_command
    from sst_retrieval.masks import outlines
    from sst_retrieval.morphology.table import read_scales
    from sst_retrieval.outside import query_vectors, read_mask
    from sst_retrieval.overlays import PALETTE, around_box, overlay
    from sst_retrieval.propagation import Propagator
    from sst_retrieval.query import Index, open_index
    from sst_retrieval.reach import Reach
    from sst_retrieval.report import BuildReport
    from sst_retrieval.reviews import DECISIONS, Review
    from sst_retrieval.sheets import Tile, contact_sheet, hit_tile
    from sst_retrieval.supports import Supports, read_supports
    from sst_retrieval.traits import read_traits
    from sst_retrieval.types import Clicked, Frame, Hit, Propagated, Region, Skipped, Specimen, Support
    from sst_retrieval.words import Question, answer, described, understand, words_for_model

__version__ = "0.1.0"

__all__ = [
    "DECISIONS",
    "EMBEDDERS",
    "PALETTE",
    "PROPAGATORS",
    "BuildReport",
    "BuildSettings",
    "Clicked",
    "Clicker",
    "Collection",
    "CollectionError",
    "Embedder",
    "Frame",
    "Hit",
    "ImageError",
    "Index",
    "IndexFolderError",
    "InputError",
    "ModelError",
    "ModelMismatchError",
    "Origin",
    "Propagated",
    "Propagator",
    "QueryError",
    "Question",
    "Reach",
    "Region",
    "Review",
    "SSTError",
    "Skipped",
    "Specimen",
    "Support",
    "SupportError",
    "Supports",
    "Tile",
    "__version__",
    "answer",
    "around_box",
    "build_index",
    "contact_sheet",
    "describe_embedder",
    "described",
    "embedder_of",
    "export_characters",
    "export_coco",
    "export_darwin_core",
    "export_distances",
    "export_masks",
    "export_silhouettes",
    "export_table",
    "export_tps",
    "export_vectors",
    "find_indexes",
    "hit_tile",
    "index_state",
    "load_clicker",
    "load_embedder",
    "make_drawer",
    "open_index",
    "origin_of",
    "outlines",
    "overlay",
    "query_vectors",
    "read_collection",
    "read_image",
    "read_labels",
    "read_mask",
    "read_scales",
    "read_supports",
    "read_traits",
    "rebuild_command",
    "save_support",
    "understand",
    "words_for_model",
]

_LATER = {
    "BuildReport": "report",
    "BuildSettings": "build_settings",
    "Clicked": "types",
    "Clicker": "clicks",
    "Collection": "collection",
    "DECISIONS": "reviews",
    "EMBEDDERS": "engines",
    "Embedder": "embedding",
    "Frame": "types",
    "Hit": "types",
    "Index": "query",
    "Origin": "indexes",
    "PALETTE": "overlays",
    "PROPAGATORS": "engines",
    "Propagated": "types",
    "Propagator": "propagation",
    "Question": "words",
    "Reach": "reach",
    "Region": "types",
    "Review": "reviews",
    "Skipped": "types",
    "Specimen": "types",
    "Support": "types",
    "Supports": "supports",
    "Tile": "sheets",
    "answer": "words",
    "around_box": "overlays",
    "build_index": "build",
    "contact_sheet": "sheets",
    "describe_embedder": "embedding",
    "described": "words",
    "embedder_of": "describer",
    "export_characters": "export",
    "export_coco": "export",
    "export_darwin_core": "export",
    "export_distances": "export",
    "export_masks": "export",
    "export_silhouettes": "export",
    "export_table": "export",
    "export_tps": "export",
    "export_vectors": "export",
    "find_indexes": "indexes",
    "hit_tile": "sheets",
    "index_state": "indexes",
    "load_clicker": "clicks",
    "load_embedder": "engines",
    "make_drawer": "demo",
    "open_index": "query",
    "origin_of": "indexes",
    "outlines": "masks",
    "overlay": "overlays",
    "query_vectors": "outside",
    "read_collection": "collection",
    "read_image": "images",
    "read_labels": "images",
    "read_mask": "outside",
    "read_scales": "morphology.table",
    "read_supports": "supports",
    "read_traits": "traits",
    "rebuild_command": "indexes",
    "save_support": "annotating",
    "understand": "words",
    "words_for_model": "words",
}
"""Public name -> the module it comes from. Not `build` for `build_index`: that is the module's own name."""


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LATER[name]}")
    return getattr(module, {"build_index": "build", "describe_embedder": "describe"}.get(name, name))
