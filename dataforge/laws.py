"""The four laws of a chat template, checked on probe conversations.

    concatenation   a conversation is the text of its messages one after the other
    prefix          the prompt of an answer is what the conversation says before it
    stop            every answer ends in the same stop
    quotation       what a message says stands in the conversation as it was written

A template that keeps them needs one row for a conversation. Our own do; of others, rows of their own carry the turns
for which a law does not hold.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from dataforge.answers import divergence, parting
from dataforge.records import Message
from dataforge.render import Renderer
from dataforge.traits import REFUSALS

LAWS = ("concatenation", "prefix", "stop", "quotation")
_TEXTS = ("What is {{ this }}?", "It is [[that]] & <more>.", "第二个问题：\n\t'why'?", 'Because\n\nof "this"：é 👋')
_SYSTEM = "Be {% brief %} 。"


@dataclass(frozen=True, slots=True)
class Fault:
    """A law that a template breaks, and where it shows."""

    law: str
    detail: str


def broken(renderer: Renderer) -> Iterator[Fault]:
    """The laws that a template breaks, each once.

    Raises `TemplateError` where the template serves no conversation at all.
    """
    found: dict[str, Fault] = {}
    for conversation in _conversations():
        for fault in _faults(renderer, conversation):
            found.setdefault(fault.law, fault)
    yield from (found[law] for law in LAWS if law in found)


def _conversations() -> Iterator[list[Message]]:
    roles = ("user", "assistant") * 2
    for turns in (2, 4):
        said = [Message(role, text) for role, text in zip(roles[:turns], _TEXTS, strict=False)]  # type: ignore[arg-type]
        yield said
        yield [Message("system", _SYSTEM), *said]


def _faults(renderer: Renderer, messages: list[Message]) -> Iterator[Fault]:
    found, seen = renderer.traits(), [renderer.template.sees(message) for message in messages]
    try:
        whole = renderer.text(seen)
    except REFUSALS:
        return
    for number, message in enumerate(messages):
        if message.text not in whole:
            yield Fault("quotation", f"{message.text!r} of the {message.role} is not in {whole!r}")
        if message.role != "assistant":
            continue
        prompt, upto = renderer.text(seen[:number], generation_prompt=True), renderer.text(seen[: number + 1])
        if not whole.startswith(upto):
            before, alone, later = parting(upto, whole)
            yield Fault("concatenation", f"at the end {alone!r}, further up {later!r} (after {before!r})")
        if not upto.startswith(prompt):
            yield Fault("prefix", divergence(prompt, upto))
        stops = [stop for stop in found.stops if stop in upto[len(prompt) :]]
        if len(found.stops) != 1 or len(stops) != 1 or not upto.rstrip().endswith(stops[0]):
            yield Fault("stop", f"an answer ends with {upto[-30:]!r}; what ends answers: {list(found.stop_texts)}")
