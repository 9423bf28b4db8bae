"""What an endpoint is sent and what is kept from it, on real sockets."""

import asyncio
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

from dataforge.errors import InputError
from dataforge.llm.cache import Cache
from dataforge.llm.endpoints import Answer, BrokenError, Endpoint
from dataforge.llm.requests import Reply
from tests.llm_server import Act, Server


def sent(url: str, key: str | None = "sk-secret", timeout: float = 5.0) -> Answer:
    """The answer to one request."""

    async def run() -> Answer:
        endpoint = Endpoint(url, key, timeout)
        try:
            return await endpoint.send({"model": "m", "messages": []})
        finally:
            await endpoint.close()

    return asyncio.run(run())


@contextmanager
def web(status: int, headers: dict[str, str], tls: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[str]]]:
    """A server that gives every request the same answer; with its port and the heads of what it was sent."""
    heads: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heads.append(f"{self.requestline}\n{self.headers}")
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, text in {**headers, "Content-Length": "2"}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], heads
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_headers_are_found_whatever_their_case_and_content() -> None:
    with web(429, {"Retry-After": "7", "X-RateLimit-Remaining-Requests": "0", "X-Odd": "caf\xe9"}) as (port, heads):
        answer = sent(f"http://127.0.0.1:{port}/v1")
    assert (answer.status, answer.body) == (429, b"{}")
    assert answer.headers.get("retry-after") == "7"
    assert answer.headers.get("x-ratelimit-remaining-requests") == "0"
    assert "POST /v1/chat/completions HTTP/1.1" in heads[0]
    assert "Authorization: Bearer sk-secret" in heads[0]
    assert "Content-Type: application/json" in heads[0]


def test_the_key_is_not_taken_along_to_another_server() -> None:
    with (
        web(200, {}) as (port, others),
        web(307, {"Location": f"http://127.0.0.1:{port}/v1/chat/completions"}) as (first, heads),
    ):
        sent(f"http://127.0.0.1:{first}/v1")
    assert "sk-secret" in heads[0]
    assert "sk-secret" not in "".join(others)


@pytest.mark.parametrize(("direct", "status"), [("", 502), ("127.0.0.1,localhost", 200)])
def test_the_proxy_of_the_environment_is_asked_but_for_addresses_that_it_excepts(
    monkeypatch: pytest.MonkeyPatch, direct: str, status: int
) -> None:
    with web(502, {}) as (proxy, seen), web(200, {}) as (port, _):
        for name in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, direct)
        assert sent(f"http://127.0.0.1:{port}/v1").status == status
    assert len(seen) == (status == 502)


@pytest.mark.parametrize(
    ("url", "key", "words"),
    [
        ("http://[x/v1", None, "is no address that can be asked"),
        ("http://127.0.0.1:99999/v1", None, "is no address that can be asked"),
        ("http://127.0.0.1/v1", "sk-secret\nx", "the key holds characters that cannot be sent"),
    ],
)
def test_what_can_be_no_address_or_key_is_said_at_once(url: str, key: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words) as found:
        sent(url, key)
    assert "sk-" not in str(found.value)


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (Act(how="drop"), "ConnectError: connection closed before message completed"),
        (Act(how="half"), "BodyDecodeError: end of file before message length reached"),
        (Act(how="hang"), "no answer within 0.2 s"),
    ],
)
def test_a_broken_answer_says_in_few_words_what_happened(act: Act, words: str) -> None:
    with Server(lambda number, seen: act) as server, pytest.raises(BrokenError) as found:
        sent(server.url, timeout=0.2)
    assert str(found.value) == words


def test_a_certificate_is_judged_by_what_the_system_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with web(200, {}, context) as (port, _):
        with pytest.raises(BrokenError, match=r"ConnectError: .*certificate"):
            sent(f"https://127.0.0.1:{port}/v1")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert sent(f"https://127.0.0.1:{port}/v1").status == 200


PROGRAM = """
import asyncio, sys, uvloop
from pathlib import Path
from dataforge.llm.budget import Purse, Spent
from dataforge.llm.cache import Cache
from dataforge.llm.door import Door
from dataforge.llm.requests import Request
from dataforge.llm.settings import Budget, Model

async def run():
    door = Door("m", Model(base_url=sys.argv[1], model="m"), Cache(Path(sys.argv[2])), Purse(Budget()))
    try:
        await asyncio.gather(*(door.ask(Request(({"role": "user", "content": str(n)},)), Spent()) for n in range(40)))
    finally:
        await door.close()

with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(run())
"""


def test_an_interrupt_leaves_at_once_whatever_is_under_way(tmp_path: Path) -> None:
    with Server(lambda number, seen: Act(how="hang") if number % 2 else Act()) as server:
        run = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, server.url, str(tmp_path / "c")],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        cache = Cache(tmp_path / "c")
        while len(list(cache.rows())) < 20 and run.poll() is None:
            time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)  # of which a request under way might take 120
    assert said.splitlines()[-1] == "KeyboardInterrupt"
    assert all(words not in said for words in ("loop is closed", "never retrieved", "never awaited"))
    assert len(list(cache.rows())) == 20
    cache.close()


def test_replies_that_come_together_are_all_kept_before_anybody_has_one(tmp_path: Path) -> None:
    other = Cache(tmp_path / "c")

    async def run(cache: Cache) -> None:
        async def keep(number: int) -> None:
            await cache.keep(str(number), {"n": number}, Reply(str(number)))
            found = other.get(str(number))
            assert found is not None
            assert found.text == str(number)

        await asyncio.gather(*map(keep, range(500)))
        await cache.kept()

    cache = Cache(tmp_path / "c")
    asyncio.run(run(cache))
    assert len(list(cache.rows())) == 500
    cache.close()
    other.close()


def test_a_reply_that_cannot_be_written_is_an_error_to_all_who_wait(tmp_path: Path) -> None:
    async def run(cache: Cache) -> list[object]:
        cache.put("0", {}, Reply("0"))
        cache._db.execute("DROP TABLE replies")
        try:
            return list(
                await asyncio.gather(*(cache.keep(str(n), {}, Reply("x")) for n in range(250)), return_exceptions=True)
            )
        finally:
            await cache.kept()

    cache = Cache(tmp_path / "c")
    found = asyncio.run(run(cache))
    assert {str(error) for error in found} == {
        f"{tmp_path / 'c'}: a reply could not be written (no such table: replies)"
    }
    assert all(isinstance(error, InputError) for error in found)
    cache.close()
