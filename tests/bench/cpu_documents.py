"""The documents that every contender of the CPU benchmark trains on, and in which steps."""

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataforge.bases import load_tokenizer
from dataforge.shards import Build, Window, open_build
from trainkit import plan
from trainkit.config import Train

BASE = "smollm2-135m"
WINDOW = 2048
WINDOWS_PER_STEP = 2
TOKENS_PER_STEP = WINDOWS_PER_STEP * WINDOW
HELD_OUT = 0.08
_RECIPE = """\
name: cpu
seed: 7
sources:
  - use: openai
    path: conversations.jsonl
chat: tokenizer
tokenizer: {base}
train_on: all_turns
max_tokens: {window}
window: {window}
split: {{eval: {held_out}}}
"""


@dataclass(frozen=True)
class Work:
    """What was prepared."""

    build: Path
    documents: Path
    """JSON: `steps`, a list of windows each, of documents each; `held_out`, a list of documents."""
    seed: int
    lengths: str
    share: float
    """Of the tokens, those with loss."""


def prepare(trees: Path, folder: Path, steps: int) -> Work:
    """Build the shards of a file of Open Assistant trees, and write the same documents down for the peers."""
    folder.mkdir(parents=True, exist_ok=True)
    conversations = "\n".join(json.dumps({"messages": messages}) for messages in _conversations(trees)) + "\n"
    (folder / "conversations.jsonl").write_text(conversations, encoding="utf-8")
    recipe = folder / "cpu.yaml"
    recipe.write_text(_RECIPE.format(base=BASE, window=WINDOW, held_out=HELD_OUT), encoding="utf-8")
    command = [sys.executable, "-m", "dataforge", "build", str(recipe), "--out", str(folder / "build")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    build = open_build(folder / "build")
    seed, windows = _planned(build, steps)
    found = {
        "steps": [[_documents(window) for window in step] for step in windows],
        "held_out": [document for window in build.windows("eval") for document in _documents(window)],
    }
    (folder / "documents.json").write_text(json.dumps(found), encoding="utf-8")
    return Work(folder / "build", folder / "documents.json", seed, *_statistics(build, windows))


def settings(steps: int, precision: str) -> Train:
    """trainkit's settings: its defaults, but for the length and the constant learning rate that all arms have."""
    return Train.model_validate(
        {
            "base": BASE,
            "steps": steps,
            "tokens_per_step": TOKENS_PER_STEP,
            "learning_rate": 2.0e-4,
            "schedule": "constant",
            "warmup": 0.0,
            "precision": precision,
        }
    )


def _conversations(trees: Path) -> Iterator[list[dict[str, str]]]:
    """Of each tree the longest conversation that fits into a window and ends with an answer."""
    encoder = load_tokenizer(BASE).encoder
    for line in trees.read_text(encoding="utf-8").splitlines():
        sized = [
            (sum(len(encoder.encode(said["content"]).ids) + 5 for said in messages) + 32, messages)
            for messages in _paths(json.loads(line)["prompt"], [])
        ]
        fitting = [entry for entry in sized if entry[0] <= WINDOW]
        if fitting:
            yield max(fitting, key=lambda entry: entry[0])[1]


def _paths(node: dict[str, Any], before: list[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    role = "assistant" if node["role"] == "assistant" else "user"
    here = [*before, {"role": role, "content": node["text"]}]
    if role == "assistant":
        yield here
    for reply in node.get("replies") or []:
        yield from _paths(reply, here)


def _planned(build: Build, steps: int) -> tuple[int, list[list[Window]]]:
    """The first seed with which trainkit's first steps are full, and the windows of these steps."""
    windows = list(build.windows("train"))
    tokens = [len(window.input_ids) for window in windows]
    trained = [int(window.assistant_masks.sum()) for window in windows]
    for seed in itertools.count():
        planned = plan.steps(settings(steps, "fp32"), tokens, trained, seed)
        # The peers take a fixed number of rows a step.
        if all(len(step.windows) == WINDOWS_PER_STEP for step in planned):
            return seed, [[windows[index] for index in step.windows] for step in planned]
    raise AssertionError


def _documents(window: Window) -> list[dict[str, list[int]]]:
    found = []
    start = 0
    for length in window.seq_lengths.tolist():
        ids = window.input_ids[start : start + length].astype(int)
        trained = window.assistant_masks[start : start + length].astype(bool)
        trained[0] = False
        found.append({"input_ids": ids.tolist(), "labels": np.where(trained, ids, -100).tolist()})
        start += length
    return found


def _statistics(build: Build, steps: list[list[Window]]) -> tuple[str, float]:
    every = np.concatenate([window.seq_lengths for split in ("train", "eval") for window in build.windows(split)])
    used = [window for step in steps for window in step]
    lengths = np.concatenate([window.seq_lengths for window in used])
    trained = sum(int(window.assistant_masks.sum()) for window in used) / lengths.sum()
    low, median, high = np.percentile(every, [5, 50, 95]).round().astype(int)
    text = (
        f"{len(every)} conversations, mean {every.mean():.0f} tokens, median {median}, 5 % below {low}, 5 % above "
        f"{high}, longest {every.max()}; trained in one run: {len(lengths)} of them, mean {lengths.mean():.0f}, "
        f"longest {lengths.max()}, {lengths.sum():,} tokens of which {trained:.0%} carry loss"
    )
    return text, float(trained)
