"""One request to an endpoint and its answer, over connections that are kept.

The bodies are those of OpenAI's API. They are sent without its client, whose work for each request (3 ms of one core,
0.15 ms here) would leave a fast local server idle most of the time; `python -m tests.bench.llm` measures both.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson


class BrokenError(Exception):
    """A request that had no answer: the connection broke, or it took too long."""


@dataclass(frozen=True)
class Answer:
    """What an endpoint answered."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
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
    """The chat completions of one address."""

    def __init__(self, url: str, key: str | None, connections: int, timeout: float) -> None:
        self.url = url
        self._key, self._connections = key, connections
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def send(self, body: Mapping[str, Any]) -> Answer:
        """Send one request. Raises `BrokenError`."""
        if self._session is None:
            headers = {"Content-Type": "application/json"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            connector = aiohttp.TCPConnector(limit=self._connections)
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        try:
            async with self._session.post(f"{self.url}/chat/completions", data=orjson.dumps(body)) as response:
                content = await response.read()
                return Answer(response.status, {name.lower(): text for name, text in response.headers.items()}, content)
        except TimeoutError:
            raise BrokenError(f"no answer within {self._timeout:g} s") from None
        except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
            raise BrokenError(f"{type(error).__name__}: {error}") from None

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            await asyncio.sleep(0)
