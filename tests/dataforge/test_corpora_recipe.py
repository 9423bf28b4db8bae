"""The sample recipe of all corpora builds, and says of each record that it leaves out why."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from dataforge import check, config
from dataforge.build import build

RECIPE = Path(__file__).parent.parent.parent / "samples" / "recipes" / "corpora.yaml"
LEFT_OUT = {("nli", "no_gold_label"): 1, ("csl", "false_keywords"): 1, ("p3", "wrong_choice"): 1}
PARTED = {"squad": 4, "cmrc": 2, "webqa_passages": 1, "webqa_by_id": 1}
"""How many more examples than rows there are."""


def test_every_sample_of_a_corpus_is_built(tmp_path: Path, tiny_base: Path) -> None:
    overrides = (f"tokenizer={tiny_base}", "chat=chatml", "missing_tokens=as_text", "max_tokens=100000")
    built = build(config.load(RECIPE, overrides), tmp_path / "b", lambda text: None)
    rejects = [json.loads(line) for line in (tmp_path / "b" / "rejects.jsonl").read_text(encoding="utf-8").splitlines()]
    assert Counter((reject["source"], reject["reason"]) for reject in rejects) == LEFT_OUT
    read, *_, last = built.manifest.funnel
    assert last.passed == read.read + sum(PARTED.values()) - sum(LEFT_OUT.values())
    assert not list(check.faults(tmp_path / "b"))
    conversations = [
        chat
        for file in sorted((tmp_path / "b" / "records").glob("*.parquet"))
        for chat in pq.read_table(file).to_pylist()
        if chat["source"] == "dialogues"
    ]
    assert len(conversations) == 3
    for chat, said in zip(sorted(conversations, key=lambda chat: int(chat["ordinal"])), _dialogues(), strict=True):
        written = "\n".join(message["content"] for message in chat["messages"])
        assert all(turn["content"] in written for turn in said[-2:])
        assert chat["messages"][-1]["content"] in {said[-1]["content"], said[-2]["content"]}


def _dialogues() -> list[list[dict[str, str]]]:
    lines = (RECIPE.parent.parent / "corpora" / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["said"] for line in lines]
