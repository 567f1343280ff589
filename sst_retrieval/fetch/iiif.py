"""IIIF: the address of an image in the wanted size, and the images of a manifest.

- Image API 2 and 3: an address `BASE/region/size/rotation/quality.format`; `BASE/info.json` says what sizes there are.
- Presentation API 2 and 3: a manifest lists canvases (pages, views of a specimen), each painted by images.

Specifications: https://iiif.io/api/image/3.0/, https://iiif.io/api/image/2.1/, https://iiif.io/api/presentation/3.0/,
https://iiif.io/api/presentation/2.1/. What a server sends is data of a stranger: only the parts named here are read,
each checked for its kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sst_retrieval.errors import FetchError

MAX_DOCUMENT_BYTES = 20 * 1024**2
MAX_IMAGES = 1000
"""Images of one manifest; a longer one is a whole collection, not a specimen."""

_IMAGE = re.compile(
    r"(?P<base>https?://.+)/(?P<region>full|square|(pct:)?[\d.]+,[\d.]+,[\d.]+,[\d.]+)/(?P<size>\^?[\w:!,.^]+)/"
    r"!?[\d.]+/(default|native|color|gray|bitonal)\.(jpg|png|tif|webp|jp2|gif)(\?.*)?"
)


@dataclass(frozen=True, slots=True)
class ManifestImage:
    """An image of a manifest.

    Attributes:
        address: of the image itself, as the manifest names it.
        service: base address of its image service; None if it has none.
        label: of its canvas, such as "dorsal"; "" without one.
        rights: licence, as an address, of the manifest; "" if it says none.
        attribution: who asks to be named; "" if nobody.
    """

    address: str
    service: str | None
    label: str
    rights: str
    attribution: str


def find_image_base(address: str) -> str | None:
    """Return the base address of an Image API address or its info.json; None of any other.

    Parts of images are left as they are: only a whole image has other sizes that show the same.

    >>> find_image_base("https://iiif.example/3/ab%2Fcd/full/max/0/default.jpg")
    'https://iiif.example/3/ab%2Fcd'
    """
    if address.endswith("/info.json"):
        return address.removesuffix("/info.json")
    found = _IMAGE.fullmatch(address)
    return found["base"] if found is not None and found["region"] == "full" else None


def parse_document(text: bytes, source: str) -> Mapping[str, Any]:
    """Read a JSON document.

    Raises:
        FetchError: it is none, or no object.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FetchError(f"{source} answers with a text that is no JSON ({error})") from error
    if not isinstance(document, dict):
        raise FetchError(f"{source} answers with JSON that is neither a IIIF manifest nor an image's info.json")
    return document


def is_image_information(document: Mapping[str, Any]) -> bool:
    """Say whether a document is an image's info.json."""
    return isinstance(document.get("width"), int) and isinstance(document.get("height"), int)


def make_image_address(information: Mapping[str, Any], base: str, side: int | None) -> str:
    """Make the address of a whole image in a size.

    Args:
        information: the image's info.json.
        base: the address that info.json was found under.
        side: the longer side in pixels, at most where the server can do any size, at least where it has only some;
            None for the largest there is.

    Returns:
        The address of a JPEG.

    Raises:
        FetchError: info.json says no size.
    """
    if not is_image_information(information):
        raise FetchError(f"{base}/info.json says no width and height")
    width, height = int(information["width"]), int(information["height"])
    if width < 1 or height < 1:
        raise FetchError(f"{base}/info.json says that the image has {width} x {height} pixels")
    third = _is_version_3(information)
    largest = "max" if third else "full"
    limited = any(isinstance(information.get(name), int) for name in ("maxWidth", "maxHeight", "maxArea"))
    if not third and limited:
        largest = "max"  # Of 2.1 on; a server that limits sizes has it.
    longest = max(width, height)
    if side is None or side >= longest:
        size = largest
    elif _has_any_size(information):
        size = f"!{side},{side}"
    else:
        size = _choose_listed_size(information, side, third=third) or largest
    return f"{base}/full/{size}/0/default.jpg"


def _is_version_3(information: Mapping[str, Any]) -> bool:
    context = information.get("@context")
    contexts = context if isinstance(context, list) else [context]
    return any("/image/3/" in str(each) for each in contexts) or information.get("type") == "ImageService3"


def _has_any_size(information: Mapping[str, Any]) -> bool:
    """Say whether an image service scales to any size within a square ("!w,h"): levels 2 of both versions do."""
    profile = information.get("profile")
    parts = profile if isinstance(profile, list) else [profile]
    names = [part for part in parts if isinstance(part, str)]
    further = [part.get("supports") for part in parts if isinstance(part, dict)]
    features = [
        each for some in [*further, information.get("extraFeatures")] if isinstance(some, list) for each in some
    ]
    return any("level2" in name for name in names) or "sizeByConfinedWh" in features


def _choose_listed_size(information: Mapping[str, Any], side: int, *, third: bool) -> str | None:
    """Choose the smallest listed size that is large enough, written as its version's canonical form."""
    listed = information.get("sizes")
    sizes = [
        (each["width"], each["height"])
        for each in (listed if isinstance(listed, list) else [])
        if isinstance(each, dict) and isinstance(each.get("width"), int) and isinstance(each.get("height"), int)
    ]
    enough = sorted((size for size in sizes if max(size) >= side), key=max)
    if enough:
        width, height = enough[0]
        return f"{width},{height}" if third else f"{width},"
    profile = str(information.get("profile"))
    if "level1" in profile:  # Any width or any height, but not both.
        landscape = information["width"] >= information["height"]
        if third:
            ratio = side / max(information["width"], information["height"])
            height = max(1, round(information["height"] * ratio))
            return f"{side}," if landscape else f"{max(1, round(information['width'] * ratio))},{height}"
        return f"{side}," if landscape else f",{side}"
    return None


def list_manifest_images(document: Mapping[str, Any], source: str) -> list[ManifestImage]:
    """List the images of a manifest, of version 2 or 3.

    Raises:
        FetchError: it is no manifest, holds no image, or too many.
    """
    kind = str(document.get("@type") or document.get("type"))
    if kind == "sc:Manifest":
        found = list(_list_version_2(document))
    elif kind == "Manifest":
        found = list(_list_version_3(document))
    else:
        raise FetchError(f"{source} is JSON, but neither a IIIF manifest nor an image's info.json (type: {kind[:40]})")
    if not found:
        raise FetchError(f"{source} is a manifest without images")
    if len(found) > MAX_IMAGES:
        raise FetchError(f"{source} lists {len(found):,} images; at most {MAX_IMAGES:,} belong to a specimen")
    return found


def _list_version_2(document: Mapping[str, Any]) -> Iterator[ManifestImage]:
    rights = _first_text(document.get("license"))
    attribution = _first_text(document.get("attribution"))
    for sequence in _objects(document.get("sequences"))[:1]:  # Others are other orders of the same canvases.
        for canvas in _objects(sequence.get("canvases")):
            for annotation in _objects(canvas.get("images")):
                resource = annotation.get("resource")
                if isinstance(resource, dict) and resource.get("@type") == "oa:Choice":
                    resource = resource.get("default")
                if isinstance(resource, dict) and isinstance(resource.get("@id"), str):
                    label = _first_text(canvas.get("label"))
                    yield ManifestImage(resource["@id"], _find_service(resource), label, rights, attribution)


def _list_version_3(document: Mapping[str, Any]) -> Iterator[ManifestImage]:
    rights = _first_text(document.get("rights"))
    statement = document.get("requiredStatement")
    attribution = _first_text(statement.get("value")) if isinstance(statement, dict) else ""
    for canvas in _objects(document.get("items")):
        for page in _objects(canvas.get("items")):
            for annotation in _objects(page.get("items")):
                if annotation.get("motivation", "painting") not in ("painting", ["painting"]):
                    continue
                for body in _objects(annotation.get("body"))[:1]:
                    chosen = (_objects(body.get("items")) or [{}])[0] if body.get("type") == "Choice" else body
                    if chosen.get("type", "Image") == "Image" and isinstance(chosen.get("id"), str):
                        label = _first_text(canvas.get("label"))
                        yield ManifestImage(chosen["id"], _find_service(chosen), label, rights, attribution)


def _find_service(image: Mapping[str, Any]) -> str | None:
    """Find the base address of an image's service."""
    for service in _objects(image.get("service")):
        name = service.get("@id") or service.get("id")
        kind = f"{service.get('type') or service.get('@type') or ''} {service.get('@context') or ''} "
        if isinstance(name, str) and ("ImageService" in kind or "/image/" in kind):
            return name.rstrip("/").removesuffix("/info.json")
    return None


def _objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a value that may be one or a list of them."""
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, dict)]


def _first_text(value: Any) -> str:
    """Return the text of a property that may be a text, texts, or texts by language; "" if it has none."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return next((text for each in value if (text := _first_text(each))), "")
    if isinstance(value, dict):
        if "@value" in value:
            return _first_text(value["@value"])
        return _first_text([value[key] for key in ("en", "none") if key in value] + list(value.values()))
    return ""
