"""MT-bench's questions: prompts of one or more turns without an answer.

    {"question_id": 1, "category": "writing", "turns": ["Describe a lake.", "Shorter."], "reference": ["...", "..."]}

The prompt is the first turn; the others, which ask about an answer that is not there yet, and the reference answers
stay among the facts, the category as its task. It is a test set: what was trained on it cannot be measured by it.
"""

from dataforge import config
from dataforge.columns import RowError, errors_reject, keys, optional_text
from dataforge.records import Message, Prompt, Row


class Settings(config.Settings):
    """This shape has nothing to set."""


@errors_reject
def convert(row: Row, settings: Settings) -> Prompt:
    """One record as a prompt."""
    columns = row.columns
    turns = columns.get("turns")
    if not isinstance(turns, list) or not all(isinstance(turn, str) for turn in turns):
        raise RowError("bad_turns", f"'turns' must be a list of texts; there are {keys(columns)}")
    if not turns or not turns[0].strip():
        raise RowError("empty_question", "the first turn is empty")
    category, question = optional_text(columns, "category"), columns.get("question_id")
    facts = {
        "task": category,
        "question_id": question,
        "further_turns": turns[1:],
        "reference": columns.get("reference"),
    }
    return Prompt(
        row.id,
        row.origin,
        (Message("user", turns[0]),),
        family=f"question {question}" if question is not None else "",
        facts={key: value for key, value in facts.items() if value not in (None, [], "")},
    )
