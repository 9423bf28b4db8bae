"""Masks against an oracle that shares no code with the package: transformers' own rendering and encoding."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from dataforge.bases import BaseTokenizer, load_tokenizer
from dataforge.errors import TemplateError
from dataforge.records import Chat, Message, Origin, Reject
from dataforge.render import Rendering, render
from dataforge.templates import ChatTemplate
from dataforge.tokenize import Encoded, TrainOn, encode, stop_tokens

TURNS = ("user", "hello", "assistant", "hi there", "user", "你是谁？", "assistant", "我是 Pebble。 ")

STRIPS_HISTORY = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and not loop.last %}{{ m.content.split('</t>')[-1] }}"
    "{% else %}{{ m.content }}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PLAIN_COLON = (
    "{% for m in messages %}{% if m.role == 'user' %}Human: {{ m.content }}\n"
    "{% else %}Assistant: {{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant: {% endif %}"
)
OPENS_A_THOUGHT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
CLOSES_LATE = (
    "{% for m in messages %}{% if not loop.first %}<|im_end|>\n{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% endfor %}{% if add_generation_prompt %}<|im_end|>\n<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> BaseTokenizer:
    return load_tokenizer(str(tiny_base))


@pytest.fixture(scope="module")
def oracle(tiny_base: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_base)


def chat_of(*turns: str, weights: dict[int, Any] | None = None) -> Chat:
    pairs = list(zip(turns[::2], turns[1::2], strict=True))
    messages: list[Any] = [
        Message(role, content, (weights or {}).get(number))  # type: ignore[arg-type]
        for number, (role, content) in enumerate(pairs)
    ]
    return Chat("r", Origin("s", "f", 0, 1), tuple(messages))


def encoded(chat: Chat, template: str, tokenizer: BaseTokenizer, train_on: TrainOn = "all_turns") -> Encoded | Reject:
    compiled = ChatTemplate(template, {})
    rendering = render(chat, compiled)
    assert isinstance(rendering, Rendering)
    stops = stop_tokens(compiled, tokenizer.encoder, tokenizer.control_tokens).values()
    (result,) = encode([rendering], tokenizer.encoder, set(stops), train_on)
    return result


def rows_of(chat: Chat, template: str, tokenizer: BaseTokenizer, train_on: TrainOn = "all_turns") -> Encoded:
    result = encoded(chat, template, tokenizer, train_on)
    assert isinstance(result, Encoded)
    return result


def check_against(oracle: Any, result: Encoded, template: str) -> set[int]:
    """Check every row against the oracle; returns the messages that are trained."""
    messages = [{"role": message.role, "content": message.content} for message in result.chat.messages]
    stop = oracle.convert_tokens_to_ids("<|im_end|>")
    trained = set()
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
                assert message["content"].endswith(written)
                expected[len(prompt) : end + 1] = [1] * (end + 1 - len(prompt))
                trained.add(number)
        assert mask == expected
    return trained


def test_a_conversation_is_one_row_and_every_answer_is_trained_through_its_stop(
    tokenizer: BaseTokenizer, oracle: Any
) -> None:
    template = oracle.chat_template
    result = rows_of(chat_of(*TURNS), template, tokenizer)
    (row,) = result.rows
    whole = [{"role": role, "content": text} for role, text in zip(TURNS[::2], TURNS[1::2], strict=True)]
    assert row.input_ids.tolist() == oracle.apply_chat_template(whole, return_dict=False)
    assert check_against(oracle, result, template) == {1, 3}
    assert (row.id, result.certified, result.forked) == ("r#3", 2, 0)


def test_the_newline_after_the_stop_is_not_trained(tokenizer: BaseTokenizer, oracle: Any) -> None:
    (row,) = rows_of(chat_of("user", "a", "assistant", "b"), oracle.chat_template, tokenizer).rows
    assert oracle.decode(row.input_ids.tolist()).endswith("b<|im_end|>\n")
    assert row.mask.tolist()[-3:] == [1, 1, 0]


def test_only_the_last_turn_changes_the_mask_and_not_the_ids(tokenizer: BaseTokenizer, oracle: Any) -> None:
    every = rows_of(chat_of(*TURNS), oracle.chat_template, tokenizer)
    last = rows_of(chat_of(*TURNS), oracle.chat_template, tokenizer, "last_turn")
    assert last.rows[0].input_ids.tolist() == every.rows[0].input_ids.tolist()
    assert check_against(oracle, last, oracle.chat_template) == {3}


def test_a_messages_own_weight_wins_over_the_policy(tokenizer: BaseTokenizer, oracle: Any) -> None:
    result = rows_of(chat_of(*TURNS, weights={1: 1, 3: 0}), oracle.chat_template, tokenizer, "last_turn")
    assert check_against(oracle, result, oracle.chat_template) == {1}


def test_a_record_whose_answers_all_weigh_nothing_is_refused(tokenizer: BaseTokenizer, oracle: Any) -> None:
    result = encoded(chat_of(*TURNS, weights={1: 0, 3: 0}), oracle.chat_template, tokenizer)
    assert isinstance(result, Reject)
    assert result.reason == "nothing_trained"


def test_a_template_that_rewrites_history_forks_the_turns_it_changes(tokenizer: BaseTokenizer, oracle: Any) -> None:
    chat = chat_of("user", "a", "assistant", "<t>hm</t>b", "user", "c", "assistant", "<t>so</t>d")
    result = rows_of(chat, STRIPS_HISTORY, tokenizer)
    assert [row.id for row in result.rows] == ["r#3", "r#1"]
    assert check_against(oracle, result, STRIPS_HISTORY) == {1, 3}
    assert (result.certified, result.forked) == (1, 1)
    assert result.fork_tokens == len(result.rows[1].input_ids)
    assert result.rows[1].mask[-1] == 1, "a fork is cut after its stop token"


def test_the_fork_has_the_same_ids_under_every_policy(tokenizer: BaseTokenizer) -> None:
    chat = chat_of("user", "a", "assistant", "<t>hm</t>b", "user", "c", "assistant", "<t>so</t>d")
    every = {row.id: row.input_ids.tolist() for row in rows_of(chat, STRIPS_HISTORY, tokenizer).rows}
    (last,) = rows_of(chat, STRIPS_HISTORY, tokenizer, "last_turn").rows
    assert last.input_ids.tolist() == every[last.id]


def test_where_the_seam_falls_inside_a_merge_the_row_is_what_a_server_would_see(
    tokenizer: BaseTokenizer, oracle: Any
) -> None:
    chat = chat_of("user", "hello", "assistant", "hello")
    result = rows_of(chat, PLAIN_COLON, tokenizer)
    assert check_against(oracle, result, PLAIN_COLON) == {1}
    rendered = [{"role": message.role, "content": message.content} for message in chat.messages]
    whole = oracle.apply_chat_template(rendered, chat_template=PLAIN_COLON, return_dict=False)
    assert whole[: len(result.rows[0].input_ids)] != result.rows[0].input_ids.tolist(), "the example shows no seam"
    assert result.forked == 1


def test_a_prompt_that_history_does_not_carry_is_refused_with_the_divergence(tokenizer: BaseTokenizer) -> None:
    result = encoded(chat_of("user", "hello", "assistant", "hi"), OPENS_A_THOUGHT, tokenizer)
    assert isinstance(result, Reject)
    assert result.reason == "mask_not_provable"
    assert "<think>" in result.detail
    assert "hi<|im_end|>" in result.detail


def test_a_template_without_a_stop_behind_the_answer_is_refused_at_once(tokenizer: BaseTokenizer) -> None:
    with pytest.raises(TemplateError, match="would never stop"):
        stop_tokens(ChatTemplate(CLOSES_LATE, {}), tokenizer.encoder, tokenizer.control_tokens)


def test_the_stop_token_is_read_off_the_template(tokenizer: BaseTokenizer) -> None:
    stops = stop_tokens(ChatTemplate(STRIPS_HISTORY, {}), tokenizer.encoder, tokenizer.control_tokens)
    assert stops == {"<|im_end|>": tokenizer.encoder.token_to_id("<|im_end|>")}


def test_a_template_that_refuses_a_conversation_makes_a_reject(tokenizer: BaseTokenizer) -> None:
    template = ChatTemplate("{{ raise_exception('two questions in a row') }}", {})
    result = render(chat_of(*TURNS), template)
    assert isinstance(result, Reject)
    assert result.detail == "the chat template says: two questions in a row"
