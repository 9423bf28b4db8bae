"""Unsloth as a contender, as its own notebooks use it.

    python gpu_unsloth.py SHAPE FOLDER

writes a base model with random weights, which Unsloth reads from a folder like any other. It changes other packages as
it is loaded, so the folder is written by a process that does not load it.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gpu_documents import Work
from gpu_shapes import ALPHA, RANK, SHAPES, TARGETS, Shape

IN_MEMORY = Path("/dev/shm")


def train(request: dict[str, Any], shape: Shape, work: Work) -> dict[str, Any]:
    """Train the steps that are asked for; Unsloth is loaded already, before anything that it changes."""
    import torch
    from gpu_model import randomize
    from gpu_trainers import sft
    from unsloth import FastLanguageModel

    folder = Path(tempfile.mkdtemp(dir=_roomy(4 * shape.weights)))
    try:
        subprocess.run([sys.executable, str(Path(__file__)), request["shape"], str(folder)], check=True)
        model, processing = FastLanguageModel.from_pretrained(
            str(folder), max_seq_length=request["together"] * work.window, dtype=torch.bfloat16, load_in_4bit=False
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    model = FastLanguageModel.get_peft_model(
        model,
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0,
        target_modules=TARGETS,
        bias="none",
        use_gradient_checkpointing="unsloth",
    )
    randomize(model)
    return sft(request, shape, work, model, processing)


def _roomy(needed: int) -> Path:
    """A folder in memory where there is room for two such files, else the usual one."""
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > needed:
        return IN_MEMORY
    return Path(tempfile.gettempdir())


def main(name: str, folder: str) -> None:
    """Write the base model and a tokenizer."""
    from gpu_model import base
    from gpu_trainers import tokenizer

    base(SHAPES[name], "sdpa").save_pretrained(folder)
    tokenizer(Path(folder))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
