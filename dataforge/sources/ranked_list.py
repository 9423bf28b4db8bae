"""A prompt and a list of answers to it, the best first or each with its score.

    {"instruction": "Name a river.", "responses": ["The Rhine.", "Rhine"], "scores": [0.9, 0.4]}

The prompt is `prompt`, `instruction`, `question`, `query` or `user_input`, text or messages; the list is `responses`,
`answers`, `outputs`, `completions`, `candidates`, or `responses_and_scores` as in the comparisons of GPT-4-LLM. An
answer is text, or an object with `response`, `text`, `content` or `answer` and where present `score` and its writer,
`model` or `source`. Scores may also stand in a list of their own, `scores`, `rewards` or Magpie's `rewards_armorm`, as
numbers or objects with `score`. Where nothing has a score, the first answer is the best, the second the next. Other
names are said by `prompt:`, `replies:` and `scores:`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dataforge import config
from dataforge.columns import RowError, errors_reject, given_input, keys, number, optional_text
from dataforge.message_objects import messages
from dataforge.opinions import ranked
from dataforge.records import Message, Ranking, Reply, Row

_PROMPTS = ("prompt", "instruction", "question", "query", "user_input")
_REPLIES = ("responses", "answers", "outputs", "completions", "candidates", "responses_and_scores")
_SCORES = ("scores", "rewards", "rewards_armorm")
_TEXTS = ("response", "text", "content", "answer")


class Settings(config.Settings):
    """The names of the columns, where they are not among the usual ones."""

    prompt: str | None = None
    """The column of the prompt."""
    replies: str | None = None
    """The column of the list of answers."""
    scores: str | None = None
    """The column of the list of their scores; a record without it is then rejected."""


@errors_reject
def convert(row: Row, settings: Settings) -> Ranking:
    """One record as a ranking."""
    columns = row.columns
    key = _column(columns, settings.prompt, _PROMPTS, "prompt")
    asked = columns[key]
    if isinstance(asked, list):
        prompt = messages(asked, key)
    else:
        extra = given_input(columns) if key == "instruction" else None
        prompt = (Message("user", optional_text(columns, key), input=extra),)
    listed = columns[_column(columns, settings.replies, _REPLIES, "replies")]
    if not isinstance(listed, list):
        raise RowError("bad_replies", f"the answers must be a list, not {type(listed).__name__}")
    replies = [_answer(found, at) for at, found in enumerate(listed, start=1)]
    scores = _scores(columns, settings, [reply.score for reply in replies])
    if all(score is None for score in scores):
        return ranked(row, prompt, [replace(reply, rank=at) for at, reply in enumerate(replies)])
    return ranked(row, prompt, [replace(reply, score=score) for reply, score in zip(replies, scores, strict=True)])


def _column(columns: Mapping[str, Any], named: str | None, usual: Sequence[str], setting: str) -> str:
    wanted = (named,) if named else usual
    found = [key for key in wanted if columns.get(key) is not None]
    if not found:
        detail = f"there is none of the keys {', '.join(map(repr, wanted))}; there are {keys(columns)}"
        raise RowError(f"missing_{setting}", f"{detail}; name it by `{setting}:`")
    if len(found) > 1:
        raise RowError(f"ambiguous_{setting}", f"there are {' and '.join(map(repr, found))}; name one by `{setting}:`")
    return found[0]


def _answer(found: Any, number_: int) -> Reply:
    """An answer with the score and the writer that stand beside it."""
    if isinstance(found, str):
        return Reply(Message("assistant", found))
    if not isinstance(found, dict):
        raise RowError("bad_reply", f"answer {number_} must be text or an object, not {type(found).__name__}")
    names = [name for name in _TEXTS if isinstance(found.get(name), str)]
    if len(names) != 1:
        raise RowError("bad_reply", f"answer {number_} must hold exactly one of {', '.join(map(repr, _TEXTS))}")
    writer = next((found[key] for key in ("model", "source") if isinstance(found.get(key), str)), None)
    facts = {} if writer is None else {"model": writer}
    return Reply(Message("assistant", found[names[0]]), score=number(found.get("score"), "score"), facts=facts)


def _scores(columns: Mapping[str, Any], settings: Settings, own: Sequence[float | None]) -> list[float | None]:
    names = [name for name in ((settings.scores,) if settings.scores else _SCORES) if columns.get(name) is not None]
    if not names:
        if settings.scores:
            raise RowError("missing_scores", f"the key {settings.scores!r} is missing; there are {keys(columns)}")
        return list(own)
    if len(names) > 1 or any(score is not None for score in own):
        raise RowError("ambiguous_scores", "the answers have scores in more than one place; name one by `scores:`")
    listed = columns[names[0]]
    if not isinstance(listed, list) or len(listed) != len(own):
        raise RowError("bad_scores", f"{names[0]!r} must be a list with one score for each of the {len(own)} answers")
    return [number(found.get("score") if isinstance(found, dict) else found, "score") for found in listed]
