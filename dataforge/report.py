"""What a build says of itself, for people: the summary, its tables, a reject."""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dataforge import pair_measures
from dataforge.records import Reject, canonical_json
from dataforge.shards import Amount, Manifest, Split

Table = list[tuple[str, ...]]
"""A head and rows, a name first and numbers after it."""
_FIRST = 3
_TOP = 10
_TOP_OF_CARD = 50


def reject_as_json(reject: Reject) -> dict[str, Any]:
    """A reject as a line of `rejects.jsonl`."""
    return {
        "id": reject.id,
        "source": reject.origin.source,
        "file": reject.origin.file,
        "line": reject.origin.line,
        "ordinal": reject.origin.ordinal,
        "stage": reject.stage,
        "reason": reject.reason,
        "detail": reject.detail,
        **reject.facts,
    }


def reject_line(reject: Reject) -> bytes:
    """The same as bytes."""
    return canonical_json(reject_as_json(reject)) + b"\n"


def summary(manifest: Manifest) -> Iterator[str]:
    """A build in a few lines, and tables of what fell where and of what there is, as far as they say something."""
    yield f"  {funnel(manifest)}"
    for split, sizes in manifest.statistics.items():
        if sizes.rows:
            yield f"  {split:5} {_size(manifest, split)}, {sizes.tokens:,} tokens, {sizes.trained_tokens:,} trained"
    turns = manifest.turns
    forked = f"{turns.forked:,} forked" + (f" (rows of {turns.fork_tokens:,} tokens)" if turns.forked else "")
    yield f"  masks {turns.certified:,} turns certified, {forked}, {turns.refused:,} records refused"
    yield f"  stop  {', '.join(map(repr, manifest.tokenizer.stop_tokens))}"
    for name, counts in manifest.noted.items():
        listed = ", ".join(f"{what} {count:,}" for what, count in _largest(counts))
        yield f"  {name} counted {listed}"
    if any(stage.rejected or stage.unfolded or stage.added for stage in manifest.funnel):
        yield from _aligned(_stations(manifest))
    rejected = _rejected(manifest)
    if len(rejected) > 1:
        yield from _aligned([("rejected", "records"), *((name, f"{count:,}") for name, count in rejected[:_TOP])])
    for table in (*_amounts(manifest, _TOP), *_measures(manifest)):
        yield from _aligned(table)


def _measures(manifest: Manifest) -> Iterator[Table]:
    """A table of how training pairs are spread over each measure that is known of some."""
    for what, ranges in manifest.measured.get("train", {}).items():
        listed, whole = pair_measures.in_order(what, ranges), sum(ranges.values())
        if [name for name, _ in listed] != [pair_measures.UNKNOWN]:
            yield [(what, "pairs", "share"), *((name, f"{count:,}", f"{count / whole:.1%}") for name, count in listed)]


def _size(manifest: Manifest, split: Split) -> str:
    sizes = manifest.statistics[split]
    if manifest.kind != "chat":
        return f"{sizes.rows:,} {manifest.kind}"
    windows = f"{sizes.windows:,} windows of {manifest.window} tokens ({filled(manifest, split):.1%} filled)"
    return f"{sizes.rows:,} rows in {windows}"


def funnel(manifest: Manifest) -> str:
    """Records in, records out, and the commonest reasons of those between, in one line."""
    rejected = _rejected(manifest)
    repeated = sum(stage.added for stage in manifest.funnel)
    kept = manifest.funnel[-1].passed + repeated
    joined = sum(stage.joined for stage in manifest.funnel)
    text = f"{manifest.funnel[0].read:,} records read, {kept:,} kept"
    if joined:
        text += f" ({joined:,} went into others)"
    if repeated:
        text += f" ({repeated:,} of them repetitions)"
    if not rejected:
        return f"{text}; none rejected"
    text += f"; rejected: {', '.join(f'{reason} {count:,}' for reason, count in rejected[:_FIRST])}"
    others = sum(count for _, count in rejected[_FIRST:])
    return text + (f", and {others:,} for other reasons" if others else "")


def filled(manifest: Manifest, split: Any) -> float:
    """The share of a split's window positions that hold a token."""
    sizes = manifest.statistics[split]
    return sizes.tokens / (sizes.windows * manifest.window) if sizes.windows else 0.0


def for_card(manifest: Manifest) -> str:
    """The stations, the reasons of rejects, and what there is of each source, task and language, as Markdown."""
    rejected = _rejected(manifest)[:_TOP_OF_CARD]
    reasons: Table = [("rejected", "records"), *((name, f"{count:,}") for name, count in rejected)] if rejected else []
    return "\n\n".join(
        map(_markdown, (_stations(manifest), reasons, *_amounts(manifest, _TOP_OF_CARD), *_measures(manifest)))
    )


def _stations(manifest: Manifest) -> Table:
    """What went into each station and came out; a column only where there is something in it."""
    columns = [("read", "read"), ("more of one", "unfolded"), ("passed", "passed"), ("repeated", "added")]
    columns = [(title, key) for title, key in columns if any(getattr(stage, key) for stage in manifest.funnel)]
    return [
        ("station", *(title for title, _ in columns), "rejected"),
        *(
            (
                stage.stage,
                *(f"{getattr(stage, key):,}" for _, key in columns),
                f"{sum(stage.rejected.values()):,}",
            )
            for stage in manifest.funnel
        ),
    ]


def _rejected(manifest: Manifest) -> list[tuple[str, int]]:
    """Stations with their reasons, the commonest first; those that are as common in the order of the stations."""
    reasons = Counter(
        {f"{stage.stage}/{reason}": count for stage in manifest.funnel for reason, count in stage.rejected.items()}
    )
    return reasons.most_common()


def _amounts(manifest: Manifest, most: int) -> Iterator[Table]:
    """A table for each of source, task and language that tells at least two apart, of what is trained on."""
    of_train = manifest.diversity.get("train", {})
    held = manifest.diversity.get("eval", {})
    for kind, names in of_train.items():
        kept = held.get(kind, {})
        if len(names.keys() | kept.keys()) < 2:
            continue
        records, trained = (sum(getattr(each, key) for each in names.values()) for key in ("records", "trained_tokens"))
        listed = [*names, *(name for name in kept if name not in names)]
        table: Table = [(kind, "records", "share", "tokens", "trained", "share", "held for evaluation")]
        for name in listed[:most]:
            amount = names.get(name, Amount(records=0, tokens=0, trained_tokens=0))
            table.append(
                (
                    name,
                    f"{amount.records:,}",
                    f"{amount.records / max(records, 1):.1%}",
                    f"{amount.tokens:,}",
                    f"{amount.trained_tokens:,}",
                    f"{amount.trained_tokens / max(trained, 1):.1%}",
                    f"{kept[name].records if name in kept else 0:,}",
                )
            )
        if len(listed) > most:
            table.append((f"and {len(listed) - most:,} more", *[""] * (len(table[0]) - 1)))
        yield table


def _largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_TOP]


def _aligned(table: Table) -> Iterator[str]:
    """A table for a terminal or a log: names to the left, numbers to the right, wide characters as two."""
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    yield ""
    for first, *others in table:
        name = first + " " * (widths[0] - _width(first))
        cells = (" " * (width - _width(cell)) + cell for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join(("", name, *cells)).rstrip()


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _markdown(table: Sequence[tuple[str, ...]]) -> str:
    if not table:
        return "No record was rejected."
    head, *rows = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table)
    return "\n".join((head, "|---" + "|---:" * (len(table[0]) - 1) + "|", *rows))
