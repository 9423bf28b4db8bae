"""What `forge train` prints: how a run ended, or what it would take."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from trainkit.estimate import Estimate
    from trainkit.outcome import Outcome

GB = 2**30


def ended(outcome: "Outcome", build: Path) -> None:
    """How a run ended, and which records it learned worst."""
    click.echo(f"{outcome.adapter}: {_done(outcome)}")
    if not outcome.worst:
        return
    click.echo("  highest loss when last trained on:")
    for row in outcome.worst:
        record = row.record.partition("#")[0]
        click.echo(f"    {row.loss:.3f}  forge preview {shlex.quote(str(build))} --record {record}")


def planned(found: "Estimate", build: Path, target: Path, *, reused: bool) -> None:
    """What a run would do, and what it would take."""
    memory = found.memory
    share = 100 * found.parameters / found.all_parameters
    minutes, evaluating = _span(found.seconds), _span(found.eval_seconds)
    parts = (
        (memory.process, "Python and libraries"),
        (memory.weights, "base model"),
        (memory.adapter, "adapter and AdamW"),
        (memory.saved_per_token * memory.micro_batch_tokens, "activations"),
        (memory.loss_chunk, "logits"),
    )
    summed = " + ".join(f"{size / GB:.2f} {what}" for size, what in parts if size)
    lines = (
        (
            "data",
            f"{build} ({'re-used' if reused else 'built'}): {found.rows:,} rows in {found.windows:,} windows, "
            f"{100 * found.fill:.1f}% filled",
        ),
        (
            "length",
            f"{found.steps:,} steps, {found.epochs:,} epoch{'s' if found.epochs > 1 else ''}; {found.tokens:,} tokens, "
            f"{found.trained_tokens:,} trained; {found.tokens_per_step:,.0f} tokens a step",
        ),
        ("trained", f"{found.parameters:,} parameters, {share:.2f}% of all: {', '.join(found.targets)}"),
        *([("", f"not trained: {', '.join(found.untrained)}")] if found.untrained else []),
        ("runs in", f"{found.precision} on {found.device}"),
        *(("", text) for text in found.layers),
        (
            "time",
            f"about {minutes} and {evaluating} of evaluations ({found.tokens_per_second:,.0f} tokens/s, an "
            "estimate from the first steps)",
        ),
        ("memory", f"about {max(memory.total, found.measured_peak) / GB:.1f} GB (an estimate: held while timing)"),
        ("", f"{memory.total / GB:.1f} GB counted: {summed}"),
        (
            "",
            f"{memory.saved_per_token / 2**20:.2f} MB of activations a token, {memory.micro_batch_tokens:,} at a time",
        ),
    )
    click.echo(f"{target}: would be trained so; nothing is written there")
    for what, text in lines:
        click.echo(f"  {what:8} {text}")


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


def _span(seconds: float) -> str:
    from trainkit.log import clock

    return clock(seconds)
