"""Put placeholders in place of e-mail addresses, phone numbers, IP addresses, keys and ID numbers.

All texts of a record are looked at, in whatever kind of record: messages with their reasoning and the arguments of
their tool calls, the fields of an example, replies, tools, what a chat template is given, and facts. Ids, the names of
keys and of tools stay.

`key` are the API keys and tokens of common services, and private keys; `id` Chinese resident IDs whose check digit is
right; `card` payment cards that pass Luhn's check; `ssn` US social security numbers; `phone` international numbers, and
Chinese and North American ones; `ip` public addresses, so that neither 127.0.0.1 nor `version 1.2.3.4` is one. What
only looks like one is replaced too: an 11-digit number that begins with 13 to 19 reads as a Chinese mobile.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Annotated, Any, TypeVar

from pydantic import Field, model_validator

from dataforge import config
from dataforge.context import Context
from dataforge.personal import KINDS, Kind, redacted
from dataforge.records import Record

T = TypeVar("T")
_IDENTITY = frozenset({"id", "origin", "family", "role", "task", "language", "name", "tool_call_id"})
"""Fields that say what a record, a message or a call is, not what is said in it."""


class Settings(config.Settings):
    """What is looked for, and what is put in its place."""

    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = KINDS
    """Those that are looked for."""
    placeholders: dict[Kind, str] = Field(default_factory=dict)
    """What stands in the place of one kind; `[EMAIL]`, `[PHONE]` and so on if not given."""

    @model_validator(mode="after")
    def _placed(self) -> "Settings":
        for kind in self.placeholders:
            if kind not in self.kinds:
                raise ValueError(f"`placeholders:` has {kind!r}, which is not looked for; add it to `kinds:`")
        return self


@dataclass
class Step:
    """The redaction."""

    name: str
    words: Mapping[Kind, str]
    found: Counter[str] = field(default_factory=Counter)

    def take(self, record: Record) -> Record:
        """The record without what was found."""
        return self._redacted(record)

    def noted(self) -> Mapping[str, int]:
        """How many places of each kind were redacted, and in how many records."""
        found, self.found = self.found, Counter()
        return found

    def _redacted(self, record: Record) -> Record:
        before = self.found.total()
        made = self._value(record)
        if self.found.total() == before:
            return record
        self.found["records"] += 1
        return made

    def _value(self, value: T) -> T:
        """The same value with redacted texts, itself where nothing was found in it."""
        found: Any = value
        if isinstance(value, str):
            found = redacted(value, self.words, self._count)
        elif isinstance(value, Mapping):
            found = {key: self._value(item) for key, item in value.items()}
        elif isinstance(value, list | tuple):
            found = type(value)(self._value(item) for item in value)
        elif is_dataclass(value) and not isinstance(value, type):
            changed = {
                each.name: self._value(getattr(value, each.name))
                for each in fields(value)
                if each.name not in _IDENTITY
            }
            found = replace(value, **changed)
        return value if found == value else found

    def _count(self, kind: Kind) -> None:
        self.found[kind] += 1


def start(name: str, settings: Settings, context: Context) -> Step:
    """The redaction."""
    return Step(name, {kind: settings.placeholders.get(kind, f"[{kind.upper()}]") for kind in settings.kinds})
