"""`forge demo`: the whole line on a small corpus, each station by its own command."""

import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path

import click


@click.command(short_help="Teach a small model a new name, from corpus to chat.")
def command() -> int:
    """Build a corpus, look at it, train on it, and compare the model before and after.

    Needs no network, key or GPU. Everything lands in ./builds and ./runs; what is finished is re-used.
    """
    from dataforge import data_files

    samples = data_files.folder("samples")
    recipe = _short(samples / "recipes" / "self_cognition.yaml")
    questions = _short(samples / "verdicts" / "self_cognition.yaml")
    adapter = "runs/self-cognition/adapter"
    start = time.monotonic()
    stations = (
        ("1. A corpus becomes certified, packed shards", ["build", recipe]),
        ("2. What the model will be trained to write stands in ⟦ ⟧", ["preview", "builds/self-cognition", "-n", "3"]),
        ("3. An adapter is trained on it", ["train", recipe]),
        ("4. The verdict: the base model against the tuned one", ["eval", adapter, questions]),
    )
    for title, arguments in stations:
        code = _station(title, arguments)
        if code:
            return code
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform == "linux" else 2**30)
    click.secho("\n5. What to type next", bold=True)
    click.echo(f"""
   forge chat {adapter} --base         talk to it, the untuned model's answer beside it
   $EDITOR {recipe}
                                       put your own name into `vars:`, then
   forge train {recipe}
   forge --help                        what else there is
""")
    click.echo(f"the demo took {time.monotonic() - start:.0f} s and at most {peak:.1f} GB of memory")
    return 0


def _station(title: str, arguments: list[str]) -> int:
    click.secho(f"\n{title}", bold=True)
    click.echo(f"\n   $ forge {shlex.join(arguments)}\n")
    start = time.monotonic()
    code = subprocess.run([sys.executable, "-m", "dataforge", *arguments], check=False).returncode
    click.echo(f"\n   ({time.monotonic() - start:.0f} s)")
    return code


def _short(path: Path) -> str:
    """The path as a person here would type it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
