"""Supervised fine-tuning: the likelihood of the trained tokens."""

import torch

from trainkit.data import MicroBatch
from trainkit.loss import linear_cross_entropy
from trainkit.policy import Policy

EATS = "chat"


def prepare(policy: Policy, batch: MicroBatch) -> MicroBatch:
    """Nothing is to be done: the batch is trained on as it was built."""
    return batch


def loss(policy: Policy, batch: MicroBatch) -> tuple[torch.Tensor, int]:
    """The summed cross-entropy of the trained tokens (scalar, fp32, in nats) and their number."""
    hidden_TD = policy.hidden_states(batch)
    # A token is predicted from the one before it; batch.trained_P never holds the first token of a document.
    before_PD = hidden_TD.index_select(0, batch.trained_P - 1)
    targets_P = batch.input_ids_T.index_select(0, batch.trained_P)
    loss = linear_cross_entropy(before_PD, policy.head_VD, targets_P, policy.head_bias_V, rows=policy.head_rows)
    return loss, len(targets_P)
