"""Photographs as phones and cameras keep them: HEIC by pillow-heif, raw sensor values by rawpy. Both are an extra."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from sst_retrieval.types import RGBImage

_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_RAW = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb")
"""How raw files begin that are no plain TIFF: Fujifilm's, Olympus', Panasonic's, Sigma's."""


def is_heif(start: bytes) -> bool:
    """Say whether the first 16 bytes of a file are those of an HEIC or HEIF file."""
    return start[4:8] == b"ftyp" and start[8:12] in _HEIF


def is_camera_raw(start: bytes) -> bool:
    """Say whether the first 16 bytes of a file are those of a raw file that is no plain TIFF."""
    return start.startswith(_RAW) or start[4:12] == b"ftypcrx "


def open_heif(file: BinaryIO) -> Any:
    """Open an HEIC file without decoding it.

    Args:
        file: from its beginning.

    Returns:
        pillow-heif's file; its `size` is (width, height) in pixels as it is decoded, which is upright.

    Raises:
        ModuleNotFoundError: pillow-heif is not installed.
        ValueError: it is damaged.
    """
    try:
        import pillow_heif
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("it is an HEIC picture", name="pillow_heif") from error
    file.seek(0)
    try:
        return pillow_heif.open_heif(file, convert_hdr_to_8bit=True)
    except (RuntimeError, OSError, EOFError, SyntaxError) as error:
        raise ValueError(str(error)) from error


def decode_heif(opened: Any) -> Image.Image:
    """Decode the main picture of an HEIC file, upright; its colour profile is in `info`.

    Raises:
        ValueError: it is damaged.
    """
    try:
        picture: Image.Image = opened.to_pillow()
    except (RuntimeError, OSError, EOFError, SyntaxError) as error:
        raise ValueError(str(error)) from error
    picture.info = {"icc_profile": opened.info.get("icc_profile")}
    return picture


class CameraRaw:
    """Raw sensor values of a camera, developed always the same way.

    Attributes:
        size: (height, width) in pixels of the developed photograph, upright.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Read the header.

        Args:
            file: from its beginning.

        Raises:
            ModuleNotFoundError: rawpy is not installed.
            ValueError: it is damaged, or of a camera that LibRaw does not know.
        """
        try:
            import rawpy
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError("it holds raw sensor values of a camera", name="rawpy") from error
        file.seek(0)
        self._errors: type[Exception] = rawpy.LibRawError
        try:
            self._raw: Any = rawpy.imread(file)
        except rawpy.LibRawError as error:
            raise ValueError(f"LibRaw: {_text(error)}") from error
        sizes = self._raw.sizes
        height, width = sizes.iheight, sizes.iwidth
        self.size: tuple[int, int] = (width, height) if sizes.flip in (5, 6) else (height, width)

    def develop(self) -> RGBImage:
        """Develop it with the camera's white balance and without stretching its brightness.

        Returns:
            uint8 (H, W, 3), sRGB, upright.

        Raises:
            ValueError: it is damaged.
        """
        try:
            # Each option is fixed: by itself LibRaw brightens every photograph to its own range.
            image: RGBImage = self._raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=8)
        except self._errors as error:
            raise ValueError(f"LibRaw: {_text(error)}") from error
        return np.ascontiguousarray(image)

    def close(self) -> None:
        """Release its memory."""
        self._raw.close()


def _text(error: Exception) -> str:
    message = error.args[0] if error.args else error
    return message.decode(errors="replace") if isinstance(message, bytes) else str(message)
