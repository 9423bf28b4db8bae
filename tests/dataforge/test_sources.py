"""What holds for every source: whatever a row holds, it becomes records or rejects that say why, and no failure."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge import components, record_table
from dataforge.records import Chat, Origin, Preference, Prompt, Ranking, Reject, Row, record_id
from tests.chat_corpora import CORPORA, rows

ROOT = Path(__file__).parents[2]
NEEDED: dict[str, dict[str, Any]] = {
    "classification": {"task": "topic"},
    "columns": {"question": "instruction", "answer": "output"},
    "translation": {"languages": ["en", "zh"]},
}
"""What a recipe must say to some sources."""
KEYS = [
    *("instruction", "input", "output", "system", "history", "chosen", "rejected", "label", "kto_tag", "prompt"),
    *("completion", "messages", "conversations", "tools", "target", "kind", "instances", "completions", "source"),
    *("chosen_messages", "rejected_messages", "round_0", "round_1", "textbox_question", "textbox_answer", "labels"),
    *("trans_instruction", "trans_output", "chat", "meta_instruction", "message_tree_id", "message_id", "parent_id"),
    *("responses", "scores", "history", "human_ref_A", "human_ref_B", "score_A", "score_B", "text", "role", "replies"),
    *("from", "value", "content", "turn_1", "Human", "MOSS", "Commands", "response", "overall_score", "rank", "lang"),
    *("model_a", "model_b", "winner", "conversation_a", "conversation_b", "turn", "turns", "category", "question_id"),
    *("model_1", "model_2", "g1_winner", "g2_winner", "g1_user_prompt", "g2_user_prompt", "judge", "reference"),
    *("output_1", "output_2", "preference", "generator_1"),
]
WORDS = ["", "human", "gpt", "user", "assistant", "prompter", "function_call", "text", "1", "{}", '{"name": "f"}', "好"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 11) | st.floats() | st.sampled_from(WORDS) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=12,
)


def converted(name: str, columns: dict[str, Any], **settings: Any) -> Sequence[Any]:
    module: Any = importlib.import_module(f"dataforge.sources.{name}")
    row = Row(record_id("s", columns), Origin("s", "f", 0, 1), columns)
    made = module.convert(row, module.Settings(**{**NEEDED.get(name, {}), **settings}))
    return made if isinstance(made, list | tuple) else [made]


@pytest.mark.parametrize("name", [name for name in components.names("sources") if name != "llamafactory"])
@settings(deadline=None, max_examples=60)
@given(columns=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
def test_no_row_makes_a_source_fail(name: str, columns: dict[str, Any]) -> None:
    made = converted(name, columns)
    assert made
    for record in made:
        if isinstance(record, Reject):
            assert record.reason
            assert record.detail


def spoilt(value: Any, draw: Callable[..., Any], *, whole: bool = False) -> Any:
    """A JSON value with something else at one place in it; inside it where it is a `whole` row."""
    if isinstance(value, dict | list) and value and (whole or draw(st.integers(0, 4))):
        keys: Any = list(value) if isinstance(value, dict) else range(len(value))
        key = draw(st.sampled_from(keys))
        changed = {**value} if isinstance(value, dict) else [*value]
        changed[key] = spoilt(value[key], draw)
        return changed
    return draw(VALUES)


@pytest.mark.parametrize("name", sorted(CORPORA))
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_good_row_that_is_spoilt_somewhere_makes_no_source_fail(name: str, data: st.DataObject) -> None:
    source, _ = CORPORA[name]
    row = data.draw(st.sampled_from(rows(ROOT / "samples/corpora" / name)))
    for record in converted(source, spoilt(row, data.draw, whole=True)):
        if not isinstance(record, Reject):
            assert next(iter(record_table.from_table(record_table.to_table([record])))).id == record.id


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_a_sample_holds_what_was_counted_by_hand(name: str) -> None:
    source, wanted = CORPORA[name]
    made = [record for row in rows(ROOT / "samples/corpora" / name) for record in converted(source, row)]
    found: dict[str, int] = {}
    for record in made:
        key = record.reason if isinstance(record, Reject) else type(record).__name__
        found[key] = found.get(key, 0) + 1
    assert found == wanted
    assert all(isinstance(record, Chat | Preference | Prompt | Ranking | Reject) for record in made)
