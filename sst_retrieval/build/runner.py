"""Where the photographs of a build are processed: on threads of this process, or on a cluster (`build.cluster`)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from sst_retrieval.build.cluster import open_cluster
from sst_retrieval.build.photographs import Batch, PhotographDone, PhotographRows, process_batch
from sst_retrieval.build.settings import BuildSettings
from sst_retrieval.build.shard_writer import ShardWriter
from sst_retrieval.build.workers import PartWorkers, PixelBudget, choose_workers, map_with_parts
from sst_retrieval.engines import Engines, load_engines
from sst_retrieval.errors import InputError
from sst_retrieval.fetch.copies_on_demand import CopiesOnDemand
from sst_retrieval.index.paths import IndexPaths
from sst_retrieval.types import Skipped

GROUPS_AHEAD = 2
"""Groups that are prepared at the same time on one computer, if that has cores for it: with four workers a group of few
photographs is done before the next one is prepared. On two cores two at a time were no faster. Each holds a memory and
the photographs of its supports."""


class Runner(Protocol):
    """Processes the photographs of a build; what it returns never depends on where."""

    @property
    def engines(self) -> Engines:
        """The models."""
        ...

    @property
    def workers(self) -> int:
        """How many photographs are processed at the same time."""
        ...

    @property
    def groups_ahead(self) -> int:
        """How many groups are prepared at the same time; one is prepared when its first photograph is asked for."""
        ...

    def hash_ahead(
        self,
        photographs: Sequence[Path],
        hash_content: Callable[[Path], str],
        progress: Callable[[int, int], None],
    ) -> Callable[[Path], str]:
        """Hash the content of photographs at the same time, if that is faster than one after the other.

        Args:
            photographs: those that will be asked for.
            hash_content: computes the hash of one.
            progress: is called with how many of how many were hashed.

        Returns:
            `hash_content`, or what gives the same, and has it already of files that have not changed since.
        """
        ...

    def process(
        self, batches: Iterable[Batch], paths: IndexPaths, shards: ShardWriter
    ) -> Generator[Sequence[PhotographRows | PhotographDone | Skipped]]:
        """Process batches of photographs (`build.photographs.process_batch`).

        Args:
            batches: taken one by one.
            paths: of the index.
            shards: gives numbers and notes to workers that write shards themselves, and takes those.

        Yields:
            What is kept of the photographs of each batch, in the order of the batches; of those whose rows are
            written by workers, what is to be said of them.
        """
        ...


class LocalRunner:
    """Processes photographs on threads of this process.

    Attributes:
        engines, workers, groups_ahead: as `Runner`.
    """

    def __init__(self, engines: Engines, workers: int) -> None:
        """Take the models, and how many threads call them."""
        self.engines, self.workers = engines, workers
        self.groups_ahead = min(max(1, workers // 2), GROUPS_AHEAD)

    def hash_ahead(
        self,
        photographs: Sequence[Path],
        hash_content: Callable[[Path], str],
        progress: Callable[[int, int], None],
    ) -> Callable[[Path], str]:
        """Leave it to the plan, which hashes one after the other: one disk is no faster in several places."""
        return hash_content

    def process(
        self, batches: Iterable[Batch], paths: IndexPaths, shards: ShardWriter
    ) -> Generator[Sequence[PhotographRows | PhotographDone | Skipped]]:
        """Process batches of photographs, as `Runner.process`; their rows are written by whoever asked."""
        budget = PixelBudget()

        def process(batch: Batch, parts: PartWorkers) -> list[PhotographRows | Skipped]:
            return process_batch(batch, self.engines, paths, budget, parts)

        return map_with_parts(process, batches, self.workers)


@contextmanager
def open_runner(settings: BuildSettings, *, finder: bool, copies: CopiesOnDemand | None = None) -> Iterator[Runner]:
    """Load the models where the photographs will be processed (a context manager).

    Args:
        settings: of the build.
        finder: whether photographs may show several individuals.
        copies: as for `build.cluster.open_cluster`.

    Raises:
        ModelError: a model cannot be loaded.
        InputError: more workers are asked for than the models allow, or outlines are to be drawn anew and no group
            may show several individuals.
        ClusterError: the cluster that is asked for cannot be used.
    """
    if settings.outlines is not None and not finder:
        raise InputError(
            f"--outlines {settings.outlines} draws found individuals anew, and no group of this collection may show "
            'several: say --individuals many, or individuals = "many" in traits.toml'
        )
    if settings.ray is not None:
        with open_cluster(settings, finder=finder, copies=copies) as cluster:
            yield cluster
        return
    engines = load_engines(
        *(settings.propagator, settings.embedder, settings.device, settings.models),
        finder=settings.finder if finder else None,
        foreground=settings.foreground,
        outlines=settings.outlines,
    )
    yield LocalRunner(engines, choose_workers(settings.workers, engines))
