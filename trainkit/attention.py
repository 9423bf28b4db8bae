"""Causal attention inside each document of a packed row.

transformers calls the function registered here in place of its own; no mask is made, since none is registered under
its name. Where documents begin and end comes with the call, through the model's keyword arguments.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from dataforge.errors import BaseModelError
from trainkit import varlen

NAME = "documents"


def document_attention(
    module: torch.nn.Module,
    query_BHTK: torch.Tensor,
    key_BGTK: torch.Tensor,
    value_BGTK: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seqlens: torch.Tensor | None = None,
    cu_seqlens_on_device: torch.Tensor | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """One product per document, or one kernel for all of them where there is one; the result is (B, T, H, K).

    `cu_seqlens` (documents + 1,) holds where documents begin in each row, then T, and lies on the host;
    `cu_seqlens_on_device` is the same beside the queries. H heads of queries share G heads of keys and values. Raises
    `BaseModelError` for a model whose attention needs more.
    """
    unknown = [name for name in ("softcap", "s_aux", "position_bias") if others.get(name) is not None]
    if unknown:
        raise BaseModelError(
            f"this base model's attention uses {unknown[0]}, which cannot be trained here; take another"
        )
    if cu_seqlens is None:
        raise BaseModelError(
            f"{type(module).__name__} does not pass document boundaries to its attention, so documents of a packed "
            "window would see each other; take another base model"
        )
    if cu_seqlens_on_device is not None and varlen.fits(query_BHTK, dropout):
        query_THK, key_TGK, value_TGK = (row[0].transpose(0, 1) for row in (query_BHTK, key_BGTK, value_BGTK))
        longest = int(cu_seqlens.diff().max())
        documents = varlen.Documents(cu_seqlens_on_device, longest, scaling, sliding_window)
        output_THK = varlen.attention(query_THK, key_TGK, value_TGK, documents)
        return output_THK[None], None
    lengths = cu_seqlens.diff().tolist()
    parts = zip(*(torch.split(row, lengths, dim=2) for row in (query_BHTK, key_BGTK, value_BGTK)), strict=True)
    outputs = [
        scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=(mask := band(query.shape[2], sliding_window, query.device)),
            dropout_p=dropout,
            is_causal=mask is None,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for query, key, value in parts
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def band(length: int, sliding_window: int | None, device: torch.device) -> torch.Tensor | None:
    """Which tokens (length, length) see which where a document is longer than the model's window, else None."""
    if sliding_window is None or length <= sliding_window:
        return None
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    return (distance >= 0) & (distance < sliding_window)


@contextmanager
def counted() -> Iterator[list[torch.nn.Module]]:
    """The modules that called `document_attention`, once for each call, while this lasts."""
    calls: list[torch.nn.Module] = []

    def counting(module: torch.nn.Module, *tensors: Any, **others: Any) -> tuple[torch.Tensor, None]:
        calls.append(module)
        return document_attention(module, *tensors, **others)

    AttentionInterface.register(NAME, counting)
    try:
        yield calls
    finally:
        register()


def register() -> str:
    """Make the function known to transformers; returns the name to load a model with."""
    AttentionInterface.register(NAME, document_attention)
    return NAME
