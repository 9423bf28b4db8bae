# ruff: noqa: RUF001
"""The mask matrix as Markdown: who is right, what is wrong, and what is refused and why."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

PEERS = ("TRL", "transformers")
TOOLS = ("dataforge", *PEERS)

KINDS = {
    "after the stop": "trains what the template writes after the stop, mostly a newline",
    "header": "trains the end of the prompt, which the model never writes",
    "history": "does not begin with what a server feeds: other history, or another opened thought",
    "boundary": "begins with the prompt's text in other tokens than a server feeds",
    "late": "leaves out the first token of an answer",
    "no stop": "does not train the stop",
    "left out": "lacks a thought, a text or a call of the answer",
    "several stops": "trains several stops in one run",
    "untrained": "leaves out an answer",
    "text": "says something else than the template writes of the answer",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the oracle says of one conversation."""

    template: str
    tokenizer: str
    way: str
    shape: str
    reason: str
    """Why the package refused it."""
    detail: str
    wrong: list[tuple[str, str]]
    """What is wrong with its rows: kind and place."""
    forms: list[str]
    """How each of its answers is trained."""
    against: str
    """What speaks against training on a refused conversation."""
    peers: dict[str, tuple[str, list[tuple[str, str]]]]
    """The verdict on other tools' row, and why."""
    spoilt: int = 0
    """In how many ways its rows were spoilt."""
    unseen: list[str] = field(default_factory=list)
    """The ways that the oracle did not see."""

    @property
    def carried(self) -> str:
        """How the package carries the conversation."""
        if all(form.startswith("whole") for form in self.forms):
            return "one row"
        return "third form" if "third" in self.forms else "rows of their own"

    def of(self, tool: str) -> str:
        """A tool's result: right, refused, nothing trained or wrong."""
        if tool == "dataforge":
            return "refused" if self.reason else "wrong" if self.wrong else "right"
        found = self.peers[tool][0]
        return {"template refuses": "refused", "no template": "refused", "error": "refused"}.get(found, found)


RESULTS = ("right", "refused", "nothing trained", "wrong")


def summary(verdicts: Sequence[Verdict]) -> str:
    """The totals in lines."""
    shared = [verdict for verdict in verdicts if verdict.peers]
    lines = [f"{len(shared)} conversations for every tool:"]
    for tool in TOOLS:
        found = Counter(verdict.of(tool) for verdict in shared)
        lines.append(f"  {tool}: " + ", ".join(f"{found[result]} {result}" for result in RESULTS))
    alone = Counter(verdict.of("dataforge") for verdict in verdicts if not verdict.peers)
    lines.append("further ones for dataforge alone: " + ", ".join(f"{alone[result]} {result}" for result in RESULTS))
    spoilt = sum(verdict.spoilt for verdict in verdicts)
    if spoilt:
        lines.append(f"rows spoilt: {spoilt}, not seen by the oracle: {sum(len(v.unseen) for v in verdicts)}")
    return "\n".join(lines)


def report(verdicts: Sequence[Verdict], note: str) -> str:
    """The whole report."""
    shared = [verdict for verdict in verdicts if verdict.peers]
    parts = [
        "# Masks on stock templates, ours and other tools'",
        note,
        "## Who is right",
        f"{len(shared)} conversations: {len({v.template for v in shared})} templates × "
        f"{len({v.tokenizer for v in shared})} vocabularies × {len({v.shape for v in shared})} shapes, thinking "
        "templates once more with `enable_thinking` false and true. A row is right if every answer in it begins after "
        "exactly the ids that a server feeds for it and is trained through its stop token, and nothing else is.",
        _table(["tool", *RESULTS], [[tool, *_counted(shared, tool)] for tool in TOOLS]),
        "Refused by `transformers` are conversations for which, or for a prompt of which, the template raises an "
        "error; by TRL those, and all of templates for which it has no training template. Wrong rows by what is "
        "wrong, some in several ways:",
        _kinds(shared),
        _spoilt(verdicts),
        "## How dataforge carries conversations",
        _ways(verdicts),
        "## By template",
        _by(shared, lambda verdict: verdict.template, "template"),
        "## By vocabulary",
        _by(shared, lambda verdict: verdict.tokenizer, "vocabulary"),
        "## By shape",
        _by(shared, lambda verdict: verdict.shape, "shape"),
        "## What dataforge refuses",
        *_refusals(verdicts),
        "## What is wrong with rows of dataforge",
        _violations(verdicts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _spoilt(verdicts: Sequence[Verdict]) -> str:
    spoilt, unseen = sum(verdict.spoilt for verdict in verdicts), sum(len(verdict.unseen) for verdict in verdicts)
    if not spoilt:
        return ""
    return (
        "To test the oracle, the right rows of dataforge for one conversation in eight were spoilt in up to 15 ways "
        "each (an answer that begins or ends a token early or late, another token in the prompt or in the answer, a "
        f"row that is missing, …): {spoilt} spoilt conversations, of which it took {unseen} for right."
    )


def _counted(verdicts: Iterable[Verdict], tool: str) -> list[str]:
    found = Counter(verdict.of(tool) for verdict in verdicts)
    return [str(found[result]) for result in RESULTS]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _kinds(verdicts: Sequence[Verdict]) -> str:
    wrong = {
        tool: [{kind for kind, _ in v.peers[tool][1]} for v in verdicts if v.of(tool) == "wrong"] for tool in PEERS
    }
    rows = []
    for kind in dict.fromkeys([*KINDS, *(kind for found in wrong.values() for kinds in found for kind in kinds)]):
        counts = [
            sum(test)
            for tool in PEERS
            for test in ([kind in kinds for kinds in wrong[tool]], [kinds == {kind} for kinds in wrong[tool]])
        ]
        if any(counts):
            rows.append([KINDS.get(kind, kind), *map(str, counts)])
    return _table(["the row …", *(head for tool in PEERS for head in (tool, "and nothing else"))], rows)


def _ways(verdicts: Sequence[Verdict]) -> str:
    forms = ("one row", "rows of their own", "third form")
    rows = []
    for way in dict.fromkeys(verdict.way for verdict in verdicts):
        chosen = [verdict for verdict in verdicts if verdict.way == way]
        found = Counter(verdict.carried for verdict in chosen if verdict.of("dataforge") == "right")
        others = Counter(verdict.of("dataforge") for verdict in chosen)
        rows.append([way, *(str(found[form]) for form in forms), str(others["refused"]), str(others["wrong"])])
    return _table(["asked for", *forms, "refused", "wrong"], rows)


def _by(verdicts: Sequence[Verdict], key: Callable[[Verdict], str], name: str) -> str:
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[key(verdict)].append(verdict)
    columns = [(tool, result) for tool in TOOLS for result in RESULTS if (tool, result) != ("dataforge", RESULTS[2])]
    rows = []
    for label, chosen in groups.items():
        found = Counter((tool, verdict.of(tool)) for tool in TOOLS for verdict in chosen)
        rows.append([label, *(str(found[column]) for column in columns)])
    return _table([name, *(f"{tool}: {result}" for tool, result in columns)], rows)


def _refusals(verdicts: Sequence[Verdict]) -> list[str]:
    """By reason and what is said; templates that refuse the same shapes with the same words stand together."""
    refused = [verdict for verdict in verdicts if verdict.reason]
    found: dict[tuple[str, str, str], list[Verdict]] = defaultdict(list)
    for verdict in refused:
        found[verdict.reason, _said(verdict), verdict.template].append(verdict)
    merged: dict[tuple[str, str, tuple[str, ...]], list[tuple[str, int]]] = defaultdict(list)
    for (reason, said, template), chosen in found.items():
        names = tuple(dict.fromkeys(verdict.shape for verdict in chosen))
        merged[reason, said, names].append((template, len(chosen)))
    unopposed = [verdict for verdict in refused if not verdict.against]
    share = f"{100 * len(refused) / max(1, len(verdicts)):.0f} %"
    parts = [
        f"{len(refused)} of {len(verdicts)} conversations ({share}), against {len(unopposed)} of which the oracle has "
        "nothing to say."
    ]
    every = len({verdict.shape for verdict in verdicts})
    for reason, count in Counter(verdict.reason for verdict in refused).most_common():
        rows = [
            [
                ", ".join(template for template, _ in templates),
                said,
                _shapes(names, every),
                str(sum(n for _, n in templates)),
            ]
            for (at, said, names), templates in merged.items()
            if at == reason
        ]
        parts += [
            f"### `{reason}`: {count}",
            _table(["templates", "what it says", "shapes", ""], rows).replace("---:", "---"),
        ]
    return parts


def _shapes(names: Sequence[str], every: int) -> str:
    return "; ".join(names) if len(names) <= every // 2 else f"{len(names)} of {every} shapes"


def _said(verdict: Verdict) -> str:
    name = verdict.template.partition("/")[2]
    text = re.sub(r"\bmessage \d+", "message n", verdict.detail).replace(f"The {name} ", "The … ")
    text = re.sub(r"; (?:take another|give the record|open the thought|`reasoning).*", "", text, flags=re.DOTALL)
    text = re.sub(r"(a server feeds the model ).*", r"\1what is not the beginning of the conversation", text)
    text = re.sub(r"the tokenizer of \S+", "the tokenizer", text)
    return text.removeprefix("the chat template says: ").replace("\n", " ")[:180]


def _violations(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [v.template, v.tokenizer, v.way, v.shape, f"{kind}: {place}"[:200]] for v in verdicts for kind, place in v.wrong
    ]
    head = ["template", "vocabulary", "asked for", "shape", "what"]
    return _table(head, rows).replace("---:", "---") if rows else "Nothing."
