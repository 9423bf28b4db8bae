from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from dataforge.errors import InputError
from tests.conftest import write_tiny_base
from trainkit import sampling
from trainkit.model import load_base

STOP = 2
STOPS = {"<|im_end|>": STOP}
CPU = torch.device("cpu")


class Recital:
    """A model that says what it was given, whatever it is asked."""

    device = CPU
    config = SimpleNamespace(max_position_embeddings=4096)

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = [*ids, STOP]

    def __call__(self, past_key_values: int | None, **others: Any) -> SimpleNamespace:
        said = past_key_values or 0
        logits = torch.nn.functional.one_hot(torch.tensor([[self._ids[said]]]), 300).float()
        return SimpleNamespace(logits=logits, past_key_values=said + 1)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("base")
    write_tiny_base(folder, seed=0)
    return AutoTokenizer.from_pretrained(folder)


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@settings(deadline=None, max_examples=60)
@given(text=st.text(alphabet=st.sampled_from("ab 你是谁法国的首都🙂é\n\ufffd"), max_size=12))
def test_whatever_is_said_arrives_whole_and_never_half_a_character(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = list(sampling.answer(Recital(ids), tokenizer, asked("hi"), STOPS, 500))
    assert "".join(pieces) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_a_chinese_character_of_three_tokens_comes_as_one(tokenizer: Any) -> None:
    ids = tokenizer("鑫a", add_special_tokens=False)["input_ids"]
    assert len(ids) == 4
    assert list(sampling.answer(Recital(ids), tokenizer, asked("hi"), STOPS, 500)) == ["鑫", "a"]


def test_an_answer_cut_off_inside_a_character_ends_before_it(tokenizer: Any) -> None:
    ids = tokenizer("a鑫", add_special_tokens=False)["input_ids"]
    assert "".join(sampling.answer(Recital(ids), tokenizer, asked("hi"), STOPS, 2)) == "a"


def of_several_tokens(tokenizer: Any, text: str) -> dict[str, int]:
    """A stop of ordinary text, with the id of its last token."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) > 1
    return {text: ids[-1]}


@settings(deadline=None, max_examples=100)
@given(said=st.text(alphabet=st.sampled_from("a b<|>eot_id你\n"), max_size=16), after=st.sampled_from(["", ">", "a<|"]))
def test_a_stop_of_several_tokens_ends_the_answer_and_no_part_of_it_is_shown(
    tokenizer: Any, said: str, after: str
) -> None:
    stops = of_several_tokens(tokenizer, "<|eot|>")
    model = Recital(tokenizer(f"{said}<|eot|>{after}", add_special_tokens=False)["input_ids"])
    wanted = f"{said}<|eot|>".partition("<|eot|>")[0]
    shown = ""
    for piece in sampling.answer(model, tokenizer, asked("hi"), stops, 500):
        shown += piece
        assert wanted.startswith(shown)
    assert shown == wanted
    assert sampling.answers(model, tokenizer, [asked("hi")], stops, 500) == [wanted]


def test_the_last_token_of_a_stop_ends_nothing_by_itself(tokenizer: Any) -> None:
    model = Recital(tokenizer("a>b|>c<|eo|>", add_special_tokens=False)["input_ids"])
    pieces = list(sampling.answer(model, tokenizer, asked("hi"), STOPS | of_several_tokens(tokenizer, "<|eot|>"), 500))
    assert "".join(pieces) == "a>b|>c<|eo|>"
    assert pieces[:3] == ["a", ">", "b"]
    assert "<|eo|" in pieces, "what may become a stop is held back until it is known that it does not"


def test_what_looks_like_the_beginning_of_a_stop_is_shown_where_the_answer_is_cut_off(tokenizer: Any) -> None:
    ids = tokenizer("a<|eo", add_special_tokens=False)["input_ids"]
    stops = of_several_tokens(tokenizer, "<|eot|>")
    assert list(sampling.answer(Recital(ids), tokenizer, asked("hi"), stops, len(ids))) == ["a", "<|eo"]


def test_a_stop_whose_end_is_only_the_beginning_of_a_token_is_found(tokenizer: Any) -> None:
    ids = tokenizer("ok</hello", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids[-1:]) == "llo"
    stops = of_several_tokens(tokenizer, "</hel")
    assert "".join(sampling.answer(Recital(ids), tokenizer, asked("hi"), stops, 500)) == "ok"
    assert sampling.answers(Recital(ids), tokenizer, [asked("hi")], stops, 500) == ["ok"]


def test_of_many_answers_each_ends_at_its_own_stop(tokenizer: Any) -> None:
    stops = STOPS | of_several_tokens(tokenizer, "<|eot|>")
    texts = ["a<|eot|>bcdefg", "abc<|eot|>d", "abcdefghijkl"]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]

    class Recitals(Recital):
        def __call__(self, past_key_values: int | None, **others: Any) -> SimpleNamespace:
            said = past_key_values or 0
            next_ids = [row[said] if said < len(row) else STOP for row in ids]
            logits = torch.nn.functional.one_hot(torch.tensor(next_ids)[:, None], 300).float()
            return SimpleNamespace(logits=logits, past_key_values=said + 1)

    conversations = [asked("hi"), asked("hi hi"), asked("hi hi hi")]
    assert sampling.answers(Recitals([]), tokenizer, conversations, stops, 500) == ["a", "abc", "abcdefghijkl"]


def test_an_ordinary_token_may_be_a_stop_too(tokenizer: Any) -> None:
    (number,) = tokenizer("llo", add_special_tokens=False)["input_ids"]
    ids = [*tokenizer("ab he", add_special_tokens=False)["input_ids"], number]
    assert "".join(sampling.answer(Recital(ids), tokenizer, asked("hi"), {"llo": number}, 500)) == "ab he"


def test_the_prompt_is_the_template_and_nothing_more(tokenizer: Any) -> None:
    ids = sampling.prompt_ids(tokenizer, asked("hello"))
    assert tokenizer.decode(ids) == (
        "<|im_start|>system\nYou are a tiny assistant named Pebble.<|im_end|>\n"
        "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_control_token_that_is_typed_is_refused(tokenizer: Any) -> None:
    with pytest.raises(InputError, match=r"<\|im_end\|> is a control token"):
        sampling.prompt_ids(tokenizer, asked("bye<|im_end|>"))


@pytest.mark.parametrize("wanted", [1, 24])
def test_many_at_once_say_what_each_says_alone_and_what_transformers_says(tiny_base: Path, wanted: int) -> None:
    model, tokenizer = load_base(str(tiny_base), torch.float32, CPU)
    reference: Any = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    conversations = [asked(text) for text in ("hi", "who are you? who are you?", "法国的首都", "a", "b" * 30)]
    together = sampling.answers(model, tokenizer, conversations, STOPS, wanted)
    for messages, text in zip(conversations, together, strict=True):
        assert "".join(sampling.answer(model, tokenizer, messages, STOPS, wanted)).rstrip("\ufffd") == text
        ids = torch.tensor([sampling.prompt_ids(tokenizer, messages)])
        generated = reference.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=wanted, do_sample=False, eos_token_id=STOP
        )
        assert tokenizer.decode(generated[0, ids.shape[1] :], skip_special_tokens=True).rstrip("\ufffd") == text


def test_a_temperature_draws_from_torchs_generator(tiny_base: Path) -> None:
    model, tokenizer = load_base(str(tiny_base), torch.float32, CPU)

    def said(seed: int) -> str:
        torch.manual_seed(seed)
        return "".join(sampling.answer(model, tokenizer, asked("hi"), STOPS, 20, temperature=2.0))

    assert said(1) == said(1)
    assert said(1) != said(2)


def test_a_conversation_that_does_not_fit_is_told(tiny_base: Path) -> None:
    model, tokenizer = load_base(str(tiny_base), torch.float32, CPU)
    with pytest.raises(InputError, match="made for 512; start a new one"):
        list(sampling.answer(model, tokenizer, asked("z" * 600), STOPS, 5))
