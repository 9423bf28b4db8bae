"""How conversations become text and ids: one tokenizer, one chat template, and what a recipe says of both."""

import datetime
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from dataforge import laws, templates
from dataforge.bases import BaseTokenizer, with_new_tokens
from dataforge.control import ControlTokens
from dataforge.errors import BaseModelError, TemplateError
from dataforge.render import Reasoning, Renderer
from dataforge.templates import ChatTemplate
from dataforge.text_ids import TextEncoder
from dataforge.traits import PROBES, REFUSALS, Traits

SpecialTokens = Literal["reject", "as_text", "allow"]
MissingTokens = Literal["refuse", "as_text", "add"]

_BAR = "[|\N{FULLWIDTH VERTICAL LINE}]"
_MARKER = re.compile(rf"<{_BAR}[^<>\s]+?{_BAR}>|<(?:start|end)_of_\w+>|<\|\w+>|<\w+\|>")
"""What control tokens look like in the formats that there are."""


class ChatFormat:
    """A chat template on a tokenizer.

    `chat` is `tokenizer`, a name in `templates/chat/`, or the path of a template that starts in `folder`; where `text`
    is given, that is its text and nothing is looked up. With `lawful`, a template of our own must keep the laws.

    Raises `BaseModelError` where the tokenizer carries no template, `TemplateError` where the template is missing,
    breaks a law, never ends an answer, or ends it with control tokens that the tokenizer lacks.
    """

    def __init__(
        self,
        tokenizer: BaseTokenizer,
        chat: str,
        folder: Path,
        *,
        text: str | None = None,
        date: datetime.date | None = None,
        kwargs: Mapping[str, Any] | None = None,
        reasoning: Reasoning = "keep",
        special_tokens: SpecialTokens = "reject",
        missing_tokens: MissingTokens = "refuse",
        lawful: bool = True,
    ) -> None:
        self.chat, self.kwargs = chat, dict(kwargs or {})
        self.template = ChatTemplate(
            _text(tokenizer, chat, folder) if text is None else text, tokenizer.variables, date
        )
        self.missing = [] if chat == "tokenizer" else self._missing(tokenizer)
        if missing_tokens == "add":
            tokenizer = with_new_tokens(tokenizer, self.missing)
        self.tokenizer = tokenizer
        self.new_tokens = {token: tokenizer.added_tokens[token] for token in self.missing if missing_tokens == "add"}
        missing = [token for token in self.missing if token not in self.new_tokens]
        ends = {*tokenizer.added_tokens, *missing}
        literals = "\0".join(self.template.literals)
        written = {token for token in tokenizer.added_tokens if token.strip() and token in literals}
        # What only the template may write, and the same without the marks of a thought, which answers may bring.
        self.typed = ControlTokens({*tokenizer.control_tokens, *written, *missing})
        typed = self.typed if special_tokens == "as_text" else None
        self.renderer = Renderer(self.template, ends, self.kwargs, reasoning, typed)
        self.encoder = TextEncoder(tokenizer, typed)
        around = self.traits.thought_markup
        thoughts = {token for token in written - set(tokenizer.control_tokens) if token in around}
        self.typed_in_answers = ControlTokens({*tokenizer.control_tokens, *written, *missing} - thoughts)
        unended = [stop for stop in self.traits.stop_texts if stop in missing]
        if unended and missing_tokens == "refuse":
            raise TemplateError(
                f"the chat template {chat} writes {', '.join(missing)} and ends answers with {', '.join(unended)}, "
                f"which the tokenizer of {tokenizer.name} does not have as control tokens; take another template, "
                "add them with `missing_tokens: add`, or write them as ordinary text with `missing_tokens: as_text`"
            )
        if lawful and chat in templates.names():
            for fault in laws.broken(self.renderer):
                raise TemplateError(f"the chat template {chat} breaks the law of {fault.law}: {fault.detail}")

    @cached_property
    def stop_tokens(self) -> dict[str, int]:
        """What ends an answer, with the id of its last token."""
        return {text: self.encoder.whole(text)[-1] for text in self.traits.stop_texts}

    @property
    def traits(self) -> Traits:
        """What the template does under the recipe's keyword arguments."""
        return self.renderer.traits()

    @property
    def notes(self) -> list[str]:
        """What a user should know of the format before anything is trained."""
        if not self.missing:
            return []
        what = "are new tokens of the tokenizer" if self.new_tokens else "are written as ordinary text"
        listed = ", ".join(self.missing)
        return [f"{listed}: control tokens of the chat template {self.chat} that {self.tokenizer.name} lacks {what}"]

    def _missing(self, tokenizer: BaseTokenizer) -> list[str]:
        """What looks like a control token in rendered conversations and is none of the tokenizer's."""
        found: dict[str, None] = {}
        for messages, tools in PROBES:
            seen = [self.template.sees(message) for message in messages]
            try:
                text = self.template.render(seen, tools=tools, kwargs=self.kwargs)
            except REFUSALS:
                continue
            found |= dict.fromkeys(_MARKER.findall(text))
        return [marker for marker in found if marker not in tokenizer.added_tokens]


def _text(tokenizer: BaseTokenizer, chat: str, folder: Path) -> str:
    if chat != "tokenizer":
        return templates.find(chat, folder)
    if tokenizer.template is None:
        raise BaseModelError(
            f"{tokenizer.name}: its tokenizer carries no chat template; name one with `chat:` "
            f"({', '.join(templates.names())}, or the path of a .jinja file)"
        )
    return tokenizer.template
