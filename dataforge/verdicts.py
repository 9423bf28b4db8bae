"""What a judge said, read strictly: as JSON where it is, else by the forms that models fall back to."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from dataforge.llm.requests import Reply

Verdict = Literal["first", "second", "tie"]
_CHOICES: Mapping[str, Verdict] = {"A": "first", "B": "second", "TIE": "tie", "C": "tie"}

PAIRWISE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "verdict": {"type": "string", "enum": ["A", "B", "tie"]}},
    "required": ["reason", "verdict"],
    "additionalProperties": False,
}
SCORE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "score": {"type": "integer", "enum": [1, 2, 3, 4, 5]}},
    "required": ["reason", "score"],
    "additionalProperties": False,
}
_VERDICT = re.compile(
    r"""\[\[\s*(A|B|C|tie)\s*\]\]|["'“”]verdict["'“”]\s*[:：]\s*["'“”](A|B|tie)["'“”]""", re.IGNORECASE
)
_SCORE = re.compile(r"""\[\[\s*([1-5])\s*\]\]|["'“”]score["'“”]\s*[:：]\s*["'“”]?([1-5])(?![\d.])""", re.IGNORECASE)


def verdict(reply: Reply) -> Verdict | None:
    """Which of two answers is better; None where the reply does not say it, or says several things."""
    if isinstance(reply.data, dict):
        said = reply.data.get("verdict")
        return _CHOICES.get(said.strip().upper()) if isinstance(said, str) else None
    found = {_CHOICES[said.upper()] for said in _all(_VERDICT, reply.text)}
    return found.pop() if len(found) == 1 else None


def score(reply: Reply) -> int | None:
    """A number from 1 to 5; None where the reply does not say it, or says several."""
    if isinstance(reply.data, dict):
        said = reply.data.get("score")
        return said if type(said) is int and 1 <= said <= 5 else None
    found = {int(said) for said in _all(_SCORE, reply.text)}
    return found.pop() if len(found) == 1 else None


def _all(pattern: re.Pattern[str], text: str) -> list[str]:
    return [match[1] or match[2] for match in pattern.finditer(text)]
