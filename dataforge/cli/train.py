"""`forge train`: build what is stale, then train."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dataforge.config import Document
    from dataforge.shards import Build
    from trainkit.config import Train
    from trainkit.outcome import Outcome


@click.command(short_help="Build what is stale, then train an adapter.")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder [default: ./runs/NAME].")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
def command(recipe: Path, overrides: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Build what RECIPE needs and train the adapter that its `train:` half describes.

    A run that was stopped goes on from its last checkpoint; a finished one is not repeated.
    """
    from dataforge import config

    outcomes = _train(config.load(recipe, overrides), out)
    if as_json:
        click.echo(json.dumps([asdict(outcome) for outcome in outcomes], default=str))
        return
    for outcome in outcomes:
        click.echo(f"{outcome.adapter}: {_done(outcome)}")
    click.echo(f"  talk to it: forge chat {outcomes[-1].adapter}")


def _train(document: "Document", out: Path | None) -> "list[Outcome]":
    """Run the stages in order, each on from the adapter of the one before."""
    from dataforge.bases import resolve
    from trainkit.config import stages

    settings = stages(document)
    bases = [resolve(stage.base, document.folder) for stage in settings]
    _check_tokenizers(document, settings)
    _check_bases(document, settings, bases)
    _check_inputs(document, out)
    builds = _builds(document, settings)
    folder = out or Path("runs") / builds[0].manifest.name
    folders = [folder / f"{number}-{stage.objective}" for number, stage in enumerate(settings, start=1)]
    if len(settings) == 1:
        folders = [folder]

    from trainkit.trainer import train

    outcomes: list[Outcome] = []
    for stage, base, build, target in zip(settings, bases, builds, folders, strict=True):
        on_from = outcomes[-1].adapter if outcomes and stage.init_from is None else stage.init_from
        # An adapter outlives the folder it was trained from, so a base that is a folder is kept by its whole path.
        name = str(Path(base).resolve()) if (document.folder / stage.base).is_dir() else stage.base
        seed = build.manifest.seed
        outcomes.append(train(stage.model_copy(update={"init_from": on_from}), build, base, name, target, seed))
    return outcomes


def _check_tokenizers(document: "Document", settings: "list[Train]") -> None:
    """Raise `ConfigError` where what will be built does not serve a stage's base model."""
    from dataforge.bases import load_tokenizer

    given = document.data.get("tokenizer")
    used = given if isinstance(given, str) else settings[0].base
    if "sources" not in document.data or all(stage.base == used for stage in settings):
        return
    encoded = load_tokenizer(used, document.folder).sha256
    for number, stage in enumerate(settings):
        if load_tokenizer(stage.base, document.folder).sha256 == encoded:
            continue
        if given is not None:
            message = f"is not the tokenizer of the base model {stage.base}; take `tokenizer` out of the recipe, whose "
            raise document.error(("tokenizer",), f"{used} {message}default is the base's own, or name {stage.base}")
        message = f"{stage.base} has another tokenizer than {used}, which the data of all stages is built for; "
        raise document.error(("train", number, "base"), f"{message}name the same base in each, or take two recipes")


def _check_bases(document: "Document", settings: "list[Train]", bases: list[str]) -> None:
    """Raise `ConfigError` where a stage would go on from an adapter of another base model."""
    for number in range(1, len(settings)):
        if settings[number].init_from is not None or bases[number] == bases[number - 1]:
            continue
        from trainkit.model import base_fingerprint

        if base_fingerprint(bases[number]) != base_fingerprint(bases[number - 1]):
            raise document.error(
                ("train", number, "base"),
                f"is not {settings[number - 1].base}, on which the adapter is trained that this stage goes on from; "
                "name the same base in each stage, or give this one an `init_from`",
            )


def _check_inputs(document: "Document", out: Path | None) -> None:
    """Raise `ConfigError` where the run would write over what the recipe reads."""
    from dataforge import recipe

    if "sources" not in document.data:
        return
    read = recipe.read(document)
    folder = out or Path("runs") / read.data.name
    for step in read.every_step:
        if step.path is not None and step.path.resolve().is_relative_to(folder.resolve()):
            message = f"this run writes into {folder} and would change it; give the recipe another `name`, or say --out"
            raise document.error((*step.at, "path"), message)


def _builds(document: "Document", settings: "list[Train]") -> "list[Build]":
    """The build that each stage trains on: what the recipe's sources make, or the folder that its `data` names."""
    from dataforge import shards

    if "sources" not in document.data:
        if any(stage.data is None for stage in settings):
            raise document.error(("sources",), "is missing; give sources, or a build folder as `train.data`")
        return [shards.open_build(stage.data) for stage in settings if stage.data is not None]
    if any(stage.data is not None for stage in settings):
        raise document.error(("train", "data"), "the file has sources of its own; take one of the two away")
    return [_build(document)] * len(settings)


def _build(document: "Document") -> "Build":
    from dataforge import report, shards
    from dataforge.build import build

    outcome = build(document, None, lambda text: click.echo(text, err=True))
    if outcome.reused:
        click.echo(f"{outcome.folder}: nothing has changed", err=True)
        # A build is re-used only once each of its shards has been read and found to be what the manifest says.
        return shards.Build(outcome.folder, outcome.manifest)
    click.echo(f"{outcome.folder}: built", err=True)
    click.echo("\n".join(report.summary(outcome.manifest)), err=True)
    return shards.open_build(outcome.folder)


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
