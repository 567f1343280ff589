"""SAM 2's image encoder, without the detours that every picture would take again.

1. The trunk (Hiera) adds a table of positions to the patches; it is the same for every picture, and made once.
2. The two finest levels pass two 1 x 1 convolutions, one in the neck and one that belongs to the mask decoder, with
   nothing in between: one convolution with the product of their weights is the same, through 32 or 64 features
   instead of 256.
3. Positions of the finest levels are asked for by nobody, and not made.

The numbers are those of `SAM2Base.forward_image` but for the rounding of floats. Ravi et al. (2024), arXiv 2408.00714;
Hiera: Ryali et al. (2023), arXiv 2306.00989.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class LeanEncoder:
    """The image encoder of a network.

    Attributes:
        model: the `SAM2Base`.
    """

    def __init__(self, model: Any) -> None:
        """Make what is the same for every picture.

        Args:
            model: a `SAM2Base` whose image encoder, and the decoder's two convolutions, will not change any more.
        """
        self.model = model
        self._joined: tuple[nn.Conv2d, ...] = ()
        self._table: torch.Tensor | None = None
        if _takes_short_cuts(model):
            trunk, neck, decoder = model.image_encoder.trunk, model.image_encoder.neck, model.sam_mask_decoder
            with torch.no_grad():
                side = model.image_size // trunk.patch_embed.proj.stride[0]
                self._table = trunk._get_pos_embed((side, side))
                pairs = ((neck.convs[-1].conv, decoder.conv_s0), (neck.convs[-2].conv, decoder.conv_s1))
                self._joined = tuple(_one_after_the_other(*pair) for pair in pairs)

    def __call__(self, batch: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
        """Encode pictures.

        Args:
            batch: float32 (N, 3, S, S), normalised.

        Returns:
            float (N, C, h, w) each level, finest first, and float (N, C, h, w), the positions of the coarsest.
        """
        if self._table is None:
            out = self.model.forward_image(batch)
            levels = self.model.num_feature_levels
            return tuple(out["backbone_fpn"][-levels:]), out["vision_pos_enc"][-1]
        finest, fine, coarse, coarsest = self._stages(batch)
        neck = self.model.image_encoder.neck
        above = functional.interpolate(neck.convs[0](coarsest).float(), scale_factor=2.0, mode=neck.fpn_interp_model)
        top = neck.convs[1](coarse) + above
        return (self._joined[0](finest), self._joined[1](fine), top), neck.position_encoding(top).to(top.dtype)

    def _stages(self, batch: torch.Tensor) -> list[torch.Tensor]:
        """Run the trunk: float (N, C, h, w) a stage (`Hiera.forward`)."""
        trunk = self.model.image_encoder.trunk
        state = trunk.patch_embed(batch) + self._table
        stages = []
        for number, block in enumerate(trunk.blocks):
            state = block(state)
            if number in trunk.stage_ends:
                stages.append(state.permute(0, 3, 1, 2))
        return stages


def _takes_short_cuts(model: Any) -> bool:
    """Say whether a network is built as Meta's are; another is encoded by the sam2 package itself."""
    encoder = model.image_encoder
    neck = encoder.neck
    return (
        type(encoder.trunk).__name__ == "Hiera"
        and len(neck.convs) == 4
        and all(len(each) == 1 and each.conv.kernel_size == (1, 1) for each in neck.convs)
        and sorted(neck.fpn_top_down_levels) == [2, 3]
        and (neck.fuse_type, neck.fpn_interp_model) == ("sum", "nearest")
        and (encoder.scalp, model.num_feature_levels) == (1, 3)
        and bool(model.use_high_res_features_in_sam)
        and bool(encoder.trunk.return_interm_layers)
    )


def _one_after_the_other(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """Make one 1 x 1 convolution of two."""
    outer = second.weight[:, :, 0, 0]
    joined = nn.Conv2d(first.in_channels, second.out_channels, 1, device=outer.device, dtype=outer.dtype)
    joined.weight.copy_((outer @ first.weight[:, :, 0, 0])[:, :, None, None])
    assert first.bias is not None, "Meta's convolutions have biases"
    assert second.bias is not None, "Meta's convolutions have biases"
    assert joined.bias is not None
    joined.bias.copy_(outer @ first.bias + second.bias)
    return joined.requires_grad_(False)
