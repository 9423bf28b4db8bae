"""What the model is given at one time: one row of packed documents."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Whole windows in one row of T tokens."""

    input_ids_T: torch.Tensor
    position_ids_T: torch.Tensor
    """Positions, starting at 0 in each document."""
    cu_seqlens: torch.Tensor
    """(documents + 1,) where documents begin, then T; on the host."""
    cu_seqlens_on_device: torch.Tensor
    """The same, for kernels."""
    trained_P: torch.Tensor
    """Places in the row of the tokens whose prediction is trained; each has a token before it in its document."""
    record_ids: tuple[str, ...]
    """One for each document."""
