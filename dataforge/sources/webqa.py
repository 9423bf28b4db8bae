"""WebQA: questions that Chinese users asked, as prompt and answer, or as Baidu published them, with passages.

    {"input": "黄河流入哪个海？", "output": "渤海"}
    {"Q_1": {"question": "黄河流入哪个海？",
             "evidences": {"Q_1#00": {"answer": ["渤海"], "evidence": "黄河注入渤海。"}}}}

The first is a conversation, or with `task:` an example. In the second, each passage under a question is an example of
`extractive_qa`: its answer is that which occurs in the passage, and `no_answer` is an empty one, which the facts call
impossible. A file may be one object of all questions by their ids; a row may hold many of them, or be a single one. The
passages under a question stay on one side of the split.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from dataforge import fields
from dataforge.columns import RowError, errors_reject
from dataforge.records import Chat, Example, Message, Reject, Row, derived_id

RECORDS_AT = "*"
_NO_ANSWER = "no_answer"


class Settings(fields.Settings):
    """Where the prompt and the answer are, in the first form."""

    language: str = "zh"
    """Of the text, as in BCP 47."""
    prompt: str = "input"
    """The column with the prompt."""
    answer: str = "output"
    """The column with the answer."""
    task: Literal["closed_qa"] | None = None
    """Where the prompts are bare questions, `closed_qa` makes examples of them, which task templates word."""


@errors_reject
def convert(row: Row, settings: Settings) -> Chat | Example | list[Example | Reject]:
    """A conversation, or an example for each passage under each question."""
    if settings.prompt in row.columns:
        prompt, answer = fields.text(row.columns, settings.prompt), fields.text(row.columns, settings.answer)
        if settings.task:
            return Example(row.id, row.origin, settings.task, {"question": prompt, "answer": answer}, settings.language)
        messages = (Message("user", prompt), Message("assistant", answer))
        return Chat(row.id, row.origin, messages, facts={"language": settings.language})
    pieces = [piece for question in _questions(row.columns) for piece in _passages(question)]
    return [_example(row.piece(number, columns), settings) for number, columns in enumerate(pieces)]


def _questions(columns: fields.Columns) -> Sequence[fields.Columns]:
    if "evidences" in columns:
        return [columns]
    found = [value for value in columns.values() if isinstance(value, dict) and "evidences" in value]
    if not found or len(found) != len(columns):
        raise RowError("missing_column", f"there is neither a prompt nor `evidences`; there are {', '.join(columns)}")
    return found


def _passages(question: fields.Columns) -> Iterator[dict[str, Any]]:
    """Each passage under a question as a row of its own."""
    asked, evidences = fields.text(question, "question"), question["evidences"]
    listed = list(evidences.values()) if isinstance(evidences, dict) else evidences
    if not isinstance(listed, list) or not listed or not all(isinstance(item, dict) for item in listed):
        raise RowError("bad_list", f"{asked!r}: `evidences` must hold objects with `answer` and `evidence`")
    for item in listed:
        yield {"question": asked, "answer": item.get("answer"), "evidence": item.get("evidence")}


@errors_reject
def _example(row: Row, settings: Settings) -> Example:
    question, passage = row.columns["question"], fields.text(row.columns, "evidence")
    single = isinstance(row.columns["answer"], str)
    given = [fields.text(row.columns, "answer")] if single else fields.texts(row.columns, "answer")
    answers = [answer for answer in dict.fromkeys(given) if answer != _NO_ANSWER and answer in passage]
    impossible = all(answer == _NO_ANSWER for answer in given)
    if not answers and not impossible:
        raise RowError("not_in_context", f"none of the answers {given!r} occurs in the passage")
    values = {
        "context": passage,
        "question": question,
        "answer": answers[0] if answers else "",
        "answers": answers,
        "title": "",
    }
    family = derived_id(row.origin.source, question)
    facts = {"is_impossible": True} if impossible else {}
    return Example(row.id, row.origin, "extractive_qa", values, settings.language, family, facts)
