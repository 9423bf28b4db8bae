"""The table of the CPU benchmark."""

import os
import platform
import statistics
from pathlib import Path
from typing import Any

from cpu_arms import Arm, fast_in_bf16
from cpu_documents import TOKENS_PER_STEP, WINDOW, Work

OURS = "trainkit"
_NOTE = """\
Written by `python tests/bench/cpu.py --data TREES.jsonl`. SmolLM2-135M-Instruct, LoRA of rank 16 on all linear layers,
AdamW at a constant rate; every contender trains the same documents in the same order (TRL's `packing=True` orders them
itself), in steps of about {tokens:,} tokens, each in a process of its own, one after another in every round. Tokens are
those of the documents, without padding; the first step is not timed. Memory is the most that the process held. The loss
is that of the finished adapter on held-out documents, computed for all by one plain program that knows no contender."""


def speed(found: dict[str, Any], what: str) -> float:
    """`tokens` or `trained` tokens per second, without the first step unless it is the only one."""
    steps = found["steps"][1:] or found["steps"]
    return float(sum(step[what] for step in steps) / sum(step["seconds"] for step in steps))


def report(
    contenders: list[Arm],
    runs: dict[str, list[dict[str, Any]]],
    alone: dict[str, dict[str, Any]],
    held_out: dict[str, list[float]],
    untrained: float,
    machine: list[dict[str, Any]],
    profile: dict[str, float],
    work: Work,
) -> str:
    """All sections, in Markdown, beginning with the table itself."""
    any_run = next(iter(runs.values()))[0]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(any_run["versions"].items()))
    rounds = len(machine)
    counted = f"{rounds} rounds, medians (least to greatest)" if rounds > 1 else "1 round"
    head = f"{os.cpu_count()} cores, {_processor()}; {versions}; {counted}\n\n"
    parts = [head + _speeds(contenders, runs, held_out), f"Untrained, the loss is {untrained:.4f}."]
    parts += [f"## Documents\n\n{work.lengths}."]
    if alone:
        parts.append("## Defaults as they come\n\n" + _alone(contenders, alone))
    parts += ["## Losses of the steps\n\n" + _losses(contenders, runs), _floor(runs, machine, profile)]
    parts.append("## How it is measured\n\n" + _NOTE.format(tokens=TOKENS_PER_STEP, window=WINDOW))
    return "\n\n".join(parts) + "\n"


def _speeds(contenders: list[Arm], runs: dict[str, list[dict[str, Any]]], held_out: dict[str, list[float]]) -> str:
    lines = [
        "| contender | computed in | tokens/s with loss | tokens/s | trainkit is faster by | memory, MB | "
        "of trainkit's | loss on held-out documents |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm in contenders:
        if arm.name not in runs:
            continue
        found = runs[arm.name]
        trained = [speed(run, "trained") for run in found]
        every = [speed(run, "tokens") for run in found]
        memory = [run["peak_mb"] for run in found]
        ratios, shares = ["", ""]
        if OURS in runs:
            ours = runs[OURS]
            ratios = _spread([speed(our, "tokens") / one for our, one in zip(ours, every, strict=True)])
            shares = _spread([one / our["peak_mb"] for our, one in zip(ours, memory, strict=True)])
        lines.append(
            f"| {arm.says} | {found[0]['computed_in']} | {_spread(trained, 1)} | {_spread(every, 1)} | {ratios} | "
            f"{statistics.median(memory):,.0f} | {shares} | {_spread(held_out[arm.name], 4)} |"
        )
    return "\n".join(lines)


def _alone(contenders: list[Arm], alone: dict[str, dict[str, Any]]) -> str:
    lines = [
        "This processor has no instructions for bf16, which peers choose by themselves. Once, on one document:",
        "",
        "| contender | computed in | tokens/s | memory, MB |",
        "|---|---|---|---|",
    ]
    for arm in contenders:
        found = alone.get(arm.name)
        if found is None:
            continue
        if "killed" in found:
            lines.append(f"| {arm.says} | | killed for want of memory | |")
        elif "gave_up_after" in found:
            lines.append(f"| {arm.says} | | not one step in {found['gave_up_after']} s | |")
        else:
            lines.append(
                f"| {arm.says} | {found['computed_in']} | {speed(found, 'tokens'):.1f} | {found['peak_mb']:,} |"
            )
    return "\n".join(lines)


def _losses(contenders: list[Arm], runs: dict[str, list[dict[str, Any]]]) -> str:
    lines = [
        "Mean loss of the trained tokens of each step, in the first round. Contenders that do not take the windows "
        "as they are have other documents in a step.",
        "",
        "| contender | steps |",
        "|---|---|",
    ]
    for arm in contenders:
        if arm.name in runs:
            steps = runs[arm.name][0]["steps"]
            told = ", ".join(f"{step['loss']:.4f} ({step['tokens']:,} tokens)" for step in steps)
            lines.append(f"| {arm.says} | {told} |")
    return "\n".join(lines)


def _floor(runs: dict[str, list[dict[str, Any]]], machine: list[dict[str, Any]], profile: dict[str, float]) -> str:
    floors = [found["floor_tokens_per_second"] for found in machine]
    text = (
        "## The floor\n\n"
        f"A token's products with frozen weights are {machine[0]['gflop_per_token']:.2f} GFLOP (4 a weight; the head "
        f"only for tokens with loss). This machine does {_spread([m['gflop_per_second'] for m in machine], 0)} "
        f"GFLOP/s in fp32 at these shapes: at most {_spread(floors, 0)} tokens/s, if all else took no time."
    )
    if OURS in runs and not fast_in_bf16():
        shares = [speed(run, "tokens") / floor for run, floor in zip(runs[OURS], floors, strict=True)]
        text += f" trainkit reaches {statistics.median(shares):.0%} of that."
    rows = "\n".join(f"| {name} | {share:.0%} |" for name, share in profile.items())
    return f"{text} Where a step of trainkit spends its time:\n\n| part | share |\n|---|---|\n{rows}"


def _spread(values: list[float], digits: int = 2) -> str:
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
