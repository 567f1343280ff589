"""Photographs of all formats, damaged: an array as before, an error, or a difference that no format can notice.

- Formats with checksums (PNG: a CRC for every chunk) must notice all damage but a block that ends where it should.
- A truncated file must not be read as a whole one, whatever its format.
- All formats: `image_size` and the pixels agree, and size and type are sane.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from fuzzing.damages import EXTREMES, damage
from fuzzing.outcomes import DIFFERENT, EXPLAINED, RIGHT, Check, Outcome
from sst_retrieval.imaging import images
from sst_retrieval.imaging.images import image_size, orientation, read_image
from sst_retrieval.types import RGBImage

HEIGHT, WIDTH = 60, 80
TURNS: dict[int, Callable[[RGBImage], RGBImage]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@dataclass(frozen=True, slots=True)
class Photograph:
    """A valid file.

    Attributes:
        name: what is special about it.
        suffix: of its file.
        content: of the file.
        pixels: uint8 (H, W, 3), what it shows, by an independent reading; None where that depends on a profile.
        checksums: whether its format has checksums of all that matters.
    """

    name: str
    suffix: str
    content: bytes
    pixels: RGBImage | None
    checksums: bool = False


def picture() -> RGBImage:
    """Draw something with areas, edges and noise; uint8 (HEIGHT, WIDTH, 3)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([2 * x + 40, 3 * y + 30, x + y + 50], axis=2)
    pixels[15:45, 20:60] = (180, 60, 90)
    return np.clip(pixels + rng.integers(-12, 13, pixels.shape), 0, 255).astype(np.uint8)


def save(image: Image.Image, format_: str, **options: Any) -> bytes:
    with io.BytesIO() as file:
        image.save(file, format_, **options)
        return file.getvalue()


def save_tiff(pixels: np.ndarray, **options: Any) -> bytes:
    with io.BytesIO() as file:
        tifffile.imwrite(file, pixels, **options)
        return file.getvalue()


def decoded(content: bytes) -> RGBImage:
    """Decode by Pillow itself, for formats that lose something."""
    with Image.open(io.BytesIO(content)) as opened:
        return np.array(opened.convert("RGB"))


def gray_of(values: np.ndarray) -> RGBImage:
    return np.repeat(values[..., None], 3, axis=2)


def make_photographs() -> list[Photograph]:
    """Make a valid file of every kind."""
    rgb = picture()
    image, gray, made = Image.fromarray(rgb), rgb.mean(axis=2).astype(np.uint8), []
    gray_image = Image.fromarray(gray)
    wide = rgb.astype(np.uint16) * 257
    wide_gray = gray.astype(np.uint16) * 257

    def add(name: str, suffix: str, content: bytes, pixels: RGBImage | None, *, checksums: bool = False) -> None:
        made.append(Photograph(name, suffix, content, pixels, checksums))

    for name, one, options in (
        ("JPEG", image, {}),
        ("JPEG 4:4:4 with tables of its own", image, {"subsampling": 0, "quality": 95, "optimize": True}),
        ("progressive JPEG", image, {"progressive": True}),
        ("grey JPEG", gray_image, {}),
        ("CMYK JPEG", image.convert("CMYK"), {}),
        ("JPEG with restart markers", image, {"restart_marker_rows": 1}),
    ):
        content = save(one, "JPEG", **options)
        add(name, ".jpg", content, None if one.mode == "CMYK" else decoded(content))
    for turn, function in TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = turn
        content = save(image, "JPEG", exif=exif)
        add(f"JPEG, EXIF orientation {turn}", ".jpg", content, np.ascontiguousarray(function(decoded(content))))
    add("PNG", ".png", save(image, "PNG"), rgb, checksums=True)
    add("grey PNG", ".png", save(gray_image, "PNG"), gray_of(gray), checksums=True)
    add("PNG of 16 bits, grey", ".png", save(Image.fromarray(wide_gray), "PNG"), gray_of(gray), checksums=True)
    add("PNG of 16 bits", ".png", make_png(wide, 16, 2), rgb, checksums=True)
    add("interlaced PNG", ".png", make_png(rgb, 8, 2, interlaced=True), rgb, checksums=True)
    few = image.quantize(16)
    add("PNG with a palette", ".png", save(few, "PNG"), np.array(few.convert("RGB")), checksums=True)
    two = gray_image.convert("1")
    add("PNG of 1 bit", ".png", save(two, "PNG"), np.array(two.convert("RGB")), checksums=True)
    opaque = Image.fromarray(np.dstack([rgb, np.full((HEIGHT, WIDTH), 255, np.uint8)]))
    add("PNG with transparency", ".png", save(opaque, "PNG"), rgb, checksums=True)
    add("PNG with text, resolution and time", ".png", add_chunks(save(image, "PNG")), rgb, checksums=True)
    add("PNG of many IDAT", ".png", make_png(rgb, 8, 2, piece=200), rgb, checksums=True)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        add(f"TIFF, {compression}", ".tif", save(image, "TIFF", compression=compression), rgb)
    content = save(image, "TIFF", compression="jpeg")
    add("TIFF, JPEG", ".tif", content, decoded(content))
    add("TIFF with a palette", ".tif", save(few, "TIFF"), np.array(few.convert("RGB")))
    add("TIFF of 16 bits", ".tif", save_tiff(wide, photometric="rgb"), rgb)
    add("TIFF of 16 bits, big-endian", ".tif", save_tiff(wide, photometric="rgb", byteorder=">"), rgb)
    add("TIFF of 16 bits, grey", ".tif", save_tiff(wide_gray, photometric="minisblack"), gray_of(gray))
    add("TIFF in tiles, deflate", ".tif", save_tiff(rgb, photometric="rgb", tile=(32, 32), compression="zlib"), rgb)
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    add("planar TIFF", ".tif", save_tiff(planes, photometric="rgb", planarconfig="separate"), rgb)
    add("BigTIFF", ".tif", save_tiff(rgb, photometric="rgb", bigtiff=True), rgb)
    add("lossless WebP", ".webp", save(image, "WEBP", lossless=True), rgb)
    content = save(image, "WEBP", quality=80)
    add("WebP", ".webp", content, decoded(content))
    add("GIF", ".gif", save(few, "GIF"), np.array(few.convert("RGB")))
    add("BMP", ".bmp", save(image, "BMP"), rgb)
    add("BMP with a palette", ".bmp", save(few.convert("P"), "BMP"), np.array(few.convert("RGB")))
    add("PPM", ".ppm", save(image, "PPM"), rgb)
    add("JPEG 2000", ".jp2", save(image, "JPEG2000"), rgb)
    content = save(image, "JPEG2000", irreversible=True, quality_layers=[20])
    add("lossy JPEG 2000", ".jp2", content, decoded(content))
    return made


# ----------------------------------------------------------------------------------------------------------- PNG


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_png(pixels: np.ndarray, bits: int, colour: int, *, interlaced: bool = False, piece: int = 1 << 20) -> bytes:
    """Write a PNG that Pillow cannot: 16 bits a colour, Adam7, or many IDAT chunks."""
    height, width = pixels.shape[:2]
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    stored = pixels.astype(">u2") if bits == 16 else pixels
    parts = [stored[y::dy, x::dx] for y, x, dy, dx in (passes if interlaced else ((0, 0, 1, 1),))]
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for part in parts for row in part))
    idats = b"".join(chunk(b"IDAT", data[i : i + piece]) for i in range(0, len(data), piece))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced)))
    return b"\x89PNG\r\n\x1a\n" + header + idats + chunk(b"IEND", b"")


def add_chunks(png: bytes) -> bytes:
    extra = chunk(b"pHYs", struct.pack(">IIB", 3000, 3000, 1)) + chunk(b"tEXt", b"Title\0A beetle")
    extra += chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"pinned")) + chunk(b"tIME", bytes((7, 231, 1, 2, 3, 4, 5)))
    return png[:33] + extra + png[33:]


def split_chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at + 8 <= len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + size]))
        at += size + 12
    return found


def remake_png(png: bytes, rng: Random) -> bytes:
    """Damage the data of a chunk, and give it a right checksum: a program wrote nonsense."""
    chunks = split_chunks(png)
    at = rng.randrange(len(chunks))
    kind, data = chunks[at]
    how = rng.randrange(5)
    if how == 0:
        chunks[at] = (kind, damage(data or b"\0", rng)[0])
    elif how == 1:
        del chunks[at]
    elif how == 2:
        chunks.insert(rng.randrange(len(chunks)), chunks[at])
    elif how == 3:
        rng.shuffle(chunks)
    else:
        start = rng.choice((0, 4))
        number = rng.choice((*EXTREMES, rng.randrange(200_000))).to_bytes(4, "big")
        chunks[0] = (chunks[0][0], chunks[0][1][:start] + number + chunks[0][1][start + 4 :])
    return png[:8] + b"".join(chunk(*each) for each in chunks)


# ---------------------------------------------------------------------------------------------------------- check


def prepare(folder: Path) -> Check:
    """Make the valid files; each is read undamaged now and then, and must be right."""
    photographs = make_photographs()
    before: dict[str, RGBImage] = {}

    def check(rng: Random) -> Outcome:
        photograph = rng.choice(photographs)
        path = folder / f"photograph{photograph.suffix}"
        if rng.random() < 0.02 or photograph.name not in before:
            path.write_bytes(photograph.content)
            before[photograph.name] = read_image(path)
            if (outcome := judge_undamaged(photograph, before[photograph.name])).verdict != RIGHT:
                return outcome
        content, name = damage(photograph.content, rng)
        remade = photograph.suffix == ".png" and rng.random() < 0.3
        if remade:
            content, name = remake_png(photograph.content, rng), "a chunk with a right checksum"
        path.write_bytes(content)
        pixels, notes = read(path)
        orientation(path)
        outcome = judge(photograph, pixels, before[photograph.name], name, content, remade=remade)
        if outcome.verdict != DIFFERENT and image_size(path) != pixels.shape[:2]:
            return Outcome(DIFFERENT, "image_size is another than that of the pixels", f"{photograph.name}, {name}")
        if outcome.verdict == DIFFERENT and notes:
            return Outcome(EXPLAINED, "a note", f"{notes}")
        return outcome

    return check


def read(path: Path) -> tuple[RGBImage, tuple[str, ...]]:
    """Read a photograph with its notes."""
    content: Any = images.read_photograph(path) if hasattr(images, "read_photograph") else None
    return (read_image(path), ()) if content is None else (content.image, content.notes)


def judge_undamaged(photograph: Photograph, pixels: RGBImage) -> Outcome:
    if photograph.pixels is None or np.array_equal(pixels, photograph.pixels):
        return Outcome(RIGHT, "undamaged")
    return Outcome(DIFFERENT, f"undamaged {photograph.name}", describe(pixels, photograph.pixels))


def describe(pixels: RGBImage, expected: RGBImage) -> str:
    if pixels.shape != expected.shape:
        return f"{pixels.shape} instead of {expected.shape}"
    difference = np.abs(pixels.astype(int) - expected).max(axis=2)
    return f"{(difference > 0).sum()} of {difference.size} pixels differ, by {difference.max()} at most"


def judge(
    photograph: Photograph, pixels: RGBImage, before: RGBImage, name: str, content: bytes, *, remade: bool
) -> Outcome:
    detail = f"{photograph.name}, {name}"
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        return Outcome(DIFFERENT, "no uint8 (H, W, 3)", detail)
    if np.array_equal(pixels, before):
        return Outcome(RIGHT, "the pixels are as before")
    detail += f": {describe(pixels, before)}"
    if remade:
        return Outcome(EXPLAINED, "a program wrote it so: the checksums are right", detail)
    if content == photograph.content[: len(content)]:
        return Outcome(DIFFERENT, f"a truncated {photograph.suffix} is read", detail)
    if photograph.checksums:
        return Outcome(DIFFERENT, "checksums of the format would show it", detail)
    return Outcome(EXPLAINED, f"{photograph.suffix} has no checksum of its pixels or header", detail)
