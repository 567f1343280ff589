"""Make `import torchvision` work with a CPU build of torch.

torchvision's compiled part may be linked against CUDA. With a CPU build of torch it cannot load, its operators `nms`
and `qnms` are then unknown, and the import stops with "operator torchvision::nms does not exist". Nothing here calls
them: declaring their signatures is enough for the import. A torchvision that loads by itself is left as it is.
"""

from __future__ import annotations

import importlib
import sys

import torch

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []  # A declaration lives as long as its Library object.


def ensure_torchvision() -> None:
    """Import torchvision, declaring its missing operators if that is what stops it.

    Raises:
        RuntimeError: torchvision fails to load for another reason.
        ModuleNotFoundError: torchvision is not installed.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error) or _declared:
            raise
        _declare_operators()
        _remove_partial_import()
        importlib.import_module("torchvision")


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(operator + _SIGNATURE)
    _declared.append(library)


def _remove_partial_import() -> None:
    for name in [name for name in sys.modules if name == "torchvision" or name.startswith("torchvision.")]:
        del sys.modules[name]
