"""Cross-entropy of an output head, without ever holding the logits of a whole batch."""

from typing import Any, NamedTuple

import torch

CHUNK = 256
"""Tokens whose logits exist at one time; more make the products no faster."""


class Rows(NamedTuple):
    """The trained rows of an output head, in place of those that the frozen head has for these ids."""

    ids_N: torch.Tensor
    values_ND: torch.Tensor


class CrossEntropy(NamedTuple):
    """In nats; fp32, or fp64 for fp64 inputs."""

    summed: torch.Tensor
    """Over all tokens (scalar); it carries the gradient."""
    tokens_T: torch.Tensor
    """Of each token, without a gradient."""


class Loss(NamedTuple):
    """The loss of one micro-batch of S documents."""

    summed: torch.Tensor
    """Over its trained tokens (scalar, fp32); it carries the gradient."""
    trained: int
    """Trained tokens."""
    documents_S: torch.Tensor
    """The loss of each document, summed over its trained tokens, without a gradient."""
    trained_S: torch.Tensor
    """Trained tokens of each document."""


def head_logits(
    hidden_TD: torch.Tensor, head_VD: torch.Tensor, bias_V: torch.Tensor | None = None, rows: Rows | None = None
) -> torch.Tensor:
    """The logits (T, V) of a head; without a gradient where it has trained rows."""
    return _head_logits(hidden_TD, head_VD, bias_V, rows, hidden_TD.new_empty((len(hidden_TD), len(head_VD))))


@torch.no_grad()
def _head_logits(
    hidden_TD: torch.Tensor,
    head_VD: torch.Tensor,
    bias_V: torch.Tensor | None,
    rows: Rows | None,
    logits_TV: torch.Tensor,
) -> torch.Tensor:
    """`head_logits` into a tensor that is there."""
    if bias_V is None:
        torch.mm(hidden_TD, head_VD.t(), out=logits_TV)
    else:
        torch.addmm(bias_V, hidden_TD, head_VD.t(), out=logits_TV)
    if rows is not None:
        bias_N = None if bias_V is None else bias_V[rows.ids_N]
        logits_TV[:, rows.ids_N] = torch.nn.functional.linear(hidden_TD, rows.values_ND, bias_N)
    return logits_TV


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum over t of logsumexp_v(h_t . w_v + b_v) - (h_t . w_y + b_y).

    With e_tv = exp(logit_tv - max_v logit_tv), z_t their sum and r_tv = e_tv - z_t [v = y_t], its gradient in h_t is
    r_t W / z_t and that in a trained row w_n is the sum of r_tn h_t / z_t. Both are computed with the loss, chunk by
    chunk in one buffer, and only scaled in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: torch.Tensor,
        head_VD: torch.Tensor,
        targets_T: torch.Tensor,
        bias_V: torch.Tensor | None,
        chunk: int,
        ids_N: torch.Tensor | None,
        values_ND: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows = None if ids_N is None or values_ND is None else Rows(ids_N, values_ND)
        accumulator = torch.float64 if hidden_TD.dtype == torch.float64 else torch.float32
        wanted = any(ctx.needs_input_grad)
        gradient_TD = torch.empty_like(hidden_TD) if wanted else None
        gradient_ND = torch.zeros_like(rows.values_ND, dtype=accumulator) if wanted and rows else None
        total = hidden_TD.new_zeros((), dtype=accumulator)
        losses_T1 = hidden_TD.new_empty((len(targets_T), 1), dtype=accumulator)
        # A buffer of this size would be given back to the system after each chunk, and its pages fetched anew.
        buffer_CV = hidden_TD.new_empty((min(chunk, len(targets_T)), len(head_VD)))
        for start in range(0, len(targets_T), chunk):
            hidden_CD, targets_C1 = hidden_TD[start : start + chunk], targets_T[start : start + chunk, None]
            logits_CV = _head_logits(hidden_CD, head_VD, bias_V, rows, buffer_CV[: len(targets_C1)]).to(accumulator)
            target_C1 = logits_CV.gather(1, targets_C1)
            largest_C1 = logits_CV.amax(dim=1, keepdim=True)
            scaled_CV = logits_CV.sub_(largest_C1).exp_()
            sum_C1 = scaled_CV.sum(dim=1, keepdim=True)
            losses_C1 = sum_C1.log() + largest_C1 - target_C1
            losses_T1[start : start + chunk] = losses_C1
            total += losses_C1.sum()
            if gradient_TD is not None:
                residual_CV = scaled_CV.scatter_add_(1, targets_C1, -sum_C1)
                # In full precision the D columns of the product are divided instead of the V columns of its factor.
                late = head_VD.dtype == accumulator
                if not late:
                    residual_CV.div_(sum_C1)
                part_CD = gradient_TD[start : start + chunk]
                if rows is not None and gradient_ND is not None:
                    residual_CN = residual_CV[:, rows.ids_N]
                    exact_CN = residual_CN / sum_C1 if late else residual_CN
                    gradient_ND.addmm_(exact_CN.t(), hidden_CD.to(accumulator))
                    residual_CV[:, rows.ids_N] = 0
                torch.mm(residual_CV.to(head_VD.dtype), head_VD, out=part_CD)
                if rows is not None:
                    part_CD.addmm_(residual_CN.to(head_VD.dtype), rows.values_ND)
                if late:
                    part_CD.div_(sum_C1)
        if gradient_TD is not None:
            ctx.save_for_backward(gradient_TD, gradient_ND)
        losses_T = losses_T1.squeeze(1)
        ctx.mark_non_differentiable(losses_T)
        return total, losses_T

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradient_TD, gradient_ND = ctx.saved_tensors
        scaled_TD = gradient_TD * gradients[0].to(gradient_TD.dtype)
        # Autograd casts this one, kept exact, to what the rows are held in.
        scaled_ND = None if gradient_ND is None else gradient_ND * gradients[0]
        return scaled_TD, None, None, None, None, None, scaled_ND


def linear_cross_entropy(
    hidden_TD: torch.Tensor,
    head_VD: torch.Tensor,
    targets_T: torch.Tensor,
    bias_V: torch.Tensor | None = None,
    chunk: int = CHUNK,
    rows: Rows | None = None,
) -> CrossEntropy:
    """The cross-entropy of a linear head, summed over its T tokens and of each.

    The head is frozen but for `rows`. The sum is taken in fp32, or in fp64 for fp64 inputs. Only `hidden_TD` and the
    rows get a gradient.
    """
    if head_VD.requires_grad or (bias_V is not None and bias_V.requires_grad):
        raise ValueError("the output head must be frozen: its gradient is not computed here")
    ids_N, values_ND = rows or (None, None)
    found = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_TD, head_VD, targets_T, bias_V, chunk, ids_N, values_ND
    )
    return CrossEntropy(*found)
