"""Darwin Core Archives as programs write them: namespaces, thumbnails, and archives without photographs."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from sst_retrieval.collection.specimens import Collection, read_collection
from sst_retrieval.errors import CollectionError
from sst_retrieval.imaging.images import write_jpeg

HEAD = 'fieldsTerminatedBy="\\t" fieldsEnclosedBy="" ignoreHeaderLines="1"'
CORE = (
    f'<core {HEAD} rowType="http://rs.tdwg.org/dwc/terms/Occurrence"><files><location>o.txt</location></files>'
    '<id index="0"/><field index="1" term="http://rs.tdwg.org/dwc/terms/catalogNumber"/></core>'
)
MEDIA = (
    f'<extension {HEAD} rowType="http://rs.tdwg.org/ac/terms/Multimedia"><files><location>m.txt</location></files>'
    '<coreid index="0"/><field index="1" term="http://rs.tdwg.org/ac/terms/accessURI"/>'
    '<field index="2" term="http://rs.tdwg.org/ac/terms/variant"/></extension>'
)
OCCURRENCES = "id\tcatalogNumber\n1\tA\n2\tB\n"
LISTED = "id\taddress\tvariant\n1\thttps://x.org/a.jpg\tBest Quality\n1\thttps://x.org/b.jpg\tThumbnail\n"


def read(folder: Path, meta: str, media: str | None = LISTED, image_column: str | None = None) -> Collection:
    images = folder / "images"
    images.mkdir()
    for name in "ab":
        write_jpeg(images / f"{name}.jpg", np.full((4, 6, 3), 200, dtype=np.uint8))
    with zipfile.ZipFile(folder / "x.zip", "w") as file:
        file.writestr("meta.xml", meta)
        file.writestr("o.txt", OCCURRENCES)
        if media is not None:
            file.writestr("m.txt", media)
    return read_collection(folder / "x.zip", images=images, image_column=image_column)


@pytest.mark.parametrize(
    "start",
    ["<archive>", '<archive xmlns="http://rs.tdwg.org/dwc/text">', '<archive xmlns="http://rs.tdwg.org/dwc/text/">'],
)
@pytest.mark.parametrize("body", [CORE + MEDIA, MEDIA + CORE])
def test_namespaces_and_orders_of_meta_xml(tmp_path: Path, start: str, body: str) -> None:
    collection = read(tmp_path, f"{start}{body}</archive>")
    assert [each.id for each in collection.photographs] == ["A"]
    assert any("thumbnails listed beside their photographs are left out (1)" in note for note in collection.notes)


def test_a_thumbnail_that_is_all_there_is_stays(tmp_path: Path) -> None:
    collection = read(tmp_path, f"<archive>{CORE}{MEDIA}</archive>", LISTED.replace("Best Quality", "Thumbnail"))
    assert [each.image.name for each in collection.photographs] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("body", "media", "reason"),
    [
        (CORE, None, r"x\.zip lists no photographs: .*download the records with their media"),
        (CORE + MEDIA, LISTED.splitlines()[0] + "\n", r"x\.zip lists no photographs"),
        (
            CORE + MEDIA,
            LISTED.replace("\n1\t", "\nurn:1\t"),
            r"no photograph of .*m\.txt belongs to an occurrence: it is of 'urn:1', .* are called like '1'",
        ),
    ],
)
def test_archives_without_photographs(tmp_path: Path, body: str, media: str | None, reason: str) -> None:
    with pytest.raises(CollectionError, match=reason):
        read(tmp_path, f"<archive>{body}</archive>", media)


def test_a_file_without_a_name_in_a_damaged_archive_is_passed_over(tmp_path: Path) -> None:
    content = b"\xff\xd8"
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("meta.xml", f"<archive>{CORE}{MEDIA}</archive>")
        file.writestr("o.txt", OCCURRENCES)
        file.writestr("m.txt", LISTED.replace("https://x.org/", ""))
        file.writestr("zz", content)
        file.writestr("a.jpg", content)
    damaged = (tmp_path / "x.zip").read_bytes().replace(b"zz" + content, b"\0\0" + content)
    (tmp_path / "x.zip").write_bytes(b"\0\0".join(damaged.rsplit(b"zz", 1)))
    collection = read_collection(tmp_path / "x.zip")
    assert [each.image.name for each in collection.photographs] == ["a.jpg"]
