"""Stanford Alpaca with LLaMA-Factory's `system` and `history`: questions and answers by turns, no tools.

    {"instruction": "Translate into French.", "input": "Good morning", "output": "Bonjour"}

`history` holds earlier rounds, `[[question, answer], ...]`. Whoever trains on it trains all answers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dataforge.records import Chat, Message, Preference
from dataforge.shapes import Asked, Feature, Rounds, asked, rounds

SUFFIX = ".jsonl"
HOLDS = frozenset({"system", "input"})
_BESIDE: Mapping[str, Feature] = {"system": "string", "history": [["string"]]}
FEATURES: Mapping[str, Feature] = {"instruction": "string", "input": "string", "output": "string", **_BESIDE}
PAIRS: Mapping[str, Feature] = {
    "instruction": "string",
    "input": "string",
    "chosen": "string",
    "rejected": "string",
    **_BESIDE,
}


def columns(chat: Chat) -> dict[str, Any] | str:
    """One conversation in this shape, or why it does not fit."""
    found = rounds(chat.messages)
    if not isinstance(found, Rounds):
        return found
    *earlier, (question, answer) = found.rounds
    return {**_asked(question), "output": answer.text, **_before(found.system, earlier)}


def pair(preference: Preference) -> dict[str, Any] | str:
    """Preferences as LLaMA-Factory's Alpaca format has them, with `ranking: true` in its dataset_info.json.

    {"instruction": "Name a quiet place.", "input": "", "chosen": "A library.", "rejected": "A station."}

    `history` holds earlier rounds, `[[question, answer], ...]`. Its `columns` there are `prompt: instruction`,
    `query: input`, `chosen` and `rejected`; `history` and `system` only where a record has them, as LLaMA-Factory stops
    at a column that is not there.
    """
    found = asked(preference)
    if not isinstance(found, Asked):
        return found
    better, worse = found.answers
    sides = {"chosen": better.text, "rejected": worse.text}
    return {**_asked(found.question), **sides, **_before(found.system, found.history)}


def _asked(question: Message) -> dict[str, str]:
    return {"instruction": question.content or "", "input": question.input or ""}


def _before(system: str, earlier: Sequence[tuple[Message, Message]]) -> dict[str, Any]:
    return {
        **({"system": system} if system else {}),
        **({"history": [[asked.text, answered.text] for asked, answered in earlier]} if earlier else {}),
    }
