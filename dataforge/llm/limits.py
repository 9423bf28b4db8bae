"""How fast one endpoint is asked: what the recipe says, and what the endpoint's answers say."""

import asyncio
import email.utils
import math
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


class Pace:
    """When the next request to an endpoint may be sent, and how many may be under way.

    Requests and tokens of a minute are spread over it. An endpoint whose answers say that nothing is left is not asked
    until they say that there is again. One that has too much to do, without saying until when, gets half as many
    requests at a time, and one more for each round of answers.
    """

    def __init__(
        self, requests_per_minute: int | None = None, tokens_per_minute: int | None = None, at_once: int = 1 << 30
    ) -> None:
        self._per_request = 60 / requests_per_minute if requests_per_minute else 0.0
        self._per_token = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._next = 0.0
        self._closed_until = 0.0
        self._most = at_once
        self.room = float(at_once)
        """How many may be under way."""
        self._flying = 0
        self._halved = 0.0
        self._queue: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def turn(self, tokens: int) -> AsyncIterator[float]:
        """One's turn to send a request of about so many tokens, its reply included; gives when it began."""
        while self._flying >= int(self.room):
            free: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append(free)
            try:
                await free
            except asyncio.CancelledError:
                if free.done() and not free.cancelled():
                    self._wake()  # it was this one's turn, and is the next one's now
                raise
        self._flying += 1
        try:
            now = time.monotonic()
            mine = max(now, self._next)
            self._next = mine + max(self._per_request, self._per_token * tokens)
            while (wait := max(mine, self._closed_until) - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            yield time.monotonic()
        finally:
            self._flying -= 1
            self._wake()

    def _wake(self) -> None:
        free = int(self.room) - self._flying
        while free > 0 and self._queue:
            waiting = self._queue.popleft()
            if not waiting.done():
                waiting.set_result(None)
                free -= 1

    def answered(self) -> None:
        """Let more be under way."""
        self.room = min(float(self._most), self.room + 1 / self.room)

    def crowded(self, began: float) -> None:
        """Let half as many be under way, if the request was sent since that was last done."""
        if began >= self._halved:
            self._halved = time.monotonic()
            self.room = max(1.0, min(self.room, self._flying) / 2)

    def close_for(self, seconds: float) -> None:
        """Ask nothing for so long."""
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)

    def heed(self, headers: Mapping[str, str]) -> None:
        """Close until there is something left, where an answer says that there is nothing."""
        for what in ("requests", "tokens"):
            left, reset = headers.get(f"x-ratelimit-remaining-{what}"), headers.get(f"x-ratelimit-reset-{what}")
            if left is not None and reset is not None and left.strip().lstrip("-").isdecimal() and int(left) <= 0:
                self.close_for(seconds(reset) or 0.0)


def seconds(text: str) -> float | None:
    """A span as `1.5`, `20ms` or `6m0s`; None where it is none."""
    text = text.strip()
    try:
        found = float(text)
    except ValueError:
        parts = _PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            return None
        found = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return found if math.isfinite(found) else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """How long an answer asks to wait, in seconds: `retry-after-ms`, or `retry-after` as seconds or a date."""
    exact = headers.get("retry-after-ms")
    if exact is not None and (found := seconds(exact)) is not None:
        return max(0.0, found / 1000)
    said = headers.get("retry-after")
    if said is None:
        return None
    found = seconds(said)
    if found is not None:
        return max(0.0, found)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
