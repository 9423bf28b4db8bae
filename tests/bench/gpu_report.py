"""The tables of the GPU benchmark, and what in them is wrong."""

import math
import statistics
from typing import Any

Line = dict[str, Any]
GB = 1e9
LOSS_ALIKE, NORM_ALIKE = 0.02, 1.5
"""How far a contender's first loss may be from the median of its group, and its gradient's norm by what factor."""
_NOTE = """\
Written by `python tests/bench/gpu.py`. Weights are random; LoRA of rank 16 on all seven matrices of a layer, its B
matrices random too; AdamW at a constant rate; documents of real lengths, the same in the same order for every
contender (TRL packs them itself). Tokens are those of the documents, without padding; medians over the timed steps (in
brackets the least and the greatest), loading, compiling and warm-up not among them. Model FLOPs are 4 a frozen weight
of a layer, 4 a weight of the head for tokens with loss, and 7 S H K L for attention; their share is that of the
device's burst and of what it sustains for ten seconds. Memory is the most that torch had allocated (in brackets
reserved), in GB of 10^9 bytes. Waits are how often the host waited for the device in one step. A run held to the
memory of a smaller card may take all of it but 1 GiB; the arithmetic is still that of the device named here."""


def report(results: list[Line]) -> str:
    """All sections, in Markdown; the table of contenders is the last."""
    roofline = next((line for line in results if line["job"] == "roofline" and _done(line)), {})
    contenders = [line for line in results if line["job"] == "contender"]
    parts = ["# LoRA training on one GPU", _head(roofline, contenders), _NOTE]
    for name, section in (("kernels", _kernels), ("parity", _parity)):
        parts += [
            section(line) if _done(line) else f"{name}: {in_short(line)}" for line in results if line["job"] == name
        ]
    parts += _roofline(roofline)
    missing = [line for line in contenders if line["outcome"] not in ("done", "does not fit", "not needed")]
    if missing:
        told = "\n".join(f"- {_title(line)}: {in_short(line)}" for line in missing)
        parts.append(f"## Not measured\n\n{told}")
    shown = [line for line in contenders if line["outcome"] in ("done", "does not fit")]
    capped = [line for line in shown if line["memory_gb"]]
    if capped:
        parts.append("## In the memory of smaller cards\n\n" + _too_small() + _table(capped, roofline))
    parts.append("## Contenders\n\n" + _table([line for line in shown if not line["memory_gb"]], roofline))
    return "\n\n".join(parts) + "\n"


def wrong(results: list[Line], *, everything: bool) -> list[str]:
    """What must not be: checks that fail, contenders that are not alike, runs of ours (or any) that failed."""
    found = [
        f"{check['name']}: {check['found']}"
        for line in results
        if line["job"] == "kernels" and _done(line)
        for check in line["checks"]
        if not check["good"]
    ]
    found += ["parity" for line in results if line["job"] == "parity" and _done(line) and not line["good"]]
    ours = [
        line for line in results if everything or line["job"] != "contender" or line["trainer"] in ("trainkit", "hf")
    ]
    found += [f"{line['name']}: {in_short(line)}" for line in ours if line["outcome"] == "failed"]
    if everything:
        found += [f"{line['name']}: {line['outcome']}" for line in results if line["outcome"] == "no time left"]
    return found + _not_alike(results)


def in_short(line: Line) -> str:
    """One line on what came of a run."""
    if line["outcome"] == "failed":
        said = [words for words in line["said"].splitlines() if words.strip()]
        return f"failed: {said[-1].strip()[:200] if said else 'without a word'}"
    if not _done(line) or line["job"] != "contender":
        return str(line["outcome"])
    memory = f", {line['allocated'] / GB:.1f} GB" if "allocated" in line else ""
    return f"{statistics.median(_rates(line, 'tokens')):,.0f} tokens/s{memory}"


def _done(line: Line) -> bool:
    return bool(line["outcome"] == "done")


def _rates(line: Line, what: str) -> list[float]:
    """`tokens` or `trained` tokens per second of each timed step."""
    return [step[what] / step["seconds"] for step in line["steps"][line["warm"] :]]


def _not_alike(results: list[Line]) -> list[str]:
    """Losses and gradients of the first step that are nothing, or far from those of others on the same documents."""
    found = []
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in results:
        if line["job"] == "contender" and _done(line):
            groups.setdefault((line["shape"], line["documents"]), []).append(line)
    for lines in groups.values():
        loss, norm = (statistics.median(line["steps"][0][what] for line in lines) for what in ("loss", "norm"))
        for line in lines:
            for step in line["steps"]:
                if not (math.isfinite(step["loss"]) and math.isfinite(step["norm"]) and step["norm"] > 0):
                    found.append(f"{line['name']}: a step's loss is {step['loss']}, its gradient's norm {step['norm']}")
                    break
            first = line["steps"][0]
            if not abs(first["loss"] / loss - 1) <= LOSS_ALIKE:
                found.append(f"{line['name']}: its first loss is {first['loss']:.4f}, that of others {loss:.4f}")
            if not 1 / NORM_ALIKE <= first["norm"] / norm <= NORM_ALIKE:
                found.append(f"{line['name']}: its first gradient is {first['norm']:.4g}, that of others {norm:.4g}")
    return found


def _head(roofline: Line, contenders: list[Line]) -> str:
    versions: dict[str, str] = {}
    for line in contenders:
        versions |= line.get("versions", {})
    told = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    memory = f", {roofline['memory'] / 2**30:.1f} GiB" if roofline.get("memory") else ""
    return f"{roofline.get('device', 'device not measured')}{memory}; {told}"


def _kernels(line: Line) -> str:
    bad = [check for check in line["checks"] if not check["good"]]
    lines = [f"**{check['name']}: {check['found']} (limit {check.get('limit')})**" for check in bad]
    lines.append(f"{len(line['checks']) - len(bad)} of {len(line['checks'])} checks hold.")
    rows = "\n".join(
        f"| {check['name']} | {_number(check['found'])} | {check.get('limit', '')} | "
        f"{' / '.join(f'{value:.0f}' for value in check.get('microseconds', []))} |"
        for check in line["checks"]
    )
    head = "| check | found | limit | us, compiled / eager |\n|---|---|---|---|\n"
    return "## Kernels\n\n" + "\n\n".join(lines) + f"\n\n{head}{rows}"


def _number(value: float | str) -> str:
    """Words, or a number in three digits."""
    return value if isinstance(value, str) else f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _parity(line: Line) -> str:
    rows = "\n".join(
        f"| {name} | {arm['loss']:.5f} | {arm['loss_difference']:+.5f} | {arm['gradient_error']:.3e} | "
        f"{line['of_hf'].get(name, 1):.2f} |"
        for name, arm in line["arms"].items()
    )
    curve = line["curve"]
    return (
        f"## Parity\n\n{'Holds' if line['good'] else '**Does not hold**'}: a model of 4 layers in bf16, beside "
        f"itself in fp32. Limit of the last column: {line['limit']}.\n\n"
        "| layers by | loss | from fp32 | error of the gradient | of HF's |\n|---|---|---|---|---|\n"
        f"{rows}\n\n{len(curve['hf'])} optimizer steps beside HF's layers: losses "
        f"{curve['hf'][0]:.4f} to {curve['hf'][-1]:.4f}, farthest apart by {curve['largest_difference']:.1e} of them "
        f"(limit {curve['limit']})."
    )


def _roofline(line: Line) -> list[str]:
    if not line:
        return []
    rows = "\n".join(
        f"| {shape} | {_number(speeds['bf16'])} | {_number(speeds['fp8'])} |"
        for shape, speeds in line["shapes"].items()
    )
    return [
        f"## The device\n\nA square product of random numbers in bf16: {line['burst']:.4g} TFLOP/s in a burst, "
        f"{line['sustained']:.4g} sustained. A copy: {line['copy_tb_per_second']:.3g} TB/s, read and written.\n\n"
        f"| product | bf16, TFLOP/s | fp8 by rows |\n|---|---|---|\n{rows}"
    ]


def _too_small() -> str:
    return (
        "Weights of 8B in bf16 are 16.1 GB, which a card of 16 GB does not hold beside anything else; it is given "
        "models of 4B and 0.6B.\n\n"
    )


def _title(line: Line) -> str:
    parts = [line["says"], line["shape"], "" if line["documents"] == "chat" else f"{line['documents']} documents"]
    return ", ".join(part for part in [*parts, f"{line['memory_gb']} GB" if line["memory_gb"] else ""] if part)


def _table(lines: list[Line], roofline: Line) -> str:
    head = (
        "| model | contender | tokens/s | of trainkit's | with loss/s | FLOPs, of burst / sustained | memory, GB | "
        "tokens at a time | waits | first loss, norm |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    order = list(dict.fromkeys((line["shape"], line["documents"], line["memory_gb"]) for line in lines))
    rows = []
    for key in order:
        group = [line for line in lines if (line["shape"], line["documents"], line["memory_gb"]) == key]
        ours = [
            statistics.median(_rates(line, "tokens")) for line in group if line["trainer"] == "trainkit" and _done(line)
        ]
        rows += [_row(line, roofline, max(ours, default=None)) for line in group]
    return "\n".join([head, *rows])


def _row(line: Line, roofline: Line, ours: float | None) -> str:
    model = ", ".join(_title({**line, "says": ""}).split(", "))
    says = line["says"] + (f" ({line['note']})" if line.get("note") else "")
    if not _done(line):
        return f"| {model} | {says} | does not fit | | | | | | | |"
    rates, trained = _rates(line, "tokens"), _rates(line, "trained")
    middle = statistics.median(rates)
    share = f"{middle / ours:.2f}" if ours else ""
    used = [
        f"{line['flops'] * middle / (roofline[what] * 1e12):.0%}" for what in ("burst", "sustained") if what in roofline
    ]
    memory = f"{line['allocated'] / GB:.1f} ({line['reserved'] / GB:.1f})" if "allocated" in line else ""
    first, waits = line["steps"][0], line.get("waits")
    together = f"{line['tokens_together']:,}" if line["tokens_together"] else "padded"
    return (
        f"| {model} | {says} | {middle:,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) | {share} | "
        f"{statistics.median(trained):,.0f} | {' / '.join(used)} | {memory} | {together} | "
        f"{'' if waits is None else waits} | {first['loss']:.4f}, {first['norm']:.3g} |"
    )
