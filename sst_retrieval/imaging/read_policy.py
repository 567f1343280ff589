"""Read policy: which photographs may be opened through an index that somebody else may have made.

An index names its photographs by their paths, and whoever made it, or changed it, may have written any path there. So a
reader that shows pictures to people opens a photograph only where all of this holds:

1. links followed, it lies inside the index or inside a folder that the user agreed to;
2. it is not larger, in bytes and in pixels, than a photograph can reasonably be;
3. its content is what the index was built from, where the index knows: a path that was changed leads nowhere.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sst_retrieval.errors import ImageError
from sst_retrieval.files import is_inside
from sst_retrieval.imaging.images import content_hash, read_photograph
from sst_retrieval.types import RGBImage


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """What may be opened through an index besides its own files.

    Attributes:
        folders: where photographs may lie, besides the index itself.
        max_pixels: a photograph of more pixels is refused before it is decoded.
        max_bytes: a larger file is refused before it is opened.
    """

    folders: Sequence[Path] = ()
    max_pixels: int = 200_000_000
    max_bytes: int = 1_000_000_000

    def check(self, path: Path, index: Path) -> None:
        """Refuse a path outside the permitted folders; the file is not touched.

        Args:
            path: where the index says that a photograph lies.
            index: the folder of the index.

        Raises:
            ImageError: it may not be opened; the message says what to do.
        """
        if not is_inside(path, [index, *self.folders]):
            raise ImageError(
                f"the index says that this photograph is {path}; that is outside the folder of its collection, so it "
                f"is not opened. If you trust the index, start the app with: --images {shlex.quote(str(path.parent))}"
            )

    def read(self, path: Path, contents: Sequence[str]) -> RGBImage:
        """Read a photograph whose path was checked.

        Args:
            path: where the index says that it lies.
            contents: SHA-256 of what the index was built from, hexadecimal, usually one; none if it is not known.

        Returns:
            uint8 (H, W, 3), sRGB, EXIF orientation applied.

        Raises:
            ImageError: it is too large, not the one that was indexed, or cannot be read.
        """
        try:
            size = path.stat().st_size
        except OSError as error:
            raise ImageError(f"{path} cannot be opened ({error.strerror}); check that it is there") from error
        if size > self.max_bytes:
            raise ImageError(f"{path} has more than {self.max_bytes // 1_000_000:,} MB; save a smaller copy")
        if contents and content_hash(path) not in contents:
            raise ImageError(f"{path} is not the photograph that the index was built from; build the index again")
        read = read_photograph(path, max_pixels=self.max_pixels)
        if contents and read.checksum not in contents:  # It was changed since.
            raise ImageError(f"{path} is not the photograph that the index was built from; build the index again")
        return read.image


Reach = ReadPolicy
"""The public name, as in `open_index(reach=...)`."""
