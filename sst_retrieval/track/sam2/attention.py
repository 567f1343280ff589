"""SAM 2's memory attention, with everything that is independent of the target or of the trait computed once.

1. `gather_memory_tokens`: the sam2 package itself chooses and concatenates the memory tokens of a trait.
2. `project_memory`: keys and values of these tokens in every layer, with rotary position embedding. They do not depend
   on the target, so they are computed once per memory bank.
3. `attend`: the image features of targets attend to them. Before the first cross-attention the features do not depend
   on the trait, so all traits share them. Several targets are concatenated into one sequence of queries, so that the
   keys need not be copied for each.

The values equal those of `sam2.modeling.memory_attention.MemoryAttention` up to floating-point rounding.
Ravi et al. (2024), arXiv 2408.00714; rotary position embedding: Su et al. (2021), arXiv 2104.09864.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class ProjectedMemory:
    """Keys and values of the memory tokens of T traits.

    Attributes:
        keys: float (T, heads, M, D) a layer, of M tokens, with rotary position embedding.
        values: float (T, heads, M, D) a layer.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]

    @property
    def traits(self) -> int:
        """Count the traits."""
        return len(self.keys[0])


@dataclass(frozen=True, slots=True)
class MemoryTokens:
    """Memory tokens of T traits.

    Attributes:
        tokens: float (T, M, C).
        positions: float (T, M, C), their positional encodings.
        pointers: how many of the M, the last ones, are object pointers, which have no position in the image.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    pointers: int


def gather_memory_tokens(model: Any, bank: Mapping[str, Mapping[int, Any]], frame: int, length: int) -> MemoryTokens:
    """Let the sam2 package choose and concatenate the memories that a frame attends to.

    Args:
        model: the `SAM2Base`.
        bank: "cond_frame_outputs" and "non_cond_frame_outputs" -> frame -> memory, in the package's own format.
        frame: number of the frame in its video.
        length: frames of the video.

    Returns:
        The memory tokens.
    """
    first = next(iter(bank["cond_frame_outputs"].values()))["obj_ptr"]
    side = model.sam_image_embedding_size
    blank = first.new_zeros(1).expand(side * side, len(first), model.hidden_dim)
    recorder = _AttentionRecorder(model)
    type(model)._prepare_memory_conditioned_features(
        recorder,
        frame_idx=frame,
        is_init_cond_frame=False,
        current_vision_feats=[blank],
        current_vision_pos_embeds=[blank],
        feat_sizes=[(side, side)],
        output_dict=bank,
        num_frames=length,
    )
    assert recorder.tokens is not None, "the sam2 package did not call its memory attention"
    return recorder.tokens


class _AttentionRecorder:
    """A proxy of a network that records the memory tokens with which the sam2 package calls memory attention."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.tokens: MemoryTokens | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def memory_attention(
        self, *, curr: list[torch.Tensor], memory: torch.Tensor, memory_pos: torch.Tensor, **options: Any
    ) -> torch.Tensor:
        self.tokens = MemoryTokens(
            memory.float().transpose(0, 1), memory_pos.transpose(0, 1), options["num_obj_ptr_tokens"]
        )
        return curr[0]


def project_memory(model: Any, memory: MemoryTokens) -> ProjectedMemory:
    """Compute keys and values of memory tokens in every layer of the memory attention."""
    side = model.sam_image_embedding_size
    keys, values = [], []
    for layer in model.memory_attention.layers:
        attention = layer.cross_attn_image
        tokens = memory.tokens + memory.positions if layer.pos_enc_at_cross_attn_keys else memory.tokens
        key = _split_heads(attention, attention.k_proj(tokens))
        spatial = key.shape[-2] - memory.pointers
        rotated = _rotate(key[..., :spatial, :], _rotary_table(attention, side))
        keys.append(torch.cat([rotated, key[..., spatial:, :]], dim=-2))
        values.append(_split_heads(attention, attention.v_proj(memory.tokens)).contiguous())
    return ProjectedMemory(tuple(keys), tuple(values))


def attend(model: Any, features: torch.Tensor, positions: torch.Tensor, projected: ProjectedMemory) -> torch.Tensor:
    """Condition the features of N images on the memories of T traits.

    Args:
        model: the `SAM2Base`, in evaluation mode.
        features: float (N, C, h, w), the coarsest level.
        positions: float (N, C, h, w), their positional encodings.
        projected: keys and values of the memories.

    Returns:
        float (N * T, C, h, w); the T traits of an image are consecutive.
    """
    assert not model.training, "no dropout here: the model must be in evaluation mode"
    size = features.shape[-2:]
    state, encodings = (each.flatten(2).transpose(1, 2)[:, None] for each in (features, positions))
    if model.memory_attention.pos_enc_at_input:
        state = state + 0.1 * encodings
    # float (N, 1, L, C) before the first cross-attention, float (N, T, L, C) after it.
    for layer, keys, values in zip(model.memory_attention.layers, projected.keys, projected.values, strict=True):
        state = _add(state, _self_attend(layer, state, encodings))
        state = _add(state, _cross_attend(layer, state, encodings, keys, values))
        hidden = layer.linear1(layer.norm3(state))
        hidden = hidden.relu_() if layer.activation_str == "relu" else layer.activation(hidden)
        state = _add(state, layer.linear2(hidden))
    conditioned: torch.Tensor = model.memory_attention.norm(state)
    return conditioned.flatten(0, 1).transpose(1, 2).reshape(-1, conditioned.shape[-1], *size)


def _self_attend(layer: Any, state: torch.Tensor, encodings: torch.Tensor) -> torch.Tensor:
    """Run a layer's self-attention on float (N, T or 1, L, C)."""
    attention = layer.self_attn
    normed = layer.norm1(state)
    queries = (normed + encodings if layer.pos_enc_at_attn else normed).flatten(0, 1)
    normed = normed.flatten(0, 1)
    table = _rotary_table(attention, round(normed.shape[1] ** 0.5))
    query, key = (
        _rotate(_split_heads(attention, each(queries)), table) for each in (attention.q_proj, attention.k_proj)
    )
    attended = functional.scaled_dot_product_attention(query, key, _split_heads(attention, attention.v_proj(normed)))
    joined: torch.Tensor = attention._recombine_heads(attended)
    out: torch.Tensor = attention.out_proj(joined).unflatten(0, state.shape[:2])
    return out


def _cross_attend(
    layer: Any, state: torch.Tensor, encodings: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> torch.Tensor:
    """Run a layer's cross-attention from float (N, T or 1, L, C) to memory keys and values: float (N, T, L, C)."""
    attention, (images, _, tokens, _), traits = layer.cross_attn_image, state.shape, len(keys)
    queries = layer.norm2(state)
    if layer.pos_enc_at_cross_attn_queries:
        queries = queries + encodings
    query = _split_heads(attention, attention.q_proj(queries.flatten(0, 1)))
    query = _rotate(query, _rotary_table(attention, round(tokens**0.5))).unflatten(0, state.shape[:2])
    heads = query.shape[2]
    # One sequence of queries a trait, with the tokens of all images: (T, heads, N * L, D).
    sequence = query.expand(-1, traits, -1, -1, -1).permute(1, 2, 0, 3, 4).reshape(traits, heads, images * tokens, -1)
    attended = functional.scaled_dot_product_attention(sequence, keys, values)
    attended = attended.unflatten(2, (images, tokens)).permute(2, 0, 3, 1, 4).flatten(3)
    out: torch.Tensor = attention.out_proj(attended)
    return out


def _split_heads(attention: Any, features: torch.Tensor) -> torch.Tensor:
    separated: torch.Tensor = attention._separate_heads(features, attention.num_heads)
    return separated


def _rotary_table(attention: Any, side: int) -> torch.Tensor:
    """Return the rotary table of a square of tokens, complex64 (side * side, D / 2); the attention module caches it."""
    weight = attention.q_proj.weight
    if len(attention.freqs_cis) != side * side:
        attention.freqs_cis = attention.compute_cis(end_x=side, end_y=side)
    attention.freqs_cis = attention.freqs_cis.to(weight.device)
    table: torch.Tensor = attention.freqs_cis
    return table


def _rotate(features: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Apply rotary position embedding to tokens (..., k * L, D), k squares of L; feature pairs are complex numbers."""
    pairs = torch.view_as_complex(features.float().unflatten(-1, (-1, 2)).contiguous())
    pairs = pairs.unflatten(-2, (-1, len(table))) * table
    return torch.view_as_real(pairs).flatten(-2).flatten(-3, -2).to(features.dtype)


def _add(state: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
    """Add, in place where the type of the update is wide enough."""
    return update.add_(state) if update.dtype == torch.result_type(state, update) else state + update
