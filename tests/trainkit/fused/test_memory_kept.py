"""What a layer keeps for its backward pass, counted by autograd's own hooks."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, Qwen3Config
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.models.qwen3.modeling_qwen3 import Qwen3ForCausalLM

from trainkit.fused import FusedDecoder

from . import models

SHAPE = {
    "hidden_size": 4096,
    "num_hidden_layers": 1,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 61,
}
TOKENS = 32


def kept_per_token(adapted: Any, level: int) -> float:
    """Bytes."""
    fused = FusedDecoder(adapted, [level])
    projections = [p for layer in fused.layers for p in (layer.qkv, layer.out, layer.gate_up, layer.down)]
    weights = [*adapted.parameters(), *adapted.buffers(), *(p.weight_ND for p in projections)]
    # The final norm belongs to transformers.
    adapted.get_base_model().model.norm = torch.nn.Identity()
    return models.kept_bytes(lambda: fused.hidden_states(models.batch([TOKENS])), weights) / TOKENS


@pytest.mark.parametrize(
    ("make", "inner_size", "limits"),
    [
        ((LlamaConfig, LlamaForCausalLM), 14336, (96_000, 38_000, 26_000, 8_300)),
        ((Qwen3Config, Qwen3ForCausalLM), 12288, (88_000, 38_000, 26_000, 8_300)),
    ],
    ids=["llama-3-8b", "qwen3-8b"],
)
def test_no_more_than_the_design_says(make: Any, inner_size: int, limits: tuple[int, ...]) -> None:
    config = make[0](**SHAPE, intermediate_size=inner_size)
    config._attn_implementation = models.attention.register()
    with torch.device("meta"):
        causal = make[1](config).to(torch.bfloat16)
    adapted = models.adapt(causal, r=16, target_modules=models.EVERY_LINEAR).to_empty(device="cpu")
    for level, limit in enumerate(limits):
        assert 0.9 * limit < kept_per_token(adapted, level) <= limit
