"""Whole runs: against a plain loop of transformers and peft, and through everything that can cut them off."""

import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from peft import LoraConfig, get_peft_model_state_dict
from transformers import LlamaConfig, LlamaForCausalLM

from dataforge.errors import BuildError, TrainingError
from dataforge.seeds import draw
from dataforge.shards import Build, Window, open_build
from trainkit import adapters
from trainkit.config import Train
from trainkit.interrupt import Interrupted
from trainkit.trainer import train

from .conftest import random_windows, write_build
from .plain_loop import plain_loop


def metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def losses(out: Path) -> list[tuple[int, float | None, float | None]]:
    return [(line["step"], line.get("loss"), line.get("eval_loss")) for line in metrics(out)]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_twenty_steps_are_those_of_a_plain_loop_over_unpacked_documents(
    build: Build, tiny_base: Path, tmp_path: Path
) -> None:
    settings = Train(
        base="tiny",
        adapter={"rank": 4, "alpha": 8.0},  # type: ignore[arg-type]
        epochs=20,
        tokens_per_step=100_000,
        learning_rate=0.01,
        warmup=0.1,
        weight_decay=0.1,
        clip=0.5,
        precision="fp32",
        eval_every=20,
    )
    outcome = train(settings, build, str(tiny_base), "tiny", tmp_path / "run", 7)

    shares = [(step + 1) / 3 if step < 2 else (1 + math.cos(math.pi * (step - 2) / 18)) / 2 for step in range(20)]
    plain = plain_loop(
        tiny_base,
        LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
        draw(7, "adapter") >> 1,
        [0.01 * share for share in shares],
        random_windows(12, 1, "t"),
        weight_decay=0.1,
        clip=0.5,
    )
    expected = plain.losses
    expected_eval = plain.loss(random_windows(3, 2, "e"))

    measured = [line["loss"] for line in metrics(tmp_path / "run") if "loss" in line]
    assert measured == pytest.approx(expected, rel=1e-5)
    assert expected[-1] < expected[0] - 0.5
    assert outcome.eval_loss == pytest.approx(expected_eval, rel=1e-5)
    saved = adapters.load_file(outcome.adapter / adapters.WEIGHTS)
    wanted = get_peft_model_state_dict(plain.model)
    assert saved.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(saved[name], tensor.detach(), rtol=1e-3, atol=1e-5)


def test_bf16_learns_like_fp32(build: Build, settings: Train, tiny_base: Path, tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):
        long = settings.model_copy(update={"epochs": 6, "precision": precision})
        train(long, build, str(tiny_base), "tiny", tmp_path / precision, 7)
    final = {name: losses(tmp_path / name)[-2][1] for name in ("fp32", "bf16")}
    assert final["bf16"] == pytest.approx(final["fp32"], rel=0.02)


SCRIPT = """
import sys
from pathlib import Path
import torch
from dataforge.shards import open_build
from trainkit.config import Train
from trainkit.trainer import train
torch.set_num_threads(1)
build, base, out, settings = sys.argv[1:]
train(Train.model_validate_json(settings), open_build(Path(build)), base, "tiny", Path(out), 7)
"""


def test_a_run_killed_at_any_instant_resumes_to_the_same_losses(
    build: Build, settings: Train, tiny_base: Path, tmp_path: Path
) -> None:
    long = settings.model_copy(update={"epochs": 40, "eval_every": 10, "save_every": 7, "log_every": 2, "keep": 1})
    long = long.model_copy(update={"adapter": long.adapter.model_copy(update={"dropout": 0.1})})
    whole = train(long, build, str(tiny_base), "tiny", tmp_path / "whole", 7)

    cut = tmp_path / "cut"
    command = [sys.executable, "-c", SCRIPT, str(build.folder), str(tiny_base), str(cut), long.model_dump_json()]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list((cut / "checkpoints").glob("step-*")):
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (cut / "adapter").exists()

    resumed = train(long, build, str(tiny_base), "tiny", cut, 7)
    assert resumed.resumed
    assert losses(cut) == losses(tmp_path / "whole")
    assert pq.read_table(cut / "losses.parquet").equals(pq.read_table(tmp_path / "whole" / "losses.parquet"))
    assert (resumed.train_loss, resumed.eval_loss) == (whole.train_loss, whole.eval_loss)
    for name in (adapters.WEIGHTS, "adapter_config.json"):
        assert (resumed.adapter / name).read_bytes() == (whole.adapter / name).read_bytes()
    assert len(list((cut / "checkpoints").iterdir())) == 2  # the newest and the best


class InterruptingStream(io.StringIO):
    """A screen at which somebody presses Ctrl-C when the first evaluation appears."""

    pressed = False

    def write(self, text: str) -> int:
        if "eval loss" in text and not self.pressed:
            self.pressed = True
            os.kill(os.getpid(), signal.SIGINT)
        return super().write(text)


def test_ctrl_c_saves_and_the_same_command_goes_on(
    build: Build, settings: Train, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(settings, build, str(tiny_base), "tiny", tmp_path / "whole", 7)
    monkeypatch.setattr(sys, "stderr", InterruptingStream())
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="stopped after step 4 of"):
        train(settings, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    assert signal.getsignal(signal.SIGINT) is handler
    assert set(pq.read_table(tmp_path / "run" / "losses.parquet")["step"].to_pylist()) == {1, 2, 3, 4}
    assert (tmp_path / "run" / "loss.png").is_file()
    assert train(settings, build, str(tiny_base), "tiny", tmp_path / "run", 7).resumed
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    tables = [pq.read_table(tmp_path / name / "losses.parquet") for name in ("run", "whole")]
    assert tables[0].equals(tables[1])


def test_a_finished_run_is_not_repeated(
    build: Build, settings: Train, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train(settings, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    lines = metrics(tmp_path / "run")
    rarer = settings.model_copy(update={"save_every": 100, "log_every": 5})
    again = train(rarer, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    assert again.reused and not first.reused
    assert (again.steps, again.train_loss) == (first.steps, first.train_loss)
    assert metrics(tmp_path / "run") == lines
    assert "nothing to do" in capsys.readouterr().err


def test_a_run_with_other_settings_starts_anew_and_says_so(
    build: Build, settings: Train, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(settings, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    other = settings.model_copy(update={"learning_rate": 0.001})
    outcome = train(other, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    assert not outcome.resumed and not outcome.reused
    assert "starting anew" in capsys.readouterr().err
    assert losses(tmp_path / "run") != []
    assert [line["step"] for line in metrics(tmp_path / "run") if "loss" in line] == list(range(1, outcome.steps + 1))


def test_training_ends_where_the_eval_loss_no_longer_falls(
    build: Build, settings: Train, tiny_base: Path, tmp_path: Path
) -> None:
    patient = settings.model_copy(update={"epochs": 200, "eval_every": 2, "early_stop": 2, "learning_rate": 0.1})
    outcome = train(patient, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    evaluations = [line["eval_loss"] for line in metrics(tmp_path / "run") if "eval_loss" in line]
    assert outcome.steps == 2 * len(evaluations) < 200
    assert min(evaluations) == evaluations[-3]


def test_a_loss_that_is_no_number_names_the_records(settings: Train, tiny_base: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "base")
    config = LlamaConfig.from_pretrained(base)
    config.tie_word_embeddings = False
    model = LlamaForCausalLM(config)
    torch.nn.init.constant_(model.get_input_embeddings().weight[280:281].detach(), math.nan)
    model.save_pretrained(base)
    windows = random_windows(12, 1, "t")
    poisoned = windows[4]
    ids = poisoned.input_ids.copy()
    ids[0] = 280
    windows = [
        Window(
            ids if window is poisoned else window.input_ids.clip(max=279),
            window.assistant_masks,
            window.seq_lengths,
            window.record_ids,
        )
        for window in windows
    ]
    build = write_build(tmp_path / "build", base, windows, [])
    with pytest.raises(TrainingError, match=f"the loss is not a finite number, with records {poisoned.record_ids[0]}"):
        train(settings, build, str(base), "tiny", tmp_path / "run", 7)


def test_a_flipped_bit_in_a_shard_is_found_before_training(build: Build) -> None:
    path = next((build.folder / "shards").glob("train-*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BuildError, match="not those that were built"):
        open_build(build.folder)


def test_a_damaged_checkpoint_is_not_gone_on_from(
    build: Build, settings: Train, tiny_base: Path, tmp_path: Path
) -> None:
    outcome = train(settings, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    shutil.rmtree(outcome.adapter)
    path = sorted((tmp_path / "run" / "checkpoints").glob("step-*/state.safetensors"))[-1]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="the checkpoint is damaged; delete it"):
        train(settings, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    shutil.rmtree(path.parent)
    again = train(settings, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    assert again.resumed
    assert again.train_loss == outcome.train_loss


def test_a_build_without_training_data_is_refused(settings: Train, tiny_base: Path, tmp_path: Path) -> None:
    build = write_build(tmp_path / "build", tiny_base, [], random_windows(1, 2, "e"))
    with pytest.raises(BuildError, match="nothing to train on"):
        train(settings, build, str(tiny_base), "tiny", tmp_path / "run", 7)
