"""Which way a run computes its layers: the fused one where it fits and proves itself, else the generic one."""

from collections.abc import Callable
from typing import Any

from trainkit import fused
from trainkit.config import Train
from trainkit.fused import FusedDecoder
from trainkit.fused.pointwise import EAGER, compiled


def fused_decoder(
    model: Any, settings: Train, kernel_fault: str | None, say: Callable[[str], None]
) -> FusedDecoder | None:
    """The layers of a PEFT model computed the fused way, None for the generic way; `say` is told which and why.

    `kernel_fault` is why the attention kernel that all documents share on CUDA is not used.
    """
    if not settings.fused:
        return None
    layers = model.get_base_model().model.layers if (reason := fused.refusal(model)) is None else []
    on_cuda = any(weight.is_cuda for weight in model.parameters())
    if reason is None and on_cuda and kernel_fault is not None:
        reason = kernel_fault
    if reason is not None:
        say(f"layers are computed the generic way: {reason}")
        return None
    for pointwise in [compiled(), EAGER] if on_cuda else [EAGER]:
        fault = fused.disagreement(model, pointwise)
        if fault is None:
            say("layers are computed the fused way; nothing but norms and activations is computed twice")
            return FusedDecoder(model, [0] * len(layers), pointwise)
    say(f"layers are computed the generic way: the fused one disagrees with it on this device ({fault})")
    return None
