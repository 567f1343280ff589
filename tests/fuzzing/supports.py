"""Annotated specimens in the formats of many programs, damaged.

Undamaged ones must give the masks that were drawn. Damaged ones must give an error, a note, or masks that fit their
photograph; where one value of one shape was changed, the masks of other traits stay, and no trait disappears silently.
"""

from __future__ import annotations

import base64
import copy
import io
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from matplotlib.path import Path as Outline
from PIL import Image

from fuzzing.archives import mutate_xml
from fuzzing.damages import damage
from fuzzing.outcomes import DIFFERENT, EXPLAINED, RIGHT, Check, Outcome
from sst_retrieval.annotate.supports import Supports, read_supports
from sst_retrieval.collection.specimens import Collection
from sst_retrieval.imaging import masks
from sst_retrieval.types import Mask, Photograph

HEIGHT, WIDTH = 64, 96
NAME = "IMG_erato-1.png"
Points = list[tuple[float, float]]
DRAWN: dict[str, Points] = {
    "wing": [(10, 12), (80, 10), (84, 50), (40, 56), (12, 44)],
    "spot": [(20, 20), (34, 20), (34, 32), (20, 32)],
}
NUMBERS = {"wing": 2, "spot": 5}
TRAITS = "[traits]\nwing = 2\nspot = 5\n\n[synonyms]\nspot = ['eye', \"dot\"]\n"
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, -0.0, 1e308, -1e308, 1e-320, 10**30, 2**31, 2**63, 65535, 65536, 400000),
    *(
        float("nan"),
        float("inf"),
        "",
        "x",
        "1",
        "nan",
        "\0",
        "\ud800",
        "é",
        "wing",
        "spot",
        "a" * 3000,
        "../../etc",
        "a/b",
    ),
    *([], {}, [[]], [1, 2], [0, 0, 0, 0], {"a": 1}, [None], [[1, 2], [3, 4]], "polygon", "rectangle", "point"),
)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A valid folder of supports.

    Attributes:
        name: which program wrote it.
        files: file name -> JSON document, or text, or bytes.
        exact: whether its masks are those of `label_map` to the pixel.
    """

    name: str
    files: Mapping[str, Any]
    exact: bool = False


def fill(points: Points) -> Mask:
    """Fill an outline, by Matplotlib: the pixels whose centres lie inside."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return Outline(points).contains_points(np.column_stack([x.ravel(), y.ravel()])).reshape(HEIGHT, WIDTH)


def label_map() -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for trait, points in DRAWN.items():
        labels[fill(points)] = NUMBERS[trait]
    return labels


def png(array: np.ndarray, format_: str = "PNG") -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(array).save(file, format_)
        return file.getvalue()


def make_drawings() -> list[Drawing]:
    """Make the same drawing in every format."""
    flat = {trait: [value for point in points for value in point] for trait, points in DRAWN.items()}
    pairs = {trait: [list(point) for point in points] for trait, points in DRAWN.items()}
    image = {"id": 1, "file_name": f"images/{NAME}", "height": HEIGHT, "width": WIDTH}
    categories = [{"id": 2, "name": "wing"}, {"id": 5, "name": "spot"}]

    def coco(segment: Callable[[str], Any]) -> dict[str, Any]:
        annotations = [
            {"id": i, "image_id": 1, "category_id": NUMBERS[trait], "segmentation": segment(trait), "iscrowd": 0}
            for i, trait in enumerate(DRAWN)
        ]
        return {"images": [image], "annotations": annotations, "categories": categories}

    def runs(trait: str) -> dict[str, Any]:
        return {"counts": masks.encode(fill(DRAWN[trait])).decode(), "size": [HEIGHT, WIDTH]}

    labelme = {
        **{"version": "5.5.0", "flags": {}, "imagePath": f"..\\images\\{NAME}", "imageData": None},
        **{"imageHeight": HEIGHT, "imageWidth": WIDTH},
        "shapes": [{"label": t, "shape_type": "polygon", "points": p, "group_id": None} for t, p in pairs.items()],
    }
    cvat = "".join(
        f'<polygon label="{t}" occluded="0" points="{";".join(f"{x},{y}" for x, y in p)}" z_order="{i}"></polygon>\n'
        for i, (t, p) in enumerate(DRAWN.items())
    )
    cvat = f'<?xml version="1.0"?>\n<annotations><version>1.1</version>\n<image id="0" name="{NAME}" width="{WIDTH}" \
height="{HEIGHT}">\n{cvat}</image></annotations>'
    yolo = "".join(
        f"{i} {' '.join(f'{x / WIDTH:.6f} {y / HEIGHT:.6f}' for x, y in p)}\n" for i, p in enumerate(DRAWN.values())
    )
    regions = [
        {
            "shape_attributes": {
                **{"name": "polygon", "all_points_x": [x for x, _ in p], "all_points_y": [y for _, y in p]}
            },
            "region_attributes": {"trait": t},
        }
        for t, p in DRAWN.items()
    ]
    via = {f"{NAME}123": {"filename": NAME, "size": 123, "regions": regions, "file_attributes": {}}}
    studio = [
        {
            "id": 7,
            "data": {"image": f"/data/upload/1/1a2b3c4d-{NAME}"},
            "annotations": [
                {
                    "result": [
                        {
                            **{"type": "polygonlabels", "original_width": WIDTH, "original_height": HEIGHT},
                            "value": {
                                "points": [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in p],
                                "polygonlabels": [t],
                            },
                        }
                        for t, p in DRAWN.items()
                    ]
                }
            ],
        }
    ]
    features = [
        {
            "type": "Feature",
            "properties": {"objectType": "annotation", "classification": {"name": t, "color": [200, 0, 0]}},
            "geometry": {"type": "Polygon", "coordinates": [[*p, p[0]]]},
        }
        for t, p in pairs.items()
    ]
    labels = label_map()
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[2], palette[5] = (250, 50, 83), (50, 183, 250)
    colours = palette[labels]
    colour_map = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nwing:250,50,83::\nspot:50,183,250::\n"
    pasted = copy.deepcopy(labelme)
    for shape in pasted["shapes"]:
        mask = fill(DRAWN[shape["label"]])
        x0, y0, x1, y1 = masks.box(mask)
        crop = base64.b64encode(png(mask[y0:y1, x0:x1])).decode()
        shape.update(shape_type="mask", mask=crop, points=[[x0, y0], [x1 - 1, y1 - 1]])
    clear = np.dstack([np.full((HEIGHT, WIDTH, 3), 255, np.uint8), np.where(fill(DRAWN["spot"]), 255, 0)])
    one_each = {"erato-1_wing.png": png(fill(DRAWN["wing"])), "erato-1_spot.png": png(clear.astype(np.uint8))}
    return [
        Drawing("LabelMe masks", {"IMG_erato-1.json": pasted}),
        Drawing("colour masks", {"erato-1.png": png(colours), "labelmap.txt": colour_map}, exact=True),
        Drawing("one mask a trait", {**one_each, "traits.toml": TRAITS}),
        Drawing("COCO polygons", {"coco.json": coco(lambda trait: [flat[trait]])}),
        Drawing("COCO run lengths", {"coco.json": coco(runs)}),
        Drawing("LabelMe", {"IMG_erato-1.json": labelme}),
        Drawing("LabelMe with traits.toml", {"IMG_erato-1.json": labelme, "traits.toml": TRAITS}),
        Drawing("CVAT", {"annotations.xml": cvat}),
        Drawing("YOLO", {"erato-1.txt": yolo, "classes.txt": "wing\nspot\n"}),
        Drawing("YOLO with data.yaml", {"erato-1.txt": yolo, "data.yaml": "nc: 2\nnames: ['wing', 'spot']\n"}),
        Drawing("VIA", {"via.json": via}),
        Drawing("VIA project", {"via.json": {"_via_settings": {}, "_via_img_metadata": via, "_via_attributes": {}}}),
        Drawing("Label Studio", {"project.json": studio}),
        Drawing("QuPath", {"IMG_erato-1.geojson": {"type": "FeatureCollection", "features": features}}),
        Drawing("label picture", {"erato-1.png": png(labels), "traits.toml": TRAITS}, exact=True),
        Drawing("label TIFF", {"erato-1.tif": png(labels, "TIFF"), "traits.toml": TRAITS}, exact=True),
    ]


# ------------------------------------------------------------------------------------------------------ mutations


def list_places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the paths of all parts of a JSON document."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path, *(each for key, value in items for each in list_places(value, (*path, key)))]


def mutate_json(document: Any, rng: Random) -> tuple[str, str, tuple[Any, ...]]:
    """Change one part of a document; returns its text, what was changed, and the path of that part."""
    document = copy.deepcopy(document)
    path = rng.choice(list_places(document)[1:])
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    key, how = path[-1], rng.choice(("value", "value", "value", "number", "removed", "repeated", "wrapped", "deep"))
    value = parent[key]
    if how == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        parent[key] = value * rng.choice((-1, 0, 2, 1000, 0.999)) + rng.choice((0, 1, -1, 0.5))
    elif how == "removed":
        del parent[key]
    elif isinstance(value, str) and key == "mask":
        how, parent[key] = "value", base64.b64encode(damage(base64.b64decode(value), rng)[0]).decode()
    elif how == "repeated" and isinstance(parent, list):
        parent.extend([value] * rng.choice((1, 1, 50)))
    elif how == "wrapped":
        parent[key] = rng.choice(([value], {"a": value}, str(value)))
    elif how == "deep":
        parent[key] = "DEEP"
    else:
        how, parent[key] = "value", rng.choice(VALUES)
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5)
    if how == "deep":
        depth = rng.choice((500, 3000, 200_000))
        text = text.replace('"DEEP"', "[" * depth + "]" * depth)
    return text, f"{how} of {'/'.join(map(str, path))}", path


def mutate_text(text: str, rng: Random) -> str:
    """Change a word, a number or a line."""
    words = list(re.finditer(r"[\w.+-]+", text))
    for _ in range(rng.choice((1, 1, 2))):
        found = rng.choice(words)
        new = str(
            rng.choice((*VALUES, "[" * 5000, '"', "'''", "\n", "=", "[traits]", "7", "wing = 2", "#", "1_0", "0x9"))
        )
        text = text[: found.start()] + new + text[found.end() :]
        words = list(re.finditer(r"[\w.+-]+", text)) or words[:1]
    return text


def mutate(drawing: Drawing, rng: Random) -> tuple[dict[str, bytes], str, tuple[Any, ...]]:
    """Damage one file of a drawing."""
    files = {name: encode(content) for name, content in drawing.files.items()}
    name = rng.choice(list(files))
    content = drawing.files[name]
    if isinstance(content, bytes) or rng.random() < 0.25:
        files[name], how = damage(files[name], rng)
        return files, f"{how} in {name}", ()
    if isinstance(content, str):
        changed = (
            mutate_xml(content, rng) if name.endswith(".xml") and rng.random() < 0.6 else mutate_text(content, rng)
        )
        files[name] = changed.encode("utf-8", "surrogatepass")
        return files, f"text of {name}", ()
    text, how, path = mutate_json(content, rng)
    files[name] = text.encode("utf-8", "surrogatepass")
    return files, how, path


def encode(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    return (content if isinstance(content, str) else json.dumps(content)).encode()


# ---------------------------------------------------------------------------------------------------------- check


def prepare(folder: Path) -> Check:
    """Make the photographs and the drawings; each is read undamaged now and then, and must be right."""
    rng = np.random.default_rng(0)
    labels = label_map()
    photograph = np.full((HEIGHT, WIDTH, 3), 210, dtype=np.uint8)
    photograph[labels == 2], photograph[labels == 5] = (120, 60, 30), (220, 180, 40)
    photograph = np.clip(photograph + rng.integers(-9, 10, photograph.shape), 0, 255).astype(np.uint8)
    specimens = []
    for name, group in (("erato-1", "erato"), ("erato-2", "erato"), ("melpomene.1", "melpomene")):
        path = folder / f"IMG_{name}.png"
        path.write_bytes(png(photograph))
        specimens.append(Photograph(name, path, group))
    collection = Collection(tuple(specimens), {}, folder / "collection.csv")
    drawings, place = make_drawings(), folder / "supports"
    before: dict[str, dict[str, Mask]] = {}

    def read(files: Mapping[str, bytes]) -> Supports:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for name, content in files.items():
            (place / name).write_bytes(content)
        return read_supports(place, collection)

    def check(rng: Random) -> Outcome:
        drawing = rng.choice(drawings)
        if drawing.name not in before or rng.random() < 0.03:
            supports = read({name: encode(content) for name, content in drawing.files.items()})
            before[drawing.name] = found = masks_of(supports)
            if (outcome := judge_undamaged(drawing, supports, found)) is not None:
                return outcome
        files, how, path = mutate(drawing, rng)
        supports = read(files)
        if rng.random() < 0.3 and (outcome := judge_individuals(supports, read_supports(place, collection, "many"))):
            return outcome
        return judge(drawing, supports, before[drawing.name], how, path)

    return check


def masks_of(supports: Supports) -> dict[str, Mask]:
    """Return the masks of all supports, loaded as a build does; trait, and specimen where it is another one -> mask."""
    found = {}
    for group in supports.groups():
        for support in supports.load(group):
            for trait, mask in zip(support.traits, support.masks, strict=True):
                found[trait if support.individual == "erato-1" else f"{trait} of {support.individual}"] = mask
    return found


def judge_undamaged(drawing: Drawing, supports: Supports, found: dict[str, Mask]) -> Outcome | None:
    expected = {trait: fill(points) for trait, points in DRAWN.items()}
    if drawing.exact:
        expected["wing"] &= ~expected["spot"]
    fits = {trait: masks.iou(found[trait], mask) if trait in found else 0.0 for trait, mask in expected.items()}
    quiet = not supports.notes or drawing.name.startswith("YOLO")  # Its classes count from 0, which is noted.
    if found.keys() == expected.keys() and min(fits.values()) >= (1.0 if drawing.exact else 0.97) and quiet:
        return None
    return Outcome(DIFFERENT, f"undamaged {drawing.name}", f"{fits}, {list(found)}, {supports.notes}")


def judge(drawing: Drawing, supports: Supports, before: dict[str, Mask], how: str, path: tuple[Any, ...]) -> Outcome:
    found = masks_of(supports)
    detail = f"{drawing.name}, {how}: {list(found)}, {dict(supports.numbers)}, notes {supports.notes}"
    numbers = list(supports.numbers.values())
    if len(set(numbers)) < len(numbers) or not all(type(n) is int and 1 <= n <= 65535 for n in numbers):
        return Outcome(DIFFERENT, "numbers of traits that are none", detail)
    if any(mask.shape != (HEIGHT, WIDTH) or not mask.any() for mask in found.values()) or not found:
        return Outcome(DIFFERENT, "a mask that does not fit or is empty", detail)
    same = {trait for trait, mask in before.items() if trait in found and np.array_equal(found[trait], mask)}
    if found.keys() == before.keys() == same:
        return Outcome(RIGHT, "the masks are as before")
    if supports.notes and not drawing.name.startswith("YOLO"):
        return Outcome(EXPLAINED, "a note", detail)
    if how.endswith(".png"):
        return Outcome(DIFFERENT, "checksums of the format would show it", detail)
    whole = how.split()[0] in ("value", "number", "removed", "repeated", "wrapped", "deep")
    if whole and len(same) < len(before) - 1 and not is_renaming(path, how):
        return Outcome(DIFFERENT, "one value was changed, and two masks", detail)
    if whole and len(found) < len(before) and not is_renaming(path, how):
        return Outcome(DIFFERENT, "a trait is missing without a word", detail)
    return Outcome(EXPLAINED, "the format has no checksum, and the file is valid", detail)


def judge_individuals(one: Supports, many: Supports) -> Outcome | None:
    """Compare supports of one individual with the same drawing read for many: together they are the same pixels."""
    for group in one.groups():
        for support in one.load(group):
            own = [each for each in many.load(group) if each.photograph == support.individual]
            together: Mask = np.any([each.masks.any(axis=0) for each in own] or [support.body & False], axis=0)
            if not np.array_equal(together, support.body) and not any(
                word in note for note in many.notes for word in ("is a crowd", "numbered individuals")
            ):
                return Outcome(
                    DIFFERENT, "individuals are not all that was drawn", f"{support.individual}: {many.notes}"
                )
    return None


def is_renaming(path: tuple[Any, ...], how: str) -> bool:
    """Say whether a trait or a photograph is named otherwise now, or a whole shape is not in the file any more."""
    names = {
        "label",
        "category_id",
        "name",
        "trait",
        "polygonlabels",
        "region_attributes",
        "classification",
        "image_id",
    }
    return bool(names & set(path)) or (how.startswith("removed") and isinstance(path[-1], int))
