"""`forge train`: build what is stale, then train."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dataforge.cli._stages import Stage
    from trainkit.outcome import Outcome
    from trainkit.processes import Processes


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
    from dataforge.cli._stages import prepare
    from trainkit.processes import join, leave

    document = config.load(recipe, overrides)
    if plan:
        _plan(prepare(document, out, _to_stderr), as_json)
        return 0
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        from trainkit.launch import launch

        return launch(sys.argv[1:], processes)
    joined = join()
    with joined.one_voice():
        stages: list[Stage] = []
        joined.first_does(lambda: stages.extend(prepare(document, out, _to_stderr)))
        if not joined.first:
            stages = prepare(document, out, lambda text: None)
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


def _plan(stages: "list[Stage]", as_json: bool) -> None:
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


def _train(stages: "list[Stage]", processes: "Processes") -> "list[Outcome]":
    """Run the stages in order, each on from the adapter of the one before."""
    from trainkit.trainer import train

    outcomes: list[Outcome] = []
    for stage in stages:
        on_from = outcomes[-1].adapter if outcomes and stage.settings.init_from is None else stage.settings.init_from
        settings = stage.settings.model_copy(update={"init_from": on_from})
        seed = stage.build.manifest.seed
        outcomes.append(train(settings, stage.build, stage.base, stage.base_name, stage.target, seed, processes))
    return outcomes


def _to_stderr(text: str) -> None:
    click.echo(text, err=True)
