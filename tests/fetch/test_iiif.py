"""IIIF: images in a size, of both versions of the Image API; the images of manifests, of both versions."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from local_museum import Museum, a_photograph, open_museum, send

from sst_retrieval.errors import FetchError
from sst_retrieval.fetch.client import Manners
from sst_retrieval.fetch.iiif import find_image_base, list_manifest_images, make_image_address
from sst_retrieval.fetch.photographs import FetchReport, fetch_photographs

HERE = Manners(per_second=1000, allow_http=True, allow_private=True, first_wait=0.01)
V2 = {"@context": "http://iiif.io/api/image/2/context.json"}
V3 = {"@context": "http://iiif.io/api/image/3/context.json", "type": "ImageService3"}
SIZE = {"width": 4000, "height": 3000}
SIZES = {"sizes": [{"width": 500, "height": 375}, {"width": 1000, "height": 750}, {"width": 2000, "height": 1500}]}


@pytest.fixture
def museum() -> Iterator[Museum]:
    with open_museum() as server:
        yield server


def a_document(content: dict[str, Any]) -> Any:
    return send(json.dumps(content).encode(), kind="application/ld+json")


def fetch(folder: Path, address: str, **options: Any) -> FetchReport:
    table = folder / "table.csv"
    table.write_text(f"catalogNumber,accessURI,license\nA,{address},CC0\n")
    return fetch_photographs(table, folder / "photographs", manners=HERE, **options)


@pytest.mark.parametrize(
    ("information", "side", "expected"),
    [
        (V2 | SIZE | {"profile": ["http://iiif.io/api/image/2/level2.json"]}, 1000, "!1000,1000"),
        (V2 | SIZE | {"profile": ["http://iiif.io/api/image/2/level2.json"]}, None, "full"),
        (V2 | SIZE | {"profile": ["http://iiif.io/api/image/2/level2.json"]}, 5000, "full"),
        (V2 | SIZE | {"profile": ["http://iiif.io/api/image/2/level2.json", {"maxWidth": 900}]}, None, "full"),
        (V2 | SIZE | {"profile": ["http://iiif.io/api/image/2/level0.json"]} | SIZES, 800, "1000,"),
        (V2 | SIZE | {"profile": ["http://iiif.io/api/image/2/level0.json"]} | SIZES, 3000, "full"),
        (V2 | SIZE | {"profile": ["http://iiif.io/api/image/2/level1.json"]}, 800, "800,"),
        (V2 | {"width": 30, "height": 40, "profile": ["http://iiif.io/api/image/2/level1.json"]}, 20, ",20"),
        (V2 | SIZE | {"profile": ["level0", {"supports": ["sizeByConfinedWh"]}]}, 800, "!800,800"),
        (V3 | SIZE | {"profile": "level2"}, 1000, "!1000,1000"),
        (V3 | SIZE | {"profile": "level2"}, None, "max"),
        (V3 | SIZE | {"profile": "level0"} | SIZES, 800, "1000,750"),
        (V3 | SIZE | {"profile": "level0", "extraFeatures": ["sizeByConfinedWh"]}, 800, "!800,800"),
        (V3 | SIZE | {"profile": "level1"}, 800, "800,"),
        (V3 | {"width": 30, "height": 40, "profile": "level1"}, 20, "15,20"),
        (V3 | SIZE | {"profile": "level0"}, 800, "max"),
    ],
)
def test_the_size_is_asked_as_the_server_can_give_it(
    information: dict[str, Any], side: int | None, expected: str
) -> None:
    address = make_image_address(information, "https://iiif.example/3/x", side)
    assert address == f"https://iiif.example/3/x/full/{expected}/0/default.jpg"


@pytest.mark.parametrize("wrong", [{}, {"width": "4000", "height": 3}, {"width": 0, "height": 4}])
def test_information_without_a_size_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(FetchError, match=r"width|pixels"):
        make_image_address(wrong, "https://iiif.example/x", 100)


@pytest.mark.parametrize(
    ("address", "base"),
    [
        ("https://i.example/iiif/2/ark%3A%2F1/full/full/0/default.jpg", "https://i.example/iiif/2/ark%3A%2F1"),
        ("https://i.example/x/full/!400,400/0/native.jpg", "https://i.example/x"),
        ("https://i.example/x/full/^max/0/color.png", "https://i.example/x"),
        ("https://i.example/x/info.json", "https://i.example/x"),
        ("https://i.example/x/0,0,500,500/max/0/default.jpg", None),
        ("https://i.example/photographs/full/1.jpg", None),
        ("https://i.example/1.jpg", None),
    ],
)
def test_addresses_of_the_image_api_are_recognised(address: str, base: str | None) -> None:
    assert find_image_base(address) == base


@pytest.mark.parametrize("end", ["/full/full/0/default.jpg", "/info.json"])
def test_an_image_in_a_size(museum: Museum, tmp_path: Path, end: str) -> None:
    museum["/i/info.json"] = a_document(V2 | SIZE | {"profile": ["http://iiif.io/api/image/2/level2.json"]})
    museum["/i/full/!800,800/0/default.jpg"] = a_photograph(1)
    museum["/i/full/full/0/default.jpg"] = a_photograph(2)
    address = f"{museum.base}/i{end}"
    assert fetch(tmp_path, address, side=800).failures == []
    assert (tmp_path / "photographs" / "A.jpg").read_bytes() == a_photograph(1)
    assert fetch(tmp_path, address, side=800).kept == 1
    assert fetch(tmp_path, address).fetched == 1, "another size is another photograph"
    assert (tmp_path / "photographs" / "A_2.jpg").read_bytes() == a_photograph(2)


def manifest_2(base: str) -> dict[str, Any]:
    def canvas(name: str) -> dict[str, Any]:
        service = {"@context": "http://iiif.io/api/image/2/context.json", "@id": f"{base}/{name}"}
        resource = {"@id": f"{base}/{name}/full/full/0/default.jpg", "@type": "dctypes:Image", "service": service}
        return {"@type": "sc:Canvas", "label": name, "images": [{"@type": "oa:Annotation", "resource": resource}]}

    return {
        "@context": "http://iiif.io/api/presentation/2/context.json",
        "@type": "sc:Manifest",
        "license": "http://creativecommons.org/licenses/by/4.0/",
        "attribution": "Museum of Invention",
        "sequences": [{"canvases": [canvas("dorsal"), canvas("ventral")]}],
    }


def manifest_3(base: str) -> dict[str, Any]:
    def canvas(name: str, body: Any) -> dict[str, Any]:
        annotation = {"type": "Annotation", "motivation": "painting", "body": body}
        other = {"type": "Annotation", "motivation": "commenting", "body": {"type": "TextualBody", "value": "x"}}
        page = {"type": "AnnotationPage", "items": [annotation, other]}
        return {"type": "Canvas", "label": {"en": [name]}, "items": [page]}

    service = [{"id": f"{base}/dorsal", "type": "ImageService3", "profile": "level2"}]
    with_service = {"id": f"{base}/dorsal/full/max/0/default.jpg", "type": "Image", "service": service}
    choice = {"type": "Choice", "items": [{"id": f"{base}/plain.jpg", "type": "Image"}, {"id": "x", "type": "Image"}]}
    return {
        "@context": "http://iiif.io/api/presentation/3/context.json",
        "type": "Manifest",
        "rights": "http://creativecommons.org/licenses/by/4.0/",
        "requiredStatement": {"label": {"en": ["By"]}, "value": {"none": ["Museum of Invention"]}},
        "items": [canvas("dorsal", with_service), canvas("ventral", choice)],
    }


def test_a_manifest_of_version_2_becomes_its_images(museum: Museum, tmp_path: Path) -> None:
    museum["/manifest"] = a_document(manifest_2(museum.base))
    for name in ("dorsal", "ventral"):
        museum[f"/{name}/info.json"] = a_document(V2 | SIZE | {"profile": "http://iiif.io/api/image/2/level2.json"})
        museum[f"/{name}/full/!640,640/0/default.jpg"] = a_photograph(len(name))
    report = fetch(tmp_path, f"{museum.base}/manifest", side=640)
    assert report.failures == []
    with report.table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["catalogNumber"], row["image"], row["image_label"]) for row in rows] == [
        ("A", "A.jpg", "dorsal"),
        ("A", "A_2.jpg", "ventral"),
    ]
    assert {row["image_license"] for row in rows} == {"http://creativecommons.org/licenses/by/4.0/"}
    assert {row["image_rightsHolder"] for row in rows} == {"Museum of Invention"}
    again = fetch(tmp_path, f"{museum.base}/manifest", side=640)
    assert (again.fetched, again.kept) == (0, 2)


def test_a_manifest_of_version_3_becomes_its_images(museum: Museum, tmp_path: Path) -> None:
    museum["/m"] = a_document(manifest_3(museum.base))
    museum["/dorsal/full/max/0/default.jpg"], museum["/plain.jpg"] = a_photograph(1), a_photograph(2)
    report = fetch(tmp_path, f"{museum.base}/m")
    assert (report.failures, report.fetched) == ([], 2)
    assert (tmp_path / "photographs" / "A.jpg").read_bytes() == a_photograph(1)


def test_a_manifest_of_which_one_image_is_missing(museum: Museum, tmp_path: Path) -> None:
    museum["/m"] = a_document(manifest_3(museum.base))
    museum["/dorsal/full/max/0/default.jpg"] = a_photograph(1)
    report = fetch(tmp_path, f"{museum.base}/m")
    assert (len(report.failures), report.fetched) == (1, 1)
    assert "404" in report.failures[0].reason
    assert "A.jpg" in report.table.read_text()


def test_a_manifest_that_names_itself_is_not_followed_for_ever(museum: Museum, tmp_path: Path) -> None:
    document = manifest_3(museum.base)
    document["items"] = document["items"][1:]
    document["items"][0]["items"][0]["items"][0]["body"] = {"id": f"{museum.base}/m", "type": "Image"}
    museum["/m"] = a_document(document)
    report = fetch(tmp_path, f"{museum.base}/m")
    assert "is a document" in report.failures[0].reason
    assert len(museum.paths()) == 2


@pytest.mark.parametrize(
    "document",
    [
        {"type": "Manifest", "items": 3},
        {"type": "Manifest", "items": [{"items": [{"items": [{"body": "https://x"}]}]}]},
        {"@type": "sc:Manifest", "sequences": [{"canvases": [{"images": [{"resource": {"@id": 5}}]}]}]},
        {"type": "Collection", "items": []},
        {},
    ],
)
def test_documents_that_name_no_image_are_refused(document: dict[str, Any]) -> None:
    with pytest.raises(FetchError, match=r"without images|neither"):
        list_manifest_images(document, "https://iiif.example/m")
