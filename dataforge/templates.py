"""The one sandboxed Jinja environment, which renders chat templates byte for byte as `transformers` does."""

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dataforge.errors import TemplateError

_TAGS = {"generation"}


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what the model writes; it does not change what is rendered."""

    tags = _TAGS

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Macro) -> str:
        return str(caller())


class ChatTemplate:
    """A compiled chat template.

    `date` is what the template takes for today; without one, a template that asks for it is an error, since
    a build must not depend on the day it runs.
    """

    def __init__(self, text: str, variables: Mapping[str, str], date: datetime.date | None = None) -> None:
        self.text = text
        self._variables = dict(variables)
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime(date)
        try:
            self._template = environment.from_string(text)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"chat template, line {error.lineno}: {error.message}") from None

    def render(self, messages: Sequence[Mapping[str, Any]], *, generation_prompt: bool = False) -> str:
        """The conversation as text; with `generation_prompt`, up to where the model begins to write.

        Raises `jinja2.TemplateError` where the template refuses the conversation.
        """
        return self._template.render(
            messages=messages,
            tools=None,
            documents=None,
            add_generation_prompt=generation_prompt,
            **self._variables,
        )


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime(date: datetime.date | None) -> Any:
    def strftime_now(form: str) -> str:
        if date is None:
            raise TemplateError("the chat template writes today's date; fix it with `date: YYYY-MM-DD` in the recipe")
        return date.strftime(form)

    return strftime_now
