"""Supervised fine-tuning: the likelihood of the trained tokens."""

import torch

from trainkit.loss import Loss, linear_cross_entropy
from trainkit.micro_batch import MicroBatch
from trainkit.policy import Policy

EATS = "chat"


def prepare(policy: Policy, batch: MicroBatch) -> MicroBatch:
    """Nothing is to be done: the batch is trained on as it was built."""
    return batch


def loss(policy: Policy, batch: MicroBatch) -> Loss:
    """The cross-entropy of the trained tokens, in nats."""
    hidden_TD = policy.hidden_states(batch)
    # A token is predicted from the one before it; batch.trained_P never holds the first token of a document.
    before_PD = hidden_TD.index_select(0, batch.trained_P - 1)
    targets_P = batch.input_ids_T.index_select(0, batch.trained_P)
    found = linear_cross_entropy(before_PD, policy.head_VD, targets_P, policy.head_bias_V, rows=policy.head_rows)
    # Not blocking: a copy to the device that waits would hold up the forward pass.
    ends_S = batch.cu_seqlens[1:].to(targets_P.device, non_blocking=True)
    document_P = torch.bucketize(batch.trained_P, ends_S, right=True)
    documents_S = found.tokens_T.new_zeros(len(ends_S)).index_add_(0, document_P, found.tokens_T)
    trained_S = torch.zeros_like(ends_S).index_add_(0, document_P, torch.ones_like(document_P, dtype=ends_S.dtype))
    return Loss(found.summed, len(targets_P), documents_S, trained_S)
