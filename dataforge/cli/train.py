"""`forge train`: build what is stale, then train."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataforge.config import Document
    from dataforge.shards import Build
    from trainkit.outcome import Outcome
    from trainkit.processes import Processes


@click.command(short_help="Build what is stale, then train an adapter.")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder [default: ./runs/NAME].")
@click.option("--processes", type=click.IntRange(min=1), default=1, help="Train on so many devices of this machine.")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
def command(recipe: Path, overrides: tuple[str, ...], out: Path | None, processes: int, as_json: bool) -> int:
    """Build what RECIPE needs and train the adapter that its `train:` half describes.

    A run that was stopped goes on from its last checkpoint; a finished one is not repeated. Several
    machines are started by `torchrun ... -m dataforge train RECIPE`.
    """
    from dataforge import config
    from trainkit.processes import join, leave

    document = config.load(recipe, overrides)
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        from trainkit.launch import launch

        return launch(sys.argv[1:], processes)
    joined = join()
    with joined.one_voice():
        outcomes = _train(document, out, joined)
    leave(joined)
    if not joined.first:
        return 0
    if as_json:
        click.echo(json.dumps([asdict(outcome) for outcome in outcomes], default=str))
        return 0
    for outcome in outcomes:
        click.echo(f"{outcome.adapter}: {_done(outcome)}")
    click.echo(f"  talk to it: forge chat {outcomes[-1].adapter}")
    return 0


def _train(document: "Document", out: Path | None, processes: "Processes") -> "list[Outcome]":
    """Run the stages in order, each on from the adapter of the one before."""
    from dataforge.bases import resolve
    from trainkit.config import stages

    settings = stages(document)
    builds: list[Build] = []
    processes.first_does(lambda: builds.extend(_build(document, stage.data, _to_stderr) for stage in settings))
    if not processes.first:
        builds = [_build(document, stage.data, lambda text: None) for stage in settings]
    folder = out or Path("runs") / builds[0].manifest.name
    folders = [folder / f"{number}-{stage.objective}" for number, stage in enumerate(settings, start=1)]
    if len(settings) == 1:
        folders = [folder]

    from trainkit.trainer import train

    outcomes: list[Outcome] = []
    for stage, build, target in zip(settings, builds, folders, strict=True):
        on_from = outcomes[-1].adapter if outcomes and stage.init_from is None else stage.init_from
        base = resolve(stage.base, document.folder)
        # An adapter outlives the folder it was trained from, so a base that is a folder is kept by its whole path.
        name = str(Path(base).resolve()) if (document.folder / stage.base).is_dir() else stage.base
        seed = build.manifest.seed
        stage = stage.model_copy(update={"init_from": on_from})
        outcomes.append(train(stage, build, base, name, target, seed, processes))
    return outcomes


def _build(document: "Document", data: Path | None, say: "Callable[[str], None]") -> "Build":
    """The build to train on: what the recipe's sources make, or the folder that `train.data` names."""
    from dataforge import report, shards
    from dataforge.build import build

    if "sources" not in document.data:
        if data is None:
            raise document.error(("sources",), "is missing; give sources, or a build folder as `train.data`")
        return shards.open_build(data)
    if data is not None:
        raise document.error(("train", "data"), "the file has sources of its own; take one of the two away")
    outcome = build(document, None, say)
    say(f"{outcome.folder}: {'nothing has changed' if outcome.reused else 'built'}")
    if not outcome.reused:
        say("\n".join(report.summary(outcome.manifest)))
    return shards.open_build(outcome.folder)


def _to_stderr(text: str) -> None:
    click.echo(text, err=True)


def _done(outcome: "Outcome") -> str:
    if outcome.reused:
        return "was trained before with these settings and this data; nothing to do"
    losses = f"loss {outcome.train_loss:.3f}" if outcome.train_loss is not None else ""
    if outcome.eval_loss is not None:
        losses += f", eval loss {outcome.eval_loss:.3f}"
    return (
        f"{outcome.steps} steps in {outcome.seconds:.0f} s, {losses}, {outcome.tokens_per_second:,.0f} tokens/s, "
        f"peak memory {outcome.peak_memory_mb / 1024:.1f} GB"
    )
