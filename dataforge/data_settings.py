"""The data half of a recipe as a mapping: what its top level may say beside sources."""

import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from dataforge.config import Settings
from dataforge.llm.settings import Budget, Model
from dataforge.source_entry import Name

_UNBUILT = ("llm", "budget", "replay")
"""Keys that say how a language model is reached, and not what is asked of it."""


class Split(Settings):
    """How much is kept from training."""

    eval: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """The share of records that only evaluation sees."""
    by: Literal["group", "task"] = "group"
    """`task` keeps whole tasks for evaluation; a record without one is of the task of its source's name."""

    @model_serializer(mode="wrap")
    def _said(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the key that says what is so anyway: builds from before there was one keep their digests."""
        said: dict[str, Any] = serialise(self)
        return {key: value for key, value in said.items() if (key, value) != ("by", "group")}


class Data(Settings):
    """The data half of a recipe."""

    name: Name
    """Names the output folders."""
    kind: Literal["chat", "pairs", "prompts"] = "chat"
    """What shards are made of: conversations to learn, pairs of a better and a worse answer, or prompts to answer."""
    seed: Annotated[int, Field(ge=-(2**127), lt=2**127)] = 0
    """All randomness is drawn from it, by name."""
    chat: str = "tokenizer"
    """The chat template: the tokenizer's own, a name that `forge list` shows, or the path of a `.jinja` file."""
    template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """What the chat template is given beside the messages, such as `enable_thinking`; a record's own win."""
    missing_tokens: Literal["refuse", "as_text", "add"] = "refuse"
    """A stop of the chat template that the tokenizer lacks is refused, written as ordinary text, or a new token."""
    tokenizer: str | None = None
    """A bundled name, a folder or a hub id; the base model's if not given."""
    date: datetime.date | None = None
    """Today, for templates that write the date."""
    train_on: Literal["all_turns", "last_turn"] = "all_turns"
    """Which answers are trained; a message's own weight wins."""
    max_tokens: Annotated[int, Field(ge=8)] = 1024
    """The longest row there may be."""
    window: Annotated[int, Field(ge=8)] | None = None
    """Tokens of a packed window; `max_tokens` if not given."""
    on_long: Literal["reject"] = "reject"
    """What becomes of a longer row."""
    special_tokens: Literal["reject", "as_text", "allow"] = "reject"
    """A control token in a record's text rejects it, is encoded as ordinary text, or is one."""
    reasoning: Literal["keep", "drop", "write_empty"] = "keep"
    """`drop` leaves it out; `write_empty` has the model close an empty thought where the prompt opens one."""
    split: Split = Split()
    llm: dict[Name, Model] = Field(default_factory=dict)
    """The language models that steps ask, by names of one's own."""
    budget: Budget = Budget()
    """What may be spent on them."""
    replay: Path | None = None
    """A file of recorded replies, which are taken in place of any model's."""
    steps: list[dict[str, Any]] = Field(default_factory=list)
    """What is done with the records of all sources, in this order, before they are weighed."""

    @model_validator(mode="after")
    def _countable(self) -> "Data":
        free = [name for name, model in self.llm.items() if model.price is None]
        if self.budget.max_cost is not None and free:
            raise ValueError(
                f"budget.max_cost stops nothing where llm.{free[0]} has no `price`; give it one, such as "
                "`price: {input: 0.15, output: 0.6}`, or zeros where it costs nothing"
            )
        return self

    @model_serializer(mode="wrap")
    def _said(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the key that says what is so anyway, as for `Split`, and without what decides nothing."""
        said: dict[str, Any] = serialise(self)
        return {key: value for key, value in said.items() if (key, value) != ("kind", "chat") and key not in _UNBUILT}
