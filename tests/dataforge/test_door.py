"""The door to a language model, against a server on a real socket that misbehaves in every way they do."""

import asyncio
import email.utils
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dataforge.errors import BuildError, InputError
from dataforge.llm import door
from dataforge.llm.budget import Purse, Spent
from dataforge.llm.cache import Cache
from dataforge.llm.door import Door
from dataforge.llm.requests import NoReply, Reply, Request
from dataforge.llm.settings import Budget, Model
from tests.asked import say
from tests.llm_server import Act, Seen, Server

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits as in the program, a hundred times shorter."""
    monkeypatch.setattr(door, "FIRST_WAIT", 0.005)
    monkeypatch.setattr(door, "LONGEST_WAIT", 0.6)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    """A cache of its own."""
    opened = Cache(tmp_path / "llm.sqlite")
    yield opened
    opened.close()


def asked(
    server: Server, cache: Cache, requests: Sequence[Request], budget: Budget | None = None, **model: Any
) -> tuple[list[Reply | NoReply | BaseException], Purse]:
    """What becomes of requests that are all made at once."""
    purse = Purse(budget or Budget())

    async def run() -> list[Reply | NoReply | BaseException]:
        way = Door("m", Model(**{"base_url": server.url, "model": "m", **model}), cache, purse)
        try:
            return await asyncio.gather(*(way.ask(each, Spent()) for each in requests), return_exceptions=True)
        finally:
            await way.close()

    return asyncio.run(run()), purse


def texts(replies: Sequence[object]) -> list[str]:
    """What replies say."""
    return [reply.text if isinstance(reply, Reply) else repr(reply) for reply in replies]


def test_a_request_is_what_the_recipe_says_and_its_reply_is_kept(cache: Cache) -> None:
    with Server(lambda number, seen: Act(f"to {seen.asked}")) as server:
        first, _ = asked(
            server, cache, [say("a"), say("b", temperature=0.0, max_tokens=7)], top_p=0.5, extra={"seed": 3}
        )
        again, purse = asked(
            server, cache, [say("a"), say("b", temperature=0.0, max_tokens=7)], top_p=0.5, extra={"seed": 3}
        )
    assert texts(first) == texts(again) == ["to a", "to b"]
    assert len(server.seen) == 2
    assert purse.spent.requests == 0
    assert purse.spent.cached == 2
    bodies = {seen.asked: seen.body for seen in server.seen}
    assert bodies["b"] == {
        "model": "m",
        "messages": [{"role": "user", "content": "b"}],
        "temperature": 0.0,
        "max_tokens": 7,
        "top_p": 0.5,
        "seed": 3,
    }
    assert bodies["a"]["temperature"] == 0.7


@pytest.mark.parametrize(
    "change", [{"temperature": 0.1}, {"model": "other"}, {"extra": {"seed": 1}}, {"max_tokens": 9}, {"top_p": 0.1}]
)
def test_what_changes_the_request_asks_again(cache: Cache, change: dict[str, Any]) -> None:
    with Server() as server:
        asked(server, cache, [say("a")])
        asked(server, cache, [say("a")], **change)
        asked(server, cache, [say("a", sample=1)])
        asked(server, cache, [say("a", schema=SCHEMA)], structured="text")
    assert len(server.seen) == 5  # the last one is repaired


@pytest.mark.parametrize(
    "change", [{"concurrency": 1}, {"timeout": 9}, {"price": {"input": 1, "output": 1}}, {"retries": 1}]
)
def test_what_does_not_change_the_request_asks_nothing(cache: Cache, change: dict[str, Any]) -> None:
    with Server() as server:
        asked(server, cache, [say("a")])
        asked(server, cache, [say("a")], **change)
    assert len(server.seen) == 1


def test_two_who_ask_the_same_at_once_ask_once(cache: Cache) -> None:
    with Server(lambda number, seen: Act(str(number), delay=0.05)) as server:
        replies, _ = asked(server, cache, [say("a")] * 20 + [say("b")] * 3)
    assert len(server.seen) == 2
    assert len(set(texts(replies[:20]))) == len(set(texts(replies[20:]))) == 1


FAILURES: dict[str, Act] = {
    "429": Act(status=429),
    "429 with seconds": Act(status=429, headers={"Retry-After": "0.01"}),
    "429 with a date": Act(status=429, headers={"Retry-After": email.utils.formatdate(time.time() - 5, usegmt=True)}),
    "500": Act(status=500, text="boom", how="raw"),
    "503": Act(status=503),
    "408": Act(status=408),
    "dropped": Act(how="drop"),
    "half a body": Act(how="half"),
    "no JSON": Act("<html>busy</html>", how="raw"),
    "other JSON": Act('{"hello": 1}', how="raw"),
    "hangs": Act(how="hang"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_may_pass_is_asked_again(cache: Cache, name: str) -> None:
    with Server(lambda number, seen: FAILURES[name] if number < 3 else Act("done")) as server:
        (reply,), purse = asked(server, cache, [say("a")], timeout=0.2)
    assert texts([reply]) == ["done"]
    assert len(server.seen) == purse.spent.requests == 4
    assert len(list(cache.rows())) == 1


def test_retry_after_is_waited_for_by_all(cache: Cache) -> None:
    with Server(
        lambda number, seen: Act(status=429, headers={"Retry-After": "0.4"}) if not number else Act()
    ) as server:
        asked(server, cache, [say(str(number)) for number in range(4)], concurrency=1)
    assert server.seen[1].at - server.seen[0].at >= 0.4


def test_an_endpoint_that_says_that_nothing_is_left_is_left_alone(cache: Cache) -> None:
    none_left = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "300ms"}
    with Server(lambda number, seen: Act(headers=none_left if number == 1 else {})) as server:
        asked(server, cache, [say(str(number)) for number in range(4)], concurrency=1)
    times = [seen.at for seen in server.seen]
    assert times[2] - times[1] >= 0.3
    assert times[1] - times[0] < 0.3


@pytest.mark.parametrize("limit", [{"requests_per_minute": 600}, {"tokens_per_minute": 60_000}])
def test_requests_and_tokens_of_a_minute_are_spread_over_it(cache: Cache, limit: dict[str, int]) -> None:
    began = time.monotonic()
    with Server() as server:
        asked(
            server,
            cache,
            [say("x" * 392) for _ in range(1)] + [say("x" * 392 + str(n)) for n in range(5)],
            max_tokens=1,
            **limit,
        )
    assert all(seen.at - began > 0.098 * number for number, seen in enumerate(server.seen))


def test_nothing_is_lost_and_nothing_asked_twice_where_a_third_fails(cache: Cache) -> None:
    chance = random.Random(4)
    failures = [act for name, act in FAILURES.items() if name != "hangs"]

    def behave(number: int, seen: Seen) -> Act:
        return chance.choice(failures) if chance.random() < 0.3 else Act(f"{seen.asked}!", delay=0.002)

    with Server(behave) as server:
        replies, purse = asked(server, cache, [say(str(n)) for n in range(2000)], concurrency=64)
    assert texts(replies) == [f"{n}!" for n in range(2000)]
    assert Counter(server.answered).most_common(1)[0][1] == 1
    assert sorted(server.answered, key=int) == [str(n) for n in range(2000)]
    assert server.most <= 64
    assert purse.spent.requests == len(server.seen) > 2500


@pytest.mark.parametrize(("status", "concurrency"), [(500, 1), (503, 64), (429, 64), (400, 64)])
def test_the_door_closes_where_nothing_succeeds(cache: Cache, status: int, concurrency: int) -> None:
    body = '{"error": {"message": "the GPU is on fire"}}'
    with Server(lambda number, seen: Act(body, status=status, how="raw")) as server:
        replies, _ = asked(server, cache, [say(str(n)) for n in range(5000)], concurrency=concurrency)
    assert len(server.seen) <= 20 + 2 * concurrency
    stopped = [reply for reply in replies if isinstance(reply, BuildError)]
    assert len(stopped) > 4900
    assert "the GPU is on fire" in str(stopped[0])
    assert not list(cache.rows())


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_ends_it_at_once(cache: Cache, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with Server(lambda number, seen: Act('{"error": {"message": "who are you?"}}', status=status, how="raw")) as server:
        (reply, *_), _ = asked(server, cache, [say(str(n)) for n in range(50)], concurrency=1)
    assert [seen.headers["authorization"] for seen in server.seen] == ["Bearer sk-secret"]
    assert isinstance(reply, BuildError)
    assert "who are you?" in str(reply)
    assert "OPENAI_API_KEY" in str(reply)
    assert "sk-secret" not in str(reply)
    assert b"sk-secret" not in cache.path.read_bytes()


def test_one_request_that_the_endpoint_refuses_is_no_record_and_the_rest_is(cache: Cache) -> None:
    def behave(number: int, seen: Seen) -> Act:
        return Act('{"error": {"message": "too long"}}', status=400, how="raw") if seen.asked == "7" else Act()

    with Server(behave) as server:
        replies, _ = asked(server, cache, [say(str(n)) for n in range(10)], concurrency=2)
    assert replies[7] == NoReply("failed", f"{server.url}: 400: too long")
    assert sum(isinstance(reply, Reply) for reply in replies) == 9
    assert len(server.seen) == 10
    assert sorted(row.request["messages"][0]["content"] for row in cache.rows()) == [*"012345689"]


@pytest.mark.parametrize(("status", "times"), [(500, 3), (400, 1)])
def test_a_request_that_fails_for_good_is_asked_again_the_next_time(cache: Cache, status: int, times: int) -> None:
    broken = True

    def behave(number: int, seen: Seen) -> Act:
        return Act(status=status) if broken and seen.asked == "b" else Act()

    with Server(behave) as server:
        (good, bad), _ = asked(server, cache, [say("a"), say("b")], retries=2)
        assert isinstance(good, Reply)
        assert isinstance(bad, NoReply)
        assert bad.reason == "failed"
        assert len(list(cache.rows())) == 1
        broken = False
        replies, _ = asked(server, cache, [say("a"), say("b")])
    assert all(isinstance(reply, Reply) for reply in replies)
    assert Counter(seen.asked for seen in server.seen) == {"a": 1, "b": times + 1}


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (Act("half a sent", finish="length"), "truncated"),
        (Act("", message={"refusal": "I cannot"}), "refused"),
        (Act("", finish="content_filter"), "refused"),
        (Act(" \n"), "empty"),
        (Act("<think>hm, yes"), "empty"),
        (Act("<think>hm</think>"), "empty"),
        (Act("<think>hm", finish="length"), "truncated"),
    ],
)
def test_what_is_cut_off_or_refused_is_no_reply_and_paid_for_once(cache: Cache, act: Act, reason: str) -> None:
    with Server(lambda number, seen: act) as server:
        (reply,), _ = asked(server, cache, [say("a")])
        again, purse = asked(server, cache, [say("a")])
    assert isinstance(reply, NoReply)
    assert reply.reason == reason
    assert again == [reply]
    assert len(server.seen) == 1
    assert (purse.spent.requests, purse.spent.cached) == (0, 1)
    (share,) = cache.stats()
    assert (share.model, share.replies, share.prompt_tokens, share.completion_tokens) == ("m", 1, 10, 5)


@pytest.mark.parametrize(
    "act",
    [
        Act("<think>\nhm\n</think>\n\nyes"),
        Act("hm\n</think>\n\nyes"),
        Act("yes", message={"reasoning_content": "hm"}),
        Act("yes", message={"reasoning": "hm"}),
    ],
)
def test_what_was_thought_is_kept_apart(cache: Cache, act: Act) -> None:
    with Server(lambda number, seen: act) as server:
        (reply,), _ = asked(server, cache, [say("a")])
    assert isinstance(reply, Reply)
    assert (reply.text, reply.reasoning) == ("yes", "hm")


@pytest.mark.parametrize(
    "text",
    [
        '{"n": 3}',
        'Sure!\n```json\n{"n": 3}\n```\nAnything else?',
        'Here it is: {"n": 3}.',
        '<think>{"n": 1}</think>{"n": 3}',
    ],
)
def test_json_is_found_whatever_stands_around_it(cache: Cache, text: str) -> None:
    with Server(lambda number, seen: Act(text)) as server:
        (reply,), _ = asked(server, cache, [say("a", schema=SCHEMA)])
    assert isinstance(reply, Reply)
    assert reply.data == {"n": 3}
    assert server.seen[0].body["response_format"]["type"] == "json_schema"


def test_json_that_does_not_fit_is_repaired_once(cache: Cache) -> None:
    with Server(lambda number, seen: Act('{"n": "three"}' if not number else '{"n": 3}')) as server:
        (reply,), _ = asked(server, cache, [say("a", schema=SCHEMA)])
        known, _ = asked(server, cache, [say("a", schema=SCHEMA)])
    assert isinstance(reply, Reply)
    assert reply.data == {"n": 3}
    assert known == [reply]
    assert len(server.seen) == 2
    assert [message["role"] for message in server.seen[1].body["messages"]] == ["user", "assistant", "user"]
    assert "'three' is not of type 'integer'" in server.seen[1].asked


def test_json_that_never_fits_is_no_reply_and_paid_for_once(cache: Cache) -> None:
    with Server(lambda number, seen: Act("three")) as server:
        (reply,), _ = asked(server, cache, [say("a", schema=SCHEMA)])
        again, purse = asked(server, cache, [say("a", schema=SCHEMA)])
    assert isinstance(reply, NoReply)
    assert reply.reason == "unparsable"
    assert again == [reply]
    assert len(server.seen) == 2
    assert (purse.spent.requests, purse.spent.cached) == (0, 1)
    (share,) = cache.stats()  # of both rounds
    assert (share.replies, share.prompt_tokens, share.completion_tokens) == (1, 20, 10)


def test_a_repair_that_is_cut_off_is_kept_and_one_that_fails_is_not(cache: Cache) -> None:
    def behave(number: int, seen: Seen) -> Act:
        if len(seen.body["messages"]) < 3:
            return Act("three")
        cut = seen.body["messages"][0]["content"] == "cut"
        return Act('{"n"', finish="length") if cut else Act(status=400)

    requests = [say(text, schema=SCHEMA) for text in ("cut", "broken")]
    with Server(behave) as server:
        replies, _ = asked(server, cache, requests, retries=0, structured="schema")
        again, _ = asked(server, cache, requests, retries=0, structured="schema")
    assert again == replies
    assert [reply.reason for reply in replies if isinstance(reply, NoReply)] == ["truncated", "failed"]
    assert Counter(seen.body["messages"][0]["content"] for seen in server.seen) == {"cut": 2, "broken": 4}
    assert [row.request["messages"][0]["content"] for row in cache.rows()] == ["cut"]


def test_replies_kept_by_earlier_versions_are_read(cache: Cache) -> None:
    with Server() as server:
        asked(server, cache, [say("a")])
        (row,) = cache.rows()
        old = (row.key, "m", b"{}", b'{"text": "old", "model": "m", "prompt_tokens": 1}', 0.0, 0.0)
        with sqlite3.connect(cache.path) as db:
            db.execute("INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?)", old)
        db.close()
        (reply,), _ = asked(server, cache, [say("a")])
    assert reply == Reply("old", model="m", key=row.key, prompt_tokens=1)
    assert len(server.seen) == 1


def test_an_endpoint_without_schemas_is_asked_in_words(cache: Cache) -> None:
    def behave(number: int, seen: Seen) -> Act:
        if "response_format" in seen.body:
            return Act('{"error": {"message": "response_format is not supported"}}', status=400, how="raw")
        return Act('{"n": 3}')

    with Server(behave) as server:
        replies, _ = asked(server, cache, [say(str(n), schema=SCHEMA) for n in range(30)], concurrency=8)
    assert all(isinstance(reply, Reply) and reply.data == {"n": 3} for reply in replies)
    assert len(server.seen) <= 30 + 2 * 8
    assert '"required":["n"]' in server.seen[-1].body["messages"][0]["content"]


def test_an_endpoint_that_does_not_heed_schemas_is_told_in_words(cache: Cache) -> None:
    def behave(number: int, seen: Seen) -> Act:
        return Act('{"n": 3}' if "JSON schema" in str(seen.body["messages"]) else "three")

    with Server(behave) as server:
        replies, _ = asked(server, cache, [say(str(n), schema=SCHEMA) for n in range(10)], concurrency=1)
    assert all(isinstance(reply, Reply) for reply in replies)
    assert len(server.seen) == 11


def test_several_endpoints_share_the_work(cache: Cache) -> None:
    with Server() as one, Server() as other:
        asked(one, cache, [say(str(n)) for n in range(40)], base_url=[one.url, other.url])
    assert len(one.seen) == len(other.seen) == 20


@pytest.mark.parametrize(
    ("budget", "words"), [({"max_requests": 10}, "budget.max_requests"), ({"max_cost": 0.001}, "budget.max_cost")]
)
def test_a_spent_budget_ends_it_and_keeps_all_there_is(cache: Cache, budget: dict[str, Any], words: str) -> None:
    # 10 tokens in and 5 out at these prices: 0.0001 a request.
    price = {"input": 5, "output": 10}
    with Server() as server:
        replies, purse = asked(
            server, cache, [say(str(n)) for n in range(50)], Budget(**budget), price=price, concurrency=1, max_tokens=5
        )
        assert len(server.seen) == 10
        stopped = [reply for reply in replies if isinstance(reply, BuildError)]
        assert len(stopped) == 40
        assert words in str(stopped[0])
        again, _ = asked(server, cache, [say(str(n)) for n in range(50)], max_tokens=5)
    assert all(isinstance(reply, Reply) for reply in again)
    assert len(server.seen) == 50
    assert purse.spent.cost == pytest.approx(0.001)


def test_several_processes_share_a_cache(tmp_path: Path) -> None:
    path = tmp_path / "llm.sqlite"
    program = (
        "import sys\nfrom pathlib import Path\nfrom dataforge.llm.cache import Cache\n"
        "from dataforge.llm.requests import Reply\ncache = Cache(Path(sys.argv[1]))\n"
        "for n in range(300):\n    cache.put(f'{sys.argv[2]}-{n % 100}-{n}', {'n': n}, Reply(str(n)))\n"
        "    assert cache.get(f'{sys.argv[2]}-{n % 100}-{n}').text == str(n)\n"
    )
    runs = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in "abc"]
    assert [run.wait() for run in runs] == [0, 0, 0]
    cache = Cache(path)
    assert len(list(cache.rows())) == 900
    cache.close()


def test_a_file_that_is_no_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not a database" * 100)
    with pytest.raises(InputError, match="is no cache of replies"):
        Cache(tmp_path / "x")


def test_failed_requests_count_towards_the_most_that_may_be_sent(cache: Cache) -> None:
    with Server(lambda number, seen: Act(status=500) if number % 2 else Act()) as server:
        requests = [say(str(n)) for n in range(50)]
        replies, purse = asked(server, cache, requests, Budget(max_requests=20), concurrency=4)
        assert len(server.seen) == purse.spent.requests == 20
        kept = sum(isinstance(reply, Reply) for reply in replies)
        assert kept == len(list(cache.rows())) == 10
        # The next run may send as many once more, and asks for nothing that it has.
        asked(server, cache, requests, Budget(max_requests=20), concurrency=4)
    assert len(server.seen) == 40
    assert Counter(server.answered).most_common(1)[0][1] == 1
