"""Several processes train as one does: the whole command, started as a user starts it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import forked

from .conftest import random_windows, write_build

FORGE = [sys.executable, "-m", "dataforge"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "dataforge"]
RECIPE = """\
name: tiny
train:
  base: {base}
  data: build
  adapter: {{rank: 4, alpha: 8.0, dropout: 0.1}}
  epochs: {epochs}
  tokens_per_step: 200
  learning_rate: 0.01
  precision: fp32
  eval_every: 5
  save_every: 5
"""


@pytest.fixture(scope="module")
def folder(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe and what it trains on, and a run of one process in `one`."""
    found = tmp_path_factory.mktemp("processes")
    write_build(found / "build", tiny_base, random_windows(40, 1, "t"), random_windows(9, 2, "e"))
    (found / "recipe.yaml").write_text(RECIPE.format(base=tiny_base, epochs=4), encoding="utf-8")
    (found / "long.yaml").write_text(RECIPE.format(base=tiny_base, epochs=400), encoding="utf-8")
    run(FORGE, found, "--out", "one")
    return found


def start(command: list[str], folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    line = [*command, "train", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(line, cwd=folder, env=environment, stdout=-1, stderr=-1, text=True)


def run(command: list[str], folder: Path, *arguments: str) -> tuple[int, str, str]:
    if command == FORGE and "--processes" not in arguments:
        alone = forked.forge(["train", "recipe.yaml", *arguments], folder)
        return alone.code, alone.stdout, alone.stderr
    process = start(command, folder, "recipe.yaml", *arguments)
    output, errors = process.communicate()
    return process.returncode, output, errors


def losses(out: Path) -> list[tuple[int, float]]:
    lines: list[dict[str, Any]] = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line.get("loss", line.get("eval_loss"))) for line in lines]


def wait_for_checkpoint(process: "subprocess.Popen[str]", out: Path) -> None:
    while process.poll() is None and not list((out / "checkpoints").glob("step-*")):
        time.sleep(0.02)


def workers(process: "subprocess.Popen[str]") -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def test_two_processes_have_the_losses_of_one_whether_the_base_is_whole_or_sharded(folder: Path) -> None:
    expected = losses(folder / "one")
    for name, command, key in [
        ("ddp", [*FORGE], "train.parallel=ddp"),
        ("fsdp", [*FORGE], "train.parallel=fsdp"),
        ("torchrun", TORCHRUN, "train.parallel=auto"),
    ]:
        processes = [] if name == "torchrun" else ["--processes", "2"]
        code, output, errors = run(command, folder, key, *processes, "--out", name)
        assert code == 0, errors
        assert output.count("steps in") == 1
        found = losses(folder / name)
        assert [step for step, _ in found] == [step for step, _ in expected]
        assert [loss for _, loss in found] == pytest.approx([loss for _, loss in expected], rel=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_one_process_killed_ends_all_with_one_line_and_another_number_goes_on(folder: Path, rank: int) -> None:
    out = folder / f"killed-{rank}"
    process = start(FORGE, folder, "long.yaml", "--processes", "2", "--out", str(out))
    wait_for_checkpoint(process, out)
    pids = workers(process)
    os.kill(pids[rank], signal.SIGKILL)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 2, errors
    told = [
        line
        for line in errors.splitlines()
        if "eval loss" not in line and not line.startswith(("step ", "layers are "))
    ]
    assert told == [
        f"error: process {rank + 1} of 2 was ended by SIGKILL, so all are ended (was it killed, or out of memory?); "
        "the same command goes on from the last checkpoint"
    ]
    assert output == ""
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]

    alone = start(FORGE, folder, "long.yaml", "--out", str(out))
    while "going on after step" not in (line := str(alone.stderr.readline() if alone.stderr else "")):
        assert line, alone.poll()
    alone.kill()
    alone.communicate()


def test_two_processes_with_fused_layers_have_the_losses_of_one_without(folder: Path) -> None:
    plain = "train.adapter.dropout=0"
    code, _, errors = run(FORGE, folder, plain, "--processes", "2", "--out", "fused")
    assert code == 0, errors
    assert errors.count("layers are computed the fused way") == 1
    code, _, errors = run(FORGE, folder, plain, "train.fused=false", "--out", "generic")
    assert code == 0, errors
    assert errors.count("layers are computed the generic way: train.fused is false") == 1
    found, expected = losses(folder / "fused"), losses(folder / "generic")
    assert [loss for _, loss in found] == pytest.approx([loss for _, loss in expected], rel=1e-5)


def test_ctrl_c_is_heard_by_all_and_the_run_goes_on_with_another_number(folder: Path) -> None:
    out = folder / "interrupted"
    process = start(FORGE, folder, "recipe.yaml", "--processes", "2", "--out", str(out))
    wait_for_checkpoint(process, out)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.count("interrupted: stopped after step") == 1
    assert "Traceback" not in errors
    code, _, errors = run(FORGE, folder, "--out", str(out))
    assert code == 0, errors
    assert "going on after step" in errors
    expected = losses(folder / "one")
    assert [loss for _, loss in losses(out)] == pytest.approx([loss for _, loss in expected], rel=1e-6)


def test_a_mistake_is_told_once(folder: Path) -> None:
    code, output, errors = run(FORGE, folder, "--processes", "2", "train.adapter.targets=[nothing]")
    assert code == 2
    assert output == ""
    assert errors.count("\n") == 1 and errors.startswith("error: adapter target 'nothing' is no linear layer")
