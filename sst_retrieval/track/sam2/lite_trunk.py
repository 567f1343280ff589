"""The trunk of a small SAM 2 of our own: EfficientNet-lite0 up to stride 16, and the colour of every cell.

1. The image encoder of Meta's SAM 2 is replaced by layers that a CPU can afford and that know everyday things already
   (ImageNet weights, from the package registry). They do not learn.
2. Channels differ in size by orders; each is brought to mean 0 and spread 1, by numbers kept with the weights.
3. SAM 2 redraws a first guess from a description in cells of 16 pixels, in which thin things are lost. Here the guess
   itself is added to what the mask decoder says (`trust`), so that only what is wrong with it must be learnt.
4. `tracker.yaml` beside this file puts the sam2 package's own neck, memory and mask decoder behind it, so that
   `track.sam2.checkpoint` loads such a network like any other.

Ravi et al. (2024), arXiv 2408.00714; Tan and Le (2019), arXiv 1905.11946.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from sst_retrieval.nets.efficientnet import CHANNELS, checked_sha256, imagenet_network, random_network, weights_file
from sst_retrieval.track.dense.matching import compute_cell_colours

CONFIG = Path(__file__).with_name("tracker.yaml")
"""The architecture, in the sam2 package's own format."""

WEIGHTS = Path(__file__).with_name("tracker.pt")
"""The weights that come with the program; tracker.json beside them says how they were made."""

LICENCE = "MIT; learnt from photographs under CC BY 4.0 and CC BY-SA 4.0"

MARK = "image_encoder.trunk.mean4"
"""A tensor that only such a checkpoint has."""

BLOCKS = 5  # Stages of the network up to stride 16; what is deeper is not asked for.

_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # What SAM 2's pictures are normalised by.


class LiteTrunk(nn.Module):
    """EfficientNet-lite0 as a trunk of the sam2 package.

    Attributes:
        channel_list: features a level, coarsest first, as the package's neck wants to be told.
        trust: what a first guess counts, as a share of its logits: the mask decoder only says what is wrong with it. It
            lies here because this is the only part of the network that is not the sam2 package's.
    """

    def __init__(self) -> None:
        """Build it with random weights; a checkpoint brings the trained ones."""
        super().__init__()
        network = random_network()
        self.conv_stem, self.bn1, self.blocks = network.conv_stem, network.bn1, network.blocks[:BLOCKS]
        fine, middle, coarse = CHANNELS[1] + 3, CHANNELS[2], CHANNELS[3] + 3
        self.channel_list = [coarse, middle, fine]
        self.trust = nn.Parameter(torch.tensor(0.8))
        for stride, features in zip((4, 8, 16), (fine, middle, coarse), strict=True):
            self.register_buffer(f"mean{stride}", torch.zeros(features, 1, 1))
            self.register_buffer(f"spread{stride}", torch.ones(features, 1, 1))

    def forward(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """Describe pictures.

        Args:
            batch: float32 (N, 3, S, S), normalised as for SAM 2.

        Returns:
            float32 (N, C, S / s, S / s) for the strides s = 4, 8, 16.
        """
        mean, spread = (batch.new_tensor(each)[:, None, None] for each in (_MEAN, _SPREAD))
        pixels = ((batch * spread + mean) * 255).round().clamp(0, 255)
        state = self.bn1(self.conv_stem((pixels - 127) / 128))
        levels = []
        for number, block in enumerate(self.blocks):
            state = block(state)
            if number in (1, 2, BLOCKS - 1):
                levels.append(state)
        views = pixels.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()
        seen = [torch.from_numpy(compute_cell_colours(view, levels[0].shape[-1])) for view in views]
        return self.standardised(levels, torch.stack(seen).to(batch))

    def standardised(self, levels: Sequence[torch.Tensor], colours: torch.Tensor) -> list[torch.Tensor]:
        """Bring every channel to mean 0 and spread 1.

        Args:
            levels: float32 (N, C, ., .), the trunk's levels of strides 4, 8 and 16.
            colours: float32 (N, 3, S / 4, S / 4), see `track.dense.matching.compute_cell_colours`.
        """
        out = []
        for stride, level in zip((4, 8, 16), self.coloured(levels, colours), strict=True):
            out.append((level - self.get_buffer(f"mean{stride}")) / self.get_buffer(f"spread{stride}"))
        return out

    @staticmethod
    def coloured(levels: Sequence[torch.Tensor], colours: torch.Tensor) -> list[torch.Tensor]:
        """Put the colours beside the finest and the coarsest level."""
        fine, middle, coarse = levels
        return [torch.cat([fine, colours], 1), middle, torch.cat([coarse, functional.avg_pool2d(colours, 4)], 1)]

    def take_imagenet(self) -> None:
        """Take over the trained layers, and rest: they do not learn.

        Raises:
            ModelError: the weights are not installed, damaged, or do not fit.
        """
        path = weights_file()
        checked_sha256(path)
        network = imagenet_network(path)
        for name in ("conv_stem", "blocks"):
            own = getattr(self, name)
            tensors = getattr(network, name).state_dict()
            own.load_state_dict({each: tensors[each] for each in own.state_dict()})
        self.requires_grad_(False)


def resize(model: Any, side: int) -> None:
    """Let a network look at pictures of another size; its weights fit any.

    Args:
        model: a `SAM2Base`; changed in place.
        side: edge of the pictures in pixels, a multiple of 16.
    """
    cells = side // 16
    model.image_size, model.sam_image_embedding_size = side, cells
    prompts = model.sam_prompt_encoder
    prompts.input_image_size, prompts.image_embedding_size = (side, side), (cells, cells)
    prompts.mask_input_size = (4 * cells, 4 * cells)
