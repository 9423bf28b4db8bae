"""A server that speaks OpenAI's chat completions on a real socket, as well or as badly as a test wants it to."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson


@dataclass(frozen=True)
class Act:
    """What becomes of one request."""

    text: str = "yes"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    how: Literal["whole", "half", "hang", "drop", "raw"] = "whole"
    """`half` breaks off in the body, `hang` says nothing, `drop` closes the connection, `raw` sends the text itself."""
    finish: str = "stop"
    message: Mapping[str, Any] = field(default_factory=dict)
    """More keys of the message."""


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    at: float
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def asked(self) -> str:
        """The last message."""
        return str(self.body["messages"][-1]["content"])


Behave = Callable[[int, Seen], Act]
"""From the number of a request, from 0, and the request."""


def completion(act: Act, model: str) -> bytes:
    """The body of an answer."""
    return orjson.dumps(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "finish_reason": act.finish,
                    "message": {"role": "assistant", "content": act.text, **act.message},
                }
            ],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }
    )


class Server:
    """The server, in a thread of its own while the context lasts."""

    def __init__(self, behave: Behave | None = None) -> None:
        self.behave = behave or (lambda number, seen: Act())
        self.seen: list[Seen] = []
        self.answered: list[str] = []
        """What was asked in each request that got a whole answer of status 200."""
        self.most = 0
        """Requests at once, at most."""
        self._now = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Server":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def url(self) -> str:
        """What a recipe calls it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            return
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.split("\r\n")[1:-2]
        headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in lines)}
        body = orjson.loads(await reader.readexactly(int(headers["content-length"])))
        seen = Seen(time.monotonic(), body, headers)
        number = len(self.seen)
        self.seen.append(seen)
        act = self.behave(number, seen)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await asyncio.sleep(3600 if act.how == "hang" else act.delay)
        finally:
            self._now -= 1
        if act.how == "drop":
            return False
        content = act.text.encode() if act.how == "raw" else completion(act, body["model"])
        more = "".join(f"{name}: {text}\r\n" for name, text in act.headers.items())
        start = (
            f"HTTP/1.1 {act.status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n{more}\r\n"
        )
        if act.how == "half":
            writer.write(start.encode() + content[: len(content) // 2])
            await writer.drain()
            return False
        if act.status == 200 and act.how == "whole":
            self.answered.append(seen.asked)
        writer.write(start.encode() + content)
        await writer.drain()
        return True
