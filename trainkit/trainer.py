"""A training run from a build and a base model to an adapter folder."""

import hashlib
import resource
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import torch

from dataforge.errors import AdapterError, BaseModelError, BuildError
from dataforge.seeds import draw
from dataforge.shards import Build, sha256_of
from trainkit import adapters, new_tokens, objectives, outcome, plan
from trainkit.checkpoint import Checkpoint, Checkpoints, Position, restore_random_states
from trainkit.config import Train
from trainkit.data import Windows, micro_batch
from trainkit.files import sweep, written
from trainkit.interrupt import interruptible
from trainkit.log import Metrics, Progress
from trainkit.loop import Loop
from trainkit.model import base_fingerprint, check_build, load_base, local_folder, pick_device, pick_precision
from trainkit.optimizer import Optimizer
from trainkit.outcome import Outcome
from trainkit.policy import Policy

INDIFFERENT = {"base", "data", "init_from", "precision", "memory", "save_every", "keep", "log_every", "report_to"}
"""Settings that do not decide a run's losses, or that are looked at where they do."""


def train(settings: Train, build: Build, base: str, base_name: str, out: Path, seed: int) -> Outcome:
    """Train an adapter and write it to `out/adapter`.

    `base` is a folder or hub id, `base_name` what the recipe calls it. A run that was stopped goes on from its last
    checkpoint; one that is finished is not repeated; one whose settings or data have changed starts anew. Raises
    `Interrupted` on the first SIGINT, after saving, and a `ForgeError` for what the user can mend.
    """
    folder = str(local_folder(base))
    _check(settings, build, folder, base_name)
    device = pick_device()
    precision = pick_precision(settings.precision, device)
    fingerprint = base_fingerprint(folder)
    _check_start(settings, build, base_name, fingerprint)
    run = _run_hash(settings, build, fingerprint, precision, seed)
    progress = Progress(0)
    finished = outcome.find(out, run, out / "adapter")
    if finished is not None:
        progress.say(f"{out / 'adapter'}: trained already with these settings and this data; nothing to do")
        return finished
    checkpoints = Checkpoints(out / "checkpoints", run, settings.keep)
    start = _start(out, run, checkpoints, progress)
    model, tokenizer = load_base(folder, precision, device, packed=True, added=build.manifest.tokenizer.new_tokens)
    loop = _loop(settings, build, model, tokenizer, device, seed, start, checkpoints, out)
    try:
        with interruptible() as interrupt:
            loop.run(interrupt)
    finally:
        loop.metrics.close()
        loop.progress.close()
    card = _card(settings, build, base_name, fingerprint)
    done = _outcome(loop.position, out / "adapter", device)
    with written(out / "adapter"):
        adapters.save(out / "adapter", loop.policy.model, loop.optimizer.masters, tokenizer, build.manifest, card)
        outcome.write(out, run, done)
    return replace(done, resumed=start is not None)


def _check(settings: Train, build: Build, folder: str, base_name: str) -> None:
    eats = objectives.load(settings.objective).EATS
    if build.manifest.kind != eats:
        raise BuildError(f"{build.folder}: holds {build.manifest.kind} shards; {settings.objective} trains on {eats}")
    check_build(build, folder, base_name)


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
        "build": build.manifest.digest,
        "base": fingerprint,
        "init_from": settings.init_from and sha256_of(settings.init_from / adapters.WEIGHTS),
        "precision": str(precision),
        "seed": str(seed),
    }
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _start(out: Path, run: str, checkpoints: Checkpoints, progress: Progress) -> Checkpoint | None:
    """Where to go on from, after clearing away what belongs to no run any more."""
    sweep(out)
    sweep(out / "checkpoints")
    if checkpoints.other_run() or outcome.other_run(out, run):
        stake = f"; {out / 'adapter'} will be replaced, another --out keeps it" if (out / "adapter").is_dir() else ""
        progress.say(
            f"{out}: the settings, the data or the base model are not those of the run before; starting anew{stake}"
        )
        (out / outcome.FILE).unlink(missing_ok=True)
        checkpoints.clear()
    found = checkpoints.latest()
    if found is not None:
        progress.say(f"{out}: going on after step {found.position.step}")
    return found


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
) -> Loop:
    train_windows, eval_windows = Windows(build, "train"), Windows(build, "eval")
    _check_windows(build, train_windows, eval_windows, model)
    torch.manual_seed(draw(seed, "adapter") >> 1)
    tokens = build.manifest.tokenizer
    adapted = adapters.attach(model, settings.adapter, list(tokens.new_tokens.values()))
    new_tokens.start_stops(adapted, tokens.stop_tokens.values(), tokenizer.eos_token_id)
    if settings.init_from is not None:
        adapters.fill(adapted, settings.adapter, settings.init_from)
    policy = Policy(adapted)
    policy.check_head(micro_batch([train_windows[0]], device))
    steps = plan.steps(settings, train_windows.tokens_W.tolist(), train_windows.trained_W.tolist(), seed)
    optimizer = Optimizer(policy.parameters, settings, len(steps))
    torch.manual_seed(draw(seed, "training") >> 1)
    position = Position() if start is None else start.position
    if start is not None:
        optimizer.restore(start.tensors, position.step)
        restore_random_states(start.tensors, device)
    return Loop(
        settings=settings,
        policy=policy,
        objective=objectives.load(settings.objective),
        optimizer=optimizer,
        plan=steps,
        train_windows=train_windows,
        eval_windows=eval_windows,
        device=device,
        position=position,
        checkpoints=checkpoints,
        metrics=Metrics(out / "metrics.jsonl", position.step),
        progress=Progress(len(steps)),
        saved_at=position.step,
    )


def _check_windows(build: Build, train_windows: Windows, eval_windows: Windows, model: Any) -> None:
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


def _outcome(position: Position, adapter: Path, device: torch.device) -> Outcome:
    return Outcome(
        adapter=adapter,
        steps=position.step,
        train_loss=position.train_loss,
        eval_loss=position.eval_loss,
        tokens_per_second=position.tokens / position.seconds,
        seconds=position.seconds,
        peak_memory_mb=_peak_memory_mb(device),
    )


def _peak_memory_mb(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 2**20 if sys.platform == "darwin" else peak // 2**10
