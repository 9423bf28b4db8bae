"""Which models and adapters the fused way computes."""

from collections.abc import Iterator
from typing import Any

import torch
import transformers
from peft.tuners.lora import Linear

from trainkit import varlen
from trainkit.trained_rows import ADAPTER

MODELS = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


def refusal(model: Any) -> str | None:
    """Why the fused way does not compute this PEFT model; None where it does."""
    causal = model.get_base_model()
    kind = causal.config.model_type
    if type(causal) not in [getattr(transformers, name) for name in MODELS]:
        return f"no layer of it is written for models of type {kind}"
    return next(_faults(model, causal), None)


def _faults(model: Any, causal: Any) -> Iterator[str]:
    config = causal.config
    if config.hidden_act != "silu":
        yield f"its layers know silu, not {config.hidden_act}"
    if getattr(config, "attention_dropout", 0):
        yield "the model drops parts of its attention"
    layers = causal.model.layers
    linear = {id(part) for layer in layers for part in _linear(layer)}
    for name, module in model.named_modules():
        if hasattr(module, "lora_A") and id(module) not in linear:
            yield f"{name} carries an adapter"
    for layer in layers:
        yield from (fault for part in _linear(layer) if (fault := _fault(part)) is not None)
    weight = layers[0].input_layernorm.weight
    if weight.device.type not in ("cpu", "cuda"):
        yield f"it was never run on {weight.device.type}"
    head = torch.empty((1, 1, 1, layers[0].self_attn.head_dim), dtype=weight.dtype, device=weight.device)
    if weight.is_cuda and not varlen.fits(head, 0.0):
        yield "no attention kernel for CUDA fits the model's heads and precision"


def _linear(layer: Any) -> list[Any]:
    parts = [getattr(layer.self_attn, name) for name in ATTENTION]
    return parts + [getattr(layer.mlp, name) for name in MLP]


def _fault(part: Any) -> str | None:
    inner = getattr(part, "base_layer", part)
    if type(inner) is not torch.nn.Linear:
        return f"a layer is a {type(inner).__name__}"
    if part is inner:
        return None
    if type(part) is not Linear or list(part.lora_A) != [ADAPTER] or part.merged:
        return "an adapter is not one plain LoRA"
    if part.lora_variant or part.lora_bias[ADAPTER] or part.fan_in_fan_out:
        return "an adapter is not plain LoRA"
    if not isinstance(part.lora_dropout[ADAPTER], torch.nn.Identity):
        return "the adapter has dropout"
    return None
