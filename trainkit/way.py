"""How a run computes: the fused way where it fits and proves itself, else the generic one, and how much at one time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from trainkit import fused, heap, memory, varlen
from trainkit.config import Train
from trainkit.fused import FusedDecoder
from trainkit.fused.pointwise import EAGER, Pointwise, compiled
from trainkit.memory import MemoryPlan
from trainkit.micro_batches import Size, size
from trainkit.policy import Policy
from trainkit.processes import Processes

Say = Callable[[str], None]


@dataclass(frozen=True)
class Way:
    """A model that is ready to be trained."""

    policy: Policy
    size: Size
    """Of a micro-batch."""
    plan: MemoryPlan | None
    """None on the generic way, whose memory nobody can tell without trying."""


def choose(
    model: Any,
    settings: Train,
    longest: int,
    window: int,
    device: torch.device,
    processes: Processes,
    *,
    sharded: bool,
    say: Say,
) -> Way:
    """The way for a PEFT model and documents of at most `longest` tokens in windows of at most `window`.

    `say` is told what was chosen and why.
    """
    kernel_fault = varlen.disagreement(device, model.dtype)
    if kernel_fault is not None:
        say(f"attention goes document by document: the kernel for all at once is not used ({kernel_fault})")
    one_kernel = kernel_fault is None
    wanted = size(settings, device)
    if wanted.together is None:
        wanted = wanted.at_most(window)
    reason = _refusal(model, settings, kernel_fault, sharded=sharded)
    pointwise, fault = (None, None) if reason is not None else _proven(model, device)
    if pointwise is None:
        reason = reason or f"the fused one does not compute the same on this device ({fault})"
        say(f"layers are computed the generic way: {reason}")
        if settings.memory != "auto":
            say("train.memory is not heeded: the generic way has no plan of its memory")
        return Way(Policy(model, one_kernel=one_kernel), wanted, None)
    plan = _plan(model, settings, longest, wanted, device, processes)
    say(f"layers are computed the fused way: {plan}, {plan.total / memory.GB:.1f} GB planned")
    if not plan.fits:
        say(
            f"about {plan.total / memory.GB:.1f} GB are needed, more than there is: lower train.tokens_per_micro_batch "
            "or build with a smaller max_tokens if memory runs out"
        )
    decoder = FusedDecoder(model, plan.levels, pointwise)
    if device.type == "cpu":
        # The weights were laid together, and where they were before is free.
        heap.tidy()
    return Way(Policy(model, one_kernel=one_kernel, fused=decoder), wanted.at_most(plan.tokens), plan)


def _refusal(model: Any, settings: Train, kernel_fault: str | None, *, sharded: bool) -> str | None:
    if not settings.fused:
        return "train.fused is false"
    if sharded:
        return "the base is spread over several processes"
    return fused.refusal(model) or kernel_fault


def _proven(model: Any, device: torch.device) -> tuple[Pointwise | None, str | None]:
    """The element-wise functions with which the fused way computes what the generic one does, or why it does not."""
    fault: str | None = None
    for pointwise in [compiled(), EAGER] if device.type == "cuda" else [EAGER]:
        fault = fused.disagreement(model, pointwise)
        if fault is None:
            return pointwise, None
    return None, fault


def _plan(
    model: Any, settings: Train, longest: int, wanted: Size, device: torch.device, processes: Processes
) -> MemoryPlan:
    on_cpu = device.type == "cpu"
    # Weights on a CPU are part of the process.
    weights = sum(weight.nbytes for weight in [*model.parameters(), *model.buffers()])
    process = max(0, psutil.Process().memory_info().rss - weights) if on_cpu else 0
    if settings.memory != "auto":
        available = settings.memory * memory.GB
    elif on_cpu:
        available = (psutil.virtual_memory().available + weights + process) / processes.count
    else:
        free, _ = torch.cuda.mem_get_info(device)
        available = free + torch.cuda.memory_reserved(device)
    sizes = [wanted.limit] if on_cpu or settings.tokens_per_micro_batch != "auto" else memory.sizes(wanted.limit)
    fixed = memory.fixed_bytes(model, process)
    return memory.planned(memory.shape_of(model), fixed, int(available), longest, sizes)
