"""The table of the preparation benchmark, and the same as JSON."""

import os
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.bench.mask_speed import processor
from tests.bench.prepare_arms import Arm
from tests.bench.prepare_corpus import BASE, WINDOW, Corpus

Runs = dict[str, list[dict[str, Any]]]
"""What was measured, by the contender's name."""
_OF_A_RUN = ("seconds", "from_start", "peak_mb", "cores_of_others")

_NOTE = f"""\
Written by `python -m tests.bench.prepare CONVERSATIONS.jsonl.gz --envs DIR`: both sides of hh-rlhf's conversations with
a running number in every message, the tokenizer and chat template of {BASE}, windows of {WINDOW:,} tokens. Every run
is a process of its own with empty caches, all contenders one after another in every round, every other round backwards.

- `tokenizers` encodes texts that are rendered already, and loads its tokenizer before the clock starts.
- `forge build` is the whole command: its start, reading JSONL, rendering, encoding, the proof of every mask, packing,
  and shards, their checksums and Parquet records on the disk. So its two times are one.
- TRL is its `SFTTrainer` with `packing=True` (`bfd`), `assistant_only_loss=True` and `max_length={WINDOW}`: loading the
  JSONL with `datasets`, and its constructor's preparation of the data set. TRL has no training template for SmolLM2, so
  it is given SmolLM2's own with marks around the answers.
- LLaMA-Factory is its `get_dataset` with `neat_packing`, `cutoff_len: {WINDOW}` and its template `smollm2`, given the
  system message as SmolLM2's own template has it. A row of it is one position wider than its documents may fill.
- Prepared in: the preparation alone. From start: with the start of Python and the imports before it.
- Memory is the most that a process and its children were seen to hold, a page that several share counted once; every
  half second, so that a run shorter than that has none."""


def results(contenders: Sequence[Arm], runs: Runs, corpus: Corpus) -> dict[str, Any]:
    """All figures: of each contender its runs, what it packed, and how much of that is as forge's; and the ratios."""
    ours = next(arm for arm in contenders if arm.group.startswith("forge"))
    reference = runs[ours.name][0]["hashes"]
    return {
        "cores": os.cpu_count(),
        "processor": processor(),
        "conversations": corpus.number,
        "answers": corpus.answers,
        "window": WINDOW,
        "contenders": [_contender(arm, runs[arm.name], reference) for arm in contenders],
        "ratios": [
            _ratio(arm, against, runs)
            for arm in contenders
            if arm.group.startswith("forge")
            for against in _fastest(contenders, runs)
        ],
    }


def _contender(arm: Arm, measured: list[dict[str, Any]], reference: list[list[str]]) -> dict[str, Any]:
    first = measured[0]
    found = {
        "name": arm.name,
        "group": arm.group,
        "settings": arm.settings,
        "versions": first["versions"],
        "runs": [{key: run[key] for key in _OF_A_RUN} for run in measured],
        "documents": first["documents"],
        "tokens": first["tokens"],
    }
    if "hashes" not in first:
        return found
    ours, theirs = [tuple(document) for document in reference], [tuple(document) for document in first["hashes"]]
    return {
        **found,
        **{key: first[key] for key in ("windows", "trained_tokens", "longest")},
        "filled": first["tokens"] / (first["windows"] * WINDOW),
        "rejected": first.get("rejected", {}),
        "same_ids": _common([ids for ids, _, _ in ours], [ids for ids, _, _ in theirs]),
        "same_masks": _common([document[:2] for document in ours], [document[:2] for document in theirs]),
        "same_masks_but_for_ends": _common([document[:2] for document in ours], [(ids, t) for ids, _, t in theirs]),
    }


def _common(ours: Sequence[Any], theirs: Sequence[Any]) -> int:
    return (Counter(ours) & Counter(theirs)).total()


def _fastest(contenders: Sequence[Arm], runs: Runs) -> list[Arm]:
    """Of each group but forge's the contender with the least median."""
    best: dict[str, Arm] = {}
    for arm in contenders:
        if not arm.group.startswith("forge"):
            least = best.get(arm.group)
            if least is None or _median(runs[arm.name], "seconds") < _median(runs[least.name], "seconds"):
                best[arm.group] = arm
    return list(best.values())


def _ratio(arm: Arm, against: Arm, runs: Runs) -> dict[str, Any]:
    pairs = list(zip(runs[arm.name], runs[against.name], strict=True))
    return {
        "of": arm.name,
        "to": against.name,
        "whole_command_to_preparation": [ours["seconds"] / theirs["seconds"] for ours, theirs in pairs],
        "from_start": [ours["from_start"] / theirs["from_start"] for ours, theirs in pairs],
    }


def _median(measured: Sequence[dict[str, Any]], what: str) -> float:
    return statistics.median(run[what] for run in measured)


def table(found: dict[str, Any]) -> str:
    """All sections, in Markdown, beginning with the ratios."""
    contenders = found["contenders"]
    rounds = len(contenders[0]["runs"])
    counted = f"{rounds} rounds, medians (least to greatest)" if rounds > 1 else "1 round"
    others = _figures([run["cores_of_others"] for contender in contenders for run in contender["runs"]], 2)
    head = (
        f"{found['conversations']:,} conversations; {found['cores']} cores, {found['processor']}; {counted}; of the "
        f"cores, other programs kept {others} busy during the runs\n\n"
    )
    ratios = [
        "| the whole command | beside | its time / the other's preparation | its time / the other's from its start |",
        "|---|---|---|---|",
        *(
            f"| {ratio['of']} | {ratio['to']} | {_figures(ratio['whole_command_to_preparation'], 2)} "
            f"| {_figures(ratio['from_start'], 2)} |"
            for ratio in found["ratios"]
        ),
    ]
    times = [
        "| contender | prepared in, s | from start, s | memory, MB | windows | filled | conversations | tokens "
        "| trained tokens |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(_line, contenders),
    ]
    sections = [
        head + "\n".join(ratios),
        "\n".join(times),
        "## Are they the same?\n\n" + _agreement(found),
        "## How it is measured\n\n" + _NOTE,
        "## Versions\n\n" + _versions(contenders),
    ]
    return "\n\n".join(sections) + "\n"


def _line(contender: dict[str, Any]) -> str:
    measured = contender["runs"]
    times = [_figures([run[what] for run in measured], 1) for what in ("seconds", "from_start")]
    peak = max(run["peak_mb"] for run in measured)
    cells = [contender["name"], *times, f"{peak:,}" if peak else ""]
    packed = "windows" in contender
    cells += [f"{contender['windows']:,}", f"{contender['filled']:.2%}"] if packed else ["", ""]
    cells += [f"{contender[key]:,}" if key in contender else "" for key in ("documents", "tokens", "trained_tokens")]
    return f"| {' | '.join(cells)} |"


def _figures(values: Sequence[float], digits: int) -> str:
    median = f"{statistics.median(values):.{digits}f}"
    return median if len(values) == 1 else f"{median} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _agreement(found: dict[str, Any]) -> str:
    """What each contender's documents have in common with forge's, and what they have not."""
    contenders = [contender for contender in found["contenders"] if "same_ids" in contender]
    ours = next(contender for contender in contenders if contender["group"].startswith("forge"))
    texts = next(contender["tokens"] for contender in found["contenders"] if contender["group"].startswith("raw"))
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in ours["rejected"].items()) or "none"
    lines = [
        f"Rendered, the {found['conversations']:,} conversations with {found['answers']:,} answers are {texts:,} "
        f"tokens. forge packs {ours['documents']:,} rows, the longest of {ours['longest']:,} tokens, and rejects: "
        f"{rejected}; that is {texts - ours['tokens']:,} tokens fewer, and `rejects.jsonl` names each conversation.\n"
    ]
    alike: dict[str, list[str]] = {}
    for contender in contenders:
        if contender is not ours:
            alike.setdefault(_compared(contender, texts), []).append(contender["name"])
    return "\n".join(lines + [f"- {'; '.join(names)}: {line}" for line, names in alike.items()])


def _compared(contender: dict[str, Any], texts: int) -> str:
    same, but_for_ends = contender["same_masks"], contender["same_masks_but_for_ends"]
    line = (
        f"{contender['documents']:,} documents, the longest of {contender['longest']:,} tokens; "
        f"{texts - contender['tokens']:,} tokens fewer than the texts have. {contender['same_ids']:,} have the ids of "
        f"a row of forge's, and in {same:,} of these the same tokens are trained"
    )
    if same < but_for_ends:
        line += f"; in {but_for_ends:,}, the same and one more at the end of each answer"
    return f"{line}."


def _versions(contenders: Sequence[dict[str, Any]]) -> str:
    by_group = {contender["group"]: contender["versions"] for contender in contenders}
    return "\n".join(
        f"- {group}: " + ", ".join(f"{name} {version}" for name, version in versions.items())
        for group, versions in by_group.items()
    )
