"""What the GPU benchmark runs, in order of worth: a run that is cut short, or has no time left, has the best of it."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

LLAMA, QWEN3, QWEN2, SMALL, MIDDLE = "Llama-3-8B", "Qwen3-8B", "Qwen2.5-7B", "Qwen3-0.6B", "Qwen3-4B"


@dataclass(frozen=True)
class Run:
    """One process."""

    name: str
    says: str
    """What the table says of it."""
    job: str = "contender"
    """Or `roofline`, `kernels`, `parity`."""
    shape: str = LLAMA
    trainer: str = ""
    """`trainkit`, `hf`, `trl` or `unsloth`."""
    settings: dict[str, Any] = field(default_factory=dict)
    together: int = 2
    """Windows of 4,096 tokens in a micro-batch."""
    documents: str = "chat"
    memory_gb: int | None = None
    """Of the card that the run is held to; None for all there is."""
    needs: str = "plain"
    """Which packages must be on the path beside ours: `plain`, `peers`, `liger` or `unsloth`."""
    only_if_too_large: str = ""
    """It is run only where this other one does not fit into memory."""
    warm: int = 2
    """Optimizer steps before those that are timed."""
    timed: int = 6
    limit: int = 100
    """Seconds after which it is stopped."""
    asks: int = 22
    """Seconds that must be left for it to be begun."""

    def request(self) -> dict[str, Any]:
        """What its process is told."""
        return asdict(self)


def _trainkit(level: int | str | None, shape: str = LLAMA, **others: Any) -> Run:
    ways = {
        0: "fused, no product recomputed",
        1: "fused, gate and up recomputed",
        2: "fused, gate, up and qkv recomputed",
        3: "fused, layers recomputed",
        "planned": "fused, as its plan for this memory says",
        None: "generic way",
    }
    return Run(_name("trainkit", level, shape, others), f"trainkit, {ways[level]}", **_ours(level, shape), **others)


def _ours(level: int | str | None, shape: str) -> dict[str, Any]:
    return {"shape": shape, "trainer": "trainkit", "settings": {"level": level}}


def _hf(says: str, name: str, shape: str = LLAMA, *, settings: dict[str, Any], **others: Any) -> Run:
    full = _name(name, "", shape, others)
    return Run(full, f"HF Trainer + PEFT, {says}", shape=shape, trainer="hf", settings=settings, **others)


def _trl(says: str, name: str, shape: str = LLAMA, *, settings: dict[str, Any], **others: Any) -> Run:
    made = {"needs": "peers", **others}
    full = _name(name, "", shape, others)
    return Run(full, f"TRL `packing=True`, {says}", shape=shape, trainer="trl", settings=settings, **made)


def _name(what: str, level: int | str | None, shape: str, others: dict[str, Any]) -> str:
    parts = [what, "generic" if level is None else str(level), "" if shape == LLAMA else shape.lower()]
    parts += [others.get("documents", ""), f"{others['memory_gb']}gb" if others.get("memory_gb") else ""]
    return "-".join(part for part in parts if part)


PACKED: dict[str, Any] = {"rows": "packed", "exact": False}
"""Rows of whole documents with our attention, and an adapter in bf16: the best that HF's Trainer can be told."""
AGAIN: dict[str, Any] = {"gradient_checkpointing": True}
KEEP: dict[str, Any] = {"gradient_checkpointing": False}
LIGER: dict[str, Any] = {"use_liger_kernel": True}
_PADDED: dict[str, Any] = {"rows": "padded", "exact": True, **AGAIN}
_SLOW: dict[str, Any] = {"warm": 1, "timed": 3, "asks": 30}


def checks() -> list[Run]:
    """What is measured before any contender: the machine, its kernels, and whether results are right."""
    return [
        Run("roofline", "roofline", job="roofline", limit=100, asks=30),
        Run("kernels", "kernels", job="kernels", limit=150, asks=30),
        Run("parity", "parity", job="parity", limit=120, asks=30),
    ]


def contenders() -> list[Run]:
    """Those with all the card's memory, and those held to 24 and 16 GB."""
    packed_again, packed_keep = {**PACKED, **AGAIN}, {**PACKED, **KEEP}
    return [
        _trainkit(0),
        _hf("packed, our attention, checkpointing", "hf-packed", settings=packed_again),
        _trl("its defaults (checkpointing), our attention", "trl", settings={}),
        _hf("8 padded documents at a time, checkpointing", "hf-padded", settings={**_PADDED, "batch": 8}, **_SLOW),
        _hf(
            "4 padded documents at a time, checkpointing",
            "hf-padded-4",
            settings={**_PADDED, "batch": 4},
            only_if_too_large="hf-padded",
            **_SLOW,
        ),
        _trainkit("planned", memory_gb=24),
        _hf("packed, our attention, checkpointing", "hf-packed", settings=packed_again, together=1, memory_gb=24),
        Run(
            "unsloth", "Unsloth, packed, its own checkpointing", trainer="unsloth", needs="unsloth", limit=150, asks=60
        ),
        _trl("our attention, no checkpointing", "trl-kept", settings=KEEP, together=1),
        _trainkit(0, SMALL),
        _hf("packed, our attention, no checkpointing", "hf-kept", SMALL, settings=packed_keep),
        _trl("its defaults (checkpointing), our attention", "trl", SMALL, settings={}),
        _trainkit(0, QWEN3),
        _hf("packed, our attention, checkpointing", "hf-packed", QWEN3, settings=packed_again),
        _trainkit(1),
        _trainkit("planned", MIDDLE, memory_gb=16),
        _hf("packed, our attention, checkpointing", "hf-packed", MIDDLE, settings=packed_again, memory_gb=16),
        _trainkit(3),
        _hf("packed, our attention, no checkpointing", "hf-kept", settings=packed_keep, together=1),
        _trainkit(0, QWEN2),
        _hf("packed, our attention, checkpointing", "hf-packed", QWEN2, settings=packed_again),
        _trl("its defaults (checkpointing), our attention", "trl", settings={}, together=1, memory_gb=24),
        _trainkit("planned", SMALL, memory_gb=16),
        _hf("packed, our attention, checkpointing", "hf-packed", SMALL, settings=packed_again, memory_gb=16),
        _trl("our attention, checkpointing, Liger", "trl-liger", settings=LIGER, needs="liger"),
        _hf(
            "packed, our attention, checkpointing, Liger",
            "hf-liger",
            settings={**packed_again, **LIGER},
            needs="liger",
        ),
        _trainkit(None),
        _trainkit(0, documents="short"),
        _hf("packed, our attention, checkpointing", "hf-packed", settings=packed_again, documents="short"),
        _trainkit(1, documents="long", together=1),
        _hf("packed, our attention, checkpointing", "hf-packed", settings=packed_again, documents="long", together=1),
        Run(
            "unsloth-0.6b",
            "Unsloth, packed, its own checkpointing",
            shape=SMALL,
            trainer="unsloth",
            needs="unsloth",
            limit=100,
            asks=40,
        ),
        _trainkit(2),
    ]


def quick(run: Run) -> Run:
    """The same in a smoke run."""
    return replace(run, warm=1, timed=1, limit=120, asks=0)
