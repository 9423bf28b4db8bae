"""Ids in one array against HF's tokenizer, text by text."""

import json
import random

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer

from dataforge.bases import BaseTokenizer
from dataforge.flat_ids import FlatEncoder, check, trusted

PARTS = (
    " ",
    "  ",
    "\n",
    "\t",
    "a",
    "B",
    "it's",
    "'S",
    "12",
    "é",
    "e\u0301",
    "你好",
    "🙂",
    "\u200d",
    "<|im_end|>",
    "_",
    "\x00",
)


def texts(count: int) -> list[str]:
    """Texts put together at random, and any characters."""
    drawn = random.Random(4)
    anything = [chr(number) for number in range(0xD800)]
    return [
        "".join(drawn.choice(drawn.choice((PARTS, PARTS, anything))) for _ in range(drawn.randint(0, 12)))
        for _ in range(count)
    ]


def expected(asked: list[str], encoder: Tokenizer) -> list[list[int]]:
    return [encoder.encode(text, add_special_tokens=False).ids for text in asked]


def lists(found: tuple[np.ndarray, np.ndarray]) -> list[list[int]]:
    return [part.tolist() for part in np.split(found[0], np.cumsum(found[1])[:-1])]


@pytest.mark.parametrize("count", [1, 5000])
def test_ids_are_those_of_the_servers_tokenizer(tokenizer: BaseTokenizer, count: int) -> None:
    asked = texts(count)
    assert trusted(tokenizer.encoder)
    assert lists(FlatEncoder(tokenizer.encoder).encode(asked)) == expected(asked, tokenizer.encoder)


def test_a_byte_without_a_token_is_what_it_is_to_the_servers_tokenizer(tokenizer: BaseTokenizer) -> None:
    described = json.loads(tokenizer.encoder.to_str())
    vocab = described["model"]["vocab"]
    vocab["never"] = vocab.pop("q")
    encoder = Tokenizer.from_str(json.dumps(described))
    asked = [*texts(300), "a quick question"]
    assert trusted(encoder)
    assert lists(FlatEncoder(encoder).encode(asked)) == expected(asked, encoder)


@pytest.mark.parametrize(
    "tokens",
    [
        [AddedToken("<x>", normalized=False), AddedToken("x>>", normalized=True)],
        [AddedToken("<x>", lstrip=True, normalized=False)],
        [AddedToken("<x>", rstrip=True, normalized=False)],
        [AddedToken("x", single_word=True, normalized=False)],
    ],
)
def test_added_tokens_that_may_be_read_otherwise_are_left_to_the_servers_tokenizer(
    tokenizer: BaseTokenizer, tokens: list[AddedToken]
) -> None:
    encoder = Tokenizer.from_str(tokenizer.encoder.to_str())
    encoder.add_tokens(tokens)
    asked = ["a <x>> x x>>", *texts(300)]
    assert trusted(encoder) is None
    assert lists(FlatEncoder(encoder).encode(asked)) == expected(asked, encoder)


def test_another_id_is_found(tokenizer: BaseTokenizer) -> None:
    asked = [f"text {number}" for number in range(500)]
    ids, lengths = FlatEncoder(tokenizer.encoder).encode(asked)
    check(asked, (ids, lengths), tokenizer.encoder)
    with pytest.raises(RuntimeError, match="differ on a text"):
        check(asked, (ids + 1, lengths), tokenizer.encoder)
