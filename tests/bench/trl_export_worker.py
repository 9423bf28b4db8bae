"""TRL's trainers on what a build left behind, in an environment of its own. It prints one JSON line.

    python trl_export_worker.py REQUEST

REQUEST is JSON: `base` (a folder), `template` (a file), `way` (`export`, `records`, `shards` or `pairs`), `files`,
`steps`, `rate`, `scratch`. The reply is `losses`, one a step, `rows` of the data set, and `tokens` and `trained` tokens
of it where TRL keeps them.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset, concatenate_datasets, load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

_COLUMNS = {"records": ["messages"], "pairs": ["prompt", "chosen", "rejected"]}
"""Of `records/*.parquet`. TRL unpacks `chat_template_kwargs`, which is null or JSON there, so it has to be left out."""


def data(way: str, files: list[str]) -> Dataset:
    """A build's data as the `datasets` library reads it."""
    if way == "export":
        return load_dataset("json", data_files=files, split="train")
    if way == "shards":
        return concatenate_datasets([_shard(file) for file in files])
    return load_dataset("parquet", data_files=files, split="train").select_columns(_COLUMNS[way])


def _shard(file: str) -> Dataset:
    found = Dataset.from_file(file)
    return found.select_columns(["input_ids", "assistant_masks", "seq_lengths"])


def trainer(request: dict[str, Any], found: Dataset, tokenizer: PreTrainedTokenizerBase) -> Any:
    """TRL's trainer, all rows of the data in each step, in fp32 on the CPU."""
    transformers.set_seed(7)
    model = AutoModelForCausalLM.from_pretrained(request["base"], dtype=torch.float32)
    plain: dict[str, Any] = {
        "output_dir": request["scratch"],
        "max_steps": request["steps"],
        "learning_rate": request["rate"],
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": len(found),
        "max_length": None,
        "seed": 7,
    }
    adapter = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    if request["way"] == "pairs":
        settings = DPOConfig(**{**plain, "per_device_train_batch_size": 1, "gradient_accumulation_steps": len(found)})
        made = DPOTrainer
    elif request["way"] == "shards":
        settings, made = SFTConfig(**plain, padding_free=True, packing=False), SFTTrainer
    else:
        settings, made = SFTConfig(**plain, packing=False, assistant_only_loss=True), SFTTrainer
    return made(model=model, args=settings, train_dataset=found, processing_class=tokenizer, peft_config=adapter)


def main() -> None:
    """Train, and print what came of it."""
    request = json.loads(sys.argv[1])
    tokenizer = AutoTokenizer.from_pretrained(request["base"])
    tokenizer.chat_template = Path(request["template"]).read_text(encoding="utf-8")
    found = data(request["way"], request["files"])
    trained = trainer(request, found, tokenizer)
    trained.train()
    reply = {"rows": len(found), "losses": [line["loss"] for line in trained.state.log_history if "loss" in line]}
    kept = trained.train_dataset
    if "labels" in kept.column_names:
        reply["tokens"] = sum(len(ids) for ids in kept["input_ids"])
        reply["trained"] = sum(sum(label != -100 for label in labels) for labels in kept["labels"])
    print(json.dumps(reply))


if __name__ == "__main__":
    main()
