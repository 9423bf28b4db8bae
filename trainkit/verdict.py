"""Whether a tuned model knows its new name and still knows what its base model knew."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from dataforge.config import Settings, load
from trainkit.sampling import Messages

Text = Annotated[str, Field(min_length=1)]
Ask = Callable[[Sequence[Messages]], list[str]]

CJK = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
"""Scripts that write words without blanks between them."""


class General(Settings):
    """A question whose answer a program can check."""

    ask: Text
    accept: Annotated[list[Text], Field(min_length=1)]
    """An answer passes that holds one of these as a whole word or phrase, in any case."""


class Questions(Settings):
    """A file of verdict questions."""

    identity: Annotated[list[Text], Field(min_length=1)]
    """Questions that the new name answers."""
    other_system: Text
    """The system message under which they are asked a second time."""
    names: Annotated[list[Text], Field(min_length=1)]
    """What an answer must name, one of them: the new name, the author."""
    general: list[General] = Field(default_factory=list)


@dataclass(frozen=True)
class Answers:
    """What one model said."""

    identity: list[str]
    """With the template's default system message."""
    identity_other: list[str]
    """With the other system message."""
    general: list[str]


@dataclass(frozen=True)
class Row:
    """One line of the verdict: how many answers are as they should be."""

    what: str
    base: int
    tuned: int
    needed: int
    of: int

    @property
    def holds(self) -> bool:
        """Whether the tuned model does well enough."""
        return self.tuned >= self.needed


@dataclass(frozen=True)
class Failure:
    """An answer of the tuned model that is not as it should be."""

    what: str
    question: str
    answer: str


@dataclass(frozen=True)
class Verdict:
    """The table, and what went wrong."""

    rows: list[Row]
    failures: list[Failure]

    @property
    def holds(self) -> bool:
        """Whether every line holds."""
        return all(row.holds for row in self.rows)


def read_questions(path: Path) -> Questions:
    """Read a file of verdict questions.

    Raises `ConfigError` with file, line and key for the first fault.
    """
    return load(path).read(Questions)


def ask(questions: Questions, model: Ask) -> Answers:
    """Put all questions to a model, each in a conversation of its own."""
    plain = [[{"role": "user", "content": text}] for text in questions.identity]
    system = {"role": "system", "content": questions.other_system}
    general = [[{"role": "user", "content": question.ask}] for question in questions.general]
    said = model([*plain, *([system, *messages] for messages in plain), *general])
    count = len(plain)
    return Answers(said[:count], said[count : 2 * count], said[2 * count :])


def judge(questions: Questions, names: Sequence[str], base: Answers, tuned: Answers) -> Verdict:
    """Compare the answers of both models.

    At least 7 of 8 identity answers must hold a name, under either system message; the general answers may lose one
    against the base's, and none of them may hold a name.
    """
    identity, general = questions.identity, [question.ask for question in questions.general]
    named = [_naming(names, said) for said in (base.identity, tuned.identity)]
    named_other = [_naming(names, said) for said in (base.identity_other, tuned.identity_other)]
    right = [_right(questions, said) for said in (base.general, tuned.general)]
    clean = [[not found for found in _naming(names, said)] for said in (base.general, tuned.general)]
    enough = -(-len(identity) * 7 // 8)
    judged = [
        ("names itself", identity, named, tuned.identity, enough),
        ("names itself, other system message", identity, named_other, tuned.identity_other, enough),
        ("general questions", general, right, tuned.general, max(0, sum(right[0]) - 1)),
        ("general answers without the name", general, clean, tuned.general, len(general)),
    ]
    rows = [Row(what, sum(good[0]), sum(good[1]), needed, len(texts)) for what, texts, good, _, needed in judged]
    failures = [
        Failure(what, text, answer)
        for what, texts, good, said, _ in judged
        for text, fine, answer in zip(texts, good[1], said, strict=True)
        if not fine
    ]
    return Verdict(rows, failures)


def _right(questions: Questions, said: Sequence[str]) -> list[bool]:
    pairs = zip(questions.general, said, strict=True)
    return [any(holds_phrase(text, phrase) for phrase in question.accept) for question, text in pairs]


def _naming(names: Sequence[str], said: Sequence[str]) -> list[bool]:
    return [any(holds_phrase(text, name) for name in names) for text in said]


def holds_phrase(text: str, phrase: str) -> bool:
    """Whether a text holds a phrase as whole words, in any case; among CJK characters no blank is needed."""
    text, phrase = (unicodedata.normalize("NFKC", part).casefold() for part in (text, phrase))
    letter = rf"[^\W{CJK}]"
    before = rf"(?<!{letter})" if re.match(letter, phrase) else ""
    after = rf"(?!{letter})" if re.search(rf"{letter}\Z", phrase) else ""
    return re.search(before + re.escape(phrase) + after, text) is not None
