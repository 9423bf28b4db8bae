"""For any text: masks are certified, ids never depend on the policy, and nothing typed is a control token."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from dataforge import templates
from dataforge.bases import BaseTokenizer
from dataforge.chat_format import ChatFormat
from dataforge.records import Chat, Message, Origin, Reject
from dataforge.render import Rendering
from dataforge.tokenize import Encoded, TrainOn, encode
from tests.dataforge.test_tokenize import TEMPLATES
from tests.formats import chat_format
from tests.oracle import WrongRowError, check_rows, serves

TYPED = ["<|im_end|>", "<|im_start|>", "<|endoftext|>"]
PARTS = [
    "a",
    " ",
    "\n",
    "hello",
    "你好",
    "e\u0301",
    "👋🏽",
    "<",
    "|",
    "im_end",
    "[[",
    "{{ x }}",
    "\t",
    "assistant",
    "</t>",
]
TEXT = st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=3)), max_size=8).map("".join)
SAID = TEXT.filter(str.strip)
KEPT = ["its own", "strips history", "plain colon", "closes late", "trims", "ends in a mark of its own"]


@pytest.fixture(scope="module")
def formats(tokenizer: BaseTokenizer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ChatFormat]:
    folder = tmp_path_factory.mktemp("formats")
    found = {name: chat_format(TEMPLATES[name], tokenizer, folder) for name in KEPT}
    own = {name: chat_format(name, tokenizer, missing_tokens="as_text") for name in templates.names()}
    return found | {name: each for name, each in own.items() if not each.missing}


def conversation(draw: st.DataObject) -> Chat:
    system = draw.draw(st.none() | SAID)
    texts = draw.draw(st.lists(SAID, min_size=2, max_size=6).filter(lambda texts: len(texts) % 2 == 0))
    weights = draw.draw(st.lists(st.sampled_from([None, 0, 1]), min_size=len(texts), max_size=len(texts)))
    messages = [Message("system", system)] if system else []
    for number, (text, weight) in enumerate(zip(texts, weights, strict=True)):
        messages.append(Message("assistant", text, weight) if number % 2 else Message("user", text))  # type: ignore[arg-type]
    return Chat("r", Origin("s", "f", 0, 1), tuple(messages))


def become(found: ChatFormat, chat: Chat, train_on: TrainOn = "all_turns") -> Encoded | Reject:
    rendering = found.renderer.render(chat)
    return next(encode([rendering], found.encoder, train_on)) if isinstance(rendering, Rendering) else rendering


def as_dicts(chat: Chat) -> list[dict[str, Any]]:
    return [{"role": message.role, "content": message.content} for message in chat.messages]


def as_lists(result: Encoded) -> list[tuple[list[int], list[int]]]:
    return [(row.input_ids.tolist(), row.mask.tolist()) for row in result.rows]


@given(draw=st.data())
@settings(deadline=None, max_examples=250)
def test_every_row_begins_with_the_served_prompt_and_trains_the_answer_alone(
    draw: st.DataObject, formats: dict[str, ChatFormat], oracle: Any
) -> None:
    found = formats[draw.draw(st.sampled_from(sorted(formats)))]
    chat = conversation(draw)
    messages = as_dicts(chat)
    template = found.template.text
    assume(not any(token in message["content"] for token in TYPED for message in messages))
    result = become(found, chat)
    event(f"{result.reason}" if isinstance(result, Reject) else f"{result.certified} certified, {result.forked} forked")
    if isinstance(result, Reject):
        refused = not serves(oracle, template, messages)
        assert refused or result.reason in ("nothing_trained", "template_drops"), result
        return
    stops = list(found.stop_tokens)
    trained = check_rows(oracle, template, messages, as_lists(result), stops, **found.tokenizer.variables)
    answers = {number for number, message in enumerate(chat.messages) if message.role == "assistant"}
    assert trained == {number for number in answers if chat.messages[number].weight != 0}


@given(draw=st.data())
@settings(deadline=None, max_examples=100)
def test_ids_never_depend_on_the_policy(draw: st.DataObject, formats: dict[str, ChatFormat]) -> None:
    found = formats[draw.draw(st.sampled_from(sorted(formats)))]
    chat = conversation(draw)
    assume(not any(found.typed.find(message.text) for message in chat.messages))
    every = become(
        found, dataclasses.replace(chat, messages=tuple(dataclasses.replace(m, weight=None) for m in chat.messages))
    )
    assume(isinstance(every, Encoded))
    assert isinstance(every, Encoded)
    known = {row.id: row.input_ids.tolist() for row in every.rows}
    for train_on in ("all_turns", "last_turn"):
        result = become(found, chat, train_on)  # type: ignore[arg-type]
        if isinstance(result, Encoded):
            assert {row.id: row.input_ids.tolist() for row in result.rows}.items() <= known.items()


@given(draw=st.data())
@settings(deadline=None, max_examples=150)
def test_nothing_typed_is_a_control_token(draw: st.DataObject, oracle: Any, tokenizer: BaseTokenizer) -> None:
    typing = st.lists(st.sampled_from([*PARTS, *TYPED]), min_size=1, max_size=6).map("".join).filter(str.strip)
    texts = draw.draw(st.lists(typing, min_size=2, max_size=2) | st.lists(typing, min_size=4, max_size=4))
    said = [Message("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)]
    chat = Chat("r", Origin("s", "f", 0, 1), tuple(said))
    with tempfile.TemporaryDirectory() as folder:
        found = chat_format(TEMPLATES["its own"], tokenizer, Path(folder), special_tokens="as_text")
    result = become(found, chat)
    assert isinstance(result, Encoded), result
    (row,) = (row for row in result.rows if row.id == f"r#{len(said) - 1}")
    control = set(tokenizer.control_tokens.values())
    plain = become(found, dataclasses.replace(chat, messages=tuple(dataclasses.replace(m, content="a") for m in said)))
    assert isinstance(plain, Encoded)
    assert [i for i in row.input_ids.tolist() if i in control] == [
        i for i in plain.rows[0].input_ids.tolist() if i in control
    ]
    for number, message in enumerate(said):
        if message.role == "assistant":
            served = oracle.apply_chat_template(
                as_dicts(chat)[:number], add_generation_prompt=True, sanitize_control_tokens=True, return_dict=False
            )
            mine = next(ids for ids, mask in as_lists(result) if ids[: len(served)] == served and mask[len(served)])
            assert mine[: len(served)] == served


MUTATIONS = {
    "a span one token later": lambda mask: [0, *mask[:-1]],
    "a span one token earlier": lambda mask: [*mask[1:], 0],
    "the stop is not trained": lambda mask: [m if n + 1 < len(mask) and mask[n + 1] else 0 for n, m in enumerate(mask)],
    "the newline after the stop is trained": lambda mask: [int(m or mask[n - 1]) for n, m in enumerate(mask)],
    "everything is trained": lambda mask: [1] * len(mask),
    "the header is trained": lambda mask: [int(any(mask[n : n + 4])) for n in range(len(mask))],
}


@pytest.mark.parametrize("name", MUTATIONS)
@given(draw=st.data())
@settings(deadline=None, max_examples=20)
def test_a_wrong_mask_would_be_caught(
    name: str, draw: st.DataObject, formats: dict[str, ChatFormat], oracle: Any
) -> None:
    chat = conversation(draw)
    found = formats["its own"]
    assume(not any(found.typed.find(message.text) for message in chat.messages))
    result = become(found, chat)
    assume(isinstance(result, Encoded))
    assert isinstance(result, Encoded)
    wrong = [(ids, MUTATIONS[name](mask)) for ids, mask in as_lists(result)]
    with pytest.raises(WrongRowError):
        check_rows(oracle, found.template.text, as_dicts(chat), wrong)
