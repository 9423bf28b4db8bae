"""LLaMA-Factory's preparation of a data set, in an environment of its own. Its last line is JSON.

    python prepare_llamafactory.py REQUEST

REQUEST is JSON: `base` (a folder), `conversations` (JSONL), `scratch` (a new folder), `hashes` (a file to write),
`window`, and `workers`: `preprocessing_num_workers`.
"""

import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer
from prepare_packed import NOT_TRAINED, Packed, flat, report

_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
"""As SmolLM2's own chat template has it; LLaMA-Factory's ends it with a full stop."""
# Its shape `openai` puts another system message, "detailed thinking off", before conversations that have none.
_ENTRY = {
    "formatting": "sharegpt",
    "columns": {"messages": "messages"},
    "tags": {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
    },
}


def main(request: dict[str, Any]) -> None:
    """Prepare, and print what it took."""
    conversations = Path(request["conversations"])
    folder = Path(request["scratch"])
    entry = {"conversations": {"file_name": str(conversations), **_ENTRY}}
    (folder / "dataset_info.json").write_text(json.dumps(entry), encoding="utf-8")
    arguments = {
        "model_name_or_path": request["base"],
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "dataset": "conversations",
        "dataset_dir": str(folder),
        "template": "smollm2",
        "default_system": _SYSTEM,
        "cutoff_len": request["window"],
        "neat_packing": True,
        "preprocessing_num_workers": request["workers"],
        "overwrite_cache": True,
        "output_dir": str(folder / "out"),
        "use_cpu": True,
        "report_to": "none",
    }
    of_model, of_data, of_training, _, _ = get_train_args(arguments)
    loaded = load_tokenizer(of_model)
    template = get_template_and_fix_tokenizer(loaded["tokenizer"], of_data)
    start = time.monotonic()
    rows = get_dataset(template, of_model, of_data, of_training, stage="sft", **loaded)["train_dataset"]
    ended = time.monotonic()
    versions = {name: metadata.version(name) for name in ("llamafactory", "transformers", "datasets", "tokenizers")}
    packed = unpadded(rows.with_format("arrow")[:])
    report(packed, request, seconds=ended - start, ended=ended, versions=versions)


def unpadded(table: pa.Table) -> Packed:
    """The documents of windows whose attention mask numbers them from 1, and is 0 on padding."""
    numbers = flat(table, "attention_mask")
    held = numbers > 0
    windows = np.repeat(np.arange(len(table)), [len(row) for row in table["attention_mask"]])
    document_of_token = (windows * (numbers.max() + 1) + numbers)[held]
    _, lengths = np.unique(document_of_token, return_counts=True)
    return Packed(
        windows=len(table),
        ids=flat(table, "input_ids")[held],
        trained=(flat(table, "labels") != NOT_TRAINED)[held],
        lengths=lengths,
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
