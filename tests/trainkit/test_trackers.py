"""What trackers get, read back from TensorBoard's own files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from accelerate.tracking import get_available_trackers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dataforge.errors import TrainingError
from dataforge.shards import Build
from trainkit.config import TRACKERS, Train
from trainkit.trackers import Trackers, check, flat
from trainkit.trainer import train


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder / "logs" / "tensorboard"))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def expected(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    found: dict[str, list[tuple[int, Any]]] = {}
    for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        step = values.pop("step")
        for name, value in values.items():
            found.setdefault(name, []).append((step, pytest.approx(value, rel=1e-6)))
    return found


def test_tensorboard_gets_every_number_and_a_resumed_run_goes_on(
    build: Build, settings: Train, tiny_base: Path, tmp_path: Path
) -> None:
    reported = settings.model_copy(update={"report_to": ["tensorboard"], "log_every": 2})
    outcome = train(reported, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    assert scalars(tmp_path / "run") == expected(tmp_path / "run")
    hparams = next((tmp_path / "run" / "logs" / "tensorboard").glob("*/hparams.yml")).read_text(encoding="utf-8")
    assert "adapter.rank: 4\n" in hparams
    assert "learning_rate: 0.01\n" in hparams

    sorted((tmp_path / "run" / "checkpoints").glob("step-*"))[-1].rename(tmp_path / "last")
    outcome.adapter.rename(tmp_path / "adapter")
    again = train(reported, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    assert again.resumed
    found = scalars(tmp_path / "run")
    assert [step for step, _ in found["loss"]] == [2, 4, 6]
    assert found["loss"] == expected(tmp_path / "run")["loss"]


def test_a_tracker_that_fails_is_given_up_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    trackers = Trackers(["tensorboard"], "tiny", tmp_path, {}, 0, said.append)
    del trackers._trackers["tensorboard"].writer
    trackers.log({"step": 1, "loss": 1.0})
    trackers.log({"step": 2, "loss": 1.0})
    trackers.close()
    assert len(said) == 1
    assert said[0].startswith("tensorboard: ")
    assert "the run goes on without it" in said[0]


def test_a_tracker_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    with pytest.raises(TrainingError, match=r"report_to: tensorboard cannot start \(.*\); set it up, or take it away"):
        Trackers(["tensorboard"], "tiny", tmp_path, {}, 0, print)


def test_a_tracker_that_is_not_installed_names_the_command() -> None:
    installed = {str(name) for name in get_available_trackers()}
    missing = [name for name in TRACKERS if name not in installed]
    if not missing:
        pytest.skip("all trackers are installed")
    with pytest.raises(TrainingError, match=f"{missing[0]} is not installed; `pip install {missing[0]}`"):
        check(missing)


def test_settings_are_flat_for_a_tracker() -> None:
    settings = Train(base="b", adapter={"targets": ["q_proj", "v_proj"]}, report_to=["wandb"])  # type: ignore[arg-type]
    found = flat(settings.model_dump(mode="json"))
    assert found["adapter.targets"] == "q_proj, v_proj"
    assert found["epochs"] == 3
    assert "steps" not in found


PROCESS = """
import os, sys
from pathlib import Path
import torch
from trainkit.trackers import Trackers
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[1],
                                     rank=int(os.environ["RANK"]), world_size=2)
group, threads = torch.distributed.group.WORLD, torch.get_num_threads()
trackers = Trackers(["tensorboard"], "tiny", Path(sys.argv[2]) / "logs", {}, 0, print)
for step in (1, 2):
    trackers.log({"step": step, "loss": float(torch.distributed.get_rank())})
    torch.distributed.barrier()
trackers.close()
assert torch.distributed.group.WORLD is group and torch.distributed.get_world_size() == 2
assert torch.get_num_threads() == threads and os.environ["LOCAL_RANK"] == str(torch.distributed.get_rank())
torch.distributed.destroy_process_group()
"""


def test_of_two_processes_the_first_reports_and_their_group_stays_as_it_is(tmp_path: Path) -> None:
    processes = []
    for rank in ("0", "1"):
        environment = {**os.environ, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        command = [sys.executable, "-c", PROCESS, str(tmp_path / "meet"), str(tmp_path)]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for process in processes:
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 0, said
    assert scalars(tmp_path) == {"loss": [(1, 0.0), (2, 0.0)]}
    assert len(list((tmp_path / "logs" / "tensorboard").glob("events*"))) == 1
