"""Builds of pairs and of prompts, held against what transformers renders and encodes for each answer alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from dataforge import check, config, data_files, deep, preview, shards
from dataforge.bases import resolve
from dataforge.build import Options, Outcome, build
from dataforge.errors import BuildError
from dataforge.pair_shards import REFERENCE, PairShard, PromptShard

ROWS: list[dict[str, Any]] = [
    {
        "instruction": f"问题 {n}: what is {n} + {n}?",
        "input": "请简短" if n % 3 else "",
        "chosen": f"{2 * n}。",
        "rejected": "I do not know " * (n % 5 + 1),
    }
    for n in range(60)
]


def built(
    folder: Path, kind: str, rows: list[dict[str, Any]], *, out: str = "out", workers: int = 1, **more: Any
) -> Outcome:
    """A build of the rows as alpaca records."""
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    recipe = {
        "name": "r",
        "tokenizer": "smollm2-135m",
        "kind": kind,
        "split": {"eval": 0.2},
        "sources": [{"use": "alpaca", "path": "rows.jsonl"}],
        **more,
    }
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    return build(config.load(path), folder / out, lambda _: None, Options(workers=workers))


def test_both_completions_go_on_from_the_ids_that_a_server_feeds(tmp_path: Path) -> None:
    outcome = built(tmp_path, "pairs", ROWS)
    tokenizer = AutoTokenizer.from_pretrained(resolve("smollm2-135m"))
    rows = {row["instruction"]: row for row in ROWS}
    seen = 0
    for split in ("train", "eval"):
        records = {
            row["id"]: row
            for path in sorted((tmp_path / "out" / "records").glob(f"{split}-*"))
            for row in pq.read_table(path).to_pylist()
        }
        pairs = [
            pair
            for entry in outcome.manifest.shards
            if entry.split == split
            for pair in PairShard(tmp_path / "out" / entry.file)
        ]
        assert {pair.record_id for pair in pairs} == set(records)
        for pair in pairs:
            asked = records[pair.record_id]["prompt"][0]["content"]
            row = rows[asked.split("\n")[0]]
            assert asked == "\n".join(filter(None, (row["instruction"], row["input"])))
            messages = [{"role": "user", "content": asked}]
            prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
            assert pair.prompt_ids.tolist() == prompt
            for side, ids in (("chosen", pair.chosen_completion_ids), ("rejected", pair.rejected_completion_ids)):
                answer = {"role": "assistant", "content": row[side]}
                whole = tokenizer.apply_chat_template([*messages, answer], return_dict=False)
                # The newline that the template writes after the stop is not the model's to write.
                assert [*prompt, *ids.tolist()] == whole[:-1]
                assert ids[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
            seen += 1
    assert seen == len(ROWS)
    assert outcome.manifest.turns.model_dump() == {
        "certified": 2 * len(ROWS),
        "forked": 0,
        "refused": 0,
        "fork_tokens": 0,
    }
    assert not list(check.faults(tmp_path / "out"))
    assert not deep.prove(tmp_path / "out", None, 9).faults


def test_prompts_are_what_a_server_feeds(tmp_path: Path) -> None:
    outcome = built(tmp_path, "prompts", ROWS, steps=[{"use": "to_prompts"}])
    tokenizer = AutoTokenizer.from_pretrained(resolve("smollm2-135m"))
    expected = sorted(
        tokenizer.apply_chat_template(
            [{"role": "user", "content": "\n".join(filter(None, (row["instruction"], row["input"])))}],
            add_generation_prompt=True,
            return_dict=False,
        )
        for row in ROWS
    )
    found = [ids.tolist() for entry in outcome.manifest.shards for ids in PromptShard(tmp_path / "out" / entry.file)]
    assert sorted(found) == expected
    assert not list(check.faults(tmp_path / "out"))
    assert not deep.prove(tmp_path / "out", None, 9).faults


@pytest.mark.parametrize("kind", ["pairs", "prompts"])
def test_the_digest_does_not_depend_on_workers(tmp_path: Path, kind: str) -> None:
    steps = [{"use": "to_prompts"}] if kind == "prompts" else []
    one = built(tmp_path, kind, ROWS, steps=steps, out="one").manifest.digest
    assert built(tmp_path, kind, ROWS, steps=steps, out="two", workers=2).manifest.digest == one


def test_a_margin_is_in_the_shards_and_in_their_hash(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b", "score_chosen": 3.5, "score_rejected": 1.0, "prompt_id": "x"}
    ]
    rows[0]["chosen"] = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]  # type: ignore[assignment]
    rows[0]["rejected"] = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "b"}]  # type: ignore[assignment]
    source = [{"use": "ultrafeedback", "path": "rows.jsonl"}]
    outcome = built(tmp_path, "pairs", rows, sources=source, split={"eval": 0})
    (entry,) = outcome.manifest.shards
    (pair,) = PairShard(tmp_path / "out" / entry.file)
    assert pair.margin == 2.5
    rows[0]["score_chosen"] = 4.5
    (other,) = built(tmp_path, "pairs", rows, sources=source, split={"eval": 0}, out="other").manifest.shards
    assert other.columns_sha256 != entry.columns_sha256


def test_the_longer_side_decides_whether_a_pair_fits(tmp_path: Path) -> None:
    rows = [
        {"instruction": "a", "chosen": "b " * 60, "rejected": "c " * 60},
        {"instruction": "d", "chosen": "e", "rejected": "f " * 200},
    ]
    manifest = built(tmp_path, "pairs", rows, max_tokens=128, split={"eval": 0}).manifest
    assert manifest.statistics["train"].rows == 1
    assert manifest.statistics["train"].tokens > 128
    assert manifest.funnel[-1].rejected == {"too_long": 1}


@pytest.mark.parametrize(
    ("kind", "way_out"),
    [("chat", "`kind: pairs`"), ("prompts", "`- use: to_prompts`")],
)
def test_pairs_in_a_build_of_something_else_say_the_way_out(tmp_path: Path, kind: str, way_out: str) -> None:
    with pytest.raises(BuildError, match=r"nothing is left to train on") as caught:
        built(tmp_path, kind, ROWS)
    assert way_out in str(caught.value)


RANKED = [{"instruction": f"Question {n}?", "responses": [f"answer {a} of {n}" for a in range(4)]} for n in range(5)]
LABELLED = [
    {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": f"{n}"}], "label": n > 1}
    for n in range(5)
]


@pytest.mark.parametrize(
    ("rows", "use", "steps", "more", "said"),
    [
        (
            RANKED,
            "ranked_list",
            [],
            {"max_tokens": 8},
            "30 of 30 records were rejected (length/too_long 30); 5 were read, 25 more were made of them; the first: ",
        ),
        (
            LABELLED,
            "openai",
            [{"use": "group_by_prompt"}],
            {"max_tokens": 8},
            "6 of 6 records were rejected (length/too_long 6); 5 were read, 5 more were made of them and 4 went into ",
        ),
        (
            RANKED,
            "ranked_list",
            [],
            {"split": {"eval": 0.999}},
            "0 of 30 records were rejected; 5 were read, 25 more were made of them; 30 are left, all of them held for",
        ),
    ],
    ids=["more of one", "several into one", "held for evaluation"],
)
def test_what_is_said_where_nothing_is_left_adds_up(
    tmp_path: Path, rows: list[dict[str, Any]], use: str, steps: list[Any], more: dict[str, Any], said: str
) -> None:
    sources = [{"use": use, "path": "rows.jsonl"}]
    with pytest.raises(BuildError) as caught:
        built(tmp_path, "pairs", rows, sources=sources, steps=[*steps, {"use": "pairs", "take": "all"}], **more)
    assert f"nothing is left to train on: {said}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "station", "rejected", "wanted"),
    [
        (
            "reddit",
            "threads",
            14,
            [
                ("Water less often", "Mine split too.", 64 / 5),
                ("Pick them a little", "Mine split too.", 20 / 5),
                ("A large one lets", "You can let a", 40 / 18),
                ("盐放少了。", "换个干净的坛子", 35 / 11),
            ],
        ),
        (
            "judged",
            "judge",
            1,
            [
                ("Slice it, freeze", "Put it into the", 1),
                ("比喻做了多余的事", "意思是给蛇画上脚", 1),
                ("意思是给蛇画上脚", "画蛇添足是一个成语", 1),
            ],
        ),
    ],
)
def test_a_sample_of_votes_or_verdicts_makes_these_pairs(
    name: str, station: str, rejected: int, wanted: list[tuple[str, str, float]], tmp_path: Path
) -> None:
    recipe = config.load(data_files.folder("samples") / "recipes" / f"{name}.yaml", ("split.eval=0",))
    outcome = build(recipe, tmp_path / "out", lambda _: None, Options(workers=1))
    (stage,) = (stage for stage in outcome.manifest.funnel if stage.stage == station)
    assert sum(stage.rejected.values()) == rejected
    rows = pq.read_table(tmp_path / "out" / "records" / "train-00000.parquet").to_pylist()
    assert len(rows) == len(wanted)
    for row, (chosen, worse, margin) in zip(rows, wanted, strict=True):
        assert row["chosen"][0]["content"].startswith(chosen)
        assert row["rejected"][0]["content"].startswith(worse)
        assert row["margin"] == margin


def test_a_pair_is_shown_as_its_two_sides(tmp_path: Path) -> None:
    outcome = built(tmp_path, "pairs", ROWS)
    of_build = preview.of_build(outcome.folder, 2)
    of_recipe = preview.of_recipe(config.load(tmp_path / "recipe.yaml"), 60)
    shown = of_build.shown[0]
    assert [row.id.partition("#")[2] for row in shown.rows] == ["chosen", "rejected"]
    assert shown in of_recipe.shown
    prompts = ["".join(token.text for token in row.tokens if not token.trained) for row in shown.rows]
    assert prompts[0] == prompts[1]
    answers = ["".join(token.text for token in row.tokens if token.trained) for row in shown.rows]
    assert [answer.removesuffix("<|im_end|>").strip() for answer in answers] == [
        message.text.strip() for message in shown.messages[-2:]
    ]


def test_a_changed_token_of_a_pair_is_found(tmp_path: Path) -> None:
    outcome = built(tmp_path, "pairs", ROWS)
    entry = outcome.manifest.shards[0]
    path = tmp_path / "out" / entry.file
    content = bytearray(path.read_bytes())
    place = content.rindex(np.array(PairShard(path)[0].prompt_ids[:8], dtype="<i4").tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert f"{entry.file}: the bytes are not those that were built" in list(check.faults(tmp_path / "out"))
    with pytest.raises(BuildError, match="bytes are not those that were built"):
        shards.open_build(tmp_path / "out")


def test_what_was_computed_of_older_shards_goes_with_them(tmp_path: Path) -> None:
    built(tmp_path, "pairs", ROWS)
    computed = tmp_path / "out" / REFERENCE / "train-00000.arrow"
    computed.parent.mkdir()
    computed.write_bytes(b"log-probabilities")
    built(tmp_path, "pairs", ROWS)
    assert computed.exists()
    assert not list(check.faults(tmp_path / "out"))
    built(tmp_path, "pairs", ROWS[:-1])
    assert not computed.exists()
