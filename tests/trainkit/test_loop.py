"""What a run does when something goes wrong in it, and what it keeps."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from dataforge.errors import TrainingError
from dataforge.shards import Build, Window
from trainkit import adapters
from trainkit.config import Train
from trainkit.trainer import train

from .conftest import random_window, write_build


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def losses(out: Path) -> list[float]:
    return [line["loss"] for line in metrics(out) if "loss" in line]


def repeated(value: int, name: str) -> Window:
    """A document that says one token over and over."""
    ids = np.full(12, value, np.int32)
    return Window(ids, (np.arange(12) > 0).astype(np.int8), np.array([12], np.int32), (f"{name}#1",))


@pytest.mark.parametrize("limit", [20, 60, 1000])
def test_micro_batches_of_any_size_have_the_same_losses(
    build: Build, settings: Train, tiny_base: Path, tmp_path: Path, limit: int
) -> None:
    train(settings, build, str(tiny_base), "tiny", tmp_path / "one", 7)
    grouped = settings.model_copy(update={"tokens_per_micro_batch": limit})
    train(grouped, build, str(tiny_base), "tiny", tmp_path / "many", 7)
    assert losses(tmp_path / "many") == pytest.approx(losses(tmp_path / "one"), rel=1e-6)


def test_fp16_learns_like_fp32_and_resumes_to_the_same_losses(
    build: Build, settings: Train, tiny_base: Path, tmp_path: Path
) -> None:
    half = settings.model_copy(update={"precision": "fp16", "epochs": 4, "keep": 100})
    train(settings.model_copy(update={"epochs": 4}), build, str(tiny_base), "tiny", tmp_path / "fp32", 7)
    outcome = train(half, build, str(tiny_base), "tiny", tmp_path / "fp16", 7)
    found = losses(tmp_path / "fp16")
    assert found == pytest.approx(losses(tmp_path / "fp32"), rel=0.02)
    assert found[-1] < found[0] - 0.1

    for checkpoint in sorted((tmp_path / "fp16" / "checkpoints").iterdir())[1:]:
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    saved = (outcome.adapter / adapters.WEIGHTS).read_bytes()
    (tmp_path / "fp16" / "outcome.json").unlink()
    assert train(half, build, str(tiny_base), "tiny", tmp_path / "fp16", 7).resumed
    assert losses(tmp_path / "fp16") == found
    assert (outcome.adapter / adapters.WEIGHTS).read_bytes() == saved


def test_a_loss_that_jumps_stops_the_run_with_the_records_of_the_step(
    settings: Train, tiny_base: Path, tmp_path: Path
) -> None:
    easy = [repeated(40, f"easy{index}") for index in range(300)]
    build = write_build(tmp_path / "build", tiny_base, [*easy, repeated(250, "strange")], [])
    fast = settings.model_copy(
        update={"epochs": 1, "tokens_per_step": 12, "learning_rate": 0.03, "max_loss_jump": 1.05}
    )
    with pytest.raises(TrainingError) as caught:
        train(fast, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    assert "the loss jumps to" in str(caught.value)
    assert "with records strange#1; look at these" in str(caught.value)
    on = train(fast.model_copy(update={"max_loss_jump": None}), build, str(tiny_base), "tiny", tmp_path / "run", 7)
    assert on.resumed
    assert on.steps == 301


def test_the_best_checkpoint_is_kept_and_gives_the_adapter_where_training_stops_early(
    build: Build, settings: Train, tiny_base: Path, tmp_path: Path
) -> None:
    patient = settings.model_copy(
        update={"epochs": 100, "eval_every": 2, "early_stop": 3, "keep": 1, "learning_rate": 0.05}
    )
    outcome = train(patient, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    evaluations = {line["step"]: line["eval_loss"] for line in metrics(tmp_path / "run") if "eval_loss" in line}
    best = min(evaluations, key=evaluations.__getitem__)
    assert outcome.adapter_step == best == outcome.steps - 6
    assert outcome.eval_loss == evaluations[best]
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == [f"step-{best:08d}", f"step-{outcome.steps:08d}"]

    exact = settings.model_copy(update={**patient.model_dump(exclude={"adapter"}), "adapter_from": "last"})
    last = train(exact, build, str(tiny_base), "tiny", tmp_path / "last", 7)
    assert (last.adapter_step, last.eval_loss) == (outcome.steps, evaluations[outcome.steps])
    one, other = (adapters.load_file(run.adapter / adapters.WEIGHTS) for run in (outcome, last))
    assert any(not torch.equal(one[name], other[name]) for name in one)


OUT_OF_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from dataforge.shards import open_build
from trainkit.config import Train
from trainkit.trainer import train
from trainkit import loop
torch.set_num_threads(1)
build, base, out, settings = sys.argv[1:]
begin = loop.Loop.run
def limited(self, interrupt):
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20, resource.RLIM_INFINITY))
    begin(self, interrupt)
loop.Loop.run = limited
try:
    train(Train.model_validate_json(settings), open_build(Path(build)), base, "tiny", Path(out), 7)
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its memory as Linux does")
@pytest.mark.parametrize(
    ("documents", "key", "advice"),
    [
        (1, "auto", "build with a smaller `max_tokens`"),
        (40, 100_000, "lower `train.tokens_per_micro_batch`"),
    ],
)
def test_a_lack_of_memory_says_what_to_change(
    settings: Train, tiny_base: Path, tmp_path: Path, documents: int, key: str | int, advice: str
) -> None:
    rng = np.random.default_rng(0)
    base = shutil.copytree(tiny_base, tmp_path / "base")
    config = LlamaConfig.from_pretrained(base)
    # One tensor of 20,000 tokens inside its layer takes 655 MB, where 300 are left.
    config.num_hidden_layers, config.hidden_size, config.intermediate_size = 1, 64, 8192
    config.max_position_embeddings = 20_000
    LlamaForCausalLM(config).save_pretrained(base)
    windows = [random_window(rng, [20_000 // documents] * documents, f"long{index}") for index in range(2)]
    build = write_build(tmp_path / "build", base, windows, [])
    large = settings.model_copy(update={"tokens_per_step": 100_000, "tokens_per_micro_batch": key})
    command = [sys.executable, "-c", OUT_OF_MEMORY, str(build.folder), str(base), str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [*command, large.model_dump_json()], capture_output=True, text=True, env=environment, check=False
    )
    assert found.stdout.startswith("TrainingError out of memory: "), found.stdout + found.stderr
    assert advice in found.stdout
    assert found.stdout.count("\n") == 1
