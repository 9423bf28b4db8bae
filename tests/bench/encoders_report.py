"""The comparison of tokenizer libraries as Markdown."""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

_NOTE = """\
Written by `python tests/bench/encoders.py --data FOLDER --out tests/bench/encoders.md`. Seconds are medians; a ratio is
of HF's `encode_batch_fast` to the other in the same round, both with the ids in one numpy int32 array, with its least
and greatest. A process is bound to as many cores as it has threads. With one thread, seconds
are the process's own; with two, and of two processes, they are by the clock, on a machine that others used as well."""


def report(found: dict[str, Any]) -> str:
    """The whole report."""
    machine = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    lines = [
        "# Tokenizer libraries beside HF's",
        f"{_NOTE}\n\n{machine['cores']} cores, {machine['cpu']}; {found['rounds']} rounds; {versions}",
        "## Time: SmolLM2's tokenizer, 5,000 rendered conversations",
        *(_timed(found["timed"][threads], threads) for threads in ("1", "2")),
        "## Two processes or one",
        _processes(found["processes"]),
        "## Ids",
        _sizes(found["texts"]),
        _exact(found["exact"]),
        "## Where ids differ, and what is refused",
        "\n".join(_details(found["exact"])),
    ]
    return "\n\n".join(lines) + "\n"


def _timed(timed: dict[str, Any], threads: str) -> str:
    lines = [
        f"{threads} thread{'s' if threads != '1' else ''}:\n",
        "| library | encode | into numpy | HF / it, calls of 1,024 | HF / it, one call |",
        "|---|---|---|---|---|",
    ]
    against = timed["tokenizers"]
    for name, each in timed.items():
        if each.get("refused"):
            lines.append(f"| {name} | {each['refused']} | | | |")
            continue
        encode, arrays = (statistics.median(part[key] for part in each["calls"]) for key in ("encode", "arrays"))
        refused = f" ({each['calls'][0]['refused']:,} texts refused)" if each["calls"][0]["refused"] else ""
        ratios = [_ratios(_totals(against[key]), _totals(each[key])) for key in ("calls", "once")]
        lines.append(f"| {name}{refused} | {encode:.2f} | {arrays:.2f} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def _totals(answers: Sequence[dict[str, Any]]) -> list[float]:
    return [answer["encode"] + answer["arrays"] for answer in answers]


def _ratios(ones: Sequence[float], others: Sequence[float]) -> str:
    ratios = [one / other for one, other in zip(ones, others, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _processes(processes: dict[str, dict[str, list[float]]]) -> str:
    lines = ["| library | two processes of 1 thread | one process of 2 threads | two / one |", "|---|---|---|---|"]
    for name, each in processes.items():
        two, one = each["two processes"], each["one process"]
        lines.append(f"| {name} | {statistics.median(two):.2f} | {statistics.median(one):.2f} | {_ratios(two, one)} |")
    return "\n".join(lines)


def _sizes(texts: dict[str, int]) -> str:
    sizes = ", ".join(f"{corpus} {count:,}" for corpus, count in texts.items() if corpus != "conversations").replace(
        "2,000 conversations 2,000", "conversations 2,000"
    )
    return (
        f"Texts ({sizes}). A cell gives the texts with other ids than HF's (and, after a plus, those it raised for) and"
        " how many times as fast it was on the 2,000 conversations, with the ids in numpy, on one thread (the slower of"
        " two rounds); a dash is a tokenizer that it refuses. Who has other ids for one"
        " tokenizer is not asked for the next."
    )


def _exact(exact: dict[str, Any]) -> str:
    lines = [f"| library | {' | '.join(exact)} |", "|---" * (len(exact) + 1) + "|"]
    for library in next(iter(exact.values())):
        lines.append(f"| {library} | {' | '.join(_cell(found.get(library)) for found in exact.values())} |")
    return "\n".join(lines)


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    if found.get("refused"):
        return "-"
    differing = sum(corpus["differing"] for corpus in found["corpora"].values())
    refused = sum(corpus["refused"] for corpus in found["corpora"].values())
    return f"{differing:,}{f' + {refused:,}' if refused else ''}; {min(found['times_as_fast']):.1f}"


def _details(exact: dict[str, Any]) -> Iterator[str]:
    for tokenizer, libraries in exact.items():
        for library, found in libraries.items():
            if found.get("refused"):
                yield f"- {library} refuses {tokenizer}: `{_code(found['refused'])}`"
                continue
            whys = {each["why"] for each in found["corpora"].values() if each["why"]}
            if whys:
                yield f"- {library} on {tokenizer} raises: `{_code(min(whys))}`"
            shown = [each for corpus in found["corpora"].values() for each in corpus["first"]]
            if shown:
                first = min(shown, key=lambda each: len(each["text"]))
                yield (
                    f"- {library} on {tokenizer}: `{_code(ascii(first['text'][:60]))}` from id {first['at']} on:"
                    f" {first['right']} are right, {first['theirs']} were given"
                )


def _code(text: str) -> str:
    return text.replace("`", "'").replace("\n", " ")[:140]
