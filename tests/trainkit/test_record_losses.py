"""The losses by record: against each document alone, and through whatever cuts a run off."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

from dataforge.shards import Build
from trainkit import record_losses
from trainkit.config import Train
from trainkit.processes import Processes
from trainkit.record_losses import RecordLosses, worst
from trainkit.trainer import train

from .conftest import random_windows


def rows(folder: Path) -> list[tuple[str, int, float, int]]:
    table = pq.read_table(folder / "losses.parquet")
    return list(zip(*(table[name].to_pylist() for name in ("record", "step", "loss", "tokens")), strict=True))


def write(losses: RecordLosses, step: int, **found: tuple[float, int]) -> None:
    summed, trained = zip(*found.values(), strict=True)
    losses.add([f"{name}#1" for name in found], torch.tensor(summed), torch.tensor(trained))
    losses.write(step)


def test_the_first_steps_losses_are_those_of_each_document_alone(
    build: Build, settings: Train, tiny_base: Path, tmp_path: Path
) -> None:
    whole = settings.model_copy(update={"tokens_per_step": 100_000})
    train(whole, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    expected = {}
    for window in random_windows(12, 1, "t"):
        starts = window.seq_lengths.cumsum() - window.seq_lengths
        for record, start, length in zip(window.record_ids, starts, window.seq_lengths, strict=True):
            ids = torch.tensor(window.input_ids[start : start + length], dtype=torch.long)
            trained = torch.tensor(window.assistant_masks[start : start + length], dtype=torch.bool)[1:]
            with torch.no_grad():
                log_likelihood = model(input_ids=ids[None]).logits[0, :-1].log_softmax(1)
            each = -log_likelihood[torch.arange(len(ids) - 1), ids[1:]][trained]
            if len(each):
                expected[record] = (each.mean().item(), len(each))
    measured = {record: (loss, tokens) for record, step, loss, tokens in rows(tmp_path / "run") if step == 1}
    assert measured.keys() == expected.keys()
    for record, (loss, tokens) in measured.items():
        assert (loss, tokens) == (pytest.approx(expected[record][0], rel=1e-4), expected[record][1])


def test_the_rows_of_a_step_add_up_to_its_loss(build: Build, settings: Train, tiny_base: Path, tmp_path: Path) -> None:
    outcome = train(settings, build, str(tiny_base), "tiny", tmp_path / "run", 7)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    found = rows(tmp_path / "run")
    for line in lines:
        step = [(loss * tokens, tokens) for _, at, loss, tokens in found if at == line["step"]]
        if "loss" in line:
            mean = sum(summed for summed, _ in step) / sum(tokens for _, tokens in step)
            assert mean == pytest.approx(line["loss"], rel=1e-5)
    second = [row for row in found if row[1] > outcome.steps // 2]
    highest = sorted(second, key=lambda row: -row[2])[:5]
    assert [(row.record, row.step) for row in outcome.worst] == [(row[0], row[1]) for row in highest]


def test_steps_after_the_checkpoint_and_a_line_cut_off_are_dropped(tmp_path: Path) -> None:
    killed = RecordLosses(tmp_path, 0, Processes())
    for step in range(1, 6):
        write(killed, step, a=(2.0 * step, 2), b=(0.0, 0))
    with (tmp_path / record_losses.SPOOL).open("ab") as file:
        file.write(b"[6,[")
    resumed = RecordLosses(tmp_path, 3, Processes())
    killed._file.close()
    write(resumed, 4, c=(9.0, 2))
    resumed.close()
    assert rows(tmp_path) == [("a#1", 1, 1, 2), ("a#1", 2, 2, 2), ("a#1", 3, 3, 2), ("c#1", 4, 4.5, 2)]
    stopped = RecordLosses(tmp_path, 2, Processes())
    write(stopped, 3, d=(1.0, 1))
    stopped.close()
    assert rows(tmp_path) == [("a#1", 1, 1, 2), ("a#1", 2, 2, 2), ("d#1", 3, 1, 1)]
    RecordLosses(tmp_path, 0, Processes()).close()
    assert rows(tmp_path) == []


def test_a_record_counts_by_its_last_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_losses, "ROWS_PER_GROUP", 2)
    losses = RecordLosses(tmp_path, 0, Processes())
    write(losses, 1, a=(9.0, 1), b=(8.0, 1), c=(1.0, 1))
    write(losses, 2, d=(7.0, 1))
    write(losses, 3, a=(1.0, 1), b=(4.0, 2))
    write(losses, 4, c=(3.0, 1))
    losses.close()
    assert pq.ParquetFile(tmp_path / "losses.parquet").num_row_groups > 1
    assert [(row.record, row.loss) for row in worst(tmp_path, 3)] == [("d#1", 7), ("c#1", 3), ("b#1", 2)]
    assert [row.record for row in worst(tmp_path, 3, since_step=2)] == ["c#1", "b#1", "a#1"]
