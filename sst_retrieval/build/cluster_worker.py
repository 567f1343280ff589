"""What a Ray cluster runs: a worker that processes photographs, hashes them, remembers supports, and writes shards.

It computes on one thread, as each thread of a build on one computer does where there is one a core (`build.workers`):
masks, vectors and confidences are the same to the last bit on processors of one kind.
"""

from __future__ import annotations

import hashlib
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from sst_retrieval import provenance
from sst_retrieval.build.photographs import Batch, PhotographDone, PhotographRows, process_batch
from sst_retrieval.build.plan import Task
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.build.workers import PixelBudget, use_one_thread
from sst_retrieval.engines import Engines, load_engines
from sst_retrieval.errors import ClusterError, ImageError
from sst_retrieval.fetch.copies_on_demand import CopiesOnDemand, StoredPhotograph
from sst_retrieval.find.contract import compares_groups
from sst_retrieval.imaging.images import content_hash
from sst_retrieval.index.loose_pictures import read_loose_pictures
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.index.photograph_hashes import SETTLED
from sst_retrieval.index.picture_pack import PackRow
from sst_retrieval.index.staged_shards import StagedShard, stage_shard
from sst_retrieval.ray_cluster import import_ray
from sst_retrieval.track.contract import get_batch_size
from sst_retrieval.track.second_pass import TwoPassMemory
from sst_retrieval.types import Propagated, RGBImage, Skipped, Support

FETCH_SECONDS = 120.0
"""Seconds after which a worker makes a memory anew that it cannot fetch."""

PROGRAMS = ("sst-retrieval", "numpy", "pillow", "scikit-image", "scipy", "torch")
"""Packages whose versions must be the same on all machines."""


class RowsLostError(ClusterError):
    """What was kept of photographs was lost with the machine that had it."""


@dataclass(frozen=True, slots=True)
class RemoteMemory:
    """A memory of supports in Ray's object store.

    Attributes:
        traits: names of the traits; empty for a finder's memory.
        reference: Ray's reference to the memory, which lies on the machine of the worker that made it.
        supports: Ray's reference to what it was made of, which lies on the driver's machine.
    """

    traits: tuple[str, ...]
    reference: Any
    supports: Any


@dataclass(frozen=True, slots=True)
class WorkerDescription:
    """What a worker says about itself when its models are loaded.

    Attributes:
        node: address of its machine.
        programs: versions on which masks and vectors depend.
        recipe: of its models (`Engines.recipe`).
        weights, device: as `Engines`.
        propagator, embedder, finder: attributes of the models that a build asks for; no finder: None.
    """

    node: str
    programs: Mapping[str, str]
    recipe: Mapping[str, Any]
    weights: Mapping[str, Any]
    device: str
    propagator: Mapping[str, Any]
    embedder: Mapping[str, Any]
    finder: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class SharedIndex:
    """An index folder that workers write shards to.

    Attributes:
        root: its path, the same on all machines.
        manifest: SHA-256 of its manifest, by which a worker sees that it is the same folder.
        blocks: name of a block of its vectors -> its numbers.
    """

    root: Path
    manifest: str
    blocks: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Processed:
    """What workers keep of a batch until its shard is written.

    Attributes:
        photographs: their rows, but for those that were skipped.
        pictures: their small pictures.
    """

    photographs: tuple[PhotographRows, ...]
    pictures: tuple[PackRow, ...]


class PhotographWorker:
    """Processes photographs in a process of its own, one after the other; an actor of Ray."""

    def __init__(self, settings: BuildSettings, *, finder: bool, copies: Path | None = None) -> None:
        """Keep what the models are loaded by; `start` loads them.

        Args:
            settings: of the build.
            finder: whether photographs may show several individuals.
            copies: folder on this machine that photographs of a store are copied to when they are needed; None if
                they lie on a disk.
        """
        self._copies = None if copies is None or settings.store is None else CopiesOnDemand(settings.store, copies)
        self._settings, self._finder = settings, finder
        self._budget = PixelBudget()
        self._index: SharedIndex | None = None
        self._context: tuple[str, Batch] | None = None
        self._engines: Engines | None = None

    def start(self) -> WorkerDescription:
        """Load the models.

        Raises:
            ModelError: as `load_engines`.
        """
        settings = self._settings
        engines = self._engines = load_engines(
            *(settings.propagator, settings.embedder, settings.device, settings.models),
            finder=settings.finder if self._finder else None,
            foreground=settings.foreground,
            outlines=settings.outlines,
        )
        use_one_thread()
        propagator, embedder = engines.propagator, engines.embedder
        return WorkerDescription(
            node=platform.node(),
            programs=_list_programs(),
            recipe=engines.recipe(),
            weights=engines.weights,
            device=engines.device,
            propagator={"name": propagator.name, "batch": get_batch_size(propagator)},
            embedder={"name": embedder.name, "dim": embedder.dim, "side": embedder.side},
            finder=None
            if engines.finder is None
            else {
                "name": engines.finder.name,
                "compares_groups": compares_groups(engines.finder),
                "outlines": getattr(engines.finder, "outlines", None),
            },
        )

    def remember(self, supports: Sequence[Support]) -> tuple[tuple[str, ...], Any]:
        """Encode the supports of a group for the propagator: the traits, and the memory."""
        memory = self._loaded.propagator.remember(supports)
        return memory.traits, memory

    def remember_individuals(self, supports: Sequence[Support]) -> tuple[tuple[str, ...], Any]:
        """Encode the annotated individuals of a group for the finder: no traits, and the memory."""
        assert self._loaded.finder is not None
        return (), self._loaded.finder.remember(supports)

    def propagate(self, memory: RemoteMemory, images: Sequence[RGBImage]) -> list[Propagated]:
        """Find every trait of a memory on images."""
        propagator = self._loaded.propagator
        return propagator.propagate(_fetch(memory, propagator.remember), images)

    def hash(
        self, photographs: Sequence[Path], stored: Mapping[Path, StoredPhotograph]
    ) -> list[tuple[int, int, str] | None]:
        """Hash the content of photographs: size, time of change and hash of each.

        None for one that cannot be read here, or may still be written (`index.photograph_hashes.SETTLED`).

        Args:
            photographs: their paths.
            stored: those that lie in a store.

        Raises:
            FetchError: the store refuses.
        """
        with self._use_copies(stored):
            return [_hash(photograph, stored.get(photograph)) for photograph in photographs]

    def process(
        self,
        parts: Sequence[Sequence[Task]],
        context: Sequence[Any],
        index: SharedIndex,
        stored: Mapping[Path, StoredPhotograph],
    ) -> tuple[list[PhotographDone | Skipped], Processed]:
        """Process the photographs of batches of one group, one after the other (`build.photographs.process_batch`).

        Args:
            parts: the photographs of each batch.
            context: one reference to a batch without its photographs; in a list, so that Ray does not fetch it for
                every call.
            index: where they will be written.
            stored: those that lie in a store.

        Returns:
            What is said of each photograph, and what is kept of them: the second stays in Ray's object store, until
            some worker writes it (`write_shard`).

        Raises:
            ClusterError: this machine does not see the index folder, or the folder of the photographs.
            FetchError: the store refuses.
        """
        if self._index != index:
            _require_shared_folders(index, None if stored else parts[0][0].photograph.image)
            self._index = index
        batch = self._fetch_context(context[0])
        with self._use_copies(stored), tempfile.TemporaryDirectory(prefix="sst-retrieval-") as folder:
            own = IndexPaths(Path(folder))
            results = [
                result
                for tasks in parts
                for result in process_batch(replace(batch, tasks=tasks), self._loaded, own, self._budget)
            ]
            pictures = read_loose_pictures(own)
        done = [each if isinstance(each, Skipped) else PhotographDone(each.photograph, each.notes) for each in results]
        kept = tuple(each for each in results if isinstance(each, PhotographRows))
        return done, Processed(kept, tuple(pictures))

    def write_shard(self, references: Sequence[Any], notes: Mapping[str, Any], index: SharedIndex) -> StagedShard:
        """Write what was kept of batches as a shard (`write_processed`).

        Args:
            references: Ray's references to `Processed`, in the order of the photographs.
            notes: that go into the shard.
            index: where it is written.

        Raises:
            RowsLostError: some of it was lost with a machine.
        """
        ray = import_ray()
        try:
            processed = ray.get(list(references), timeout=FETCH_SECONDS)
        except ray.exceptions.RayError as error:
            raise RowsLostError(str(error)) from error
        return write_processed(processed, notes, index)

    @property
    def _loaded(self) -> Engines:
        assert self._engines is not None, "start comes first"
        return self._engines

    def _use_copies(self, stored: Mapping[Path, StoredPhotograph]) -> AbstractContextManager[None]:
        return nullcontext() if self._copies is None else self._copies.used(stored)

    def _fetch_context(self, reference: Any) -> Batch:
        """Fetch what the photographs of a group have in common; the last one fetched is kept."""
        name = reference.hex()
        if self._context is None or self._context[0] != name:
            self._context = None  # The memory of the last group is released before the next one is fetched.
            self._context = name, self._fill(import_ray().get(reference))
        return self._context[1]

    def _fill(self, batch: Batch) -> Batch:
        """Put this worker's models and fetched memories into a batch."""
        models, group = self._loaded, batch.group_finder
        remember = models.propagator.remember
        memory: Any = batch.memory
        if isinstance(memory, TwoPassMemory):
            drawn, extended = (_fetch(cast(RemoteMemory, part), remember) for part in (memory.drawn, memory.extended))
            memory = TwoPassMemory(drawn, extended)
        else:
            memory = _fetch(memory, remember)
        if group is not None and models.finder is not None:
            own = _fetch(group.memory, models.finder.remember)
            group = replace(group, finder=models.finder, memory=own)
        return replace(batch, memory=memory, group_finder=group)


def write_processed(processed: Sequence[Processed], notes: Mapping[str, Any], index: SharedIndex) -> StagedShard:
    """Write what was kept of batches as a shard that the build puts into its place."""
    photographs = [photograph for each in processed for photograph in each.photographs]
    return stage_shard(
        IndexPaths(index.root),
        [row for each in photographs for row in each.rows],
        notes=notes,
        empty=[each.empty for each in photographs if each.empty is not None],
        pictures=[picture for each in processed for picture in each.pictures],
        blocks=index.blocks,
    )


def _fetch(memory: RemoteMemory, remember: Callable[[Sequence[Support]], Any]) -> Any:
    """Fetch a memory from the object store; one that was lost with its machine is made anew."""
    ray = import_ray()
    try:
        return ray.get(memory.reference, timeout=FETCH_SECONDS)
    except ray.exceptions.RayError:
        return remember(ray.get(memory.supports))


def _hash(photograph: Path, stored: StoredPhotograph | None) -> tuple[int, int, str] | None:
    try:
        if stored is not None:
            return stored.size, stored.changed, content_hash(photograph)
        found, begun = photograph.stat(), time.time()
        if found.st_mtime_ns / 1e9 >= begun - SETTLED:
            return None
        return found.st_size, found.st_mtime_ns, content_hash(photograph)
    except (OSError, ImageError):
        return None


def _require_shared_folders(index: SharedIndex, photograph: Path | None) -> None:
    manifest = IndexPaths(index.root).manifest_file
    if not manifest.is_file() or hashlib.sha256(manifest.read_bytes()).hexdigest() != index.manifest:
        raise ClusterError(
            f"the machine {platform.node()} does not see the index folder {index.root}; put it on a file system that "
            "all machines of the cluster mount at the same path"
        )
    if photograph is not None and not photograph.parent.is_dir():
        raise ClusterError(
            f"the machine {platform.node()} does not see the folder of the photographs {photograph.parent}; put it on "
            "a file system that all machines of the cluster mount at the same path"
        )


def _list_programs() -> dict[str, str]:
    """List the versions that must be the same on all machines."""
    versions = provenance.programs()["versions"]
    return {name: versions[name] for name in PROGRAMS if name in versions}
