"""Every file of real data that holds records, built by a recipe of a few lines; what is read beside a count by hand.

    python -m tests.bench.corpora DATA [--out tests/bench]

DATA holds published files under the names below; their licences forbid to carry them along. For each, the number of
records was counted by other means than the code under test (the column `by`), and stands here. A build reads a file
right if it finds as many; what it keeps, and why not the others, is told beside it. Writes a table, and ends with 1
where a count differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BEST = [{"use": "best"}]
INSTRUCT = [{"use": "instruct"}]
VOTES = [{"use": "mine_votes", "pairs_per_post": None}]
ALL_POSTS = {
    "min_post_score": None,
    "zero_scores": True,
    "deleted_users": True,
    "own_answers": True,
    "edited_after_answer": True,
}
COT_COLUMNS = {"use": "tsv", "header": False, "columns": ["question", "answer", "rationale"]}
SENTIMENT = {"Positive": "positive", "Negative": "negative"}


@dataclass(frozen=True)
class File:
    """A file of real data with its recipe."""

    path: str
    counted: int
    how: str
    """By what it was counted."""
    source: dict[str, Any]
    steps: list[dict[str, Any]] = field(default_factory=list)
    chat: str = "tokenizer"
    kind: str = "chat"


FILES = [
    File("llamafactory/alpaca_en_demo.json", 999, "items, `json`", {"use": "alpaca"}),
    File("llamafactory/alpaca_zh_demo.json", 1000, "items, `json`", {"use": "alpaca"}),
    File("llamafactory/identity.json", 91, "items, `json`", {"use": "alpaca", "vars": {"NAME": "Forge"}}),
    File("chatglm-et/self_cognition.json", 80, "items, `json`", {"use": "alpaca"}),
    File("chatglm-et/self_cognition.18.json", 18, "items, `json`", {"use": "alpaca"}),
    File("chatglm-et/examples.json", 2, "items, `json`", {"use": "alpaca"}),
    File("chatglm-et/oaast_rm_zh.json", 775, "items, `json`", {"use": "alpaca"}, BEST),
    File("self-instruct/seed_tasks.jsonl", 175, "`wc -l`", {"use": "self_instruct"}),
    File("belle/zh_seed_tasks.json", 175, "`wc -l`", {"use": "self_instruct"}),
    File("fastchat/data__dummy_conversation.json", 500, "items, `json`", {"use": "sharegpt"}),
    File("llamafactory/glaive_toolcall_en_demo.json", 300, "items, `json`", {"use": "sharegpt"}, chat="qwen"),
    File("llamafactory/dpo_zh_demo.json", 300, "items, `json`", {"use": "sharegpt"}, BEST),
    File("llamafactory/kto_en_demo.json", 300, "items, `json`", {"use": "openai"}, BEST),
    File("llamafactory/v1_sft_demo.jsonl", 500, "`wc -l`", {"use": "llamafactory_v1"}),
    File("llamafactory/v1_dpo_demo.jsonl", 10, "`wc -l`", {"use": "llamafactory_v1"}, BEST),
    File("hh-rlhf/test.jsonl.gz", 2312, "`zcat | wc -l`", {"use": "hh_rlhf"}, BEST),
    File("open-assistant/en_100_tree.jsonl", 100, "`wc -l`", {"use": "oasst", "keep": ["synthetic"]}, BEST),
    File("magpie/example_instructions_5res_armorm.json", 5, "items, `json`", {"use": "ranked_list"}, BEST),
    File("pclue/pCLUE_train_9.json", 705, "`wc -l`", {"use": "pclue"}),
    File("xquad/xquad.en.json", 1190, "questions, `json`", {"use": "squad", "language": "en"}, INSTRUCT),
    File("xquad/xquad.zh.json", 1190, "questions, `json`", {"use": "squad", "language": "zh"}, INSTRUCT),
    File("cmrc2018/data__cmrc2018_trial.json", 1002, "`grep -o query_text | wc -l`", {"use": "cmrc"}, INSTRUCT),
    File(
        "cmrc2018/squad-style-data__cmrc2018_trial.json",
        1002,
        "questions, `json`",
        {"use": "squad", "language": "zh"},
        INSTRUCT,
    ),
    File("wnut17/wnut17train.conll", 3394, "blocks, `awk`", {"use": "conll", "language": "en"}, INSTRUCT),
    File("wnut17/emerging.dev.conll", 1009, "blocks, `awk`", {"use": "conll", "language": "en"}, INSTRUCT),
    File(
        "ag-news/test.csv",
        7600,
        "rows, `csv`",
        {
            "use": "classification",
            "format": {"use": "csv", "header": False, "columns": ["label", "title", "description"]},
            "task": "topic",
            "text": ["title", "description"],
            "labels": {1: "World", 2: "Sports", 3: "Business", 4: "Sci/Tech"},
            "backslashes": "line_breaks",
            "language": "en",
        },
        INSTRUCT,
    ),
    File(
        "fewclue/eprstmt__train_few_all.json",
        160,
        "`wc -l`",
        {"use": "classification", "task": "sentiment", "text": "sentence", "labels": SENTIMENT, "language": "zh"},
        INSTRUCT,
    ),
    File(
        "fewclue/tnews__train_0.json",
        240,
        "`wc -l`",
        {"use": "classification", "task": "topic", "text": "sentence", "label": "label_desc", "language": "zh"},
        INSTRUCT,
    ),
    File("fewclue/ocnli__train_few_all.json", 160, "`wc -l`", {"use": "nli", "language": "zh"}, INSTRUCT),
    File("fewclue/csl__train_few_all.json", 160, "`wc -l`", {"use": "csl"}, INSTRUCT),
    File("gsm8k/test.jsonl", 1319, "`wc -l`", {"use": "cot", "language": "en"}, INSTRUCT),
    File("flan-cot/qasc_train.tsv", 1084, "`wc -l`", {"use": "cot", "format": COT_COLUMNS, "language": "en"}, INSTRUCT),
    File(
        "flan-cot/strategyqa_train.tsv",
        2061,
        "`wc -l`",
        {"use": "cot", "format": COT_COLUMNS, "language": "en"},
        INSTRUCT,
    ),
    File("fastchat/mt_bench__question.jsonl", 80, "`wc -l`", {"use": "mt_bench"}, kind="prompts"),
    File("reddit", 2768, "`cat *.ndjson | wc -l`", {"use": "reddit"}, VOTES, kind="pairs"),
    *(
        File(
            f"stackexchange-{name}/Posts.xml",
            posts,
            '`grep -c "<row "`',
            {"use": "stackexchange", "site": site, **ALL_POSTS},
            VOTES,
            kind="pairs",
        )
        for name, posts, site in (
            ("beer", 2354, "beer.stackexchange.com"),
            ("conlang", 177, "conlang.stackexchange.com"),
            ("meta-2023", 1446, "meta.stackexchange.com"),
        )
    ),
]


def main() -> None:
    """Build each and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    lines = [
        "# Real files",
        "",
        "| file | counted | by | read | kept | rejected | recipe |",
        "|---|---:|---|---:|---:|---|---|",
    ]
    wrong = []
    for file in FILES:
        with tempfile.TemporaryDirectory(prefix="forge-corpora-") as place:
            read, kept, rejected = built(file, arguments.data.resolve(), Path(place))
        if read != file.counted:
            wrong.append(file.path)
        said = json.dumps(file.source, ensure_ascii=False)
        if file.steps:
            said += f", steps: {json.dumps(file.steps)}"
        if file.chat != "tokenizer":
            said += f", chat: {file.chat}"
        if file.kind != "chat":
            said += f", kind: {file.kind}"
        lines.append(
            f"| {file.path} | {file.counted:,} | {file.how.replace('|', chr(92) + '|')} | {read:,} | {kept:,} "
            f"| {rejected} | `{said}` |"
        )
        print(lines[-1], flush=True)
    if arguments.out:
        (arguments.out / "corpora.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if wrong:
        raise SystemExit(f"other counts than by hand: {', '.join(wrong)}")


def built(file: File, data: Path, place: Path) -> tuple[int, int, str]:
    """Build a file: how many records were found, how many are kept, and what was rejected."""
    recipe = {
        "name": "corpus",
        "tokenizer": "smollm2-135m",
        "max_tokens": 8192,
        "chat": file.chat,
        "kind": file.kind,
        "sources": [{**file.source, "path": str(data / file.path)}],
        "steps": file.steps,
    }
    (place / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "dataforge", "build", "recipe.yaml", "--out", "build", "--json"],
        cwd=place,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if done.returncode:
        return 0, 0, done.stderr.strip().splitlines()[-1].replace("|", "\\|")
    funnel = json.loads(done.stdout)["funnel"]
    stations = {stage["stage"]: stage for stage in funnel}
    lost = {f"{stage['stage']}/{reason}": count for stage in funnel for reason, count in stage["rejected"].items()}
    if "threads" in stations:
        found = stations["threads"]["read"]
        return found, funnel[-1]["passed"], _told(lost)
    found = sum(stations["read"]["rejected"].values()) + stations["convert"]["read"] + stations["convert"]["unfolded"]
    return found, funnel[-1]["passed"], _told(lost)


def _told(lost: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count:,}" for reason, count in lost.items())


if __name__ == "__main__":
    main()
