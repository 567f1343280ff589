"""SAM 2's memory attention: what does not depend on the target, or not on the trait, is computed once.

1. `assemble`: the memories of the supports become one sequence of tokens a trait, by the sam2 package itself.
2. `prepare`: the keys and values of that sequence in every layer, turned to their places. They know nothing of the
   target, so this is done once, not once a target.
3. `attend`: a target's features look at them. Up to the first look at the memory they know nothing of the trait, so
   all traits share that far. Several targets stand in one row of queries, so the keys are not copied for each.

The numbers are those of `sam2.modeling.memory_attention.MemoryAttention` but for the rounding of floats.
Ravi et al. (2024), arXiv 2408.00714; rotary positions: Su et al. (2021), arXiv 2104.09864.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Prepared:
    """Memories of T traits, ready to be looked at.

    Attributes:
        keys: float (T, heads, M, D) a layer, M tokens, turned to their places.
        values: float (T, heads, M, D) a layer.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]

    @property
    def traits(self) -> int:
        """Count the traits."""
        return len(self.keys[0])


@dataclass(frozen=True, slots=True)
class Sequenced:
    """Memories of T traits as tokens.

    Attributes:
        tokens: float (T, M, C).
        positions: float (T, M, C).
        pointers: how many of the M, the last ones, are object pointers, which have no place in the picture.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    pointers: int


def assemble(model: Any, bank: Mapping[str, Mapping[int, Any]], frame: int, length: int) -> Sequenced:
    """Let the sam2 package choose and order the memories that a frame looks at.

    Args:
        model: the `SAM2Base`.
        bank: "cond_frame_outputs" and "non_cond_frame_outputs" -> frame -> memory, as the package writes them.
        frame: number of the frame in its film.
        length: frames of the film.
    """
    first = next(iter(bank["cond_frame_outputs"].values()))["obj_ptr"]
    side = model.sam_image_embedding_size
    nothing = first.new_zeros(1).expand(side * side, len(first), model.hidden_dim)
    listener = _Listener(model)
    type(model)._prepare_memory_conditioned_features(
        listener,
        frame_idx=frame,
        is_init_cond_frame=False,
        current_vision_feats=[nothing],
        current_vision_pos_embeds=[nothing],
        feat_sizes=[(side, side)],
        output_dict=bank,
        num_frames=length,
    )
    assert listener.heard is not None, "the sam2 package has not asked for its memory attention"
    return listener.heard


class _Listener:
    """Stands in for a network where the sam2 package gathers memories: hears what it would attend to."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.heard: Sequenced | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def memory_attention(
        self, *, curr: list[torch.Tensor], memory: torch.Tensor, memory_pos: torch.Tensor, **given: Any
    ) -> torch.Tensor:
        self.heard = Sequenced(memory.float().transpose(0, 1), memory_pos.transpose(0, 1), given["num_obj_ptr_tokens"])
        return curr[0]


def prepare(model: Any, heard: Sequenced) -> Prepared:
    """Compute the keys and values of memories, in every layer."""
    side = model.sam_image_embedding_size
    keys, values = [], []
    for layer in model.memory_attention.layers:
        attention = layer.cross_attn_image
        tokens = heard.tokens + heard.positions if layer.pos_enc_at_cross_attn_keys else heard.tokens
        key = _heads(attention, attention.k_proj(tokens))
        spatial = key.shape[-2] - heard.pointers
        placed = _turned(key[..., :spatial, :], _places(attention, side))
        keys.append(torch.cat([placed, key[..., spatial:, :]], dim=-2))
        values.append(_heads(attention, attention.v_proj(heard.tokens)).contiguous())
    return Prepared(tuple(keys), tuple(values))


def attend(model: Any, features: torch.Tensor, positions: torch.Tensor, prepared: Prepared) -> torch.Tensor:
    """Let N pictures look at the memories of T traits.

    Args:
        model: the `SAM2Base`, in evaluation mode.
        features: float (N, C, h, w), the coarsest.
        positions: float (N, C, h, w).
        prepared: the memories.

    Returns:
        float (N * T, C, h, w), the traits of a picture in a row.
    """
    assert not model.training, "dropout is left out"
    size = features.shape[-2:]
    state, where = (each.flatten(2).transpose(1, 2)[:, None] for each in (features, positions))
    if model.memory_attention.pos_enc_at_input:
        state = state + 0.1 * where
    # float (N, 1, L, C) up to the first look at the memory, float (N, T, L, C) after it.
    for layer, keys, values in zip(model.memory_attention.layers, prepared.keys, prepared.values, strict=True):
        state = _sum(state, _look_at_itself(layer, state, where))
        state = _sum(state, _look_at_memory(layer, state, where, keys, values))
        hidden = layer.linear1(layer.norm3(state))
        hidden = hidden.relu_() if layer.activation_str == "relu" else layer.activation(hidden)
        state = _sum(state, layer.linear2(hidden))
    seen: torch.Tensor = model.memory_attention.norm(state)
    return seen.flatten(0, 1).transpose(1, 2).reshape(-1, seen.shape[-1], *size)


def _look_at_itself(layer: Any, state: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    attention = layer.self_attn
    normed = layer.norm1(state)
    asking = (normed + where if layer.pos_enc_at_attn else normed).flatten(0, 1)
    normed = normed.flatten(0, 1)
    places = _places(attention, round(normed.shape[1] ** 0.5))
    query, key = (_turned(_heads(attention, each(asking)), places) for each in (attention.q_proj, attention.k_proj))
    found = functional.scaled_dot_product_attention(query, key, _heads(attention, attention.v_proj(normed)))
    joined: torch.Tensor = attention._recombine_heads(found)
    out: torch.Tensor = attention.out_proj(joined).unflatten(0, state.shape[:2])
    return out


def _look_at_memory(
    layer: Any, state: torch.Tensor, where: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> torch.Tensor:
    attention, (pictures, _, tokens, _), traits = layer.cross_attn_image, state.shape, len(keys)
    asking = layer.norm2(state)
    if layer.pos_enc_at_cross_attn_queries:
        asking = asking + where
    query = _heads(attention, attention.q_proj(asking.flatten(0, 1)))
    query = _turned(query, _places(attention, round(tokens**0.5))).unflatten(0, state.shape[:2])
    heads = query.shape[2]
    # One row of queries a trait, all pictures in it: (T, heads, N * L, D).
    row = query.expand(-1, traits, -1, -1, -1).permute(1, 2, 0, 3, 4).reshape(traits, heads, pictures * tokens, -1)
    found = functional.scaled_dot_product_attention(row, keys, values)
    found = found.unflatten(2, (pictures, tokens)).permute(2, 0, 3, 1, 4).flatten(3)
    out: torch.Tensor = attention.out_proj(found)
    return out


def _heads(attention: Any, features: torch.Tensor) -> torch.Tensor:
    separated: torch.Tensor = attention._separate_heads(features, attention.num_heads)
    return separated


def _places(attention: Any, side: int) -> torch.Tensor:
    """Return the turns of a square of tokens: complex64 (side * side, D / 2); the package's own table, kept by it."""
    weight = attention.q_proj.weight
    if len(attention.freqs_cis) != side * side:
        attention.freqs_cis = attention.compute_cis(end_x=side, end_y=side)
    attention.freqs_cis = attention.freqs_cis.to(weight.device)
    table: torch.Tensor = attention.freqs_cis
    return table


def _turned(features: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Turn tokens (..., k * L, D) to their places in k squares of L: pairs of features are complex numbers."""
    pairs = torch.view_as_complex(features.float().unflatten(-1, (-1, 2)).contiguous())
    pairs = pairs.unflatten(-2, (-1, len(places))) * places
    return torch.view_as_real(pairs).flatten(-2).flatten(-3, -2).to(features.dtype)


def _sum(state: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
    """Add, in the memory of the update where its numbers are wide enough."""
    return update.add_(state) if update.dtype == torch.result_type(state, update) else state + update
