"""One process of the GPU benchmark: it loads its packages, waits for a line of requests, and writes what came of each.

    python gpu_worker.py plain|peers|liger|unsloth < REQUESTS

REQUESTS is one line of JSON, a list. It is started while the one before it still computes, so that loading takes no
time of its own; it does not touch the device before it is told to.
"""

import importlib
import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

LOADED = {
    "plain": [
        "transformers.trainer",
        "peft",
        "gpu_trainkit",
        "gpu_trainers",
        "gpu_roofline",
        "gpu_kernels",
        "gpu_parity",
    ],
    "peers": ["transformers.trainer", "peft", "datasets", "trl", "gpu_trainers"],
    "liger": ["transformers.trainer", "peft", "gpu_trainers"],
    # It changes other packages, which must be loaded after it, and looks at the device.
    "unsloth": [],
}
GIB = 2**30
SPARED = 1.0
"""GiB of a smaller card that the driver and torch's own context take of it."""


def main() -> None:
    """Load, wait, run."""
    for name in LOADED[sys.argv[1]]:
        importlib.import_module(name)
    for request in json.loads(sys.stdin.readline() or "[]"):
        begun = time.perf_counter()
        found = JOBS[request["job"]](request)
        found["process_seconds"] = time.perf_counter() - begun
        Path(request["result"]).write_text(json.dumps(found), encoding="utf-8")


def contender(request: dict[str, Any]) -> dict[str, Any]:
    """One contender's steps, and the most memory it held."""
    if request["trainer"] == "unsloth":
        importlib.import_module("unsloth")
    import torch
    from gpu_documents import work
    from gpu_shapes import SHAPES, tiny

    on_cuda = torch.cuda.is_available()
    shape = tiny(SHAPES[request["shape"]]) if request["smoke"] else SHAPES[request["shape"]]
    if request["memory_gb"]:
        request["memory_bytes"] = budget = int((request["memory_gb"] - SPARED) * GIB)
        if on_cuda:
            torch.cuda.set_per_process_memory_fraction(
                min(1.0, budget / torch.cuda.get_device_properties(0).total_memory)
            )
    documents = work(request["documents"], request["warm"] + request["timed"], small=request["smoke"])
    module, function = TRAINERS[request["trainer"]]
    found: dict[str, Any] = getattr(importlib.import_module(module), function)(request, shape, documents)
    found |= {"length": documents.length, "loss_share": documents.loss_share}
    found["flops"] = shape.flops(documents.length, documents.loss_share)
    if on_cuda:
        found |= {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}
    found["versions"] = versions()
    return found


def versions() -> dict[str, str]:
    """Of the packages that matter and are there."""
    found = {}
    for name in ("torch", "transformers", "peft", "accelerate", "trl", "liger-kernel", "unsloth", "datasets"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _job(module: str) -> Any:
    return lambda request: importlib.import_module(module).measure(request)


TRAINERS = {
    "trainkit": ("gpu_trainkit", "train"),
    "hf": ("gpu_trainers", "hf"),
    "trl": ("gpu_trainers", "trl"),
    "unsloth": ("gpu_unsloth", "train"),
}
JOBS = {
    "contender": contender,
    "roofline": _job("gpu_roofline"),
    "kernels": _job("gpu_kernels"),
    "parity": _job("gpu_parity"),
}

if __name__ == "__main__":
    main()
