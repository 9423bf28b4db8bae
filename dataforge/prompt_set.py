"""The requests that a step makes, in Chinese and in English, and which of the two a record is told in."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dataforge import languages, request_templates
from dataforge.records import Message, Record, Reject, canonical_json, derived_id, language_of, turns
from dataforge.request_templates import RequestTemplate

Language = Literal["zh", "en"]
Wanted = Literal["zh", "en", "auto"]
"""In which a recipe has a model told; `auto` is that of the record."""
LANGUAGES: tuple[Language, ...] = ("zh", "en")


class PromptSet:
    """The compiled requests of a step, by name and language.

    Raises `TemplateError` where one is missing or does not serve.
    """

    def __init__(self, step: str, names: Sequence[str], own: Path | None, kind: str = "ask") -> None:
        self._templates = {
            (name, language): RequestTemplate(request_templates.find(kind, step, name, language, own))
            for name in names
            for language in LANGUAGES
        }

    def messages(self, name: str, language: Language, **fields: Any) -> tuple[Mapping[str, str], ...]:
        """A request as messages. Raises `TemplateError` where a field is missing."""
        return self._templates[name, language].messages(**fields)


def own_folder(prompts: Path | None, folder: Path) -> Path | None:
    """The recipe's own requests, below its folder."""
    return None if prompts is None else folder / prompts.expanduser()


def language_for(record: Record, wanted: Wanted) -> Language:
    """The language in which a model is told of a record: as its source says, else by its words."""
    if wanted != "auto":
        return wanted
    said = language_of(record).lower()
    if said.startswith(("zh", "cmn", "yue")):
        return "zh"
    return "en" if said else language_of_text("\n".join(message.text for message in turns(record)))


def language_of_text(text: str) -> Language:
    """Chinese where a text is; English for every other."""
    return "zh" if not text.isascii() and languages.language(text) == "zh" else "en"


def single_round(messages: Sequence[Message]) -> tuple[tuple[Message, ...], Message, Message | None] | None:
    """What stands before a single question, the question, and its answer where there is one; None for other shapes.

    Before the question only the system may speak, and no tool is called.
    """
    before = [message for message in messages if message.role in ("system", "developer")]
    said = list(messages[len(before) :])
    if list(messages[: len(before)]) != before or not said or said[0].role != "user" or len(said) > 2:
        return None
    if len(said) == 1:
        return tuple(before), said[0], None
    if said[1].role != "assistant" or said[1].tool_calls or not said[1].text.strip():
        return None
    return tuple(before), said[0], said[1]


def shown(message: Message) -> str:
    """A message as a model is told of it: its text, and the calls of tools as JSON."""
    calls = [{"name": call.name, "arguments": call.arguments} for call in message.tool_calls]
    return "\n".join([*([message.text] if message.text else []), *([canonical_json(calls).decode()] if calls else [])])


def shown_tools(tools: Sequence[Mapping[str, Any]]) -> list[Mapping[str, str]]:
    """The tools of a record as one more message before the others; none where it has none."""
    return [{"role": "tools", "content": canonical_json(list(tools)).decode()}] if tools else []


@dataclass
class Tally:
    """What a step counts, until somebody asks."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, count: int = 1) -> None:
        """Count something."""
        self.counts[name] += count

    def taken(self) -> Mapping[str, int]:
        """All counts since this was last asked, by name."""
        found, self.counts = dict(sorted(self.counts.items())), Counter()
        return found


@dataclass(frozen=True)
class Fault:
    """Why a reply does not pass."""

    reason: str
    detail: str


def refused(record: Record, step: str, reason: str, detail: str, *names: str) -> Reject:
    """The reject that a record became, or with names something that was made of it and did not pass."""
    identity = derived_id(record.id, step, *names) if names else record.id
    return Reject(identity, record.origin, step, reason, detail)
