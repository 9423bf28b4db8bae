"""A build folder for the trainer, written through the contract alone."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dataforge.shards import (
    Build,
    Manifest,
    Statistics,
    TemplateEntry,
    TokenizerEntry,
    Turns,
    Window,
    open_build,
    tokenizer_sha256,
)
from tests.build_files import write_chat_shard, write_manifest
from trainkit.config import Train

torch.set_num_threads(1)

MakeBuild = Callable[..., Build]


def random_window(rng: np.random.Generator, lengths: list[int], name: str) -> Window:
    """Documents of random ids; the second half of each is trained."""
    masks = np.concatenate([np.arange(n) >= n // 2 for n in lengths]).astype(np.int8)
    masks[0] = 0
    return Window(
        input_ids=rng.integers(3, 290, sum(lengths)).astype(np.int32),
        assistant_masks=masks,
        seq_lengths=np.array(lengths, np.int32),
        record_ids=tuple(f"{name}-{index}#1" for index in range(len(lengths))),
    )


def random_windows(count: int, seed: int, name: str) -> list[Window]:
    """Windows of one to four documents."""
    rng = np.random.default_rng(seed)
    return [
        random_window(rng, rng.integers(2, 20, rng.integers(1, 5)).tolist(), f"{name}{index}") for index in range(count)
    ]


def write_build(
    folder: Path,
    base: Path,
    train: list[Window],
    held_out: list[Window],
    new_tokens: dict[str, int] | None = None,
    stop_tokens: dict[str, int] | None = None,
) -> Build:
    """Write and open a build for a base model, to whose tokens it may have added some."""
    template = (base / "chat_template.jinja").read_text(encoding="utf-8")
    splits: list[tuple[Any, list[Window]]] = [("train", train), ("eval", held_out)]
    entries = [write_chat_shard(folder, f"{split}-00000", split, windows) for split, windows in splits if windows]
    write_manifest(
        folder,
        Manifest(
            format=1,
            key="",
            name="tiny",
            kind="chat",
            recipe={"chat": "tokenizer"},
            recipe_sha256="",
            inputs={},
            template=TemplateEntry(
                source="tokenizer", text=template, sha256=hashlib.sha256(template.encode()).hexdigest()
            ),
            tokenizer=TokenizerEntry(
                name="tiny",
                sha256=tokenizer_sha256((base / "tokenizer.json").read_bytes()),
                vocabulary=300,
                stop_tokens=stop_tokens or {"<|im_end|>": 2},
                new_tokens=new_tokens or {},
            ),
            seed=7,
            window=80,
            funnel=[],
            turns=Turns(certified=0, forked=0, refused=0, fork_tokens=0),
            statistics={
                split: Statistics(
                    rows=sum(len(window.seq_lengths) for window in windows),
                    windows=len(windows),
                    tokens=sum(len(window.input_ids) for window in windows),
                    trained_tokens=sum(int(window.assistant_masks.sum()) for window in windows),
                    longest_row=max((int(window.seq_lengths.max()) for window in windows), default=0),
                    median_row=8,
                )
                for split, windows in splits
            },
            shards=entries,
            versions={},
            digest=hashlib.sha256("".join(entry.columns_sha256 for entry in entries).encode()).hexdigest(),
        ),
    )
    return open_build(folder)


@pytest.fixture
def build(tmp_path: Path, tiny_base: Path) -> Build:
    """Twelve windows to train on and three held out."""
    return write_build(tmp_path / "build", tiny_base, random_windows(12, 1, "t"), random_windows(3, 2, "e"))


@pytest.fixture
def settings() -> Train:
    """A short run that learns something."""
    return Train(
        base="tiny",
        adapter={"rank": 4, "alpha": 8.0},  # type: ignore[arg-type]
        epochs=2,
        tokens_per_step=100,
        learning_rate=0.01,
        precision="fp32",
        eval_every=4,
        save_every=3,
    )
