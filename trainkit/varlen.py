"""Attention inside each document of a packed row in one kernel: FlashAttention-2 as torch bundles it for CUDA.

`torch.nn.attention.varlen` changes its signature from release to release, so the operators below it are called, whose
schema has stayed the same from torch 2.11 to 2.13.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch.nn.functional import scaled_dot_product_attention

from dataforge.errors import first_line

LARGEST_HEAD = 256
PROBED_LENGTHS = [5, 1, 19]
TOLERANCE = 0.02
"""Of a result in 16 bits, relative to its largest number."""


def disagreement(device: torch.device, precision: torch.dtype) -> str | None:
    """Why the kernel is not to be trusted on a device, found on a small random row; None where it is, or never used."""
    torch.manual_seed(0)
    rows = [torch.randn(sum(PROBED_LENGTHS), heads, 32, device=device).to(precision) for heads in (4, 2, 2)]
    weight_THK = torch.randn(sum(PROBED_LENGTHS), 4, 32, device=device)
    if not fits(rows[0].transpose(0, 1)[None], 0.0):
        return None
    cu_seqlens = torch.tensor([0, *PROBED_LENGTHS], device=device).cumsum(0).to(torch.int32)
    documents = Documents(cu_seqlens, max(PROBED_LENGTHS), None, None)
    try:
        found = _with_gradients(lambda q, k, v: attention(q, k, v, documents), rows, weight_THK)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        return first_line(error)
    wanted = _with_gradients(_one_by_one, [row.float() for row in rows], weight_THK)
    errors = [
        float((one.float() - other).abs().max() / other.abs().max()) for one, other in zip(found, wanted, strict=True)
    ]
    return None if max(errors) < TOLERANCE else f"its results are off by {max(errors):.1%}"


def _one_by_one(query_THK: torch.Tensor, key_TGK: torch.Tensor, value_TGK: torch.Tensor) -> torch.Tensor:
    parts = zip(
        *(torch.split(row.transpose(0, 1), PROBED_LENGTHS, 1) for row in (query_THK, key_TGK, value_TGK)), strict=True
    )
    outputs = [
        scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True, enable_gqa=True)[0] for q, k, v in parts
    ]
    return torch.cat(outputs, dim=1).transpose(0, 1)


def _with_gradients(
    attend: Callable[..., torch.Tensor], rows: list[torch.Tensor], weight_THK: torch.Tensor
) -> list[torch.Tensor]:
    leaves = [row.detach().requires_grad_() for row in rows]
    output_THK = attend(*leaves)
    return [output_THK.detach(), *torch.autograd.grad((output_THK.float() * weight_THK).sum(), leaves)]


def fits(query_BHTK: torch.Tensor, dropout: float) -> bool:
    """Whether the kernel can compute this: one row on CUDA, in 16 bits, without dropout."""
    size = query_BHTK.shape[3]
    return (
        query_BHTK.is_cuda
        and query_BHTK.dtype in (torch.float16, torch.bfloat16)
        and query_BHTK.shape[0] == 1
        and size <= LARGEST_HEAD
        and size % 8 == 0
        and dropout == 0
    )


class Kept(NamedTuple):
    """What the backward pass needs of the forward pass, beside the output."""

    lse_HT: torch.Tensor
    rng_state: torch.Tensor
    unused: torch.Tensor


class Documents(NamedTuple):
    """How the kernel is called for a row of documents."""

    cu_seqlens: torch.Tensor
    """(documents + 1,) int32, beside the queries."""
    longest: int
    scale: float | None
    window: int | None
    """A token sees itself and the `window` - 1 tokens before it; all before it where this is None."""

    @property
    def settings(self) -> dict[str, Any]:
        """The keyword arguments of both operators."""
        sides = {} if self.window is None else {"window_size_left": self.window - 1, "window_size_right": 0}
        return {"scale": self.scale, **sides}


def forward(
    query_THK: torch.Tensor, key_TGK: torch.Tensor, value_TGK: torch.Tensor, documents: Documents
) -> tuple[torch.Tensor, Kept]:
    """Causal attention (T, H, K) inside each document, without autograd."""
    ends, longest = documents.cu_seqlens, documents.longest
    output_THK, *kept, _ = torch.ops.aten._flash_attention_forward(
        query_THK, key_TGK, value_TGK, ends, ends, longest, longest, 0.0, True, False, **documents.settings
    )
    return output_THK, Kept(*kept)


def backward(
    gradient_THK: torch.Tensor,
    query_THK: torch.Tensor,
    key_TGK: torch.Tensor,
    value_TGK: torch.Tensor,
    output_THK: torch.Tensor,
    kept: Kept,
    documents: Documents,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The gradients of `forward` in queries, keys and values."""
    ends, longest = documents.cu_seqlens, documents.longest
    found = torch.ops.aten._flash_attention_backward(
        gradient_THK.contiguous(),
        query_THK,
        key_TGK,
        value_TGK,
        output_THK,
        kept.lse_HT,
        ends,
        ends,
        longest,
        longest,
        0.0,
        True,
        kept.rng_state,
        kept.unused,
        **documents.settings,
    )
    return cast(tuple[torch.Tensor, torch.Tensor, torch.Tensor], tuple(found))


class _Varlen(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query_THK: torch.Tensor, key_TGK: torch.Tensor, value_TGK: torch.Tensor, documents: Documents
    ) -> torch.Tensor:
        output_THK, kept = forward(query_THK, key_TGK, value_TGK, documents)
        ctx.save_for_backward(query_THK, key_TGK, value_TGK, output_THK, *kept)
        ctx.documents = documents
        return output_THK

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query_THK, key_TGK, value_TGK, output_THK, *kept = ctx.saved_tensors
        found = backward(gradients[0], query_THK, key_TGK, value_TGK, output_THK, Kept(*kept), ctx.documents)
        return (*found, None)


def attention(
    query_THK: torch.Tensor, key_TGK: torch.Tensor, value_TGK: torch.Tensor, documents: Documents
) -> torch.Tensor:
    """Causal attention (T, H, K) inside each document, with autograd."""
    output_THK: torch.Tensor = _Varlen.apply(  # type: ignore[no-untyped-call]
        query_THK, key_TGK, value_TGK, documents
    )
    return output_THK
