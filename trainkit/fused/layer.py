"""One decoder layer as one step of autograd, with a backward pass written by hand.

Autograd keeps every tensor that a step of its own needs. Written as a whole, a layer keeps only the inputs and outputs
of its matrix products and of attention, and computes norms, rotations and activations, which cost next to nothing,
anew. A level says what else is computed anew to keep less:

    0    nothing
    1    the product of gate and up
    2    that of queries, keys and values too
    3    everything but the last product: only the layer's input is kept

Per token 0 keeps 2 D + (2 H + 2 G) K + 2 F numbers and the adapters' ranks; 1 leaves out 2 F, 2 (H + 2 G) K too, 3
keeps D. Symbols: T tokens, D inputs, H heads of queries and G of keys and values with K numbers, F inner size.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from trainkit.fused import attention
from trainkit.fused.attention import Packed, Reach
from trainkit.fused.pointwise import Pointwise
from trainkit.fused.projection import Projection

Tensor = torch.Tensor
LEVELS = range(4)


@dataclass
class Norm:
    """The factor and epsilon of an RMS norm."""

    weight_D: Tensor
    epsilon: float


@dataclass
class Layer:
    """What a decoder layer is made of."""

    before_attention: Norm
    qkv: Projection
    query_norm: Norm | None
    key_norm: Norm | None
    out: Projection
    before_mlp: Norm
    gate_up: Projection
    down: Projection
    heads: int
    groups: int
    head_size: int
    reach: Reach
    level: int
    pointwise: Pointwise

    @property
    def lora(self) -> list[torch.nn.Parameter]:
        """The adapters' matrices in the order in which `FusedLayer` takes them."""
        return [weight for projection in self._projections for weight in projection.lora]

    @property
    def _projections(self) -> tuple[Projection, ...]:
        return (self.qkv, self.out, self.gate_up, self.down)

    def by_projection(self, lora: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
        """`lora` in parts, one for each projection."""
        found: list[tuple[Tensor, ...]] = []
        for projection in self._projections:
            count = len(projection.lora)
            found.append(lora[:count])
            lora = lora[count:]
        return found


class Attended(NamedTuple):
    """The first half of a layer."""

    qkv_TN: Tensor
    """Rotated already, where heads are not normalised."""
    qkv_inner_TR: Tensor | None
    output_THK: Tensor
    statistics: tuple[Tensor, ...]
    """What attention's backward pass needs."""


class FusedLayer(torch.autograd.Function):
    """`FusedLayer.apply(x_TD, layer, packed, *layer.lora)` is the layer's output (T, D)."""

    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, layer: Layer, packed: Packed, *lora: Tensor) -> Tensor:
        qkv_lora, out_lora, gate_up_lora, down_lora = layer.by_projection(lora)
        point = layer.pointwise
        attended = _attend(layer, x_TD, packed, qkv_lora)
        middle_TD, out_inner_TR = layer.out.forward(attended.output_THK.flatten(1), out_lora, x_TD)
        gate_up_TF, gate_up_inner_TR = _gate_up(layer, middle_TD, gate_up_lora)
        output_TD, down_inner_TR = layer.down.forward(point.swiglu(gate_up_TF), down_lora, middle_TD)
        kept: list[Tensor | None] = [None] * 8
        if layer.level < 3:
            kept = [None, None, attended.output_THK, middle_TD, None, None, out_inner_TR, down_inner_TR]
        if layer.level < 2:
            kept[:2] = [attended.qkv_TN, attended.qkv_inner_TR]
        if layer.level < 1:
            kept[4:6] = [gate_up_TF, gate_up_inner_TR]
        statistics = attended.statistics if layer.level < 3 else ()
        ctx.save_for_backward(x_TD, *kept, *lora, *statistics)
        ctx.layer, ctx.packed, ctx.lora = layer, packed, len(lora)
        return output_TD

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        layer, packed = ctx.layer, ctx.packed
        x_TD, qkv_TN, qkv_inner_TR, attended_THK, middle_TD, gate_up_TF, gate_up_inner_TR, out_inner_TR, *rest = (
            ctx.saved_tensors
        )
        down_inner_TR, lora, statistics = rest[0], tuple(rest[1 : 1 + ctx.lora]), tuple(rest[1 + ctx.lora :])
        qkv_lora, out_lora, gate_up_lora, down_lora = layer.by_projection(lora)
        point, gradient_TD = layer.pointwise, gradients[0]
        if attended_THK is None:
            qkv_TN, qkv_inner_TR, attended_THK, statistics = _attend(layer, x_TD, packed, qkv_lora)
            middle_TD, out_inner_TR = layer.out.forward(attended_THK.flatten(1), out_lora, x_TD)

        if gate_up_TF is None:
            gate_up_TF, gate_up_inner_TR = _gate_up(layer, middle_TD, gate_up_lora)
        if down_inner_TR is None:
            down_inner_TR = layer.down.inner(point.swiglu(gate_up_TF), down_lora)
        activated_gradient_TF, inner_gradient_TR, of_b = layer.down.backward(gradient_TD, down_inner_TR, down_lora)
        gate_up_gradient_TF, activated_TF = point.swiglu_backward(activated_gradient_TF, gate_up_TF)
        del activated_gradient_TF, gate_up_TF
        down_gradients = layer.down.lora_gradients(activated_TF, inner_gradient_TR, of_b)
        del activated_TF
        normed_gradient_TD, inner_gradient_TR, of_b = layer.gate_up.backward(
            gate_up_gradient_TF, gate_up_inner_TR, gate_up_lora
        )
        del gate_up_gradient_TF
        norm = layer.before_mlp
        normed_TD = point.rms_norm(middle_TD, norm.weight_D, norm.epsilon)
        gate_up_gradients = layer.gate_up.lora_gradients(normed_TD, inner_gradient_TR, of_b)
        gradient_TD = point.rms_norm_backward(normed_gradient_TD, middle_TD, norm.weight_D, norm.epsilon, gradient_TD)
        del normed_TD, normed_gradient_TD, middle_TD

        attended_gradient_TN, inner_gradient_TR, of_b = layer.out.backward(gradient_TD, out_inner_TR, out_lora)
        out_gradients = layer.out.lora_gradients(attended_THK.flatten(1), inner_gradient_TR, of_b)
        if qkv_TN is None:
            qkv_TN, qkv_inner_TR = _qkv(layer, x_TD, packed, qkv_lora)
        qkv_gradient_TN = _attention_backward(
            layer, packed, attended_gradient_TN.view_as(attended_THK), qkv_TN, attended_THK, statistics
        )
        del attended_gradient_TN, attended_THK, qkv_TN
        wanted = ctx.needs_input_grad[0]
        normed_gradient_TD, inner_gradient_TR, of_b = layer.qkv.backward(
            qkv_gradient_TN, qkv_inner_TR, qkv_lora, input_wanted=wanted
        )
        norm = layer.before_attention
        normed_TD = point.rms_norm(x_TD, norm.weight_D, norm.epsilon)
        qkv_gradients = layer.qkv.lora_gradients(normed_TD, inner_gradient_TR, of_b)
        input_gradient_TD = None
        if wanted:
            input_gradient_TD = point.rms_norm_backward(
                normed_gradient_TD, x_TD, norm.weight_D, norm.epsilon, gradient_TD
            )
        return (input_gradient_TD, None, None, *qkv_gradients, *out_gradients, *gate_up_gradients, *down_gradients)


def _attend(layer: Layer, x_TD: Tensor, packed: Packed, lora: tuple[Tensor, ...]) -> Attended:
    qkv_TN, inner_TR = _qkv(layer, x_TD, packed, lora)
    return Attended(qkv_TN, inner_TR, *attention.forward(*_heads(layer, qkv_TN, packed), packed, layer.reach))


def _qkv(layer: Layer, x_TD: Tensor, packed: Packed, lora: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
    norm = layer.before_attention
    qkv_TN, inner_TR = layer.qkv.forward(layer.pointwise.rms_norm(x_TD, norm.weight_D, norm.epsilon), lora)
    if layer.query_norm is None:
        # Rotated in place: unlike a norm, a rotation's gradient does not need what it was taken from.
        rotated_THK = _split(layer, qkv_TN[:, : (layer.heads + layer.groups) * layer.head_size])
        rotated_THK.copy_(layer.pointwise.rotate(rotated_THK, packed.cos_TJ, packed.sin_TJ))
    return qkv_TN, inner_TR


def _gate_up(layer: Layer, middle_TD: Tensor, lora: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None]:
    norm = layer.before_mlp
    return layer.gate_up.forward(layer.pointwise.rms_norm(middle_TD, norm.weight_D, norm.epsilon), lora)


def _split(layer: Layer, qkv_TN: Tensor) -> Tensor:
    return qkv_TN.view(len(qkv_TN), -1, layer.head_size)


def _heads(layer: Layer, qkv_TN: Tensor, packed: Packed) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values as attention takes them."""
    query_THK, key_TGK, value_TGK = torch.split(_split(layer, qkv_TN), [layer.heads, layer.groups, layer.groups], 1)
    if layer.query_norm is None or layer.key_norm is None:
        return query_THK, key_TGK, value_TGK
    shape = layer.pointwise.norm_and_rotate
    turn = (packed.cos_TJ, packed.sin_TJ)
    return (
        shape(query_THK, layer.query_norm.weight_D, layer.query_norm.epsilon, *turn),
        shape(key_TGK, layer.key_norm.weight_D, layer.key_norm.epsilon, *turn),
        value_TGK,
    )


def _attention_backward(
    layer: Layer,
    packed: Packed,
    gradient_THK: Tensor,
    qkv_TN: Tensor,
    output_THK: Tensor,
    statistics: tuple[Tensor, ...],
) -> Tensor:
    """The gradient in the product of queries, keys and values (T, N)."""
    heads = _heads(layer, qkv_TN, packed)
    query_THK, key_TGK, value_TGK = attention.backward(
        gradient_THK, *heads, output_THK, statistics, packed, layer.reach
    )
    turn = (packed.cos_TJ, packed.sin_TJ)
    if layer.query_norm is None or layer.key_norm is None:
        query_THK, key_TGK = (layer.pointwise.rotate_back(heads, *turn) for heads in (query_THK, key_TGK))
    else:
        raw_THK, raw_TGK, _ = torch.split(_split(layer, qkv_TN), [layer.heads, layer.groups, layer.groups], 1)
        undo = layer.pointwise.norm_and_rotate_backward
        query_THK = undo(query_THK, raw_THK, layer.query_norm.weight_D, layer.query_norm.epsilon, *turn)
        key_TGK = undo(key_TGK, raw_TGK, layer.key_norm.weight_D, layer.key_norm.epsilon, *turn)
    return torch.cat((query_THK, key_TGK, value_TGK), 1).flatten(1)
