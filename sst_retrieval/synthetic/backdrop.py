"""Paint what surrounds a specimen on its photograph: the floor, a paper label, a pin, a scale bar, the light."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from sst_retrieval.synthetic.canvas import Canvas, Colour, Values, as_bytes, blend, noise, rgb
from sst_retrieval.types import RGBImage

FLOORS = ("grey card", "foam", "blue cloth", "wood")
"""What a specimen may lie on."""


def paint_floor(kind: str, size: tuple[int, int], rng: np.random.Generator) -> Values:
    """Paint what the specimen lies on.

    Args:
        kind: one of `FLOORS`.
        size: (height, width) in pixels.
        rng: where the irregularities come from.

    Returns:
        float32 (height, width, 3), 0..255.
    """
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    if kind == "wood":
        ring = y / 11 + 2.2 * noise(size, 230, rng, 1) + x / 400
        stripes = 0.6 * np.sin(2 * np.pi * ring / 3.1) + 0.4 * np.sin(2 * np.pi * ring / 1.3)
        fibre = np.asarray(
            Image.fromarray(rng.normal(size=(size[0], size[1] // 24 + 2)).astype(np.float32)).resize(
                (size[1], size[0]), Image.Resampling.BICUBIC
            )
        )
        colour, texture = (196.0, 162.0, 118.0), 0.055 * stripes + 0.035 * fibre
    elif kind == "blue cloth":
        weave = np.sin(x * 2.1) * np.sin(y * 2.1)
        colour, texture = (
            (98.0, 126.0, 160.0),
            0.03 * weave + 0.03 * noise(size, 60, rng) + 0.02 * noise(size, 3, rng, 1),
        )
    elif kind == "foam":
        pits = np.clip(noise(size, 5, rng, 1) - 0.9, 0, 1)
        colour, texture = (214.0, 212.0, 205.0), 0.012 * noise(size, 3, rng, 1) - 0.16 * pits
    elif kind == "grey card":
        colour, texture = (172.0, 174.0, 175.0), 0.010 * noise(size, 2, rng, 1) + 0.008 * noise(size, 90, rng)
    else:
        raise ValueError(f"no floor is called {kind!r}; there are {', '.join(FLOORS)}")
    tint = np.float32(np.asarray(colour) * rng.normal(1, 0.03) + rng.normal(0, 2, 3))
    return np.asarray(tint * (1 + texture)[..., None], np.float32)


def paper_label(lines: Sequence[str], rng: np.random.Generator) -> Image.Image:
    """Print a small paper label; the first line larger.

    Returns:
        An RGBA picture, slightly turned, with its shadow.
    """
    # Printed at twice its size, so that the letters stay smooth when the label is turned.
    fonts = [ImageFont.load_default(size=22 if k == 0 else 18) for k in range(len(lines))]
    width = int(max(font.getlength(text) for font, text in zip(fonts, lines, strict=True))) // 2 + 14
    height = 13 * len(lines) + 9
    grain = 3 * noise((height * 2, width * 2), 3, rng, 1) + 5 * noise((height * 2, width * 2), 60, rng, 1)
    paper = Image.fromarray(np.clip(rgb((243, 236, 217)) + grain[..., None], 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(paper)
    draw.rectangle((3, 3, width * 2 - 4, height * 2 - 4), outline=(120, 110, 95), width=2)
    for k, (font, text) in enumerate(zip(fonts, lines, strict=True)):
        draw.text((14, 8 + 26 * k), text, fill=(46, 42, 40), font=font)
    pad = 26
    card = Image.new("RGBA", (width * 2 + 2 * pad, height * 2 + 2 * pad))
    card.paste(Image.new("RGBA", paper.size, (0, 0, 0, 130)), (pad + 5, pad + 6))
    card = card.filter(ImageFilter.GaussianBlur(6))
    card.paste(paper, (pad, pad))
    return card.rotate(rng.normal(0, 4), Image.Resampling.BICUBIC, expand=True).reduce(2)


def scale_bar(pixels_per_mm: float) -> Image.Image:
    """Draw a printed scale bar of 10 mm, RGBA."""
    length = round(pixels_per_mm * 10)
    bar = Image.new("RGBA", (length + 12, 26), (0, 0, 0, 0))
    draw = ImageDraw.Draw(bar)
    draw.rectangle((0, 0, length + 11, 25), fill=(250, 250, 248, 255))
    for k in range(5):
        fill = (25, 25, 25) if k % 2 == 0 else (250, 250, 248)
        draw.rectangle((6 + length * k / 5, 4, 6 + length * (k + 1) / 5, 9), fill=fill, outline=(25, 25, 25))
    draw.text((6 + length / 2, 18), "10 mm", fill=(25, 25, 25), font=ImageFont.load_default(size=10), anchor="mm")
    return bar


def colour_card() -> Image.Image:
    """Draw a strip of colour patches, as photographers lay beside a specimen, RGBA."""
    patches = ["#343434", "#7a7a79", "#c8c8c8", "#af363c", "#e7c71f", "#469449", "#383d96"]
    card = Image.new("RGBA", (14 * len(patches) + 6, 20), (18, 18, 18, 255))
    draw = ImageDraw.Draw(card)
    for k, patch in enumerate(patches):
        draw.rectangle((4 + 14 * k, 4, 15 + 14 * k, 15), fill=patch)
    return card


def paste(picture: Values, thing: Image.Image, at: tuple[int, int]) -> None:
    """Paste an RGBA picture onto float32 (H, W, 3), 0..255, in place.

    Args:
        picture: painted on.
        thing: RGBA.
        at: (x, y) of its top left corner in pixels; may lie outside.
    """
    rgba = np.asarray(thing, np.float32)
    y0, x0 = max(0, at[1]), max(0, at[0])
    y1, x1 = min(picture.shape[0], at[1] + rgba.shape[0]), min(picture.shape[1], at[0] + rgba.shape[1])
    if y0 >= y1 or x0 >= x1:
        return
    visible = rgba[y0 - at[1] : y1 - at[1], x0 - at[0] : x1 - at[0]]
    blend(picture[y0:y1, x0:x1], visible[..., :3], visible[..., 3] / 255)


def paint_pin(insect: Canvas, at: tuple[float, float], radius: float, colour: Colour, light: float) -> None:
    """Paint the head of a pin on the specimen: round, with a highlight, hiding what is below it.

    Args:
        insect: painted on.
        at: (x, y) in pixels.
        radius: of the head, in pixels.
        colour: of the head.
        light: direction the light comes from, radians.
    """
    reach = math.ceil(radius * 3)
    rows = slice(max(0, int(at[1]) - reach), int(at[1]) + reach)
    columns = slice(max(0, int(at[0]) - reach), int(at[0]) + reach)
    y, x = np.mgrid[rows, columns].astype(np.float32) + 0.5
    dx, dy = (x - at[0]) / radius, (y - at[1]) / radius
    cos, sin = math.cos(light), math.sin(light)
    shade = np.clip(1.3 - np.hypot(dx + 0.9 * cos, dy + 0.9 * sin), 0, 1) * 0.55
    lit = np.clip(1.1 - 0.75 * np.hypot(dx - 0.35 * cos, dy - 0.35 * sin), 0.25, 1.2)
    glint = 120 * np.exp(-((dx - 0.4 * cos) ** 2 + (dy - 0.4 * sin) ** 2) / 0.06)
    head = np.clip((1 - np.hypot(dx, dy)) * radius + 0.5, 0, 1).astype(np.float32)
    insect.colour[rows, columns] *= (1 - shade)[..., None]
    blend(insect.colour[rows, columns], np.asarray(colour) * lit[..., None] + glint[..., None], head)
    insect.cover[rows, columns] = np.maximum(insect.cover[rows, columns], head)
    for mask in insect.masks.values():
        mask[rows, columns] *= 1 - head


def render_photograph(
    ground: Values, insect: Canvas, *, light: float, height: float, rng: np.random.Generator
) -> RGBImage:
    """Render the photograph: the specimen over its shadow, uneven light, the colour cast and noise of a sensor.

    Args:
        ground: float32 (H, W, 3): everything below the specimen.
        insect: the canvas at the photograph's resolution.
        light: direction the light comes from, radians.
        height: how far the specimen is above the ground, in pixels; its shadow moves and softens.
        rng: where noise comes from.

    Returns:
        uint8 (H, W, 3).
    """
    size = insect.cover.shape
    solid = Image.fromarray((insect.cover * 255).astype(np.uint8))
    moved = solid.transform(
        solid.size,
        Image.Transform.AFFINE,
        (1, 0, height * math.cos(light), 0, 1, height * math.sin(light)),
        Image.Resampling.BILINEAR,
    )
    shadow = np.asarray(moved.filter(ImageFilter.GaussianBlur(1 + 0.55 * height)), np.float32) / 255
    bare = (1 - 0.5 * shadow) * (1 - insect.cover)
    picture = ground * bare[..., None] + insect.colour
    picture *= _light(size, light, rng)[..., None]
    picture *= np.float32(rng.normal(1, 0.015, 3) * rng.normal(1, 0.05))
    picture += rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(rng.uniform(1.0, 3.5))
    return as_bytes(picture)


def _light(size: tuple[int, ...], direction: float, rng: np.random.Generator) -> Values:
    """Compute how much light every pixel gets, around 1: a slope towards the lamp, darker corners; float32 (H, W)."""
    longer = max(size)
    y = ((np.arange(size[0], dtype=np.float32) - size[0] / 2) / longer)[:, None]
    x = ((np.arange(size[1], dtype=np.float32) - size[1] / 2) / longer)[None, :]
    slope, corners = rng.uniform(0.05, 0.3), rng.uniform(0.1, 0.45)
    return np.asarray(
        1 + slope * (x * math.cos(direction) + y * math.sin(direction)) - corners * (x**2 + y**2), np.float32
    )
