"""Small random models of the architectures that have a fused way, as HF and PEFT make them."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model

from trainkit import attention
from trainkit.micro_batch import MicroBatch
from trainkit.quiet import no_peft_warnings

SHAPE = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 61,
    "max_position_embeddings": 128,
}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"tie_word_embeddings": False}),
    "llama-biased": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama-tied-long-rope": (
        "Llama",
        {
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4},
        },
    ),
    "mistral-sliding": ("Mistral", {"sliding_window": 5}),
    "qwen2": ("Qwen2", {}),
    "qwen2-sliding": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {}),
}
EVERY_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LENGTHS = [7, 1, 12, 5]


def model(
    name: str, dtype: torch.dtype, packed: bool = True, shape: dict[str, int] | None = None, seed: int = 3, **lora: Any
) -> Any:
    """A PEFT model; its adapters are not zero, nor its norms and biases alike.

    With `packed` its attention is that of packed rows.
    """
    kind, settings = ARCHITECTURES[name]
    hf: Any = transformers
    torch.manual_seed(seed)
    config = getattr(hf, f"{kind}Config")(**{**SHAPE, **(shape or {}), **settings})
    config._attn_implementation = attention.register() if packed else "sdpa"
    causal = getattr(hf, f"{kind}ForCausalLM")(config)
    for parameter_name, parameter in causal.named_parameters():
        if "norm" in parameter_name or "bias" in parameter_name:
            torch.nn.init.normal_(parameter, 1.0 if "norm" in parameter_name else 0.0, 0.3)
    options = {"r": 4, "lora_alpha": 8, "target_modules": EVERY_LINEAR, **lora}
    adapted = adapt(causal, **options)
    for parameter_name, parameter in adapted.named_parameters():
        if "lora_" in parameter_name:
            torch.nn.init.normal_(parameter, 0.0, 0.1)
    return adapted.to(dtype)


def adapt(causal: Any, **options: Any) -> Any:
    """A PEFT model whose adapters are in the base's precision."""
    with no_peft_warnings():
        return get_peft_model(causal, LoraConfig(**options), autocast_adapter_dtype=False)


def batch(lengths: list[int] | None = None, vocabulary: int = 61) -> MicroBatch:
    """Documents of random ids."""
    lengths = lengths or LENGTHS
    cu_seqlens = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    return MicroBatch(
        input_ids_T=torch.randint(0, vocabulary, (sum(lengths),), generator=torch.Generator().manual_seed(1)),
        position_ids_T=torch.cat([torch.arange(length) for length in lengths]),
        cu_seqlens=cu_seqlens,
        cu_seqlens_on_device=cu_seqlens,
        trained_P=torch.arange(1, lengths[0]),
        record_ids=tuple(map(str, range(len(lengths)))),
    )


def kept_bytes(run: Callable[[], Any], weights: Iterable[torch.Tensor]) -> int:
    """Bytes that autograd keeps of what is computed, weights aside."""
    own = {weight.untyped_storage().data_ptr() for weight in weights}
    found: dict[int, torch.Tensor] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        # Held until all is counted: a tensor that is freed would lend its address to the next one.
        outcome = run()
    del outcome
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())
