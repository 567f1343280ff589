"""Adapters on disk: what a network has learnt of one group, where it comes from, and the state of its training.

adapter/
  adapter.json            format, group, traits, checksum of the weights it changes, settings, how the training went
  adapter.safetensors     the tensors; safetensors cannot hold code
  training.pt             to go on from; may be deleted
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sst_retrieval.errors import ModelError
from sst_retrieval.files import atomic_write, write_text
from sst_retrieval.types import RGBImage, Support


def save_adapter(folder: Path, kind: str, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> None:
    """Write an adapter: tensors first, then `adapter.json`, without which a folder is no adapter.

    Args:
        folder: where; must exist.
        kind: the format, which says what the adapter is for.
        tensors: name -> tensor, on the CPU.
        about: provenance, JSON-ready.
    """
    with atomic_write(folder / "adapter.safetensors") as path:
        save_file({name: each.contiguous() for name, each in tensors.items()}, path)
    checksum = hashlib.sha256((folder / "adapter.safetensors").read_bytes()).hexdigest()
    document = {"format": kind, "sha256": checksum, **about}
    write_text(folder / "adapter.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def load_adapter(folder: Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read an adapter.

    Args:
        folder: of the adapter.
        kind: the format that it must have.

    Returns:
        Its tensors, and the content of `adapter.json`.

    Raises:
        ModelError: the folder is no adapter of this kind, or a file of it is broken.
    """
    try:
        about = json.loads((folder / "adapter.json").read_text(encoding="utf-8"))
        if about.get("format") != kind:
            raise ModelError(
                f"{folder} is not an adapter for this propagator (it is {about.get('format')!r}, "
                f"not {kind!r}); name the --propagator that it was made with"
            )
        content = (folder / "adapter.safetensors").read_bytes()
        if hashlib.sha256(content).hexdigest() != about["sha256"]:
            raise ModelError(f"{folder / 'adapter.safetensors'} is damaged, or not the file that adapter.json is about")
        return load_file(folder / "adapter.safetensors"), about
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise ModelError(f"{folder} is not an adapter; make one with: sst-retrieval finetune ({error})") from error


def compute_fingerprint(supports: Sequence[Support], images: Sequence[RGBImage]) -> str:
    """Compute a checksum of the photographs and masks of a training: SHA-256, hexadecimal."""
    digest = hashlib.sha256()
    for array in (*(each for support in supports for each in (support.image, support.masks)), *images):
        digest.update(repr(array.shape).encode() + array.tobytes())
    return digest.hexdigest()


def load_state(folder: Path, about: Mapping[str, Any], device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """Load the state of an interrupted training, `training.pt`.

    Args:
        folder: of the adapter.
        about: what the training is about, with its "settings".
        device: where its tensors are wanted.

    Returns:
        The state, with "about" and "epochs"; None if none was begun.

    Raises:
        ModelError: the folder holds an adapter, or a training of something else.
    """
    path = folder / "training.pt"
    if not path.is_file():
        if (folder / "adapter.json").exists():
            raise ModelError(f"{folder} holds an adapter already; choose another folder, or remove it")
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if _select_fixed(state["about"]) != _select_fixed(about):
        raise ModelError(
            f"{folder} holds a training of another group, other photographs, masks or settings; "
            "choose another folder, or remove it"
        )
    return state


def _select_fixed(about: Mapping[str, Any]) -> dict[str, Any]:
    """Select what must be equal to resume a training: everything but `epochs` and `patience`."""
    fixed = {name: value for name, value in about["settings"].items() if name not in ("epochs", "patience")}
    return {**about, "settings": fixed}
