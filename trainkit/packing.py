"""Whether a base model computes the documents of a packed row as it computes them alone."""

from typing import Any

import torch

from dataforge.errors import BaseModelError
from trainkit import attention

LENGTHS = [9, 7]
"""Tokens of the documents that are tried."""
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.2}
"""How far hidden states may be apart, as a share of their norm: what rounding does, in experts' routing too.

A layer that carries something from one document to the next is found by not calling the attention function, whatever
it changes.
"""
FAULTS = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


@torch.no_grad()
def check(model: Any, longest_row: int) -> None:
    """Try a base model, loaded for packed rows, on two short documents.

    Raises `BaseModelError` where a layer does not keep documents apart, where their hidden states are not those of
    each document alone through the model's own attention, or where rows of `longest_row` tokens would be.
    """
    config = model.config.get_text_config()
    _check_lengths(config, longest_row)
    # Far apart, so that the documents have little in common.
    ids_T = (torch.arange(sum(LENGTHS), device=model.device) * 7919 + 1) % config.vocab_size
    documents = torch.split(ids_T, LENGTHS)
    model.eval()
    try:
        with attention.counted() as calls:
            packed_TD = _hidden(
                model,
                ids_T,
                position_ids=torch.cat([torch.arange(len(ids), device=model.device) for ids in documents])[None],
                cu_seqlens=torch.tensor([0, LENGTHS[0], sum(LENGTHS)], dtype=torch.int32),
            )
        model.set_attn_implementation("eager")
        alone_TD = torch.cat([_hidden(model, ids) for ids in documents])
    except torch.OutOfMemoryError:
        raise
    except FAULTS as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise BaseModelError(
            f"base models of type {config.model_type} cannot be run on packed windows "
            f"({type(error).__name__}: {reason}); take another base model"
        ) from error
    finally:
        model.set_attn_implementation(attention.NAME)
    _compare(config, len(calls), packed_TD, alone_TD)


def _compare(config: Any, calls: int, packed_TD: torch.Tensor, alone_TD: torch.Tensor) -> None:
    if calls < config.num_hidden_layers:
        raise BaseModelError(
            f"base models of type {config.model_type} have layers that would mix the documents of a packed window: "
            f"{calls} of {config.num_hidden_layers} go through attention that can be told where one ends; take another "
            "base model"
        )
    apart = float((packed_TD.float() - alone_TD.float()).norm() / alone_TD.float().norm())
    if not apart <= TOLERANCE[alone_TD.dtype]:
        raise BaseModelError(
            f"base models of type {config.model_type} compute a document in a packed window otherwise than alone "
            f"(hidden states {apart:.1%} apart), so they cannot be trained here; take another base model"
        )


def _check_lengths(config: Any, longest_row: int) -> None:
    """Two things change with length alone, and no short document shows them."""
    limits = [("attention in chunks", getattr(config, "attention_chunk_size", None))]
    rope = getattr(config, "rope_parameters", None) or {}
    for part in (rope, *(part for part in rope.values() if isinstance(part, dict))):
        # transformers picks one set of frequencies for a whole row, by the longest of its documents.
        if part.get("rope_type") in ("dynamic", "longrope"):
            limit = part.get("original_max_position_embeddings") or config.max_position_embeddings
            limits.append((f"{part['rope_type']} positions", limit))
    for what, limit in limits:
        if limit is not None and longest_row > limit:
            raise BaseModelError(
                f"base models of type {config.model_type} have {what}, which are right here up to {limit} tokens, but "
                f"the build has a row of {longest_row}; build again with `max_tokens: {limit}` or less"
            )


def _hidden(model: Any, ids_T: torch.Tensor, **arguments: Any) -> torch.Tensor:
    hidden_TD: torch.Tensor = model.base_model(input_ids=ids_T[None], use_cache=False, **arguments).last_hidden_state[0]
    return hidden_TD
