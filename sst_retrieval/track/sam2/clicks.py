"""From clicks to a mask with SAM 2's image predictor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sst_retrieval.imaging import frames
from sst_retrieval.nets.device import resolve_device
from sst_retrieval.nets.torchvision_shim import ensure_torchvision
from sst_retrieval.track.prompts import check_prompts
from sst_retrieval.track.sam2.checkpoint import load_checkpoint
from sst_retrieval.track.sam2.network import Sam2Network
from sst_retrieval.types import Box, Clicked, Frame, Point, RGBImage


class Sam2Clicker:
    """Turns clicks into masks with SAM 2 (a `track.clicks.Clicker`).

    Attributes:
        name: the checkpoint.
        fallback: False.
    """

    fallback = False

    def __init__(self, checkpoint: str, *, config: Path | None = None, device: str = "auto") -> None:
        """Load SAM 2.

        Raises:
            ModelError: as `track.sam2.checkpoint.load_checkpoint`.
        """
        loaded = load_checkpoint(checkpoint, config)
        self.network = Sam2Network(loaded.model, resolve_device(device))
        self.name = f"SAM 2 {loaded.name}"

    @torch.inference_mode()
    def look(self, image: RGBImage) -> Sam2Picture:
        """Encode a photograph with its aspect ratio kept: its longer edge fills the network's square input."""
        ensure_torchvision()
        from sam2.sam2_image_predictor import SAM2ImagePredictor  # After torchvision, which it imports.

        height, width = image.shape[:2]
        frame = frames.square_frame((width / 2, height / 2), max(height, width), 0.0)
        predictor = SAM2ImagePredictor(self.network.model)
        # The predictor assumes images of 1,024 pixels.
        predictor._bb_feat_sizes = [(self.network.side // stride,) * 2 for stride in (4, 8, 16)]
        with self.network.autocast():
            # A copy, because torch needs writable memory.
            predictor.set_image(frames.warp_image(image, frame, self.network.side).copy())
        return Sam2Picture(self.network, predictor, frame, (height, width))


class Sam2Picture:
    """A photograph encoded by SAM 2, ready for clicks (a `track.clicks.Picture`)."""

    def __init__(self, network: Sam2Network, predictor: Any, frame: Frame, size: tuple[int, int]) -> None:
        """Store the image predictor, the frame it was given, and the photograph's (height, width)."""
        self._network, self._predictor, self._frame, self._size = network, predictor, frame, size

    @torch.inference_mode()
    def mask(self, inside: Sequence[Point] = (), outside: Sequence[Point] = (), box: Box | None = None) -> Clicked:
        """Predict the mask of the clicked trait; for a single click, the candidate with the highest expected IoU.

        Args:
            inside: points (x, y) on the trait, in pixels of the photograph.
            outside: points beside it.
            box: (left, top, right, bottom) around it.

        Returns:
            The mask, bool (H, W), and its expected IoU.

        Raises:
            QueryError: see `track.prompts.check_prompts`.
        """
        check_prompts(self._size, inside, outside, box)
        points = [*inside, *outside]
        with self._network.autocast():
            logits, ious, _ = self._predictor.predict(
                point_coords=self._to_network_pixels(points) if points else None,
                point_labels=np.array([1] * len(inside) + [0] * len(outside)) if points else None,
                box=None if box is None else self._to_network_pixels([box[:2], box[2:]]).ravel(),
                multimask_output=len(points) == 1 and box is None,
                return_logits=True,
            )
        best = int(np.argmax(ious))
        soft = (1 / (1 + np.exp(-np.clip(logits[best], -32, 32)))).astype(np.float32)
        (mask,) = frames.unwarp_masks(soft[None], self._frame, self._size)
        return Clicked(mask, float(np.clip(ious[best], 0, 1)))

    def _to_network_pixels(self, points: Sequence[Sequence[float]]) -> npt.NDArray[np.float32]:
        """Convert points (x, y) of the photograph to pixels of the network's input: float32 (n, 2)."""
        a, b, c, d, e, f = self._frame.matrix
        warped = [(a * x + b * y + c, d * x + e * y + f) for x, y in points]
        return np.array(warped, dtype=np.float32) * self._network.side
