"""A training run from a build and a base model to an adapter folder."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import torch

from dataforge.errors import AdapterError, BaseModelError, BuildError
from dataforge.seeds import draw
from dataforge.shards import Build, sha256_of
from trainkit import (
    adapters,
    coverage,
    new_tokens,
    objectives,
    outcome,
    packing,
    plan,
    record_losses,
    sharding,
    trackers,
    way,
)
from trainkit.checkpoint import Checkpoint, Checkpoints, Position
from trainkit.config import Train
from trainkit.data import Windows, micro_batch
from trainkit.files import written
from trainkit.interrupt import Interrupted, interruptible
from trainkit.log import Metrics, Progress
from trainkit.loop import Loop
from trainkit.model import (
    base_fingerprint,
    check_build,
    load_base,
    local_folder,
    pick_device,
    pick_precision,
    weights_size,
)
from trainkit.optimizer import Optimizer
from trainkit.outcome import Outcome
from trainkit.peak import peak_memory
from trainkit.processes import Processes
from trainkit.record_losses import RecordLoss, RecordLosses
from trainkit.start import where_to_go_on
from trainkit.trackers import Trackers

INDIFFERENT = {
    "base",
    "data",
    "fused",
    "init_from",
    "keep",
    "log_every",
    "max_loss_jump",
    "memory",
    "parallel",
    "precision",
    "report_to",
    "save_every",
    "tokens_per_micro_batch",
}
"""Settings that decide no loss beyond rounding, or that are looked at where they do."""


def train(
    settings: Train,
    build: Build,
    base: str,
    base_name: str,
    out: Path,
    seed: int,
    processes: Processes | None = None,
) -> Outcome:
    """Train an adapter and write it to `out/adapter`.

    `base` is a folder or hub id, `base_name` what the recipe calls it. A run that was stopped goes on from its last
    checkpoint; one that is finished is not repeated; one whose settings or data have changed starts anew. With
    `processes` this is one of several that train together. Raises
    `Interrupted` on the first SIGINT, after saving, and a `ForgeError` for what the user can mend.
    """
    processes = processes or Processes()
    folder = str(local_folder(base))
    check(settings, build, folder, base_name)
    device = pick_device()
    precision = pick_precision(settings.precision, device)
    fingerprint = base_fingerprint(folder)
    _check_start(settings, build, base_name, fingerprint)
    run = _run_hash(settings, build, fingerprint, precision, seed)
    progress = Progress(0, silent=not processes.first)
    finished = outcome.find(out, run, out / "adapter")
    if finished is not None:
        progress.say(f"{out / 'adapter'}: trained already with these settings and this data; nothing to do")
        return finished
    checkpoints = Checkpoints(out / "checkpoints", run, settings.keep)
    start = where_to_go_on(out, run, checkpoints, progress, processes)
    sharded = sharding.wanted(settings.parallel, weights_size(folder), device, processes)
    # A base that is to be sharded may not fit into the device before it is.
    place = torch.device("cpu") if sharded else device
    model, tokenizer = load_base(folder, precision, place, packed=True, added=build.manifest.tokenizer.new_tokens)
    loop = _loop(settings, build, model, tokenizer, device, seed, start, checkpoints, out, processes, sharded)
    for note in coverage.notes(loop.policy.model, settings.adapter):
        progress.say(note)
    whole = False
    try:
        with interruptible() as interrupt:
            loop.run(interrupt)
        whole = True
    except Interrupted:
        whole = True
        raise
    finally:
        loop.close(whole=whole)
    step, eval_loss = _chosen(settings, loop.position)
    if step != loop.position.step:
        loop.optimizer.restore(checkpoints.at(step).tensors)
    card = _card(settings, build, base_name, fingerprint)
    done = _outcome(loop.position, out / "adapter", device, _worst(loop, out) if processes.first else [])
    done = replace(done, adapter_step=step, eval_loss=eval_loss)

    def write() -> None:
        with written(out / "adapter"):
            adapters.save(out / "adapter", loop.policy.model, loop.optimizer.masters, tokenizer, build.manifest, card)
            outcome.write(out, run, done)

    processes.first_does(write)
    return replace(done, resumed=start is not None)


def _chosen(settings: Train, position: Position) -> tuple[int, float | None]:
    """The step whose adapter is kept, and its eval loss."""
    best = settings.adapter_from == "best" or (settings.adapter_from == "auto" and settings.early_stop is not None)
    if best and position.best_step is not None:
        return position.best_step, position.best_eval_loss
    return position.step, position.eval_loss


def check(settings: Train, build: Build, folder: str, base_name: str) -> None:
    """Raise a `ForgeError` where a build, its base model (a folder) and the settings do not go together."""
    eats = objectives.load(settings.objective).EATS
    if build.manifest.kind != eats:
        raise BuildError(f"{build.folder}: holds {build.manifest.kind} shards; {settings.objective} trains on {eats}")
    check_build(build, folder, base_name)
    trackers.check(settings.report_to)


def _check_start(settings: Train, build: Build, base_name: str, fingerprint: str) -> None:
    if settings.init_from is None:
        return
    card = adapters.read_card(settings.init_from)
    adapters.check_base(settings.init_from, card, base_name, fingerprint)
    adapters.check_new_tokens(settings.init_from, card, build.folder, build.manifest.tokenizer.new_tokens)
    if not (settings.init_from / adapters.WEIGHTS).is_file():
        raise AdapterError(f"{settings.init_from}: {adapters.WEIGHTS} is missing; train it again")


def _run_hash(settings: Train, build: Build, fingerprint: str, precision: torch.dtype, seed: int) -> str:
    """A hash of all that decides the losses of a run."""
    ignored = INDIFFERENT if settings.early_stop else INDIFFERENT | {"eval_every"}
    parts = {
        "settings": settings.model_dump(mode="json", exclude=ignored),
        # The first that fits a layer counts, and keys of a mapping are hashed in another order.
        "ranks": list(settings.adapter.ranks),
        "build": build.manifest.digest,
        "base": fingerprint,
        "init_from": settings.init_from and sha256_of(settings.init_from / adapters.WEIGHTS),
        "precision": str(precision),
        "seed": str(seed),
    }
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _loop(
    settings: Train,
    build: Build,
    model: Any,
    tokenizer: Any,
    device: torch.device,
    seed: int,
    start: Checkpoint | None,
    checkpoints: Checkpoints,
    out: Path,
    processes: Processes,
    sharded: bool,
) -> Loop:
    train_windows, eval_windows = Windows(build, "train"), Windows(build, "eval")
    check_windows(build, train_windows, eval_windows, model)
    packing.check(model, longest_document(build))
    adapted = adapt(model, tokenizer, settings, build, seed)
    if settings.init_from is not None:
        adapters.fill(adapted, settings.adapter, settings.init_from)
    if sharded:
        sharding.shard(adapted, device)
    progress = Progress(0, silent=not processes.first)
    chosen = way.choose(
        adapted,
        settings,
        longest_document(build),
        build.manifest.window,
        device,
        processes,
        sharded=sharded,
        say=progress.say,
    )
    policy = chosen.policy
    policy.check_head(micro_batch([train_windows[0]], device))
    steps = plan.steps(settings, train_windows.tokens_W.tolist(), train_windows.trained_W.tolist(), seed)
    optimizer = Optimizer(policy.parameters, settings, len(steps))
    position = Position() if start is None else start.position
    if start is not None:
        optimizer.restore(start.tensors)
    progress = Progress(len(steps), silent=not processes.first)
    config = settings.model_dump(mode="json", exclude={"data", "init_from"}) | {"build_digest": build.manifest.digest}
    reports = Trackers(settings.report_to, build.manifest.name, out / "logs", config, position.step, progress.say)
    return Loop(
        settings=settings,
        policy=policy,
        size=chosen.size,
        objective=objectives.load(settings.objective),
        optimizer=optimizer,
        plan=steps,
        train_windows=train_windows,
        eval_windows=eval_windows,
        seed=seed,
        device=device,
        precision=adapted.dtype,
        processes=processes,
        sharded=sharded,
        position=position,
        checkpoints=checkpoints,
        metrics=Metrics(out / "metrics.jsonl", position.step, reports) if processes.first else None,
        records=RecordLosses(out, position.step, processes),
        progress=progress,
        saved_at=position.step,
    )


def adapt(model: Any, tokenizer: Any, settings: Train, build: Build, seed: int) -> Any:
    """The base model with the fresh adapter that a run of this seed begins with."""
    torch.manual_seed(draw(seed, "adapter") >> 1)
    tokens = build.manifest.tokenizer
    adapted = adapters.attach(model, settings.adapter, list(tokens.new_tokens.values()))
    new_tokens.start_stops(adapted, tokens.stop_tokens.values(), tokenizer.eos_token_id)
    return adapted


def longest_document(build: Build) -> int:
    """Tokens."""
    return max(part.longest_row for part in build.manifest.statistics.values())


def check_windows(build: Build, train_windows: Windows, eval_windows: Windows, model: Any) -> None:
    """Raise a `ForgeError` where there is nothing to train on, or an id that the base model does not have."""
    if not len(train_windows):
        raise BuildError(f"{build.folder}: there is nothing to train on; see rejects.jsonl in it for why")
    rows = model.get_input_embeddings().weight.shape[0]
    largest = max(train_windows.largest_id, eval_windows.largest_id)
    if largest >= rows:
        raise BaseModelError(f"{build.folder} holds token id {largest}, but the base model has {rows} ids; build again")


def _card(settings: Train, build: Build, base_name: str, fingerprint: str) -> adapters.Card:
    return adapters.Card(
        base=base_name,
        base_fingerprint=fingerprint,
        build_digest=build.manifest.digest,
        template_sha256=build.manifest.template.sha256,
        template_kwargs=build.manifest.template.kwargs,
        stop_tokens=build.manifest.tokenizer.stop_tokens,
        new_tokens=build.manifest.tokenizer.new_tokens,
        train=settings.model_dump(mode="json", exclude={"data", "init_from"}),
    )


def _worst(loop: Loop, out: Path) -> list[RecordLoss]:
    """The records that are learned worst, by the last time each was trained on."""
    epoch = loop.plan[loop.position.step - 1].epoch
    # The last epoch may be a part of one, in which not every record was seen.
    before = sum(step.epoch < epoch - 1 for step in loop.plan)
    return record_losses.worst(out, record_losses.NAMED, before)


def _outcome(position: Position, adapter: Path, device: torch.device, worst: list[RecordLoss]) -> Outcome:
    return Outcome(
        adapter=adapter,
        steps=position.step,
        adapter_step=position.step,
        train_loss=position.train_loss,
        eval_loss=position.eval_loss,
        tokens_per_second=position.tokens / position.seconds,
        seconds=position.seconds,
        peak_memory_mb=peak_memory(device) // 2**20,
        worst=worst,
    )
