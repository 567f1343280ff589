"""From an index back to files that other programs read.

    labels        label pictures with the user's own numbers

Every file says where it came from, and leaves out masks that were rejected.
"""

from __future__ import annotations

from sst_retrieval.export.labels import export_masks, label_map, regions

__all__ = ["export_masks", "label_map", "regions"]
