"""ShareGPT as LLaMA-Factory reads it: `conversations` of human, gpt, function_call and observation, and `tools`.

    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]}

A call is JSON text, `{"name": …, "arguments": {…}}`, or a list where an answer makes several; so are the `tools`. A
system message comes first, as `system`. Whoever trains on it trains all answers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from dataforge.records import Chat, Message, Preference
from dataforge.shapes import Feature

SUFFIX = ".jsonl"
HOLDS = frozenset({"system", "tools"})
_TURN: Mapping[str, Feature] = {"from": "string", "value": "string"}
FEATURES: Mapping[str, Feature] = {"conversations": [_TURN], "tools": "string"}
PAIRS: Mapping[str, Feature] = {"conversations": [_TURN], "chosen": _TURN, "rejected": _TURN, "tools": "string"}
_FROM = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


def columns(chat: Chat) -> dict[str, Any] | str:
    """One conversation in this shape, or why it does not fit."""
    fault = _fault(chat.messages)
    return fault or {"conversations": [_turn(message) for message in chat.messages], **_tools(chat.tools)}


def pair(preference: Preference) -> dict[str, Any] | str:
    """Preferences as LLaMA-Factory's ShareGPT format has them, with `ranking: true` in its dataset_info.json.

    {"conversations": [{"from": "human", …}], "chosen": {"from": "gpt", …}, "rejected": {"from": "gpt", …}}

    A call is JSON text, `{"name": …, "arguments": {…}}`, or a list where an answer makes several; so are the `tools`. A
    system message comes first, as `system`. Its `columns` there are `messages: conversations`, `chosen` and `rejected`;
    `tools` only where a record has some, as LLaMA-Factory stops at a column that is not there.
    """
    for side in (preference.chosen, preference.rejected):
        if len(side) != 1:
            return f"an answer has {len(side)} messages, and this shape has one"
        fault = _fault((*preference.prompt, *side))
        if fault:
            return fault
    return {
        "conversations": [_turn(message) for message in preference.prompt],
        "chosen": _turn(preference.chosen[0]),
        "rejected": _turn(preference.rejected[0]),
        **_tools(preference.tools),
    }


def _fault(said: Sequence[Message]) -> str | None:
    for number, message in enumerate(said, start=1):
        if message.role == "developer" or (message.role == "system" and number > 1):
            return f"message {number} is of {message.role}; this shape has a system message at the beginning only"
        if message.tool_calls and message.content:
            return f"message {number} has text beside a call, and this shape has one or the other"
    return None


def _turn(message: Message) -> dict[str, str]:
    if not message.tool_calls:
        return {"from": _FROM[message.role], "value": message.text}
    calls = [{"name": call.name, "arguments": call.arguments} for call in message.tool_calls]
    return {"from": "function_call", "value": orjson.dumps(calls if len(calls) > 1 else calls[0]).decode()}


def _tools(tools: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    return {"tools": orjson.dumps(tools).decode()} if tools else {}
