"""How many requests are under way, and what they may cost, as the server itself saw it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dataforge.errors import BuildError
from dataforge.llm import door
from dataforge.llm.budget import Purse, Spent
from dataforge.llm.cache import Cache
from dataforge.llm.door import Door
from dataforge.llm.limits import Pace
from dataforge.llm.requests import NoReply, Reply, Request
from dataforge.llm.settings import Budget, Model
from tests.llm_server import Act, Seen, Server


def asked(url: str, path: Path, count: int, purse: Purse, **model: Any) -> list[Reply | NoReply | BaseException]:
    """What becomes of so many requests that are all made at once."""

    async def run() -> list[Reply | NoReply | BaseException]:
        cache = Cache(path)
        way = Door("m", Model(base_url=url, model="m", **model), cache, purse)
        requests = [Request(({"role": "user", "content": str(number)},)) for number in range(count)]
        try:
            return await asyncio.gather(*(way.ask(each, Spent()) for each in requests), return_exceptions=True)
        finally:
            await way.close()
            cache.close()

    return asyncio.run(run())


class Narrow:
    """A server that takes so many at a time, refuses the others at once and says nothing of when to come again."""

    def __init__(self, width: int) -> None:
        self.width, self.inside, self.refused = width, 0, 0

    def act(self, number: int, seen: Seen) -> Act:
        if self.inside >= self.width:
            self.refused += 1
            return Act(status=429)
        self.inside += 1
        asyncio.get_running_loop().call_later(0.02, self.leave)
        return Act(delay=0.02)

    def leave(self) -> None:
        self.inside -= 1


def test_a_server_that_takes_few_at_a_time_gets_few_and_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(door, "LONGEST_WAIT", 0.5)
    narrow = Narrow(4)
    with Server(narrow.act) as server:
        replies = asked(server.url, tmp_path / "c", 300, Purse(Budget()), concurrency=128)
    assert [reply for reply in replies if not isinstance(reply, Reply)] == []
    assert len(server.answered) == len(set(server.answered)) == 300
    assert narrow.refused < 300  # sent again all at once, each would be refused many times


def test_what_is_under_way_is_never_more_than_the_recipe_says(tmp_path: Path) -> None:
    with Server(lambda number, seen: Act(delay=0.01)) as server:
        asked(server.url, tmp_path / "c", 200, Purse(Budget()), concurrency=7)
    assert server.most == 7


def test_no_more_is_spent_than_the_budget_however_many_are_under_way(tmp_path: Path) -> None:
    # The server counts 10 tokens in and 5 out: 0.00015 a request at most, of which 6 fit; 64 may be under way.
    price, budget = {"input": 5, "output": 20}, Budget(max_cost=0.001)
    with Server(lambda number, seen: Act(delay=0.01)) as server:
        purse = Purse(budget)
        replies = asked(server.url, tmp_path / "c", 100, purse, concurrency=64, max_tokens=100, price=price)
        assert len(server.seen) == 0  # one reply alone might cost 0.002
        more = Purse(Budget(max_cost=0.01))
        more_replies = asked(server.url, tmp_path / "c", 100, more, concurrency=64, max_tokens=100, price=price)
    assert all(isinstance(reply, BuildError) for reply in replies)
    kept = [reply for reply in more_replies if isinstance(reply, Reply)]
    assert more.spent.cost <= 0.01
    assert more.spent.cost > 0.01 - 0.0021  # all that fits is asked
    assert len(kept) == len(server.seen) == round(more.spent.cost / 0.00015)


def test_who_waits_for_a_turn_and_is_cancelled_lets_the_next_one_go() -> None:
    async def run() -> list[str]:
        pace, done = Pace(at_once=1), list[str]()

        async def take(name: str, seconds: float) -> None:
            async with pace.turn(1):
                await asyncio.sleep(seconds)
                done.append(name)

        tasks = [asyncio.create_task(take(name, 0.01)) for name in "abc"]
        await asyncio.sleep(0.002)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return done

    assert asyncio.run(asyncio.wait_for(run(), 30)) == ["a", "c"]


def test_room_is_halved_once_for_all_that_was_sent_before() -> None:
    async def run() -> tuple[float, float]:
        pace = Pace(at_once=64)
        began = list[float]()

        async def take() -> None:
            async with pace.turn(1) as at:
                began.append(at)
                await asyncio.sleep(0.01)
                pace.crowded(at)

        await asyncio.gather(*(take() for _ in range(64)))
        halved = pace.room
        for _ in range(40):
            pace.answered()
        return halved, pace.room

    halved, grown = asyncio.run(run())
    assert halved == 32
    assert 33 <= grown <= 34
