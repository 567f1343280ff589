"""Trait-based image retrieval for biological specimen collections.

    import sst_retrieval as sst
    with sst.open_index("indexes/heliconius") as index:
        hits = index.search(like=("CAM001", "forewing_band"), k=12)

What is public is named here, and loaded when it is first used: importing the package loads no model library.
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
from sst_retrieval.types import Clicked, Frame, Hit, Propagated, Region, Skipped, Specimen, Support

if TYPE_CHECKING:
    from sst_retrieval.build import BuildSettings
    from sst_retrieval.build import build as build_index
    from sst_retrieval.clicks import Clicker, load_clicker
    from sst_retrieval.collection import Collection, read_collection
    from sst_retrieval.demo import make_drawer
    from sst_retrieval.embedding import Embedder
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
    from sst_retrieval.morphology.table import read_scales
    from sst_retrieval.propagation import Propagator
    from sst_retrieval.query import Index, open_index
    from sst_retrieval.report import BuildReport
    from sst_retrieval.supports import Supports, read_supports
    from sst_retrieval.words import Question, answer, understand

__version__ = "0.1.0"

__all__ = [
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
    "Propagated",
    "Propagator",
    "QueryError",
    "Question",
    "Region",
    "SSTError",
    "Skipped",
    "Specimen",
    "Support",
    "SupportError",
    "Supports",
    "__version__",
    "answer",
    "build_index",
    "export_characters",
    "export_coco",
    "export_darwin_core",
    "export_distances",
    "export_masks",
    "export_silhouettes",
    "export_table",
    "export_tps",
    "export_vectors",
    "load_clicker",
    "make_drawer",
    "open_index",
    "read_collection",
    "read_scales",
    "read_supports",
    "understand",
]

_LATER = {
    "BuildReport": "report",
    "BuildSettings": "build",
    "Clicker": "clicks",
    "Collection": "collection",
    "Embedder": "embedding",
    "Index": "query",
    "Propagator": "propagation",
    "Question": "words",
    "Supports": "supports",
    "answer": "words",
    "build_index": "build",
    "export_characters": "export",
    "export_coco": "export",
    "export_darwin_core": "export",
    "export_distances": "export",
    "export_masks": "export",
    "export_silhouettes": "export",
    "export_table": "export",
    "export_tps": "export",
    "export_vectors": "export",
    "load_clicker": "clicks",
    "make_drawer": "demo",
    "open_index": "query",
    "read_collection": "collection",
    "read_scales": "morphology.table",
    "read_supports": "supports",
    "understand": "words",
}
"""Public name -> the module it comes from. Not `build` for `build_index`: that is the module's own name."""


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LATER[name]}")
    return getattr(module, "build" if name == "build_index" else name)
