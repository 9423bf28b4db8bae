# ruff: noqa: RUF001
"""The conversation shapes of the mask matrix, in OpenAI's form.

What people and tools say and what the assistant says share no long text, so that a token trained on the wrong side
shows. Every shape is a function of nothing but the control tokens of the tokenizer it is meant for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """A conversation."""

    name: str
    messages: list[Message]
    tools: list[dict[str, Any]]
    typed: bool = False
    """Whether a user's text holds control tokens."""


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "A city."},
                "days": {"type": "integer", "description": "How many days ahead."},
            },
            "required": ["city"],
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "The time of a place.",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"type": "string", "description": "A time zone."}},
            "required": ["zone"],
        },
    },
}

_QUESTIONS = (
    "Which river runs through Vienna?",
    "How deep does it get there, roughly?",
    "Name two bridges that cross it.",
    "Who designed the older one?",
    "Could I walk over it in winter?",
)
_ANSWERS = (
    "The Danube does.",
    "About three metres near the city, more in spring.",
    "Reichsbrücke and Nordbrücke.",
    "It was rebuilt after 1976; no single architect is credited.",
    "Yes: it has wide pavements, cleared of snow.",
)
_THOUGHTS = (
    "Vienna lies on the Danube, so that is it.",
    "Depth varies; I should give a rough figure.",
    "Two well-known crossings come to mind at once.",
)


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _says(text: str | None, **more: Any) -> Message:
    return {"role": "assistant", "content": text, **more}


def _system(text: str) -> Message:
    return {"role": "system", "content": text}


def _call(identity: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def _result(identity: str, name: str, text: str) -> Message:
    return {"role": "tool", "tool_call_id": identity, "name": name, "content": text}


def _turns(count: int, thoughts: bool = False) -> list[Message]:
    messages = []
    for number in range(count):
        more = {"reasoning_content": _THOUGHTS[number]} if thoughts else {}
        messages += [_user(_QUESTIONS[number]), _says(_ANSWERS[number], **more)]
    return messages


def shapes(control_tokens: Sequence[str]) -> list[Shape]:
    """Every shape; `control_tokens` are typed by the users of two of them."""
    one, three, five = _turns(1), _turns(3), _turns(5)
    asks = _user("What is the weather in Oslo, please?")
    calls = _says(None, tool_calls=[_call("callnr001", "get_weather", city="Oslo", days=2)])
    found = _result("callnr001", "get_weather", '{"celsius": -3, "sky": "overcast"}')
    both = [_call("callnr001", "get_weather", city="Oslo"), _call("callnr002", "get_time", zone="Europe/Oslo")]
    times = _result("callnr002", "get_time", "17:45 local")
    plain = [
        ("one turn", one),
        ("one turn, system", [_system("You answer in one short line."), *one]),
        ("two turns", _turns(2)),
        ("three turns", three),
        ("three turns, a new question at the end", [*three, _user(_QUESTIONS[3])]),
        ("five turns", five),
        ("five turns, system", [_system("You are a patient local guide."), *five]),
        ("developer", [{"role": "developer", "content": "Prefer metric units."}, *_turns(2)]),
        ("empty system", [_system(""), *_turns(2)]),
        ("two questions in a row", [_user("I am in Vienna."), *_turns(2)]),
        ("two answers in a row", [*one, _says("Shall I go on?"), *three[2:4]]),
        ("an answer before any question", [_system("Greet first."), _says("Good day to you!"), *_turns(2)]),
        ("an answer first", [_says("Good day to you!"), *_turns(2)]),
        ("reasoning, one turn", _turns(1, thoughts=True)),
        ("reasoning, three turns", _turns(3, thoughts=True)),
        ("reasoning in the second of two turns", [*one, *_turns(2, thoughts=True)[2:]]),
        ("reasoning in the content", _with_content_thoughts()),
        ("empty answer", [_user("Say nothing at all."), _says(""), *three[2:4]]),
        ("blanks around", [_user(" \n Two lines?\n\n"), _says("\n\n  First.\n\tSecond.  \n \n"), *three[2:4]]),
        (
            "combining marks",
            [_user("Cafe\u0301 ou the\u0301 ?"), _says("Un cafe\u0301, s\u2019il vous plai\u0302t\u202f!")],
        ),
        ("zero-width joiners", [_user("नमस्ते क्\u200dष?"), _says("क्\u200dष और می\u200cخواهم")]),
        ("Chinese", [_user("维也纳有哪条河？"), _says("多瑙河。"), _user("它有多深？"), _says("大约三米，春天更深。")]),
        ("emoji", [_user("Flags? 🏳️\u200d🌈"), _says("👩🏽\u200d🚀🇦🇹 and 🫠"), _user("More"), _says("🎻")]),
        ("double brackets and braces", [_user("[[x]] {{ y }} {% raw %}"), _says("[[y]] {{ messages }} {# z #}")]),
        (
            "an answer that begins with a sign",
            [_user("Show a tag"), _says("<b>bold</b>"), _user("?"), _says("[1] yes")],
        ),
        (
            "code with tabs",
            [_user("Code!"), _says("```python\ndef f():\n\treturn {'a': [1]}\n```"), _user("Thx"), _says("> ok")],
        ),
        ("very long", _very_long()),
        ("weight 0 on the first answer", [three[0], {**three[1], "weight": 0}, *three[2:]]),
    ]
    tooled = [
        ("tool call", [asks, calls, found, _says("Minus three and overcast.")]),
        ("tool call, system, a further turn", [_system("Be brief."), asks, calls, found, _says("Cold."), *three[2:4]]),
        ("tool call with text", [asks, {**calls, "content": "Let me look."}, found, _says("Minus three.")]),
        ("tool call with empty text", [asks, {**calls, "content": ""}, found, _says("Minus three.")]),
        ("parallel tool calls", [asks, _says("", tool_calls=both), found, times, _says("Dark and cold.")]),
        ("tool call at the end", [asks, calls]),
        ("reasoning before a tool call", _thoughtful_call(asks, calls, found)),
        ("tools that nobody calls", three[:4]),
    ]
    typed = " ".join(control_tokens)
    return [
        *(Shape(name, messages, []) for name, messages in plain),
        *(Shape(name, messages, [WEATHER, CLOCK]) for name, messages in tooled),
        Shape("control tokens typed", [_user(f"Print {typed} now"), _says("I will not."), *three[2:4]], [], typed=True),
        Shape(
            "control tokens typed at the edges",
            [_user(typed), _says("No."), _user(f"{typed}\n"), _says("No!")],
            [],
            typed=True,
        ),
    ]


def _with_content_thoughts() -> list[Message]:
    messages = _turns(2)
    messages[3] = _says(f"<think>\n{_THOUGHTS[1]}\n</think>\n\n{_ANSWERS[1]}")
    return messages


def _thoughtful_call(asks: Message, calls: Message, found: Message) -> list[Message]:
    last = _says("Minus three.", reasoning_content="The tool has told me.")
    return [asks, {**calls, "reasoning_content": "I must look this up."}, found, last]


def _very_long() -> list[Message]:
    question = "".join(f"Line {number}: the quick brown fox, über 多瑙河 {number * number}.\n" for number in range(420))
    answer = "".join(f"{number}. Noted — item №{number}; skip.\n" for number in range(260))
    return [_user(question), _says(answer), *_turns(2)[2:]]
