"""The contenders of the CPU benchmark and what they are given beside the documents."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cpu_documents import WINDOW, WINDOWS_PER_STEP

DOCUMENTS_PER_STEP = 7
"""For those who count documents: about as many as the windows of one step hold."""


@dataclass(frozen=True)
class Arm:
    """One contender."""

    name: str
    says: str
    """What the table says of it."""
    trainer: str
    """`hf`, `trl` or `trainkit`."""
    rows: str = "documents"
    settings: dict[str, Any] = field(default_factory=dict)
    precision: str = "auto"
    documents: int | None = None
    """How many it trains on, where all would take hours; it is run once then."""


def fast_in_bf16() -> bool:
    """Whether this processor multiplies in bf16."""
    path = Path("/proc/cpuinfo")
    flags = path.read_text(encoding="utf-8").split() if path.exists() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


def arms() -> list[Arm]:
    """Those that are run in every round; where bf16 is slow, the peers are given fp32, which they do not choose."""
    fp32 = {"model.dtype": "float32"}
    hf = {} if fast_in_bf16() else fp32
    trl = {"use_cpu": True} if fast_in_bf16() else {"use_cpu": True, "bf16": False, **fp32}
    chosen = "" if fast_in_bf16() else ", fp32"
    windows = {"per_device_train_batch_size": WINDOWS_PER_STEP}
    found = [
        Arm("hf-padded", f"HF Trainer + PEFT, its defaults{chosen}", "hf", settings=hf),
        Arm(
            "hf-padded-2",
            f"HF Trainer + PEFT, its defaults, but 2 padded documents at a time{chosen}",
            "hf",
            settings={**hf, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
        ),
        Arm(
            "hf-packed",
            f"HF Trainer + PEFT, packed, one window at a time{chosen}",
            "hf",
            "windows",
            {**hf, "per_device_train_batch_size": 1, "gradient_accumulation_steps": WINDOWS_PER_STEP},
        ),
        Arm(
            "trl-packing",
            f"TRL, `packing=True`, its defaults but 2 windows of {WINDOW} tokens a step{chosen}",
            "trl",
            settings={**trl, **windows, "packing": True, "max_length": WINDOW},
        ),
        Arm(
            "trl-best",
            "TRL, one document at a time, chunked loss, no checkpointing",
            "trl",
            settings=candidates()[BEST],
        ),
        Arm("trainkit", "trainkit, its defaults", "trainkit"),
    ]
    if fast_in_bf16():
        found.append(Arm("trainkit-fp32", "trainkit, fp32", "trainkit", precision="fp32"))
    return found


def as_they_come() -> list[Arm]:
    """Defaults that this processor is very slow with: run once, on a few documents."""
    if fast_in_bf16():
        return []
    return [
        Arm("hf-as-it-comes", "HF Trainer + PEFT, all its defaults", "hf", documents=1),
        Arm(
            "trl-as-it-comes",
            "TRL, `packing=True`, all its defaults and the `use_cpu=True` that it demands",
            "trl",
            settings={"use_cpu": True, "packing": True, "max_length": WINDOW},
            documents=1,
        ),
    ]


BEST = "one document at a time, chunked loss"


def candidates() -> dict[str, dict[str, Any]]:
    """Settings of TRL among which `--search` finds its best."""
    plain = {"use_cpu": True, "gradient_checkpointing": False}
    if not fast_in_bf16():
        plain |= {"bf16": False, "model.dtype": "float32"}
    alone = {**plain, "per_device_train_batch_size": 1, "gradient_accumulation_steps": DOCUMENTS_PER_STEP}
    alone["max_length"] = None
    window = {**plain, "per_device_train_batch_size": 1, "gradient_accumulation_steps": WINDOWS_PER_STEP}
    window |= {"packing": True, "max_length": WINDOW}
    step = {**window, "per_device_train_batch_size": WINDOWS_PER_STEP, "gradient_accumulation_steps": 1}
    padded = {**plain, "max_length": None, "per_device_train_batch_size": DOCUMENTS_PER_STEP}
    flat = {**padded, "padding_free": True}
    return {
        "one document at a time": alone,
        BEST: {**alone, "loss_type": "chunked_nll"},
        "one document at a time, eager attention": {**alone, "model.attn_implementation": "eager"},
        "one document at a time, checkpointing": {**alone, "gradient_checkpointing": True},
        "one packed window at a time": window,
        "one packed window at a time, chunked loss": {**window, "loss_type": "chunked_nll"},
        "a step's packed windows at once, chunked loss": {**step, "loss_type": "chunked_nll"},
        "a step's documents padded": padded,
        "a step's documents padding-free": flat,
    }
