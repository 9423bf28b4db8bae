"""What the export shapes share: what a record may carry beside its words, and ways to lay it out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from dataforge.records import Chat, Message, Preference, Prompt, Trainable, turns

CARRIED: Mapping[str, str] = {
    "system": "the system message",
    "weights": "which answers are trained",
    "tools": "the tools' descriptions",
    "call_ids": "the ids of tool calls",
    "names": "the names of speakers",
    "reasoning": "the reasoning",
    "template_kwargs": "chat_template_kwargs",
    "input": "the input apart from its instruction",
    "earlier_input": "an earlier turn's input apart from its instruction",
    "family": "what must stay on one side of a split",
    "facts": "the facts",
    "attribution": "author, link and licence",
    "margin": "by how much the one answer is better",
}
"""What a shape may be unable to say of a record, in words."""
EVERYTHING = frozenset(CARRIED)
Said = dict[str, Any] | Sequence[dict[str, Any]] | str
"""A record in a shape, as one line or several, or in a sentence why it does not fit."""
Feature = str | Sequence[Any] | Mapping[str, Any]
"""A column's type: the name of one, such as `string` or `json`; a list of one; or a mapping of names to types."""
MESSAGE: Mapping[str, Feature] = {
    "role": "string",
    "content": "string",
    "reasoning_content": "string",
    "tool_calls": [{"id": "string", "type": "string", "function": {"name": "string", "arguments": "string"}}],
    "tool_call_id": "string",
    "name": "string",
    "weight": "int8",
}
"""Of `weighed`."""
UNWEIGHED_TEXT: Mapping[str, Feature] = {key: kind for key, kind in MESSAGE.items() if key != "weight"}
"""Of `as_openai`."""
UNWEIGHED: Mapping[str, Feature] = {
    **UNWEIGHED_TEXT,
    "tool_calls": [{"id": "string", "type": "string", "function": {"name": "string", "arguments": "json"}}],
}
"""Of `as_openai` with arguments as objects."""


def carried(record: Trainable) -> Iterator[str]:
    """Which of `CARRIED` a record has."""
    said = turns(record)
    answers = [message for message in said if message.role == "assistant"]
    asked = [message for message in said if message.role == "user"]
    calls = [call for message in said for call in message.tool_calls]
    found = {
        "system": any(message.role == "system" for message in said),
        "weights": isinstance(record, Chat) and any(message.weight == 0 for message in answers),
        "tools": bool(record.tools),
        "call_ids": any(call.id for call in calls) or any(message.tool_call_id for message in said),
        "names": any(message.name for message in said),
        "reasoning": any(message.reasoning for message in said),
        "template_kwargs": not isinstance(record, Preference) and bool(record.template_kwargs),
        "input": bool(asked and asked[-1].input),
        "earlier_input": any(message.input for message in asked[:-1]),
        "family": bool(record.family),
        "facts": bool(record.facts),
        "attribution": bool(record.facts.get("attribution")),
        "margin": isinstance(record, Preference) and record.margin is not None,
    }
    return (name for name, holds in found.items() if holds)


def as_openai(said: Message, *, arguments_as_text: bool = True) -> dict[str, Any]:
    """A message in OpenAI's form without its weight; what it does not have is left out."""
    found: dict[str, Any] = {"role": said.role, "content": None if said.content is None else said.text}
    if said.reasoning is not None:
        found["reasoning_content"] = said.reasoning
    if said.tool_calls:
        found["tool_calls"] = [
            {
                **({"id": call.id} if call.id is not None else {}),
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": orjson.dumps(call.arguments).decode() if arguments_as_text else call.arguments,
                },
            }
            for call in said.tool_calls
        ]
    if said.tool_call_id is not None:
        found["tool_call_id"] = said.tool_call_id
    if said.name is not None:
        found["name"] = said.name
    return found


def weighed(said: Message) -> dict[str, Any]:
    """A message in OpenAI's form; an answer says with its weight, 0 or 1, whether it is trained."""
    found = as_openai(said)
    return found if said.weight is None else {**found, "weight": said.weight}


def beside(record: Trainable) -> dict[str, Any]:
    """`tools` and `chat_template_kwargs`, where a record has them."""
    kwargs = {} if isinstance(record, Preference) else record.template_kwargs
    return {
        **({"tools": list(record.tools)} if record.tools else {}),
        **({"chat_template_kwargs": kwargs} if kwargs else {}),
    }


def of_record(record: Trainable, inputs: Sequence[str | None]) -> dict[str, Any]:
    """What a record has beside what is said in it, with the inputs apart from their instructions."""
    return {
        **beside(record),
        **({"inputs": list(inputs)} if any(text is not None for text in inputs) else {}),
        "copies": record.copies,
        **({"family": record.family} if record.family else {}),
        **({"facts": record.facts} if record.facts else {}),
        "source": record.origin.source,
        "file": record.origin.file,
        "ordinal": record.origin.ordinal,
        "line": record.origin.line,
        "item": record.origin.item,
    }


@dataclass(frozen=True)
class Rounds:
    """A conversation of questions and answers by turns."""

    system: str
    """Empty where there is none."""
    rounds: tuple[tuple[Message, Message], ...]


@dataclass(frozen=True)
class Asked:
    """A question with all that was said before it, and what answers it."""

    system: str
    """Empty where there is none."""
    history: tuple[tuple[Message, Message], ...]
    question: Message
    answers: tuple[Message, ...]
    """What is better before what is worse; none of a prompt."""


def asked(record: Preference | Prompt) -> Asked | str:
    """A pair or a prompt as rounds of questions and answers, or in a sentence why it cannot be told as such."""
    prompt, sides = (
        (record.prompt, (record.chosen, record.rejected))
        if isinstance(record, Preference)
        else (
            record.messages,
            ((Message("assistant", ""),),),
        )
    )
    found = [rounds((*prompt, *side)) for side in sides]
    told = [each for each in found if isinstance(each, Rounds)]
    for each in found:
        if isinstance(each, str):
            return each
    *history, (question, _) = told[0].rounds
    answers = tuple(each.rounds[-1][1] for each in told) if isinstance(record, Preference) else ()
    return Asked(told[0].system, tuple(history), question, answers)


def rounds(said: Sequence[Message]) -> Rounds | str:
    """A conversation as rounds, or in a sentence why it cannot be told as such."""
    system = ""
    first = 0
    if said and said[0].role == "system":
        system, first = said[0].text, 1
        if not system:
            return "its system message is empty, which this shape cannot tell from none"
    for number, message in enumerate(said[first:]):
        wanted = "assistant" if number % 2 else "user"
        if message.role != wanted:
            return f"message {number + first + 1} is of {message.role}, where this shape has one of {wanted}"
        if message.tool_calls:
            return f"message {number + first + 1} calls a tool, which this shape has no place for"
    if not said[first:] or len(said[first:]) % 2:
        return "it does not end with an answer"
    return Rounds(system, tuple(zip(said[first::2], said[first + 1 :: 2], strict=True)))
