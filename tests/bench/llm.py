"""How much of a fast server's time the door to a language model leaves unused, and how fast kept replies come back.

    python -m tests.bench.llm [--out tests/bench/llm.md] [--rounds 5]

A server in a process of its own answers every chat completion after 50 ms. 2,000 requests are sent to it with 256 in
flight, by turns: through the door, cache and all, by its HTTP client alone, by aiohttp, and with OpenAI's client, each
with connections of its own to open. No client can be done before 2000 / 256 * 50 ms, rounded up to whole rounds of 256.
"""

import argparse
import asyncio
import math
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar, cast

import aiohttp
import openai
import orjson
import pyreqwest
import uvloop
from pyreqwest.client import ClientBuilder

from dataforge.llm.budget import Purse, Spent
from dataforge.llm.cache import Cache
from dataforge.llm.door import Door
from dataforge.llm.requests import Reply, Request
from dataforge.llm.settings import Budget, Model

Result = TypeVar("Result")
REQUESTS, IN_FLIGHT, SECONDS = 2000, 256, 0.05
IDEAL = math.ceil(REQUESTS / IN_FLIGHT) * SECONDS
PASSAGE = "The otter sleeps on its back and holds another's paw, so that neither drifts away. " * 6
ANSWER = "It holds another otter's paw while both of them sleep, so that neither drifts away. " * 3


class _Completions(asyncio.Protocol):
    """As little of HTTP as two clients on one machine need, so that the server is not what is measured."""

    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

    transport: asyncio.Transport

    def __init__(self) -> None:
        message = {"role": "assistant", "content": ANSWER}
        body = orjson.dumps(
            {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": 130, "completion_tokens": 60, "total_tokens": 190},
            }
        )
        self.answer = self.head % len(body) + body
        self.read = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what is written to."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer each whole request in time."""
        self.read += data
        while (end := self.read.find(b"\r\n\r\n")) >= 0:
            named = self.read[:end].lower().partition(b"content-length:")[2]
            length = end + 4 + int(named.partition(b"\r\n")[0])
            if len(self.read) < length:
                return
            del self.read[:length]
            asyncio.get_running_loop().call_later(SECONDS, self._say)

    def _say(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self.answer)


def _serve(told: Connection) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_Completions, "127.0.0.1", 0, backlog=1024)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    _run(run())


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    """On the loop on which builds ask."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def through_the_door(url: str, path: Path) -> float:
    """Seconds for all requests, an empty cache that keeps them included."""
    cache = Cache(path)
    door = Door("m", Model(base_url=url, model="m", concurrency=IN_FLIGHT), cache, Purse(Budget()))
    began = time.perf_counter()
    replies = await asyncio.gather(*(door.ask(_request(number), Spent()) for number in range(REQUESTS)))
    took = time.perf_counter() - began
    await door.close()
    kept = sum(share.replies for share in cache.stats())
    cache.close()
    if kept != REQUESTS or not all(isinstance(reply, Reply) for reply in replies):
        raise SystemExit(f"{kept} of {REQUESTS} replies were kept")
    return took


async def by_bare_pyreqwest(url: str, path: Path) -> float:
    """Seconds for all requests without a door: what its HTTP client alone takes, the answers parsed."""
    free = asyncio.Semaphore(IN_FLIGHT)
    async with ClientBuilder().default_headers({"Content-Type": "application/json"}).build() as client:

        async def ask(number: int) -> None:
            body = orjson.dumps({"model": "m", "messages": list(_request(number).messages)})
            async with free:
                response = await client.post(f"{url}/chat/completions").body_bytes(body).build().send()
                orjson.loads((await response.bytes()).to_bytes())

        began = time.perf_counter()
        await asyncio.gather(*(ask(number) for number in range(REQUESTS)))
        return time.perf_counter() - began


async def by_bare_aiohttp(url: str, path: Path) -> float:
    """Seconds for all requests with the usual client of asyncio, its answers parsed."""
    free = asyncio.Semaphore(IN_FLIGHT)
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    async with aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"}) as session:

        async def ask(number: int) -> None:
            body = orjson.dumps({"model": "m", "messages": list(_request(number).messages)})
            async with free, session.post(f"{url}/chat/completions", data=body) as response:
                orjson.loads(await response.read())

        began = time.perf_counter()
        await asyncio.gather(*(ask(number) for number in range(REQUESTS)))
        return time.perf_counter() - began


async def by_openai(url: str, path: Path) -> float:
    """Seconds for all requests with OpenAI's client as it comes."""
    free = asyncio.Semaphore(IN_FLIGHT)
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        async def ask(number: int) -> None:
            async with free:
                await client.chat.completions.create(model="m", messages=list(_request(number).messages))  # type: ignore[arg-type]

        began = time.perf_counter()
        await asyncio.gather(*(ask(number) for number in range(REQUESTS)))
        return time.perf_counter() - began


async def from_the_cache(url: str, path: Path) -> float:
    """Seconds for all requests again, which the door now has replies to."""
    cache = Cache(path)
    spent = Spent()
    door = Door("m", Model(base_url=url, model="m", concurrency=IN_FLIGHT), cache, Purse(Budget()))
    began = time.perf_counter()
    await asyncio.gather(*(door.ask(_request(number), spent) for number in range(REQUESTS)))
    took = time.perf_counter() - began
    await door.close()
    cache.close()
    if spent.cached != REQUESTS or spent.requests:
        raise SystemExit(f"{spent.cached} of {REQUESTS} replies were there")
    return took


def _request(number: int) -> Request:
    system = {"role": "system", "content": "You write one question about a passage."}
    return Request((system, {"role": "user", "content": f"{number}: {PASSAGE}"}))


def _hashed() -> float:
    """Seconds to name all requests, of which the cache's look-ups are no part."""
    from dataforge.llm import completions
    from dataforge.llm.door import key_of

    model = Model(base_url="http://127.0.0.1/v1", model="m")
    began = time.perf_counter()
    for number in range(REQUESTS):
        key_of(completions.logical(_request(number), model))
    return time.perf_counter() - began


ARMS: dict[str, Callable[[str, Path], Coroutine[Any, Any, float]]] = {
    "the door, replies kept": through_the_door,
    "pyreqwest alone": by_bare_pyreqwest,
    "aiohttp alone": by_bare_aiohttp,
    "openai.AsyncOpenAI": by_openai,
}


def main() -> None:
    """Measure by turns and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without", action="append", default=[], choices=ARMS, help="an arm to leave out")
    arguments = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ARMS if name not in arguments.without}
    again, names = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            path = Path(folder) / f"{number}.sqlite"
            for name in took:
                took[name].append(_run(_timed(ARMS[name], url, path)))
            again.append(_run(from_the_cache(url, path)))
            names.append(_hashed())
    server.terminate()
    text = _report(took, again, names, arguments.rounds)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


async def _timed(arm: Callable[[str, Path], Coroutine[Any, Any, float]], url: str, path: Path) -> tuple[float, float]:
    """Seconds, and those that this process computed, connecting and closing included."""
    began = time.process_time()
    return await arm(url, path), time.process_time() - began


def _report(took: dict[str, list[tuple[float, float]]], again: list[float], names: list[float], rounds: int) -> str:
    rows = []
    for name, pairs in took.items():
        wall, cpu = ([pair[number] for pair in pairs] for number in (0, 1))
        middle = statistics.median(wall)
        rows.append(
            f"| {name} | {middle:.2f} s ({min(wall):.2f} to {max(wall):.2f}) | {middle / IDEAL:.2f} | "
            f"{REQUESTS / middle:,.0f} | {statistics.median(cpu) / REQUESTS * 1000:.2f} ms |"
        )
    rate, named = REQUESTS / statistics.median(again), REQUESTS / statistics.median(names)
    return "\n".join(
        [
            "# Asking a language model",
            "",
            f"{REQUESTS:,} chat completions from a server that takes {SECONDS * 1000:.0f} ms for each, {IN_FLIGHT} in "
            f"flight: at best {IDEAL:.2f} s.",
            "",
            "| by | seconds | times the ideal | requests/s | computing for each |",
            "|---|---|---|---|---|",
            *rows,
            "",
            f"Asked again, all {REQUESTS:,} replies come from the cache at {rate:,.0f} a second "
            f"({REQUESTS / max(again):,.0f} to {REQUESTS / min(again):,.0f}), of which naming a request alone would "
            f"allow {named:,.0f}.",
            "",
            f"({os.cpu_count()} cores of {platform.machine()} that others used too, load {os.getloadavg()[0]:.1f}; "
            f"Python {platform.python_version()}, pyreqwest {pyreqwest.__version__}, aiohttp {aiohttp.__version__}, "
            f"openai {openai.__version__}, all on uvloop {version('uvloop')}; client and server in a process each; "
            f"median of {rounds} turns, with the fastest and the slowest)",
            "",
        ]
    )


if __name__ == "__main__":
    main()
