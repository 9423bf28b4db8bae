"""Replies that were paid for, in one SQLite file of the user's: a row for each request, by the hash of what it says.

Several processes may use it at once. A reply is written before anybody sees it, also one that can become no record:
it is paid for too. What failed is never written.
Those that come while others are written wait for the next turn and are then written at once, by a thread: the disk
holds up no request.
"""

import asyncio
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import orjson
import platformdirs

from dataforge.errors import InputError
from dataforge.llm.requests import NoReply, Reply, restored

ENVIRONMENT = "FORGE_LLM_CACHE"
# Replies stand in the order in which they came: by their keys each would change a page of its own, and to keep one took
# 177 us in place of 28.
_TABLES = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, request BLOB NOT NULL, reply BLOB NOT NULL,
    made REAL NOT NULL, used REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS batches (
    id TEXT PRIMARY KEY, endpoint TEXT NOT NULL, keys BLOB NOT NULL, made REAL NOT NULL
) WITHOUT ROWID;
"""
_BYTES = "(length(request) + length(reply))"
_TOKENS = ", ".join(
    f"coalesce(sum(json_extract(CAST(reply AS TEXT), '$.{name}')), 0)"
    for name in ("prompt_tokens", "completion_tokens")
)
_UNUSABLE = "json_extract(CAST(reply AS TEXT), '$.reason') IS NOT NULL"
_COLUMNS = 6
_AT_ONCE = 100
"""Rows in one statement; SQLite takes 999 values at least."""
_EMPTY_PAGES = 12
"""More than a file without replies has."""
_BUSY_MS = 60_000
_BATCH_SECONDS = 30 * 86400
"""After which no endpoint has a batch's answers any more."""
_REMEMBER_USE = 3600
"""Seconds after which a use is written again; a write for each look would make looking slow."""


def place() -> Path:
    """The file: `FORGE_LLM_CACHE`, or in the user's cache folder."""
    said = os.environ.get(ENVIRONMENT)
    return Path(said) if said else platformdirs.user_cache_path("forge") / "llm.sqlite"


_Row = tuple[str, str, bytes, bytes, float, float]
_FIELDS = {kind: tuple(each.name for each in fields(kind) if each.name != "key") for kind in (Reply, NoReply)}


@dataclass(frozen=True)
class Stored:
    """A row of the cache."""

    key: str
    model: str
    request: Any
    """What was asked, as JSON."""
    reply: Reply | NoReply
    made: float
    """Seconds since 1970."""


@dataclass(frozen=True)
class Share:
    """What there is of one model, or what of it goes."""

    model: str
    replies: int
    bytes: int
    prompt_tokens: int
    completion_tokens: int
    oldest: float
    """Seconds since 1970, as the next."""
    newest: float


class Cache:
    """The file, opened. Raises `InputError` where it is none, or cannot be written."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or place()
        self._coming: list[tuple[_Row, asyncio.Future[None]]] = []
        """What is written next, and who waits for it."""
        self._under_way: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "cache")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db, self._writer = _opened(self.path), _opened(self.path)
            self._db.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"{self.path}: is no cache of replies that can be used ({error}); move it away, or name another file "
                f"in {ENVIRONMENT}"
            ) from None

    def get(self, key: str) -> Reply | NoReply | None:
        """The reply to a request, or why it can become no record."""
        row = self._db.execute("SELECT reply, used FROM replies WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        now = time.time()
        if now - row[1] > _REMEMBER_USE:
            self._db.execute("UPDATE replies SET used = ? WHERE key = ?", (now, key))
        return restored(orjson.loads(row[0]), key)

    def put(self, key: str, request: Any, reply: Reply | NoReply) -> None:
        """Keep a reply; other processes have it once this returns."""
        _write(self._db, [_row(key, request, reply)])

    async def keep(self, key: str, request: Any, reply: Reply | NoReply) -> None:
        """The same for a reply among others."""
        written = asyncio.get_running_loop().create_future()
        self._coming.append((_row(key, request, reply), written))
        if self._under_way is None:
            self._write_next()
        await written

    async def kept(self) -> None:
        """Wait until all is written that was to be kept."""
        while self._under_way is not None:
            await asyncio.wait([self._under_way])

    def _write_next(self) -> None:
        coming, self._coming = self._coming, []

        def told(done: "asyncio.Future[None]") -> None:
            self._under_way = None
            error = done.exception()
            for _, written in coming:
                if written.done():
                    continue  # nobody waits any more
                if error is None:
                    written.set_result(None)
                else:
                    written.set_exception(InputError(f"{self.path}: a reply could not be written ({error})"))
            if self._coming:
                self._write_next()

        rows = [row for row, _ in coming]
        self._under_way = asyncio.get_running_loop().run_in_executor(self._thread, _write, self._writer, rows)
        self._under_way.add_done_callback(told)

    def rows(self) -> Iterator[Stored]:
        """All of it, by key."""
        for key, model, request, reply, made in self._db.execute(
            "SELECT key, model, request, reply, made FROM replies ORDER BY key"
        ):
            yield Stored(key, model, orjson.loads(request), restored(orjson.loads(reply), key), made)

    def stats(self) -> list[Share]:
        """What there is of each model, the most first."""
        found = self._db.execute(
            f"""
            SELECT model, count(*), sum({_BYTES}),
                {_TOKENS}, min(made), max(made)
            FROM replies GROUP BY model ORDER BY 2 DESC, 1
            """
        )
        return [Share(*row) for row in found]

    def prune(
        self,
        model: str | None = None,
        unused_days: float | None = None,
        size: int | None = None,
        unusable: bool = False,
        agree: Callable[[Share], None] | None = None,
    ) -> int:
        """Forget replies and return how many.

        Those of a model, that were not used for so many days, that can become no record; with a size only so many of
        them, the longest unused first, that the file becomes no larger. `agree` is told what would go, and raises where
        it may not.
        """
        before = time.time() - 86400 * unused_days if unused_days is not None else time.time() + 1
        self._db.execute("CREATE TEMP TABLE going (key TEXT PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID")
        try:
            self._db.execute(
                f"""
                INSERT INTO going SELECT key, bytes FROM (
                    SELECT key, {_BYTES} AS bytes, used, sum({_BYTES}) OVER (ORDER BY used, key) AS upto FROM replies
                    WHERE (:model IS NULL OR model = :model) AND used < :before
                        AND (NOT :unusable OR {_UNUSABLE})
                ) WHERE :over IS NULL OR upto - bytes < :over
                """,
                {
                    "model": model,
                    "before": before,
                    "unusable": unusable,
                    "over": None if size is None else self._over(size),
                },
            )
            told = self._db.execute(f"""
                SELECT count(*), coalesce(sum(bytes), 0), {_TOKENS}, coalesce(min(used), 0), coalesce(max(used), 0)
                FROM replies JOIN going USING (key)
            """).fetchone()
            if told[0] and agree is not None:
                agree(Share(model or "all models", *told))
            self._db.execute("DELETE FROM replies WHERE key IN (SELECT key FROM going)")
        finally:
            self._db.execute("DROP TABLE going")
        if told[0]:
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(told[0])

    def _over(self, size: int) -> int:
        """How many bytes of replies must go for the file to be no larger, by what it takes for each of them now."""
        pages, free, each = (
            int(self._db.execute(f"PRAGMA {name}").fetchone()[0])
            for name in ("page_count", "freelist_count", "page_size")
        )
        held = int(self._db.execute(f"SELECT coalesce(sum({_BYTES}), 0) FROM replies").fetchone()[0])
        return max(0, math.ceil(held * (1 - max(0, size - _EMPTY_PAGES * each) / ((pages - free) * each))))

    def batches(self, endpoint: str) -> dict[str, list[str]]:
        """Batches handed over to an endpoint and not yet read, with the keys of their requests."""
        self._db.execute("DELETE FROM batches WHERE made < ?", (time.time() - _BATCH_SECONDS,))
        found = self._db.execute("SELECT id, keys FROM batches WHERE endpoint = ? ORDER BY made, id", (endpoint,))
        return {identity: orjson.loads(keys) for identity, keys in found}

    def open_batch(self, identity: str, endpoint: str, keys: list[str]) -> None:
        """Remember a batch."""
        row = (identity, endpoint, orjson.dumps(keys), time.time())
        self._db.execute("INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?)", row)

    def close_batch(self, identity: str) -> None:
        """Forget a batch that was read."""
        self._db.execute("DELETE FROM batches WHERE id = ?", (identity,))

    def close(self) -> None:
        """Let go of the file."""
        self._thread.shutdown()
        self._writer.close()
        self._db.close()


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    db.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def _write(db: sqlite3.Connection, rows: Sequence[_Row]) -> None:
    """Each statement gives the interpreter away but once, so that a thread that writes waits for it but once."""
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        places = ", ".join([f"({', '.join('?' * _COLUMNS)})"] * len(part))
        db.execute(f"INSERT OR REPLACE INTO replies VALUES {places}", [value for row in part for value in row])


def _row(key: str, request: Any, reply: Reply | NoReply) -> _Row:
    said = {name: getattr(reply, name) for name in _FIELDS[type(reply)]}
    now = time.time()
    return key, reply.model, orjson.dumps(request), orjson.dumps(said), now, now
