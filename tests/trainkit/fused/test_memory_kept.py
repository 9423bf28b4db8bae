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


def kept_bytes(adapted: Any, level: int) -> float:
    """Bytes a token."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*adapted.parameters(), *adapted.buffers()]}
    fused = FusedDecoder(adapted, [level])
    own |= {p.weight_ND.data_ptr() for layer in fused.layers for p in layer._projections}
    found: dict[int, torch.Tensor] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    # The final norm belongs to transformers.
    adapted.get_base_model().model.norm = torch.nn.Identity()
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        fused.hidden_states(models.batch([TOKENS])).sum()
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values()) / TOKENS


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
        assert 0.9 * limit < kept_bytes(adapted, level) <= limit
