"""The judge of the mask matrix: says from transformers' own rendering and encoding whether training rows are right.

It knows nothing of the packages that made them. Let P be `apply_chat_template` of the messages before an answer, with
the generation prompt: what a server feeds the model. Then

- every trained run of a row belongs to one answer: the row begins with P's ids, and the run begins right after them;
- the run ends in what the template ends an answer with, one token of the added vocabulary, and has no other;
- it says what the template writes of the answer, with all its text, its reasoning and the names of its tool calls;
- the row is the whole conversation, or the conversation up to the answer and its stop, or P and what comes after;
- every answer whose weight is not 0 is trained in exactly one row, and nothing else is trained.
"""

import json
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mask_template import Message, Served, Stop

Ids = list[int]
Wrong = tuple[str, str]
"""What kind of fault, and where it shows."""

_THOUGHTS = (("<think>", "</think>"), ("<|channel>thought", "<channel|>"))


@dataclass(frozen=True)
class Case:
    """A conversation and the rows that became of it."""

    messages: list[Message]
    tools: list[Any]
    kwargs: dict[str, Any]
    sanitize: bool
    """Whether control tokens that somebody typed are ordinary text."""
    write_empty: bool
    """Whether an answer without a thought writes an empty one where the prompt has opened it."""
    rows: list[tuple[Ids, Ids]]

    @property
    def answers(self) -> list[int]:
        """The numbers of the assistant's messages."""
        return [at for at, message in enumerate(self.messages) if message["role"] == "assistant"]

    @property
    def trained(self) -> list[int]:
        """Those that are to be trained."""
        return [at for at in self.answers if self.messages[at].get("weight") != 0]

    def without_weights(self) -> "Case":
        """The same with every answer to be trained."""
        return replace(self, messages=[{k: v for k, v in m.items() if k != "weight"} for m in self.messages])


@dataclass(frozen=True)
class Turn:
    """An answer as a server sees it."""

    prompt: Ids
    prompt_text: str
    through: str
    """The conversation up to and with it, cut after its stop."""
    stop: Stop


class Judge:
    """Judges the rows of one tokenizer and chat template."""

    def __init__(self, served: Served) -> None:
        self.served = served

    def _ids(self, case: Case, messages: Sequence[Message], prompt: bool = False) -> Ids:
        if case.sanitize:
            return self.served.sanitized(messages, case.tools, case.kwargs, prompt)
        return self.served.encode(self.served.text(messages, case.tools, case.kwargs, prompt))

    def _turn(self, case: Case, at: int) -> Turn:
        before = case.messages[:at]
        stop = self.served.stops(case.kwargs)[bool(case.messages[at].get("tool_calls"))]
        shown = self.served.text(case.messages[: at + 1], case.tools, case.kwargs)
        through = shown + stop.late if stop.late else shown[: shown.rfind(stop.text) + len(stop.text)]
        prompt_text = self.served.text(before, case.tools, case.kwargs, True)
        return Turn(self._ids(case, before, True), prompt_text, through, stop)

    def refusal(self, case: Case) -> str:
        """What the template says where it refuses a conversation, or the prompt of an answer."""
        try:
            self._ids(case, case.messages)
            for at in case.answers:
                self._turn(case, at)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def check(self, case: Case, *, any_row: bool = False) -> tuple[list[Wrong], list[str]]:
        """What is wrong with a conversation's rows, and the form in which each answer is trained.

        `any_row` takes rows whose ids after an answer are not those of the template.
        """
        try:
            turns = {at: self._turn(case, at) for at in case.answers}
            whole = self._ids(case, case.messages)
        except Exception as error:
            return [("template", f"{type(error).__name__}: {error}")], []
        last = turns.get(len(case.messages) - 1)
        wholes = [whole, [*whole, *self.served.encode(last.stop.late)]] if last and last.stop.late else [whole]
        wrong: list[Wrong] = []
        forms: dict[int, str] = {}
        for ids, mask in case.rows:
            for at, form, faults in self._row(case, turns, ids, mask):
                wrong += faults
                if at in forms:
                    wrong.append(("twice", f"answer {at} is trained in two runs"))
                if at is None:
                    continue
                if ids in wholes:
                    form = f"whole, {form}" if form == "third" else "whole"
                elif not any_row:
                    wrong += self._own_row(case, turns[at], wholes[-1], ids, mask)
                forms[at] = form
        if not any(kind in ("header", "boundary", "history", "late") for kind, _ in wrong):
            wrong += [("untrained", f"answer {at} is not trained") for at in case.trained if at not in forms]
        wrong += [("weight 0", f"answer {at} is trained") for at in forms if at not in case.trained]
        return wrong, list(forms.values())

    def _own_row(self, case: Case, turn: Turn, whole: Ids, ids: Ids, mask: Ids) -> Iterator[Wrong]:
        """A row that is not the whole conversation carries one answer, which is its end and needs it."""
        if len(list(_spans(mask))) > 1 or not mask[-1]:
            yield "row", "not the whole conversation, and goes on after an answer"
        through = self.served.encode(turn.through)
        if not case.sanitize and _begins(whole, turn.prompt) and _begins(whole, through):
            yield "row", "an answer has a row of its own, where that of the whole conversation would do"

    def _row(
        self, case: Case, turns: dict[int, Turn], ids: Ids, mask: Ids
    ) -> Iterator[tuple[int | None, str, list[Wrong]]]:
        if len(ids) != len(mask) or not set(mask) <= {0, 1}:
            yield None, "", [("mask", "not one bit a token")]
            return
        # Where a template writes nothing between two answers, their runs touch.
        ends = {len(turn.prompt) for turn in turns.values() if _begins(ids, turn.prompt)}
        spans = [span for run in _spans(mask) for span in _cut(run, ends)]
        if not spans:
            yield None, "", [("untrained", "nothing is trained")]
        for start, end in spans:
            owners = [at for at, turn in turns.items() if len(turn.prompt) == start and _begins(ids, turn.prompt)]
            if len(owners) != 1:
                yield None, "", [(self._misplaced(turns, ids, start, end), self._near(ids, start))]
                continue
            (at,) = owners
            form = "prefix" if turns[at].through.startswith(turns[at].prompt_text) else "third"
            stop = self._check_stop(case, ids, start, end, turns[at])
            yield at, form, [*stop, *(() if stop else self._check_text(case, at, turns[at], ids[:end], start))]

    def _misplaced(self, turns: dict[int, Turn], ids: Ids, start: int, end: int) -> str:
        """Why no prompt ends where a run begins."""
        for turn in turns.values():
            length = len(turn.prompt)
            if _begins(ids, turn.prompt):
                if start < length <= end:
                    return "header"
                if length < start < length + 8:
                    return "late"
        said = self.served.decode(ids[:start])
        return "boundary" if said in [self.served.decode(turn.prompt) for turn in turns.values()] else "history"

    def _check_stop(self, case: Case, ids: Ids, start: int, end: int, turn: Turn) -> list[Wrong]:
        stops, run = {stop.token for stop in self.served.stops(case.kwargs).values()}, ids[start:end]
        if turn.stop.token not in run:
            return [("no stop", f"not {turn.stop.text!r}: {self._near(ids, end)}")]
        if run[-1] != turn.stop.token:
            return [("after the stop", f"not at {turn.stop.text!r}: {self._near(ids, end)}")]
        if sum(number in stops for number in run) != 1:
            return [("several stops", self._near(ids, end))]
        return []

    def _check_text(self, case: Case, at: int, turn: Turn, ids: Ids, start: int) -> Iterator[Wrong]:
        said, begun = self.served.decode(ids), self.served.decode(ids[:start])
        written = said[len(begun) :] if said.startswith(begun) else said
        expected, marker = self._continuation(case, at, turn)
        if expected is None:
            yield "thought", f"the prompt opens one, and the answer has none: {written[:90]!r}"
            return
        full = self.served.encode(turn.prompt_text + expected)
        if ids != full and not _same(said, self.served.decode(full), marker, bare=case.sanitize):
            yield "text", f"a run says {written[:90]!r}, the template {expected[:90]!r}"
        bare = _bare(written)
        for text in _said(case.messages[at]):
            # Some vocabularies do not give back every character.
            if _bare(text) not in bare and _bare(self.served.decode(self.served.encode(text))) not in bare:
                yield "left out", f"{text[:60]!r}: {written[:90]!r}"
        for other in case.messages:
            text = _bare(other.get("content") or "")
            markers = re.sub("|".join(re.escape(token.content) for token in self.served.added.values()), "", text)
            if other["role"] != "assistant" and len(markers) > 12 and text in bare:
                yield "input", f"what the {other['role']} said: {written[:90]!r}"

    def _continuation(self, case: Case, at: int, turn: Turn) -> tuple[str | None, str]:
        """What the model writes after its prompt, and the marker around which blanks do not count."""
        if turn.through.startswith(turn.prompt_text):
            return turn.through[len(turn.prompt_text) :], ""
        common = re.sub(r"<[^<>\s]*$", "", os.path.commonprefix([turn.prompt_text, turn.through]))  # noqa: RUF071
        shown, tail = turn.through[len(common) :], turn.prompt_text[-60:]
        for opening, closing in _THOUGHTS:
            if tail.rfind(opening) <= tail.rfind(closing):
                continue
            thought = _thought_of(case.messages[at], closing)
            answer = shown.partition(closing)[2] if closing in shown else shown
            if not thought and closing not in shown and not case.write_empty:
                return None, closing
            return f"{thought}{closing}{answer}", closing
        return shown, ""

    def _near(self, ids: Ids, at: int) -> str:
        return f"{self.served.decode(ids[max(0, at - 6) : at])!r} | {self.served.decode(ids[at : at + 6])!r}"

    def against(self, case: Case) -> str:
        """What speaks against training on a conversation that was refused; empty where nothing does."""
        try:
            whole = self.served.text(case.messages, case.tools, case.kwargs)
            turns = {at: self._turn(case, at) for at in case.answers}
        except Exception as error:
            return f"the template refuses: {error}"
        for tool in case.tools:
            if tool["function"]["name"] not in whole:
                return f"the template leaves out the tool {tool['function']['name']}"
        for at, message in enumerate(case.messages):
            rest = whole
            if at in turns:
                expected, _ = self._continuation(case, at, turns[at])
                if expected is None:
                    return "the prompt opens a thought, and the answer has none"
                follows = turns[at].through.startswith(turns[at].prompt_text)
                rest = expected if follows else turns[at].through
            for text in _said(message):
                if _bare(text) not in _bare(rest) and _bare(json.dumps(text, ensure_ascii=False)[1:-1]) not in _bare(
                    rest
                ):
                    return f"the template leaves out what the {message['role']} says"
        if any(not turn.through.startswith(turn.prompt_text) for turn in turns.values()):
            return "a served prompt is not the beginning of what the template shows of the answer"
        return ""


def _said(message: Message) -> Iterator[str]:
    """What a message says, in parts that a template writes in one piece."""
    yield from re.split("</?think>", message.get("content") or "")
    yield message.get("reasoning_content") or ""
    for call in message.get("tool_calls") or ():
        yield call["function"]["name"]


def _thought_of(message: Message, closing: str) -> str:
    content, thought = message.get("content") or "", message.get("reasoning_content") or ""
    if not thought and closing in content:
        thought = content.partition(closing)[0].replace("<think>", "").strip()
    return str(thought)


def _spans(mask: Sequence[int]) -> Iterator[tuple[int, int]]:
    for found in re.finditer(b"\x01+", bytes(mask)):
        yield found.span()


def _cut(run: tuple[int, int], places: set[int]) -> Iterator[tuple[int, int]]:
    inside = sorted(place for place in places if run[0] < place < run[1])
    yield from zip([run[0], *inside], [*inside, run[1]], strict=True)


def _begins(ids: Ids, prefix: Ids) -> bool:
    return ids[: len(prefix)] == prefix


def _bare(text: str) -> str:
    return re.sub(r"\s+", "", unicodedata.normalize("NFC", text))


def _same(one: str, other: str, marker: str, *, bare: bool) -> bool:
    """Whether two texts are the same but for the blanks around a marker, or but for all blanks."""
    if bare:
        one, other = (re.sub("[ \n]", "", text) for text in (one, other))
    elif marker:
        one, other = (re.sub(rf"[ \n]*{re.escape(marker)}[ \n]*", marker, text) for text in (one, other))
    return one == other
