"""Preferences out of real rankings, trees and labels, beside counts by hand.

    python -m tests.bench.preferences DATA [--out tests/bench]

DATA holds published files under the names below; their licences forbid to carry them along. Each count by hand reads
the file with `json` and counts in a few lines that share nothing with the program; the program's own come from the
source and the steps that stand beside it. Writes a table, and ends with 1 where two counts differ.
"""

import argparse
import gzip
import importlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise, takewhile
from pathlib import Path
from typing import Any

from dataforge import gathers
from dataforge.components import Counting
from dataforge.context import Context
from dataforge.records import Joined, Origin, Preference, Reject, Row, group_of, record_id

CONTEXT = Context(Path(), 7, lambda record: False, lambda texts: [0 for _ in texts])
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A file, how the program makes pairs of it, and how many there are by hand."""

    path: str
    use: str
    counted: Callable[[Rows], int]
    settings: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)


def read(path: Path) -> Rows:
    """The objects of a JSON array or of JSON Lines, packed or not."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = content.decode("utf-8")
    found = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines()]
    return list(found)


def siblings(rows: Rows, *, synthetic: bool) -> Iterator[list[int]]:
    """The ranks of the answers to each prompter's message of OpenAssistant's trees, without what is left out."""

    def left_out(node: dict[str, Any]) -> bool:
        return bool(
            node.get("deleted") or node.get("review_result") is False or (node.get("synthetic") and not synthetic)
        )

    def below(node: dict[str, Any]) -> Iterator[list[int]]:
        replies = [reply for reply in node.get("replies", []) if not left_out(reply)]
        if node["role"] == "prompter":
            yield [reply["rank"] for reply in replies if "rank" in reply]
        for reply in replies:
            yield from below(reply)

    for row in rows:
        if not left_out(row["prompt"]):
            yield from below(row["prompt"])


def trees(take: str, *, synthetic: bool) -> Callable[[Rows], int]:
    """Pairs of siblings in trees whose siblings have no rank twice."""
    of: dict[str, Callable[[int], int]] = {
        "all": lambda count: count * (count - 1) // 2,
        "adjacent": lambda count: max(count - 1, 0),
        "best_vs_worst": lambda count: int(count > 1),
    }
    return lambda rows: sum(of[take](len(set(ranks))) for ranks in siblings(rows, synthetic=synthetic))


def transcripts(rows: Rows) -> int:
    """HH-RLHF's pairs that part at the last answer of what both texts begin with, and whose two sides are answers."""
    kept = 0
    for row in rows:
        end = beginning(row).rfind("\n\nAssistant:") + len("\n\nAssistant:")
        prompt, sides = row["chosen"][:end], [row[name][end:] for name in ("chosen", "rejected")]
        speakers = re.findall(r"\n\n(Human|Assistant):", prompt)
        alternate = all(one != other for one, other in pairwise(["Assistant", *speakers]))
        answers = all(side.strip() and not re.search(r"\b(?:Human|Assistant):", side) for side in sides)
        kept += alternate and answers and sides[0].strip() != sides[1].strip()
    return kept


def parted(rows: Rows) -> int:
    """HH-RLHF's pairs that have an answer to part at, whatever stands in it."""
    return sum("\n\nAssistant:" in beginning(row) for row in rows)


def beginning(row: dict[str, Any]) -> str:
    """What both transcripts begin with."""
    same = takewhile(lambda both: both[0] == both[1], zip(row["chosen"], row["rejected"], strict=False))
    return "".join(character for character, _ in same)


def scored(rows: Rows) -> int:
    """Pairs of Magpie's responses with different scores."""
    scores = ([reward["score"] for reward in row["rewards_armorm"]] for row in rows)
    return sum(one != other for each in scores for one, other in combinations(each, 2))


def listed(rows: Rows) -> int:
    """Neighbours in lists that have the best answer first, without empty answers and repetitions."""
    said = (list(dict.fromkeys(text.strip() for text in row["output"] if text.strip())) for row in rows)
    return sum(max(len(texts) - 1, 0) for texts in said)


def labelled(rows: Rows) -> int:
    """A good answer and a bad one to what was said before, each text once."""
    answers: dict[str, dict[str, set[bool]]] = defaultdict(lambda: defaultdict(set))
    for row in rows:
        answers[json.dumps(row["messages"][:-1])][row["messages"][-1]["content"].strip()].add(row["label"])
    sides = ([labels for labels in texts.values() if len(labels) == 1] for texts in answers.values())
    return sum(each.count({True}) * each.count({False}) for each in sides)


def judged(data: Path) -> tuple[int, int]:
    """Games on MT-bench's questions as FastChat's own judge prompts show them: how many there are, and come back.

    Each question and turn is one game of two made-up answers, the second of which wins in both orders.
    """
    templates = {row["name"]: row["prompt_template"] for row in read(data / "fastchat/judge_prompts.jsonl")}
    source: Any = importlib.import_module("dataforge.sources.pairwise")
    games, back = 0, 0
    for question in read(data / "fastchat/mt_bench__question.jsonl"):
        asked, references = question["turns"], question.get("reference") or []
        for turn in (1, 2):
            said = {side: [f"{side} says {at}.\n\n{asked[-1]}" for at in range(turn)] for side in ("lark", "wren")}
            name = f"pair-{'math-v1' if len(references) > 1 else 'v2'}{'-multi-turn' if turn == 2 else ''}"
            shown = []
            for one, other in (("lark", "wren"), ("wren", "lark")):
                words = {"question": asked[0], "answer_a": said[one][0], "answer_b": said[other][0]}
                words |= {f"question_{at}": text for at, text in enumerate(asked, start=1)}
                words |= {f"ref_answer_{at}": text for at, text in enumerate(references, start=1)}
                for key, side in (("a", one), ("b", other)):
                    words |= {f"answer_{key}_{at}": text for at, text in enumerate(said[side], start=1)}
                shown.append(templates[name].format(**words))
            columns = {"question_id": question["question_id"], "turn": turn, "judge": ["judge", name]}
            columns |= {"model_1": "lark", "model_2": "wren", "g1_winner": "model_2", "g2_winner": "model_2"}
            columns |= {"g1_user_prompt": shown[0], "g2_user_prompt": shown[1]}
            made = source.convert(Row("r", Origin("s", "f", 0, 1), columns), source.Settings())
            games += 1
            back += (
                isinstance(made, Preference)
                and [message.text for message in made.prompt] == asked[:1]
                and [message.text for message in made.chosen[::2]] == said["wren"]
                and [message.text for message in made.rejected[::2]] == said["lark"]
                and [message.text for message in made.chosen[1::2]] == asked[1:turn]
            )
    return games, back


def pairs(take: str, **more: Any) -> dict[str, Any]:
    """The step."""
    return {"use": "pairs", "take": take, **more}


OASST = "open-assistant/en_100_tree.jsonl"
WITH = {"keep": ["synthetic"]}
CASES = [
    Case(OASST, "oasst", trees("all", synthetic=True), WITH, [pairs("all")]),
    Case(OASST, "oasst", trees("adjacent", synthetic=True), WITH, [pairs("adjacent")]),
    Case(OASST, "oasst", trees("best_vs_worst", synthetic=True), WITH, [pairs("best_vs_worst")]),
    Case(OASST, "oasst", trees("best_vs_worst", synthetic=True), WITH, [pairs("all", per_prompt=1)]),
    Case(OASST, "oasst", trees("all", synthetic=False), {}, [pairs("all")]),
    Case(OASST, "oasst", trees("adjacent", synthetic=False), {}, [pairs("adjacent")]),
    Case("hh-rlhf/test.jsonl.gz", "hh_rlhf", transcripts),
    Case("magpie/example_instructions_5res_armorm.json", "ranked_list", scored, {}, [pairs("all")]),
    Case("magpie/example_instructions_5res_armorm.json", "ranked_list", len, {}, [pairs("best_vs_worst")]),
    Case("chatglm-et/oaast_rm_zh.json", "alpaca", listed, {}, [pairs("adjacent")]),
    Case("llamafactory/dpo_zh_demo.json", "sharegpt", len),
    Case("llamafactory/v1_dpo_demo.jsonl", "llamafactory_v1", len),
    Case("llamafactory/kto_en_demo.json", "openai", labelled, {}, [{"use": "group_by_prompt"}, pairs("all")]),
    Case(
        "llamafactory/dpo_zh_demo.json",
        "sharegpt",
        lambda rows: len({json.dumps(row) for row in rows}),
        {},
        [{"use": "to_labels"}, {"use": "group_by_prompt"}, pairs("adjacent")],
    ),
]


def made(case: Case, rows: Rows) -> tuple[list[Any], Counter[str], Counter[str]]:
    """What becomes of the rows: records, why others are none, and what steps counted."""
    source: Any = importlib.import_module(f"dataforge.sources.{case.use}")
    settings = source.Settings(**case.settings)
    lost, noted = Counter[str](), Counter[str]()

    def kept(results: Sequence[Any]) -> list[Any]:
        flat = [one for each in results for one in (each if isinstance(each, list | tuple) else [each])]
        lost.update(f"{one.stage}/{one.reason}" for one in flat if isinstance(one, Reject))
        return [one for one in flat if not isinstance(one, Reject | Joined)]

    origins = (Origin("s", case.path, number, number + 1) for number in range(len(rows)))
    read_rows = (Row(record_id("s", row), at, row) for row, at in zip(rows, origins, strict=True))
    records = kept([source.convert(row, settings) for row in read_rows])
    for spec in case.steps:
        module: Any = importlib.import_module(f"dataforge.steps.{spec['use']}")
        told = module.Settings(**{key: value for key, value in spec.items() if key != "use"})
        step = module.start(spec["use"], told, CONTEXT)
        if hasattr(module, "Gather"):
            (decided,) = gathers.in_memory(step, [step.thin(records)])
            results = [step.take(one, decided[at]) if at in decided else one for at, one in enumerate(records)]
        else:
            results = [step.take(record) for record in records]
        records = kept(results)
        if isinstance(step, Counting):
            noted.update(step.noted())
    return records, lost, noted


def main() -> None:
    """Count each and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    lines = [
        "# Preferences out of real files",
        "",
        "| file | records | pairs by hand | pairs | families | rejected | left out | by |",
        "|---|---:|---:|---:|---:|---|---|---|",
    ]
    wrong = []
    for case in CASES:
        rows = read(arguments.data / case.path)
        records, lost, noted = made(case, rows)
        found = [record for record in records if isinstance(record, Preference)]
        by_hand = case.counted(rows)
        # Equal rows share an id, so that there are as many ids as there are different pairs.
        different = {repr((pair.prompt, pair.chosen, pair.rejected)) for pair in found}
        if len(found) != by_hand or len({pair.id for pair in found}) != len(different):
            wrong.append(case.path)
        if case.use == "hh_rlhf" and lost["convert/no_common_prompt"] != len(rows) - parted(rows):
            wrong.append(case.path)
        left = {name: count for name, count in noted.items() if count and name not in ("places", "pairs")}
        said = json.dumps({"use": case.use, **case.settings})
        if case.steps:
            said += f", steps: {json.dumps(case.steps)}"
        listed_lost, listed_left = (
            ", ".join(f"{name} {count:,}" for name, count in sorted(each.items())) for each in (lost, left)
        )
        lines.append(
            f"| {case.path} | {len(rows):,} | {by_hand:,} | {len(found):,} | {len(set(map(group_of, found))):,} "
            f"| {listed_lost} | {listed_left} | `{said}` |"
        )
        print(lines[-1], flush=True)
    games, back = judged(arguments.data)
    lines += [
        "",
        f"Of {games} games that FastChat's judge prompts show, `pairwise` reads {back} back as they were played.",
    ]
    print(lines[-1])
    if back != games:
        wrong.append("fastchat/judge_prompts.jsonl")
    if arguments.out:
        (arguments.out / "preferences.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if wrong:
        raise SystemExit(f"other counts than by hand: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
