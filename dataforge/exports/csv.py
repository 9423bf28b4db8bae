"""A table for spreadsheets: `question`, `answer`, `system`, and the earlier rounds as JSON in `history`.

    question,answer,system,history
    "And of Peru?","Lima.","","[[""What is the capital of Chile?"",""Santiago.""]]"

UTF-8 with the mark that makes spreadsheet programs read it as such. pandas takes an empty cell, and the texts `nan`
and `NA`, for a missing value unless it is told `keep_default_na=False`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from dataforge.records import Chat, Message, Preference, Prompt
from dataforge.shapes import Asked, Feature, Rounds, asked, rounds

SUFFIX = ".csv"
HOLDS = frozenset({"system", "margin"})
FEATURES: Mapping[str, Feature] = dict.fromkeys(("question", "answer", "system", "history"), "string")
PAIRS: Mapping[str, Feature] = {
    **dict.fromkeys(("question", "chosen", "rejected", "system", "history"), "string"),
    "margin": "float64",
}
PROMPTS: Mapping[str, Feature] = dict.fromkeys(("question", "system", "history"), "string")


def columns(chat: Chat) -> dict[str, Any] | str:
    """One conversation in this shape, or why it does not fit."""
    found = rounds(chat.messages)
    if not isinstance(found, Rounds):
        return found
    *earlier, (question, answer) = found.rounds
    return {"question": question.text, "answer": answer.text, **_before(found.system, earlier)}


def pair(preference: Preference) -> dict[str, Any] | str:
    """A table for spreadsheets: `question`, `chosen`, `rejected`, `system`, `history` and `margin`.

    question,chosen,rejected,system,history,margin
    "And of Peru?","Lima.","Quito.","","[[""What is the capital of Chile?"",""Santiago.""]]","1.5"

    UTF-8 with the mark that makes spreadsheet programs read it as such. `history` is JSON of earlier rounds, and an
    empty `margin` is one that nobody knows. pandas takes the texts `nan` and `NA` for a missing value unless it is told
    `keep_default_na=False`.
    """
    found = asked(preference)
    if not isinstance(found, Asked):
        return found
    better, worse = found.answers
    sides = {"question": found.question.text, "chosen": better.text, "rejected": worse.text}
    return {**sides, **_before(found.system, found.history), "margin": preference.margin}


def prompt(prompt: Prompt) -> dict[str, Any] | str:
    """A table for spreadsheets: `question`, `system`, and the earlier rounds as JSON in `history`.

    question,system,history
    "And of Peru?","","[[""What is the capital of Chile?"",""Santiago.""]]"

    UTF-8 with the mark that makes spreadsheet programs read it as such.
    """
    found = asked(prompt)
    if not isinstance(found, Asked):
        return found
    return {"question": found.question.text, **_before(found.system, found.history)}


def _before(system: str, earlier: Sequence[tuple[Message, Message]]) -> dict[str, str]:
    history = [[asked.text, answered.text] for asked, answered in earlier]
    return {"system": system, "history": orjson.dumps(history).decode() if history else ""}
