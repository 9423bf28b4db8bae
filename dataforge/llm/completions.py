"""One chat completion as OpenAI's API defines it: the request's body, and what its answer says."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import orjson

from dataforge.llm.requests import NoReply, Reply, Request
from dataforge.llm.settings import Model, Structured

_OPEN, _CLOSE = "<think>", "</think>"
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n?\s*```", re.DOTALL | re.IGNORECASE)
_BRACKET = re.compile(r"[{\[]")
_CUT = ("length", "max_tokens")


class NotJsonError(Exception):
    """A reply that is not the JSON that was asked for; says what is wrong with it."""


def logical(request: Request, model: Model) -> dict[str, Any]:
    """All that decides a reply: what its key is a hash of, and what the cache keeps of the request."""
    said = {**model.parameters(), "messages": [dict(message) for message in request.messages]}
    for name in ("temperature", "max_tokens"):
        if getattr(request, name) is not None:
            said[name] = getattr(request, name)
    if request.schema is not None:
        said["schema"] = request.schema
    if request.sample:
        said["sample"] = request.sample
    return said


def body(said: Mapping[str, Any], how: Structured) -> dict[str, Any]:
    """What is sent, with the schema said in one of the ways there are."""
    found = {name: value for name, value in said.items() if name not in ("schema", "sample")}
    schema = said.get("schema")
    if schema is None:
        return found
    if how == "schema":
        named = {"name": "reply", "schema": schema, "strict": True}
        return {**found, "response_format": {"type": "json_schema", "json_schema": named}}
    wanted = f"Reply with one JSON value and nothing else. {_fitting(schema)}"
    first, *others = found["messages"]
    if first["role"] == "system":
        found["messages"] = [{**first, "content": f"{first['content']}\n\n{wanted}"}, *others]
    else:
        found["messages"] = [{"role": "system", "content": wanted}, first, *others]
    return {**found, "response_format": {"type": "json_object"}} if how == "object" else found


def repaired(sent: Mapping[str, Any], schema: Mapping[str, Any], text: str, fault: str) -> dict[str, Any]:
    """A second request, after a reply that was not the JSON that was asked for."""
    again = f"That is not what was asked for: {fault}. Reply once more, with the JSON value alone. {_fitting(schema)}"
    turns = [{"role": "assistant", "content": text}, {"role": "user", "content": again}]
    return {**sent, "messages": [*sent["messages"], *turns]}


def read(answer: Any, schema: Mapping[str, Any] | None, key: str) -> Reply | NoReply:
    """What a completion says.

    Raises `ValueError` where it is no completion, `NotJsonError` where its text is not the JSON that was asked for.
    """
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        text, finish = message.get("content") or "", choice.get("finish_reason")
        usage = answer.get("usage") or {}
        tokens = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        model = str(answer.get("model") or "")
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"the answer is no chat completion ({error!r})") from None
    if not isinstance(text, str):
        raise ValueError("the answer's content is no text")
    if message.get("refusal") or finish == "content_filter":
        why = str(message.get("refusal") or "the endpoint's filter took the reply away")
        return NoReply("refused", why, "", model, *tokens)
    reasoning = str(message.get("reasoning_content") or message.get("reasoning") or "")
    thought, text = _apart(text)
    reasoning = reasoning or thought
    if finish in _CUT:
        after = f" after {tokens[1]:,} tokens" if tokens[1] else ""
        return NoReply("truncated", f"the reply was cut off{after}; raise `max_tokens`", text, model, *tokens)
    if not text.strip():
        return NoReply("empty", "the reply says nothing", "", model, *tokens)
    data = None if schema is None else _parsed(text, schema)
    return Reply(text, data, reasoning, model, key, *tokens)


def _apart(text: str) -> tuple[str, str]:
    """What was thought, and what was said after it.

    Where the prompt has opened the thought only its end stands in the text; one that never ends has nothing after it.
    """
    before, closed, after = text.partition(_CLOSE)
    if closed and _OPEN not in before.strip().removeprefix(_OPEN):
        return before.strip().removeprefix(_OPEN).strip(), after.lstrip()
    begun = text.lstrip()
    return (begun.removeprefix(_OPEN).strip(), "") if begun.startswith(_OPEN) and not closed else ("", text)


def _fitting(schema: Mapping[str, Any]) -> str:
    return f"It must fit this JSON schema:\n{orjson.dumps(schema).decode()}"


def _parsed(text: str, schema: Mapping[str, Any]) -> Any:
    """The JSON in a text, whatever stands around it."""
    taken, fault = _accepted(schema), "there is no JSON in it"
    for found in _candidates(text):
        try:
            return _fitted(orjson.loads(found), taken)
        except orjson.JSONDecodeError as error:
            fault = f"it is no JSON ({error})"
        except jsonschema.ValidationError as error:
            where = "".join(f"[{part!r}]" for part in error.absolute_path)
            fault = f"it does not fit the schema{f' at {where}' if where else ''}: {error.message}"
    return _gathered(text, taken, fault)


def _gathered(text: str, schema: Mapping[str, Any], fault: str) -> Any:
    """What the JSON values that stand somewhere in a text say together."""
    fitting = list[Any]()
    for value in _embedded(text):
        with contextlib.suppress(jsonschema.ValidationError):
            fitting.append(_fitted(value, schema))
    if not fitting:
        raise NotJsonError(fault)
    name = _only_list(schema)
    if name is not None:
        return {name: [item for value in fitting for item in value[name]]}
    if any(value != fitting[0] for value in fitting):
        raise NotJsonError("it holds several JSON values that differ")
    return fitting[0]


def _candidates(text: str) -> list[str]:
    """The whole text, what stands in fences, and from the first bracket to the last of its kind."""
    found = [text.strip(), *(match[1] for match in _FENCE.finditer(text))]
    for opening, closing in ("{}", "[]"):
        start, end = text.find(opening), text.rfind(closing)
        if 0 <= start < end:
            found.append(text[start : end + 1])
    return found


def _embedded(text: str) -> Iterator[Any]:
    """Each JSON object or list in a text, such as one that a bracket too many follows."""
    decoder, at = json.JSONDecoder(), 0
    while (start := _BRACKET.search(text, at)) is not None:
        try:
            value, at = decoder.raw_decode(text, start.start())
        except (json.JSONDecodeError, RecursionError):
            at = start.end()
        else:
            yield value


def _accepted(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema with which more than was asked for is no fault: keys that nobody reads, items that nobody takes."""
    taken: dict[str, Any] = _open(schema)
    name = _only_list(schema)
    if name is not None:
        taken["properties"][name].pop("maxItems", None)
    return taken


def _open(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {key: _open(value) for key, value in part.items() if key != "additionalProperties"}
    return [_open(value) for value in part] if isinstance(part, list) else part


def _only_list(schema: Mapping[str, Any]) -> str | None:
    """The property of an object that is a list and has no other beside it."""
    properties = schema.get("properties") or {}
    if len(properties) != 1 or schema.get("type") != "object":
        return None
    ((name, inner),) = properties.items()
    return str(name) if isinstance(inner, Mapping) and inner.get("type") == "array" else None


def _fitted(value: Any, schema: Mapping[str, Any]) -> Any:
    """A value that fits; where the schema wants a list in an object, also the list alone, or one item of it.

    Raises `jsonschema.ValidationError`.
    """
    name = _only_list(schema)
    try:
        jsonschema.validate(value, schema)
    except jsonschema.ValidationError:
        if name is None:
            raise
        within = value.get(name, value) if isinstance(value, dict) else value
        wrapped = {name: within if isinstance(within, list) else [within]}
        if not jsonschema.Draft202012Validator(schema).is_valid(wrapped):
            raise
        return wrapped
    return value
