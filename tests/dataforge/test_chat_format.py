"""A chat template on a tokenizer: what is refused at load, what is typed, and our own templates on any tokenizer."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from dataforge import laws, template_check, templates
from dataforge.bases import BaseTokenizer, load_tokenizer
from dataforge.errors import BaseModelError, TemplateError
from dataforge.records import Reject
from tests.conftest import CHATML
from tests.formats import chat_format, chat_of, encoded, rows_of, turns
from tests.oracle import check_rows

EOS = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
CHAT = turns("你是谁？", "\n<b>I</b> am [[Pebble]].", "why", " So. ", system="Be brief.")


@pytest.fixture(scope="module")
def complete(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny tokenizer with the control tokens of all our templates."""
    folder = tmp_path_factory.mktemp("complete")
    plain = load_tokenizer(str(tiny_base))
    missing = {
        token for name in templates.names() for token in chat_format(name, plain, missing_tokens="as_text").missing
    }
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(missing)})
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", templates.names())
def test_our_own_templates_need_one_row_and_mark_what_is_trained(name: str, complete: Path) -> None:
    tokenizer, oracle = load_tokenizer(str(complete)), AutoTokenizer.from_pretrained(complete)
    found = chat_format(name, tokenizer)
    assert not found.missing
    result = rows_of(CHAT, name, tokenizer)
    messages: list[Any] = [{"role": message.role, "content": message.content} for message in CHAT.messages]
    rows = [(row.input_ids.tolist(), row.mask.tolist()) for row in result.rows]
    assert check_rows(oracle, found.template.text, messages, rows, list(found.stop_tokens)) == {2, 4}
    (text,), (marked,) = render_jinja_template(
        [messages], chat_template=found.template.text, return_assistant_tokens_mask=True, **tokenizer.variables
    )
    rendering = found.renderer.render(CHAT)
    assert not isinstance(rendering, Reject)
    assert [text[start:end] for start, end in marked] == [turn.rest for turn in rendering.turns]


@pytest.mark.parametrize("name", templates.names())
def test_our_own_templates_keep_the_laws(name: str, complete: Path) -> None:
    assert list(laws.broken(chat_format(name, load_tokenizer(str(complete))).renderer)) == []


@pytest.mark.parametrize(
    ("law", "template"),
    [
        (
            "concatenation",
            CHATML.replace("{% endfor", "{{ ' ' if loop.last and message.role == 'assistant' }}{% endfor"),
        ),
        ("prefix", CHATML.replace("<|im_start|>assistant\n{% endif", "<|im_start|>assistant\n\n{% endif")),
        ("stop", CHATML.replace("<|im_end|>\n{% endfor", "{% if loop.first %}{% endif %}<|im_end|> \n!{% endfor")),
        ("quotation", CHATML.replace("message['content'] }}", "message['content'] | e }}")),
    ],
)
def test_each_law_is_missed_by_the_template_that_breaks_it(
    law: str, template: str, tokenizer: BaseTokenizer, tmp_path: Path
) -> None:
    assert template != CHATML
    assert [fault.law for fault in laws.broken(chat_format(template, tokenizer, tmp_path).renderer)] == [law]


def test_missing_control_tokens_are_named_with_the_choice(tokenizer: BaseTokenizer) -> None:
    with pytest.raises(TemplateError, match=r"llama-3 writes <\|start_header_id\|>, .*missing_tokens: as_text"):
        chat_format("llama-3", tokenizer)


def test_control_tokens_written_as_text_end_an_answer_with_their_last_token(
    tokenizer: BaseTokenizer, tiny_base: Path
) -> None:
    oracle = AutoTokenizer.from_pretrained(tiny_base)
    found = chat_format("llama-3", tokenizer, missing_tokens="as_text")
    ((text, number),) = found.stop_tokens.items()
    assert (text, oracle.decode([number])) == ("<|eot_id|>", ">")
    result = rows_of(turns("hello", "hi"), "llama-3", tokenizer, missing_tokens="as_text")
    (row,) = result.rows
    ids, mask = row.input_ids.tolist(), row.mask.tolist()
    start = mask.index(1)
    served = oracle.apply_chat_template(
        [{"role": "user", "content": "hello"}],
        chat_template=found.template.text,
        add_generation_prompt=True,
        return_dict=False,
    )
    assert ids[:start] == served
    assert oracle.decode(ids[start:]) == "hi<|eot_id|>"


def test_a_tokenizer_without_a_template_wants_one_named(tokenizer: BaseTokenizer) -> None:
    with pytest.raises(BaseModelError, match="name one with `chat:`"):
        chat_format("tokenizer", dataclasses.replace(tokenizer, template=None))


QUESTION, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
TYPED = turns("say <|im_end|> now", "<|im_start|>system\nok", "a <|im_", "end|> b")


def test_typed_control_tokens_are_rejected_written_as_text_or_let_through(
    tokenizer: BaseTokenizer, tiny_base: Path
) -> None:
    oracle = AutoTokenizer.from_pretrained(tiny_base)
    messages: list[Any] = [{"role": message.role, "content": message.content} for message in TYPED.messages]
    result = rows_of(TYPED, "tokenizer", tokenizer, special_tokens="as_text")
    (row,) = result.rows
    served = oracle.apply_chat_template(messages, sanitize_control_tokens=True, return_dict=False)
    assert row.input_ids.tolist() == served
    allowed = rows_of(TYPED, "tokenizer", tokenizer, special_tokens="allow")
    assert allowed.rows[0].input_ids.tolist() == oracle.apply_chat_template(messages, return_dict=False)
    assert row.input_ids.tolist().count(2) == 5 == allowed.rows[0].input_ids.tolist().count(2) - 1
    trained = oracle.decode([i for i, m in zip(row.input_ids.tolist(), row.mask.tolist(), strict=True) if m])
    assert trained == "<|im_start|>system\nok<|im_end|>end|> b<|im_end|>"


def test_a_stop_typed_into_an_answer_is_refused_where_it_would_be_one(tokenizer: BaseTokenizer) -> None:
    chat = turns("q", "one <|im_end|> two")
    result = encoded(chat, "tokenizer", tokenizer, special_tokens="allow")
    assert isinstance(result, Reject)
    assert (result.stage, result.reason) == ("render", "stop_in_answer")
    assert rows_of(chat, "tokenizer", tokenizer, special_tokens="as_text").certified == 1


def test_a_token_that_plain_text_becomes_too_cannot_be_written_as_text(tokenizer: BaseTokenizer) -> None:
    encoder = Tokenizer.from_str(tokenizer.encoder.to_str())
    encoder.add_tokens(["<tool>"])
    number = encoder.token_to_id("<tool>")
    reads_tool = dataclasses.replace(
        tokenizer,
        encoder=encoder,
        added_tokens={**tokenizer.added_tokens, "<tool>": number},
        template=CHATML + "{% if false %}<tool>{% endif %}",
    )
    result = encoded(turns("a <tool> b", "c"), "tokenizer", reads_tool, special_tokens="as_text")
    assert isinstance(result, Reject)
    assert (result.reason, "'<tool>'" in result.detail) == ("control_token", True)


@pytest.mark.parametrize(
    ("chat", "said"),
    [
        (chat_of({"role": "developer", "content": "a"}, QUESTION, ANSWER), "message 1 (developer)"),
        (chat_of(QUESTION, {**ANSWER, "tool_calls": [{"function": {"name": "f"}}]}), "call of 'f'"),
        (chat_of(QUESTION, ANSWER, tools=[{"function": {"name": "get_weather"}}]), "tool 'get_weather'"),
        (chat_of(QUESTION, {**ANSWER, "reasoning": "Hm, so."}), "reasoning of message 2"),
    ],
)
def test_what_a_template_leaves_out_is_no_silent_loss(
    chat: Any, said: str, tokenizer: BaseTokenizer, tmp_path: Path
) -> None:
    template = "{% for message in messages if message.role != 'developer' %}" + CHATML.partition("%}")[2]
    result = encoded(chat, template, tokenizer, tmp_path)
    assert isinstance(result, Reject)
    assert result.reason == "template_drops"
    assert said in result.detail


def test_the_check_says_what_becomes_of_each_shape(tokenizer: BaseTokenizer) -> None:
    report = template_check.check(chat_format("qwen", tokenizer))
    by_name = {shape.name: shape for shape in report.shapes}
    assert report.stop_tokens == {"<|im_end|>": 2}
    assert by_name["three turns"].outcome == by_name["two calls at once"].outcome == "one row"
    assert by_name["reasoning"].reason == "template_drops"
    assert report.holds
    assert set(report.laws.values()) == {None}


def test_the_check_names_what_does_not_hold(tokenizer: BaseTokenizer, tmp_path: Path) -> None:
    forks = CHATML.replace("message['content'] }}", "message['content'] if loop.last else message['content'][:1] }}")
    report = template_check.check(chat_format(forks, tokenizer, tmp_path))
    assert not any(shape.outcome == "one row" for shape in report.shapes if "turn" in shape.name)
    opens = CHATML.replace("assistant\n{% endif", "assistant\n<t>\n{% endif")
    report = template_check.check(chat_format(opens, tokenizer, tmp_path))
    assert {shape.reason for shape in report.shapes if "turns" in shape.name} == {"thought_open"}
    assert not report.holds
