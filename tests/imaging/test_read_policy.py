"""What an index that a stranger made, or changed, can make us open: its own files and its collection's photographs."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from fakes import FAKES, build_fake
from invented import without_checksums
from PIL import Image
from streamlit.testing.v1 import AppTest

import sst_retrieval as sst
from sst_retrieval.files import is_inside
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.picture_pack import MAX_BYTES, remove_pictures, write_pictures

HOME = Path(__file__).resolve().parents[2] / "app" / "Home.py"
SECRET = (1, 200, 3)
"""Colour of the picture that must not be shown."""


@pytest.fixture
def museum(ten: Path, tmp_path: Path) -> Path:
    """A copy of a collection and its index in `museum`, and beside it a picture that is nobody's business."""
    folder = tmp_path / "museum"
    shutil.copytree(ten, folder)
    move(folder / "index", ten, folder)
    (tmp_path / "private").mkdir()
    Image.new("RGB", (60, 40), SECRET).save(tmp_path / "private" / "r1.png")
    return folder


def move(index: Path, old: Path, new: Path) -> None:
    """Let an index name another folder everywhere."""
    without_checksums(index)
    text = (index / "manifest.json").read_text()
    (index / "manifest.json").write_text(text.replace(json.dumps(str(old))[1:-1], json.dumps(str(new))[1:-1]))
    rename(index, f"""replace("sst:image", '{old}', '{new}')""")


def rename(index: Path, expression: str, where: str = "true") -> None:
    """Change the paths of photographs in a catalog."""
    (catalog,) = index.glob("generations/*/catalog.duckdb")
    with duckdb.connect(str(catalog)) as connection:
        for table in ("individual_rows", "lone_photographs"):
            connection.execute(f"""UPDATE {table} SET "sst:image" = {expression} WHERE {where}""")


def photograph(index: Path, specimen: str, *folders: Path) -> np.ndarray:
    with sst.open_index(index, reach=sst.Reach(folders)) as opened:
        return opened.photograph(specimen)


def test_a_photograph_of_the_collection_is_opened(museum: Path) -> None:
    assert photograph(museum / "index", "r1", museum).shape == (40, 60, 3)
    with sst.open_index(museum / "index") as trusted:
        assert trusted.photograph("r1").shape == (40, 60, 3)


def outside(museum: Path) -> None:
    rename(museum / "index", f"'{museum.parent / 'private' / 'r1.png'}'", "\"sst:specimen\" = 'r1'")


def dots(museum: Path) -> None:
    rename(museum / "index", f"'{museum / '..' / 'private' / 'r1.png'}'", "\"sst:specimen\" = 'r1'")


def link(museum: Path) -> None:
    (museum / "images" / "r1.png").unlink()
    (museum / "images" / "r1.png").symlink_to(museum.parent / "private" / "r1.png")


def linked_folder(museum: Path) -> None:
    (museum / "more").symlink_to(museum.parent / "private")
    rename(museum / "index", f"'{museum / 'more' / 'r1.png'}'", "\"sst:specimen\" = 'r1'")


def circle(museum: Path) -> None:
    (museum / "images" / "r1.png").unlink()
    (museum / "images" / "r1.png").symlink_to(museum / "images" / "r1.png")


def beginning(museum: Path) -> None:
    """A folder whose name only begins alike."""
    (museum.parent / "museum2").mkdir()
    shutil.copy(museum.parent / "private" / "r1.png", museum.parent / "museum2" / "r1.png")
    rename(museum / "index", f"'{museum.parent / 'museum2' / 'r1.png'}'", "\"sst:specimen\" = 'r1'")


def another(museum: Path) -> None:
    """A picture inside the collection, but not the one that was indexed."""
    shutil.copy(museum.parent / "private" / "r1.png", museum / "images" / "r1.png")


ATTACKS = [outside, dots, link, linked_folder, circle, beginning, another]


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_other_picture_is_opened(museum: Path, attack: Callable[[Path], None]) -> None:
    attack(museum)
    with pytest.raises(sst.ImageError, match=r"not opened|not the photograph"):
        photograph(museum / "index", "r1", museum)


def test_a_folder_that_was_agreed_to_is_read(museum: Path) -> None:
    elsewhere = museum.parent / "elsewhere"
    (museum / "images").rename(elsewhere)
    rename(museum / "index", f"""replace("sst:image", '{museum / "images"}', '{elsewhere}')""")
    with pytest.raises(sst.ImageError, match="--images"):
        photograph(museum / "index", "r1", museum)
    assert photograph(museum / "index", "r1", museum, elsewhere).shape == (40, 60, 3)


def test_a_photograph_can_be_too_large(museum: Path) -> None:
    for reach in (sst.Reach((museum,), max_pixels=1000), sst.Reach((museum,), max_bytes=50)):
        with sst.open_index(museum / "index", reach=reach) as index, pytest.raises(sst.ImageError, match="smaller"):
            index.photograph("r1")


def test_a_build_writes_no_picture_through_a_link(museum: Path) -> None:
    pictures, private = museum / "index" / "pictures", museum.parent / "private"
    shutil.rmtree(pictures)
    pictures.symlink_to(private)
    before = sorted(private.iterdir())
    with pytest.raises(sst.IndexFolderError, match="leads out of the index"):
        build_fake(museum / "collection.csv", museum / "index", replace(FAKES, rebuild=True))
    assert sorted(private.iterdir()) == before


def test_small_pictures_come_from_the_index_only(museum: Path) -> None:
    """Those of an older version, too, which lie in files."""
    paths, private = IndexPaths(museum / "index"), museum.parent / "private"
    thumbnail = paths.old_thumbnail_file("r1")
    with sst.open_index(museum / "index") as index:
        assert index.thumbnail("r1")
        remove_pictures(paths.pictures_file, ["r1"])
        assert index.thumbnail("r1") is None
        Image.new("RGB", (60, 40), SECRET).save(private / "x.jpg")
        thumbnail.parent.mkdir()
        thumbnail.symlink_to(private / "x.jpg")
        assert index.thumbnail("r1") is None
        thumbnail.unlink()
        Image.new("RGB", (60, 40), SECRET).save(thumbnail)
        assert index.thumbnail("r1")
        Image.new("L", (4000, 4000)).save(thumbnail)
        assert index.thumbnail("r1") is None
        thumbnail.write_bytes(thumbnail.read_bytes() + b"0" * MAX_BYTES)
        assert index.thumbnail("r1") is None
        write_pictures(paths.pictures_file, [("r1", {"": (private / "x.jpg").read_bytes()})])
        assert index.thumbnail("r1")
        paths.pictures_file.rename(private / "pictures.sqlite")
        paths.pictures_file.symlink_to(private / "pictures.sqlite")
        with pytest.raises(sst.IndexFolderError, match="leads out of the index"):
            index.thumbnail("r1")


def test_a_picture_of_too_many_pixels_is_not_read(museum: Path) -> None:
    file = io.BytesIO()
    Image.new("L", (4000, 4000)).save(file, "WEBP")
    write_pictures(IndexPaths(museum / "index").pictures_file, [("r1", {"": file.getvalue()})])
    with sst.open_index(museum / "index") as index:
        assert index.thumbnail("r1") is None


@pytest.mark.parametrize(
    "part", ["thumbnails", "pictures", "reviews", "manifest.json", "generations/0001/catalog.duckdb"]
)
def test_an_index_with_links_out_of_it_is_refused(museum: Path, part: str) -> None:
    own = museum / "index" / part
    own.parent.mkdir(exist_ok=True)
    if own.exists():
        own.rename(museum.parent / "private" / own.name)
    own.symlink_to(museum.parent / "private" / own.name)
    with pytest.raises(sst.IndexFolderError, match="leads out of the index"):
        sst.open_index(museum / "index")


def test_an_index_behind_a_link_is_as_good_as_any(museum: Path) -> None:
    (museum.parent / "link").symlink_to(museum / "index")
    assert photograph(museum.parent / "link", "r1", museum).shape == (40, 60, 3)


def test_what_lies_inside(tmp_path: Path) -> None:
    assert is_inside(tmp_path / "a" / "b.png", [tmp_path])
    assert is_inside(tmp_path, [tmp_path])
    assert not is_inside(tmp_path / ".." / "b.png", [tmp_path])
    assert not is_inside(Path("a\0b"), [tmp_path])
    assert not is_inside(tmp_path, [])


# ------------------------------------------------------------------------------------------------------------ app


def page(monkeypatch: pytest.MonkeyPatch, name: str, *words: object) -> AppTest:
    monkeypatch.setattr(sys, "argv", ["Home.py", *map(str, words)])
    app = AppTest.from_file(str(HOME), default_timeout=120).run()
    return app.switch_page(f"sst_app/pages/{name}.py").run()


@pytest.mark.parametrize("attack", [outside, another])
def test_the_app_shows_no_other_picture(
    museum: Path, monkeypatch: pytest.MonkeyPatch, attack: Callable[[Path], None]
) -> None:
    attack(museum)
    app = page(monkeypatch, "annotate", museum / "index")
    app.selectbox(key="annotate-specimen").set_value("r1").run()
    assert not app.exception
    (error,) = app.error
    assert "not opened" in error.value or "build the index again" in error.value


def test_the_app_reads_where_it_is_told_to(museum: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = museum.parent / "elsewhere"
    (museum / "images").rename(elsewhere)
    rename(museum / "index", f"""replace("sst:image", '{museum / "images"}', '{elsewhere}')""")
    app = page(monkeypatch, "annotate", museum / "index", "--images", elsewhere)
    app.selectbox(key="annotate-specimen").set_value("r1").run()
    assert not app.error


def foreign_supports(museum: Path, provenance: dict[str, str]) -> None:
    provenance["supports_folder"] = str(museum.parent / "private")


def linked_supports(museum: Path, provenance: dict[str, str]) -> None:
    (museum / "drawn").symlink_to(museum.parent / "private")
    provenance["supports_folder"] = str(museum / "drawn")


def no_table(museum: Path, provenance: dict[str, str]) -> None:
    """The whole disk is said to be the collection's folder; but no table lies there."""
    provenance |= {"folder": "/", "table": "collection.csv", "supports_folder": str(museum.parent / "private")}


@pytest.mark.parametrize("attack", [foreign_supports, linked_supports, no_table])
def test_the_app_writes_into_no_foreign_folder(
    museum: Path, monkeypatch: pytest.MonkeyPatch, attack: Callable[[Path, dict[str, str]], None]
) -> None:
    manifest = without_checksums(museum / "index")
    attack(museum, manifest["generation"]["provenance"])
    (museum / "index" / "manifest.json").write_text(json.dumps(manifest))
    before = {path: path.read_bytes() for path in (museum.parent / "private").iterdir()}
    app = page(monkeypatch, "annotate", museum / "index", "--images", museum)
    app.selectbox(key="annotate-specimen").set_value("r1").run()
    next(button for button in app.button if button.label == "what the program found").click().run()
    assert not app.exception
    assert [button.label for button in app.button if "Save" in button.label] == []
    assert any("--supports" in info.value for info in app.info)
    assert {path: path.read_bytes() for path in (museum.parent / "private").iterdir()} == before


@pytest.mark.parametrize(
    ("setting", "model"),
    [
        ({"images": "/"}, {}),
        ({"finder": "mylab.models:Finder"}, {}),
        ({}, {"trunk": "timm:convnext_tiny@/private/weights.pt"}),
        ({}, {"trunk": "timm:convnext_tiny@../private/weights.pt"}),
    ],
)
def test_a_strangers_index_starts_no_build(
    museum: Path, monkeypatch: pytest.MonkeyPatch, setting: dict[str, str], model: dict[str, str]
) -> None:
    def labels(app: AppTest) -> list[str]:
        return [button.label for button in app.button]

    # The fakes are somebody's own models; pretend that they are the program's.
    monkeypatch.setattr("sst_retrieval.PROPAGATORS", {FAKES.propagator: ""}, raising=False)
    monkeypatch.setattr("sst_retrieval.EMBEDDERS", {FAKES.embedder: ""}, raising=False)
    # A file named after the trunk would lie inside the collection's folder, however its path goes on.
    monkeypatch.chdir(museum)
    assert "Build now" in labels(page(monkeypatch, "collection", museum / "index"))
    manifest = without_checksums(museum / "index")
    settings = manifest["generation"]["provenance"]["settings"]
    settings |= setting
    settings["models"] |= model
    (museum / "index" / "manifest.json").write_text(json.dumps(manifest))
    app = page(monkeypatch, "collection", museum / "index")
    assert not app.exception
    assert "Build now" not in labels(app)
