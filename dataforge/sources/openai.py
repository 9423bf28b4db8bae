"""OpenAI's chat format: `messages` with roles, tool calls and weights, and where present `tools`.

    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!", "weight": 1}]}

Roles are system, developer, user, assistant and tool (`function` is read as tool). Content is text or a list of text
parts, which become one text with newlines between them; other parts are refused. `tool_calls` hold arguments as an
object or as JSON text, and may be JSON text themselves; `reasoning_content` (also `reasoning`, `thinking`) is what the
model thought first. A record's `chat_template_kwargs`, such as `{"enable_thinking": false}`, are given to the chat
template.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from dataforge import config
from dataforge.records import ROLES, Chat, Message, Reject, Row, ToolCall

_REASONING = ("reasoning_content", "reasoning", "thinking")
_PLAIN, _SPEAKERS = {"role", "content"}, {"system", "user", "assistant"}
"""Of nearly every message, of which nothing else needs to be asked."""
_MESSAGE_KEYS = {"role", "content", "weight", "name", "tool_calls", "tool_call_id", "function_call", *_REASONING}


class Settings(config.Settings):
    """This shape has nothing to set."""


class _Fault(Exception):
    """What is wrong with a record: the reject's reason and detail."""


def convert(row: Row, settings: config.Settings) -> Chat | Reject:
    """One record as a conversation."""
    try:
        messages = row.columns.get("messages")
        if not isinstance(messages, list):
            raise _Fault("missing_messages", f"'messages' must be a list; there are {_keys(row)}")
        return Chat(
            row.id,
            row.origin,
            tuple(_message(message, number) for number, message in enumerate(messages, start=1)),
            tools=tuple(_tools(row.columns.get("tools"))),
            template_kwargs=_kwargs(row.columns.get("chat_template_kwargs")),
        )
    except _Fault as fault:
        reason, detail = fault.args
        return Reject(row.id, row.origin, "convert", reason, detail)


def _message(found: Any, number: int) -> Message:
    if not isinstance(found, dict):
        raise _Fault("bad_message", f"message {number} must be an object, not {type(found).__name__}")
    if found.keys() == _PLAIN and found["role"] in _SPEAKERS and isinstance(found["content"], str):
        return Message(found["role"], found["content"])
    role = "tool" if found.get("role") == "function" else found.get("role")
    if role not in ROLES:
        raise _Fault("bad_role", f"message {number} has the role {role!r}; known: {', '.join(ROLES)}")
    unknown = sorted(key for key in found.keys() - _MESSAGE_KEYS if found[key] not in (None, [], {}, ""))
    if unknown:
        raise _Fault("unknown_key", f"message {number} ({role}) has a key {unknown[0]!r} that no rule reads")
    calls = tuple(_calls(found, number))
    if calls and role != "assistant":
        raise _Fault("bad_tool_calls", f"message {number} ({role}) has tool calls, which only an answer may have")
    weight = found.get("weight")
    if weight not in (None, 0, 1):
        raise _Fault("bad_weight", f"message {number} has the weight {weight!r}; it must be 0 or 1")
    return Message(
        role,
        _content(found.get("content"), number, none_is_empty=not calls),
        weight=None if weight is None else 1 if weight else 0,
        reasoning=next((_text(found, key, number) for key in _REASONING if found.get(key) is not None), None),
        tool_calls=calls,
        tool_call_id=_text(found, "tool_call_id", number),
        name=_text(found, "name", number),
    )


def _content(content: Any, number: int, *, none_is_empty: bool) -> str | None:
    if content is None:
        return "" if none_is_empty else None
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _Fault("bad_content", f"message {number}: 'content' must be text, not {type(content).__name__}")
    return "\n".join(_part(part, number) for part in content)


def _part(part: Any, number: int) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    if isinstance(part, dict) and kind in ("text", "input_text", "output_text") and isinstance(part.get("text"), str):
        return str(part["text"])
    raise _Fault("not_text", f"message {number} holds a part of type {kind!r}; only text parts can be trained on")


def _calls(found: Mapping[str, Any], number: int) -> list[ToolCall]:
    listed = found.get("tool_calls") or ([found["function_call"]] if found.get("function_call") else [])
    listed = _parsed(listed, "tool_calls") if isinstance(listed, str) else listed
    if not isinstance(listed, list):
        raise _Fault("bad_tool_calls", f"message {number}: 'tool_calls' must be a list")
    return [_call(call, number) for call in listed]


def _call(call: Any, number: int) -> ToolCall:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _Fault("bad_tool_calls", f"message {number}: a tool call must hold a function with a name")
    arguments = function.get("arguments", function.get("parameters"))
    arguments = _parsed(arguments or "{}", "arguments") if isinstance(arguments, str) else arguments
    if not isinstance(arguments, dict | None):
        raise _Fault("bad_arguments", f"message {number}: the arguments must be an object")
    identity = call.get("id")
    return ToolCall(function["name"], arguments or {}, identity if isinstance(identity, str) else None)


def _tools(tools: Any) -> list[dict[str, Any]]:
    tools = _parsed(tools or "[]", "tools") if isinstance(tools, str) else tools
    if not isinstance(tools, list | None) or not all(isinstance(tool, dict) for tool in tools or []):
        raise _Fault("bad_tools", "'tools' must be a list of objects")
    return tools or []


def _kwargs(kwargs: Any) -> dict[str, Any]:
    kwargs = _parsed(kwargs or "{}", "chat_template_kwargs") if isinstance(kwargs, str) else kwargs
    if not isinstance(kwargs, dict | None):
        raise _Fault("bad_chat_template_kwargs", "'chat_template_kwargs' must be an object")
    return kwargs or {}


def _parsed(text: str, key: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _Fault(f"bad_{key}", f"{key!r} is not JSON: {error}") from None


def _text(found: Mapping[str, Any], key: str, number: int) -> str | None:
    value = found.get(key)
    if not isinstance(value, str | None):
        raise _Fault(f"bad_{key}", f"message {number}: {key!r} must be text, not {type(value).__name__}")
    return value


def _keys(row: Row) -> str:
    return ", ".join(repr(key) for key in row.columns) or "none"
