"""Reading photographs of every kind, refusing what is none, writing pictures."""

from __future__ import annotations

import hashlib
import stat
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from sst_retrieval.errors import ImageError
from sst_retrieval.imaging import images
from sst_retrieval.imaging.sources import silence_pillow
from sst_retrieval.types import RGBImage

# Four corners that cannot be mistaken for one another, whichever way the picture lies.
RED, GREEN, BLUE, GREY = (250, 10, 10), (10, 240, 20), (20, 30, 230), (120, 120, 120)


def corners(height: int = 24, width: int = 40) -> RGBImage:
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    top, left = height // 2, width // 2
    picture[:top, :left], picture[:top, left:], picture[top:, :left], picture[top:, left:] = RED, GREEN, BLUE, GREY
    return picture


def looks_like_corners(image: RGBImage) -> bool:
    """True within what JPEG loses; at the seams it loses colour."""
    far = np.abs(image.astype(int) - corners(*image.shape[:2])).max(axis=2) > 8
    return image.shape == (24, 40, 3) and far.mean() < 0.2 and not far[[0, 0, -1, -1], [0, -1, 0, -1]].any()


def saved(picture: Image.Image, path: Path, **options: object) -> Path:
    picture.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.jpg", "A.JPG", "a.webp", "picture-without-ending"])
def test_an_rgb_photograph_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    kind = {"png": "PNG", "tif": "TIFF", "bmp": "BMP", "webp": "WEBP"}.get(name[-4:].strip("."), "JPEG")
    path = saved(Image.fromarray(corners()), tmp_path / name, format=kind, quality=95)
    image = images.read_image(path)
    assert image.dtype == np.uint8
    assert image.shape == (24, 40, 3)
    assert looks_like_corners(image) if kind in ("JPEG", "WEBP") else np.array_equal(image, corners())


# What each orientation makes of a picture whose first stored row is the visual top, per the EXIF standard.
STORED_AS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("kind", ["png", "tif", "jpg", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED_AS[orientation](corners()))
    path = saved(Image.fromarray(stored), tmp_path / f"a.{kind}", exif=exif, quality=95)
    assert images.image_size(path) == (24, 40)
    assert images.orientation(path) == orientation
    assert looks_like_corners(images.read_image(path))


def test_a_broken_exif_block_leaves_the_picture_as_stored(tmp_path: Path) -> None:
    path = saved(Image.fromarray(corners()), tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff\x01", quality=95)
    assert looks_like_corners(images.read_image(path))


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_sixteen_bit_grey_is_never_stretched(tmp_path: Path, kind: str) -> None:
    stored = np.array([[0, 255, 256, 32768, 65535], [1, 2, 3, 4, 5]], dtype=np.uint16)
    image = images.read_image(saved(Image.fromarray(stored), tmp_path / f"a.{kind}"))
    assert image[..., 0].tolist() == [[0, 0, 1, 128, 255], [0, 0, 0, 0, 0]]
    assert np.ptp(image, axis=2).max() == 0


def png(width: int, height: int, *, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bit_colour_takes_the_same_rule(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, depth=16, colour=2, rows=b"\0" + struct.pack(">6H", 0, 256, 65535, 32768, 255, 511)))
    assert images.read_image(path).tolist() == [[[0, 1, 255], [128, 0, 1]]]


def test_sixteen_bit_colour_tiff(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")  # comes with scikit-image
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, corners().astype(np.uint16) * 257, photometric="rgb")
    assert np.array_equal(images.read_image(path), corners())


def test_floating_point_tiff_runs_from_0_to_1(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.array([[0, 0.5, 1]], dtype=np.float32)), tmp_path / "a.tif")
    assert images.read_image(path)[..., 1].tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan, 255])
def test_floating_point_of_unknown_meaning_is_refused(tmp_path: Path, value: float) -> None:
    path = saved(Image.fromarray(np.array([[0, value]], dtype=np.float32)), tmp_path / "a.tif")
    with pytest.raises(ImageError, match=r"a\.tif.*brightness"):
        images.read_image(path)


def test_whole_numbers_beyond_sixteen_bits_are_refused(tmp_path: Path) -> None:
    fine = saved(Image.fromarray(np.array([[0, 65535]], dtype=np.int32)), tmp_path / "fine.tif")
    assert images.read_image(fine)[..., 0].tolist() == [[0, 255]]
    path = saved(Image.fromarray(np.array([[0, 70_000]], dtype=np.int32)), tmp_path / "a.tif")
    with pytest.raises(ImageError, match="70000"):
        images.read_image(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparent_pixels_lie_on_white(tmp_path: Path, mode: str) -> None:
    stored = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    stored.putpixel((1, 0), (0, 0, 0, 0))
    stored.putpixel((2, 0), (0, 0, 0, 51))
    if mode == "PA":
        path = saved(stored.convert("RGBA").quantize(4), tmp_path / "a.png")
    else:
        path = saved(stored.convert(mode), tmp_path / "a.png")
    assert images.read_image(path).tolist() == [[[0] * 3, [255] * 3, [204] * 3]]


def test_a_transparent_colour_of_a_greyscale_png_is_white_too(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.array([[7, 9]], dtype=np.uint8)), tmp_path / "a.png", transparency=7)
    assert images.read_image(path)[..., 0].tolist() == [[255, 9]]


def test_indexed_and_black_and_white_pictures(tmp_path: Path) -> None:
    indexed = Image.fromarray(np.array([[0, 1, 1]], dtype=np.uint8), "L").convert("P")
    indexed.putpalette([*RED, *GREEN])
    assert images.read_image(saved(indexed, tmp_path / "p.png")).tolist() == [[list(RED), list(GREEN), list(GREEN)]]
    bits = Image.fromarray(np.array([[True, False]]))
    assert images.read_image(saved(bits, tmp_path / "b.tif")).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("kind", ["jpg", "tif"])
def test_cmyk_without_a_profile(tmp_path: Path, kind: str) -> None:
    stored = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    image = images.read_image(saved(stored, tmp_path / f"a.{kind}"))
    assert np.abs(image.astype(int) - (255, 0, 0)).max() < 6


def test_lab_tiff(tmp_path: Path) -> None:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    stored = ImageCms.applyTransform(Image.new("RGB", (2, 2), (200, 60, 40)), to_lab)
    assert stored is not None
    path = saved(stored, tmp_path / "a.tif")
    with Image.open(path) as picture:
        assert picture.mode == "LAB"
    assert np.abs(images.read_image(path).astype(int) - (200, 60, 40)).max() < 6


def test_an_embedded_profile_is_followed(tmp_path: Path) -> None:
    # A profile in the XYZ space is the only other one that needs no file: its numbers mean quite other colours.
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = images.read_image(saved(Image.new("RGB", (4, 4), RED), tmp_path / "plain.png"))
    tagged = images.read_image(saved(Image.new("RGB", (4, 4), RED), tmp_path / "tagged.png", icc_profile=srgb))
    assert np.abs(plain.astype(int) - tagged).max() <= 1
    swapped = _exchange_red_and_blue(srgb)
    strange = images.read_image(saved(Image.new("RGB", (4, 4), RED), tmp_path / "strange.png", icc_profile=swapped))
    assert strange[0, 0, 2] > 200
    assert strange[0, 0, 0] < 40


def _exchange_red_and_blue(profile: bytes) -> bytes:
    """Rename two tags of an ICC profile, so that its red means blue."""
    return profile.replace(b"rXYZ", b"____").replace(b"bXYZ", b"rXYZ").replace(b"____", b"bXYZ")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA"])
@pytest.mark.parametrize("profile", [b"no profile at all", b"\0" * 200])
def test_a_broken_profile_is_passed_over(tmp_path: Path, mode: str, profile: bytes) -> None:
    stored = Image.new("RGB", (4, 4), "white").convert(mode)
    assert images.read_image(saved(stored, tmp_path / "a.tif", icc_profile=profile)).min() > 250


def test_a_profile_for_other_channels_is_passed_over(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey = saved(Image.new("L", (4, 4), 77), tmp_path / "a.png", icc_profile=srgb)
    assert (images.read_image(grey) == 77).all()


# ---------------------------------------------------------------------------------------------------- bad files


@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_a_truncated_file_is_an_image_error(tmp_path: Path, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    path = saved(Image.fromarray(noise), tmp_path / f"a.{kind}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=rf"a\.{kind} is (truncated|not a picture).*(copy|open it)"):
        images.read_image(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes"),
        (b"This is a letter, not a photograph.", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF", "is a document"),
        (b"%PDF-1.7", r"is a document \(PDF or PostScript\), which is not read; save it as JPEG"),
        (
            b"<!DOCTYPE html><html><title>404</title>",
            "is a page of the web, not a photograph, .*fetch it again",
        ),
        (b'<?xml version="1.0"?>\n<html>', "is a page of the web"),
        (b'<?xml version="1.0"?>\n<svg width="3">', "is a vector drawing, which is not read"),
        (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1", "is an AVIF picture, which is not read; save it as JPEG, PNG or TIFF"),
        (b"\xff\x0a\xfa\x7f", "is a JPEG XL picture, which is not read"),
        (b"8BPS\0\1", "is a Photoshop document"),
        (b"\0\0\0\x18ftypmp42", "is a video; save a frame"),
        (b"PK\x03\x04\x14", "is an archive .*unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS; fetch the file itself"),
    ],
)
def test_what_is_no_picture_is_an_image_error(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "IMG 0001.jpg"
    path.write_bytes(content)
    for read in (images.read_image, images.image_size, images.read_labels):
        with pytest.raises(ImageError, match=rf"IMG 0001\.jpg.*{reason}"):
            read(path)


@pytest.mark.parametrize(("code", "name"), [(34712, "JPEG 2000"), (50001, "WebP"), (50002, "JPEG XL"), (34887, "LERC")])
def test_compressions_of_tiff_that_are_not_read_are_named(tmp_path: Path, code: int, name: str) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    entry = content.index(struct.pack("<HHI", 259, 3, 1))  # Its tag "Compression".
    path.write_bytes(content[: entry + 8] + struct.pack("<H", code) + content[entry + 10 :])
    with pytest.raises(ImageError, match=rf"it is a TIFF compressed as {name}, which is not read; save it with LZW"):
        images.read_image(path)


def test_missing_files_and_folders_are_image_errors(tmp_path: Path) -> None:
    for read in (images.read_image, images.image_size, images.content_hash):
        with pytest.raises(ImageError, match="does not exist"):
            read(tmp_path / "gone.jpg")
        with pytest.raises(ImageError, match="folder"):
            read(tmp_path)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(60_000, 60_000, depth=8, colour=2, rows=b""))
    with pytest.raises(ImageError, match=r"60000 x 60000 pixels, more than the 400,000,000"):
        images.read_image(path)


def test_max_pixels_is_the_only_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.fromarray(corners()), tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert images.read_image(path).shape == (24, 40, 3)
    assert Image.MAX_IMAGE_PIXELS == 10
    with pytest.raises(ImageError, match="more than the 959"):
        images.read_image(path, max_pixels=959)


def test_warnings_stay_inside_and_settings_are_restored(tmp_path: Path) -> None:
    picture = Image.fromarray(corners()[..., 0]).convert("P")
    path = saved(picture, tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    with Image.open(path) as opened, pytest.warns(UserWarning, match="Transparency expressed in bytes"):
        opened.convert("RGB")  # What Pillow itself says of such a picture.
    before = (list(warnings.filters), Image.MAX_IMAGE_PIXELS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            with pytest.raises(ImageError):
                images.read_image(tmp_path / "gone.tif")
            images.image_size(path)
            images.read_image(path)
    assert not caught
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before


def test_reading_in_threads_restores_the_settings(tmp_path: Path) -> None:
    path = saved(Image.fromarray(corners()), tmp_path / "a.png")
    before = (list(warnings.filters), Image.MAX_IMAGE_PIXELS)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(images.read_image, [path] * 100))
    assert all(np.array_equal(image, corners()) for image in results)
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before


def test_what_others_set_while_a_photograph_is_read_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with warnings.catch_warnings():
        before = list(warnings.filters)
        with silence_pillow():
            warnings.filterwarnings("ignore", message="mine")  # As another thread may at any moment.
            Image.MAX_IMAGE_PIXELS = 5_000
        assert [entry for entry in warnings.filters if entry not in before] == [warnings.filters[0]]
        assert len(warnings.filters) == len(before) + 1
        assert Image.MAX_IMAGE_PIXELS == 5_000


def test_a_filter_of_somebody_else_for_pillow_stays(tmp_path: Path) -> None:
    path = saved(Image.fromarray(corners()), tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        before = list(warnings.filters)
        images.read_image(path)
        assert list(warnings.filters) == before


def test_pillow_is_quiet_until_the_last_reader_ends(tmp_path: Path) -> None:

    def odd(module: str) -> None:
        warnings.warn_explicit("odd", UserWarning, "odd.py", 1, module=module)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with silence_pillow():
            odd("PIL.TiffImagePlugin")
            with silence_pillow():
                odd("PIL.TiffImagePlugin")
            odd("PIL.TiffImagePlugin")
            assert not caught
            odd("somebody.else")
            assert len(caught) == 1
        odd("PIL.TiffImagePlugin")
        assert len(caught) == 2


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("intact")
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    kinds = {"jpg": {}, "png": {}, "tif": {"compression": "tiff_lzw"}, "webp": {}, "gif": {}}
    return {
        kind: saved(Image.fromarray(noise), folder / f"a.{kind}", **options).read_bytes()
        for kind, options in kinds.items()
    }


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp", "gif"])
@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_an_image_or_an_image_error(
    tmp_path: Path, intact: dict[str, bytes], kind: str, data: st.DataObject
) -> None:
    content = bytearray(intact[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(200, len(content) - 1)))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        image = images.read_image(path, max_pixels=10**6)
    except ImageError:
        return
    assert image.dtype == np.uint8
    assert image.shape == (*images.image_size(path), 3)


# ------------------------------------------------------------------------------------- labels, hashes, writing


@pytest.mark.parametrize("kind", ["P", "L", "1", "I;16"])
def test_labels_are_read_as_stored(tmp_path: Path, kind: str) -> None:
    numbers = np.array([[0, 1, 0], [1, 1, 0]]) if kind == "1" else np.array([[0, 2, 5], [255, 0, 5]])
    if kind == "I;16":
        numbers[0, 0] = 40_000
        picture = Image.fromarray(numbers.astype(np.uint16))
    elif kind == "1":
        picture = Image.fromarray(numbers.astype(bool))
    else:
        picture = Image.fromarray(numbers.astype(np.uint8))
        if kind == "P":
            picture.putpalette(list(range(256)) * 3)
    labels = images.read_labels(saved(picture, tmp_path / "a.png"))
    assert labels.dtype == np.uint16
    assert labels.tolist() == numbers.tolist()


def test_pictures_that_hold_no_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="colour picture"):
        images.read_labels(saved(Image.fromarray(corners()), tmp_path / "a.png"))
    with pytest.raises(ImageError, match="JPEG"):
        images.read_labels(saved(Image.fromarray(corners()[..., 0]), tmp_path / "a.jpg"))


def test_content_hash_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"wing" * 100_000)
    assert images.content_hash(path) == hashlib.sha256(b"wing" * 100_000).hexdigest()


@pytest.mark.parametrize(
    ("size", "expected"), [((24, 40), (12, 20)), ((40, 24), (20, 12)), ((10, 20), (10, 20)), ((1, 900), (1, 20))]
)
def test_thumbnail_keeps_the_proportions(size: tuple[int, int], expected: tuple[int, int]) -> None:
    picture = corners(*size)
    small = images.thumbnail(picture, 20)
    assert small.shape == (*expected, 3)
    assert not np.shares_memory(small, picture)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_numbers_survive_a_png(tmp_path: Path, dtype: type) -> None:
    labels: npt.NDArray[Any] = np.array([[0, 3], [255, np.iinfo(dtype).max]], dtype=dtype)
    images.write_png(tmp_path / "a.png", labels)
    assert images.read_labels(tmp_path / "a.png").tolist() == labels.tolist()


def test_written_pictures_are_complete_or_absent(tmp_path: Path) -> None:
    images.write_png(tmp_path / "a.png", corners())
    images.write_jpeg(tmp_path / "a.jpg", corners(), quality=95)
    assert np.array_equal(images.read_image(tmp_path / "a.png"), corners())
    assert looks_like_corners(images.read_image(tmp_path / "a.jpg"))
    with pytest.raises(TypeError):
        images.write_png(tmp_path / "a.png", np.zeros((3, 3, 3), dtype=np.complex128))
    assert np.array_equal(images.read_image(tmp_path / "a.png"), corners())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "a.png"]
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "PNG"),
        ("a.jpg", "JPEG"),
        ("a.JPEG", "JPEG"),
        ("a.webp", "WEBP"),
        ("a.tif", "TIFF"),
        ("a.tiff", "TIFF"),
    ],
)
def test_a_written_picture_is_what_its_name_says(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / "new folder" / name
    images.write_picture(path, corners())
    with Image.open(path) as picture:
        assert picture.format == kind
    assert looks_like_corners(images.read_image(path))


@pytest.mark.parametrize("name", ["a", "a.gif", "a.pdf", "jpg"])
def test_a_picture_of_no_known_name_is_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match=r"let the name end with \.png, \.jpg"):
        images.write_picture(tmp_path / name, corners())
    with pytest.raises(ImageError, match="no picture of 65600 x 1 pixels"):
        images.write_picture(tmp_path / "a.jpg", np.zeros((1, 65_600, 3), dtype=np.uint8))
    assert not list(tmp_path.iterdir())


def test_real_photographs_fit_their_labels(shared_data: Path) -> None:
    for folder in ("heliconius", "pinned_beetles"):
        labels = sorted((shared_data / folder / "supports").glob("*.png"))[:3]
        assert labels
        for label in labels:
            photograph = shared_data / folder / "images" / f"{label.stem}.jpg"
            size = images.read_labels(label).shape
            assert images.read_image(photograph).shape == (*size, 3)
            assert images.image_size(photograph) == size


@pytest.mark.parametrize("read", [images.read_image, images.read_labels])
def test_a_png_that_ends_in_zeros_is_not_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """A copy that broke off, of a file whose size was reserved: zeros are a code of the compression, too."""
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).poisson(2, (200, 300)).astype(np.uint8)).save(path)
    content = path.read_bytes()
    for place in range(content.index(b"IDAT") + 4, len(content) - 16, 99):
        path.write_bytes(content[:place] + bytes(len(content) - place))
        with pytest.raises(ImageError, match="damaged"):
            read(path)
    path.write_bytes(content[:-12])  # Without its end, but with all pixels.
    read(path)


def test_a_palette_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((9, 9), np.uint8)).quantize(4).save(path)
    content = path.read_bytes()
    start = content.index(b"PLTE") - 4
    path.write_bytes(content[:start] + content[start + 12 + int.from_bytes(content[start : start + 4], "big") :])
    with pytest.raises(ImageError, match="damaged"):
        images.read_image(path)
