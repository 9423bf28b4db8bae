"""`forge build`: a recipe becomes a build folder."""

import json
import time
from pathlib import Path

import click


@click.command(short_help="Turn a recipe's sources into certified, packed shards.")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY.PATH=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), help="The build folder [default: ./builds/NAME].")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
def command(recipe: Path, overrides: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Turn the sources of RECIPE into certified, packed shards with a manifest.

    A build whose recipe, files, template and tokenizer have not changed is re-used.
    """
    from dataforge import config, report
    from dataforge.build import build

    start = time.monotonic()
    outcome = build(config.load(recipe, overrides), out, lambda text: click.echo(text, err=True))
    manifest = outcome.manifest
    if as_json:
        facts = {"folder": str(outcome.folder), "reused": outcome.reused, **manifest.model_dump(mode="json")}
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    if outcome.reused:
        click.echo(f"{outcome.folder}: nothing has changed, the build that stands is re-used")
    else:
        click.echo(f"{outcome.folder}: built in {time.monotonic() - start:.1f} s")
    for text in report.summary(manifest):
        click.echo(text)
    if any(stage.rejected for stage in manifest.funnel):
        click.echo(f"  see   {outcome.folder / 'rejects.jsonl'} for each rejected record")
    click.echo(f"  digest {manifest.digest}")
