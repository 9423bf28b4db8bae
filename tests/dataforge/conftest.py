"""A small recipe over the tiny base model, and the command line as a user calls it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests import forked

Forge = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    """Run a command in the test's folder; returns its exit code and what it printed.

    With an environment of its own it starts from nothing, as libraries look at theirs when they are loaded.
    """

    def run(*arguments: str | Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        line = [str(each) for each in arguments]
        if not environment:
            ended = forked.forge(line, tmp_path, stdin=stdin)
            return subprocess.CompletedProcess(line, ended.code, ended.stdout, ended.stderr)
        return subprocess.run(
            [sys.executable, "-m", "dataforge", *line],
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment},
        )

    return run


@pytest.fixture
def write_recipe(tmp_path: Path, tiny_base: Path) -> Callable[..., Path]:
    """Write a corpus and a recipe over it; `settings` are laid over the recipe's keys."""

    def write(records: Sequence[dict[str, Any] | str], **settings: Any) -> Path:
        lines = [record if isinstance(record, str) else json.dumps(record, ensure_ascii=False) for record in records]
        (tmp_path / "corpus.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        recipe = {
            "name": "small",
            "seed": 7,
            "sources": [{"use": "alpaca", "path": "corpus.jsonl"}],
            "tokenizer": str(tiny_base),
            "max_tokens": 128,
            "split": {"eval": 0.2},
            **settings,
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps(recipe, ensure_ascii=False), encoding="utf-8")
        return path

    return write


RECORDS = [
    {"instruction": f"Who are you, {number}?", "input": "", "output": f"I am Pebble number {number}, 小石头。"}
    for number in range(40)
]
