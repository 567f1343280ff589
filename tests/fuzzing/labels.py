"""Label pictures, damaged: the same numbers, an error, or a difference that the format cannot notice."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from fuzzing.damages import damage
from fuzzing.outcomes import DIFFERENT, EXPLAINED, RIGHT, Check, Outcome
from fuzzing.photographs import HEIGHT, WIDTH, picture, remake_png, save, save_tiff
from sst_retrieval.imaging.images import read_labels


def make_labels() -> list[tuple[str, bytes, np.ndarray | None]]:
    """Make (suffix, content, numbers) of every kind; without numbers those that must be refused."""
    numbers = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    numbers[10:50, 10:40], numbers[20:40, 45:75], numbers[25:30, 15:20] = 1, 2, 5
    gray = Image.fromarray(numbers)
    palette = gray.copy().convert("P")
    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0, 0, 0, 200, 90, 90, 90, 200, 200, 0])
    wide = numbers.astype(np.uint16) * 300
    return [
        (".png", save(gray, "PNG"), numbers),
        (".png", save(palette, "PNG"), numbers),
        (".png", save(Image.fromarray(numbers > 0), "PNG"), numbers > 0),
        (".png", save(Image.fromarray(wide), "PNG"), wide),
        (".tif", save(gray, "TIFF"), numbers),
        (".tif", save(gray, "TIFF", compression="tiff_lzw"), numbers),
        (".tif", save(gray, "TIFF", compression="tiff_adobe_deflate"), numbers),
        (".tif", save_tiff(wide), wide),
        (".tif", save_tiff(numbers, compression="zlib", tile=(16, 16)), numbers),
        (".png", save(Image.fromarray(picture()), "PNG"), None),
        (".jpg", save(gray, "JPEG"), None),
    ]


def prepare(folder: Path) -> Check:
    """Make the valid files; each is read undamaged now and then, and must be right."""
    made = make_labels()

    def check(rng: Random) -> Outcome:
        suffix, whole, numbers = rng.choice(made)
        undamaged, remade = rng.random() < 0.03, suffix == ".png" and rng.random() < 0.3
        content, name = (whole, "undamaged") if undamaged else damage(whole, rng)
        if remade and not undamaged:
            content, name = remake_png(whole, rng), "a chunk with a right checksum"
        path = folder / f"labels{suffix}"
        path.write_bytes(content)
        found = read_labels(path)
        if found.dtype != np.uint16 or found.ndim != 2 or not found.size:
            return Outcome(DIFFERENT, "no uint16 (H, W)", name)
        if numbers is not None and np.array_equal(found, numbers):
            return Outcome(RIGHT, "the numbers are as before")
        if undamaged:
            return Outcome(DIFFERENT, "undamaged labels", f"{suffix}, {found.shape}")
        if remade:
            return Outcome(EXPLAINED, "a program wrote it so: the checksums are right", name)
        if content == whole[: len(content)]:
            return Outcome(DIFFERENT, f"a truncated {suffix} is read", name)
        if suffix == ".png":
            return Outcome(DIFFERENT, "checksums of the format would show it", name)
        return Outcome(EXPLAINED, f"{suffix} has no checksum of its numbers", name)

    return check
