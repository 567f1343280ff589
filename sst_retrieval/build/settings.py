"""The settings of a build, shared by Python and the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from sst_retrieval.engines import DEFAULT_FOREGROUND, ModelOptions


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """The settings of a build; the command line has the same defaults.

    Attributes:
        images: folder of the photographs, if it is not the table's.
        id_column: column of the table that names the specimens; None finds it by its usual names, as the next two.
        image_column: column that names the photographs.
        group_column: column that says whose support a specimen shares.
        propagator: what finds the traits (see `engines`).
        embedder: what describes them.
        device: "auto", "cpu" or "cuda".
        models: options of the built-in models.
        prune: take out specimens that are no longer in the table, or were skipped by this build (unreadable, without a
            support).
        rebuild: start anew, for example with other models; readers keep the old state until the end.
        groups: only these groups are propagated, as after one got another support; none means all. What the index
            holds of the others stays.
        view_column: column that says which view of its specimen a photograph is.
        individuals: "one" or "many": how many a photograph shows; it overrides traits.toml. None asks traits.toml.
        finder: what finds the individuals of groups that may show several (see `engines`).
        foreground: what proposes things to the built-in finder (see `foregrounds.loading`).
        outlines: what draws the outlines of found individuals anew (see `find.outlines`); None leaves them.
        workers: how many photographs are processed at the same time; None leaves it to the program (see
            `build.workers.choose_workers`). The index is the same.
        second_pass: how many photographs of a group, those whose masks are surest, become further supports at most; 0
            for one pass (see `build.second_pass`).
        reread: read every photograph to see whether it has changed; else only those whose size or time of change is
            another than at the last build.
        store: address of a store that fsspec reaches, such as s3://bucket/photographs: the photographs are copied
            from there into `images` first (see `fetch.stores`); None leaves the folder as it is.
        ray: process the photographs on a Ray cluster: its address, "auto" or "local" (see `build.cluster`); None
            processes them on this computer.
        refit: fit the whitening of the vectors to all regions again, also where the commit of a large index would
            only add to it (see `index.epochs`); similarities then change a little.
    """

    images: Path | None = None
    id_column: str | None = None
    image_column: str | None = None
    group_column: str | None = None
    propagator: str = "dense"
    embedder: str = "efficientnet"
    device: str = "auto"
    models: ModelOptions = field(default_factory=ModelOptions)
    prune: bool = False
    rebuild: bool = False
    groups: tuple[str, ...] = ()
    view_column: str | None = None
    individuals: str | None = None
    finder: str = "dense"
    foreground: str = DEFAULT_FOREGROUND
    outlines: str | None = None
    workers: int | None = None
    reread: bool = False
    store: str | None = None
    ray: str | None = None
    refit: bool = False
    second_pass: int = 0


DEFAULTS = BuildSettings()
