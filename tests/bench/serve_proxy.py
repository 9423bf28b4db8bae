"""What goes to a chat server and comes back, noted on the way."""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from tests.web_apps import served


@dataclass(frozen=True)
class Exchange:
    """One request and what the server said to it."""

    asked: dict[str, Any]
    answer: dict[str, Any]
    """Empty where the client went away before."""
    began: float
    took: float
    """Seconds, the time in the server's queue included."""

    @property
    def name(self) -> str:
        """All that was asked, so that the same request is known again."""
        return orjson.dumps(self.asked, option=orjson.OPT_SORT_KEYS).decode()

    @property
    def finished(self) -> bool:
        """Whether the whole answer was handed to the client."""
        return bool(self.answer)

    @property
    def text(self) -> str:
        """What the model wrote."""
        return str(self.answer["choices"][0]["message"]["content"]) if self.finished else ""

    @property
    def finish(self) -> str:
        """Why it stopped."""
        return str(self.answer["choices"][0]["finish_reason"]) if self.finished else ""

    def tokens(self, name: str) -> int:
        """`prompt_tokens` or `completion_tokens`, as the server counts them."""
        return int(self.answer["usage"][name]) if self.finished else 0


class Proxy:
    """An address of its own before a server, in a thread while the context lasts."""

    def __init__(self, server: str) -> None:
        self._server = server
        self.exchanges: list[Exchange] = []
        self._open = ExitStack()

    def __enter__(self) -> "Proxy":
        # A client that goes away is noticed while the server still works for it.
        self._port = self._open.enter_context(served(self._app(), handler_cancellation=True, access_log=None))
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @property
    def url(self) -> str:
        """What a recipe calls it."""
        return f"http://127.0.0.1:{self._port}/v1"

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", self._pass)
        return app

    async def _pass(self, request: web.Request) -> web.Response:
        body, began = await request.read(), time.monotonic()
        asked, answer = orjson.loads(body), dict[str, Any]()
        try:
            timeout = aiohttp.ClientTimeout(total=None)
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(f"{self._server}/chat/completions", data=body, headers=_JSON) as response,
            ):
                content, status = await response.read(), response.status
            if status == 200:
                answer = orjson.loads(content)
            return web.Response(body=content, status=status, headers=_JSON)
        finally:
            self.exchanges.append(Exchange(asked, answer, began, time.monotonic() - began))


_JSON = {"Content-Type": "application/json"}
