"""Chat templates: found, compiled once, and rendered byte for byte as `transformers` renders them."""

import datetime
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes

from dataforge import data_files, left_to_right, sandbox
from dataforge.config import did_you_mean
from dataforge.errors import TemplateError
from dataforge.records import Message

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]]


class ChatTemplate:
    """A compiled chat template.

    `variables` are what it is given beside the messages, `bos_token` and its like. `date` is what it takes for
    today; without one, a template that asks for it is an error, since a build must not depend on the day it runs.

    Raises `TemplateError` where the text is not Jinja.
    """

    def __init__(self, text: str, variables: Mapping[str, Any], date: datetime.date | None = None) -> None:
        self.text = text
        self._variables = dict(variables)
        self._environment = sandbox.environment(date)
        try:
            self._tree = self._environment.parse(text)
            self._template = self._environment.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"chat template, line {error.lineno}: {error.message}") from None

    def _context(
        self, messages: Messages, tools: Tools, kwargs: Mapping[str, Any] | None, generation_prompt: bool
    ) -> dict[str, Any]:
        return {
            "messages": messages,
            "tools": tools or None,
            "documents": None,
            "add_generation_prompt": generation_prompt,
            **self._variables,
            **(kwargs or {}),
        }

    def render(
        self,
        messages: Messages,
        *,
        tools: Tools = (),
        kwargs: Mapping[str, Any] | None = None,
        generation_prompt: bool = False,
    ) -> str:
        """The conversation as text; with `generation_prompt`, up to where the model begins to write.

        Raises `jinja2.TemplateError` or `TypeError` where the template refuses the conversation.
        """
        return self._template.render(self._context(messages, tools, kwargs, generation_prompt))

    def pieces(
        self, messages: Messages, *, tools: Tools = (), kwargs: Mapping[str, Any] | None = None
    ) -> list[str] | None:
        """What `render` would return, cut before each message: what precedes the first, then one text a message.

        A template's text up to any message is then the rendering of the messages before it. None where that cannot
        be proven of the template, or where a text holds the character that the cuts are found by.
        """
        if self._marked is None:
            return None
        pieces = self._marked.render(self._context(messages, tools, kwargs, False)).split(left_to_right.MARK)
        return pieces if len(pieces) == len(messages) + 1 else None

    @property
    def left_to_right(self) -> bool:
        """Whether the template is proven to write a conversation from left to right."""
        return self._marked is not None

    @cached_property
    def _marked(self) -> jinja2.Template | None:
        tree = self._environment.parse(self.text)
        if not left_to_right.mark(tree):
            return None
        return jinja2.Template.from_code(
            self._environment, self._environment.compile(tree), dict(self._environment.globals)
        )

    @cached_property
    def literals(self) -> frozenset[str]:
        """The texts that the template writes or compares with."""
        written = {node.data for node in self._tree.find_all(nodes.TemplateData)}
        constants = {node.value for node in self._tree.find_all(nodes.Const) if isinstance(node.value, str)}
        return frozenset(written | constants)

    @cached_property
    def _reads_input(self) -> bool:
        named = {node.attr for node in self._tree.find_all(nodes.Getattr)}
        return "input" in named | {
            node.arg.value for node in self._tree.find_all(nodes.Getitem) if isinstance(node.arg, nodes.Const)
        }

    @cached_property
    def _takes_parts(self) -> bool:
        """Whether the template takes content only as a list of parts, as those of models that also see images."""
        word = "forgequestion"
        for content in (word, [{"type": "text", "text": word}]):
            try:
                if word in self.render([{"role": "user", "content": content}]):
                    return not isinstance(content, str)
            except (jinja2.TemplateError, TypeError):
                continue
        return False

    def sees(self, message: Message, *, json_arguments: bool = False) -> dict[str, Any]:
        """A message as `transformers` hands it to a template: keys without a value are left out.

        `json_arguments` gives tool calls their arguments as JSON text, for templates that take nothing else.
        """
        seen: dict[str, Any] = {"role": message.role}
        if self._reads_input and message.input is not None:
            seen |= {"content": message.content, "input": message.input}
        elif message.content is not None:
            seen["content"] = [{"type": "text", "text": message.text}] if self._takes_parts else message.text
        if message.reasoning is not None:
            seen |= {"reasoning_content": message.reasoning, "thinking": message.reasoning}
        if message.tool_calls:
            seen["tool_calls"] = [
                {
                    **({"id": call.id} if call.id is not None else {}),
                    "type": "function",
                    "function": {
                        "name": call.name,
                        "arguments": json.dumps(call.arguments, ensure_ascii=False)
                        if json_arguments
                        else call.arguments,
                    },
                }
                for call in message.tool_calls
            ]
        if message.tool_call_id is not None:
            seen["tool_call_id"] = message.tool_call_id
        if message.name is not None:
            seen["name"] = message.name
        return seen


def names() -> list[str]:
    """The project's own chat templates."""
    return sorted(path.stem for path in (data_files.folder("templates") / "chat").glob("*.jinja"))


def summary(name: str) -> str:
    """The first sentence of the comment that one of the project's own templates begins with."""
    comment = find(name, Path()).removeprefix("{#").partition("#}")[0]
    return comment.split(". ")[0].strip(" .-") + "."


def find(name: str, folder: Path) -> str:
    """The text of a chat template: one of `names()`, or the path of a `.jinja` file that starts in `folder`.

    Raises `TemplateError` where there is neither.
    """
    if name in names():
        return (data_files.folder("templates") / "chat" / f"{name}.jinja").read_text(encoding="utf-8")
    path = folder / Path(name).expanduser()
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise TemplateError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    if name.endswith(".jinja") or "/" in name:
        raise TemplateError(f"there is no file {path}")
    near = did_you_mean(name, [*names(), "tokenizer"])
    raise TemplateError(f"there is no chat template {name!r}; {near} (`tokenizer`, a name, or the path of a .jinja)")
