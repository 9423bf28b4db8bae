"""Where one of trainkit's steps spends its time, by torch's profiler: shares of the operators' own CPU time.

    python cpu_profile.py BASE BUILD SEED

It prints one JSON object of shares by kind.
"""

import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1"}

import torch
from cpu_documents import settings
from torch.profiler import ProfilerActivity, profile

from dataforge.shards import open_build
from trainkit import adapters, objectives
from trainkit.data import Windows, micro_batch
from trainkit.model import load_base, pick_device, pick_precision
from trainkit.policy import Policy

RANK, VOCABULARY = 16, 49152
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "mkldnn")
ATTENTION = ("attention", "softmax")


def kind(name: str, shapes: list[list[int]], heads: int) -> str:
    """Which part of the step an operator belongs to."""
    sizes = {size for shape in shapes if isinstance(shape, list) for size in shape if isinstance(size, int)}
    if VOCABULARY in sizes or name == "_LinearCrossEntropy":
        return "output head and loss"
    if any(word in name for word in ATTENTION):
        return "attention"
    if any(name.startswith(word) for word in PRODUCTS):
        if any(len(shape) == 3 and shape[0] % heads == 0 for shape in shapes if isinstance(shape, list)):
            return "attention"
        return "products of LoRA" if RANK in sizes else "products of the base"
    return "all else, element by element"


def main(base: str, build: str, seed: str) -> None:
    """Profile one micro-batch after another that has warmed up."""
    asked = settings(1, "auto")
    device = pick_device()
    model, _ = load_base(base, pick_precision(asked.precision, device), device, packed=True)
    torch.manual_seed(int(seed))
    policy = Policy(adapters.attach(model, asked.adapter))
    policy.model.train()
    windows, objective = Windows(open_build(Path(build)), "train"), objectives.load(asked.objective)

    def step(index: int) -> None:
        loss = objective.loss(policy, micro_batch([windows[index]], device)).summed
        loss.backward()  # type: ignore[no-untyped-call]

    step(0)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
        step(1)
    shares: dict[str, float] = defaultdict(float)
    heads = model.config.num_attention_heads
    for event in profiled.key_averages(group_by_input_shape=True):
        shares[kind(event.key, event.input_shapes, heads)] += event.self_cpu_time_total
    total = sum(shares.values())
    found: dict[str, Any] = {name: share / total for name, share in sorted(shares.items(), key=lambda item: -item[1])}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
