"""HF's Trainer and TRL's SFTTrainer as contenders, told what their users can tell them."""

import json
from pathlib import Path
from typing import Any

from gpu_clock import Clock, told
from gpu_documents import WINDOWS_PER_STEP, Work
from gpu_model import Row, adapted, base, device, flattened, padded, register_for_peers, rows, size
from gpu_shapes import Shape
from transformers import PreTrainedTokenizerFast, Trainer, TrainerCallback, TrainingArguments

PADDED_PER_STEP = 40
"""Documents of a step for those who count them: about as many as its windows hold."""


class Told(TrainerCallback):
    """Tells a clock what a trainer logs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Before the first batch is made."""
        self._clock.mark()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """After the optimizer's step."""
        self._clock.mark()

    def on_log(self, *_: Any, logs: dict[str, Any], **__: Any) -> None:
        """One line a step."""
        if "loss" in logs:
            self._clock.losses.append(logs["loss"])
            self._clock.norms.append(logs["grad_norm"])


class Counted:
    """A collator that remembers what it was given."""

    def __init__(self, collate: Any) -> None:
        self._collate = collate
        self._sizes: list[tuple[int, int]] = []

    def __call__(self, found: list[Row]) -> Any:
        """Tokens and trained tokens are those of the documents, whatever padding is added."""
        self._sizes.append(size(found))
        return self._collate(found)

    def __getattr__(self, name: str) -> Any:
        """What a trainer asks its own collator for."""
        return getattr(self.__dict__["_collate"], name)

    def of_steps(self, steps: int, accumulated: int) -> list[tuple[int, int]]:
        """Tokens and trained tokens of each step; the loader may have read ahead."""
        groups = [self._sizes[step * accumulated : (step + 1) * accumulated] for step in range(steps)]
        return [(sum(tokens for tokens, _ in group), sum(trained for _, trained in group)) for group in groups]


def common(request: dict[str, Any], batch: int, accumulated: int) -> dict[str, Any]:
    """What all trainers are told: the steps, in the documents' order, at a constant rate."""
    return {
        "output_dir": request["scratch"],
        "max_steps": request["warm"] + request["timed"],
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulated,
        "learning_rate": 1.0e-4,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "bf16": True,
        "use_cpu": device().type == "cpu",
    }


def accumulated(request: dict[str, Any]) -> int:
    """Micro-batches of a step of windows."""
    per_step = 1 if request["documents"] == "long" else WINDOWS_PER_STEP
    return int(per_step // request["together"])


def hf(request: dict[str, Any], shape: Shape, work: Work) -> dict[str, Any]:
    """HF's Trainer on a PEFT model, on padded documents or packed rows."""
    asked = dict(request["settings"])
    in_rows, exact = asked.pop("rows") == "packed", asked.pop("exact")
    found = rows(work, shape.V, request["together"])
    if in_rows:
        attention, batch, count = register_for_peers(), 1, accumulated(request)
        data: list[Any] = [documents for step in found for documents in step]
        collator = Counted(flattened)
    else:
        attention, batch = "sdpa", asked.pop("batch")
        count, collator = PADDED_PER_STEP // batch, Counted(padded)
        data = [row for step in found for documents in step for row in documents]
    settings = {**common(request, batch, count), "remove_unused_columns": False, **asked}
    arguments = TrainingArguments(**settings, train_sampling_strategy="sequential")
    clock = Clock(request["warm"])
    model = adapted(base(shape, attention), exact=exact)
    collate: Any = _One(collator) if in_rows else collator
    trainer = Trainer(model, arguments, data_collator=collate, train_dataset=data, callbacks=[Told(clock)])
    trainer.train()
    tokens = request["together"] * work.window if in_rows else None
    return told(clock, collator.of_steps(arguments.max_steps, count), tokens)


class _One:
    """A collator of rows that are whole micro-batches already."""

    def __init__(self, collator: Counted) -> None:
        self._collator = collator

    def __call__(self, found: list[list[Row]]) -> Any:
        (documents,) = found
        return self._collator(documents)


def trl(request: dict[str, Any], shape: Shape, work: Work) -> dict[str, Any]:
    """TRL's SFTTrainer, which packs by itself."""
    model = adapted(base(shape, register_for_peers()), exact=True)
    return sft(request, shape, work, model, tokenizer())


def sft(request: dict[str, Any], shape: Shape, work: Work, model: Any, processing: Any) -> dict[str, Any]:
    """TRL's SFTTrainer, or what Unsloth has made of it."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_list([row for step in rows(work, shape.V, 1) for window in step for row in window])
    count, tokens = accumulated(request), request["together"] * work.window
    own = {"packing": True, "max_length": tokens, "train_sampling_strategy": "sequential", **request["settings"]}
    arguments = SFTConfig(**{**common(request, 1, count), **own})
    clock = Clock(request["warm"])
    trainer = SFTTrainer(
        model, args=arguments, train_dataset=data, processing_class=processing, callbacks=[Told(clock)]
    )
    trainer.data_collator = collator = Counted(trainer.data_collator)
    trainer.train()
    return told(clock, collator.of_steps(arguments.max_steps, count), tokens)


def tokenizer(folder: Path | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer of a few words, for trainers that ask for one; nothing is encoded with it."""
    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "word": 3}
    said: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "<pad>"},
    }
    from tokenizers import Tokenizer

    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(said)), bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    if folder is not None:
        made.save_pretrained(folder)
    return made
