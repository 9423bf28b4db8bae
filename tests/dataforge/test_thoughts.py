"""Prompts that end inside or behind a thought: the served prompt by transformers, the trained text typed by hand."""

from pathlib import Path
from typing import Any

import pytest

from dataforge.bases import BaseTokenizer
from dataforge.records import Reject
from tests.formats import chat_format, chat_of, encoded, rows_of

TURN = "<|im_start|>{{ m.role }}\n"
GENERATE = "{% if add_generation_prompt %}<|im_start|>assistant\n"
PLAIN = "{% for m in messages %}" + TURN + "{{ m.content }}<|im_end|>\n{% endfor %}"

OPENS = (
    "{% for m in messages %}" + TURN + "{{ m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "" + GENERATE + "<think>\n{% endif %}"
)
"""As DeepSeek-R1: opens a thought, and shows none."""
CLOSES_EMPTY = PLAIN + GENERATE + "<think>\n\n</think>\n\n{% endif %}"
"""The prompt has an empty thought that history does not show; nothing tells how a thought ends."""
SHOWS = (
    "{% for m in messages %}" + TURN + "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "" + GENERATE + "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{% endif %}"
)
"""As gemma-4: an answer's reasoning is shown, and with thinking off the prompt holds an empty thought."""
KEEPS_LAST = (
    "{% for m in messages %}" + TURN + "{% if m.role == 'assistant' and loop.last %}"
    "<think>\n{{ m.reasoning_content or '' }}\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "" + GENERATE + "<think>\n{% endif %}"
)
"""As Qwen3.5: opens a thought, and shows that of the last answer, an empty one too."""
CLOSES_SHORT = (
    "{% for m in messages %}" + TURN + "{% if m.role == 'assistant' %}"
    "<think>{% if m.reasoning_content %}{{ '\\n' + m.reasoning_content + '\\n' }}{% endif %}</think>{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}" + GENERATE + "<think>\n{% endif %}"
)
"""As Nemotron 3: opens a thought on a new line, and shows an empty one without it."""
NO_LINE = CLOSES_SHORT.replace("'\\n' + m", "m")
"""Shows a thought without the line that the prompt begins it with."""

ASKED = {"role": "user", "content": "hello"}
ANSWER = {"role": "assistant", "content": "hi there"}
THOUGHT = {**ANSWER, "reasoning_content": "so"}
INLINE = {"role": "assistant", "content": "<think>\nso\n</think>\n\nhi there"}


@pytest.mark.parametrize(
    ("template", "messages", "options", "written"),
    [
        (OPENS, [ASKED, THOUGHT], {}, ["so\n</think>\n\nhi there<|im_end|>"]),
        (OPENS, [ASKED, INLINE], {}, ["so\n</think>\n\nhi there<|im_end|>"]),
        (OPENS, [ASKED, ANSWER], {"reasoning": "write_empty"}, ["\n</think>\n\nhi there<|im_end|>"]),
        (OPENS, [ASKED, THOUGHT, ASKED, THOUGHT], {}, ["so\n</think>\n\nhi there<|im_end|>"] * 2),
        (SHOWS, [ASKED, THOUGHT], {}, ["<think>so</think>hi there<|im_end|>"]),
        (SHOWS, [ASKED, ANSWER], {"kwargs": {"enable_thinking": False}}, ["hi there<|im_end|>"]),
        (SHOWS, [ASKED, ANSWER, ASKED, ANSWER], {"kwargs": {"enable_thinking": False}}, ["hi there<|im_end|>"] * 2),
        (SHOWS, [ASKED, THOUGHT], {"kwargs": {"enable_thinking": False}, "reasoning": "drop"}, ["hi there<|im_end|>"]),
        (KEEPS_LAST, [ASKED, THOUGHT], {}, ["so\n</think>\n\nhi there<|im_end|>"]),
        (KEEPS_LAST, [ASKED, ANSWER], {}, ["\n</think>\n\nhi there<|im_end|>"]),
        (
            KEEPS_LAST,
            [ASKED, THOUGHT, ASKED, ANSWER],
            {},
            ["\n</think>\n\nhi there<|im_end|>", "so\n</think>\n\nhi there<|im_end|>"],
        ),
        (CLOSES_SHORT, [ASKED, ANSWER], {}, ["</think>hi there<|im_end|>"]),
        (CLOSES_SHORT, [ASKED, THOUGHT], {}, ["so\n</think>hi there<|im_end|>"]),
        (NO_LINE, [ASKED, THOUGHT], {}, ["so\n</think>hi there<|im_end|>"]),
    ],
)
def test_what_is_trained_follows_the_served_prompt(
    template: str,
    messages: list[Any],
    options: dict[str, Any],
    written: list[str],
    tokenizer: BaseTokenizer,
    oracle: Any,
    tmp_path: Path,
) -> None:
    result = rows_of(chat_of(*messages), template, tokenizer, tmp_path, **options)
    found = []
    for row in result.rows:
        ids, mask = row.input_ids.tolist(), row.mask.tolist()
        start = mask.index(1)
        end = start + mask[start:].index(0) if 0 in mask[start:] else len(mask)
        assert not any(mask[end:]), "one answer a row here"
        number = int(row.id.partition("#")[2])
        kwargs = options.get("kwargs", {})
        prompt = oracle.apply_chat_template(
            messages[:number], chat_template=template, add_generation_prompt=True, return_dict=False, **kwargs
        )
        assert ids[:start] == prompt
        found.append(oracle.decode(ids[start:end]))
    assert sorted(found) == sorted(written)


@pytest.mark.parametrize(
    ("template", "answer", "options", "reason", "advice"),
    [
        (OPENS, ANSWER, {}, "thought_open", "write_empty"),
        (CLOSES_EMPTY, ANSWER, {}, "thought_open", "does not tell what ends it"),
        (SHOWS, THOUGHT, {"kwargs": {"enable_thinking": False}}, "thought_closed", "enable_thinking: true"),
        (PLAIN + GENERATE + "{% endif %}", THOUGHT, {}, "template_drops", "reasoning: drop"),
    ],
)
def test_what_cannot_be_trained_there_is_refused_with_the_way_out(
    template: str,
    answer: dict[str, Any],
    options: dict[str, Any],
    reason: str,
    advice: str,
    tokenizer: BaseTokenizer,
    tmp_path: Path,
) -> None:
    result = encoded(chat_of(ASKED, answer), template, tokenizer, tmp_path, **options)
    assert isinstance(result, Reject)
    assert result.reason == reason
    assert advice in result.detail


def test_a_records_own_keyword_wins_over_the_recipes(tokenizer: BaseTokenizer, tmp_path: Path) -> None:
    chat = chat_of(ASKED, ANSWER, chat_template_kwargs={"enable_thinking": False})
    off = rows_of(chat, SHOWS, tokenizer, tmp_path, kwargs={"enable_thinking": True})
    on = rows_of(chat_of(ASKED, ANSWER), SHOWS, tokenizer, tmp_path, kwargs={"enable_thinking": True})
    assert len(off.rows[0].input_ids) > len(on.rows[0].input_ids)


def test_the_marks_of_a_thought_are_known_from_renderings(tokenizer: BaseTokenizer, tmp_path: Path) -> None:
    traits = chat_format(OPENS, tokenizer, tmp_path).traits
    assert traits.thought_end == "</think>"
    (thought,) = traits.thoughts
    assert (thought.extra, thought.closed) == ("<think>\n", False)
    (closed,) = chat_format(SHOWS, tokenizer, tmp_path, kwargs={"enable_thinking": False}).traits.thoughts
    assert (closed.extra, closed.closed) == ("<think></think>", True)
