"""Fine-tune a propagator to one group of a collection, from its annotated specimen and unlabelled photographs."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sst_retrieval.annotate.supports import read_supports
from sst_retrieval.collection.specimens import read_collection
from sst_retrieval.engines import ModelOptions, load_propagator
from sst_retrieval.errors import ImageError, ModelError
from sst_retrieval.imaging.images import read_image
from sst_retrieval.types import RGBImage

if TYPE_CHECKING:
    from sst_retrieval.track.epochs import Epoch

PHOTOGRAPHS = 48

LEARNING = ("dense", "sam2", "dense+sam2", "tracker")
"""Propagators that can be fine-tuned."""


@dataclass(frozen=True, slots=True)
class FinetuneSettings:
    """The settings of a fine-tuning.

    Attributes:
        models: checkpoint and configuration of SAM 2; without a checkpoint the small one of the program learns.
        propagator: a name of `LEARNING`: "dense" for keys and decoder; "sam2"; "dense+sam2" or "tracker" to be led by
            the dense propagator. None for "sam2" with a checkpoint, and "tracker" without one.
        device: "auto", "cpu" or "cuda".
        full: train SAM 2's mask decoder and memory encoder fully, not by low-rank additions.
        rank: of the additions to SAM 2.
        rate: learning rate; None for the default of what learns: 1e-3 for SAM 2, 3e-4 for keys and decoder.
        epochs: most passes over the photographs; None for 20 with SAM 2, 4 with keys and decoder (see
            `track.dense.cycle_training.CycleSettings`).
        patience: epochs without improvement after which it stops.
        photographs: most photographs that are used; a random choice if there are more.
        seed: of that choice and of the training.
        images, id_column, image_column, group_column: of the table, see `build.settings.BuildSettings`.
    """

    models: ModelOptions = field(default_factory=ModelOptions)
    propagator: str | None = None
    device: str = "auto"
    full: bool = False
    rank: int = 4
    rate: float | None = None
    epochs: int | None = None
    patience: int = 5
    photographs: int = PHOTOGRAPHS
    seed: int = 0
    images: Path | None = None
    id_column: str | None = None
    image_column: str | None = None
    group_column: str | None = None


def finetune_group(
    table: Path,
    supports: Path,
    output: Path,
    *,
    group: str,
    settings: FinetuneSettings,
    progress: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Fine-tune on one group by one-shot cycle consistency (see `track.dense`'s and `track.sam2`'s `cycle_training`).

    Args:
        table: the specimen table.
        supports: the annotated specimens.
        output: folder of the adapter; a training that was stopped there goes on.
        group: the group.
        settings: everything else.
        progress: is called after every epoch.

    Returns:
        The epochs; number 0 is before learning. If that is the best, no adapter was written.

    Raises:
        InputError: the table or the supports cannot be used, or the group is not there.
        ModelError: a model cannot be loaded, there are too few photographs, or the folder holds something else.
    """
    collection = read_collection(
        table,
        images=settings.images,
        id_column=settings.id_column,
        image_column=settings.image_column,
        group_column=settings.group_column,
    )
    annotated = read_supports(supports, collection)
    annotated.require([group])
    name = settings.propagator or ("sam2" if settings.models.checkpoint else "tracker")
    if name not in LEARNING:
        raise ModelError(f"{name} cannot be fine-tuned; choose {' or '.join(LEARNING)}")
    own = annotated.load(group)
    annotated_ids = {support.individual for support in own}
    others = [each.image for each in collection.photographs if each.group == group and each.id not in annotated_ids]
    random.Random(settings.seed).shuffle(others)
    photographs = _read_up_to(settings.photographs, others)
    propagator = load_propagator(name, settings.device, settings.models)
    chosen = {"rate": settings.rate, "epochs": settings.epochs}
    given: dict[str, Any] = {option: value for option, value in chosen.items() if value is not None}
    given |= {"patience": settings.patience, "seed": settings.seed}
    if name == "dense":
        from sst_retrieval.track.dense import cycle_training as dense_training  # Here, because it loads PyTorch.

        return dense_training.finetune(
            propagator,  # type: ignore[arg-type]
            own,
            photographs,
            output,
            settings=dense_training.CycleSettings(**given),
            progress=progress,
        )
    from sst_retrieval.track.sam2 import cycle_training  # Here, because it loads PyTorch.

    cycle_settings = cycle_training.CycleSettings(rank=None if settings.full else settings.rank, **given)
    return cycle_training.finetune(
        propagator,  # type: ignore[arg-type]
        own,
        photographs,
        output,
        settings=cycle_settings,
        progress=progress,
    )


def _read_up_to(count: int, paths: list[Path]) -> list[RGBImage]:
    """Read photographs until there are enough; one that cannot be read is skipped, as in a build."""
    photographs: list[RGBImage] = []
    for path in paths:
        if len(photographs) == count:
            break
        try:
            photographs.append(read_image(path))
        except ImageError:
            continue
    return photographs
