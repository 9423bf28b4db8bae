"""`forge train`: build what is stale, then train."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataforge.config import Document
    from dataforge.shards import Build
    from trainkit.config import Train
    from trainkit.outcome import Outcome
    from trainkit.processes import Processes


class Stage(NamedTuple):
    """A stage of training with all that it needs."""

    settings: "Train"
    build: "Build"
    reused: bool
    """Whether the build stood before."""
    base: str
    """The base model's folder or hub id."""
    base_name: str
    """What an adapter says it was trained from."""
    target: Path
    """The run's folder."""


@click.command(short_help="Build what is stale, then train an adapter.")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder [default: ./runs/NAME].")
@click.option("--processes", type=click.IntRange(min=1), default=1, help="Train on so many devices of this machine.")
@click.option("--plan", is_flag=True, help="Say what the run would do and take, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
def command(
    recipe: Path, overrides: tuple[str, ...], out: Path | None, processes: int, plan: bool, as_json: bool
) -> int:
    """Build what RECIPE needs and train the adapter that its `train:` half describes.

    A run that was stopped goes on from its last checkpoint; a finished one is not repeated. Several
    machines are started by `torchrun ... -m dataforge train RECIPE`.
    """
    from dataforge import config
    from dataforge.cli import _train_report as report
    from trainkit.processes import join, leave

    document = config.load(recipe, overrides)
    if plan:
        _plan(_stages(document, out, _to_stderr), as_json)
        return 0
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        from trainkit.launch import launch

        return launch(sys.argv[1:], processes)
    joined = join()
    with joined.one_voice():
        stages = _build_once(document, out, joined)
        outcomes = _train(stages, joined)
    leave(joined)
    if not joined.first:
        return 0
    if as_json:
        click.echo(json.dumps([asdict(outcome) for outcome in outcomes], default=str))
        return 0
    for stage, outcome in zip(stages, outcomes, strict=True):
        report.ended(outcome, stage.build.folder)
    click.echo(f"  talk to it: forge chat {outcomes[-1].adapter}")
    return 0


def _plan(stages: list[Stage], as_json: bool) -> None:
    from dataforge.cli import _train_report as report
    from trainkit.estimate import estimate

    found = [
        estimate(stage.settings, stage.build, stage.base, stage.base_name, stage.build.manifest.seed)
        for stage in stages
    ]
    if as_json:
        facts = [
            {"run": stage.target, "build": stage.build.folder, "build_reused": stage.reused, **asdict(planned)}
            | {"memory": {**asdict(planned.memory), "total": planned.memory.total}}
            for stage, planned in zip(stages, found, strict=True)
        ]
        click.echo(json.dumps(facts, default=str))
        return
    for stage, planned in zip(stages, found, strict=True):
        report.planned(planned, stage.build.folder, stage.target, reused=stage.reused)


def _build_once(document: "Document", out: Path | None, processes: "Processes") -> list[Stage]:
    """The stages of training, whose builds the first process makes and the others find made."""
    stages: list[Stage] = []
    processes.first_does(lambda: stages.extend(_stages(document, out, _to_stderr)))
    return stages or _stages(document, out, lambda text: None)


def _stages(document: "Document", out: Path | None, say: "Callable[[str], None]") -> list[Stage]:
    """The stages of training in order, with their builds made."""
    from dataforge.bases import resolve
    from trainkit.config import stages

    settings = stages(document)
    builds = [_build(document, stage.data, say) for stage in settings]
    folder = out or Path("runs") / builds[0][0].manifest.name
    folders = [folder / f"{number}-{stage.objective}" for number, stage in enumerate(settings, start=1)]
    if len(settings) == 1:
        folders = [folder]
    found = []
    for stage, (build, reused), target in zip(settings, builds, folders, strict=True):
        base = resolve(stage.base, document.folder)
        # An adapter outlives the folder it was trained from, so a base that is a folder is kept by its whole path.
        name = str(Path(base).resolve()) if (document.folder / stage.base).is_dir() else stage.base
        found.append(Stage(stage, build, reused, base, name, target))
    return found


def _train(stages: list[Stage], processes: "Processes") -> "list[Outcome]":
    """Run the stages in order, each on from the adapter of the one before."""
    from trainkit.trainer import train

    outcomes: list[Outcome] = []
    for stage in stages:
        on_from = outcomes[-1].adapter if outcomes and stage.settings.init_from is None else stage.settings.init_from
        settings = stage.settings.model_copy(update={"init_from": on_from})
        seed = stage.build.manifest.seed
        outcomes.append(train(settings, stage.build, stage.base, stage.base_name, stage.target, seed, processes))
    return outcomes


def _build(document: "Document", data: Path | None, say: "Callable[[str], None]") -> "tuple[Build, bool]":
    """The build to train on, and whether it stood: what the recipe's sources make, or the folder `train.data` names."""
    from dataforge import report, shards
    from dataforge.build import build

    if "sources" not in document.data:
        if data is None:
            raise document.error(("sources",), "is missing; give sources, or a build folder as `train.data`")
        return shards.open_build(data), True
    if data is not None:
        raise document.error(("train", "data"), "the file has sources of its own; take one of the two away")
    outcome = build(document, None, say)
    say(f"{outcome.folder}: {'nothing has changed' if outcome.reused else 'built'}")
    if not outcome.reused:
        say("\n".join(report.summary(outcome.manifest)))
    return shards.open_build(outcome.folder), outcome.reused


def _to_stderr(text: str) -> None:
    click.echo(text, err=True)
