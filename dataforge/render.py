"""A conversation as text: the whole of it, and for each answer what a server renders before the model writes."""

from dataclasses import dataclass

import jinja2

from dataforge.records import Chat, Reject
from dataforge.templates import ChatTemplate


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of a conversation."""

    message: int
    """Its number among the messages, from 0."""
    prompt: str
    """The messages before it, rendered with the generation prompt: what a server feeds the model."""
    upto: str
    """The messages up to and with it."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A conversation rendered whole, and up to each of its answers."""

    chat: Chat
    text: str
    turns: tuple[Turn, ...]

    def texts(self) -> set[str]:
        """Every text whose ids are needed to certify the conversation."""
        return {self.text, *(turn.prompt for turn in self.turns), *(turn.upto for turn in self.turns)}


def render(chat: Chat, template: ChatTemplate) -> Rendering | Reject:
    """Render a conversation; where the template refuses it, the reject carries the template's own message."""
    messages = [{"role": message.role, "content": message.content} for message in chat.messages]
    try:
        text = template.render(messages)
        turns = []
        for number, message in enumerate(chat.messages):
            if message.role == "assistant":
                prompt = template.render(messages[:number], generation_prompt=True)
                upto = template.render(messages[: number + 1]) if number + 1 < len(messages) else text
                turns.append(Turn(number, prompt, upto))
    except (jinja2.TemplateError, TypeError) as error:
        return Reject(chat.id, chat.origin, "render", "template_refuses", f"the chat template says: {error}")
    return Rendering(chat, text, tuple(turns))
