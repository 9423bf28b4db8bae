"""Preferences and prompts as Arrow tables, one row each, and back without loss.

As with conversations, what differs from record to record is JSON text.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from dataforge import chat_table
from dataforge.chat_table import BESIDE, INPUTS, MESSAGES
from dataforge.records import Origin, Preference, Prompt

PAIRS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("prompt", MESSAGES, nullable=False),
        pa.field("chosen", MESSAGES, nullable=False),
        pa.field("rejected", MESSAGES, nullable=False),
        pa.field("margin", pa.float64()),
        pa.field("inputs", INPUTS),
        pa.field("tools", pa.string()),
        *BESIDE,
    ]
)
"""Preferences as a build shows them; `inputs` are those of the prompt."""
PROMPTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("prompt", MESSAGES, nullable=False),
        pa.field("inputs", INPUTS),
        pa.field("tools", pa.string()),
        pa.field("chat_template_kwargs", pa.string()),
        *BESIDE,
    ]
)
"""Prompts as a build shows them."""


def to_table(preferences: Sequence[Preference]) -> pa.Table:
    """Preferences as a table of `PAIRS`, in order."""
    return pa.table(
        {
            "id": pa.array([each.id for each in preferences], pa.string()),
            **{
                name: chat_table.messages_of([getattr(each, name) for each in preferences])
                for name in ("prompt", "chosen", "rejected")
            },
            "margin": pa.array([each.margin for each in preferences], pa.float64()),
            "inputs": chat_table.inputs_of([each.prompt for each in preferences]),
            "tools": chat_table.json_of([each.tools for each in preferences]),
            **chat_table.beside(preferences),
        },
        schema=PAIRS,
    )


def from_batch(batch: pa.RecordBatch) -> Iterator[Preference]:
    """The preferences of a batch of `PAIRS`."""
    for row in batch.to_pylist():
        yield Preference(
            row["id"],
            _origin(row),
            chat_table.messages_from(row["prompt"], row["inputs"]),
            chat_table.messages_from(row["chosen"], None),
            chat_table.messages_from(row["rejected"], None),
            margin=row["margin"],
            **_beside(row),
        )


def prompts_to_table(prompts: Sequence[Prompt]) -> pa.Table:
    """Prompts as a table of `PROMPTS`, in order."""
    return pa.table(
        {
            "id": pa.array([each.id for each in prompts], pa.string()),
            "prompt": chat_table.messages_of([each.messages for each in prompts]),
            "inputs": chat_table.inputs_of([each.messages for each in prompts]),
            "tools": chat_table.json_of([each.tools for each in prompts]),
            "chat_template_kwargs": chat_table.json_of([each.template_kwargs for each in prompts]),
            **chat_table.beside(prompts),
        },
        schema=PROMPTS,
    )


def prompts_from_batch(batch: pa.RecordBatch) -> Iterator[Prompt]:
    """The prompts of a batch of `PROMPTS`."""
    for row in batch.to_pylist():
        messages, kwargs = chat_table.messages_from(row["prompt"], row["inputs"]), row["chat_template_kwargs"]
        yield Prompt(
            row["id"], _origin(row), messages, template_kwargs=orjson.loads(kwargs) if kwargs else {}, **_beside(row)
        )


def _origin(row: Mapping[str, Any]) -> Origin:
    return Origin(*(row[name] for name in ("source", "file", "ordinal", "line", "item")))


def _beside(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "tools": tuple(orjson.loads(row["tools"])) if row["tools"] else (),
        "family": row["family"],
        "facts": orjson.loads(row["facts"]) if row["facts"] else {},
        "copies": row["copies"],
    }
