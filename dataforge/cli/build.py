"""`forge build`: a recipe becomes a build folder."""

import json
import sys
import time
from pathlib import Path

import click

from dataforge.cli._questions import Size, agreed, confirm


@click.command(short_help="Turn a recipe's sources into certified, packed shards.")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
@click.option("--out", help="The build folder, or an fsspec URL [default: ./builds/NAME].")
@click.option("--workers", type=click.IntRange(min=1), help="Processes [default: the cores; 1 for a small build].")
@click.option("--engine", default="local", show_default=True, help="Where the work is done: local or ray.")
@click.option("--work-limit", type=Size(), default="20GB", show_default=True, help="Prune the stage cache to this.")
@click.option("--explain", is_flag=True, help="Say what would run, and why; build nothing.")
@click.option("--yes", is_flag=True, help="Ask language models without a question first.")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
def command(
    recipe: Path,
    overrides: tuple[str, ...],
    out: str | None,
    workers: int | None,
    engine: str,
    work_limit: int,
    explain: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Turn the sources of RECIPE into certified, packed shards with a manifest.

    Only what has changed since an earlier build is done again, and a build that was stopped goes on where it was.
    """
    if engine == "local" and workers != 1 and not explain:
        from dataforge import processes

        processes.import_early("dataforge.engines.local", "dataforge.cli")
    from dataforge import config, engines, report
    from dataforge.build import Options, build
    from dataforge.explain import explained

    start = time.monotonic()
    if engine not in engines.names():
        raise click.UsageError(f"there is no engine {engine!r}; there are {', '.join(engines.names())}")
    document = config.load(recipe, overrides)
    if explain:
        for text in explained(document, out):
            click.echo(text)
        return
    outcome = build(
        document,
        out,
        lambda text: click.echo(text, err=True),
        Options(workers, engine, work_limit, agreed if yes else confirm),
        _Shown().stage,
    )
    manifest = outcome.manifest
    if as_json:
        facts = {"folder": outcome.url, "reused": outcome.reused, **manifest.model_dump(mode="json")}
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    if outcome.reused:
        click.echo(f"{outcome.url}: nothing has changed, the build that stands is re-used")
    else:
        cached = f", {outcome.found} of {outcome.found + outcome.made} tasks found done" if outcome.found else ""
        click.echo(f"{outcome.url}: built in {time.monotonic() - start:.1f} s{cached}")
    for text in report.summary(manifest):
        click.echo(text)
    if any(stage.rejected for stage in manifest.funnel):
        click.echo(f"  see   {outcome.url}/rejects.jsonl for each rejected record")
    click.echo(f"  digest {manifest.digest}")


class _Shown:
    """Progress on standard error: in place on a terminal, a line every ten seconds elsewhere."""

    def __init__(self) -> None:
        self._began = self._said = time.monotonic()
        self._stage = ""

    def stage(self, stage: str, done: int, of: int) -> None:
        """Say how far a stage is."""
        now = time.monotonic()
        name = stage.partition(" (")[0]
        if name != self._stage:
            self._stage, self._began = name, now
        if sys.stderr.isatty():
            if done < of and now - self._said < 0.1:
                return
            self._said = now
            left = (now - self._began) / done * (of - done)
            end = "\n" if done == of else ""
            click.echo(f"\r\033[K{stage}: {done:,} of {of:,}, {left:.0f} s left{end}", err=True, nl=False)
        elif now - self._said > 10 and of > 1:
            self._said = now
            click.echo(f"{stage}: {done:,} of {of:,}", err=True)
