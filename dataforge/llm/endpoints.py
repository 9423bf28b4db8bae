"""One request to an endpoint and its answer, over connections that are kept.

The bodies are those of OpenAI's API. They are sent without its client, whose work for each request (3 ms of one core,
0.1 ms here) would leave a fast local server idle most of the time; `python -m tests.bench.llm` measures both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import RequestError, RequestTimeoutError
from pyreqwest.http import Url

from dataforge.errors import InputError


class BrokenError(Exception):
    """A request that had no answer: the connection broke, or it took too long."""


@dataclass(frozen=True)
class Answer:
    """What an endpoint answered."""

    status: int
    headers: Mapping[str, str]
    """By their names, whose case does not matter to what is asked for in lower case."""
    body: bytes

    def json(self) -> Any:
        """The body. Raises `ValueError` where it is no JSON."""
        return orjson.loads(self.body)

    @property
    def words(self) -> str:
        """What it says of an error, in one line."""
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            found = self.body.decode("utf-8", "replace")
        for name in ("error", "message", "detail"):
            if isinstance(found, dict) and name in found:
                found = found[name]
        return f"{self.status}: {' '.join(str(found).split())[:300]}"


class Endpoint:
    """The chat completions of one address, by way of the proxy that the environment names for it.

    Raises `InputError` where there can be none.
    """

    def __init__(self, url: str, key: str | None, timeout: float) -> None:
        self.url = url
        self._timeout = timeout
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        builder = ClientBuilder().timeout(timedelta(seconds=timeout)).referer(False)
        try:
            self._completions = Url(f"{url}/chat/completions")
        except ValueError as error:
            raise InputError(f"{url}: is no address that can be asked ({error})") from None
        try:
            builder = builder.default_headers(headers)
        except ValueError:  # which says the key
            raise InputError(f"{url}: the key holds characters that cannot be sent, such as a line break") from None
        self._client: Client = builder.build()

    async def send(self, body: Mapping[str, Any]) -> Answer:
        """Send one request. Raises `BrokenError`."""
        request = self._client.post(self._completions).body_bytes(orjson.dumps(body)).build()
        try:
            response = await request.send()
            content = await response.bytes()
        except RequestTimeoutError:
            raise BrokenError(f"no answer within {self._timeout:g} s") from None
        except RequestError as error:
            causes = error.details["causes"]
            why = causes[-1]["message"] if causes else error.message  # the others name the whole address again
            raise BrokenError(f"{type(error).__name__}: {why}") from None
        return Answer(response.status, response.headers, content.to_bytes())

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.close()
