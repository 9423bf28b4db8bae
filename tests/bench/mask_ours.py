"""The package under test on the mask matrix: what becomes of each conversation under each way of asking for rows."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mask_shapes import Shape

from dataforge.bases import load_tokenizer
from dataforge.chat_format import ChatFormat, SpecialTokens
from dataforge.errors import ForgeError
from dataforge.records import Chat, Origin, Reject, Row
from dataforge.render import Reasoning, Rendering
from dataforge.sources import openai
from dataforge.tokenize import Encoded, encode


@dataclass(frozen=True, slots=True)
class Way:
    """A way of asking for rows."""

    name: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    reasoning: Reasoning = "keep"
    special_tokens: SpecialTokens = "allow"

    @property
    def comparable(self) -> bool:
        """Whether other tools have it too."""
        return self.reasoning == "keep" and self.special_tokens == "allow"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A conversation's rows, or why there are none."""

    shape: Shape
    rows: list[tuple[list[int], list[int]]]
    reason: str = ""
    detail: str = ""


def ways(template: str) -> list[Way]:
    """The ways that a template is tried in; those about thoughts only where it knows of thoughts."""
    found = [Way("plain"), Way("typed as text", special_tokens="as_text")]
    switches = "enable_thinking" in template
    if switches:
        found += [Way(f"enable_thinking={on}", {"enable_thinking": on}) for on in (False, True)]
    if "think" in template or "thought" in template:
        found.append(Way("write_empty", reasoning="write_empty"))
        if switches:
            found.append(Way("write_empty, enable_thinking=True", {"enable_thinking": True}, "write_empty"))
    return found


def outcomes(folder: Path, way: Way, shapes: Sequence[Shape], date: datetime.date, *, own: str | None) -> list[Outcome]:
    """What becomes of the shapes on a tokenizer and its template, or on the template of ours that is named.

    Ours may write brackets such as `[INST]` that are ordinary text to a tokenizer, as they are to that of Llama 2.
    """
    try:
        format_ = ChatFormat(
            load_tokenizer(str(folder)),
            own or "tokenizer",
            folder,
            date=date,
            reasoning=way.reasoning,
            special_tokens=way.special_tokens,
            missing_tokens="as_text",
        )
        results = [_rendered(format_, shape, number, way) for number, shape in enumerate(shapes)]
    except ForgeError as error:
        return [Outcome(shape, [], "template", str(error)) for shape in shapes]
    renderings = [result for result in results if isinstance(result, Rendering)]
    encoded = encode(renderings, format_.encoder, "all_turns")
    return [
        _outcome(shape, next(encoded) if isinstance(result, Rendering) else result)
        for shape, result in zip(shapes, results, strict=True)
    ]


def _rendered(format_: ChatFormat, shape: Shape, number: int, way: Way) -> Rendering | Reject:
    columns: dict[str, Any] = {"messages": shape.messages, "tools": shape.tools}
    if way.kwargs:
        columns["chat_template_kwargs"] = way.kwargs
    row = Row(f"{number:032x}", Origin("masks", "masks.jsonl", number, number + 1), columns)
    chat = openai.convert(row, openai.Settings())
    return format_.renderer.render(chat) if isinstance(chat, Chat) else chat


def _outcome(shape: Shape, result: Encoded | Reject) -> Outcome:
    if isinstance(result, Reject):
        return Outcome(shape, [], result.reason, result.detail)
    return Outcome(shape, [(row.input_ids.tolist(), row.mask.tolist()) for row in result.rows])
