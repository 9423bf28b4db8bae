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
    pieces = list(sampling.answer(Recital(ids), tokenizer, asked("hi"), [STOP], 500))
    assert "".join(pieces) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_a_chinese_character_of_three_tokens_comes_as_one(tokenizer: Any) -> None:
    ids = tokenizer("鑫a", add_special_tokens=False)["input_ids"]
    assert len(ids) == 4
    assert list(sampling.answer(Recital(ids), tokenizer, asked("hi"), [STOP], 500)) == ["鑫", "a"]


def test_an_answer_cut_off_inside_a_character_ends_before_it(tokenizer: Any) -> None:
    ids = tokenizer("a鑫", add_special_tokens=False)["input_ids"]
    assert "".join(sampling.answer(Recital(ids), tokenizer, asked("hi"), [STOP], 2)) == "a"


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
    together = sampling.answers(model, tokenizer, conversations, [STOP], wanted)
    for messages, text in zip(conversations, together, strict=True):
        assert "".join(sampling.answer(model, tokenizer, messages, [STOP], wanted)).rstrip("\ufffd") == text
        ids = torch.tensor([sampling.prompt_ids(tokenizer, messages)])
        generated = reference.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=wanted, do_sample=False, eos_token_id=STOP
        )
        assert tokenizer.decode(generated[0, ids.shape[1] :], skip_special_tokens=True).rstrip("\ufffd") == text


def test_a_temperature_draws_from_torchs_generator(tiny_base: Path) -> None:
    model, tokenizer = load_base(str(tiny_base), torch.float32, CPU)

    def said(seed: int) -> str:
        torch.manual_seed(seed)
        return "".join(sampling.answer(model, tokenizer, asked("hi"), [STOP], 20, temperature=2.0))

    assert said(1) == said(1)
    assert said(1) != said(2)


def test_a_conversation_that_does_not_fit_is_told(tiny_base: Path) -> None:
    model, tokenizer = load_base(str(tiny_base), torch.float32, CPU)
    with pytest.raises(InputError, match="made for 512; start a new one"):
        list(sampling.answer(model, tokenizer, asked("z" * 600), [STOP], 5))
