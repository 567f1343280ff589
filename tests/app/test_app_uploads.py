"""Uploads: bounded before they are decoded, and never answered with what was cached of another one."""

from __future__ import annotations

import io
import resource
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from fakes import a_collection_of, build_fake
from PIL import Image
from streamlit.testing.v1 import AppTest
from test_app import names, opened, quiet, shown, start_on


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uploads")
    build_fake(a_collection_of(folder / "collection"), folder / "index")
    return folder


@pytest.fixture
def museum(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    start_on(made / "index", monkeypatch)
    return made


def bomb(side: int) -> bytes:
    """A PNG of few bytes and many pixels, all 0."""
    packer = zlib.compressobj(9)
    line, packed = bytes(side // 8 + 1), b""
    for _ in range(side):
        packed += packer.compress(line)
    packed += packer.flush()

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def ask_with_file(app: AppTest, name: str, content: bytes, mask: bytes | None = None) -> AppTest:
    app.file_uploader(key="upload").set_value((name, content, "image/png")).run()
    if mask is not None:
        app.file_uploader[1].set_value(("mask.png", mask, "image/png")).run()
    return app


def test_pictures_of_too_many_pixels_are_refused_before_they_are_decoded(museum: Path) -> None:
    content = bomb(24_000)
    photograph = (museum / "collection" / "images" / "r1.png").read_bytes()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for app in (
        ask_with_file(opened("search", way="a photograph"), "r1.png", content),
        ask_with_file(opened("search", way="a photograph"), "r1.png", photograph, content),
    ):
        assert not app.exception
        assert "24000 x 24000" in app.error[0].value
    app = opened("annotate")
    app.selectbox(key="annotate-specimen").set_value("r1").run()
    app.file_uploader(key="annotate-upload-r1").set_value(("mask.png", content, "image/png")).run()
    assert "24000 x 24000" in app.error[0].value
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04" + bytes(100), b"GIF89a\xff\xff\xff\xff\x80\x00\x00", b"\x89PNG\r\n\x1a\n"]
)
def test_uploads_that_are_no_pictures_are_explained(museum: Path, content: bytes) -> None:
    app = ask_with_file(opened("search", way="a photograph"), "r1.png", content)
    assert not app.exception
    assert len(app.error) == 1
    assert "made a mistake" not in app.error[0].value


def test_a_second_photograph_of_the_same_name_is_another_query(museum: Path) -> None:
    images, labels = museum / "collection" / "images", museum / "collection" / "labels"
    app = ask_with_file(
        opened("search", way="a photograph"),
        "x.png",
        (images / "r4.png").read_bytes(),
        (labels / "r4.png").read_bytes(),
    )
    app.selectbox(key="upload-trait").set_value("spot").run()
    quiet(app)
    first = names(app)
    assert first[0] == "r4"
    ask_with_file(app, "x.png", (images / "b2.png").read_bytes())
    quiet(app)
    assert "Draw around **spot**" in shown(app)  # The mask of the first photograph is not that of the second.
    app.file_uploader[1].set_value(("mask.png", (labels / "b2.png").read_bytes(), "image/png")).run()
    quiet(app)
    assert names(app)[0] == "b2"


def test_clicks_are_grown_on_the_photograph_that_is_shown() -> None:
    def page() -> None:
        import numpy as np
        import streamlit as st
        from sst_app.components import hash_content
        from sst_app.mask_canvas import grow_mask

        left = st.session_state.get("left", 10)
        image = np.full((80, 120, 3), 230, np.uint8)
        image[20:60, left : left + 40] = (30, 60, 160)
        st.session_state["grown"] = grow_mask(image, hash_content(image), [(left + 20.0, 40.0)], [(5.0, 5.0)])

    app = AppTest.from_function(page, default_timeout=60)
    for left in (10, 70):
        app.session_state["left"] = left
        app.run()
        assert not app.exception
        truth, grown = np.zeros((80, 120), dtype=bool), app.session_state["grown"]
        truth[20:60, left : left + 40] = True
        assert np.count_nonzero(grown & truth) / np.count_nonzero(grown | truth) > 0.8


def test_a_mask_of_one_specimen_is_not_saved_on_the_next(museum: Path) -> None:
    mask = (museum / "collection" / "labels" / "r3.png").read_bytes()
    single = Image.open(io.BytesIO(mask)).point([255 * (number == 7) for number in range(256)])
    file = io.BytesIO()
    single.save(file, "PNG")
    app = opened("annotate")
    app.selectbox(key="annotate-specimen").set_value("r3").run()
    app.file_uploader(key="annotate-upload-r3").set_value(("mask.png", file.getvalue(), "image/png")).run()
    quiet(app)
    assert "**Drawn**" in shown(app)
    app.selectbox(key="annotate-specimen").set_value("r4").run()
    quiet(app)
    assert "**Drawn**" not in shown(app)


def test_an_index_that_was_removed_and_built_anew_is_not_the_cached_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path / "index")])
    for specimens in ([("r0", "red"), ("r1", "red"), ("r2", "red")], [("r0", "red"), ("r1", "red")]):
        shutil.rmtree(tmp_path / "collection", ignore_errors=True)
        shutil.rmtree(tmp_path / "index", ignore_errors=True)
        build_fake(a_collection_of(tmp_path / "collection", specimens), tmp_path / "index")
        app = opened()
        quiet(app)
        assert f"{len(specimens)} specimens" in shown(app)
