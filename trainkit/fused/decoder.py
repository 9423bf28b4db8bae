"""A transformers model's decoder, computed layer by layer the fused way."""

from collections.abc import Sequence
from typing import Any

import torch

from trainkit.fused.attention import Packed, Reach
from trainkit.fused.layer import LEVELS, FusedLayer, Layer, Norm
from trainkit.fused.pointwise import EAGER, Pointwise
from trainkit.fused.projection import Projection
from trainkit.micro_batch import MicroBatch


class FusedDecoder:
    """The layers of a PEFT model, which shares its weights with them.

    The frozen weights of layers that share an input are laid into one tensor, of which the model's own become views;
    the model goes on to compute what it did.
    """

    def __init__(self, model: Any, levels: Sequence[int], pointwise: Pointwise = EAGER) -> None:
        """`model` is one that `refusal` has nothing against; `levels` says for each layer what is computed anew."""
        causal = model.get_base_model()
        self._decoder = causal.model
        layers = self._decoder.layers
        self.layers = [
            fused_layer(layer, causal.config, level, pointwise) for layer, level in zip(layers, levels, strict=True)
        ]

    def hidden_states(self, batch: MicroBatch) -> torch.Tensor:
        """The last layer's normalised output (T, D) for a packed row."""
        hidden_BTD = self._decoder.embed_tokens(batch.input_ids_T[None])
        positions = self._decoder.rotary_emb(hidden_BTD, position_ids=batch.position_ids_T[None])
        packed = pack(positions, batch.cu_seqlens, batch.cu_seqlens_on_device)
        hidden_TD = hidden_BTD[0]
        for layer in self.layers:
            hidden_TD = FusedLayer.apply(hidden_TD, layer, packed, *layer.lora)  # type: ignore[no-untyped-call]
        normed_TD: torch.Tensor = self._decoder.norm(hidden_TD)
        return normed_TD


def pack(
    positions: tuple[torch.Tensor, torch.Tensor], cu_seqlens: torch.Tensor, cu_seqlens_on_device: torch.Tensor
) -> Packed:
    """A row as layers see it; `positions` are cosines and sines (1, T, K) as transformers makes them, halves alike."""
    cos_TJ, sin_TJ = (half_BTK[0, :, : half_BTK.shape[2] // 2].contiguous() for half_BTK in positions)
    return Packed(cos_TJ, sin_TJ, cu_seqlens.diff().tolist(), cu_seqlens_on_device)


def fused_layer(layer: Any, config: Any, level: int, pointwise: Pointwise) -> Layer:
    """A decoder layer of transformers with PEFT's adapters in it, as `FusedLayer` computes it.

    Raises `ValueError` for a level that there is not.
    """
    if level not in LEVELS:
        raise ValueError(f"there is no level {level}; there are {', '.join(map(str, LEVELS))}")
    attention, mlp = layer.self_attn, layer.mlp
    return Layer(
        before_attention=_norm(layer.input_layernorm),
        qkv=Projection([attention.q_proj, attention.k_proj, attention.v_proj]),
        query_norm=_norm(attention.q_norm) if hasattr(attention, "q_norm") else None,
        key_norm=_norm(attention.k_norm) if hasattr(attention, "k_norm") else None,
        out=Projection([attention.o_proj]),
        before_mlp=_norm(layer.post_attention_layernorm),
        gate_up=Projection([mlp.gate_proj, mlp.up_proj]),
        down=Projection([mlp.down_proj]),
        heads=config.num_attention_heads,
        groups=config.num_key_value_heads,
        head_size=attention.head_dim,
        reach=Reach(attention.scaling, _window(attention, config)),
        level=level,
        pointwise=pointwise,
    )


def _norm(module: Any) -> Norm:
    return Norm(module.weight.data, module.variance_epsilon)


def _window(attention: Any, config: Any) -> int | None:
    """Qwen's layers differ in it and hold their own; Mistral's take that of the configuration, Llama's have none."""
    if hasattr(attention, "sliding_window"):
        found: int | None = attention.sliding_window
        return found
    return config.sliding_window if config.model_type == "mistral" else None
