"""Outlines for programs of geometric morphometrics: TPS files, and the black-on-white pictures that Momocs reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt
from skimage.draw import polygon

from sst_retrieval.export.file_provenance import combine_predicate, file_provenance, provenance_line, write_provenance
from sst_retrieval.files import write_text
from sst_retrieval.imaging.images import write_jpeg
from sst_retrieval.morphology.outlines import POINTS
from sst_retrieval.morphology.scales import Scale
from sst_retrieval.search.index import Index
from sst_retrieval.types import RGBImage


def export_tps(
    index: Index,
    path: Path,
    *,
    trait: str,
    points: int = POINTS,
    where: str | None = None,
    min_confidence: float = 0.0,
    scale: Scale | None = None,
) -> int:
    """Write outlines as a TPS file: the points in pixels of the photograph, y up, as tpsDig and geomorph expect.

    Every point is a landmark (a semi-landmark: let them slide along the closed curve). They start and run alike on
    every specimen; those of the right one of a pair run the other way round, point k opposite point k of the left one.
    ID is the specimen, two underscores and the side.

    Args:
        index: what to export.
        path: a .tps file.
        trait: its name.
        points: how many points each outline has.
        where: predicate, see `Index.search`.
        min_confidence: leave out masks less sure than this, 0..1.
        scale: group -> millimetres a pixel; where it (or a column `mmPerPixel`) is known, SCALE is written.

    Returns:
        The number of outlines.
    """
    found = index.outlines(trait, points=points, where=combine_predicate(where, min_confidence), scale=scale)
    photographs = {each.id: each.image.name for each in index.iterate_individuals()}
    provenance = file_provenance(
        index,
        f"outlines of {trait}, (semi-)landmarks in pixels, y up",
        trait=trait,
        points=points,
        where=where,
        min_confidence=min_confidence,
        mm_per_pixel=scale or None,
    )
    blocks = []
    for number, name in enumerate(found.specimens):
        height = found.sizes[number][0]
        lines = [f"LM={points}", *(f"{x:.3f} {height - y:.3f}" for x, y in found.photograph[number].tolist())]
        lines += [
            f"IMAGE={photographs[name]}",
            f"ID={name}__{found.sides[number]}",
            f"COMMENT={provenance_line(provenance)}",
        ]
        if math.isfinite(found.scale[number]):
            lines.append(f"SCALE={found.scale[number]:.8g}")
        blocks.append("\n".join(lines) + "\n")
    write_text(path, "".join(blocks))
    write_provenance(path, provenance)
    return len(found)


def export_silhouettes(
    index: Index,
    folder: Path,
    *,
    trait: str,
    where: str | None = None,
    min_confidence: float = 0.0,
    margin: int = 16,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Write every outline as a black shape on white (JPEG), as `Momocs::import_jpg` reads them.

    They are aligned to the annotated specimen, right ones seen in a mirror, at the photograph's own scale. Momocs
    begins in the middle of a picture to find its outline, so the middle is always black.

    Args:
        index: what to export.
        folder: where to; made if it does not exist. A file is called SPECIMEN__SIDE.jpg.
        trait: its name.
        where: predicate, see `Index.search`.
        min_confidence: leave out masks less sure than this, 0..1.
        margin: pixels of white around a shape.
        progress: called with how many outlines are done, of how many.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    provenance = file_provenance(
        index, f"silhouettes of {trait}", trait=trait, where=where, min_confidence=min_confidence
    )
    write_provenance(folder, provenance)
    found = index.outlines(trait, points=512, where=combine_predicate(where, min_confidence))
    written = []
    for name, side, curve in zip(found.specimens, found.sides, found.laid, strict=True):
        corner = curve.min(axis=0) - margin
        width, height = np.ceil(curve.max(axis=0) - corner + margin).astype(int)
        # Pixel (0, 0) has its centre at (0.5, 0.5).
        x, y = (curve - corner).T
        picture = np.full((height, width, 3), 255, dtype=np.uint8)
        picture[polygon(height - y - 0.5, x - 0.5, picture.shape[:2])] = 0
        picture = centre_in_shape(picture)
        written.append(folder / f"{name}__{side}.jpg")
        write_jpeg(written[-1], picture, quality=95)
        progress(len(written), len(found))
    return written


def centre_in_shape(picture: RGBImage) -> RGBImage:
    """Add white edges until the middle of a picture is inside its shape, well away from the outline.

    The middle of a bent shape's box, such as an antenna's, is often outside. Of a picture with an even number of pixels
    programs differ in which one is the middle; both must be black.

    Args:
        picture: uint8 (H, W, 3), black on white.

    Returns:
        uint8 (H', W', 3): the same picture if its middle is black, else one with even sides.
    """
    shape = picture[..., 0] < 128
    height, width = shape.shape
    middle = shape[(height - 1) // 2 : height // 2 + 1, (width - 1) // 2 : width // 2 + 1]
    if middle.all() or not shape.any():
        return picture
    depth = distance_transform_edt(np.pad(shape, 1))[1:-1, 1:-1]
    rows, columns = np.nonzero(depth == depth.max())
    nearest = np.argmin((rows - height / 2) ** 2 + (columns - width / 2) ** 2)
    edges = []
    for place, length in ((int(rows[nearest]), height), (int(columns[nearest]), width)):
        # As many pixels before it as behind it, one less: then it is the first of the two in the middle.
        before, behind = max(0, length - 2 - 2 * place), max(0, 2 * place + 2 - length)
        edges.append((before, behind))
    return np.pad(picture, (*edges, (0, 0)), constant_values=255)
