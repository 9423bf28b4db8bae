"""The loss of adapters on held-out documents, by transformers and PEFT alone: one document at a time, in fp32.

    python cpu_judge.py BASE DOCUMENTS ADAPTER...

It prints one JSON object: the mean loss per trained token by adapter folder, and `base` for none.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1"}

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


@torch.no_grad()
def mean_loss(model: Any, documents: list[dict[str, list[int]]]) -> float:
    """Over all trained tokens, in nats."""
    summed, count = 0.0, 0
    for document in documents:
        labels = torch.tensor(document["labels"])[1:]
        logits = model(input_ids=torch.tensor([document["input_ids"]])).logits[0, :-1]
        summed += float(torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum"))
        count += int((labels != -100).sum())
    return summed / count


def main(base: str, documents: str, *adapters: str) -> None:
    """Judge the adapters one after another."""
    held_out = json.loads(Path(documents).read_text(encoding="utf-8"))["held_out"]
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    found = {"base": mean_loss(model.eval(), held_out)}
    for adapter in adapters:
        adapted = PeftModel.from_pretrained(model, adapter)
        found[adapter] = mean_loss(adapted.eval(), held_out)
        model = adapted.unload()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
