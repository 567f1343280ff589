"""Trunk of the small SAM 2 that comes with the program: EfficientNet-lite0 up to stride 16, and cell colours.

1. The image encoder of Meta's SAM 2 is replaced by a network that is fast on a CPU, pretrained on ImageNet (weights
   from the package registry) and frozen.
2. Channels differ in scale by orders of magnitude; each is standardised with a mean and a standard deviation that are
   stored with the weights.
3. SAM 2 decodes a mask prompt from features of 16 x 16 pixels, in which thin structures are lost. Here the prompt's
   logits, weighted (`trust`), are added to the decoder's, so that the decoder learns the residual only.
4. `tracker.yaml` beside this file adds the sam2 package's own neck, memory and mask decoder, so that
   `track.sam2.checkpoint` loads the network like any other.

Ravi et al. (2024), arXiv 2408.00714; Tan and Le (2019), arXiv 1905.11946.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from sst_retrieval.nets.efficientnet import (
    CHANNELS,
    build_imagenet_network,
    build_random_network,
    find_weights_file,
    verify_sha256,
)
from sst_retrieval.track.dense.matching import compute_cell_colours

CONFIG = Path(__file__).with_name("tracker.yaml")
"""The architecture, in the sam2 package's own format."""

WEIGHTS = Path(__file__).with_name("tracker.pt")
"""The weights that come with the program; tracker.json beside them says how they were made."""

LICENCE = "MIT; learnt from photographs under CC BY 4.0 and CC BY-SA 4.0"

SIGNATURE_TENSOR = "image_encoder.trunk.mean4"
"""Name of a tensor that only a checkpoint with this trunk has."""

STAGES = 5  # Of EfficientNet-lite0, up to stride 16; deeper ones are not used.

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # Of the normalisation of SAM 2's input.


class LiteTrunk(nn.Module):
    """EfficientNet-lite0 as a trunk of the sam2 package.

    Attributes:
        channel_list: channels of every level, coarsest first, as the sam2 package's neck requires.
        trust: scalar weight of a mask prompt's logits, added to the decoder's (`Sam2Network.prompt_weight`). It is a
            parameter of the trunk because all other modules are the sam2 package's. Its name is a key of checkpoints,
            as are those of the buffers `mean4` ... `spread16`.
    """

    def __init__(self) -> None:
        """Build the trunk with random weights; a checkpoint provides the trained ones."""
        super().__init__()
        network: Any = build_random_network()
        self.conv_stem, self.bn1, self.blocks = network.conv_stem, network.bn1, network.blocks[:STAGES]
        fine, middle, coarse = CHANNELS[1] + 3, CHANNELS[2], CHANNELS[3] + 3
        self.channel_list = [coarse, middle, fine]
        self.trust = nn.Parameter(torch.tensor(0.8))
        for stride, features in zip((4, 8, 16), (fine, middle, coarse), strict=True):
            self.register_buffer(f"mean{stride}", torch.zeros(features, 1, 1))
            self.register_buffer(f"spread{stride}", torch.ones(features, 1, 1))

    def forward(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """Compute the feature levels of images.

        Args:
            batch: float32 (N, 3, S, S), normalised as for SAM 2.

        Returns:
            float32 (N, C, S / s, S / s), standardised, for the strides s = 4, 8, 16.
        """
        mean, std = (batch.new_tensor(each)[:, None, None] for each in (_MEAN, _STD))
        pixels = ((batch * std + mean) * 255).round().clamp(0, 255)
        state = self.bn1(self.conv_stem((pixels - 127) / 128))
        levels = []
        for number, block in enumerate(self.blocks):
            state = block(state)
            if number in (1, 2, STAGES - 1):
                levels.append(state)
        views = pixels.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()
        colours = [torch.from_numpy(compute_cell_colours(view, levels[0].shape[-1])) for view in views]
        return self.standardise(levels, torch.stack(colours).to(batch))

    def standardise(self, levels: Sequence[torch.Tensor], colours: torch.Tensor) -> list[torch.Tensor]:
        """Append the colours and standardise every channel to mean 0 and standard deviation 1.

        Args:
            levels: float32 (N, C, ., .), the trunk's levels of strides 4, 8 and 16.
            colours: float32 (N, 3, S / 4, S / 4), see `track.dense.matching.compute_cell_colours`.

        Returns:
            float32 (N, C', ., .), the levels with colours.
        """
        out = []
        for stride, level in zip((4, 8, 16), self.append_colours(levels, colours), strict=True):
            out.append((level - self.get_buffer(f"mean{stride}")) / self.get_buffer(f"spread{stride}"))
        return out

    @staticmethod
    def append_colours(levels: Sequence[torch.Tensor], colours: torch.Tensor) -> list[torch.Tensor]:
        """Concatenate the cell colours, float32 (N, 3, S / 4, S / 4), to the finest and the coarsest level."""
        fine, middle, coarse = levels
        return [torch.cat([fine, colours], 1), middle, torch.cat([coarse, functional.avg_pool2d(colours, 4)], 1)]

    def load_imagenet(self) -> None:
        """Load the ImageNet weights and freeze the trunk.

        Raises:
            ModelError: the weights are not installed, damaged, or do not fit.
        """
        path = find_weights_file()
        verify_sha256(path)
        network = build_imagenet_network(path)
        for name in ("conv_stem", "blocks"):
            own = getattr(self, name)
            tensors = getattr(network, name).state_dict()
            own.load_state_dict({each: tensors[each] for each in own.state_dict()})
        self.requires_grad_(False)


def resize(model: Any, side: int) -> None:
    """Set the input size of a network; its weights fit any.

    Args:
        model: a `SAM2Base`; changed in place.
        side: edge of the input images in pixels, a multiple of 16.
    """
    cells = side // 16
    model.image_size, model.sam_image_embedding_size = side, cells
    prompts = model.sam_prompt_encoder
    prompts.input_image_size, prompts.image_embedding_size = (side, side), (cells, cells)
    prompts.mask_input_size = (4 * cells, 4 * cells)
