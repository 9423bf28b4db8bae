"""`forge export`: a build's records in the shape that another program takes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dataforge.export import Written


@click.command(short_help="Write a build's records in another shape.")
@click.argument("build")
@click.option("--to", "target", required=True, help="The shape: a name that `forge list` shows under exports.")
@click.option("--out", type=click.Path(path_type=Path), help="A folder, or a data file [default: ./exports/NAME-TO].")
@click.option(
    "--split", type=click.Choice(["train", "eval", "all"]), default="all", show_default=True, help="What is written."
)
@click.option("--lossy", is_flag=True, help="Leave records out that the shape cannot hold.")
@click.option("--force", is_flag=True, help="Replace an earlier export.")
@click.option("--push", metavar="OWNER/NAME", help="Put the folder into this dataset on the Hugging Face hub too.")
@click.option("--private", is_flag=True, help="With --push, let only you see a dataset that is made.")
@click.option("--json", "as_json", is_flag=True, help="Report as one JSON object.")
def command(
    build: str,
    target: str,
    out: Path | None,
    split: str,
    lossy: bool,
    force: bool,
    push: str | None,
    private: bool,
    as_json: bool,
) -> None:
    """Write the records of BUILD, a build folder or its URL, for another program to read.

    An --out that ends with .jsonl or .csv is one file; any other is a folder with data/train and data/eval, a dataset
    card and the manifest, as the `datasets` library and the hub read it. What the shape does not say is counted.
    """
    from dataforge import components, upload
    from dataforge.config import did_you_mean
    from dataforge.export import export, lost_of
    from dataforge.shards import SPLITS

    known = components.names("exports")
    if target not in known:
        raise click.UsageError(f"there is no export shape {target!r}; {did_you_mean(target, known)}")
    if private and not push:
        raise click.UsageError("--private goes with --push")
    if push and out is not None and out.suffix in (".jsonl", ".csv"):
        raise click.UsageError("--push puts a folder on the hub; leave out the name of a file")
    if push:
        upload.token()
    chosen = [each for each in SPLITS if split in (each, "all")]
    written = export(build, target, out, chosen, lossy=lossy, force=force)
    url = upload.push(written.place, push, private=private) if push else None
    if as_json:
        facts = {
            "target": target,
            "place": str(written.place),
            "lines": written.lines,
            "records": written.records,
            "repetitions": written.repetitions,
            "left_out": written.unfit,
            "lost": written.lost,
            "url": url,
        }
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    _print(written, list(lost_of(written)), url)


def _print(written: "Written", lost: list[str], url: str | None) -> None:
    counts = " and ".join(f"{count:,} lines of {split}" for split, count in written.lines.items())
    again = (
        f" ({written.repetitions:,} repeat a record that is trained on more than once)" if written.repetitions else ""
    )
    click.echo(f"{written.place}: {counts}{again}")
    if written.unfit:
        click.echo(f"  left out {written.unfit:,} records that do not fit, the first being {written.first_unfit}")
    if lost:
        click.echo(f"  not said in this shape: {'; '.join(lost)}")
    if url:
        click.echo(f"  pushed to {url}")
