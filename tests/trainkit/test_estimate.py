"""A plan beside what the run then does."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dataforge.errors import BuildError
from dataforge.shards import Build
from trainkit import estimate as estimates
from trainkit import plan
from trainkit.config import Train
from trainkit.data import Windows, micro_batch
from trainkit.estimate import estimate
from trainkit.loss import Loss
from trainkit.objectives import sft
from trainkit.optimizer import Optimizer
from trainkit.trainer import train

from .conftest import random_windows, write_build


@pytest.mark.parametrize(("precision", "per_parameter"), [("fp32", 16), ("bf16", 20)])
def test_a_plan_counts_what_the_run_does(
    build: Build, settings: Train, tiny_base: Path, tmp_path: Path, precision: str, per_parameter: int
) -> None:
    chosen = settings.model_copy(update={"precision": precision})
    found = estimate(chosen, build, str(tiny_base), "tiny", 7)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build"]
    outcome = train(chosen, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    windows = random_windows(12, 1, "t")
    assert (found.steps, found.epochs, found.windows) == (outcome.steps, 2, 12)
    assert found.tokens == 2 * sum(len(window.input_ids) for window in windows)
    saved = load_file(outcome.adapter / "adapter_model.safetensors")
    assert found.parameters == sum(weight.numel() for weight in saved.values())
    # An fp32 weight is its own master: with gradient and two moments 16 bytes. A bf16 one has 2 + 2 beside these.
    assert found.memory.adapter == per_parameter * found.parameters
    base = load_file(tiny_base / "model.safetensors")
    size = 4 if precision == "fp32" else 2
    frozen = size * sum(weight.numel() for weight in base.values())
    assert frozen <= found.memory.weights < frozen + 256, "all but the frequencies of the rotary embedding"
    assert found.memory.micro_batch_tokens == max(len(window.input_ids) for window in windows)
    assert found.seconds > 0
    assert found.measured_peak > found.memory.weights + found.memory.adapter
    assert found.eval_seconds > 0


def test_saved_activations_are_counted_once_and_without_the_weights(build: Build) -> None:
    frozen = torch.nn.Linear(8, 8).requires_grad_(False)
    start = torch.ones(100, 8, requires_grad=True)

    class Objective:
        EATS = "chat"

        @staticmethod
        def prepare(policy: Any, batch: Any) -> Any:
            return batch

        @staticmethod
        def loss(policy: Any, batch: Any) -> Loss:
            hidden = torch.relu(policy.model(start))  # its output
            hidden = hidden.exp()  # its output
            hidden = hidden * hidden  # what it is given, which is counted already
            return Loss(hidden.sum(), 1, hidden.detach(), hidden.detach())

    policy: Any = SimpleNamespace(model=frozen)
    batch = micro_batch([Windows(build, "train")[0]], torch.device("cpu"))
    assert estimates._saved_bytes(Objective(), policy, batch) == 2 * 100 * 8 * 4


def test_timing_changes_no_weight(build: Build, settings: Train, tiny_base: Path) -> None:
    device = torch.device("cpu")
    for precision in (torch.float32, torch.bfloat16):
        chosen = estimates._way(settings, build, str(tiny_base), precision, device, 7, print)
        policy = chosen.policy
        windows = Windows(build, "train")
        steps = plan.steps(settings, windows.tokens_W.tolist(), windows.trained_W.tolist(), 7)
        before = {name: weight.clone() for name, weight in policy.model.state_dict().items()}
        optimizer = Optimizer(policy.parameters, settings, len(steps))
        assert estimates._seconds_per_token(steps, sft, policy, optimizer, windows, chosen.size, device) > 0
        for name, weight in policy.model.state_dict().items():
            assert torch.equal(weight, before[name]), name


def test_a_run_that_could_not_start_has_no_plan(settings: Train, tiny_base: Path, tmp_path: Path) -> None:
    build = write_build(tmp_path / "build", tiny_base, [], random_windows(1, 2, "e"))
    with pytest.raises(BuildError, match="nothing to train on"):
        estimate(settings, build, str(tiny_base), "tiny", 7)
