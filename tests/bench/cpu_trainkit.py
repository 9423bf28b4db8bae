"""One run of `trainkit.trainer.train` in a process of its own. It prints one JSON line.

    python cpu_trainkit.py ARM REQUEST

REQUEST is JSON: `base`, `build`, `out` (paths), `seed`, `steps` and `precision`.
"""

import json
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1"}

import torch
from cpu_documents import BASE, settings

from dataforge.shards import open_build
from trainkit.model import pick_device, pick_precision
from trainkit.plan import steps as planned
from trainkit.trainer import train


def main(arm: str, request: dict[str, Any]) -> None:
    """Train, and print what came of it."""
    build, out = open_build(Path(request["build"])), Path(request["out"])
    asked = settings(request["steps"], request["precision"])
    outcome = train(asked, build, request["base"], BASE, out, request["seed"])
    windows = list(build.windows("train"))
    tokens = [len(window.input_ids) for window in windows]
    trained = [int(window.assistant_masks.sum()) for window in windows]
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if "loss" in line]
    ends = [0.0, *(line["seconds"] for line in lines)]
    found = {
        "arm": arm,
        "computed_in": str(pick_precision(asked.precision, pick_device())).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "checkpointing": False,
        "steps": [
            {"tokens": step.tokens, "trained": step.trained_tokens, "seconds": after - before, "loss": line["loss"]}
            for step, line, before, after in zip(
                planned(asked, tokens, trained, request["seed"]), lines, ends, ends[1:], strict=False
            )
        ],
        "peak_mb": outcome.peak_memory_mb,
        "own_eval_loss": outcome.eval_loss,
        "versions": {name: metadata.version(name) for name in ("torch", "transformers", "peft")},
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
