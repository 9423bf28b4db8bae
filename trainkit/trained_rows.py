"""Where PEFT keeps the trained rows of an embedding or an output head."""

from typing import Any

import torch

from trainkit.loss import Rows

ADAPTER = "default"
"""PEFT's name for the one adapter of a model."""


def trained_rows(layer: Any) -> tuple[Any, Rows | None]:
    """The base model's own layer below what PEFT put around it, and the rows that are trained in its place."""
    adapter = getattr(layer, "token_adapter", None)
    if adapter is None:
        return layer, None
    values_ND = adapter.trainable_tokens_delta[ADAPTER]
    return adapter.base_layer, Rows(torch.tensor(adapter.token_indices[ADAPTER], device=values_ND.device), values_ND)
