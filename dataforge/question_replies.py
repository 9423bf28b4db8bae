"""Questions and answers as a language model writes them: the JSON that it is asked for, and what its reply holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataforge.text import pieces

_PARTS = ("question", "answer", "evidence")


@dataclass(frozen=True)
class Turn:
    """A question, its answer, and the words of the passage that it rests on."""

    question: str
    answer: str
    evidence: str


class FailedError(ValueError):
    """An item that does not pass, with the reason's code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def schema(n: int, turns: int = 0) -> Mapping[str, Any]:
    """The JSON schema of a reply: a list of `n` questions, or with `turns` of conversations of up to so many each."""
    one = _object({part: {"type": "string"} for part in _PARTS})
    if turns:
        one = _object({"turns": {"type": "array", "items": one, "minItems": 2, "maxItems": turns}})
    return _object({"items": {"type": "array", "items": one, "minItems": 1, "maxItems": n}})


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


ANSWER = _object({"answer": {"type": "string"}})


def values_of(data: Any) -> list[Any] | None:
    """The items of a reply, which some models write without the object around them."""
    found = data.get("items") if isinstance(data, dict) else data
    return found if isinstance(found, list) else None


def turns_of(value: Any, several: bool) -> tuple[Turn, ...]:
    """The turns of an item. Raises `FailedError` where it is none."""
    if not several:
        return (_turn(value),)
    turns = value.get("turns") if isinstance(value, dict) else value
    if not isinstance(turns, list) or len(turns) < 2:
        raise FailedError("malformed", "is no conversation of two questions or more")
    return tuple(map(_turn, turns))


def _turn(value: Any) -> Turn:
    texts = [value.get(part) if isinstance(value, dict) else None for part in _PARTS]
    question, answer, evidence = (text.strip() if isinstance(text, str) else "" for text in texts)
    if not question or not answer:
        raise FailedError("malformed", f"has no {'question' if not question else 'answer'}")
    return Turn(question, answer, evidence)


def holds(question: str, answer: str) -> bool:
    """Whether the words of an answer stand in the question one after another."""
    wanted, held = pieces(answer), pieces(question)
    starts = range(len(held) - len(wanted) + 1) if wanted else ()
    return any(held[start : start + len(wanted)] == wanted for start in starts)


def written_in(text: str, language: str) -> bool:
    """Whether most words of a text, or none at all, are Chinese characters, or are not."""
    words = pieces(text)
    chinese = sum("\u3400" <= word <= "\u9fff" or word >= "\U00020000" for word in words)
    return 2 * chinese >= len(words) if language == "zh" else 2 * chinese <= len(words)
