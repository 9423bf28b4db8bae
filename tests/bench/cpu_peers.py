"""One run of a peer in its own environment: HF Trainer with PEFT, or TRL. It prints one JSON line.

    python cpu_peers.py ARM REQUEST

REQUEST is JSON: `base`, `documents`, `out` (paths), `seed`, `learning_rate`, `trainer` (`hf` or `trl`), `rows`
(`documents` or `windows`: what one row of the data set is) and `settings`: arguments of the trainer, and of the
model where they begin with `model.`.
"""

import json
import os
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

import datasets
import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

Row = dict[str, list[int]]


class Clock(TrainerCallback):
    """When each optimizer step ended, and its loss."""

    def __init__(self) -> None:
        self.marks: list[float] = []
        self.losses: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Before the first batch is made."""
        self.marks.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """After the optimizer's step."""
        self.marks.append(time.perf_counter())

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        """One line a step."""
        if "loss" in logs:
            self.losses.append(float(logs["loss"]))


class Counted:
    """A collator that remembers what it was given."""

    def __init__(self, collate: Any) -> None:
        self.collate = collate
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, rows: list[Row]) -> dict[str, torch.Tensor]:
        """Tokens and trained tokens are those of the documents, whatever padding is added."""
        trained = sum(label != -100 for row in rows for label in row["labels"])
        self.sizes.append((sum(len(row["input_ids"]) for row in rows), trained))
        made: dict[str, torch.Tensor] = self.collate(rows)
        return made


def padded(rows: list[Row]) -> dict[str, torch.Tensor]:
    """A row a document, padded to the longest on the right."""
    width = max(len(row["input_ids"]) for row in rows)

    def filled(key: str, value: int) -> torch.Tensor:
        return torch.tensor([row[key] + [value] * (width - len(row[key])) for row in rows])

    return {
        "input_ids": filled("input_ids", 0),
        "labels": filled("labels", -100),
        "attention_mask": torch.tensor(
            [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows]
        ),
    }


def flattened(rows: list[Row]) -> dict[str, torch.Tensor]:
    """All documents in one row, told apart by their positions, as transformers' DataCollatorWithFlattening does it."""
    lengths = [length for row in rows for length in row["seq_lengths"]]
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row["input_ids"]]]),
        "labels": torch.tensor([[label for row in rows for label in row["labels"]]]),
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
    }


def joined(window: list[Row]) -> Row:
    """The documents of one window in one row."""
    return {
        "input_ids": [token for document in window for token in document["input_ids"]],
        "labels": [label for document in window for label in document["labels"]],
        "seq_lengths": [len(document["input_ids"]) for document in window],
    }


def hf(request: dict[str, Any], rows: list[Row], collator: Counted, clock: Clock) -> Trainer:
    """HF's Trainer on a PEFT model."""
    own, of_model = _settings(request)
    torch.manual_seed(request["seed"])
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(request["base"], **of_model), _lora())
    arguments = TrainingArguments(**{**_common(request), "remove_unused_columns": False, **own})
    return Trainer(model, arguments, data_collator=collator, train_dataset=rows, callbacks=[clock])


def trl(request: dict[str, Any], rows: list[Row], clock: Clock) -> tuple[Trainer, Counted]:
    """TRL's SFTTrainer on ids and labels."""
    from trl import SFTConfig, SFTTrainer

    own, of_model = _settings(request)
    trainer = SFTTrainer(
        request["base"],
        args=SFTConfig(**{**_common(request), **({"model_init_kwargs": of_model} if of_model else {}), **own}),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(request["base"]),
        peft_config=_lora(),
        callbacks=[clock],
    )
    trainer.data_collator = collator = Counted(trainer.data_collator)
    return trainer, collator


def _settings(request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    own = {key: value for key, value in request["settings"].items() if not key.startswith("model.")}
    of_model = {key[6:]: value for key, value in request["settings"].items() if key.startswith("model.")}
    return own, of_model


def _lora() -> LoraConfig:
    return LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def _common(request: dict[str, Any]) -> dict[str, Any]:
    """What all contenders share: one pass over the documents in their order, at a constant learning rate."""
    return {
        "output_dir": request["out"],
        "num_train_epochs": 1,
        "learning_rate": request["learning_rate"],
        "lr_scheduler_type": "constant",
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": request["seed"],
    }


def peak_mb() -> int:
    """The most memory this process has held."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) // 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20


def main(arm: str, request: dict[str, Any]) -> None:
    """Train, and print what came of it."""
    transformers.logging.set_verbosity_error()
    # A peer that takes more memory than there is must not take another process with it.
    first_to_be_killed = Path("/proc/self/oom_score_adj")
    if first_to_be_killed.exists():
        first_to_be_killed.write_text("1000", encoding="ascii")
    steps = json.loads(Path(request["documents"]).read_text(encoding="utf-8"))["steps"]
    windows = [window for step in steps for window in step]
    documents = [document for window in windows for document in window][: request.get("documents_at_most")]
    rows = [joined(window) for window in windows] if request["rows"] == "windows" else documents
    clock = Clock()
    if request["trainer"] == "trl":
        trainer, collator = trl(request, rows, clock)
    else:
        collator = Counted(flattened if request["rows"] == "windows" else padded)
        trainer = hf(request, rows, collator, clock)
    trainer.train()
    peak = peak_mb()
    trainer.model.save_pretrained(request["out"])
    accumulated = trainer.args.gradient_accumulation_steps
    sizes = [collator.sizes[start : start + accumulated] for start in range(0, len(collator.sizes), accumulated)]
    weight = next(weight for name, weight in trainer.model.named_parameters() if "lora" not in name)
    computed = str(weight.dtype).removeprefix("torch.") + (", autocast to bfloat16" if trainer.args.bf16 else "")
    found = {
        "arm": arm,
        "computed_in": computed,
        "threads": torch.get_num_threads(),
        "checkpointing": bool(trainer.args.gradient_checkpointing),
        "steps": [
            {"tokens": sum(t for t, _ in size), "trained": sum(t for _, t in size), "seconds": seconds, "loss": loss}
            for size, seconds, loss in zip(
                sizes,
                [after - before for before, after in zip(clock.marks, clock.marks[1:], strict=False)],
                clock.losses,
                strict=True,
            )
        ],
        "peak_mb": peak,
        "versions": {name: metadata.version(name) for name in ("torch", "transformers", "peft", "trl")},
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
