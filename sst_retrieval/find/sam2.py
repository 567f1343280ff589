"""SAM 2 as a finder: what its automatic mask generator segments, judged by the features of the annotated individuals.

1. The generator of the sam2 package (Ravi et al. 2024, arXiv 2408.00714) clicks on a grid of points, keeps the stable
   masks and drops doubles.
2. A mask is judged as a proposal of the dense finder is: does it have all that an annotated individual has, and is it
   of its kind?
3. Of masks that overlap, the best stays: an animal rather than its head.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sst_retrieval.find.dense import ALIKE_VOTES, DenseFinder, DenseFinderMemory, shrink
from sst_retrieval.find.overlaps import Piece, share_pixels, tighten
from sst_retrieval.find.proposals import Proposal
from sst_retrieval.foregrounds.colour import ColourForeground
from sst_retrieval.imaging.masks import decode, resize_mask
from sst_retrieval.nets.device import resolve_device
from sst_retrieval.nets.efficientnet import EfficientNetTrunk
from sst_retrieval.nets.torchvision_shim import ensure_torchvision
from sst_retrieval.track.sam2.checkpoint import load_checkpoint
from sst_retrieval.track.sam2.network import Sam2Network
from sst_retrieval.types import Detection, RGBImage

WORKING_SIDE = 1600
"""Longer edge, in pixels, of the copy of a photograph on which the masks are made."""


@dataclass(frozen=True, slots=True)
class Sam2FinderSettings:
    """How the automatic mask generator is set.

    Attributes:
        points_per_side: clicks along an edge of the photograph.
        predicted_iou: 0..1, masks whose expected IoU is lower are dropped.
        stability: 0..1, masks that change more with the threshold are dropped.
        box_overlap: 0..1, of masks whose boxes overlap more, the one with the highest expected IoU stays.
        least_area: share of the photograph, smaller masks are dropped.
        most_area: share of the photograph, larger masks are background.
    """

    points_per_side: int = 32
    predicted_iou: float = 0.7
    stability: float = 0.9
    box_overlap: float = 0.7
    least_area: float = 0.0005
    most_area: float = 0.9


class Sam2Finder(DenseFinder):
    """Finds individuals by SAM 2's automatic masks and the features of this program's own trunk (a `Finder`).

    Attributes:
        name: the checkpoint and its settings; goes into the provenance.
        weights: of the checkpoint, for the provenance.
    """

    def __init__(
        self,
        checkpoint: str,
        *,
        trunk: EfficientNetTrunk,
        config: Path | None = None,
        device: str = "auto",
        settings: Sam2FinderSettings | None = None,
    ) -> None:
        """Load SAM 2.

        Args:
            checkpoint: a name of `nets.weights.WEIGHTS`, or the path of a .pt file.
            trunk: the network that kinds are compared by, shared with propagator and embedder.
            config: its architecture, a YAML file, if it is none of Meta's.
            device: "auto", "cpu" or "cuda".
            settings: of the generator.

        Raises:
            ModelError: as `track.sam2.checkpoint.load_checkpoint`.
        """
        super().__init__(trunk=trunk, foreground=ColourForeground())
        self.settings = settings or Sam2FinderSettings()
        loaded = load_checkpoint(checkpoint, config)
        self.weights = loaded.weights
        self._network = Sam2Network(loaded.model, resolve_device(device))
        self.name = f"SAM 2 {loaded.name}, automatic masks from {self.settings.points_per_side} x " + (
            f"{self.settings.points_per_side} clicks, judged by {trunk.name}"
        )

    @property
    def concurrent(self) -> bool:
        """One photograph after the other: each needs a good part of the memory."""
        return False

    def find(self, memory: DenseFinderMemory, image: RGBImage) -> list[Detection]:
        """Find the individuals on a photograph (see `Finder.find`)."""
        proposals = [Proposal(box, mask, votes=ALIKE_VOTES) for box, mask in self.propose(image)]
        chosen = self.choose(memory, image, proposals, on_board=False)
        kept = share_pixels([(each.proposal.box, each.proposal.mask) for each in chosen])
        return [
            Detection(piece[0], each.score, piece[1])
            for piece, each in zip(kept, chosen, strict=True)
            if piece is not None
        ]

    @torch.inference_mode()
    def propose(self, image: RGBImage) -> list[Piece]:
        """Segment everything on a photograph.

        Args:
            image: uint8 (H, W, 3), any size.

        Returns:
            Box and mask of whatever SAM 2 segments, at the photograph's own size.
        """
        small = shrink(image, WORKING_SIDE)
        with self._network.autocast():
            # A copy, because torch needs writable memory.
            answers = self._make_generator().generate(small.copy())
        pieces = []
        for answer in answers:
            code = answer["segmentation"]
            mask = decode(code["counts"].encode(), (small.shape[0], small.shape[1]))
            if self.settings.least_area <= mask.mean() <= self.settings.most_area:
                piece = tighten((0, 0, image.shape[1], image.shape[0]), resize_mask(mask, image.shape[:2]))
                pieces += [] if piece is None else [piece]
        return pieces

    def _make_generator(self) -> Any:
        """Make a generator; a new one a photograph, because it keeps the photograph that it works on."""
        ensure_torchvision()
        module = importlib.import_module("sam2.automatic_mask_generator")
        # A torchvision whose compiled part does not load lacks its own; the answers are the same.
        module.batched_nms = suppress_boxes  # type: ignore[attr-defined]
        generator = module.SAM2AutomaticMaskGenerator(
            self._network.model,
            points_per_side=self.settings.points_per_side,
            pred_iou_thresh=self.settings.predicted_iou,
            stability_score_thresh=self.settings.stability,
            box_nms_thresh=self.settings.box_overlap,
            output_mode="coco_rle",
        )
        # The predictor assumes images of 1,024 pixels.
        generator.predictor._bb_feat_sizes = [(self._network.side // stride,) * 2 for stride in (4, 8, 16)]
        return generator


def suppress_boxes(
    boxes: torch.Tensor, scores: torch.Tensor, categories: torch.Tensor, iou_threshold: float
) -> torch.Tensor:
    """Choose boxes, those with the highest scores first, that do not overlap (torchvision's `batched_nms`).

    Args:
        boxes: float32 (N, 4), x0, y0, x1, y1.
        scores: float32 (N,).
        categories: (N,), boxes of two categories never suppress each other.
        iou_threshold: 0..1, a box whose IoU with a chosen one is larger is left out.

    Returns:
        int64 (K,), positions of those chosen, the highest score first.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    corners, kinds = boxes[order], categories[order]
    areas = (corners[:, 2:] - corners[:, :2]).clamp(min=0).prod(dim=1)
    left = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    for place in range(len(order)):
        if not left[place]:
            continue
        low = torch.maximum(corners[place, :2], corners[place + 1 :, :2])
        high = torch.minimum(corners[place, 2:], corners[place + 1 :, 2:])
        shared = (high - low).clamp(min=0).prod(dim=1)
        overlap = shared / (areas[place] + areas[place + 1 :] - shared).clamp(min=1e-9)
        left[place + 1 :] &= ~((overlap > iou_threshold) & (kinds[place + 1 :] == kinds[place]))
    return order[left]
