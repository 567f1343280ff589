"""From a name on the command line to a model: "dense", "efficientnet", or `mylab.models:Tracker` for a custom one.

No model, nor the library it runs on, is loaded before it is needed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sst_retrieval.describe.contract import Embedder, HueEmbedder
from sst_retrieval.describe.region_vectors import describe_embedder
from sst_retrieval.errors import ModelError
from sst_retrieval.find.contract import Finder
from sst_retrieval.find.outlines import OutliningFinder, load_outliner
from sst_retrieval.foregrounds.loading import load_foreground
from sst_retrieval.index.whitening import SHRINKAGE, SHRINKAGE_WITH_HUE, SPREADS, TRUST
from sst_retrieval.nets.weights import WEIGHTS
from sst_retrieval.track.contract import Propagator

if TYPE_CHECKING:
    from sst_retrieval.nets.efficientnet import EfficientNetTrunk
    from sst_retrieval.track.dense.propagator import DensePropagator

PROPAGATORS: Mapping[str, str] = {
    "dense": "dense matching and a small decoder, not SAM 2: needs no download and no graphics card",
    "matching": "dense matching alone, nothing learnt from labelled specimens",
    "sam2": "SAM 2: needs a --checkpoint",
    "sam2-transformers": "SAM 2 by the transformers package: needs a --checkpoint, the folder of such a model",
    "dense+sam2": "SAM 2, led by the dense matching: pose at any angle and a first guess of the masks",
    "tracker": "dense matching, whose doubtful masks a small SAM 2 of our own corrects: no download, but slower",
    "dense+mobile_sam": "dense matching, whose masks MobileSAM draws anew where the supports say that it is better "
    "(extra mobilesam)",
    "tracker+mobile_sam": "the same after the tracker: slower, better on beetles (extra mobilesam)",
    "dense+mobile_sam@FILE": "with weights in a file of your own; tracker+mobile_sam@FILE likewise",
    "sam2-video": "SAM 2 over each group as one long video, in the table's order; a mask depends on fifteen before it",
}
"""Propagators that come with the program -> what they are, in a few words."""

EMBEDDERS: Mapping[str, str] = {
    "efficientnet": "EfficientNet-lite0 with ImageNet weights: needs no download",
    "spread": "the same network; of each feature the mean and the spread, which tell patterns better",
    "pattern": "the same network, shown the trait alone, in grey and enlarged: blind to hue, background and place",
    "openclip": "OpenCLIP or BioCLIP, for words too: needs --clip-pretrained",
}
"""Embedders that come with the program -> what they are, in a few words."""

FINDERS: Mapping[str, str] = {
    "dense": "things that a foreground shows, compared with the annotated individuals: needs no download",
    "dense:groups": "the same, but whether a drawer is of the group is told by what was annotated in others wherever "
    "it is, not only where in doubt: for groups that look different, such as species",
    "dense:alone": "the same, but never by what was annotated in others: a new group leaves all others as they are",
    "sam2:CHECKPOINT": "whatever SAM 2's automatic mask generator segments, compared in the same way",
}
"""Finders that come with the program -> what they are, in a few words."""


RUNTIMES: Mapping[str, str] = {
    "torch": "PyTorch, on the processor or a graphics card",
    "openvino": "OpenVINO, on the processor: a tenth less time, seven seconds more at the start; an extra",
}
"""What may run EfficientNet-lite0 -> what it is, in a few words."""

DEFAULT_FOREGROUND = "u2netp"
"""What proposes things to the built-in finder."""


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Options of the built-in models; a custom model takes none of them.

    Attributes:
        checkpoint: of SAM 2: a name of `nets.weights.WEIGHTS`, or the path of a .pt file.
        sam2_config: its architecture, a YAML file, if it is none of Meta's.
        cycle_consistency: whether SAM 2 also follows every mask back to its support, and stores how well that agrees.
        clip_model: of OpenCLIP: the architecture, a folder, or a model of the hub (see `describe.openclip_checkpoint`).
        clip_pretrained: its weights: a file, a name of `nets.weights.WEIGHTS`, or a tag of open_clip.
        clip_pooling: "dense" (patches under the mask) or "crop" (the trait cut out).
        adapters: folders that `finetune` made for this propagator; each serves the group it was made for.
        batch: how many photographs SAM 2 encodes at once; None for 1 on the CPU and 4 on a card.
        trunk: of the dense matching, "timm:NAME" or "timm:NAME@FILE" (see `nets.timm_trunk`); None for the default.
        second_look: whether the dense propagator looks twice at small traits (`track.dense.second_look`).
        runtime: what runs EfficientNet-lite0, a name of `RUNTIMES`. Its results differ by rounding, so regions stay
            comparable.
    """

    checkpoint: str | None = None
    sam2_config: Path | None = None
    cycle_consistency: bool = False
    clip_model: str | None = None
    clip_pretrained: str | None = None
    clip_pooling: str = "dense"
    adapters: tuple[Path, ...] = ()
    batch: int | None = None
    trunk: str | None = None
    second_look: bool = False
    runtime: str = "torch"


@dataclass(frozen=True, slots=True)
class Engines:
    """The two models of a build, loaded.

    Attributes:
        propagator: finds the traits.
        embedder: describes them.
        names: (propagator, embedder) as on the command line.
        finder: finds individuals; None if every photograph shows one.
        weights: "propagator" and "embedder" -> name, file, checksum and licence of the weights, where the model says.
        device: where the built-in models run.
    """

    propagator: Propagator
    embedder: Embedder
    names: tuple[str, str]
    weights: Mapping[str, Any]
    device: str
    finder: Finder | None = None

    @property
    def concurrent(self) -> bool:
        """Whether several threads may call all models at the same time: each declares it by `concurrent = True`."""
        models = [self.propagator, self.embedder, *([] if self.finder is None else [self.finder])]
        return all(getattr(model, "concurrent", False) is True for model in models)

    def recipe(self) -> dict[str, Any]:
        """Return what masks and vectors depend on, in JSON values: regions are comparable only if it is equal."""
        return {
            "propagator": {"engine": self.names[0], "model": self.propagator.name},
            "embedder": {"engine": self.names[1], **describe_embedder(self.embedder)},
            "whitening": dict(choose_shrinkage(self.embedder)),
            "spread": dict(SPREADS),
            "trust": list(TRUST),
            "weights": {role: dict(about) for role, about in self.weights.items()},
        }


def choose_shrinkage(embedder: Embedder) -> Mapping[str, float]:
    """Choose how the vectors of an embedder are whitened: block -> factor of the ridge (see `index.whitening`)."""
    return SHRINKAGE_WITH_HUE if isinstance(embedder, HueEmbedder) else SHRINKAGE


def load_engines(
    propagator: str,
    embedder: str,
    device: str = "auto",
    options: ModelOptions | None = None,
    *,
    finder: str | None = None,
    foreground: str = DEFAULT_FOREGROUND,
    outlines: str | None = None,
) -> Engines:
    """Load a propagator, an embedder and perhaps a finder; those that share a network get one copy of it.

    Args:
        propagator: a name of `PROPAGATORS`, or "module:Name" of a custom one.
        embedder: a name of `EMBEDDERS`, or "module:Name" of a custom one.
        device: "auto", "cpu" or "cuda". A custom model is called with it as the only argument.
        options: of the built-in models.
        finder: a name of `FINDERS`, or "module:Name" of a custom one; None loads none.
        foreground: what proposes things to the built-in finder (`foregrounds.loading.FOREGROUNDS`).
        outlines: what draws the outlines of found individuals anew (`find.outlines.OUTLINES`); None leaves them.

    Raises:
        ModelError: a name is unknown, or the model cannot be loaded or is not of that kind.
    """
    trunk = _SharedTrunk(device, (options or ModelOptions()).runtime)
    loaded_propagator = _make_propagator(propagator, trunk, options or ModelOptions())
    loaded_embedder = _make_embedder(embedder, trunk, options or ModelOptions())
    models = {"propagator": loaded_propagator, "embedder": loaded_embedder}
    weights = {role: about for role, model in models.items() if (about := _describe_weights(model)) is not None}
    loaded_finder = None
    if finder is not None:
        loaded_finder = _make_finder(finder, foreground, trunk, options or ModelOptions(), outlines)
    trunk.require_use()
    names, where = (propagator, embedder), trunk.device_in_use
    return Engines(loaded_propagator, loaded_embedder, names, weights, where, loaded_finder)


def load_finder(
    finder: str,
    foreground: str = DEFAULT_FOREGROUND,
    device: str = "auto",
    options: ModelOptions | None = None,
    *,
    outlines: str | None = None,
) -> Finder:
    """Load a finder alone, to evaluate it (see `load_engines`)."""
    return _make_finder(finder, foreground, _SharedTrunk(device), options or ModelOptions(), outlines)


def load_propagator(propagator: str, device: str = "auto", options: ModelOptions | None = None) -> Propagator:
    """Load a propagator alone, to evaluate or to fine-tune it (see `load_engines`)."""
    options = options or ModelOptions()
    trunk = _SharedTrunk(device, options.runtime)
    loaded = _make_propagator(propagator, trunk, options)
    trunk.require_use()
    return loaded


def load_embedder(embedder: str, device: str = "auto", options: ModelOptions | None = None) -> Embedder:
    """Load an embedder alone, for a search by a photograph from outside or by words (see `load_engines`)."""
    return _make_embedder(embedder, _SharedTrunk(device), options or ModelOptions())


class _SharedTrunk:
    """The EfficientNet that the built-in models share, loaded when the first of them needs it.

    Attributes:
        device: as it was asked for.
        runtime: what runs it, a name of `RUNTIMES`.
        other_device: where a model that is none of the trunk's users runs; `device` if there is none.
    """

    def __init__(self, device: str, runtime: str = "torch") -> None:
        if runtime not in RUNTIMES:
            raise ModelError(f"--runtime {runtime} is unknown; choose {' or '.join(RUNTIMES)}")
        self.device = device
        self.runtime = runtime
        self.other_device = device
        self._loaded: EfficientNetTrunk | None = None

    def load(self) -> EfficientNetTrunk:
        """Return the network; the first call loads it."""
        if self._loaded is None:
            from sst_retrieval.nets.efficientnet import EfficientNetTrunk  # Here, because it loads PyTorch.
            from sst_retrieval.nets.openvino_trunk import OpenVinoTrunk

            kind = EfficientNetTrunk if self.runtime == "torch" else OpenVinoTrunk
            self._loaded = kind(self.device)
        return self._loaded

    def require_use(self) -> None:
        """Refuse a runtime that no model uses.

        Raises:
            ModelError: another one than the default was asked for, in vain.
        """
        if self.runtime != "torch" and self._loaded is None:
            raise ModelError(f"--runtime {self.runtime} runs EfficientNet-lite0, which none of these models uses")

    @property
    def device_in_use(self) -> str:
        """Where the models run, for the report."""
        where = self.other_device if self._loaded is None else str(self._loaded.device)
        return where if self.runtime == "torch" else f"{where} by {self.runtime}"


def _make_propagator(name: str, trunk: _SharedTrunk, options: ModelOptions) -> Propagator:
    if options.second_look and (name not in ("dense", "matching") or options.adapters):
        raise ModelError("only the propagators dense and matching, without an --adapter, take a --second-look")
    found, plus, drawer = name.partition("+")
    if plus and found in ("dense", "tracker") and drawer.partition("@")[0] == "mobile_sam":
        return _make_redrawn(found, drawer, trunk, options)
    if name in ("sam2", "dense+sam2", "tracker", "sam2-video"):
        return _make_sam2(name, trunk, options)
    if name == "sam2-transformers":
        return _make_sam2_of_transformers(trunk, options)
    if options.adapters and name != "dense":
        raise ModelError(f"the propagator {name} takes no --adapter; dense, tracker, sam2 and dense+sam2 do")
    if options.checkpoint or options.sam2_config or options.cycle_consistency:
        raise ModelError(f"the propagator {name} takes no checkpoint; with one, say --propagator sam2 or dense+sam2")
    if options.batch is not None:
        raise ModelError(f"the propagator {name} takes no --batch; only SAM 2 can be told how many photographs at once")
    if name in ("dense", "matching"):
        dense = _make_dense(trunk, options, decoded=name == "dense")
        if options.adapters:
            from sst_retrieval.track.dense.adapted import AdaptedPropagator  # Here, because it loads PyTorch.

            return cast(Propagator, AdaptedPropagator(dense, options.adapters))
        if options.second_look:
            from sst_retrieval.track.dense.second_look import SecondLookPropagator  # Here, because it loads PyTorch.

            return cast(Propagator, SecondLookPropagator(dense))
        # Not quite a Propagator to a type checker: it takes no memory but its own, and is given no other.
        return cast(Propagator, dense)
    if options.trunk is not None:
        raise ModelError(f"the propagator {name} takes no --trunk; dense, matching, tracker and dense+sam2 do")
    custom: Propagator = _load_custom(name, "propagator", PROPAGATORS, Propagator, trunk.device)
    return custom


def _make_dense(trunk: _SharedTrunk, options: ModelOptions, *, decoded: bool) -> DensePropagator:
    from sst_retrieval.track.dense.propagator import DensePropagator
    from sst_retrieval.track.dense.trained_decoder import TrainedDecoder  # Here, because they load PyTorch.

    network = trunk.load()
    other = None
    if options.trunk is not None:
        from sst_retrieval.nets.timm_trunk import TimmTrunk

        other = TimmTrunk(options.trunk, trunk.device)
    decoder = TrainedDecoder(device=network.device) if decoded else None
    return DensePropagator(trunk=network, matching_trunk=other, decoder=decoder)


def _make_redrawn(found: str, drawer: str, trunk: _SharedTrunk, options: ModelOptions) -> Propagator:
    """Make a propagator whose masks MobileSAM draws anew: `found` is another's name, `drawer` is mobile_sam[@FILE]."""
    from sst_retrieval.nets.mobile_sam import MobileSam  # Here, because they load PyTorch.
    from sst_retrieval.track.redrawn import RedrawnPropagator

    _, at, file = drawer.partition("@")
    if at and not file:
        raise ModelError(f"the propagator {found}+{drawer} names no file; say {found}+mobile_sam@mobile_sam.pt")
    if options.adapters:
        raise ModelError(
            f"the propagator {found}+mobile_sam takes no --adapter; dense, tracker, sam2 and dense+sam2 do"
        )
    network = MobileSam(Path(file).expanduser() if file else None, trunk.device)
    return cast(Propagator, RedrawnPropagator(_make_propagator(found, trunk, options), network))


def _make_sam2(name: str, trunk: _SharedTrunk, options: ModelOptions) -> Propagator:
    from sst_retrieval.track.sam2.propagator import (  # Here, because they load PyTorch.
        Sam2Propagator,
        Sam2Settings,
        Sam2VideoPropagator,
    )
    from sst_retrieval.track.sam2.tracker import TrackerPropagator

    if options.trunk is not None and name not in ("tracker", "dense+sam2"):
        raise ModelError(f"the propagator {name} takes no --trunk; dense, matching, tracker and dense+sam2 do")
    keywords: dict[str, Any] = dict(
        config=options.sam2_config,
        device=trunk.device,
        settings=Sam2Settings(cycle=options.cycle_consistency),
        adapters=options.adapters,
        batch=options.batch,
    )
    model: Sam2Propagator
    if name == "tracker":
        model = TrackerPropagator(options.checkpoint, dense=_make_dense(trunk, options, decoded=True), **keywords)
    elif options.checkpoint is None:
        names = ", ".join(each.name for each in WEIGHTS.values() if each.kind == "sam2")
        raise ModelError(f"--propagator {name} needs a --checkpoint: one of {names}, or the path of a .pt file")
    elif name == "sam2-video":
        model = Sam2VideoPropagator(options.checkpoint, **keywords)
    else:
        dense = _make_dense(trunk, options, decoded=True) if name == "dense+sam2" else None
        model = Sam2Propagator(options.checkpoint, dense=dense, **keywords)
    trunk.other_device = str(model.network.device)
    return cast(Propagator, model)


def _make_sam2_of_transformers(trunk: _SharedTrunk, options: ModelOptions) -> Propagator:
    from sst_retrieval.track.sam2.propagator import Sam2Settings  # Here, because they load PyTorch.
    from sst_retrieval.track.sam2.transformers_propagator import TransformersPropagator

    if options.checkpoint is None:
        raise ModelError(
            "--propagator sam2-transformers needs a --checkpoint: a folder with config.json and model.safetensors"
        )
    if options.sam2_config or options.adapters or options.batch is not None or options.trunk is not None:
        raise ModelError("--propagator sam2-transformers takes no --sam2-config, --adapter, --batch or --trunk")
    settings = Sam2Settings(cycle=options.cycle_consistency)
    model = TransformersPropagator(options.checkpoint, device=trunk.device, settings=settings)
    trunk.other_device = str(model.network.device)
    return cast(Propagator, model)


def _make_embedder(name: str, trunk: _SharedTrunk, options: ModelOptions) -> Embedder:
    if name == "openclip":
        from sst_retrieval.describe.openclip import open_clip_embedder  # Here, because it loads PyTorch.

        model, pretrained, pooling = options.clip_model, options.clip_pretrained, options.clip_pooling
        embedder = open_clip_embedder(model, pretrained, pooling=pooling, device=trunk.device)
        trunk.other_device = str(embedder.device)
        return embedder
    if options.clip_model or options.clip_pretrained:
        raise ModelError(f"the embedder {name} is no CLIP model; with --clip-model, say --embedder openclip")
    if name == "efficientnet":
        from sst_retrieval.describe.appearance import AppearanceEmbedder
        from sst_retrieval.nets.efficientnet import EfficientNetEmbedder  # Here, because it loads PyTorch.

        return AppearanceEmbedder(EfficientNetEmbedder(trunk=trunk.load()))
    if name in ("spread", "pattern"):
        from sst_retrieval.describe.texture import TRAIT_SIDE, PatternEmbedder, SpreadEmbedder
        from sst_retrieval.nets.efficientnet import EfficientNetEmbedder  # Here, because it loads PyTorch.

        if name == "spread":
            return SpreadEmbedder(EfficientNetEmbedder(trunk=trunk.load()))
        return PatternEmbedder(EfficientNetEmbedder(side=TRAIT_SIDE, trunk=trunk.load()))
    custom: Embedder = _load_custom(name, "embedder", EMBEDDERS, Embedder, trunk.device)
    return custom


def _make_finder(
    name: str, foreground: str, trunk: _SharedTrunk, options: ModelOptions, outlines: str | None
) -> Finder:
    # First, because it is quick to say that something is not installed.
    outliner = None if outlines is None else load_outliner(outlines, trunk.device)
    finder = _make_own_finder(name, foreground, trunk, options)
    return finder if outliner is None else OutliningFinder(finder, outliner)


def _make_own_finder(name: str, foreground: str, trunk: _SharedTrunk, options: ModelOptions) -> Finder:
    if name in ("dense", "dense:groups", "dense:alone"):
        from sst_retrieval.find.dense import DenseFinder  # Here, because it loads PyTorch.
        from sst_retrieval.find.kinship import DOUBTFUL, STRICT

        comparison = {"dense": DOUBTFUL, "dense:groups": STRICT, "dense:alone": None}[name]
        return DenseFinder(trunk=trunk.load(), foreground=load_foreground(foreground), comparison=comparison)
    kind, colon, checkpoint = name.partition(":")
    if kind == "sam2" and colon and checkpoint:
        from sst_retrieval.find.sam2 import Sam2Finder  # Here, because it loads PyTorch.

        return Sam2Finder(checkpoint, trunk=trunk.load(), config=options.sam2_config, device=trunk.device)
    custom: Finder = _load_custom(name, "finder", FINDERS, Finder, trunk.device)
    return custom


def _load_custom(name: str, role: str, known: Mapping[str, str], protocol: Any, device: str) -> Any:
    """Load a custom model, named like "mylab.models:Tracker", and make sure that it keeps the contract."""
    module, colon, attribute = name.partition(":")
    if not (colon and module and attribute):
        raise ModelError(
            f"there is no {role} {name!r}; choose {' or '.join(known)}, or name your own as module:Name, "
            "for example mylab.models:Tracker"
        )
    make = _import_factory(name, role, module, attribute)
    model = make(device)
    if not isinstance(model, protocol):
        missing = [member for member in _list_members(protocol) if not hasattr(model, member)]
        raise ModelError(f"{name} is no {role}: it lacks {', '.join(missing)} (see sst_retrieval.{protocol.__name__})")
    return model


def _import_factory(name: str, role: str, module: str, attribute: str) -> Callable[[str], Any]:
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"the {role} {name} cannot be imported: {error}; install its package, or name the folder it lies in "
            "in the environment variable PYTHONPATH"
        ) from error
    if not callable(found):
        raise ModelError(f"{name} is not a class or a function; it must give a {role} when called with a device")
    factory: Callable[[str], Any] = found
    return factory


def _list_members(protocol: type) -> list[str]:
    return sorted(member for member in vars(protocol) if not member.startswith("_"))


def _describe_weights(model: object) -> Mapping[str, Any] | None:
    """Return what a model declares about its weights: its own `weights`, or those of the trunk it uses."""
    for holder in (model, getattr(model, "trunk", None)):
        about = getattr(holder, "weights", None)
        if isinstance(about, Mapping):
            return about
    return None
