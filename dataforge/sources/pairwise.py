r"""Verdicts on two answers to one prompt: FastChat's judgements, votes of MT-bench and Chatbot Arena, AlpacaEval.

    {"question_id": 1, "model_a": "m1", "model_b": "m2", "winner": "model_a", "turn": 1, "conversation_a": [...], ...}

    {"question_id": 1, "model_1": "m1", "model_2": "m2", "g1_winner": "model_1", "g2_winner": "model_1",
     "judge": ["gpt-4", "pair-v2"], "g1_user_prompt": "...", "g2_user_prompt": "...", "turn": 1, ...}

    {"instruction": "Name a river.", "output_1": "The Rhine.", "output_2": "Rhine", "preference": 1.0, ...}

Votes hold the two conversations as messages; they are cut behind the answer of the `turn` that was judged, and parted
where they begin to differ, so that a vote on a second turn prefers all that follows the first question.

FastChat's judgements are made twice with the answers changed about, and `g1_winner` and `g2_winner` name the model that
won. The answers are read out of what the judge was shown, `g1_user_prompt`, in which A is `model_1`; `g2_user_prompt`
must show the same the other way round. Only a verdict that both orders agree on counts.

Annotations of AlpacaEval and AlpacaFarm are made once: `preference` is 1 or 2, or where it is weighed something between
them, whose distance from the middle, doubled, is the margin; 0 and 1.5 are ties.

Ties and verdicts that change with the order (`inconsistent`) prefer nothing and are rejected, as are games without a
verdict. All pairs on one question stay on one side of the split.
"""

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from dataforge import config
from dataforge.columns import RowError, errors_reject, given_input, number, optional_text, text
from dataforge.message_objects import messages
from dataforge.opinions import Messages, parted, preference
from dataforge.records import Message, Preference, Row

FILTERS = ("tie", "inconsistent", "no_verdict")
_ONE_TURN = re.compile(
    r"\[User Question\]\n(?P<question>.*?)\n\n"
    r"(?:\[The Start of Reference Answer\]\n.*?\n\[The End of Reference Answer\]\n\n)?"
    r"\[The Start of Assistant A's Answer\]\n(?P<a>.*)\n\[The End of Assistant A's Answer\]\n\n"
    r"\[The Start of Assistant B's Answer\]\n(?P<b>.*)\n\[The End of Assistant B's Answer\]\s*\Z",
    re.DOTALL,
)
_TURNS = re.compile(
    r"<\|The Start of Assistant A's Conversation with User\|>\n\n(?P<a>.*)\n\n"
    r"<\|The End of Assistant A's Conversation with User\|>\n\n\n"
    r"<\|The Start of Assistant B's Conversation with User\|>\n\n(?P<b>.*)\n\n"
    r"<\|The End of Assistant B's Conversation with User\|>\s*\Z",
    re.DOTALL,
)
_MARKS = re.compile(
    r"^(?:\[User Question\]|\[The (?:Start|End) of Assistant [AB]'s Answer\]"
    r"|<\|The (?:Start|End) of Assistant [AB]'s Conversation with User\|>)$",
    re.MULTILINE,
)
_SPEAKER = re.compile(r"(?:^|\n\n)### (User|Assistant [AB]):\n")


class Settings(config.Settings):
    """This shape has nothing to set."""


@errors_reject
def convert(row: Row, settings: Settings) -> Preference:
    """One record as a preference."""
    columns = row.columns
    if "output_1" in columns:
        return _annotated(row)
    judged_twice = "g1_winner" in columns or "g2_winner" in columns
    sides = ("model_1", "model_2") if judged_twice else ("model_a", "model_b")
    better, worse = _order(columns, sides, ("g1_winner", "g2_winner") if judged_twice else ("winner",))
    said = dict(zip(sides, _shown(columns) if judged_twice else _voted(columns), strict=True))
    prompt, chosen, rejected = parted(said[better], said[worse])
    question = columns.get("question_id")
    facts = {
        **{key: columns[key] for key in ("turn", "language", "question_id") if columns.get(key) is not None},
        **{f"model_{side}": text(columns, name) for side, name in (("chosen", better), ("rejected", worse))},
        **_judge(columns.get("judge")),
    }
    family = f"question {question}" if question is not None else ""
    return preference(row, prompt, chosen, rejected, family=family, facts=facts)


def _annotated(row: Row) -> Preference:
    """An annotation of AlpacaEval."""
    columns = row.columns
    preferred = number(columns.get("preference"), "preference")
    if preferred is None:
        raise RowError("no_verdict", "'preference' is empty: the annotator gave no verdict")
    if preferred in (0, 1.5):
        raise RowError("tie", f"neither answer is preferred: 'preference' is {preferred:g}")
    if not 1 <= preferred <= 2:
        raise RowError("bad_preference", f"'preference' must be 0, or 1 to 2, not {preferred:g}")
    better, worse = ("1", "2") if preferred < 1.5 else ("2", "1")
    prompt = (Message("user", text(columns, "instruction"), input=given_input(columns)),)
    chosen, rejected = ((Message("assistant", text(columns, f"output_{side}")),) for side in (better, worse))
    known = {
        "model_chosen": optional_text(columns, f"generator_{better}"),
        "model_rejected": optional_text(columns, f"generator_{worse}"),
        "judge": optional_text(columns, "annotator"),
    }
    facts = {key: value for key, value in known.items() if value is not None}
    return preference(row, prompt, chosen, rejected, margin=abs(2 * preferred - 3), facts=facts)


def _order(columns: Mapping[str, Any], sides: tuple[str, str], games: tuple[str, ...]) -> tuple[str, str]:
    """The column of the model that won every game, and of the other; raises `RowError` where there is none."""
    verdicts = [text(columns, game) for game in games]
    named = " and ".join(f"{game} is {verdict!r}" for game, verdict in zip(games, verdicts, strict=True))
    if "error" in verdicts:
        raise RowError("no_verdict", f"the judge gave no verdict: {named}")
    if len(set(verdicts)) > 1 or "tie (inconsistent)" in verdicts:
        raise RowError("inconsistent", f"the verdict changes with the order of the answers: {named}")
    if verdicts[0] in ("tie", "tie (bothbad)"):
        raise RowError("tie", f"neither answer is preferred: {named}")
    if verdicts[0] not in sides:
        raise RowError("bad_winner", f"{named}; known: {', '.join(sides)}, tie")
    return (sides[0], sides[1]) if verdicts[0] == sides[0] else (sides[1], sides[0])


def _voted(columns: Mapping[str, Any]) -> list[Messages]:
    """The two conversations of a vote, up to the answer that was judged."""
    turn = columns.get("turn")
    if turn is not None and (isinstance(turn, bool) or not isinstance(turn, int) or turn < 1):
        raise RowError("bad_turn", f"'turn' must be 1, 2 ..., not {turn!r}")
    return [_through(messages(columns.get(key), key), turn, key) for key in ("conversation_a", "conversation_b")]


def _through(said: Messages, turn: int | None, key: str) -> Messages:
    answers = [number for number, message in enumerate(said, start=1) if message.role == "assistant"]
    if turn is None:
        return said
    if turn > len(answers):
        raise RowError("bad_turn", f"turn {turn} was judged, and {key!r} has {len(answers)} answers")
    return said[: answers[turn - 1]]


def _shown(columns: Mapping[str, Any]) -> list[Messages]:
    """The two conversations that a judge was shown, that of `model_1` first."""
    first = _conversations(text(columns, "g1_user_prompt"), "g1_user_prompt")
    other = _conversations(text(columns, "g2_user_prompt"), "g2_user_prompt")
    if first != other[::-1]:
        raise RowError("orders_differ", "'g1_user_prompt' and 'g2_user_prompt' do not show the same answers")
    return first


def _conversations(shown: str, key: str) -> list[Messages]:
    marks = _MARKS.findall(shown)
    if len(marks) != len(set(marks)):
        _ambiguous(key)
    one = _ONE_TURN.search(shown)
    if one is not None:
        return [(Message("user", one["question"]), Message("assistant", one[side])) for side in ("a", "b")]
    several = _TURNS.search(shown)
    if several is None:
        detail = f"{key!r} does not show two answers as the judge prompts `pair-v2` do: {shown[:60]!r}"
        raise RowError("unknown_prompt", detail)
    return [_turns(several[side], f"Assistant {side.upper()}", key) for side in ("a", "b")]


def _turns(shown: str, assistant: str, key: str) -> Messages:
    """The messages of a conversation that is written as text: two questions and two answers."""
    before, *rest = _SPEAKER.split(shown)
    if before or rest[::2] != ["User", assistant] * 2:
        _ambiguous(key)
    said = rest[1::2]
    return tuple(Message("assistant" if number % 2 else "user", each) for number, each in enumerate(said))


def _ambiguous(key: str) -> NoReturn:
    raise RowError("ambiguous_answers", f"{key!r} holds a mark that parts answers more than once")


def _judge(judge: Any) -> dict[str, str]:
    """The judge's name, in FastChat's rows a list of the model and the name of its prompt; nothing otherwise."""
    named = judge if isinstance(judge, list) else [judge]
    return {"judge": " ".join(named)} if all(isinstance(name, str) for name in named) else {}
