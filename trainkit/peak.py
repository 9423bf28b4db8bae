"""The most memory that a process has held so far."""

import resource
import sys

import torch


def peak_memory(device: torch.device) -> int:
    """Bytes held at the peak: of an NVIDIA GPU its tensors', of any other device the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 2**10
