"""`forge eval`: does the tuned model know its name, and still what its base knew?"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trainkit.verdict import Verdict

LONGEST_ANSWER = 64
"""Tokens."""


@click.command(short_help="Compare a tuned model with its base.")
@click.argument("adapter", type=click.Path(path_type=Path))
@click.argument("questions", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def command(adapter: Path, questions: Path, as_json: bool) -> int:
    """Ask the model in the folder ADAPTER, and its base model, the file QUESTIONS, and compare.

    The exit code is 1 where the tuned model has not learned its name or has forgotten too much.
    """
    from dataforge.bases import resolve
    from trainkit.adapters import read_card
    from trainkit.assistant import open_assistant
    from trainkit.verdict import ask, judge, read_questions

    asked = read_questions(questions)
    assistant = open_assistant(adapter, resolve(read_card(adapter).base))
    click.echo("asking the base model", err=True)
    base = ask(asked, lambda conversations: assistant.answers(conversations, LONGEST_ANSWER, tuned=False))
    click.echo("asking the tuned model", err=True)
    tuned = ask(asked, lambda conversations: assistant.answers(conversations, LONGEST_ANSWER))
    verdict = judge(asked, asked.names, base, tuned)
    if as_json:
        rows = [{**asdict(row), "holds": row.holds} for row in verdict.rows]
        found = {"holds": verdict.holds, "rows": rows, "failures": [asdict(failure) for failure in verdict.failures]}
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        _show(verdict)
    return 0 if verdict.holds else 1


def _show(verdict: "Verdict") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table("", "base", "tuned", "needed", "of", "")
    for row in verdict.rows:
        outcome = Text("holds", "green") if row.holds else Text("does not hold", "red")
        table.add_row(row.what, str(row.base), str(row.tuned), str(row.needed), str(row.of), outcome)
    console.print(table)
    for failure in verdict.failures:
        console.print(Text(f"{failure.what}: {failure.question}", "bold"))
        console.print(Text(f"    {' '.join(failure.answer.split())}"))
    console.print("the verdict holds" if verdict.holds else "the verdict does not hold")
