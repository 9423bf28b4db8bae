"""Make labelled answers of preferences: the chosen side is a good answer to the prompt, the rejected a bad one.

Each preference becomes two rankings of one reply, as KTO takes them, which `group_by_prompt` and `pairs` make
preferences of again. A reply that is chosen in one pair and rejected in another, as `adjacent` and `all` make them of
three replies or more, would be called both: take `best_vs_worst` there. Preferences with a side of several messages are
rejected, as no single answer was judged. Other records pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dataforge import config
from dataforge.context import Context
from dataforge.records import Preference, Ranking, Record, Reject, Reply, derived_id, group_of


class Settings(config.Settings):
    """There is nothing to set."""


@dataclass(frozen=True)
class Step:
    """Takes pairs apart."""

    name: str

    def take(self, record: Record) -> Record | Reject | Sequence[Ranking]:
        """The two labelled answers of a preference."""
        if not isinstance(record, Preference):
            return record
        if len(record.chosen) > 1 or len(record.rejected) > 1:
            detail = f"the sides have {len(record.chosen)} and {len(record.rejected)} messages, and a label is of one"
            return Reject(record.id, record.origin, self.name, "several_messages", detail)
        return [
            Ranking(
                derived_id(record.id, "to_labels", name),
                record.origin,
                record.prompt,
                (Reply(message, label=name == "chosen"),),
                record.tools,
                group_of(record),
                record.facts,
            )
            for name, (message,) in (("chosen", record.chosen), ("rejected", record.rejected))
        ]


def start(name: str, settings: Settings, context: Context) -> Step:
    """The step; its rejects carry `name`."""
    return Step(name)
