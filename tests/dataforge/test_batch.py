"""Requests handed over as files of the batch API, to a server on a real socket."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dataforge.errors import BuildError
from dataforge.llm import batch, door
from dataforge.llm.budget import Purse, Spent, cost
from dataforge.llm.cache import Cache
from dataforge.llm.door import Door
from dataforge.llm.requests import NoReply, Reply, Request
from dataforge.llm.settings import Budget, Model, Price
from tests.asked import say
from tests.llm_batches import BatchServer, Line

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits as in the program, much shorter."""
    monkeypatch.setattr(batch, "QUIET", 0.02)
    monkeypatch.setattr(batch, "LOOKS", (0.005, 0.02))
    monkeypatch.setattr(door, "FIRST_WAIT", 0.001)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    """A cache of its own."""
    opened = Cache(tmp_path / "llm.sqlite")
    yield opened
    opened.close()


def asked(
    url: str, cache: Cache, requests: Sequence[Request], budget: Budget | None = None, **model: Any
) -> list[Reply | NoReply | BaseException]:
    """What becomes of requests that are all made at once."""

    async def run() -> list[Reply | NoReply | BaseException]:
        said = Model(**{"base_url": url, "model": "m", "mode": "batch", "retries": 3, **model})
        way = Door("m", said, cache, Purse(budget or Budget()))
        try:
            return await asyncio.gather(*(way.ask(each, Spent()) for each in requests), return_exceptions=True)
        finally:
            await way.close()

    return asyncio.run(run())


def stopped(url: str, cache: Cache, requests: Sequence[Request], when: Any) -> None:
    """Ask, and be stopped once `when()` holds."""

    async def run() -> None:
        way = Door("m", Model(base_url=url, model="m", mode="batch"), cache, Purse(Budget()))
        asking = [asyncio.create_task(way.ask(each, Spent())) for each in requests]
        while not when():
            await asyncio.sleep(0.002)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await way.close()

    asyncio.run(run())


def texts(replies: Sequence[object]) -> list[str]:
    """What replies say."""
    return [reply.text if isinstance(reply, Reply) else repr(reply) for reply in replies]


def words(body: dict[str, Any]) -> str:
    """The last message of a request."""
    return str(body["messages"][-1]["content"])


NAMES = [f"n{number}" for number in range(200)]


def test_two_hundred_requests_are_one_batch_whose_results_come_in_any_order(cache: Cache) -> None:
    with BatchServer(lambda number, body: Line(f"to {words(body)}")) as server:
        replies = asked(server.url, cache, [say(name) for name in NAMES])
        again = asked(server.url, cache, [say(name) for name in NAMES])
    assert texts(replies) == texts(again) == [f"to {name}" for name in NAMES]
    assert len(server.batches) == 1
    assert set(server.asked.values()) == {1}
    assert cache.batches(server.url) == {}
    assert sum(share.replies for share in cache.stats()) == 200


def test_equal_messages_of_several_samples_are_asked_each(cache: Cache) -> None:
    drawn = iter("abc")
    with BatchServer(lambda number, body: Line(next(drawn))) as server:
        replies = asked(server.url, cache, [say("q", sample=number) for number in range(3)])
    assert sorted(texts(replies)) == ["a", "b", "c"]
    assert len(server.batches) == 1


def test_what_may_pass_goes_into_the_next_batch_and_nothing_else_does(cache: Cache) -> None:
    faults = {
        "n1": Line(status=429),
        "n2": Line(status=500),
        "n3": Line(error="batch_expired"),
        "n4": Line(error="nothing"),
        "n5": Line(status=400, words="flagged by policy"),
    }
    with BatchServer(lambda number, body: faults.get(words(body), Line()) if number == 0 else Line("late")) as server:
        replies = asked(server.url, cache, [say(name) for name in NAMES[:8]])
    assert texts(replies[:5]) == ["yes", *["late"] * 4]
    assert isinstance(replies[5], NoReply)
    assert replies[5].reason == "failed"
    assert "flagged by policy" in replies[5].detail
    assert Counter(server.asked.values()) == {1: 4, 2: 4}


def test_many_refused_lines_do_not_stop_a_batch_that_works(cache: Cache) -> None:
    with BatchServer(lambda number, body: Line(status=400) if words(body) > "n15" else Line()) as server:
        replies = asked(server.url, cache, [say(name) for name in NAMES])
    assert sum(isinstance(reply, NoReply) for reply in replies) == sum(name > "n15" for name in NAMES) > 100
    assert not any(isinstance(reply, BaseException) for reply in replies)


def test_cut_off_and_refused_replies_are_no_replies_and_handed_over_once(cache: Cache) -> None:
    with BatchServer(
        lambda number, body: Line(finish="length") if words(body) == "n0" else Line(message={"refusal": "no"})
    ) as server:
        replies = asked(server.url, cache, [say(name) for name in NAMES[:2]])
        again = asked(server.url, cache, [say(name) for name in NAMES[:2]])
    assert [reply.reason for reply in replies if isinstance(reply, NoReply)] == ["truncated", "refused"]
    assert again == replies
    assert len(server.batches) == 1


def test_a_reply_that_is_not_the_json_is_repaired_in_a_second_batch(cache: Cache) -> None:
    with BatchServer(lambda number, body: Line("seven") if number == 0 else Line('{"n": 7}')) as server:
        (reply,) = asked(server.url, cache, [say("q", schema=SCHEMA)])
    assert isinstance(reply, Reply)
    assert reply.data == {"n": 7}
    assert len(server.batches) == 2


def test_a_build_that_was_stopped_comes_back_for_its_batch(cache: Cache) -> None:
    requests = [say(name) for name in NAMES[:20]]
    with BatchServer(lambda number, body: Line(f"to {words(body)}"), looks=10**9) as server:
        stopped(server.url, cache, requests[:12], lambda: server.looked["batch-0"] > 1)
        assert cache.stats() == []
        server.looks = 0
        replies = asked(server.url, cache, requests)
    assert texts(replies) == [f"to {name}" for name in NAMES[:20]]
    assert set(server.asked.values()) == {1}
    assert len(server.batches) == 2
    assert cache.batches(server.url) == {}


def test_a_batch_that_was_made_without_our_knowledge_is_found_by_its_mark(cache: Cache) -> None:
    with BatchServer(looks=0) as server:
        server.create_faults = ["before", "after"]
        replies = asked(server.url, cache, [say("a")])
        assert texts(replies) == ["yes"]
        assert len(server.batches) == 1
        # as after a kill between the making and the answer
        mark = next(iter(server.batches.values()))["metadata"]["forge"]
        handed = server.files["file-0"]
        cache.prune(unused_days=0)
        cache.open_batch(mark, server.url, [_identity(handed)])
        assert texts(asked(server.url, cache, [say("a")])) == ["yes"]
    assert len(server.batches) == 1


def test_a_batch_that_is_no_longer_known_is_handed_over_again(cache: Cache) -> None:
    with BatchServer(looks=0) as server:
        asked(server.url, cache, [say("a")])
        cache.prune(unused_days=0)
        cache.open_batch("batch-gone", server.url, [_identity(server.files["file-0"])])
        assert texts(asked(server.url, cache, [say("a")])) == ["yes"]
    assert len(server.batches) == 2


@pytest.mark.parametrize(("ends", "said"), [("failed", "Enqueued token limit reached"), ("cancelled", "was cancelled")])
def test_a_batch_that_ends_badly_stops_the_build_in_the_servers_words(cache: Cache, ends: str, said: str) -> None:
    with BatchServer(lambda number, body: Line(error="nothing"), ends=ends) as server:
        (found,) = asked(server.url, cache, [say("a")])
    assert isinstance(found, BuildError)
    assert said in str(found)
    assert cache.batches(server.url) == {}


def test_no_server_is_said_in_one_sentence(cache: Cache) -> None:
    (found,) = asked("http://127.0.0.1:9/v1", cache, [say("a")], retries=0)
    assert isinstance(found, BuildError)
    assert "http://127.0.0.1:9/v1" in str(found)


def test_what_is_too_much_for_one_batch_makes_several(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "BATCH_REQUESTS", 30)
    with BatchServer() as server:
        replies = asked(server.url, cache, [say(name) for name in NAMES[:100]])
    assert texts(replies) == ["yes"] * 100
    assert len(server.batches) == 4


def _identity(content: bytes) -> str:
    import orjson

    return str(orjson.loads(content.splitlines()[0])["custom_id"])


def test_a_batch_is_counted_with_half_the_price() -> None:
    price = Price(input=4, output=10)
    live, handed_over = (Model(base_url="http://x", model="m", price=price, mode=mode) for mode in ("live", "batch"))
    assert (cost(1_000_000, 500_000, live), cost(1_000_000, 500_000, handed_over)) == (9.0, 4.5)
