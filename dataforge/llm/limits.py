"""How fast one endpoint is asked: what the recipe says, and what the endpoint's answers say."""

import asyncio
import email.utils
import math
import re
import time
from collections.abc import Mapping

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


class Pace:
    """When the next request to an endpoint may be sent.

    Requests and tokens of a minute are spread over it. An endpoint whose answers say that nothing is left is not asked
    until they say that there is again.
    """

    def __init__(self, requests_per_minute: int | None = None, tokens_per_minute: int | None = None) -> None:
        self._per_request = 60 / requests_per_minute if requests_per_minute else 0.0
        self._per_token = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._next = 0.0
        self._closed_until = 0.0

    async def turn(self, tokens: int) -> None:
        """Wait for one's turn to send a request of about so many tokens, its reply included."""
        now = time.monotonic()
        cost = max(self._per_request, self._per_token * tokens)
        mine = max(now, self._next)
        self._next = mine + cost
        while (wait := max(mine, self._closed_until) - time.monotonic()) > 0:
            await asyncio.sleep(wait)

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
