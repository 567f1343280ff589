"""Models that need no network, and a collection that they understand: traits are flat colours on grey paper.

A build loads them by name ("fakes:FakeTracker"), as it would load anybody's own. The environment variable FAKE_TRACKER
makes one misbehave on the n-th photograph: "kill:3", "stop:3", "ctrl-c:3", "interrupt:3", "refuse:3" or "nonsense:3".
"""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import museum_store  # noqa: F401  Workers that load these models reach the store, too.
import numpy as np
from PIL import Image

from sst_retrieval.build import shard_writer
from sst_retrieval.build.pipeline import build_index
from sst_retrieval.build.report import BuildReport
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.errors import InputError
from sst_retrieval.imaging.frames import square_frame
from sst_retrieval.search.index import open_index
from sst_retrieval.types import Propagated, Region, RGBImage, Support

FAKES = BuildSettings(propagator="fakes:FakeTracker", embedder="fakes:FakeEmbedder")
PATIENCE = 20.0
"""Seconds; only a fault makes a test wait so long."""
NUMBERS = {"spot": 7, "bar": 3}
COLOURS = {"red": {"spot": (220, 30, 30), "bar": (240, 200, 40)}, "blue": {"spot": (40, 60, 220)}}
"""Group -> trait -> its colour; the blue group has no bar."""


@dataclass
class FakeMemory:
    traits: tuple[str, ...]
    colours: tuple[np.ndarray, ...]


class FakeTracker:
    """Finds every pixel that has about the colour of a trait on the support."""

    name = "fake tracker"
    memories: Sequence[FakeMemory] = ()

    def __init__(self, device: str) -> None:
        self.device = device
        self.photographs = 0

    def remember(self, supports: Sequence[Support]) -> FakeMemory:
        colours = {
            trait: support.image[mask].mean(axis=0)
            for support in supports
            for trait, mask in zip(support.traits, support.masks, strict=True)
        }
        return FakeMemory(tuple(colours), tuple(colours.values()))

    def propagate(self, memory: FakeMemory, images: Sequence[RGBImage]) -> list[Propagated]:
        return [self._propagate(memory, image) for image in images]

    def _propagate(self, memory: FakeMemory, image: RGBImage) -> Propagated:
        self.photographs += 1
        self._misbehave(*os.environ.get("FAKE_TRACKER", ":0").split(":"))
        masks = np.stack([np.abs(image - colour).max(axis=2) < 40 for colour in memory.colours])
        height, width = image.shape[:2]
        frame = square_frame((width / 2, height / 2), max(height, width), 0.0)
        confidence = np.where(masks.any(axis=(1, 2)), 0.75, 0.25).astype(np.float32)
        if os.environ.get("FAKE_TRACKER") == f"nonsense:{self.photographs}":
            confidence += 7
        return Propagated(masks, confidence, frame)

    def _misbehave(self, how: str, when: str) -> None:
        if self.photographs != int(when):
            return
        if how == "refuse":
            raise InputError("this photograph is too odd")
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "stop":
            signal.raise_signal(signal.SIGSTOP)  # Until somebody sends SIGCONT.
        if how in ("kill", "ctrl-c"):  # To the whole process, as a terminal does, whatever thread is at work.
            os.kill(os.getpid(), signal.SIGKILL if how == "kill" else signal.SIGINT)


class FakeEmbedder:
    """Describes every cell by its mean colour."""

    name = "fake embedder"
    dim = 4
    side = 16

    def __init__(self, device: str) -> None:
        self.device = device

    def features(self, images: Sequence[RGBImage]) -> list[np.ndarray]:
        return [np.dstack([image / 255, np.ones(image.shape[:2])]).astype(np.float32) for image in images]


class OtherEmbedder(FakeEmbedder):
    name = "other embedder"


class Half:
    """Neither propagator nor embedder."""

    name = "half"

    def __init__(self, device: str) -> None:
        self.device = device


def paint(group: str, seed: int, *, bar: bool = True) -> tuple[RGBImage, dict[str, np.ndarray]]:
    """Draw a specimen of a group; its traits lie elsewhere for every seed. uint8 (40, 60, 3), and its masks."""
    image = np.full((40, 60, 3), 200, dtype=np.uint8)
    rng = np.random.default_rng(seed)
    image[8:36, 10:50] = 90  # The body.
    masks = {trait: np.zeros((40, 60), dtype=bool) for trait in COLOURS[group]}
    x, y = rng.integers(12, 26), rng.integers(10, 20)
    masks["spot"][y : y + rng.integers(5, 9), x : x + rng.integers(5, 9)] = True
    if "bar" in masks:
        y = rng.integers(30, 34)
        masks["bar"][y : y + 2, 14:46] = bar
    for trait, mask in masks.items():
        image[mask] = COLOURS[group][trait]
    return image, masks


def a_collection_of(folder: Path, specimens: Sequence[tuple[str, str]] = ()) -> Path:
    """Write a collection of (id, group): photographs, a table, and a support for the first of each group.

    Returns:
        The table; the supports lie in `supports/` beside it, labels for all in `labels/`.
    """
    specimens = specimens or [(f"{group[0]}{i}", group) for group in COLOURS for i in range(5)]
    for name in ("images", "supports", "labels"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for seed, (name, group) in enumerate(specimens):
        image, masks = paint(group, seed)
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
        labels = np.zeros(image.shape[:2], dtype=np.uint8)
        for trait, mask in masks.items():
            labels[mask] = NUMBERS[trait]
        Image.fromarray(labels).save(folder / "labels" / f"{name}.png")
        if group not in [other for _, other in specimens[:seed]]:
            Image.fromarray(labels).save(folder / "supports" / f"{name}.png")
    traits = "\n".join(f"{trait} = {number}" for trait, number in NUMBERS.items())
    (folder / "supports" / "traits.toml").write_text(f"[traits]\n{traits}\n")
    return write_table(folder / "collection.csv", specimens)


def write_table(path: Path, specimens: Sequence[tuple[str, str]]) -> Path:
    """Write the table alone."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["catalogNumber", "image", "group", "sex", "eventDate"])
        for i, (name, group) in enumerate(specimens):
            writer.writerow([name, f"images/{name}.png", group, ("female", "male")[i % 2], f"190{i % 10}-05-01"])
    return path


def build_fake(table: Path, index: Path, settings: BuildSettings = FAKES) -> BuildReport:
    return build_index(table, table.parent / "supports", index, settings=settings)


def every_region(path: Path) -> Mapping[tuple[str, str], Region]:
    """Read all that an index holds."""
    with open_index(path) as index:
        traits = {"r": ("spot", "bar"), "b": ("spot",)}
        left_out = {row.photograph for row in index.skipped()}
        return {
            (each.id, trait): index.region(each.id, trait)
            for each in index.individuals()
            if each.id not in left_out
            for trait in traits[each.id[0]]
        }


def same_region(one: Region, other: Region, *, tolerance: float = 0.0) -> bool:
    """Compare two regions to the last bit; their vectors within a tolerance, if one is given."""
    vectors = (one.vector is None) == (other.vector is None) and (
        one.vector is None or np.allclose(one.vector, other.vector, rtol=0, atol=tolerance)  # type: ignore[arg-type]
    )
    simple = ("individual", "trait", "present", "confidence", "size", "rle", "box", "frame", "measurements")
    return vectors and all(getattr(one, name) == getattr(other, name) for name in simple)


CONCURRENT = replace(FAKES, propagator="fakes:ConcurrentTracker", embedder="fakes:ConcurrentEmbedder", workers=3)


def build_in_small_shards(table: str, index: str, propagator: str) -> None:
    """Build with a shard every second photograph; for processes that are killed."""
    shard_writer.SHARD_PHOTOGRAPHS = 2
    settings = CONCURRENT if propagator == CONCURRENT.propagator else replace(FAKES, propagator=propagator)
    build_fake(Path(table), Path(index), settings)


def run_in_small_shards(table: Path, index: Path, misbehaviour: str, propagator: str = FAKES.propagator) -> int:
    """Build in a process of its own, with a shard every two photographs; return its exit status."""
    code = "import sys, fakes; fakes.build_in_small_shards(*sys.argv[1:])"
    here = [str(Path(__file__).parent), str(Path(shard_writer.__file__).parents[2])]
    environment = {**os.environ, "FAKE_TRACKER": misbehaviour, "PYTHONPATH": os.pathsep.join(here)}
    command = [sys.executable, "-c", code, str(table), str(index), propagator]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


class BlindTracker(FakeTracker):
    """Another model, which finds nothing."""

    name = "blind tracker"

    def _propagate(self, memory: FakeMemory, image: RGBImage) -> Propagated:
        found = super()._propagate(memory, image)
        return Propagated(np.zeros_like(found.masks), found.confidence, found.frame)


class ConcurrentTracker(FakeTracker):
    """May be asked by several threads."""

    name = "fake tracker"
    concurrent = True
    meanwhile: Callable[[ConcurrentTracker], None] | None = None
    """What the first photograph waits for while it is at work."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._changed = threading.Condition()
        self.at_work = self.most = self.done = 0

    def _propagate(self, memory: FakeMemory, image: RGBImage) -> Propagated:
        with self._changed:
            found = super()._propagate(memory, image)
            first = self.photographs == 1
            self.at_work += 1
            self.most = max(self.most, self.at_work)
        if first and self.meanwhile is not None:
            self.meanwhile()
        with self._changed:
            self.at_work -= 1
            self.done += 1
            self._changed.notify_all()
        return found

    def until_overtaken(self) -> None:
        """Wait until another photograph is answered."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.done > 0, PATIENCE), "no other photograph is worked on meanwhile"


class ConcurrentEmbedder(FakeEmbedder):
    concurrent = True


class HungryConcurrentTracker(ConcurrentTracker):
    batch = 2


class HungryTracker(FakeTracker):
    """Wants three photographs at once."""

    batch = 3
