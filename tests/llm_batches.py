"""A server that speaks OpenAI's files and batches on a real socket; results come out of order."""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from tests.web_apps import served


@dataclass(frozen=True)
class Line:
    """What becomes of one request of a batch."""

    text: str = "yes"
    status: int = 200
    words: str = "boom"
    """Of the error, for other statuses than 200."""
    error: str = ""
    """A code, such as `batch_expired`, in place of any response; `nothing` leaves the line out."""
    message: dict[str, Any] = field(default_factory=dict)
    """More keys of the message."""
    finish: str = "stop"


Behave = Callable[[int, dict[str, Any]], Line]
"""From the number of the batch, from 0, and the body of a request."""


class BatchServer:
    """The server, in a thread of its own while the context lasts; its batches end after so many looks."""

    def __init__(self, behave: Behave | None = None, looks: int = 1, ends: str = "completed") -> None:
        self.behave = behave or (lambda number, body: Line())
        self.looks, self.ends = looks, ends
        self.create_faults: list[str] = []
        """Of the next batches that are made: `before` or `after` they are there the answer is 500."""
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.asked: Counter[str] = Counter()
        """How often each body was handed over."""
        self.looked: Counter[str] = Counter()
        self._open = ExitStack()

    def __enter__(self) -> "BatchServer":
        self.port = self._open.enter_context(served(self._app()))
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @property
    def url(self) -> str:
        """What a recipe calls it."""
        return f"http://127.0.0.1:{self.port}/v1"

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=2**28)
        app.router.add_post("/v1/files", self._upload)
        app.router.add_get("/v1/files/{id}/content", self._content)
        app.router.add_post("/v1/batches", self._create)
        app.router.add_get("/v1/batches", self._list)
        app.router.add_get("/v1/batches/{id}", self._retrieve)
        return app

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        file = form["file"]
        if form["purpose"] != "batch" or not isinstance(file, web.FileField):
            return _error(400, "no batch file")
        return web.json_response(self._file(file.file.read()))

    def _file(self, content: bytes) -> dict[str, Any]:
        identity = f"file-{len(self.files)}"
        self.files[identity] = content
        return {
            "id": identity,
            "object": "file",
            "bytes": len(content),
            "created_at": 1,
            "filename": "requests.jsonl",
            "purpose": "batch",
            "status": "processed",
        }

    async def _content(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files[request.match_info["id"]])

    async def _create(self, request: web.Request) -> web.Response:
        said = await request.json()
        fault = self.create_faults.pop(0) if self.create_faults else ""
        if fault == "before":
            return _error(500, "not made")
        number = len(self.batches)
        batch = {
            "id": f"batch-{number}",
            "object": "batch",
            "created_at": 1,
            "status": "validating",
            **{name: said[name] for name in ("endpoint", "input_file_id", "completion_window", "metadata")},
        }
        self.batches[batch["id"]] = batch
        lines = [orjson.loads(line) for line in self.files[said["input_file_id"]].splitlines()]
        self.asked.update(orjson.dumps(line["body"]).decode() for line in lines)
        if len({line["custom_id"] for line in lines}) != len(lines):
            return _error(400, "an id stands there twice")
        random.Random(number).shuffle(lines)
        done: dict[bool, list[bytes]] = {True: [], False: []}
        for line in lines:
            what = self.behave(number, line["body"])
            if what.error != "nothing":
                done[what.status == 200 and not what.error].append(orjson.dumps(_answered(line, what)))
        for good, name in ((True, "output_file_id"), (False, "error_file_id")):
            if done[good]:
                batch[name] = self._file(b"\n".join(done[good]))["id"]
        return _error(500, "made") if fault == "after" else web.json_response(batch)

    async def _list(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [*self.batches.values()], "has_more": False})

    async def _retrieve(self, request: web.Request) -> web.Response:
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return _error(404, "no such batch")
        self.looked[batch["id"]] += 1
        if self.looked[batch["id"]] <= self.looks:
            return web.json_response({**batch, "status": "in_progress", "output_file_id": None, "error_file_id": None})
        errors = {"object": "list", "data": [{"code": "x", "message": "Enqueued token limit reached"}]}
        return web.json_response({**batch, "status": self.ends, "errors": errors if self.ends == "failed" else None})


def _answered(line: dict[str, Any], what: Line) -> dict[str, Any]:
    found: dict[str, Any] = {"id": "r", "custom_id": line["custom_id"], "response": None, "error": None}
    if what.error:
        return {**found, "error": {"code": what.error, "message": "it was"}}
    message = {"role": "assistant", "content": what.text, **what.message}
    body: dict[str, Any] = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": line["body"]["model"],
        "choices": [{"index": 0, "finish_reason": what.finish, "message": message}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }
    if what.status != 200:
        body = {"error": {"message": what.words}}
    return {**found, "response": {"status_code": what.status, "request_id": "q", "body": body}}


def _error(status: int, words: str) -> web.Response:
    return web.json_response({"error": {"message": words}}, status=status)
