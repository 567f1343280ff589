"""Photographs of kinds that are easily decoded to something else: right pixels, or a refusal that says why."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from test_images import corners, png, saved

from sst_retrieval.errors import ImageError
from sst_retrieval.imaging import images
from sst_retrieval.imaging.exposure import compute_percentile, describe_exposure, is_one_colour
from sst_retrieval.types import RGBImage


def beetle(height: int = 48, width: int = 80) -> RGBImage:
    """A picture with all values from 0 to 255, in which no two channels are alike."""
    ramp = np.linspace(0, 255, width).astype(np.uint8)
    picture = np.stack(
        [np.tile(ramp, (height, 1)), np.tile(ramp[::-1], (height, 1)), np.zeros((height, width))], axis=2
    )
    picture[: height // 3, : width // 2, 2] = 200
    return picture.astype(np.uint8)


def grey(picture: RGBImage) -> npt.NDArray[np.uint8]:
    return picture[..., 0]


def write_tiff(path: Path, values: npt.NDArray[Any], **options: Any) -> Path:
    tifffile.imwrite(path, values, metadata=None, **options)
    return path


def notes_of(path: Path) -> str:
    return "; ".join(images.read_photograph(path).notes)


# ------------------------------------------------------------------------------------------------------ 16 bits

COMPRESSIONS = [None, "zlib", "lzw", "zstd"]


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_sixteen_bit_colour_tiff_of_every_layout(
    tmp_path: Path, compression: str | None, order: str, planar: str, tile: tuple[int, int] | None
) -> None:
    if compression in ("lzw", "zstd"):
        pytest.importorskip("imagecodecs")
    values = beetle().astype(np.uint16) * 257
    stored = np.moveaxis(values, 2, 0) if planar == "separate" else values
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        stored,
        photometric="rgb",
        planarconfig=planar,
        compression=compression,
        byteorder=order,
        tile=tile,
        metadata=None,
    )
    assert np.array_equal(images.read_image(path), beetle())
    assert images.image_size(path) == (48, 80)
    assert notes_of(path) == ""


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("big", [False, True])
def test_eight_bit_colour_tiff_of_every_layout(tmp_path: Path, big: bool, planar: str) -> None:
    stored = np.moveaxis(beetle(), 2, 0) if planar == "separate" else beetle()
    path = write_tiff(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, bigtiff=big)
    assert np.array_equal(images.read_image(path), beetle())


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("kind", ["rgb.tif", "rgb planar.tif", "grey.tif", "rgb.png", "grey.png"])
def test_values_of_fewer_bits_in_sixteen_are_scaled_and_noted(tmp_path: Path, kind: str, bits: int) -> None:
    values = (beetle().astype(np.uint16) * 257) >> (16 - bits)
    path = tmp_path / kind
    if kind == "rgb planar.tif":
        write_tiff(path, np.moveaxis(values, 2, 0), photometric="rgb", planarconfig="separate")
    elif kind.startswith("rgb") and kind.endswith(".tif"):
        write_tiff(path, values, photometric="rgb")
    elif kind == "grey.tif":
        write_tiff(path, grey(values), photometric="minisblack")  # type: ignore[arg-type]
    elif kind == "grey.png":
        Image.fromarray(grey(values)).save(path)  # type: ignore[arg-type]
    else:
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
        path.write_bytes(png(80, 48, depth=16, colour=2, rows=rows))
    wanted = beetle() if kind.startswith("rgb") else np.repeat(grey(beetle())[..., None], 3, axis=2)
    assert np.array_equal(images.read_image(path), wanted)
    assert f"fill {bits} bits" in notes_of(path)


def test_sixteen_bits_of_unknown_depth_are_refused(tmp_path: Path) -> None:
    values = (grey(beetle()).astype(np.uint16) * 257) >> 5  # The brightest is 2,047.
    path = write_tiff(tmp_path / "a.tif", values)
    with pytest.raises(ImageError, match=r"a\.tif cannot be used.*end at 2,047.*how many bits"):
        images.read_image(path)
    said = write_tiff(tmp_path / "b.tif", values, extratags=[(281, "H", 1, 4095, True)])
    assert int(images.read_image(said).max()) == 127


def test_a_dim_photograph_of_sixteen_bits_is_not_stretched(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", (grey(beetle()).astype(np.uint16) * 257) >> 3)  # The brightest is 8,191.
    assert int(images.read_image(path).max()) == 31


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("order", ["<", ">"])
def test_white_is_zero(tmp_path: Path, order: str, kind: type) -> None:
    top = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[kind]
    values = (grey(beetle()).astype(np.float64) * (top / 255)).astype(kind)
    path = write_tiff(tmp_path / "a.tif", (top - values).astype(kind), photometric="miniswhite", byteorder=order)
    assert np.abs(images.read_image(path)[..., 0].astype(int) - grey(beetle())).max() <= 1


def test_twelve_packed_bits(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    values = (grey(beetle()).astype(np.uint16) * 257) >> 4
    path = write_tiff(tmp_path / "a.tif", values, bitspersample=12)
    assert np.array_equal(images.read_image(path)[..., 0], grey(beetle()))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_floating_point_colour(tmp_path: Path, planar: str, kind: type) -> None:
    values = (beetle() / 255).astype(kind)
    stored = np.moveaxis(values, 2, 0) if planar == "separate" else values
    path = write_tiff(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    assert np.abs(images.read_image(path).astype(int) - beetle()).max() <= 1


def test_signed_numbers_are_refused(tmp_path: Path) -> None:
    for kind in (np.int8, np.int16):
        path = write_tiff(tmp_path / f"{kind.__name__}.tif", np.array([[-1, 5], [5, 6]], dtype=kind))
        with pytest.raises(ImageError, match="brightness"):
            images.read_image(path)
    half = write_tiff(tmp_path / "half.tif", (grey(beetle()).astype(np.int16) * 128))
    with pytest.raises(ImageError, match="signed"):
        images.read_image(half)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_alpha_in_tiff(tmp_path: Path, kind: type) -> None:
    scale = 257 if kind is np.uint16 else 1
    alpha = np.full((48, 80, 1), 255, dtype=np.uint8)
    alpha[:10] = 0
    stored = np.concatenate([beetle(), alpha], axis=2).astype(kind) * scale
    image = images.read_image(write_tiff(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["unassalpha"]))
    assert (image[:10] == 255).all()
    assert np.array_equal(image[10:], beetle()[10:])
    two = np.stack([grey(beetle()), alpha[..., 0]], axis=2).astype(kind) * scale
    path = write_tiff(
        tmp_path / "b.tif", two, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]
    )
    image = images.read_image(path)
    assert (image[:10] == 255).all()
    assert np.array_equal(image[10:, :, 0], grey(beetle())[10:])


def test_channels_without_a_known_colour_are_refused(tmp_path: Path) -> None:
    values = np.repeat(beetle()[..., :1], 5, axis=2)
    path = write_tiff(
        tmp_path / "a.tif", values.astype(np.uint16) * 257, photometric="minisblack", planarconfig="contig"
    )
    with pytest.raises(ImageError, match="5 channels"):
        images.read_image(path)


# -------------------------------------------------------------------------------------------------------- pages


def test_a_thumbnail_on_the_first_page_is_passed_over(tmp_path: Path) -> None:
    for flag in (0, 1):
        path = tmp_path / f"{flag}.tif"
        with tifffile.TiffWriter(path) as writer:
            writer.write(beetle()[::4, ::4], photometric="rgb", subfiletype=flag, metadata=None)
            writer.write(beetle(), photometric="rgb", metadata=None)
        assert np.array_equal(images.read_image(path), beetle())
        assert images.image_size(path) == (48, 80)
        assert "thumbnail of 20 x 12" in notes_of(path)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_photograph_on_a_sub_page(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "a.dng"
    stored = beetle() if bits == 8 else beetle().astype(np.uint16) * 257
    with tifffile.TiffWriter(path) as writer:
        orientation = (274, "H", 1, 6, True)
        thumbnail = stored[::4, ::4]
        writer.write(thumbnail, photometric="rgb", subfiletype=1, subifds=1, metadata=None, extratags=[orientation])
        writer.write(stored, photometric="rgb", metadata=None)
    assert images.image_size(path) == (80, 48)
    assert images.orientation(path) == 6
    assert np.array_equal(images.read_image(path), np.rot90(beetle(), -1))


def test_pages_are_counted_and_copies_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for _ in range(3):
            writer.write(beetle(), photometric="rgb", metadata=None)
    assert notes_of(path) == "3 pages, the first is taken"
    pyramid = tmp_path / "b.tif"
    with tifffile.TiffWriter(pyramid) as writer:
        for step in (1, 2, 4):
            writer.write(beetle()[::step, ::step].copy(), photometric="rgb", metadata=None)
    assert notes_of(pyramid) == ""
    assert np.array_equal(images.read_image(pyramid), beetle())


def write_imagej(path: Path, planes: npt.NDArray[Any], **metadata: Any) -> Path:
    tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "CYX", "mode": "composite", **metadata})
    return path


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_composite_of_imagej_is_coloured(tmp_path: Path, kind: type) -> None:
    planes = np.moveaxis(beetle(), 2, 0).astype(kind) * (257 if kind is np.uint16 else 1)
    path = write_imagej(tmp_path / "a.tif", planes)
    assert np.array_equal(images.read_image(path), beetle())
    assert "3 channels are laid over" in notes_of(path)


def test_the_colours_of_a_composite_are_followed(tmp_path: Path) -> None:
    planes = np.moveaxis(beetle(), 2, 0)
    ramp = np.arange(256, dtype=np.uint8)
    luts = [np.stack([ramp if at == channel else ramp * 0 for at in range(3)]) for channel in (2, 1, 0)]
    image = images.read_image(write_imagej(tmp_path / "a.tif", planes, LUTs=luts))
    assert np.array_equal(image, beetle()[..., ::-1])
    two = images.read_image(write_imagej(tmp_path / "b.tif", planes[:2]))
    assert np.array_equal(two[..., :2], beetle()[..., :2])
    assert not two[..., 2].any()


def test_channels_that_are_not_shown_together_are_refused(tmp_path: Path) -> None:
    planes = np.moveaxis(beetle(), 2, 0)
    with pytest.raises(ImageError, match="3 channels that ImageJ does not show together"):
        images.read_image(write_imagej(tmp_path / "a.tif", planes, mode="grayscale"))
    tifffile.imwrite(tmp_path / "b.ome.tif", planes, photometric="minisblack", metadata={"axes": "CYX"}, ome=True)
    with pytest.raises(ImageError, match=r"OME-TIFF of 3 separate channels.*save"):
        images.read_image(tmp_path / "b.ome.tif")
    tifffile.imwrite(tmp_path / "c.ome.tif", beetle(), photometric="rgb", metadata={"axes": "YXS"}, ome=True)
    assert np.array_equal(images.read_image(tmp_path / "c.ome.tif"), beetle())


def test_animations_are_noted(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(beetle(), step, axis=1)) for step in range(3)]
    for name, said in {"a.gif": "several", "a.webp": "3", "a.png": "3", "a.jpg": "3"}.items():
        kind = {"a.jpg": "MPO"}.get(name)
        path = saved(frames[0], tmp_path / name, save_all=True, append_images=frames[1:], format=kind)
        assert notes_of(path) == f"{said} pictures in one file, the first is taken"
        assert np.abs(images.read_image(path).astype(int) - beetle()).mean() < 12


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 8}], ids=str)
def test_a_lost_block_in_the_middle_of_a_jpeg_is_said(tmp_path: Path, mode: str, options: dict[str, Any]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (240, 320, 3)).astype(np.uint8)
    whole = saved(Image.fromarray(pixels).convert(mode), tmp_path / "whole.jpg", **options)
    assert notes_of(whole) == ""
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4096] = bytes(4096)
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(data)
    assert "its data are damaged (" in notes_of(damaged)
    filled = tmp_path / "filled.jpg"  # As some cameras do.
    filled.write_bytes(whole.read_bytes()[:-2] + bytes(300) + whole.read_bytes()[-2:] + bytes(1000))
    assert notes_of(filled) == ""


# -------------------------------------------------------------------------------------------- phones and cameras


def write_raw(path: Path) -> Path:
    """A DNG of a camera whose sensor has 64 x 96 cells behind red, green and blue filters."""
    values = np.full((64, 96), 8000, dtype=np.uint16)
    values[::2, 1::2] = values[1::2, ::2] = 12000
    matrix = [1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1]
    tifffile.imwrite(
        path,
        values,
        photometric="cfa",
        metadata=None,
        extratags=[
            (33421, "H", 2, (2, 2), True),
            (33422, "B", 4, (0, 1, 1, 2), True),
            (50706, "B", 4, (1, 4, 0, 0), True),
            (50708, "s", 0, "Test camera", True),
            (50717, "I", 1, 16383, True),
            (50721, "2i", 9, matrix, True),
            (50778, "H", 1, 21, True),
        ],
    )
    return path


def test_raw_sensor_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_raw(tmp_path / "a.dng")
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for read in (images.read_image, images.image_size):
        with pytest.raises(ImageError, match=r"a\.dng.*rawpy.*sst-retrieval\[formats\]"):
            read(path)
    monkeypatch.undo()
    pytest.importorskip("rawpy")
    image = images.read_image(path)
    assert image.shape == (*images.image_size(path), 3)
    assert image.shape[0] > 50
    assert image.std() < 60


def test_heic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "IMG.jpg"  # A wrong suffix does not matter.
    heif.from_pillow(Image.fromarray(corners(64, 96))).save(path, quality=95)
    assert images.image_size(path) == (64, 96)
    assert np.abs(images.read_image(path).astype(int) - corners(64, 96)).mean() < 8
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ImageError, match="damaged"):
        images.read_image(path)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r"HEIC.*sst-retrieval\[formats\]"):
        images.read_image(path)


# ---------------------------------------------------------------------------------------------- colours and turns


def add_chunk(path: Path, kind: bytes, data: bytes, *, at_end: bool = False) -> None:
    content = path.read_bytes()
    place = content.rindex(b"IEND") - 4 if at_end else 33
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(content[:place] + chunk + content[place:])


def test_the_gamma_of_a_png_is_followed(tmp_path: Path) -> None:
    linear = saved(Image.new("RGB", (4, 4), (55, 55, 55)), tmp_path / "a.png")
    add_chunk(linear, b"gAMA", struct.pack(">I", 100_000))
    assert np.abs(images.read_image(linear).astype(int) - 128).max() <= 1
    usual = saved(Image.new("RGB", (4, 4), (55, 55, 55)), tmp_path / "b.png")
    add_chunk(usual, b"gAMA", struct.pack(">I", 45_455))
    assert (images.read_image(usual) == 55).all()
    add_chunk(linear, b"sRGB", b"\0")
    assert (images.read_image(linear) == 55).all()


def test_an_exif_block_behind_the_pixels_of_a_png(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.rot90(corners(), 1)), tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    add_chunk(path, b"eXIf", exif.tobytes()[6:], at_end=True)
    assert images.orientation(path) == 6
    assert images.image_size(path) == (24, 40)
    assert np.array_equal(images.read_image(path), corners())


def test_profiles_of_grey_and_of_tiff_pages(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"____").replace(b"bXYZ", b"rXYZ").replace(b"____", b"bXYZ")
    red = np.zeros((8, 8, 3), dtype=np.uint16)
    red[..., 0] = 65535
    path = write_tiff(
        tmp_path / "a.tif", np.moveaxis(red, 2, 0), photometric="rgb", planarconfig="separate", iccprofile=swapped
    )
    assert images.read_image(path)[0, 0, 2] > 200


# ------------------------------------------------------------------------------------------------------- exposure


def test_what_shows_nothing_is_noticed() -> None:
    assert is_one_colour(np.full((40, 60, 3), 90, dtype=np.uint8))
    speck = np.full((2000, 2000, 3), 255, dtype=np.uint8)
    assert is_one_colour(speck)
    speck[1001, 777] = 0
    assert not is_one_colour(speck)
    assert describe_exposure(speck) == "it is nearly white"
    assert describe_exposure(beetle(100, 200) // 12) == "it is nearly black"
    assert describe_exposure(beetle(20, 30)) == "it has 30 x 20 pixels only"
    assert describe_exposure(beetle(100, 200)) is None


# ---------------------------------------------------------------------------------------------------- what changes


def test_the_checksum_is_of_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.fromarray(beetle()), tmp_path / "a.png")
    read = images.read_photograph(path)
    assert read.checksum == images.content_hash(path)
    assert np.array_equal(read.image, beetle())
    original = images.open_source

    def change_first(file: Any, check: Any) -> Any:
        saved(Image.fromarray(beetle()[::-1]), tmp_path / "b.png")
        path.write_bytes((tmp_path / "b.png").read_bytes())
        return original(file, check)

    monkeypatch.setattr(images, "open_source", change_first)
    with pytest.raises(ImageError, match="changed while it was read"):
        images.read_photograph(path)


# --------------------------------------------------------------------------------------------------------- bounds


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.jpg"))
        for read in (images.read_image, images.image_size, images.orientation, images.read_labels, images.content_hash):
            with pytest.raises(ImageError, match=r"pipe\.jpg is a pipe"):
                read(pipe)
            with pytest.raises(ImageError, match="is a device"):
                read(Path(os.devnull))
            with pytest.raises(ImageError, match="is a socket"):
                read(tmp_path / "socket.jpg")
            with pytest.raises(ImageError, match="cannot be opened"):
                read(Path("a\0b"))


BOMB = """
import resource, sys
from pathlib import Path
from sst_retrieval.errors import ImageError
from sst_retrieval.imaging import images
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name in sys.argv[1:]:
    for read in (images.image_size, images.orientation, images.read_image, images.read_labels):
        try:
            read(Path(name))
        except ImageError:
            pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_bombs_take_no_memory(tmp_path: Path) -> None:
    side = 19_000
    compress = zlib.compressobj(9)
    row = compress.compress(b"\0" * (side + 1)) + compress.compress(b"\0" * (side + 1) * 500) + compress.flush()
    (tmp_path / "a.png").write_bytes(png(side, side, depth=8, colour=0, rows=b"")[:41] + row)
    rows = zlib.compress(b"\0" * (side // 8 + 1) * side, 9)
    content = png(side, side, depth=1, colour=0, rows=b"")
    place = content.index(b"IDAT") - 4
    data = struct.pack(">I", len(rows)) + b"IDAT" + rows + struct.pack(">I", zlib.crc32(b"IDAT" + rows))
    (tmp_path / "b.png").write_bytes(content[:place] + data + content[content.index(b"IEND") - 4 :])
    gif = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    gif += b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x02\x02\x44\x01\0;"
    (tmp_path / "c.gif").write_bytes(gif)
    webp = b"VP8X" + struct.pack("<I", 10) + b"\0" * 4 + (16_000).to_bytes(3, "little") * 2
    (tmp_path / "d.webp").write_bytes(b"RIFF" + struct.pack("<I", 4 + len(webp)) + b"WEBP" + webp)
    names = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run([sys.executable, "-c", BOMB, *names], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 300


def test_a_large_picture_of_few_bytes_is_no_photograph(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(10_000, 10_000, depth=8, colour=2, rows=b""))
    with pytest.raises(ImageError, match=r"100,000,000 pixels, but its \d+ bytes hold no photograph"):
        images.read_image(path)
    assert images.image_size(path) == (10_000, 10_000)


def test_a_photograph_that_memory_does_not_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LARGE", 100)
    monkeypatch.setattr(images, "_free_memory", lambda: 1000)
    with pytest.raises(ImageError, match="save a smaller copy"):
        images.read_image(saved(Image.fromarray(beetle()), tmp_path / "a.png"))


def test_tiles_that_claim_too_much_are_refused(tmp_path: Path) -> None:
    path = write_tiff(
        tmp_path / "a.tif", beetle().astype(np.uint16) * 257, photometric="rgb", compression="zlib", tile=(16, 16)
    )
    with tifffile.TiffFile(path, mode="r+") as opened:
        opened.pages[0].tags[322].overwrite(60_000)
        opened.pages[0].tags[323].overwrite(60_000)
    with pytest.raises(ImageError):
        images.read_image(path)


# --------------------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64])
def test_labels_of_whole_numbers_in_tiff(tmp_path: Path, kind: type) -> None:
    numbers = np.array([[0, 3, 7], [100, 0, 1]], dtype=kind)
    path = write_tiff(tmp_path / "a.tif", numbers)
    assert images.read_labels(path).tolist() == numbers.tolist()
    if np.issubdtype(kind, np.signedinteger):
        with pytest.raises(ImageError, match="label -1"):
            images.read_labels(write_tiff(tmp_path / "b.tif", -(numbers > 50).astype(kind)))


def test_grey_labels_may_have_transparency_and_three_channels(tmp_path: Path) -> None:
    numbers = np.array([[0, 3, 7], [9, 0, 1]], dtype=np.uint8)
    alpha = np.array([[255, 255, 255], [0, 255, 255]], dtype=np.uint8)
    both = np.stack([numbers, alpha], axis=2)
    seen = np.where(alpha, numbers, 0).tolist()
    assert images.read_labels(saved(Image.fromarray(both, "LA"), tmp_path / "a.png")).tolist() == seen
    three = np.repeat(numbers[..., None], 3, axis=2)
    assert images.read_labels(saved(Image.fromarray(three), tmp_path / "b.png")).tolist() == numbers.tolist()
    both[0, 0, 1] = 100
    with pytest.raises(ImageError, match="colour picture"):
        images.read_labels(saved(Image.fromarray(both, "LA"), tmp_path / "c.png"))


def test_labels_of_floating_point_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="floating point"):
        images.read_labels(write_tiff(tmp_path / "a.tif", np.zeros((4, 4), dtype=np.float32)))


# ----------------------------------------------------------------------------------------------------------- fuzz


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    deep = beetle().astype(np.uint16) * 257
    planes = np.moveaxis(deep, 2, 0)
    picture, exif = Image.fromarray(beetle()), Image.Exif()
    exif[0x0112] = 6
    made = {
        "jpg": saved(picture, folder / "a.jpg", exif=exif),
        "png": saved(picture, folder / "a.png", exif=exif),
        "webp": saved(picture, folder / "a.webp", exif=exif),
        "gif": saved(picture, folder / "a.gif"),
        "jp2": saved(picture, folder / "a.jp2"),
        "bmp": saved(picture, folder / "a.bmp"),
        "ppm": saved(picture, folder / "a.ppm"),
        "labels": saved(picture.convert("P"), folder / "labels.png"),
        "planar": write_tiff(folder / "b.tif", planes, photometric="rgb", planarconfig="separate", compression="zlib"),
        "tiled": write_tiff(folder / "c.tif", deep, photometric="rgb", tile=(16, 16), bigtiff=True),
        "imagej": write_imagej(folder / "d.tif", planes),
        "white": write_tiff(folder / "e.tif", grey(deep), photometric="miniswhite"),  # type: ignore[arg-type]
        "raw": write_raw(folder / "f.dng"),
    }
    return {kind: path.read_bytes() for kind, path in made.items()}


@pytest.mark.filterwarnings("ignore")
@seed(15)
@given(data=st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_files_of_all_kinds_are_read_or_refused(
    tmp_path: Path, intact: dict[str, bytes], data: st.DataObject
) -> None:
    content = bytearray(intact[data.draw(st.sampled_from(sorted(intact)))])
    near_start = st.integers(0, min(400, len(content) - 1))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(near_start | st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)) | st.just(len(content)))])
    for read in (images.orientation, images.read_labels):
        with suppress(ImageError):
            read(path)
    try:
        image = images.read_image(path, max_pixels=10**6)
    except ImageError:
        return
    assert image.dtype == np.uint8
    assert image.shape == (*images.image_size(path), 3)


def test_a_percentile_is_numpys() -> None:
    random = np.random.default_rng(0)
    for count in (1, 2, 7, 200, 5000):
        values = random.integers(random.integers(200), 256, size=count).astype(np.uint8)
        for percentage in (0, 0.5, 50, 99.5, 100):
            assert compute_percentile(values, percentage) == pytest.approx(np.percentile(values, percentage), abs=1e-9)
