"""Small pictures of an index of an older version: a JPEG file each, read, and converted into the pack.

Behind the end of the JPEG data, where no program that shows pictures looks, such a file has the SHA-256 of all before
it. Files of version 0.1 end with the JPEG data.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from PIL import Image

from sst_retrieval.files import file_name, is_inside
from sst_retrieval.index.catalog import Catalog
from sst_retrieval.index.checksums import find_unreadable
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.picture_files import encode_picture, is_small
from sst_retrieval.index.picture_pack import MAX_BYTES, THUMBNAIL, list_pictures, write_pictures

_BATCH = 256
"""Individuals that are converted at once."""


def has_old_pictures(paths: IndexPaths) -> bool:
    """Say whether an older version wrote small pictures that are not converted yet."""
    return any(folder.is_dir() for folder in paths.old_picture_folders)


def read_old_picture(paths: IndexPaths, individual: str, trait: str | None) -> bytes | None:
    """Read a thumbnail (trait None) or a crop: a JPEG file; None if there is none, or it is damaged.

    Args:
        paths: of the index; a link that leads out of it is not followed.
        individual: whose.
        trait: of the crop.
    """
    path = paths.old_thumbnail_file(individual) if trait is None else paths.old_crop_file(individual, trait)
    if find_unreadable(path) is not None or not is_inside(path, [paths.root]) or path.stat().st_size > MAX_BYTES:
        return None
    data = path.read_bytes()
    content = data.removesuffix(_seal(data))
    return content if find_fault(data) is None and is_small(content) else None


def list_old_pictures(paths: IndexPaths) -> Iterator[Path]:
    """List what stands where older versions wrote small pictures; a pipe or a folder may, in a damaged index."""
    for folder in (paths.root / "thumbnails", *paths.list_crop_folders()):
        yield from sorted(folder.glob("*.jpg"))


def check_old_picture(path: Path) -> str | None:
    """Read a picture wholly; returns what is wrong with it, None if nothing is."""
    try:
        return find_fault(path.read_bytes()) if path.stat().st_size <= MAX_BYTES else "is too large for a thumbnail"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def convert_old_pictures(paths: IndexPaths, catalog: Catalog) -> None:
    """Put the pictures of an older version into the pack, some hundred individuals at a time, and remove their files.

    If it is interrupted, the next build goes on. Pictures that are in the pack already are newer.

    Args:
        paths: of the index, whose lock is held.
        catalog: of its present generation.
    """
    if not has_old_pictures(paths):
        return
    packed = {individual for individual, _ in list_pictures(paths.pictures_file)}
    traits = [trait for (trait,) in catalog.rows("SELECT DISTINCT trait FROM regions")]
    sql = 'SELECT "sst:individual" FROM individuals ORDER BY 1'
    names = iter([name for (name,) in catalog.rows(sql)])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        convert = partial(_convert, paths, traits)
        while batch := list(islice(names, _BATCH)):
            found = pool.map(convert, [name for name in batch if name not in packed])
            write_pictures(paths.pictures_file, ((name, own) for name, own in found if own))
            for name in batch:
                for trait in (None, *traits):
                    _remove(
                        paths, paths.old_thumbnail_file(name) if trait is None else paths.old_crop_file(name, trait)
                    )
    _remove_rest(paths, plain=catalog.plain)


def _convert(paths: IndexPaths, traits: list[str], individual: str) -> tuple[str, dict[str, bytes]]:
    pictures = {}
    for trait in (None, *traits):
        data = read_old_picture(paths, individual, trait)
        if data is not None:
            with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
                pictures[THUMBNAIL if trait is None else trait] = encode_picture(picture.convert("RGB"))
    return individual, pictures


def _remove_rest(paths: IndexPaths, *, plain: bool) -> None:
    """Remove what is left of pictures of nobody, and the folders, but for what this program did not write."""
    numbered = re.compile(rf".*{re.escape(file_name('#'))}[0-9]+(-[0-9a-f]{{8}})?")
    for path in list_old_pictures(paths):
        if not plain or numbered.fullmatch(path.stem) or _seal_of(path):
            _remove(paths, path)
    for folder in (*paths.list_crop_folders(), *paths.old_picture_folders):
        if folder.is_dir() and is_inside(folder, [paths.root]) and not any(folder.iterdir()):
            folder.rmdir()


def _remove(paths: IndexPaths, path: Path) -> None:
    if not path.is_dir() and is_inside(path.parent, [paths.root]):
        path.unlink(missing_ok=True)


def _seal_of(path: Path) -> bytes:
    return _seal(path.read_bytes()) if find_unreadable(path) is None and path.stat().st_size <= MAX_BYTES else b""


def _make_seal(data: bytes) -> bytes:
    return b"sha256:" + hashlib.sha256(data).hexdigest().encode()


def _seal(data: bytes) -> bytes:
    """Return the checksum behind a JPEG file; empty if it has none that fits."""
    end = len(data) - len(_make_seal(b""))
    return data[end:] if end > 0 and data[end:] == _make_seal(data[:end]) else b""


def find_fault(data: bytes) -> str | None:
    """Say what is wrong with the content of a picture; None if nothing is."""
    if _seal(data):
        return None
    if not data.endswith(b"\xff\xd9"):
        return "has changed since it was written"
    try:
        # Of version 0.1, without a checksum: it can only be decoded.
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            if not is_small(data):
                return "is too large for a thumbnail"
            picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return "is damaged"
    return None
