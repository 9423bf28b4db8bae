"""Causal attention inside each document of a packed row, forward and backward as two calls without autograd."""

from dataclasses import dataclass

import torch

from trainkit import attention, varlen

Tensor = torch.Tensor


@dataclass(frozen=True)
class Packed:
    """One row of documents, as every layer sees it."""

    cos_TJ: Tensor
    sin_TJ: Tensor
    lengths: list[int]
    """Of the documents, in tokens."""
    cu_seqlens_on_device: Tensor


@dataclass(frozen=True)
class Reach:
    """What a token of a layer sees."""

    scale: float
    window: int | None
    """Itself and the `window` - 1 tokens before it; all before it where this is None."""


def forward(
    query_THK: Tensor, key_TGK: Tensor, value_TGK: Tensor, packed: Packed, reach: Reach
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The output (T, H, K), and what `backward` needs beside it."""
    if query_THK.is_cuda:
        return varlen.forward(query_THK, key_TGK, value_TGK, _kernel_documents(packed, reach))
    output_THK = torch.empty_like(query_THK, memory_format=torch.contiguous_format)
    statistics: list[Tensor] = []
    for query, key, value, output in _documents(packed, query_THK, key_TGK, value_TGK, output_THK):
        band, causal = _band(query, reach)
        found, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, attn_mask=band, scale=reach.scale
        )
        output.copy_(found)
        statistics.append(lse)
    return output_THK, tuple(statistics)


def backward(
    gradient_THK: Tensor,
    query_THK: Tensor,
    key_TGK: Tensor,
    value_TGK: Tensor,
    output_THK: Tensor,
    statistics: tuple[Tensor, ...],
    packed: Packed,
    reach: Reach,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `forward` in queries, keys and values."""
    if query_THK.is_cuda:
        kept = varlen.Kept(*statistics)
        return varlen.backward(
            gradient_THK, query_THK, key_TGK, value_TGK, output_THK, kept, _kernel_documents(packed, reach)
        )
    rows = (gradient_THK, query_THK, key_TGK, value_TGK, output_THK)
    gradients = [torch.empty(row.shape, dtype=row.dtype) for row in (query_THK, key_TGK, value_TGK)]
    parts = _documents(packed, *rows, *gradients)
    for (gradient, query, key, value, output, *into), lse in zip(parts, statistics, strict=True):
        band, causal = _band(query, reach)
        found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            gradient, query, key, value, output, lse, 0.0, causal, attn_mask=band, scale=reach.scale
        )
        for place, part in zip(into, found, strict=True):
            place.copy_(part)
    return gradients[0], gradients[1], gradients[2]


def _documents(packed: Packed, *rows: Tensor) -> "zip[tuple[Tensor, ...]]":
    """Each document's part of the rows, as (1, heads, tokens, size)."""
    return zip(*(torch.split(row.transpose(0, 1)[None], packed.lengths, 2) for row in rows), strict=True)


def _band(query_BHSK: Tensor, reach: Reach) -> tuple[Tensor | None, bool]:
    """The mask that is added where a document is longer than the window, and whether the kernel masks by itself."""
    length = query_BHSK.shape[2]
    seen = attention.band(length, reach.window, query_BHSK.device)
    if seen is None:
        return None, True
    return torch.zeros((1, 1, length, length), dtype=query_BHSK.dtype).masked_fill_(~seen, -torch.inf), False


def _kernel_documents(packed: Packed, reach: Reach) -> varlen.Documents:
    return varlen.Documents(packed.cu_seqlens_on_device, max(packed.lengths), reach.scale, reach.window)
