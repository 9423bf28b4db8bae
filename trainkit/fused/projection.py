"""Frozen linear layers that share their input, computed as one product, with the LoRA adapters beside them."""

from dataclasses import dataclass
from typing import Any

import torch

from trainkit.trained_rows import ADAPTER

Tensor = torch.Tensor


@dataclass(frozen=True)
class Part:
    """One of the layers: its outputs among those of all, and its adapter's ranks among those of all."""

    outputs: slice
    ranks: slice
    scaling: float


class Projection:
    """Layers with N outputs and adapters of R ranks together, from D inputs.

    The weights of the layers are moved into one tensor, of which they become views.
    """

    def __init__(self, modules: list[Any]) -> None:
        """`modules` are linear layers, those with an adapter as PEFT wraps them."""
        inner = [getattr(module, "base_layer", module) for module in modules]
        self.weight_ND = torch.cat([layer.weight.data for layer in inner])
        biases = [layer.bias.data for layer in inner if layer.bias is not None]
        self.bias_N = torch.cat(biases) if biases else None
        self.parts: list[Part] = []
        self.lora: list[torch.nn.Parameter] = []
        """A (ranks, D) and B (outputs, ranks) of each adapter, in turn."""
        end = rank = 0
        for module, layer in zip(modules, inner, strict=True):
            start, end = end, end + len(layer.weight)
            layer.weight.data = self.weight_ND[start:end]
            if layer is module:
                continue
            a_RD, b_NR = module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight
            ranks = slice(rank, rank + len(a_RD))
            rank += len(a_RD)
            self.parts.append(Part(slice(start, end), ranks, float(module.scaling[ADAPTER])))
            self.lora += [a_RD, b_NR]

    def forward(
        self, x_TD: Tensor, lora: tuple[Tensor, ...], residual_TN: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The outputs (T, N), added to a residual, and the adapters' inner products (T, R), None without adapters."""
        weight_DN = self.weight_ND.t()
        if residual_TN is not None:
            output_TN = torch.addmm(residual_TN, x_TD, weight_DN)
            if self.bias_N is not None:
                output_TN += self.bias_N
        elif self.bias_N is not None:
            output_TN = torch.addmm(self.bias_N, x_TD, weight_DN)
        else:
            output_TN = x_TD @ weight_DN
        inner_TR = self.inner(x_TD, lora)
        if inner_TR is not None:
            for part, b_NR in zip(self.parts, lora[1::2], strict=True):
                output_TN[:, part.outputs].addmm_(inner_TR[:, part.ranks], b_NR.t(), alpha=part.scaling)
        return output_TN, inner_TR

    def inner(self, x_TD: Tensor, lora: tuple[Tensor, ...]) -> Tensor | None:
        """The products (T, R) of the inputs with all A, None without adapters."""
        return x_TD @ torch.cat(lora[::2]).t() if lora else None

    def backward(
        self, gradient_TN: Tensor, inner_TR: Tensor | None, lora: tuple[Tensor, ...], *, input_wanted: bool = True
    ) -> tuple[Tensor | None, Tensor | None, list[Tensor]]:
        """The gradients in the inputs (T, D), in the inner products (T, R), and in each B."""
        inner_gradient_TR: Tensor | None = None
        b_gradients: list[Tensor] = []
        if inner_TR is not None:
            products: list[Tensor] = []
            for part, b_NR in zip(self.parts, lora[1::2], strict=True):
                of_part_TN = gradient_TN[:, part.outputs]
                products.append((of_part_TN @ b_NR).mul_(part.scaling))
                b_gradients.append((of_part_TN.t() @ inner_TR[:, part.ranks]).mul_(part.scaling))
            inner_gradient_TR = torch.cat(products, 1)
        if not input_wanted:
            return None, inner_gradient_TR, b_gradients
        input_gradient_TD = gradient_TN @ self.weight_ND
        if inner_gradient_TR is not None:
            input_gradient_TD.addmm_(inner_gradient_TR, torch.cat(lora[::2]))
        return input_gradient_TD, inner_gradient_TR, b_gradients

    def lora_gradients(self, x_TD: Tensor, inner_gradient_TR: Tensor | None, b_gradients: list[Tensor]) -> list[Tensor]:
        """The gradients in A and B of each adapter, in turn."""
        if inner_gradient_TR is None:
            return []
        a_gradients_RD = inner_gradient_TR.t() @ x_TD
        pairs = zip(self.parts, b_gradients, strict=True)
        return [gradient for part, of_b in pairs for gradient in (a_gradients_RD[part.ranks], of_b)]
