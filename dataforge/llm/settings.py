"""What a recipe says of language models: where they are, how they are asked, and what may be spent."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from dataforge.config import Settings
from dataforge.errors import InputError

Structured = Literal["auto", "schema", "object", "text"]
Mode = Literal["live", "batch"]
BATCH_REQUESTS = 50_000
"""Of one batch, as OpenAI has it."""


class Price(Settings):
    """What a million tokens cost, in whatever currency `budget.max_cost` is in."""

    input: Annotated[float, Field(ge=0)]
    output: Annotated[float, Field(ge=0)]


class Model(Settings):
    """One model behind an OpenAI-compatible endpoint, under a name of the recipe's own."""

    base_url: str | list[str]
    """Where it is, such as `http://127.0.0.1:8000/v1`; several are asked in turn."""
    model: str
    """What the endpoint calls it."""
    key_env: str = "OPENAI_API_KEY"
    """The environment variable with the key; none is sent where it is not set."""
    key_file: Path | None = None
    """In its place a file that holds the key and nothing else."""
    temperature: Annotated[float, Field(ge=0)] | None = 0.7
    """None leaves it to the endpoint; so with the next two."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = 1024
    """Of a reply."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further parameters of the request, sent as they are, such as `reasoning_effort`."""
    structured: Structured = "auto"
    """How JSON is asked for: by `schema` or as an `object` where the endpoint can, or in the `text`; `auto` tries."""
    concurrency: Annotated[int, Field(ge=1)] = 32
    """Requests at a time, over all endpoints."""
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Of each endpoint; what its headers say is heeded in any case."""
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    timeout: Annotated[float, Field(gt=0)] = 120.0
    """Seconds for one reply."""
    retries: Annotated[int, Field(ge=0)] = 10
    """How often a request is sent again that failed for a reason that may pass."""
    price: Price | None = None
    mode: Mode = "live"
    """`batch` hands all requests over at once, to be done within a day; half of `price` is counted for them."""

    @field_validator("base_url")
    @classmethod
    def _reachable(cls, value: str | list[str]) -> str | list[str]:
        for url in [value] if isinstance(value, str) else value:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url!r} is no address of an endpoint; it begins with http:// or https://")
        if not value:
            raise ValueError("must name an endpoint")
        return value

    @property
    def at_once(self) -> int:
        """How many requests may wait for an answer."""
        return BATCH_REQUESTS if self.mode == "batch" else self.concurrency

    @property
    def endpoints(self) -> list[str]:
        """All addresses, without a slash at their end."""
        return [url.rstrip("/") for url in ([self.base_url] if isinstance(self.base_url, str) else self.base_url)]

    def parameters(self) -> dict[str, Any]:
        """What every request says beside its messages."""
        said = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens, **self.extra}
        return {"model": self.model, **{key: value for key, value in said.items() if value is not None}}

    def key(self) -> str | None:
        """The key. Raises `InputError` where the file that should hold it does not."""
        if self.key_file is None:
            return os.environ.get(self.key_env)
        try:
            found = self.key_file.expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self.key_file}: the key cannot be read ({error})") from None
        if not found:
            raise InputError(f"{self.key_file}: holds no key")
        return found


class Budget(Settings):
    """Where one run of a build ends asking; what was asked until then is kept, and the next run goes on from there."""

    max_cost: Annotated[float, Field(gt=0)] | None = None
    """In the currency of the prices; a request that might cost more than is left is not sent."""
    max_requests: Annotated[int, Field(ge=1)] | None = None
    """That are sent to all models, failed ones and those sent again included, since a provider's quota counts them."""
