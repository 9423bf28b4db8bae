"""`forge cache`: the replies of language models that were paid for."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dataforge.cli._questions import Size, agreed, confirm

if TYPE_CHECKING:
    from dataforge.llm.cache import Share


@click.group(short_help="Look at, thin out or export the replies of language models that are kept.")
def command() -> None:
    """Replies of language models are kept in one file of the user's, and are never asked for twice."""


@command.command("stats", short_help="How many replies there are of each model.")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
def stats(as_json: bool) -> None:
    """Say how many replies there are of each model."""
    import dataclasses

    import orjson

    from dataforge.llm.cache import Cache

    cache = Cache()
    shares = cache.stats()
    if as_json:
        click.echo(orjson.dumps({"file": str(cache.path), "models": [dataclasses.asdict(each) for each in shares]}))
        return
    click.echo(f"{cache.path}: {sum(each.replies for each in shares):,} replies")
    for each in shares:
        click.echo(f"  {each.model}: {each.replies:,} replies, {_amount(each)}, {_days(each)}")


@command.command("prune", short_help="Forget replies.")
@click.option("--model", help="Those of this model alone.")
@click.option("--unused-days", type=click.FloatRange(min=0), help="Those that no build has used for so long.")
@click.option("--unusable", is_flag=True, help="Those cut off, refused, empty or not the JSON asked for.")
@click.option("--to-size", type=Size(), help="Until the file is no larger, the longest unused first.")
@click.option("--yes", is_flag=True, help="Forget them without a question first.")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
def prune(
    model: str | None, unused_days: float | None, unusable: bool, to_size: int | None, yes: bool, as_json: bool
) -> None:
    """Forget replies, which are then paid for again where they are needed.

    What would be forgotten is said first: all that the options have in common.
    """
    import orjson

    from dataforge.llm.cache import Cache

    if model is None and unused_days is None and to_size is None and not unusable:
        raise click.UsageError(
            "say which replies with --model, --unused-days, --unusable or --to-size; `--unused-days 0` means all of "
            "them"
        )
    cache, kind = Cache(), "unusable replies" if unusable else "replies"

    def agree(share: "Share") -> None:
        (agreed if yes else confirm)(
            f"{cache.path}: {share.replies:,} {kind} of {model or 'all models'} will be forgotten, {_amount(share)}, "
            f"last used {_days(share)}"
        )

    count = cache.prune(model, unused_days, to_size, unusable, agree)
    size = cache.path.stat().st_size
    if as_json:
        click.echo(orjson.dumps({"file": str(cache.path), "forgotten": count, "bytes": size}))
    else:
        click.echo(f"{cache.path}: {count:,} replies forgotten, the file has {size / 1e6:.1f} MB")


@command.command("export", short_help="Write replies to a file that a recipe's `replay` takes.")
@click.argument("target", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--model", help="Those of this model alone.")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
def export(target: Path, model: str | None, as_json: bool) -> None:
    """Write replies as JSON Lines, for `replay: FILE` in a recipe."""
    import orjson

    from dataforge.llm import replay
    from dataforge.llm.cache import Cache
    from dataforge.shards import replace_file

    cache = Cache()
    lines = [replay.line(row) for row in cache.rows() if model in (None, row.model)]
    try:
        replace_file(target, lines)
    except OSError as error:
        raise click.UsageError(f"{target}: cannot be written ({error.strerror}); name another file") from None
    if as_json:
        click.echo(orjson.dumps({"file": str(target), "replies": len(lines)}))
    else:
        click.echo(f"{target}: {len(lines):,} replies of {cache.path}")


def _amount(share: "Share") -> str:
    return f"{share.bytes / 1e6:.1f} MB, {share.prompt_tokens:,} tokens in, {share.completion_tokens:,} out"


def _days(share: "Share") -> str:
    import datetime

    days = [datetime.datetime.fromtimestamp(at, datetime.UTC).date() for at in (share.oldest, share.newest)]
    return f"{days[0]} to {days[1]}"
