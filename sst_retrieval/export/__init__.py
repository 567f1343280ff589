"""From an index back to files that other programs read.

    labels               label pictures with the user's own numbers, and of individuals
    croissant            the trait table with Croissant metadata, for search engines of data sets
    coco                 masks as COCO JSON
    instances            individuals as COCO JSON, and their counts as CSV
    overlays             photographs with all masks drawn on them, and individuals numbered
    tabular              the trait table (CSV, Parquet) and the vectors (.npz, Parquet)
    morphometrics        outlines as TPS files, and silhouettes for Momocs
    matrices             distances (CSV, PHYLIP, NEXUS) and continuous characters (NEXUS, CSV)
    index_copies         the index itself, in a store such as S3, and back
    darwin_core_archive  a Darwin Core Archive with measurements and regions (darwin_core_terms: its vocabulary)

Every file says where it came from (`file_provenance`), and leaves out masks that were rejected.
"""

from __future__ import annotations

from sst_retrieval.export.coco import export_coco
from sst_retrieval.export.croissant import export_croissant
from sst_retrieval.export.darwin_core_archive import export_darwin_core
from sst_retrieval.export.index_copies import IndexCopyReport, pull_index, push_index
from sst_retrieval.export.instances import export_counts, export_instances
from sst_retrieval.export.labels import export_masks, label_map, regions
from sst_retrieval.export.matrices import export_characters, export_distances
from sst_retrieval.export.morphometrics import export_silhouettes, export_tps
from sst_retrieval.export.overlays import OVERLAY_SIDE, export_overlays
from sst_retrieval.export.tabular import export_table, export_vectors

__all__ = [
    "OVERLAY_SIDE",
    "IndexCopyReport",
    "export_characters",
    "export_coco",
    "export_counts",
    "export_croissant",
    "export_darwin_core",
    "export_distances",
    "export_instances",
    "export_masks",
    "export_overlays",
    "export_silhouettes",
    "export_table",
    "export_tps",
    "export_vectors",
    "label_map",
    "pull_index",
    "push_index",
    "regions",
]
