"""The GPU benchmark, on the CPU: that it runs to its end, and that what it counts with is right."""

import importlib
import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

ROOT = Path(__file__).parent.parent
BENCH = ROOT / "tests" / "bench"
sys.path.append(str(BENCH))
clock, contenders, documents, model, processes, report, shapes = (
    importlib.import_module(f"gpu_{name}")
    for name in ("clock", "contenders", "documents", "model", "processes", "report", "shapes")
)

Line = dict[str, Any]
REFUSED = ("datasets", "trl", "pydantic", "duckdb", "openai", "orjson", "pyarrow", "click", "jinja2")
IMPORTS = f"""
import importlib, sys

class Without:
    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {REFUSED} else self._finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import gpu, gpu_worker
for name in gpu_worker.LOADED["plain"]:
    importlib.import_module(name)
for module, _ in gpu_worker.TRAINERS.values():
    importlib.import_module(module)
print(sorted(set(sys.modules) & set({REFUSED})))
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), str(BENCH)])
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def lines(folder: Path) -> list[Line]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A whole run on tiny shapes, and the folder of its results."""
    folder = tmp_path_factory.mktemp("smoke")
    return run(str(BENCH / "gpu.py"), "--smoke", "--out", str(folder)), folder


def test_all_of_it_runs_on_tiny_shapes(smoke: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, folder = smoke
    assert done.returncode == 0, done.stderr
    results = lines(folder)
    every = [each.name for each in [*contenders.checks(), *contenders.contenders()]]
    assert sorted(line["name"] for line in results) == sorted(every)
    able = [line for line in results if line["needs"] == "plain"]
    assert [line["name"] for line in able if line["outcome"] != "done"] == []
    table = (folder / "gpu.md").read_text(encoding="utf-8").rstrip().splitlines()
    assert table[-1].startswith("| Llama-3-8B, long documents |")
    assert done.stdout.rstrip().splitlines()[-1] == table[-1]


def test_contenders_begin_with_the_same_model(smoke: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    first = {line["name"]: line["steps"][0] for line in lines(smoke[1]) if "steps" in line}
    theirs = first["hf-packed"]
    for name in ("trainkit-0", "trainkit-3", "trainkit-generic", "trainkit-planned-24gb"):
        ours = first[name]
        assert (ours["tokens"], ours["trained"]) == (theirs["tokens"], theirs["trained"])
        assert math.isclose(ours["loss"], theirs["loss"], rel_tol=1e-3)
        assert math.isclose(ours["norm"], theirs["norm"], rel_tol=1e-2)


def test_what_found_no_time_is_told(tmp_path: Path) -> None:
    done = run(str(BENCH / "gpu.py"), "--budget", "6", "--out", str(tmp_path), "--only", "parity,trainkit-0,hf-packed")
    assert done.returncode == 0, done.stderr
    assert [line["outcome"] for line in lines(tmp_path)] == ["no time left"] * 3
    assert "- HF Trainer + PEFT, packed, our attention, checkpointing, Llama-3-8B: no time left" in done.stdout


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    done = run(str(BENCH / "gpu.py"), "--out", str(tmp_path), "--only", "trainkit-9")
    assert done.returncode == 2
    assert "there is no run trainkit-9" in done.stderr


def test_it_loads_without_the_packages_that_a_gpu_machine_lacks() -> None:
    done = run("-c", IMPORTS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_flops_of_a_token() -> None:
    llama = shapes.SHAPES["Llama-3-8B"]
    # Of a layer: q and o 4096 x 4096, k and v 4096 x 1024, gate, up and down 4096 x 14336.
    layer = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336
    assert llama.of_layers == 32 * layer == 6_979_321_856
    assert llama.of_head == 128256 * 4096
    # 2 S H K a layer forward, 2.5 times that backward.
    attention = 32 * 3.5 * 2 * 1024 * 4096
    assert llama.flops(1024, 1.0) == 4 * (llama.of_layers + llama.of_head) + attention
    assert round((llama.flops(1024, 1.0) + llama.lora_flops) / 1e9, 1) == 31.2
    assert round((llama.flops(8192, 1.0) + llama.lora_flops) / 1e9, 1) == 37.8
    qwen3, qwen2 = shapes.SHAPES["Qwen3-8B"], shapes.SHAPES["Qwen2.5-7B"]
    assert round((qwen3.flops(1024, 1.0) + qwen3.lora_flops) / 1e9, 1) == 31.6
    assert round((qwen2.flops(1024, 1.0) + qwen2.lora_flops) / 1e9, 1) == 29.2
    assert llama.flops(0, 1.0) - llama.flops(0, 0.5) == 2 * llama.of_head


def test_weights() -> None:
    llama = shapes.SHAPES["Llama-3-8B"]
    # r (in + out) of each matrix.
    assert llama.of_lora == 32 * 16 * (2 * 8192 + 2 * 5120 + 3 * 18432) == 41_943_040
    assert round(2 * llama.weights / 1e9, 1) == 16.1
    assert round(2 * shapes.SHAPES["Qwen3-4B"].weights / 1e9, 1) == 8.0
    small = shapes.SHAPES["Qwen3-0.6B"]
    assert small.weights == small.of_layers + small.of_head


@pytest.mark.parametrize("name", ["chat", "short", "long"])
@pytest.mark.parametrize("small", [False, True])
def test_documents_fit_into_windows_whole(name: str, small: bool) -> None:
    work = documents.work(name, 8, small=small)
    assert len(work.steps) == 8 + documents.SPARE_STEPS
    windows = [window for step in work.steps for window in step]
    assert max(sum(each.tokens for each in window) for window in windows) <= work.window
    assert min(sum(each.tokens for each in window) for window in windows) > 0.95 * work.window
    assert all(0 < each.trained < each.tokens for each in work.documents)


def test_lengths_are_those_of_the_set() -> None:
    work = documents.work("chat", 8)
    assert 600 < work.length < 800
    assert 0.7 < work.loss_share < 0.9
    step = work.steps[0]
    flat = [document for window in step for document in window]
    for together in (1, 2, 4):
        micro_batches = documents.joined(step, together)
        assert [document for micro_batch in micro_batches for document in micro_batch] == flat
        assert len(micro_batches) == 4 // together


def test_names_of_runs_differ() -> None:
    names = [each.name for each in [*contenders.checks(), *contenders.contenders()]]
    assert len(set(names)) == len(names)
    for each in contenders.contenders():
        assert not each.only_if_too_large or names.index(each.only_if_too_large) < names.index(each.name)


def test_peers_reach_the_kernel_with_what_they_know_of_documents() -> None:
    # No GPU is there; what its kernels are called with is checked all the same.
    with FakeTensorMode():
        query, key, value = (
            torch.empty(100, heads * 128, device="cuda", dtype=torch.bfloat16).view(1, 100, heads, 128).transpose(1, 2)
            for heads in (8, 2, 2)
        )
        ends = torch.empty(6, device="cuda", dtype=torch.int32)
        given = {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends, "max_length_q": 40, "max_length_k": 40}
        found, _ = model._for_peers(torch.nn.Module(), query, key, value, None, **given, scaling=0.1)
    assert found.shape == (1, 100, 8, 128)
    assert found.is_cuda


def test_documents_are_laid_into_a_row_for_peers() -> None:
    found = model.flattened([{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8, 9], "labels": [8, 9]}])
    assert found["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    # A document's first token is not predicted from the one before it, which is another document's.
    assert found["labels"].tolist() == [[-100, 6, 7, -100, 9]]
    assert found["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert found["cu_seq_lens_q"].tolist() == [0, 3, 5]
    assert found["max_length_q"] == 3


class Event:
    """What torch's own would be on a GPU on which each is a second after the one before."""

    made = 0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        Event.made += 1
        self.at = Event.made

    def elapsed_time(self, other: "Event") -> float:
        return 1000.0 * (other.at - self.at)


def test_the_clock_counts_waits_in_the_last_step_that_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    mode = ["default"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda said: mode.append(said))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    timed = clock.Clock(2)
    timed.mark()
    for _ in range(4):
        if mode[-1] == "warn":
            for _ in range(3):
                warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
            warnings.warn("something else", stacklevel=1)
        timed.losses.append(torch.tensor(2.0))
        timed.norms.append(0.5)
        timed.mark()
    assert mode == ["default", "warn", "default"]
    assert timed.waits == 3
    assert [step["seconds"] for step in timed.steps([(10, 8)] * 4)] == [1.0] * 4


def line(name: str, *, loss: float = 5.5, norm: float = 0.3, trainer: str = "hf", **others: Any) -> Line:
    step = {"tokens": 100, "trained": 80, "seconds": 2.0, "loss": loss, "norm": norm}
    made = contenders.Run(name, name, trainer=trainer, warm=1, timed=2).request()
    return {**made, "outcome": "done", "steps": [step] * 3, "flops": 1e9, "tokens_together": 50, **others}


def test_contenders_that_are_not_alike_are_wrong() -> None:
    alike = [line("a"), line("b", loss=5.51, norm=0.35), line("c")]
    assert report.wrong(alike, everything=True) == []
    for odd, words in (
        (line("d", norm=0.0), "its gradient's norm 0.0"),
        (line("d", loss=math.nan), "a step's loss is nan"),
        (line("d", norm=0.9), "its first gradient is 0.9"),
        (line("d", loss=5.9), "its first loss is 5.9"),
    ):
        assert any(words in told for told in report.wrong([*alike, odd], everything=True))
    assert report.wrong([*alike, line("d", loss=9.0, documents="short")], everything=True) == []


def test_the_table_tells_speed_share_and_what_does_not_fit() -> None:
    roofline = {"job": "roofline", "outcome": "done", "device": "X", "burst": 0.1, "sustained": 0.05, "shapes": {}}
    roofline |= {"name": "roofline", "copy_tb_per_second": 1.0, "memory": 2**30}
    slow = line("slow", allocated=3_000_000_000, reserved=4_000_000_000, waits=7)
    slow["steps"] = [{**step, "seconds": 4.0} for step in slow["steps"]]
    held = {**line("held", memory_gb=24), "outcome": "does not fit"}
    told = report.report([roofline, line("ours", trainer="trainkit"), slow, held])
    # 100 tokens in 4 s at 1e9 operations each are 25e9 a second: of 0.1 and 0.05 TFLOP/s.
    row = "| Llama-3-8B | slow | 25 (25 to 25) | 0.50 | 20 | 25% / 50% | 3.0 (4.0) | 50 | 7 | 5.5000, 0.3 |"
    assert row in told.splitlines()
    assert "| Llama-3-8B, 24 GB | held | does not fit | | | | | | | |" in told.splitlines()
    assert told.index("## In the memory of smaller cards") < told.index("## Contenders")


def test_the_first_steps_are_not_timed() -> None:
    made = line("a")
    made["steps"] = [{**made["steps"][0], "seconds": 100.0}, *made["steps"][1:]]
    assert report.in_short(made) == "50 tokens/s"


@pytest.mark.parametrize(
    ("said", "stopped", "outcome"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", None, "does not fit"),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED", None, "does not fit"),
        ("ImportError: no such thing", None, "failed"),
        ("", 80.0, "stopped after 80 s"),
    ],
)
def test_a_process_that_leaves_no_result_is_understood(
    tmp_path: Path, said: str, stopped: float | None, outcome: str
) -> None:
    found = processes.Process._found({"result": str(tmp_path / "none.json")}, said, stopped)
    assert found["outcome"] == outcome


def test_a_process_that_does_not_end_is_ended(tmp_path: Path) -> None:
    process = processes.Process("plain", [], tmp_path, "log", on_cpu=True)
    request = {"job": "roofline", "smoke": True, "result": str(tmp_path / "found.json")}
    assert process.run([request], 0.01)[0]["outcome"].startswith("stopped after")
    assert process._process.returncode == -9
