# ruff: noqa: RUF001
"""Texts for the comparison of tokenizer libraries: conversations as they are rendered, Chinese, code, and hard ones.

What is drawn is drawn from a fixed seed. Special tokens of the tokenizer under test stand in the rendered texts, in
those with Chinese and code, and in a part of the drawn ones.
"""

import itertools
import json
import random
import sysconfig
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import mask_speed

from dataforge.bases import load_tokenizer
from dataforge.chat_format import ChatFormat
from dataforge.render import Rendering

SEED = 20
_LINES_OF_CODE, _PIECES = 40, 12
_RANDOM_TEXTS, _CODE_TEXTS, _OF_CHINESE = 40_000, 4_000, 5
_PLANES = (*range(0x3400), *range(0x3400, 0x30000, 7), *range(0xE0000, 0xE0200), *range(0xF0000, 0xF0010), 0x10FFFD)
"""Every character of most scripts, and one in seven of those beyond: ideographs, Hangul, rarer scripts."""

_PARTS = (
    *(
        " ",
        "  ",
        "   ",
        " " * 17,
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        "\t",
        "\t\t ",
        "\v",
        "\f",
        "\x1c",
        "\x1f",
        "\x85",
        "\xa0",
    ),
    *(" ", " ", "　", " ", " ", " ", " ", "​", "‌", "‍", "⁠", "﻿", "\x00", "\x07", "\x7f"),
    *("hello", "Hello", "HELLO", "world", "tokenization", "naïve", "straße", "ﬁne", "don't", "DON'T", "I'll", "we've'"),
    *(
        "'s",
        "'S",
        "'re",
        "'VE",
        "''",
        "'",
        '"',
        "’s",
        "`",
        "0",
        "7",
        "12",
        "1234567",
        "3.14",
        "1,000,000",
        "½",
        "²",
        "Ⅷ",
    ),
    *(
        "٣٤",
        "१२",
        "𝟘𝟙",
        "①",
        "a1b2",
        "x_y",
        "__init__",
        "->",
        "...",
        "…",
        "!!!",
        "?!",
        "{}[]()",
        "</",
        "==",
        "—",
        "–",
        "·",
    ),
    *("你好", "世界。", "，", "「」", "日本語", "カタカナ", "ｶﾞ", "한국어", "한", "ภาษาไทย", "हिन्दी", "क्षि", "தமிழ்"),
    *("שלום", "مرحبا", "‏", "‮abc‬", "Ελλάδα", "Привет", "İi", "ı", "ǅ", "ß", "ẞ", "ŉ", "K", "Å", "Ω", "ſ"),
    *("é", "é", "ạ̈̃", "́", "̂x", "a" + "̃" * 20, "Z̷̢a̵l", "ﷺ", "㎏", "㍿", "ﬃ", "🙂", "👨‍👩‍👧‍👦", "🏳️‍🌈"),
    *("👍🏽", "🇩🇪", "☺️", "©", "™", "𝒳", "𐍈", "\ue000", "\ufffe", "￿", "�", "\U000e0041", "\U0010fffd", "\U00020000"),
    *("▁", "▁▁x", "Ġ", "Ċ", "Ã©", "<0x0A>", "<unk>", "<s>", "</s>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|im_", "end|>", "[INST]", "</", "s>", "a" * 50, "=" * 40, "-" * 33, "ab" * 30, "😀" * 9, "中" * 30),
)


def corpora(data: Path) -> dict[str, list[str]]:
    """Every corpus by its name; `conversations` is the one that is timed."""
    conversations = _conversations(data / "hh-rlhf" / "test.jsonl.gz")
    return {
        "conversations": conversations,
        "2,000 conversations": conversations[:2000],
        "Chinese": list(itertools.islice(_chinese(data), 0, None, _OF_CHINESE)),
        "code": list(_code()),
        "hard": list(_hard()),
        "characters": list(_characters()),
    }


def _conversations(path: Path) -> list[str]:
    renderer = ChatFormat(load_tokenizer("smollm2-135m"), "tokenizer", Path()).renderer
    chats = mask_speed.numbered(list(mask_speed.read_conversations(path)))
    return [made.text for made in map(renderer.render, chats) if isinstance(made, Rendering)]


def _chinese(data: Path) -> Iterator[str]:
    """Every text of the Chinese data sets, alone and as a conversation."""
    names = ("belle", "chatglm-et", "cmrc2018", "fewclue", "pclue", "llamafactory")
    files = sorted(path for name in names for path in (data / name).glob("*.json"))
    for path in files:
        content = path.read_text(encoding="utf-8")
        for text in _strings(_parsed(content)):
            yield text
            yield f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def _parsed(content: str) -> object:
    try:
        return json.loads(content)
    except json.JSONDecodeError:
        return [json.loads(line) for line in content.splitlines() if line.strip()]


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _code() -> Iterator[str]:
    """Python's own library, some lines a text, and the data's JSON as it stands."""
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    made = (text for path in paths for text in _pieces(path.read_text(encoding="utf-8", errors="ignore")))
    for number, text in enumerate(itertools.islice(made, _CODE_TEXTS)):
        yield text if number % 2 else f"<|im_start|>assistant\n```python\n{text}\n```<|im_end|>\n"


def _pieces(text: str) -> Iterator[str]:
    lines = text.splitlines(keepends=True)
    for start in range(0, len(lines), _LINES_OF_CODE):
        yield "".join(lines[start : start + _LINES_OF_CODE])


def _hard() -> Iterator[str]:
    """Texts put together at random: of the parts above, of any characters, of few."""
    random_ = random.Random(SEED)
    draw: Sequence[Callable[[], str]] = (
        lambda: random_.choice(_PARTS),
        lambda: chr(random_.randrange(0xD800)),
        lambda: random_.choice(" \n\t'sa1é中̈.!"),
    )
    for _ in range(_RANDOM_TEXTS):
        kinds = random_.choice(((0,), (0, 0, 0, 1), (1, 2), (2,), (0, 2), (0, 1, 2)))
        yield "".join(draw[random_.choice(kinds)]() for _ in range(random_.randint(1, _PIECES)))
    for part in _PARTS:
        yield part * random_.randint(200, 400)


def _characters() -> Iterator[str]:
    """A character by itself, beside letters, digits, blanks and itself; surrogates are none."""
    for number in _PLANES:
        one = chr(number)
        if unicodedata.category(one) != "Cs":
            yield f"a{one}b {one} 1{one}{one}'{one}\n{one}s"
