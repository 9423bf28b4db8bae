"""Requests handed over many at a time, as files of OpenAI's batch API, and answered within a day for less.

What is asked at about the same time becomes one batch. Which batches are open is kept beside the replies: a build that
is stopped while one is under way comes back for it, and hands nothing over twice.
"""

import asyncio
import hashlib
import itertools
import uuid
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from dataforge.errors import BuildError
from dataforge.llm.cache import Cache
from dataforge.llm.endpoints import Answer, BrokenError
from dataforge.llm.settings import BATCH_REQUESTS
from dataforge.records import canonical_json

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import Batch

QUIET = 1.0
"""Seconds without a further request after which those that wait are handed over."""
LOOKS = (2.0, 60.0)
"""Seconds between two looks at a batch: at first, and at most."""
MOST_BYTES = 190_000_000
"""Of one batch; OpenAI takes 200 MB."""
_INTENDED = "intended:"
_MARK = "forge"
_ENDED = ("completed", "failed", "expired", "cancelled")


class BatchEndpoint:
    """The batches of one address; stands where an `Endpoint` does. All its methods belong to one event loop."""

    def __init__(self, url: str, key: str | None, cache: Cache, retries: int) -> None:
        self.url = url
        self._key, self._cache, self._retries = key, cache, retries
        self._client: AsyncOpenAI | None = None
        self._waiting: dict[str, asyncio.Future[Answer]] = {}
        self._lines: dict[str, bytes] = {}
        """Requests that are in no batch yet."""
        self._open: dict[str, str] | None = None
        """The batch in which an earlier build handed a request over."""
        self._told: set[str] = set()
        """Batches whose answers all were told."""
        self._cut = False
        """Whether somebody did not wait for an answer, which must be found again."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._last = 0.0

    async def send(self, body: Mapping[str, Any], key: str) -> Answer:
        """The answer to one request, once its batch has ended; `key` tells equal bodies apart.

        Raises `BrokenError` where the batch left it out, `BuildError` where the batch itself failed.
        """
        identity = hashlib.sha256(key.encode() + canonical_json(body)).hexdigest()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting[identity] = answer
        line = {"custom_id": identity, "method": "POST", "url": "/v1/chat/completions", "body": body}
        self._lines[identity] = orjson.dumps(line) + b"\n"
        self._last = loop.time()
        if len(self._lines) == 1:
            self._start(self._hand_over(), self._lines)
        try:
            return await answer
        except asyncio.CancelledError:
            self._cut = True
            raise

    async def close(self) -> None:
        """Stop looking. Batches whose answers were taken are forgotten, the others are come back for."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not self._cut:
            for batch in self._told:
                self._cache.close_batch(batch)
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _start(self, work: Coroutine[Any, Any, None], concerned: Iterable[str]) -> None:
        """Do it beside all else; what goes wrong is told to those who wait."""

        async def run() -> None:
            try:
                await work
            except Exception as error:  # told to whoever waits, else they would wait for ever
                for identity in list(concerned):
                    self._tell(identity, _said(self.url, error))

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tell(self, identity: str, what: Answer | Exception) -> None:
        answer = self._waiting.pop(identity, None)
        if answer is None or answer.done():
            return
        if isinstance(what, Exception):
            answer.set_exception(what)
        else:
            answer.set_result(what)

    async def _hand_over(self) -> None:
        """Wait until nothing more is asked for, then make batches of what is in none."""
        loop = asyncio.get_running_loop()
        if self._open is None:
            self._open = await self._known()
        while (left := self._last + QUIET - loop.time()) > 0 and len(self._lines) < BATCH_REQUESTS:
            await asyncio.sleep(left)
        lines, self._lines = self._lines, {}
        known = {identity: self._open.pop(identity) for identity in list(lines) if identity in self._open}
        for batch in set(known.values()):
            self._follow(batch, [identity for identity, its in known.items() if its == batch])
        for part in _parts({identity: line for identity, line in lines.items() if identity not in known}):
            self._start(self._batch(part), part)

    async def _known(self) -> dict[str, str]:
        """The batches of earlier builds, by request; one that was about to be made is looked for by its mark."""
        found: dict[str, str] = {}
        for batch, identities in self._cache.batches(self.url).items():
            identity: str | None = batch
            if batch.startswith(_INTENDED):
                identity = await self._marked(batch)
                self._cache.close_batch(batch)
                if identity is not None:
                    self._cache.open_batch(identity, self.url, identities)
            if identity is not None:
                found |= dict.fromkeys(identities, identity)
        return found

    async def _marked(self, mark: str) -> str | None:
        async for batch in self._api().batches.list(limit=100):
            if (batch.metadata or {}).get(_MARK) == mark:
                return batch.id
        return None

    async def _batch(self, lines: Mapping[str, bytes]) -> None:
        """Make a batch. It is remembered before it is made, and has a mark by which it is found again."""
        content, mark = b"".join(lines.values()), f"{_INTENDED}{uuid.uuid4().hex}"
        file = await self._api().files.create(file=("requests.jsonl", content), purpose="batch")
        self._cache.open_batch(mark, self.url, list(lines))
        batch = await self._made(file.id, mark)
        self._cache.open_batch(batch, self.url, list(lines))
        self._cache.close_batch(mark)
        self._follow(batch, list(lines))

    async def _made(self, file: str, mark: str) -> str:
        """The batch of a file: asked for again only where it was not made."""
        import openai

        once = self._api().with_options(max_retries=0)
        for attempt in itertools.count():
            try:
                made = await once.batches.create(
                    input_file_id=file,
                    endpoint="/v1/chat/completions",
                    completion_window="24h",
                    metadata={_MARK: mark},
                )
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError):
                if attempt >= self._retries:
                    raise
                await asyncio.sleep(min(LOOKS[1], LOOKS[0] * 2**attempt))
                found = await self._marked(mark)
                if found is not None:
                    return found
            else:
                return made.id
        raise RuntimeError("unreachable")

    def _follow(self, batch: str, identities: Sequence[str]) -> None:
        self._start(self._answers(batch, identities), identities)

    async def _answers(self, batch: str, identities: Sequence[str]) -> None:
        """Look at a batch until it has ended, and tell what became of its requests."""
        import openai

        api, wait = self._api(), LOOKS[0]
        try:
            while (found := await api.batches.retrieve(batch)).status not in _ENDED:
                await asyncio.sleep(wait)
                wait = min(LOOKS[1], wait * 1.5)
        except openai.NotFoundError:
            self._cache.close_batch(batch)
            for identity in identities:
                self._tell(identity, BrokenError(f"batch {batch} is no longer known"))
            return
        if found.status == "failed":
            self._cache.close_batch(batch)
            raise BuildError(f"{self.url}: batch {batch} failed: {_words(found)}; every reply is kept")
        wanted = set(identities)
        for file in (found.output_file_id, found.error_file_id):
            if file is None:
                continue
            content = await api.files.content(file)
            for number, line in enumerate(content.content.splitlines(), start=1):
                identity, what = _read(line, f"{self.url}: {file}:{number}")
                if identity in wanted:
                    wanted.discard(identity)
                    self._tell(identity, what)
        if found.status == "cancelled":
            self._cache.close_batch(batch)
            raise BuildError(
                f"{self.url}: batch {batch} was cancelled before it was done; what it had answered is kept: run the "
                "same command again to hand the rest over"
            )
        for identity in wanted:
            self._tell(identity, BrokenError(f"batch {batch} ended ({found.status}) without an answer to it"))
        self._told.add(batch)

    def _api(self) -> "AsyncOpenAI":
        if self._client is None:
            from openai import AsyncOpenAI

            self._client = AsyncOpenAI(base_url=self.url, api_key=self._key or "none", max_retries=self._retries)
        return self._client


def _parts(lines: Mapping[str, bytes]) -> list[dict[str, bytes]]:
    """Cut where a batch would become too big."""
    parts, size = list[dict[str, bytes]](), 0
    for identity, line in lines.items():
        if not parts or len(parts[-1]) >= BATCH_REQUESTS or size + len(line) > MOST_BYTES:
            parts.append({})
            size = 0
        parts[-1][identity] = line
        size += len(line)
    return parts


def _read(line: bytes, place: str) -> tuple[str, Answer | Exception]:
    """A line of an output or error file: whose it is, and what became of the request."""
    try:
        found = orjson.loads(line)
        identity, response, error = str(found["custom_id"]), found.get("response"), found.get("error")
        if response is not None:
            return identity, Answer(int(response["status_code"]), {}, orjson.dumps(response["body"]))
        return identity, BrokenError(f"{error['code']}: {error.get('message') or 'no reason given'}")
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as fault:
        raise BuildError(f"{place}: is no answer of a batch ({fault!r})") from None


def _words(batch: "Batch") -> str:
    said = [each.message for each in (batch.errors.data or [])] if batch.errors else []
    return "; ".join(text for text in said[:3] if text) or "no reason given"


def _said(url: str, error: Exception) -> Exception:
    """An error of the API as one of the user's; others as they are."""
    import openai

    if isinstance(error, openai.APIStatusError):
        text = " ".join(error.message.split())[:300]
        return BuildError(f"{url} says {text}; batches handed over go on: run the same command again to come back")
    if isinstance(error, openai.OpenAIError):
        return BuildError(
            f"{url}: {error}; batches that were handed over go on: run the same command again to come back for them"
        )
    return error
