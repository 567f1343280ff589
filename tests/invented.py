"""Invented specimens and regions, so that a test of the index needs neither photographs nor models."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sst_retrieval.collection.specimens import Collection
from sst_retrieval.imaging import masks
from sst_retrieval.index.store import Store
from sst_retrieval.types import Frame, Photograph, Region

BLOCKS = {"pattern": 4, "colour": 3, "shape": 2}
DIM = sum(BLOCKS.values())
SETTINGS = {"propagator": "invented 1", "embedder": "invented 1", "side": 64}
FRAME = Frame((0.1, 0.0, 0.0, 0.0, 0.1, 0.0))


def unit(vector: Any) -> np.ndarray:
    """Bring every block of a vector to unit length; float32."""
    result = np.array(vector, dtype=np.float64)
    start = 0
    for size in BLOCKS.values():
        length = np.linalg.norm(result[start : start + size])
        if length:
            result[start : start + size] /= length
        start += size
    return result.astype(np.float32)


def a_vector(seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=DIM))


def a_mask(specimen: str, trait: str) -> np.ndarray:
    """A mask of 6 x 9 pixels that differs from specimen to specimen."""
    rng = np.random.default_rng(zlib.crc32(f"{specimen}/{trait}".encode()))
    mask = np.asarray(rng.random((6, 9)) < 0.4)
    mask[2, 3] = True
    return mask


def a_region(
    specimen: str,
    trait: str = "wing",
    *,
    vector: Any = None,
    present: bool = True,
    confidence: float = 0.75,
    measurements: Mapping[str, float] | None = None,
) -> Region:
    mask = a_mask(specimen, trait) if present else np.zeros((6, 9), dtype=bool)
    if present and vector is None:
        vector = a_vector(zlib.crc32(f"{trait}/{specimen}".encode()))
    return Region(
        individual=specimen,
        trait=trait,
        present=present,
        confidence=confidence,
        size=mask.shape,
        rle=masks.encode(mask),
        box=(0, 0, 9, 6) if present else (0, 0, 0, 0),
        frame=FRAME,
        vector=None if vector is None else np.asarray(vector, dtype=np.float32),
        measurements=({"area": float(mask.sum()), "hue": 0.5} if measurements is None else measurements)
        if present
        else {},
    )


def rows(regions: Sequence[Region], content: str = "c", support: str = "s") -> list[tuple[Region, str, str]]:
    return [(region, content, support) for region in regions]


def a_collection(ids: Sequence[str], columns: Mapping[str, str] | None = None, **values: Sequence[Any]) -> Collection:
    """A table with catalogNumber and the columns given; `columns` overrules names and types."""
    table: dict[str, Sequence[Any]] = {"catalogNumber": ids, **values}
    types = {name: "VARCHAR" for name in table} if columns is None else {"catalogNumber": "VARCHAR", **columns}
    return Collection(
        photographs=tuple(
            Photograph(name, Path("/photographs") / f"{i}.png", "group", {c: table[c][i] for c in types})
            for i, name in enumerate(ids)
        ),
        columns=types,
        source=Path("collection.csv"),
    )


def without_checksums(index: Path) -> dict[str, Any]:
    """Take the checksums out of a manifest, as an older version would have written it, so that a test may change it.

    Returns:
        The manifest, to be changed and written again.
    """
    manifest: dict[str, Any] = json.loads((index / "manifest.json").read_text())
    manifest.pop("contents", None)
    manifest.pop("checksum", None)
    (index / "manifest.json").write_text(json.dumps(manifest))
    return manifest


def built(
    path: Path,
    regions: Sequence[Region],
    collection: Collection | None = None,
    settings: Mapping[str, Any] = SETTINGS,
    **commit: Any,
) -> Store:
    """Make an index of regions; the collection is the specimens they belong to."""
    store = Store.create(path, settings=settings, blocks=BLOCKS)
    with store.lock():
        store.append(rows(regions))
        collection = collection or a_collection(sorted({region.individual for region in regions}))
        store.commit(collection, **{"numbers": {"wing": 7}, "provenance": {"program": "test"}, **commit})
    return store
