"""Masks against an oracle that shares no code with the package: transformers' own rendering and encoding."""

from pathlib import Path
from typing import Any

import pytest

from dataforge.bases import BaseTokenizer
from dataforge.errors import TemplateError
from dataforge.records import Chat, Reject
from dataforge.tokenize import Encoded
from tests.conftest import CHATML
from tests.formats import chat_format, chat_of, encoded, rows_of, turns

TURNS = turns("hello", "hi there", "你是谁？", "我是 Pebble。 ")
HEADER = "<|im_start|>{{ m.role }}\n"
GENERATE = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

STRIPS_HISTORY = (
    "{% for m in messages %}" + HEADER + "{% if m.role == 'assistant' and not loop.last %}"
    "{{ m.content.split('</t>')[-1] }}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}" + GENERATE
)
PLAIN_COLON = (
    "{% for m in messages %}{% if m.role == 'user' %}Human: {{ m.content }}\n"
    "{% else %}Assistant: {{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)
CLOSES_LATE = (
    "{% for m in messages %}{% if not loop.first %}<|im_end|>\n{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_end|>\n<|im_start|>assistant\n{% endif %}"
)
TRIMS = "{% for m in messages %}" + HEADER + "{{ m.content | trim }}<|im_end|>\n{% endfor %}" + GENERATE
HEADER_IS_WRITTEN = "{% for m in messages %}" + HEADER + "{{ m.content }}<|im_end|>\n{% endfor %}"
ENDS_IN_A_MARK = (
    "{% for m in messages %}" + HEADER + "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% else %}<|endoftext|>{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}" + TRIMS
ALTERNATES = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    + HEADER
    + "{{ m.content }}<|im_end|>\n{% endfor %}"
    + GENERATE
)
TEMPLATES = {
    "its own": CHATML,
    "strips history": STRIPS_HISTORY,
    "plain colon": PLAIN_COLON,
    "closes late": CLOSES_LATE,
    "trims": TRIMS,
    "the header is written by the model": HEADER_IS_WRITTEN,
    "ends in a mark of its own": ENDS_IN_A_MARK,
    "alternates": ALTERNATES,
}


def trained_by(oracle: Any, result: Encoded, template: str) -> set[int]:
    """Check every row against the oracle; returns the messages that are trained."""
    messages: list[Any] = [{"role": message.role, "content": message.content} for message in result.record.messages]
    stop = oracle.convert_tokens_to_ids("<|im_end|>")
    trained: set[int] = set()
    for row in result.rows:
        ids, mask = row.input_ids.tolist(), row.mask.tolist()
        expected = [0] * len(ids)
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            prompt = oracle.apply_chat_template(
                messages[:number], chat_template=template, add_generation_prompt=True, return_dict=False
            )
            if len(prompt) < len(mask) and mask[len(prompt)] and ids[: len(prompt)] == prompt:
                end = ids.index(stop, len(prompt))
                written = oracle.decode(ids[len(prompt) : end])
                assert message["content"].strip().endswith(written.removeprefix("<|im_start|>assistant\n").strip())
                expected[len(prompt) : end + 1] = [1] * (end + 1 - len(prompt))
                assert number not in trained, "a turn is trained once"
                trained.add(number)
        assert mask == expected
    return trained


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_answer_is_trained_behind_the_served_prompt_through_its_stop(
    name: str, tokenizer: BaseTokenizer, oracle: Any, tmp_path: Path
) -> None:
    for chat in (TURNS, turns("a", "b"), turns("hello", "\n\nhello\n"), turns("你好", " 你好 ", "<b>", "<", "c", "d")):
        result = rows_of(chat, TEMPLATES[name], tokenizer, tmp_path)
        assert trained_by(oracle, result, TEMPLATES[name]) == set(range(1, len(chat.messages), 2))


def test_a_conversation_is_one_row(tokenizer: BaseTokenizer, oracle: Any) -> None:
    (row,) = rows_of(TURNS, "tokenizer", tokenizer).rows
    whole = [{"role": message.role, "content": message.content} for message in TURNS.messages]
    assert row.input_ids.tolist() == oracle.apply_chat_template(whole, return_dict=False)
    assert row.id == "r#3"


def test_the_newline_after_the_stop_is_not_trained(tokenizer: BaseTokenizer, oracle: Any) -> None:
    (row,) = rows_of(turns("a", "b"), "tokenizer", tokenizer).rows
    assert oracle.decode(row.input_ids.tolist()).endswith("b<|im_end|>\n")
    assert row.mask.tolist()[-3:] == [1, 1, 0]


def test_only_the_last_turn_changes_the_mask_and_not_the_ids(tokenizer: BaseTokenizer, oracle: Any) -> None:
    every, last = rows_of(TURNS, "tokenizer", tokenizer), rows_of(TURNS, "tokenizer", tokenizer, None, "last_turn")
    assert last.rows[0].input_ids.tolist() == every.rows[0].input_ids.tolist()
    assert trained_by(oracle, last, CHATML) == {3}


def weighing(*weights: int) -> Chat:
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * len(weights)
    weighed = [{**message, "weight": weights[number // 2]} for number, message in enumerate(said)]
    return chat_of(*(message if number % 2 else said[number] for number, message in enumerate(weighed)))


def test_a_messages_own_weight_wins_over_the_policy(tokenizer: BaseTokenizer, oracle: Any) -> None:
    result = rows_of(weighing(1, 0), "tokenizer", tokenizer, None, "last_turn")
    assert trained_by(oracle, result, CHATML) == {1}


def test_a_record_whose_answers_all_weigh_nothing_is_refused(tokenizer: BaseTokenizer) -> None:
    result = encoded(weighing(0, 0), "tokenizer", tokenizer)
    assert isinstance(result, Reject)
    assert result.reason == "nothing_trained"


FORKED = turns("a", "<t>hm</t>b", "c", "<t>so</t>d")


def test_a_template_that_rewrites_history_forks_the_turns_it_changes(
    tokenizer: BaseTokenizer, oracle: Any, tmp_path: Path
) -> None:
    result = rows_of(FORKED, STRIPS_HISTORY, tokenizer, tmp_path)
    assert [row.id for row in result.rows] == ["r#3", "r#1"]
    assert trained_by(oracle, result, STRIPS_HISTORY) == {1, 3}
    assert (result.certified, result.forked) == (1, 1)
    assert result.fork_tokens == len(result.rows[1].input_ids)
    assert result.rows[1].mask[-1] == 1, "a fork is cut after its stop token"


def test_a_fork_has_the_same_ids_under_every_policy(tokenizer: BaseTokenizer, tmp_path: Path) -> None:
    every = rows_of(FORKED, STRIPS_HISTORY, tokenizer, tmp_path)
    (last,) = rows_of(FORKED, STRIPS_HISTORY, tokenizer, tmp_path, "last_turn").rows
    assert last.input_ids.tolist() == {row.id: row.input_ids.tolist() for row in every.rows}[last.id]


def test_where_the_seam_falls_inside_a_merge_the_row_is_what_a_server_would_see(
    tokenizer: BaseTokenizer, oracle: Any, tmp_path: Path
) -> None:
    result = rows_of(turns("hello", "hello"), PLAIN_COLON, tokenizer, tmp_path)
    rendered = [{"role": message.role, "content": message.content} for message in result.record.messages]
    whole = oracle.apply_chat_template(rendered, chat_template=PLAIN_COLON, return_dict=False)
    assert whole[: len(result.rows[0].input_ids)] != result.rows[0].input_ids.tolist(), "the example shows no seam"
    assert result.forked == 1


def test_a_late_stop_ends_the_last_answer_too(tokenizer: BaseTokenizer, tmp_path: Path) -> None:
    assert chat_format(CLOSES_LATE, tokenizer, tmp_path).stop_tokens == {"<|im_end|>": 2}
    (row,) = rows_of(TURNS, CLOSES_LATE, tokenizer, tmp_path).rows
    assert (int(row.input_ids[-1]), int(row.mask[-1])) == (2, 1)


def test_a_template_that_ends_no_answer_is_refused_at_once(tokenizer: BaseTokenizer, tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match="would never stop"):
        chat_format("{% for m in messages %}{{ m.content }}{% endfor %}", tokenizer, tmp_path)


@pytest.mark.parametrize(
    ("template", "chat", "said"),
    [
        (NO_SYSTEM, turns("a", "b", system="s"), "no system here"),
        (
            ALTERNATES,
            chat_of(*[{"role": "user", "content": "a"}] * 2, {"role": "assistant", "content": "b"}),
            "alternate",
        ),
    ],
)
def test_a_template_that_refuses_a_conversation_says_so_itself(
    template: str, chat: Chat, said: str, tokenizer: BaseTokenizer, tmp_path: Path
) -> None:
    result = encoded(chat, template, tokenizer, tmp_path)
    assert isinstance(result, Reject)
    assert result.reason == "template_refuses"
    assert said in result.detail


def test_an_answer_to_nothing_has_no_prompt(tokenizer: BaseTokenizer) -> None:
    first = {"role": "assistant", "content": "Hello"}
    result = encoded(chat_of(first, {"role": "user", "content": "Hi"}, first), "tokenizer", tokenizer)
    assert isinstance(result, Reject)
    assert (result.stage, result.reason) == ("render", "no_question")


@pytest.mark.parametrize("name", ["its own", "strips history"])
def test_a_batch_is_certified_as_each_conversation_alone(name: str, tokenizer: BaseTokenizer, tmp_path: Path) -> None:
    from dataforge.render import Rendering
    from dataforge.tokenize import encode

    found = chat_format(TEMPLATES[name], tokenizer, tmp_path)
    chats = [
        turns(*(f"{text} {number}" for text in ("hello", "hi", "bye", "so")[: 2 + 2 * (number % 2)]))
        for number in range(9)
    ]
    renderings = [found.renderer.render(chat) for chat in chats]
    together = list(encode([item for item in renderings if isinstance(item, Rendering)], found.encoder, "all_turns"))
    for chat, result in zip(chats, together, strict=True):
        assert isinstance(result, Encoded)
        alone = rows_of(chat, TEMPLATES[name], tokenizer, tmp_path)
        assert [row.input_ids.tolist() for row in result.rows] == [row.input_ids.tolist() for row in alone.rows]
        assert [row.mask.tolist() for row in result.rows] == [row.mask.tolist() for row in alone.rows]
