"""A tokenizer and its chat template as a server uses them: texts, ids, and what ends an answer.

Needs `transformers` alone. Two habits of servers are followed: a template that takes the arguments of tool calls only
as JSON text gets them so, and one that takes content only as a list of parts gets a list of one text.
"""

import datetime
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

Message = dict[str, Any]

_ASKED, _SAID, _VALUE = "oracleasks", "oraclesays", "oraclevalue"
_CALLS = [{"id": "callnr001", "type": "function", "function": {"name": "oracletool", "arguments": {"key": _VALUE}}}]
_TOOLS = [{"type": "function", "function": {"name": "oracletool", "description": "", "parameters": {}}}]
_ASK, _ANSWER = {"role": "user", "content": _ASKED}, {"role": "assistant", "content": _SAID}
_RESULT = {"role": "tool", "tool_call_id": "callnr001", "name": "oracletool", "content": "oracleresult"}


@dataclass(frozen=True)
class Stop:
    """What ends an answer."""

    token: int
    text: str
    late: str
    """What the next message writes through the token, where the answer's own rendering does not have it."""


def freeze(date: datetime.date) -> None:
    """Make `strftime_now` of chat templates tell a given date."""

    class Frozen(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Frozen":
            return cls(date.year, date.month, date.day, tzinfo=tz)

    chat_template_utils.datetime = Frozen


class Served:
    """A tokenizer's folder, with its template."""

    def __init__(self, folder: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.added = self.tokenizer.added_tokens_decoder
        self._texts: dict[str, str | Exception] = {}
        self._encoded: dict[str, list[int]] = {}
        self._stops: dict[str, dict[bool, Stop]] = {}
        self._parts = self._json_arguments = False
        if not self._writes([_ASK, _ANSWER], _SAID):
            self._parts = True
            self._parts = self._writes([_ASK, _ANSWER], _SAID)
        if not self._writes([_ASK, _calling("")], _VALUE):
            self._json_arguments = True
            self._json_arguments = self._writes([_ASK, _calling("")], _VALUE)

    def given(self, messages: Sequence[Message]) -> list[Message]:
        """The messages as the template takes them; no template sees a weight."""
        given: list[Message] = json.loads(json.dumps([{k: v for k, v in m.items() if k != "weight"} for m in messages]))
        for message in given:
            if self._parts and isinstance(message.get("content"), str):
                message["content"] = [{"type": "text", "text": message["content"]}]
            for call in message.get("tool_calls") or ():
                if self._json_arguments:
                    call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
        return given

    def text(self, messages: Sequence[Message], tools: Any, kwargs: dict[str, Any], prompt: bool = False) -> str:
        """The rendered messages; raises what the template raises."""
        given = self.given(messages)
        key = json.dumps([given, tools, kwargs, prompt])
        if key not in self._texts:
            try:
                self._texts[key] = self.tokenizer.apply_chat_template(
                    given, tools=tools or None, add_generation_prompt=prompt, tokenize=False, **kwargs
                )
            except Exception as error:
                self._texts[key] = error
        found = self._texts[key]
        if isinstance(found, Exception):
            raise found
        return found

    def sanitized(
        self, messages: Sequence[Message], tools: Any, kwargs: dict[str, Any], prompt: bool = False
    ) -> list[int]:
        """The ids of the rendered messages, where control tokens that somebody typed are ordinary text."""
        found = self.tokenizer.apply_chat_template(
            self.given(messages),
            tools=tools or None,
            add_generation_prompt=prompt,
            return_dict=False,
            sanitize_control_tokens=True,
            **kwargs,
        )
        return list(found)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without the special tokens that a tokenizer may add by itself."""
        if text not in self._encoded:
            self._encoded[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._encoded[text]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def stops(self, kwargs: dict[str, Any]) -> dict[bool, Stop]:
        """What ends an answer without and with tool calls.

        Raises `ValueError` where nothing does.
        """
        key = json.dumps(kwargs)
        if key not in self._stops:
            plain = self._stop([_ASK, _ANSWER], _ASK, _SAID, kwargs, late=False)
            if plain is None:
                raise ValueError("no added token ends an answer")
            found = {False: plain, True: plain}
            for content in ("", None):
                if self._writes([_ASK, _calling(content)], _VALUE, kwargs):
                    late = bool(plain.late)
                    found[True] = self._stop([_ASK, _calling(content)], _RESULT, _VALUE, kwargs, late=late) or plain
                    break
            self._stops[key] = found
        return self._stops[key]

    def _attempt(self, messages: Sequence[Message], kwargs: dict[str, Any] | None = None) -> str:
        """The rendered messages, or nothing where the template refuses them."""
        try:
            return self.text(messages, _TOOLS if any("tool_calls" in m for m in messages) else [], kwargs or {})
        except Exception:
            return ""

    def _writes(self, messages: Sequence[Message], word: str, kwargs: dict[str, Any] | None = None) -> bool:
        return word in self._attempt(messages, kwargs)

    def _stop(
        self, messages: list[Message], following: Message, word: str, kwargs: dict[str, Any], *, late: bool
    ) -> Stop | None:
        """The last added token that an answer ends with, whether or not the conversation goes on.

        Where the template ends the last answer of all otherwise (gpt-oss), the first token there; where it ends none
        until the next message begins (GLM 4), the first of that.
        """
        shown, more = self._attempt(messages, kwargs), self._attempt([*messages, following], kwargs)
        if word not in shown:
            return None
        at = shown.rfind(word) + len(word)
        lasting = os.path.commonprefix([shown[at:], more[more.rfind(word) + len(word) :]])  # noqa: RUF071
        for tail, which in ((lasting, -1), (shown[at:], 0)):
            ends = self._added(tail)
            if ends and not late:
                return Stop(ends[which], self.added[ends[which]].content, "")
        ends = self._added(more[len(shown) :]) if more.startswith(shown) else []
        if not ends:
            return None
        text = self.added[ends[0]].content
        return Stop(ends[0], text, more[len(shown) : more.index(text, len(shown)) + len(text)])

    def _added(self, text: str) -> list[int]:
        return [number for number in self.encode(text) if number in self.added and self.added[number].content.strip()]


def _calling(content: str | None) -> Message:
    return {"role": "assistant", "content": content, "tool_calls": _CALLS}
