"""The one door to a language model: what was asked before is not asked again, and what fails is asked again in time.

A request goes to the cache, then to whoever is asking the same already, then to an endpoint. Requests whose failure
may pass (408, 409, 429, 5xx, broken connections, half an answer) are sent again, after what the answer asks for or a
time that doubles. Where nothing succeeds the door closes, with the endpoint's own words.
"""

import asyncio
import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from dataforge import seeds
from dataforge.errors import BuildError
from dataforge.llm import completions
from dataforge.llm.batch import BatchEndpoint
from dataforge.llm.budget import Purse, Spent, cost, tokens_of
from dataforge.llm.cache import Cache
from dataforge.llm.completions import NotJsonError
from dataforge.llm.endpoints import BrokenError, Endpoint
from dataforge.llm.failures import Failure, refused
from dataforge.llm.limits import Pace
from dataforge.llm.requests import NoReply, Reply, Request
from dataforge.llm.settings import Model, Structured
from dataforge.records import canonical_json

FIRST_WAIT = 0.5
"""Seconds before a request is sent again that failed; doubled each time."""
LONGEST_WAIT = 60.0
HOPELESS = 20
"""Failures after which the door closes: of all requests from the beginning, or for good one after another."""
_SECRET = 8
"""A key with fewer characters, such as `EMPTY`, may stand in a reply as a word."""
_HIDDEN = "[the key]"
_WAYS: dict[Structured, tuple[Structured, ...]] = {"auto": ("schema", "object", "text")}


class _LostError(Exception):
    """A request that failed for good, in a sentence."""


@dataclass
class _Line:
    """One endpoint with its pace."""

    endpoint: Endpoint | BatchEndpoint
    pace: Pace
    ways: list[Structured]
    """How JSON may still be asked for; the first is taken."""


@dataclass
class Door:
    """The way to one model. All its methods belong to one event loop."""

    name: str
    model: Model
    cache: Cache
    purse: Purse
    _lines: list[_Line] = field(default_factory=list)
    _asking: dict[str, "asyncio.Future[Reply | NoReply]"] = field(default_factory=dict)
    _succeeded: bool = False
    _failed: int = 0
    """Of all that was sent, until something succeeds."""
    _others: int = 0
    """Requests that were under way when the first one failed."""
    _flying: int = 0
    """Requests that wait for their answer."""
    _lost: int = 0
    """Requests one after another that failed for good."""
    _closed: BuildError | None = None
    """Why nothing is sent any more."""

    def __post_init__(self) -> None:
        self._free = asyncio.Semaphore(self.model.at_once)
        self._key = key = self.model.key()
        ways = _WAYS.get(self.model.structured, (self.model.structured,))
        for url in self.model.endpoints:
            if self.model.mode == "batch":
                self._lines.append(_Line(BatchEndpoint(url, key, self.cache, self.model.retries), Pace(), list(ways)))
                continue
            endpoint = Endpoint(url, key, self.model.timeout)
            pace = Pace(self.model.requests_per_minute, self.model.tokens_per_minute, self.model.concurrency)
            self._lines.append(_Line(endpoint, pace, list(ways)))
        self._turns = itertools.cycle(range(len(self._lines)))

    async def ask(self, request: Request, spent: Spent) -> Reply | NoReply:
        """The reply to a request; what it took is counted in `spent` and in the purse.

        Raises `BuildError` where the budget is spent, or nothing succeeds.
        """
        said = completions.logical(request, self.model)
        key = key_of(said)
        known = self.cache.get(key)
        if known is not None:
            spent.cached += 1
            self.purse.spent.cached += 1
            return known
        waiting = self._asking.get(key)
        if waiting is not None:
            return await asyncio.shield(waiting)
        self._asking[key] = found = asyncio.get_running_loop().create_future()
        try:
            reply = await self._asked(key, said, spent)
        except asyncio.CancelledError:
            found.cancel()
            raise
        except BuildError as error:
            found.set_exception(error)
            found.exception()  # whoever else waits for it is told; nobody need
            raise
        else:
            found.set_result(reply)
            return reply
        finally:
            del self._asking[key]

    async def close(self) -> None:
        """Let go of all connections, once what came over them is kept."""
        for line in self._lines:
            await line.endpoint.close()
        await self.cache.kept()

    async def _asked(self, key: str, said: Mapping[str, Any], spent: Spent) -> Reply | NoReply:
        schema = said.get("schema")
        async with self._free:
            try:
                line, sent, answer, reply = await self._sent(key, said, None, spent)
                try:
                    if schema is not None:
                        reply = completions.read(answer, schema, key)
                except NotJsonError as fault:
                    text = str(answer["choices"][0]["message"].get("content") or "")
                    again = completions.repaired(sent, schema or {}, text, str(fault))
                    if line.ways[0] == "schema" and len(line.ways) > 1:
                        line.ways[:] = line.ways[-1:]  # it takes a schema and does not heed it
                    _, _, answer, mended = await self._sent(key, said, again, spent, line)
                    try:
                        reply = completions.read(answer, schema, key)
                    except NotJsonError as last:
                        reply = _unparsable(last, reply, mended)
            except _LostError as lost:
                return NoReply("failed", str(lost))
            # A place is free once this is kept: no more than that is lost by a kill.
            await self.cache.keep(key, said, reply)
            return reply

    async def _sent(
        self,
        key: str,
        said: Mapping[str, Any],
        again: Mapping[str, Any] | None,
        spent: Spent,
        line: _Line | None = None,
    ) -> tuple[_Line, Mapping[str, Any], Any, Reply | NoReply]:
        """A completion, however often it takes to get it, and its text as a reply; before them where it came from and
        what was sent.
        """
        room = said.get("max_tokens") or 0
        prompt = sum(tokens_of(message["content"]) for message in said["messages"])
        bound = cost(prompt, room, self.model)
        for attempt in itertools.count():
            taken = line or self._lines[next(self._turns)]
            sent = completions.body(said, taken.ways[0]) if again is None else again
            async with taken.pace.turn(prompt + room) as began:
                if self._closed is not None:
                    raise self._closed
                await self.purse.take(bound)
                spent.requests += 1
                spent.again += attempt > 0
                spent.mended += attempt == 0 and again is not None
                try:
                    found = await self._tried(taken, sent, key)
                    if not isinstance(found, Failure):
                        taken.pace.answered()
                        answer, reply = found
                        self._count(answer, spent)
                        return taken, sent, answer, reply
                    spent.failures[found.kind] += 1
                    if found.crowded:
                        taken.pace.crowded(began)
                finally:
                    self.purse.give_back(bound)
            if again is None and found.unfit and "response_format" in sent:
                known = completions.body(said, taken.ways[0]) != sent  # another request has found it out
                if known or len(taken.ways) > 1:
                    taken.ways[:] = taken.ways if known else taken.ways[1:]
                    continue
            self._fail(taken, found)
            if not found.may_pass or attempt >= self.model.retries:
                self._lose(taken, found)
                times = f"failed {attempt + 1} times, at last: " if attempt else ""
                raise _LostError(f"{taken.endpoint.url}: {times}{found.why}")
            wait = self._wait(key, attempt) if found.wait is None else found.wait
            if found.wait is not None:
                taken.pace.close_for(wait)
            await asyncio.sleep(wait)
        raise RuntimeError("unreachable")

    async def _tried(self, line: _Line, sent: Mapping[str, Any], key: str) -> tuple[Any, Reply | NoReply] | Failure:
        """A completion and its text as a reply."""
        self._flying += 1
        try:
            if isinstance(line.endpoint, BatchEndpoint):
                answer = await line.endpoint.send(sent, key)
            else:
                answer = await line.endpoint.send(sent)
        except BrokenError as error:
            return Failure(self._without_key(str(error)))
        except BuildError as error:
            raise BuildError(self._without_key(str(error))) from None
        finally:
            self._flying -= 1
        if len(self._key or "") >= _SECRET and (secret := (self._key or "").encode()) in answer.body:
            answer = replace(answer, body=answer.body.replace(secret, _HIDDEN.encode()))
        line.pace.heed(answer.headers)
        if answer.status != 200:
            return refused(answer, self._without_key(answer.words))
        try:
            found = answer.json()
            return found, completions.read(found, None, key)
        except ValueError as error:
            return Failure(f"half an answer, or none: {error}")

    def _without_key(self, text: str) -> str:
        """What an endpoint said, which may hold the key that it was sent."""
        return text.replace(self._key, _HIDDEN) if self._key else text

    def _count(self, answer: Any, spent: Spent) -> None:
        usage = answer.get("usage") or {}
        tokens = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        for each in (spent, self.purse.spent):
            each.add(tokens[0], tokens[1], self.model)
        self._succeeded, self._failed, self._lost = True, 0, 0

    def _wait(self, key: str, attempt: int) -> float:
        spread = 0.5 + seeds.share(0, "wait", key, str(attempt))
        return float(min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) * spread)

    def _fail(self, line: _Line, failure: Failure) -> None:
        if failure.status in (401, 403, 404):
            self._close(
                f"{self.name}: {line.endpoint.url}: {failure.why}; see `base_url`, `model` and the key in "
                f"{self.model.key_file or self.model.key_env}"
            )
        if not self._failed:
            self._others = self._flying  # which may yet succeed
        self._failed += 1
        if not self._succeeded and self._failed >= HOPELESS + self._others:
            self._close(
                f"{self.name}: {line.endpoint.url}: {self._failed} requests failed and none succeeded, the last one: "
                f"{failure.why}; mend it and run the same command again"
            )

    def _lose(self, line: _Line, failure: Failure) -> None:
        self._lost += 1
        if self.model.mode == "batch" and self._succeeded:
            return  # a batch tells all of its failures one after another
        if self._lost >= HOPELESS:
            self._close(
                f"{self.name}: {line.endpoint.url}: {self._lost} requests one after another failed for good, the last "
                f"one: {failure.why}; every reply is kept: run the same command again"
            )

    def _close(self, why: str) -> NoReturn:
        """Send nothing any more."""
        self._closed = BuildError(why)
        raise self._closed


def _unparsable(fault: NotJsonError, first: Reply | NoReply, mended: Reply | NoReply) -> NoReply:
    return NoReply(
        "unparsable",
        f"twice not the JSON that was asked for: {fault}",
        model=mended.model,
        prompt_tokens=first.prompt_tokens + mended.prompt_tokens,
        completion_tokens=first.completion_tokens + mended.completion_tokens,
    )


def key_of(said: Mapping[str, Any]) -> str:
    """The name of a request in the cache."""
    return hashlib.sha256(canonical_json(said)).hexdigest()
