"""The model that is trained, as objectives see it: hidden states and an output head."""

from typing import Any

import torch

from dataforge.errors import BaseModelError
from trainkit.fused import FusedDecoder
from trainkit.loss import head_logits
from trainkit.micro_batch import MicroBatch
from trainkit.trained_rows import trained_rows

PROBED_TOKENS = 16


class Policy:
    """A base model with an adapter in it."""

    def __init__(self, model: Any, *, one_kernel: bool = False, fused: FusedDecoder | None = None) -> None:
        """`model` is a PEFT model whose base was loaded for packed rows.

        With `one_kernel` all documents of a row go through one attention kernel, where there is one that fits. With
        `fused` its layers are computed so.
        """
        self.model = model
        self.fused = fused
        self._one_kernel = one_kernel
        self._causal = model.get_base_model()
        self._decoder = self._causal.base_model
        head, self.head_rows = trained_rows(self._causal.get_output_embeddings())
        self.head_VD: torch.Tensor = head.weight
        """Frozen; `head_rows` are the trained rows of new tokens, where there are any."""
        self._logit_factor = _logit_factor(self._causal.config)
        bias_V = getattr(head, "bias", None)
        self.head_bias_V: torch.Tensor | None = None if bias_V is None else bias_V * self._logit_factor

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """What is trained, by name."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

    def hidden_states(self, batch: MicroBatch) -> torch.Tensor:
        """The last layer's normalised output (T, D) for a packed row.

        Where the model multiplies its logits by a number, the output is multiplied instead.
        """
        hidden_TD = self._unfused(batch) if self.fused is None else self.fused.hidden_states(batch)
        return hidden_TD if self._logit_factor == 1 else hidden_TD * self._logit_factor

    def _unfused(self, batch: MicroBatch) -> torch.Tensor:
        hidden_TD: torch.Tensor = self._decoder(**self._arguments(batch)).last_hidden_state[0]
        return hidden_TD

    def _arguments(self, batch: MicroBatch) -> dict[str, Any]:
        return {
            "input_ids": batch.input_ids_T[None],
            "position_ids": batch.position_ids_T[None],
            "cu_seqlens": batch.cu_seqlens,
            "cu_seqlens_on_device": batch.cu_seqlens_on_device if self._one_kernel else None,
            "use_cache": False,
        }

    @torch.no_grad()
    def check_head(self, batch: MicroBatch) -> None:
        """Raise `BaseModelError` where logits are not simply the head's product with the hidden states.

        Some models cap their logits; a loss computed from the head alone would be wrong for them.
        """
        batch = _beginning(batch)
        # Dropout in an adapter to go on from would tell two runs of the same tokens apart.
        self.model.eval()
        logits_TV = self._causal(**self._arguments(batch)).logits[0].float()
        # Not by fused layers, which round otherwise: in bf16 logits part by some percent of the highest.
        hidden_TD = self._unfused(batch) * self._logit_factor
        product_TV = head_logits(hidden_TD, self.head_VD, self.head_bias_V, self.head_rows).float()
        if (logits_TV - product_TV).abs().max() > 0.02 * logits_TV.abs().max():
            kind = self._causal.config.model_type
            raise BaseModelError(
                f"base models of type {kind} change their logits after the output head (a soft cap), which "
                "cannot be trained here; take another base model"
            )


def _logit_factor(config: Any) -> float:
    """What Cohere and Granite multiply their logits by; `check_head` sees whether it is all that they do."""
    return float(getattr(config, "logit_scale", None) or 1) / float(getattr(config, "logits_scaling", None) or 1)


def _beginning(batch: MicroBatch) -> MicroBatch:
    """A few tokens, whose logits are small enough to be held."""
    ids_T = batch.input_ids_T[:PROBED_TOKENS]
    count = len(ids_T)
    cu_seqlens = torch.tensor([0, count], dtype=torch.int32)
    return MicroBatch(
        input_ids_T=ids_T,
        position_ids_T=torch.arange(count, device=ids_T.device),
        cu_seqlens=cu_seqlens,
        cu_seqlens_on_device=cu_seqlens.to(ids_T.device),
        trained_P=batch.trained_P[:0],
        record_ids=(),
    )
