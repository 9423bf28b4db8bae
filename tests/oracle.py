"""What a mask must be, from the definition: transformers renders and encodes, and nothing of the package is used."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import jinja2


class WrongRowError(AssertionError):
    """A row that trains what it must not, or not what it must."""


def check_rows(
    tokenizer: Any,
    template: str,
    messages: Sequence[dict[str, Any]],
    rows: Iterable[tuple[Sequence[int], Sequence[int]]],
    stops: Sequence[str] = ("<|im_end|>",),
    **kwargs: Any,
) -> set[int]:
    """Hold (ids, mask) rows against the prompts that a server would feed; returns the messages that are trained.

    `stops` are the texts of the tokens that end an answer. Raises `WrongRowError`.
    """
    stop_ids = set(tokenizer.convert_tokens_to_ids(list(stops)))
    prompts = {}
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            prompts[number] = tokenizer.apply_chat_template(
                messages[:number], chat_template=template, add_generation_prompt=True, return_dict=False, **kwargs
            )
    trained: set[int] = set()
    for ids, mask in rows:
        for start, end in _runs(mask):
            number = next((n for n, prompt in prompts.items() if list(ids[:start]) == prompt), None)
            if number is None:
                raise WrongRowError("what is trained does not begin where a served prompt ends")
            if number in trained:
                raise WrongRowError(f"message {number} is trained twice")
            if [id_ in stop_ids for id_ in ids[start:end]] != [False] * (end - start - 1) + [True]:
                raise WrongRowError(f"what is trained of message {number} does not end with its first stop")
            written = tokenizer.decode(ids[:end])[len(tokenizer.decode(ids[:start])) :]
            if messages[number]["content"].strip() not in written:
                raise WrongRowError(f"message {number} is not what is trained: {written!r}")
            trained.add(number)
    return trained


def serves(tokenizer: Any, template: str, messages: Sequence[dict[str, Any]], **kwargs: Any) -> bool:
    """Whether the template renders the conversation and every prompt in it."""
    try:
        for number in range(1, len(messages) + 1):
            tokenizer.apply_chat_template(messages[:number], chat_template=template, tokenize=False, **kwargs)
    except (jinja2.TemplateError, TypeError):
        return False
    return True


def _runs(mask: Sequence[int]) -> list[tuple[int, int]]:
    edges = [0, *(n for n in range(1, len(mask)) if mask[n] != mask[n - 1]), len(mask)]
    return [(start, end) for start, end in itertools.pairwise(edges) if start < end and mask[start]]
