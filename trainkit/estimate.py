"""What a run would do, and what it would take: counted where it can be, measured on a few windows where not."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from dataforge.shards import Build
from trainkit import coverage, objectives, plan, way
from trainkit.config import Train
from trainkit.data import Windows, micro_batch
from trainkit.loss import CHUNK
from trainkit.memory import BYTES_PER_LOGIT, MemoryPlan, adapter_bytes, frozen_bytes
from trainkit.micro_batch import MicroBatch
from trainkit.micro_batches import Size, Work, micro_batches
from trainkit.model import load_base, local_folder, pick_device, pick_precision
from trainkit.objectives import Objective
from trainkit.optimizer import Optimizer
from trainkit.peak import peak_memory
from trainkit.policy import Policy
from trainkit.processes import Processes
from trainkit.trainer import adapt, check, check_windows, longest_document
from trainkit.way import Way

TIMED_STEPS = 3
"""Optimizer steps that are timed, after one that is not; at most, and no more windows than TIMED_WINDOWS."""
TIMED_WINDOWS = 8
TIMED_EVALUATIONS = 2
"""Windows of the eval split that are timed."""


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a training step."""

    process: int
    """Python and the libraries; 0 on an accelerator."""
    weights: int
    """The frozen base model."""
    adapter: int
    """The adapter, its fp32 masters, gradients and both moments of AdamW."""
    saved_per_token: int
    """Activations that the backward pass needs of each token of a micro-batch."""
    micro_batch_tokens: int
    """Of the largest micro-batch."""
    loss_chunk: int
    """The logits that exist at one time."""

    @property
    def total(self) -> int:
        """All of it."""
        activations = self.saved_per_token * self.micro_batch_tokens
        return self.process + self.weights + self.adapter + activations + self.loss_chunk


@dataclass(frozen=True)
class Estimate:
    """A run before it is run."""

    windows: int
    rows: int
    fill: float
    """Share of the windows' places that hold a token."""
    epochs: int
    """Begun; the last one may be cut short."""
    steps: int
    """Optimizer steps."""
    tokens: int
    """Over all steps."""
    trained_tokens: int
    tokens_per_step: float
    """On average."""
    parameters: int
    """That are trained."""
    all_parameters: int
    """Of base and adapter together."""
    targets: list[str]
    """The last names of the layers that carry the adapter."""
    untrained: list[str]
    """Weights of the layers that carry none."""
    layers: list[str]
    """How they are computed, and why so."""
    memory_plan: MemoryPlan | None
    """None where layers are computed the generic way."""
    precision: str
    device: str
    seconds: float
    """Training, without loading, evaluations and checkpoints."""
    eval_seconds: float
    """All evaluations."""
    tokens_per_second: float
    memory: Memory
    measured_peak: int
    """Bytes held at the peak while the model was loaded and timed, the largest micro-batch among it.

    On a CPU it is more than `memory` counts: the C library keeps much of what was given back to it.
    """


def estimate(settings: Train, build: Build, base: str, base_name: str, seed: int) -> Estimate:
    """Plan a run, and time the first windows of it on the model itself.

    `base` is a folder or hub id, `base_name` what the recipe calls it. Nothing is written, and the
    weights that are timed are thrown away. Raises a `ForgeError` where the run could not start either.
    """
    folder = str(local_folder(base))
    check(settings, build, folder, base_name)
    device = pick_device()
    precision = pick_precision(settings.precision, device)
    train_windows, eval_windows = Windows(build, "train"), Windows(build, "eval")
    process = 0 if device.type == "cuda" else peak_memory(device)
    said: list[str] = []
    chosen = _way(settings, build, folder, precision, device, seed, said.append)
    policy = chosen.policy
    check_windows(build, train_windows, eval_windows, policy.model)
    steps = plan.steps(settings, train_windows.tokens_W.tolist(), train_windows.trained_W.tolist(), seed)
    optimizer = Optimizer(policy.parameters, settings, len(steps))
    objective = objectives.load(settings.objective)
    largest = max(
        (work for step in steps if not step.epoch for work in _works(train_windows, step.windows, chosen.size)),
        key=lambda work: work.tokens,
    )
    batch = micro_batch(largest.data, device)
    saved = _saved_bytes(objective, policy, batch)
    optimizer.discard()
    speed = _seconds_per_token(steps, objective, policy, optimizer, train_windows, chosen.size, device)
    eval_speed = _eval_seconds_per_token(objective, policy, eval_windows, chosen.size, device)
    evaluations = -(-len(steps) // settings.eval_every)
    tokens = sum(step.tokens for step in steps)
    peak = peak_memory(device)
    statistics = build.manifest.statistics["train"]
    return Estimate(
        windows=len(train_windows),
        rows=statistics.rows,
        fill=statistics.tokens / (len(train_windows) * build.manifest.window),
        epochs=steps[-1].epoch + 1,
        steps=len(steps),
        tokens=tokens,
        trained_tokens=sum(step.trained_tokens for step in steps),
        tokens_per_step=tokens / len(steps),
        parameters=sum(weight.numel() for weight in policy.parameters.values()),
        all_parameters=sum(weight.numel() for weight in policy.model.parameters()),
        targets=_targets(policy.model),
        untrained=[part.name for part in coverage.coverage(policy.model).missed],
        layers=said,
        memory_plan=chosen.plan,
        precision=str(precision).removeprefix("torch."),
        device=str(device),
        seconds=tokens * speed,
        eval_seconds=evaluations * int(eval_windows.tokens_W.sum()) * eval_speed,
        tokens_per_second=1 / speed,
        memory=Memory(
            process=process,
            weights=frozen_bytes(policy.model),
            adapter=adapter_bytes(policy.model),
            saved_per_token=-(-saved // largest.tokens),
            micro_batch_tokens=largest.tokens,
            loss_chunk=min(CHUNK, len(batch.trained_P)) * policy.head_VD.shape[0] * BYTES_PER_LOGIT,
        ),
        measured_peak=peak,
    )


def _way(
    settings: Train,
    build: Build,
    base: str,
    precision: torch.dtype,
    device: torch.device,
    seed: int,
    say: Callable[[str], None],
) -> Way:
    model, tokenizer = load_base(base, precision, device, packed=True, added=build.manifest.tokenizer.new_tokens)
    adapted = adapt(model, tokenizer, settings, build, seed)
    longest, window = longest_document(build), build.manifest.window
    return way.choose(adapted, settings, longest, window, device, Processes(), sharded=False, say=say)


def _saved_bytes(objective: Objective, policy: Policy, batch: MicroBatch) -> int:
    """Bytes that the backward pass of a micro-batch needs, the model's own weights aside."""
    own = {weight.untyped_storage().data_ptr() for weight in [*policy.model.parameters(), *policy.model.buffers()]}
    found: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    policy.model.train()
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        # Held until the end: a storage that is freed would lend its address to the next one.
        loss = objective.loss(policy, objective.prepare(policy, batch)).summed
    loss.backward()  # type: ignore[no-untyped-call]
    return sum(found.values())


def _seconds_per_token(
    steps: list[plan.Step],
    objective: Objective,
    policy: Policy,
    optimizer: Optimizer,
    windows: Windows,
    size: Size,
    device: torch.device,
) -> float:
    """Timed over the first steps of the plan, each of which is taken back."""
    before = {name: tensor.clone() for name, tensor in optimizer.tensors().items()}
    times: list[float] = []
    done = 0
    for step in steps[: TIMED_STEPS + 1]:
        chosen = step.windows[:TIMED_WINDOWS]
        with _timed(device) as spent:
            for work in _works(windows, chosen, size):
                batch = objective.prepare(policy, micro_batch(work.data, device))
                optimizer.backward(objective.loss(policy, batch).summed / step.trained_tokens)
        with _timed(device) as ended:
            optimizer.clip()
            optimizer.step(0)
        optimizer.restore(before)
        share = spent[0] / sum(int(windows.tokens_W[window]) for window in chosen)
        times.append(share + ended[0] / step.tokens)
        done += len(chosen)
        if done > TIMED_WINDOWS:
            break
    return median(times[1:] or times)


def _works(windows: Windows, chosen: Sequence[int], size: Size) -> Iterator[Work]:
    return micro_batches(windows, chosen, size, Processes(), sharded=False)


@torch.no_grad()
def _eval_seconds_per_token(
    objective: Objective, policy: Policy, windows: Windows, size: Size, device: torch.device
) -> float:
    chosen = range(min(len(windows), TIMED_EVALUATIONS))
    if not chosen:
        return 0.0
    policy.model.eval()
    with _timed(device) as spent:
        for work in _works(windows, chosen, size):
            float(objective.loss(policy, objective.prepare(policy, micro_batch(work.data, device))).summed)
    return spent[0] / int(windows.tokens_W[: len(chosen)].sum())


@contextmanager
def _timed(device: torch.device) -> Iterator[list[float]]:
    """The seconds that the block takes, as the one item of a list; the device has done its work by then."""
    spent = [0.0]
    start = time.perf_counter()
    yield spent
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    spent[0] = time.perf_counter() - start


def _targets(model: Any) -> list[str]:
    return sorted({name.rsplit(".", 1)[-1] for name, module in model.named_modules() if hasattr(module, "lora_A")})
