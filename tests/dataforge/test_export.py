"""What is exported says the same as the build: read back by the sources, by datasets and pandas, and by oracles."""

import csv as csv_module
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataforge import build as building
from dataforge import card, components, config, shapes
from dataforge.errors import BuildError
from dataforge.export import Written, export
from dataforge.records import Chat, Message, Origin, Row, ToolCall
from dataforge.sources import alpaca, openai
from tests.dataforge.conftest import Forge

Write = Callable[..., Path]
ORIGIN = Origin("s", "f.jsonl", 0, 1)
UNTIMED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WORDS = st.sampled_from(
    ["hello", "你是谁？", 'a "quoted", text', "two\nlines", "a\r\nb\r", "👩‍🚀", "nan", "=1+1", "null"]
)
VALUES = st.dictionaries(WORDS, WORDS | st.integers(-5, 5) | st.none() | st.lists(WORDS, max_size=2), max_size=3)
CALLS = st.builds(ToolCall, WORDS, VALUES, st.none() | st.sampled_from(["c1", "c2"]))


def chat(*messages: Message, **more: Any) -> Chat:
    return Chat("0" * 32, ORIGIN, messages, **more)


@st.composite
def plain_chats(draw: st.DrawFn) -> Chat:
    """Questions and answers by turns, perhaps after a system message."""
    said = [Message("system", draw(WORDS))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        said += [Message("user", draw(WORDS)), Message("assistant", draw(WORDS), weight=draw(st.sampled_from([0, 1])))]
    return chat(*said)


@st.composite
def any_chats(draw: st.DrawFn) -> Chat:
    """Any turn of messages, with calls, results and reasoning."""
    said = []
    for _ in range(draw(st.integers(1, 5))):
        role = draw(st.sampled_from(["system", "developer", "user", "assistant", "tool"]))
        calls = tuple(draw(st.lists(CALLS, max_size=2))) if role == "assistant" else ()
        content = None if calls and draw(st.booleans()) else draw(WORDS)
        weight = draw(st.sampled_from([0, 1])) if role == "assistant" else None
        reasoning = draw(st.none() | WORDS) if role == "assistant" else None
        call_id = draw(st.none() | st.just("c1")) if role == "tool" else None
        said.append(Message(role, content, weight, None, reasoning, calls, call_id, draw(st.none() | st.just("n"))))
    tools = (
        ({"type": "function", "function": {"name": "f", "parameters": draw(VALUES)}},) if draw(st.booleans()) else ()
    )
    return chat(*said, tools=tools, template_kwargs=draw(st.just({}) | st.just({"enable_thinking": False})))


def through_json(columns: dict[str, Any]) -> dict[str, Any]:
    found = json.loads(json.dumps(columns))
    assert isinstance(found, dict)
    return found


def columns(target: str, chat: Chat) -> dict[str, Any]:
    found = components.layouts("chat")[target].says(chat)
    assert isinstance(found, dict), found
    return through_json(found)


def spoken(chat: object) -> list[tuple[str, str]]:
    assert isinstance(chat, Chat), chat
    return [(message.role, message.text) for message in chat.messages]


@UNTIMED
@given(plain_chats())
def test_alpaca_comes_back_through_its_source(given_chat: Chat) -> None:
    again = alpaca.convert(Row("r", ORIGIN, columns("alpaca", given_chat)), alpaca.Settings())
    assert spoken(again) == spoken(given_chat)


@UNTIMED
@given(any_chats())
@pytest.mark.parametrize("target", ["openai", "jsonl"])
def test_openai_comes_back_through_its_source_whole(target: str, given_chat: Chat) -> None:
    again = openai.convert(Row("r", ORIGIN, columns(target, given_chat)), openai.Settings())
    assert isinstance(again, Chat), again
    assert again.messages == given_chat.messages
    assert again.tools == given_chat.tools
    assert again.template_kwargs == given_chat.template_kwargs


@UNTIMED
@given(any_chats())
def test_trl_says_all_but_the_weights(given_chat: Chat) -> None:
    found = columns("trl", given_chat)
    expected = []
    for message in given_chat.messages:
        one: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.reasoning is not None:
            one["reasoning_content"] = message.reasoning
        if message.tool_calls:
            one["tool_calls"] = [
                {
                    **({} if call.id is None else {"id": call.id}),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in message.tool_calls
            ]
        for key in ("tool_call_id", "name"):
            if getattr(message, key) is not None:
                one[key] = getattr(message, key)
        expected.append(one)
    assert found["messages"] == expected
    assert found["chat_template_kwargs"] == given_chat.template_kwargs
    assert found.get("tools", []) == list(given_chat.tools)


def from_sharegpt(found: dict[str, Any]) -> list[tuple[str, str | None, list[tuple[str, Any]]]]:
    """A reader of the shape by hand: role, text, calls."""
    roles = {"human": "user", "gpt": "assistant", "observation": "tool", "system": "system"}
    said: list[tuple[str, str | None, list[tuple[str, Any]]]] = []
    for turn in found["conversations"]:
        if turn["from"] == "function_call":
            value = json.loads(turn["value"])
            calls = value if isinstance(value, list) else [value]
            said.append(("assistant", None, [(call["name"], call["arguments"]) for call in calls]))
        else:
            said.append((roles[turn["from"]], turn["value"], []))
    return said


@UNTIMED
@given(any_chats() | plain_chats())
def test_sharegpt_holds_what_it_does_not_refuse(given_chat: Chat) -> None:
    found = components.layouts("chat")["sharegpt"].says(given_chat)
    roles = [message.role for message in given_chat.messages]
    wrong = "developer" in roles or "system" in roles[1:]
    assert isinstance(found, str) == (
        wrong or any(message.tool_calls and message.content for message in given_chat.messages)
    )
    if isinstance(found, str):
        return
    expected = [
        (message.role, message.content, [(call.name, call.arguments) for call in message.tool_calls])
        for message in given_chat.messages
    ]
    found = through_json(found)
    assert from_sharegpt(found) == expected
    assert json.loads(found.get("tools", "[]")) == list(given_chat.tools)


def test_prompt_and_completion_need_the_last_answer_to_be_the_trained_one() -> None:
    asked, early, late = Message("user", "q"), Message("assistant", "a", weight=0), Message("assistant", "b", weight=1)
    found = columns("prompt_completion", chat(asked, early, asked, late))
    assert [message["content"] for message in found["prompt"]] == ["q", "a", "q"]
    assert found["completion"] == [{"role": "assistant", "content": "b"}]
    refused = components.layouts("chat")["prompt_completion"].says(chat(asked, late, asked, late))
    assert refused == "the trained messages are 2, 4 of 4, and this shape trains the last one alone"


@pytest.mark.parametrize("target", ["alpaca", "csv"])
def test_what_has_no_place_in_rounds_is_told(target: str) -> None:
    asked, answered = Message("user", "q"), Message("assistant", "a", weight=1)
    call = Message("assistant", None, tool_calls=(ToolCall("f", {}),))
    refuse = components.layouts("chat")[target].says
    assert "message 2 calls a tool" in refuse(chat(asked, call))
    assert "message 2 is of user" in refuse(chat(asked, asked, answered))
    assert "its system message is empty" in refuse(chat(Message("system", ""), asked, answered))
    assert "message 4 is of system" in refuse(chat(asked, answered, asked, Message("system", "s"), answered))
    assert "does not end with an answer" in refuse(chat(asked, answered, asked))


@UNTIMED
@given(any_chats())
def test_what_a_conversation_carries_is_what_stands_in_it(given_chat: Chat) -> None:
    said = given_chat.messages
    calls = [call for message in said for call in message.tool_calls]
    expected = {
        "system": [message for message in said if message.role == "system"],
        "weights": [message for message in said if message.weight == 0],
        "tools": given_chat.tools,
        "call_ids": [1 for call in calls if call.id] + [1 for message in said if message.tool_call_id],
        "names": [message for message in said if message.name],
        "reasoning": [message for message in said if message.reasoning],
        "template_kwargs": given_chat.template_kwargs,
    }
    assert set(shapes.carried(given_chat)) == {name for name, found in expected.items() if found}


@pytest.mark.parametrize("target", components.layouts("chat"))
def test_every_column_has_a_type_and_every_name_a_meaning(target: str) -> None:
    shape = components.layouts("chat")[target]
    full = chat(
        Message("system", "s"),
        Message("user", "q"),
        Message("assistant", "a", weight=0 if target == "prompt_completion" else 1),
        Message("user", "q", input="x"),
        Message("assistant", "a", weight=1),
        tools=({"type": "function"},),
        template_kwargs={"a": 1},
        family="f",
        facts={"language": "zh"},
    )
    assert set(columns(target, full)) <= set(shape.features)
    assert {*shapes.CARRIED, "copies"} >= shape.holds


RECORDS = [
    {"instruction": f"第{number}个问题", "input": "", "output": f"Answer {number}\r\n好", "history": [["nan", "a,b"]]}
    for number in range(30)
]
CHATS = [
    {
        "messages": [
            {"role": "user", "content": f"Question {number}"},
            {"role": "assistant", "content": f"回答 {number}", "weight": 1},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": "So.", "weight": number % 2},
        ]
    }
    for number in range(30)
]


def built(recipe: Path, folder: Path) -> building.Outcome:
    return building.build(config.load(recipe), folder, lambda text: None)


def exported(folder: Path, target: str, out: Path, **options: Any) -> Written:
    return export(str(folder), target, out, **{"lossy": False, "force": False, **options})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("target", ["openai", "jsonl"])
def test_a_build_of_what_was_exported_is_the_same_build(write_recipe: Write, tmp_path: Path, target: str) -> None:
    source = {"use": "openai", "path": "corpus.jsonl"}
    built(write_recipe(CHATS, sources=[source]), tmp_path / "one")
    exported(tmp_path / "one", "openai", tmp_path / "first.jsonl")
    digests = []
    for number, folder in enumerate(["two", "three"]):
        content = lines(tmp_path / "first.jsonl" if number == 0 else tmp_path / "next" / "data" / "train.jsonl")
        recipe = write_recipe(content, sources=[source], split={})
        digests.append(built(recipe, tmp_path / folder).manifest.digest)
        if number == 0:
            exported(tmp_path / folder, target, tmp_path / "next")
    first, second = (lines(path) for path in (tmp_path / "first.jsonl", tmp_path / "next" / "data" / "train.jsonl"))
    assert [row["messages"] for row in first] == [row["messages"] for row in second]
    assert sorted(row["messages"][0]["content"] for row in first) == sorted(
        record["messages"][0]["content"] for record in CHATS
    )
    if target == "openai":
        assert first == second
        assert digests[0] == digests[1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("target", components.layouts("chat"))
def test_a_folder_loads_with_datasets_as_it_was_written(write_recipe: Write, tmp_path: Path, target: str) -> None:
    import datasets

    datasets.disable_progress_bars()
    use = {"use": "alpaca", "path": "corpus.jsonl"}
    built(write_recipe(RECORDS, sources=[use], train_on="last_turn"), tmp_path / "b")
    written = exported(tmp_path / "b", target, tmp_path / "out")
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: len(found[split]) for split in found} == written.lines
    assert set(written.lines) == {"train", "eval"}
    for split in written.lines:
        expected = (
            lines(tmp_path / "out/data" / f"{split}.jsonl")
            if target != "csv"
            else pd.read_csv(tmp_path / "out/data" / f"{split}.csv", keep_default_na=False).to_dict("records")
        )
        assert [without_nulls(row) for row in found[split]] == [without_nulls(row) for row in expected]
    if target != "csv":
        assert len(pd.read_json(tmp_path / "out/data/train.jsonl", lines=True)) == written.lines["train"]


def without_nulls(value: Any) -> Any:
    """What the library fills in where a key is missing, and an empty object, are nothing."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def test_a_column_that_only_the_last_record_has_is_loaded(write_recipe: Write, tmp_path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    late = {
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {"a": [1, "x"]}}]},
            {"role": "tool", "content": "r"},
            {"role": "assistant", "content": "a", "reasoning_content": "t"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": {"type": "string"}}}}],
    }
    shape = components.layouts("chat")["openai"]
    rows = [openai.convert(Row("r", ORIGIN, found), openai.Settings()) for found in (CHATS[0], late)]
    common, last = (json.dumps(shape.says(row)) for row in rows if isinstance(row, Chat))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.jsonl").write_text(f"{common}\n" * 60_000 + last + "\n")
    assert (tmp_path / "data/train.jsonl").stat().st_size > 10 * 2**20, "what the library looks at to guess types"
    manifest = built(write_recipe(RECORDS), tmp_path / "small").manifest
    (tmp_path / "README.md").write_text(card.of_export(manifest, card.Exported(shape, {"train": 60_001}, ())))
    found = datasets.load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert without_nulls(found[60_000]) == without_nulls(json.loads(last))


def test_a_table_is_read_by_spreadsheets_and_by_pandas(write_recipe: Write, tmp_path: Path) -> None:
    built(write_recipe(RECORDS), tmp_path / "b")
    exported(tmp_path / "b", "csv", tmp_path / "out.csv")
    content = (tmp_path / "out.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf"), "the mark by which spreadsheet programs know UTF-8"
    rows = list(csv_module.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    expected = sorted((record["instruction"], record["output"], "", '[["nan","a,b"]]') for record in RECORDS)
    assert sorted((row["question"], row["answer"], row["system"], row["history"]) for row in rows) == expected
    frame = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    assert sorted(frame.itertuples(index=False, name=None)) == expected


def test_a_record_that_is_trained_on_twice_is_written_twice(write_recipe: Write, tmp_path: Path) -> None:
    source = {"use": "alpaca", "path": "corpus.jsonl", "weight": 2}
    built(write_recipe(RECORDS, sources=[source]), tmp_path / "b")
    written = exported(tmp_path / "b", "alpaca", tmp_path / "out.jsonl")
    assert written.repetitions > 0
    assert len(lines(tmp_path / "out.jsonl")) == 30 + written.repetitions
    everything = exported(tmp_path / "b", "jsonl", tmp_path / "all.jsonl")
    assert everything.repetitions == 0
    assert sum(row["copies"] for row in lines(tmp_path / "all.jsonl")) == 30 + written.repetitions


def test_what_does_not_fit_is_an_error_or_left_out_and_told(write_recipe: Write, tmp_path: Path, forge: Forge) -> None:
    said_later = {"role": "system", "content": "s"}
    odd = {"messages": [*CHATS[1]["messages"][:2], said_later, *CHATS[1]["messages"][2:]]}
    built(write_recipe([*CHATS, odd], sources=[{"use": "openai", "path": "corpus.jsonl"}]), tmp_path / "b")
    done = forge("export", "b", "--to", "alpaca")
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert "1 of 31 records do not fit alpaca, the first being" in said
    assert "(corpus.jsonl:31): message 3 is of system" in said
    assert not (tmp_path / "exports").exists() or not any((tmp_path / "exports").iterdir())
    done = forge("export", "b", "--to", "alpaca", "--lossy", "--json")
    report = json.loads(done.stdout)
    assert (report["records"], report["left_out"], report["lost"]) == (30, 1, {"weights": 15})
    again = forge("export", "b", "--to", "alpaca", "--lossy", "--force").stdout
    assert "left out 1 records" in again
    assert "which answers are trained of 15 records (kept by jsonl, openai, prompt_completion)" in again
    assert "Not in this shape: which answers are trained of 15 records" in (
        tmp_path / "exports/small-alpaca/README.md"
    ).read_text(encoding="utf-8")


def test_what_stands_is_replaced_only_if_it_is_an_export_and_force_is_said(write_recipe: Write, tmp_path: Path) -> None:
    built(write_recipe(RECORDS), tmp_path / "b")
    exported(tmp_path / "b", "alpaca", tmp_path / "out")
    with pytest.raises(BuildError, match=r"is there already; name another place with --out, or replace it with --for"):
        exported(tmp_path / "b", "alpaca", tmp_path / "out")
    (tmp_path / "out/data/train.jsonl").write_text("")
    exported(tmp_path / "b", "openai", tmp_path / "out", force=True)
    assert lines(tmp_path / "out/data/train.jsonl")
    (tmp_path / "out/mine.txt").write_text("")
    for place in ("out", "b"):
        with pytest.raises(BuildError, match="holds other things than an export"):
            exported(tmp_path / "b", "alpaca", tmp_path / place, force=True)
    with pytest.raises(BuildError, match=r"this shape is written as \.jsonl; name it out\.jsonl"):
        exported(tmp_path / "b", "alpaca", tmp_path / "out.csv")
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")]


def test_the_folder_for_the_hub_is_whole_and_a_missing_token_is_told(
    write_recipe: Write, tmp_path: Path, forge: Forge
) -> None:
    built(write_recipe(RECORDS), tmp_path / "b")
    exported(tmp_path / "b", "openai", tmp_path / "out")
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")) == [
        "README.md",
        "data/eval.jsonl",
        "data/train.jsonl",
        "manifest.json",
    ]
    assert (tmp_path / "out/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()
    nobody = {"HF_TOKEN": "", "HF_HOME": str(tmp_path / "hf")}
    done = forge("export", "b", "--to", "openai", "--push", "me/data", **nobody)
    assert done.returncode == 2
    assert done.stderr == "error: the hub lets nobody write without a token; run `hf auth login`, or set HF_TOKEN\n"
    assert not (tmp_path / "exports").exists()
    done = forge("export", "b", "--to", "openai", "--push", "me/data", **{**nobody, "HF_TOKEN": "hf_none"})
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert said.startswith("error: me/data: cannot be pushed (")
    assert "hf_none" not in said
    assert (tmp_path / "exports/small-openai/README.md").is_file()


def test_one_side_of_the_split_and_mistakes(write_recipe: Write, tmp_path: Path, forge: Forge) -> None:
    built(write_recipe(RECORDS, split={}), tmp_path / "b")
    assert "there is no record of eval to write" in forge("export", "b", "--to", "openai", "--split", "eval").stderr
    assert "did you mean 'alpaca'?" in forge("export", "b", "--to", "alpacca").stderr
    assert "no finished build here" in forge("export", "nowhere", "--to", "alpaca").stderr
    done = forge("export", "b", "--to", "openai", "--push", "a/b", "--out", "x.jsonl")
    assert "--push puts a folder on the hub" in done.stderr
