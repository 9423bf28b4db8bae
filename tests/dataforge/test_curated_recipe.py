"""The sample recipe that cleans, compares and mixes: each step finds what its sample holds for it, and nothing else."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from dataforge import check, config
from dataforge.build import build

RECIPE = Path(__file__).parents[2] / "samples" / "recipes" / "curated.yaml"
BY_STEP = {
    ("nli", "no_gold_label"): 1,
    ("helpful", "equal_replies"): 1,
    ("helpful", "empty_reply"): 1,
    ("helpful", "turns_in_reply"): 1,
    ("helpful", "speaker_in_reply"): 1,
    ("helpful", "same_speaker_twice"): 1,
    ("enquiries", "refusal"): 1,
    ("enquiries", "language"): 1,
    ("enquiries", "exact"): 1,
    ("enquiries", "overlap"): 1,
    ("enquiries", "per_key"): 1,
}


def test_each_step_finds_what_the_samples_hold_for_it(tmp_path: Path, tiny_base: Path) -> None:
    overrides = (f"tokenizer={tiny_base}", "missing_tokens=as_text")
    built = build(config.load(RECIPE, overrides), tmp_path / "b", lambda text: None)
    rejects = [json.loads(line) for line in (tmp_path / "b" / "rejects.jsonl").read_text(encoding="utf-8").splitlines()]
    assert Counter((each["source"], each["reason"]) for each in rejects) == BY_STEP
    files = sorted((tmp_path / "b" / "records").glob("*.parquet"))
    kept = [chat for file in files for chat in pq.read_table(file).to_pylist()]
    assert Counter(chat["source"] for chat in kept) == {"enquiries": 5, "helpful": 2, "news": 4, "nli": 3}
    texts = "\n".join(message["content"] for chat in kept for message in chat["messages"])
    assert not any(told in texts for told in ("desk@", "555 0134", "13800138000", "AI language model", "journaux"))
    topics = [chat["messages"][-1]["content"] for chat in kept if chat["source"] == "news"]
    assert sorted(topics) == ["Business", "Sci/Tech", "Sports", "World"]
    assert built.manifest.funnel[-1].passed == len(kept)
    assert not list(check.faults(tmp_path / "b"))
