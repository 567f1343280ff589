"""Photographs that cannot be used, or are damaged in the middle: the app says which, why, and in the person's words."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes import a_collection_of, build_fake
from PIL import Image
from test_app import names, opened, quiet, shown, start_on

import sst_retrieval as sst


def damage(file: Path) -> bytes:
    """Return a photograph as a JPEG file whose data are damaged in the middle, which decoders accept."""
    data = bytearray()
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    picture = np.asarray(Image.open(file).convert("RGB").resize((300, 200))) // 2 + noise // 2
    whole = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(whole, "JPEG", quality=80)
    data += whole.getvalue()
    middle = len(data) // 2
    data[middle : middle + 40] = b"\xff\xd0" * 20
    return bytes(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five specimens: r0 to r2 are whole, of r3 the photograph is missing, r4 is damaged."""
    folder = tmp_path_factory.mktemp("bad")
    table = a_collection_of(folder / "collection", [(f"r{number}", "red") for number in range(5)])
    images = folder / "collection" / "images"
    (images / "r3.png").unlink()
    (images / "r4.jpg").write_bytes(damage(images / "r4.png"))
    table.write_text(table.read_text().replace("r4.png", "r4.jpg"))
    build_fake(table, folder / "index")
    return folder


@pytest.fixture
def museum(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    start_on(made / "index", monkeypatch)
    return made


def test_the_collection_page_says_what_was_skipped_and_what_was_noted(museum: Path) -> None:
    app = opened("collection")
    quiet(app)
    skipped = next(each.value for each in app.dataframe if "why" in each.value)
    assert skipped["specimen"].tolist() == ["r3"]
    assert skipped["why"][0].startswith("images/r3.png does not exist")
    assert "Noted by the last build: " in shown(app)
    assert "r4: its data are damaged" in shown(app)


def test_an_index_that_says_no_origin_leaves_its_paths_as_they_are(
    museum: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise sst.IndexFolderError(f"{path} does not say where its table and supports lie")

    monkeypatch.setattr("sst_retrieval.origin_of", refuse, raising=False)
    app = opened("collection")
    skipped = next(each.value for each in app.dataframe if "why" in each.value)
    assert skipped["why"][0].startswith(f"{museum / 'collection' / 'images' / 'r3.png'} does not exist")


def test_specimens_that_nobody_can_ask_with_come_last(museum: Path) -> None:
    app = opened()
    quiet(app)
    picks = [button.key.removeprefix("pick-") for button in app.button if button.key.startswith("pick-")]
    assert picks == ["r0", "r1", "r2", "r4", "r3"]
    assert "r3 is not indexed: " in shown(opened(specimen="r3"))


def test_an_upload_that_cannot_be_read_is_called_as_the_person_calls_it(museum: Path) -> None:
    app = opened(way="a photograph")
    app.file_uploader(key="upload").set_value(("My beetle.jpg", b"no picture", "image/jpeg")).run()
    assert app.error[0].value.startswith("My beetle.jpg is not a picture")
    assert "/tmp" not in app.error[0].value


def test_the_data_of_an_upload_are_looked_at(museum: Path) -> None:
    file = museum / "collection" / "images" / "r4.jpg"
    app = opened(way="a photograph")
    app.file_uploader(key="upload").set_value(("My beetle.jpg", file.read_bytes(), "image/jpeg")).run()
    quiet(app)
    assert "My beetle.jpg: its data are damaged" in shown(app)


def test_a_morphospace_of_two_is_no_error(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = a_collection_of(tmp_path / "two", [("r0", "red"), ("r1", "red")])
    build_fake(table, tmp_path / "index")
    monkeypatch.setattr(sys, "argv", ["Home.py", str(tmp_path / "index")])
    app = opened("morphospace")
    quiet(app)
    assert "2 specimens can be compared, and a space is spanned by 3 or more" in shown(app)
    assert "f.catalogNumber" not in [each.key for each in opened().multiselect]


def test_hits_are_put_into_the_order_of_their_neighbours(museum: Path) -> None:
    app = opened(specimen="r0", trait="spot")
    app.toggle(key="rerank").set_value(True).run()
    quiet(app)
    with sst.open_index(museum / "index") as index:
        wanted = [hit.individual for hit in index.search(like=("r0", "spot"), k=12, rerank=100)]
    assert names(app) == wanted
    app.text_input(key="sentence").set_value("females").run()
    quiet(app)
    assert app.toggle(key="rerank").disabled
    assert names(opened(specimen="r0", trait="spot", rerank="true")) == wanted
