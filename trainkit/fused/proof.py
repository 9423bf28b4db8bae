"""Whether the fused way computes on the device at hand what the generic way does."""

import copy
from typing import Any

import torch

from dataforge.errors import first_line
from trainkit.fused.decoder import fused_layer, pack
from trainkit.fused.layer import LEVELS, FusedLayer, Layer
from trainkit.fused.pointwise import Pointwise

PROBED_LENGTHS = [7, 1, 24]
EXACT = 1e-4
"""In 32 bits, the largest difference of an output or a gradient, relative to its norm."""
ROUNDING = 3.0
"""In 16 bits, how many times further from the result in 32 bits than the generic way's."""


def disagreement(model: Any, pointwise: Pointwise) -> str | None:
    """Why the fused way is not to be trusted; None where one layer's output and gradients are the generic way's.

    Computed on a copy of the first layer of a PEFT model that `refusal` has nothing against, on the model's device and
    in its precision, over a small random row; torch's random state stays as it is.
    """
    causal = model.get_base_model()
    device = causal.model.layers[0].input_layernorm.weight.device
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        return _disagreement(causal, pointwise)


def _disagreement(causal: Any, pointwise: Pointwise) -> str | None:
    layer = copy.deepcopy(causal.model.layers[0])
    weight = layer.input_layernorm.weight
    for name, parameter in layer.named_parameters():
        if "lora_B" in name:
            # As it is, all zeros, the gradients of A would be too.
            torch.nn.init.normal_(parameter, std=0.02)
    probe = _Probe(causal, weight.device, weight.dtype)
    generic = probe.generic(layer)
    exact = probe.generic(copy.deepcopy(layer).float()) if weight.element_size() < 4 else generic
    try:
        fused = fused_layer(layer, causal.config, 0, pointwise)
        for fused.level in LEVELS:
            found = probe.fused(fused)
            for one, other, reference in zip(found, generic, exact, strict=True):
                bound = max(EXACT, ROUNDING * _distance(other, reference))
                error = _distance(one, reference) / bound
                # Asked this way round, since what is not a number is not less than anything either.
                if not error < 1:
                    return f"its results are off by {error:.2g} times what rounding explains"
    except (RuntimeError, NotImplementedError, TypeError) as error:
        return first_line(error)
    return None


def _distance(found: torch.Tensor, reference: torch.Tensor) -> float:
    return float((found.double() - reference.double()).norm() / reference.double().norm())


class _Probe:
    """A random row, and the gradient that comes back to its output."""

    def __init__(self, causal: Any, device: torch.device, precision: torch.dtype) -> None:
        tokens, size = sum(PROBED_LENGTHS), causal.config.hidden_size
        self._x_TD = torch.randn(tokens, size, device=device).to(precision)
        self._gradient_TD = torch.randn(tokens, size, device=device).to(precision)
        positions = torch.cat([torch.arange(length) for length in PROBED_LENGTHS])[None].to(device)
        self._position_ids = positions
        self._positions = causal.model.rotary_emb(self._x_TD[None], position_ids=positions)
        self._cu_seqlens = torch.tensor([0, *PROBED_LENGTHS]).cumsum(0).to(torch.int32)

    def generic(self, layer: Any) -> list[torch.Tensor]:
        """Output and gradients of a layer of transformers with PEFT's adapters in it, in its precision."""
        precision = layer.input_layernorm.weight.dtype
        x_TD = self._x_TD.to(precision).requires_grad_()
        found = layer(
            x_TD[None],
            attention_mask=None,
            position_ids=self._position_ids,
            position_embeddings=tuple(part.to(precision) for part in self._positions),
            cu_seqlens=self._cu_seqlens,
        )
        lora = [weight for weight in _in_order(layer) if weight.requires_grad]
        return self._with_gradients(found[0], x_TD, lora)

    def fused(self, layer: Layer) -> list[torch.Tensor]:
        """The same of a layer computed the fused way."""
        x_TD = self._x_TD.clone().requires_grad_()
        packed = pack(self._positions, self._cu_seqlens, self._cu_seqlens.to(x_TD.device))
        output_TD = FusedLayer.apply(x_TD, layer, packed, *layer.lora)  # type: ignore[no-untyped-call]
        return self._with_gradients(output_TD, x_TD, layer.lora)

    def _with_gradients(
        self, output_TD: torch.Tensor, x_TD: torch.Tensor, lora: list[torch.nn.Parameter]
    ) -> list[torch.Tensor]:
        gradient_TD = self._gradient_TD.to(output_TD.dtype)
        return [output_TD.detach(), *torch.autograd.grad(output_TD, [x_TD, *lora], gradient_TD)]


def _in_order(layer: Any) -> list[torch.nn.Parameter]:
    """The adapters' matrices in the order of `Layer.lora`."""
    attention, mlp = layer.self_attn, layer.mlp
    parts = [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
    parts += [mlp.gate_proj, mlp.up_proj, mlp.down_proj]
    wrapped = [part for part in parts if hasattr(part, "lora_A")]
    return [pair[name].weight for part in wrapped for pair in (part.lora_A, part.lora_B) for name in pair]
