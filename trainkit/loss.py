"""Cross-entropy of a frozen output head, without ever holding the logits of a whole batch."""

from typing import Any

import torch

CHUNK = 512
"""Tokens whose logits exist at one time."""


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum over t of logsumexp_v(h_t . w_v + b_v) - (h_t . w_y + b_y); its gradient in h_t is (softmax - onehot) W.

    The gradient is computed with the loss, chunk by chunk, and only scaled in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: torch.Tensor,
        head_VD: torch.Tensor,
        targets_T: torch.Tensor,
        bias_V: torch.Tensor | None,
        chunk: int,
    ) -> torch.Tensor:
        wanted = ctx.needs_input_grad[0]
        gradient_TD = torch.empty_like(hidden_TD) if wanted else None
        accumulator = torch.float64 if hidden_TD.dtype == torch.float64 else torch.float32
        total = hidden_TD.new_zeros((), dtype=accumulator)
        for start in range(0, len(targets_T), chunk):
            rows = slice(start, start + chunk)
            targets_C1 = targets_T[rows, None]
            logits_CV = torch.nn.functional.linear(hidden_TD[rows], head_VD, bias_V).to(accumulator)
            lse_C1 = logits_CV.logsumexp(dim=1, keepdim=True)
            total += (lse_C1 - logits_CV.gather(1, targets_C1)).sum()
            if gradient_TD is not None:
                residual_CV = logits_CV.sub_(lse_C1).exp_()
                residual_CV.scatter_add_(1, targets_C1, residual_CV.new_full(targets_C1.shape, -1.0))
                torch.mm(residual_CV.to(head_VD.dtype), head_VD, out=gradient_TD[rows])
        if gradient_TD is not None:
            ctx.save_for_backward(gradient_TD)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient_TD,) = ctx.saved_tensors
        return gradient_TD * gradients[0].to(gradient_TD.dtype), None, None, None, None


def linear_cross_entropy(
    hidden_TD: torch.Tensor,
    head_VD: torch.Tensor,
    targets_T: torch.Tensor,
    bias_V: torch.Tensor | None = None,
    chunk: int = CHUNK,
) -> torch.Tensor:
    """The cross-entropy (scalar, in nats) of a frozen linear head, summed over its T tokens.

    The sum is taken in fp32, or in fp64 for fp64 inputs. Only `hidden_TD` gets a gradient.
    """
    if head_VD.requires_grad or (bias_V is not None and bias_V.requires_grad):
        raise ValueError("the output head must be frozen: its gradient is not computed here")
    loss: torch.Tensor = _LinearCrossEntropy.apply(hidden_TD, head_VD, targets_T, bias_V, chunk)  # type: ignore[no-untyped-call]
    return loss
