"""What a decoder layer computes element by element, forward and backward, as pure functions.

On CUDA each is compiled, which makes one kernel of it. Elsewhere they run as they stand: there, large temporaries cost
more than arithmetic, so a function overwrites its own. Statistics of a norm are computed in fp32 (fp64 for fp64), as
transformers does, and its factor is applied in the precision of the input.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

Tensor = torch.Tensor


def rms_norm(x_TD: Tensor, weight_D: Tensor, epsilon: float) -> Tensor:
    """x / sqrt(mean(x^2) + epsilon) * weight (Zhang and Sennrich, 2019) over the last dimension."""
    return (x_TD * _inverse_rms(x_TD, epsilon)).to(x_TD.dtype).mul_(weight_D)


def rms_norm_backward(
    gradient_TD: Tensor, x_TD: Tensor, weight_D: Tensor, epsilon: float, residual_TD: Tensor | None = None
) -> Tensor:
    """The gradient of `rms_norm` in x, and that of a residual branch added to it.

    With g = gradient * weight, r the inverse root mean square and n its dimension:
    r g - r^3 x sum(g x) / n.
    """
    inverse_T1 = _inverse_rms(x_TD, epsilon)
    weighted_TD = gradient_TD.to(inverse_T1.dtype) * weight_D
    shift_T1 = (weighted_TD * x_TD).sum(-1, keepdim=True) * inverse_T1.pow(3) / -x_TD.shape[-1]
    found_TD = weighted_TD.mul_(inverse_T1).addcmul_(x_TD.to(inverse_T1.dtype), shift_T1)
    return (found_TD if residual_TD is None else found_TD.add_(residual_TD)).to(x_TD.dtype)


def rotate(x_THK: Tensor, cos_TJ: Tensor, sin_TJ: Tensor) -> Tensor:
    """Rotary positions (Su et al., 2021), J = K / 2: the halves (a, b) become (a cos - b sin, b cos + a sin)."""
    first_THJ, second_THJ = x_THK.chunk(2, -1)
    cos_T1J, sin_T1J = cos_TJ[:, None], sin_TJ[:, None]
    return torch.cat(
        (
            (first_THJ * cos_T1J).sub_(second_THJ * sin_T1J),
            (second_THJ * cos_T1J).add_(first_THJ * sin_T1J),
        ),
        -1,
    )


def rotate_back(gradient_THK: Tensor, cos_TJ: Tensor, sin_TJ: Tensor) -> Tensor:
    """The gradient of `rotate`: its transpose."""
    return rotate(gradient_THK, cos_TJ, -sin_TJ)


def norm_and_rotate(x_THK: Tensor, weight_K: Tensor, epsilon: float, cos_TJ: Tensor, sin_TJ: Tensor) -> Tensor:
    """Heads normalised one by one, then rotated (Qwen3)."""
    return rotate(rms_norm(x_THK, weight_K, epsilon), cos_TJ, sin_TJ)


def norm_and_rotate_backward(
    gradient_THK: Tensor, x_THK: Tensor, weight_K: Tensor, epsilon: float, cos_TJ: Tensor, sin_TJ: Tensor
) -> Tensor:
    """The gradient of `norm_and_rotate` in x."""
    return rms_norm_backward(rotate_back(gradient_THK, cos_TJ, sin_TJ), x_THK, weight_K, epsilon)


def swiglu(gate_up_TF: Tensor) -> Tensor:
    """silu(gate) * up (Shazeer, 2020), of which the first half of the last dimension is the gate."""
    gate_TF, up_TF = gate_up_TF.chunk(2, -1)
    return torch.nn.functional.silu(gate_TF).mul_(up_TF)


def swiglu_backward(gradient_TF: Tensor, gate_up_TF: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of `swiglu` in gate and up, laid side by side as they are, and `swiglu` itself once more."""
    gate_TF, up_TF = gate_up_TF.chunk(2, -1)
    activated_TF = torch.nn.functional.silu(gate_TF)
    gate_gradient_TF = torch.ops.aten.silu_backward(gradient_TF * up_TF, gate_TF)
    return torch.cat((gate_gradient_TF, gradient_TF * activated_TF), -1), activated_TF.mul_(up_TF)


def _inverse_rms(x_TD: Tensor, epsilon: float) -> Tensor:
    """(T, 1), in fp32 or, for fp64, in fp64."""
    wide = torch.float64 if x_TD.dtype == torch.float64 else torch.float32
    norm_T1: Tensor = torch.linalg.vector_norm(x_TD, dim=-1, keepdim=True, dtype=wide)
    return norm_T1.square_().div_(x_TD.shape[-1]).add_(epsilon).rsqrt_()


class Pointwise(NamedTuple):
    """The functions of this module, as they stand or compiled."""

    rms_norm: Callable[..., Tensor]
    rms_norm_backward: Callable[..., Tensor]
    rotate: Callable[..., Tensor]
    rotate_back: Callable[..., Tensor]
    norm_and_rotate: Callable[..., Tensor]
    norm_and_rotate_backward: Callable[..., Tensor]
    swiglu: Callable[..., Tensor]
    swiglu_backward: Callable[..., tuple[Tensor, Tensor]]


EAGER = Pointwise(
    rms_norm, rms_norm_backward, rotate, rotate_back, norm_and_rotate, norm_and_rotate_backward, swiglu, swiglu_backward
)


@functools.cache
def compiled() -> Pointwise:
    """The functions compiled, for any number of tokens; each when it is first called."""
    return Pointwise(*map(_compiled, EAGER))


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    inner = torch.compile(function)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        for argument in arguments:
            if isinstance(argument, Tensor) and argument.dim() > 1:
                # Rows differ in length; what is reduced over does not, and is a constant of the kernel.
                torch._dynamo.maybe_mark_dynamic(argument, 0)
        return inner(*arguments)

    return call
