"""What of a rendered conversation an answer is: where it ends, and what the model writes after the served prompt.

Nothing of what a record says may be lost on the way: a template that leaves out an answer's reasoning or a tool call
has the record refused.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from dataforge import control
from dataforge.records import Message
from dataforge.traits import Thought, Traits

UNPROVEN = frozenset({"mask_not_provable", "thought_open", "thought_closed", "stop_in_answer", "no_stop"})
"""The reasons of records whose mask cannot be proven; others say what a template does not know, or does not write."""


class RefusedError(Exception):
    """The reason and the detail of a reject."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Reads answers off what a template with known traits has rendered.

    `marked` gives a text as the template saw it, `without_typed` a rendered one without the control tokens that
    somebody typed. With `write_empty` the model closes an empty thought where the prompt has opened one.
    """

    traits: Traits
    marked: Callable[[str], str]
    without_typed: Callable[[str], str]
    write_empty: bool

    def late_stop(self, message: Message) -> str | None:
        """What ends an answer, if only the next message writes it."""
        return self.traits.late_call_stop if message.tool_calls else self.traits.late_stop

    def through(self, number: int, message: Message, upto: str) -> str:
        """The text up to and with an answer, cut after its stop.

        Raises `RefusedError` where nothing ends it.
        """
        if not self.traits.stops:
            late = self.late_stop(message)
            if late is None:
                raise RefusedError("no_stop", f"{_place(number)}: the chat template ends it with nothing")
            return upto + late
        return upto[: max((upto.rfind(stop) + len(stop) for stop in self.traits.stops if stop in upto), default=0)]

    def rest(self, number: int, message: Message, prompt: str, through: str) -> str:
        """What the model writes after its prompt, with all that the message says.

        Raises `RefusedError` where the prompt is not what the conversation shows, or where something is left out.
        """
        rest = through[len(prompt) :] if through.startswith(prompt) else self._apart(number, message, prompt, through)
        content, end = message.text, self.traits.thought_end
        self.check_written(number, message, content.rpartition(end)[2] if end and end in content else content, rest)
        for call in message.tool_calls:
            if call.name not in rest:
                detail = f"the chat template leaves out the call of {call.name!r} in message {number + 1}"
                raise RefusedError("template_drops", detail)
        if message.reasoning and self.marked(message.reasoning).strip() not in rest:
            detail = f"the chat template leaves out the reasoning of message {number + 1}; `reasoning: drop` does too"
            raise RefusedError("template_drops", detail)
        return rest

    def check_stops_once(self, number: int, rest: str) -> None:
        """A model stops at the first stop that it writes; raises `RefusedError` where an answer goes on behind one."""
        stops = self.traits.stop_texts
        if len(stops) == 1 and rest.count(stops[0]) == 1:
            return
        written = self.without_typed(rest)
        if sum(written.count(stop) for stop in stops) > 1:
            detail = f"{_place(number)} holds what ends an answer, so a model would stop in the middle"
            raise RefusedError("stop_in_answer", detail)

    def check_written(self, number: int, message: Message, content: str, text: str) -> None:
        """A template may trim what somebody said, or write it as JSON; raises `RefusedError` where it leaves it out."""
        left_out = content and message.role in self.traits.unwritten
        if content in text and not left_out:
            return
        wanted = self.marked(content).strip()
        if left_out or (wanted not in text and json.dumps(wanted, ensure_ascii=False)[1:-1] not in text):
            raise RefusedError(
                "template_drops",
                f"the chat template does not write message {number + 1} ({message.role}) as it stands; "
                "take another template, or mend the message",
            )

    def _apart(self, number: int, message: Message, prompt: str, through: str) -> str:
        """What follows a prompt that says more than the rendered answer shows."""
        for thought in self.traits.thoughts:
            header = prompt.removesuffix(thought.extra)
            if prompt.endswith(thought.extra) and through.startswith(header):
                return self._behind_thought(number, message, thought, through[len(header) :])
        _, extra, _ = parting(prompt, through)
        if message.reasoning and self.traits.thought_end and self.traits.thought_end in extra:
            raise _thought_closed(number, extra)
        raise RefusedError("mask_not_provable", f"{_place(number)}: {divergence(prompt, through)}")

    def _behind_thought(self, number: int, message: Message, thought: Thought, shown: str) -> str:
        reasoning, end = message.reasoning or "", (thought.closing or "").strip()
        if not reasoning and end and end in message.text:
            reasoning = message.text.partition(end)[0].strip().removeprefix(thought.extra.strip())
        reasoning = self.marked(reasoning).strip("\n")
        at = shown.find(reasoning) if reasoning else -1
        if at >= 0 and end and end not in thought.extra:
            return shown[at:]
        if thought.closed:
            if reasoning:
                raise _thought_closed(number, thought.extra)
            return shown
        if thought.closing is None:
            detail = f"the served prompt ends with {thought.extra!r}, and the template does not tell what ends it"
            raise RefusedError("thought_open", f"{_place(number)}: {detail}")
        if reasoning:
            return reasoning + thought.closing + shown.lstrip("\n")
        if self.write_empty:
            return thought.closing + shown.lstrip("\n")
        raise RefusedError(
            "thought_open",
            f"{_place(number)}: the served prompt opens a thought with {thought.extra!r}, and the answer has no "
            "reasoning; give the record `reasoning_content`, close the thought with `template_kwargs: "
            "{enable_thinking: false}` or what the template calls it, or set `reasoning: write_empty`",
        )


def divergence(served: str, rendered: str) -> str:
    """Where what a server feeds the model and what history shows first differ."""
    before, one, other = parting(served, rendered)
    return f"a server feeds the model {one!r} where the conversation has {other!r} (after {before!r})"


def parting(first: str, second: str, shown: int = 60) -> tuple[str, str, str]:
    """What two texts have in common just before they part, and how each goes on."""
    at = next((number for number, (one, other) in enumerate(zip(first, second, strict=False)) if one != other), None)
    at = min(len(first), len(second)) if at is None else at
    before, one, other = first[max(0, at - shown // 2) : at], first[at : at + shown], second[at : at + shown]
    return control.unmarked(before), control.unmarked(one), control.unmarked(other)


def _place(number: int) -> str:
    return f"message {number + 1} (assistant)"


def _thought_closed(number: int, extra: str) -> RefusedError:
    return RefusedError(
        "thought_closed",
        f"{_place(number)} brings reasoning, but the served prompt ends with {extra!r}; open the thought with "
        "`template_kwargs: {enable_thinking: true}` or what the template calls it, or set `reasoning: drop`",
    )
