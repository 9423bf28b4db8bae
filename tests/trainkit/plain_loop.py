"""What trainkit is held against: transformers, peft and torch alone, one unpacked document at a time, in fp32."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from transformers import AutoModelForCausalLM

from dataforge.shards import Window


def documents(windows: Sequence[Window]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and labels of each document alone; -100 where nothing is trained."""
    found = []
    for window in windows:
        start = 0
        for length in window.seq_lengths.tolist():
            ids = torch.tensor(window.input_ids[start : start + length], dtype=torch.long)
            trained = torch.tensor(window.assistant_masks[start : start + length], dtype=torch.bool)
            found.append((ids, torch.where(trained, ids, -100)))
            start += length
    return found


def mean_loss(model: Any, windows: Sequence[Window], *, backward: bool) -> float:
    """The mean over all trained tokens; adds its gradient where `backward`."""
    found = documents(windows)
    count = sum(int((labels[1:] != -100).sum()) for _, labels in found)
    total = 0.0
    for ids, labels in found:
        logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, labels[1:], ignore_index=-100, reduction="sum") / count
        if backward:
            loss.backward()
        total += loss.item()
    return total


@dataclass(frozen=True)
class Plain:
    """A finished plain loop."""

    model: Any
    losses: list[float]

    @torch.no_grad()
    def loss(self, windows: Sequence[Window]) -> float:
        """The loss of the trained model."""
        return mean_loss(self.model, windows, backward=False)


def plain_loop(
    base: Path,
    config: LoraConfig,
    adapter_seed: int,
    rates: Sequence[float],
    windows: Sequence[Window],
    *,
    weight_decay: float = 0.0,
    clip: float = 1.0,
    b_ratio: float = 1.0,
) -> Plain:
    """One step on all windows for each of the learning rates; B matrices learn at `b_ratio` times that."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(adapter_seed)
    model = get_peft_model(model, config)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if b_ratio == 1:
        adam: Any = torch.optim.AdamW(weights, lr=1.0, weight_decay=weight_decay)
    else:
        adam = create_loraplus_optimizer(
            model, torch.optim.AdamW, lr=1.0, loraplus_lr_ratio=b_ratio, loraplus_weight_decay=weight_decay
        )
    ratios = [group["lr"] for group in adam.param_groups]
    losses = []
    for rate in rates:
        for group, ratio in zip(adam.param_groups, ratios, strict=True):
            group["lr"] = rate * ratio
        losses.append(mean_loss(model, windows, backward=True))
        torch.nn.utils.clip_grad_norm_(weights, clip)
        adam.step()
        adam.zero_grad()
    return Plain(model, losses)
