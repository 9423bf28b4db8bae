"""Mixtures: the shares that come out against plain sums, and that neither parts nor threads change them."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dataforge import check, components, config, shards
from dataforge.build import build
from dataforge.components import Made
from dataforge.errors import ConfigError, InputError
from dataforge.records import Chat, Example, Message, Origin, Record, Reject, ToolCall, group_of, record_id
from dataforge.steps import mix
from tests.context import CONTEXT
from tests.gathering import decisions, taken


def chats(source: str, lengths: Sequence[int]) -> list[Record]:
    """Conversations whose answers have so many words, their questions one."""
    return [
        Chat(
            record_id(source, number),
            Origin(source, f"{source}.jsonl", number, number + 1),
            (Message("user", "q"), Message("assistant", " ".join(["a"] * length))),
        )
        for number, length in enumerate(lengths)
    ]


def gather(shares: dict[str, float], **said: Any) -> mix.Gather:
    return mix.start("mix", mix.Settings(shares=shares, **said), CONTEXT)


def copies(made: Sequence[Made]) -> Counter[str]:
    found = Counter[str]()
    for each in made:
        for one in each if isinstance(each, Sequence) else [each]:
            if not isinstance(one, Reject):
                found[one.origin.source] += one.copies if isinstance(one, Chat) else 1
    return found


def words(made: Sequence[Made], asked: bool) -> Counter[str]:
    found = Counter[str]()
    for each in made:
        if isinstance(each, Chat):
            count = len(each.messages[1].text.split()) + asked
            found[each.origin.source] += count * each.copies
    return found


def test_a_source_that_is_not_there_is_told_at_the_line_of_the_recipe(tmp_path: Path, tiny_base: Path) -> None:
    rows = [{"instruction": f"q{n}", "input": "", "output": f"a{n}"} for n in range(3)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said = ["name: t", f"tokenizer: {tiny_base}", "chat: chatml", "missing_tokens: as_text"]
    said += ["sources: [{use: alpaca, path: a.jsonl}]", "steps:", "  - {use: mix, shares: {a: 1, b: 1}}"]
    (tmp_path / "r.yaml").write_text("\n".join(said))
    with pytest.raises(ConfigError, match=r"r.yaml:7: steps\[0\]: mix: there is nothing to train on of a source 'b'"):
        build(config.load(tmp_path / "r.yaml"), tmp_path / "b", lambda text: None)


def test_records_are_left_out_or_repeated_to_the_shares() -> None:
    records = [*chats("a", [1] * 100), *chats("b", [1] * 30), *chats("c", [1] * 10)]
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    first = taken(gather(shares), records)
    assert copies(first) == {"a": 25, "b": 15, "c": 10}
    assert Counter(each.reason for each in first if isinstance(each, Reject)) == {"share": 90}
    every = taken(gather(shares, stop="all_exhausted"), records)
    assert copies(every) == {"a": 100, "b": 60, "c": 40}
    assert {each.copies for each in every[130:] if isinstance(each, Chat)} == {4}
    assert not [each for each in every if isinstance(each, Reject)]


def test_a_record_of_another_kind_is_repeated_under_other_ids_of_its_group() -> None:
    origin = Origin("b", "b.jsonl", 0, 1)
    records = [*chats("a", [1] * 7), *(Example(f"e{n}", origin, "nli", {"n": n}) for n in range(2))]
    made = taken(gather({"a": 1, "b": 1}, stop="all_exhausted"), records)
    assert copies(made) == {"a": 7, "b": 7}
    (four, three) = sorted((each for each in made[7:] if isinstance(each, list)), key=len, reverse=True)
    assert (len(four), len(three)) == (4, 3)
    assert len({one.id for one in (*four, *three)}) == 7
    assert {group_of(one) for one in four} == {four[0].id}


def test_by_tokens_a_source_is_short_by_less_than_one_record() -> None:
    records = [*chats("a", range(1, 60)), *chats("b", range(40, 1, -1))]
    for by, asked in (("tokens", True), ("trained_tokens", False)):
        there = words(records, asked)
        made = taken(gather({"a": 1, "b": 3}, by=by), records)
        found = words(made, asked)
        assert found["b"] == there["b"]
        assert 0 <= there["b"] / 3 - found["a"] < 60
        made = taken(gather({"a": 1, "b": 3}, by=by, stop="all_exhausted"), records)
        found = words(made, asked)
        assert found["a"] == there["a"]
        assert 0 <= there["a"] * 3 - found["b"] < 41


def test_all_that_is_said_is_counted() -> None:
    call = ToolCall("look_up", {"word": "two words"})
    answer = Message("assistant", "one", reasoning="two three", tool_calls=(call,))
    record = Chat("x", Origin("a", "f", 0, 1), (Message("user", "q q", input="q"), answer, Message("tool", "t")))
    other = replace(record, id="y", messages=(record.messages[0], replace(answer, weight=0)))
    for by, wanted in (("tokens", [3 + 1 + 2 + 1 + 2 + 1, 3 + 1 + 2 + 1 + 2]), ("trained_tokens", [6, 0])):
        thin = gather({"a": 1, "b": 1}, by=by).thin([record, other])
        assert thin.column("cost").to_pylist() == wanted


def test_sources_without_a_share_and_evaluation_stay_as_they_are() -> None:
    records = [*chats("a", [1] * 9), *chats("b", [1] * 4), *chats("c", [1] * 5)]
    held = {record.id for record in records[:9:3]}
    context = replace(CONTEXT, is_eval=lambda record: record.id in held)
    found = mix.start("mix", mix.Settings(shares={"a": 1, "b": 1}), context)
    made = taken(found, records)
    assert copies(made) == {"a": 3 + 4, "b": 4, "c": 5}
    assert all(made[number] is records[number] for number in (0, 3, 6, *range(13, 18)))


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=30),
    st.lists(st.integers(1, 9), min_size=1, max_size=30),
    st.sampled_from(["first_exhausted", "all_exhausted"]),
    st.lists(st.integers(1, 20), max_size=6),
    st.integers(1, 4),
)
@settings(max_examples=12, deadline=None)
def test_nothing_depends_on_parts_or_threads(
    one: list[int], other: list[int], stop: str, sizes: list[int], threads: int
) -> None:
    records = [*chats("a", one), *chats("b", other)]
    found = gather({"a": 0.7, "b": 0.3}, by="tokens", stop=stop)
    assert decisions(found, records, sizes=sizes, threads=threads) == decisions(found, records)


def test_a_share_of_what_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"nothing to train on of a source 'd'.*there are: a"):
        taken(gather({"a": 1, "d": 1}), chats("a", [1]))
    for shares in ({"a": 1}, {"a": 1, "b": 0}, {"a": 1, "b": float("inf")}):
        with pytest.raises(ValidationError):
            mix.Settings(shares=shares)


def test_only_token_counts_depend_on_the_tokenizer() -> None:
    shares = {"a": 1.0, "b": 1.0}
    assert components.depends("mix", mix.Settings(shares=shares)) == ("seed", "split")
    assert "tokenizer" in components.depends("mix", mix.Settings(shares=shares, by="tokens"))


def test_a_build_repeats_what_is_mixed_and_its_weights_count_too(
    write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    lines = [{"instruction": f"Say {n}.", "output": f"{n} it is."} for n in range(5)]
    (tmp_path / "few.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sources = [
        {"use": "alpaca", "path": "corpus.jsonl"},
        {"use": "alpaca", "path": "few.jsonl", "weight": 2},
    ]
    step = {"use": "mix", "shares": {"corpus": 1, "few": 1}, "stop": "all_exhausted"}
    many = [{"instruction": f"Count to {n}.", "output": f"One to {n}."} for n in range(20)]
    path = write_recipe(many, sources=sources, steps=[step], split={})
    manifest = build(config.load(path), tmp_path / "b", lambda text: None).manifest
    assert manifest.funnel[-1].added == 5 * (4 * 2 - 1)
    assert list(check.faults(tmp_path / "b")) == []
    rows = shards.open_build(tmp_path / "b")
    assert manifest.statistics["train"].rows == 20 + 5 * 8
    assert rows.manifest.digest == manifest.digest
