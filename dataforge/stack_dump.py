"""The files of Stack Exchange's dumps become tables on disk: posts, edits of their texts, and users."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataforge import compression, xml_rows
from dataforge.assembly import Assembly, Files
from dataforge.content import BrokenOffError, Fault
from dataforge.errors import InputError

_QUESTION, _ANSWER = 1, 2
_SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c"
_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_ELEMENT = re.compile(r"<(?!img\b)[^>]*>|\s|&nbsp;")
_SHORT = 300
"""Characters of a body that may hold nothing but elements."""
_ROWS, _BYTES = 20_000, 2**25
"""Of a table that are kept in memory until they are written."""
_LICENCES = (("2011-04-08", "CC BY-SA 2.5"), ("2018-05-02", "CC BY-SA 3.0"))
"""Under which a post is that was written before a day, where the dump does not say it; later ones are under 4.0."""
_POSTS = pa.schema(
    [(name, pa.int64()) for name in ("n", "site", "id", "parent", "accepted", "created", "edited", "score", "owner")]
    + [(name, pa.bool_()) for name in ("question", "closed", "wiki", "empty", "logged")]
    + [(name, pa.string()) for name in ("name", "licence", "title", "tags", "body")]
)
_EDITS = pa.schema([("site", pa.int64()), ("post", pa.int64()), ("changed", pa.int64())])
_OF_TEXT = ("4", "5", "7", "8")
"""Kinds of entries in a post's history: its title or body edited, or put back to what it was."""
_USERS = pa.schema([("site", pa.int64()), ("owner", pa.int64()), ("display", pa.string())])


@dataclass(frozen=True)
class Site:
    """The files of one site."""

    host: str
    posts: list[tuple[str, Path]] = field(default_factory=list)
    users: list[tuple[str, Path]] = field(default_factory=list)
    history: list[tuple[str, Path]] = field(default_factory=list)


def sites(files: Files, host: str | None, tally: Assembly) -> list[Site]:
    """The files by site, which `host` names or their folders, and a note on those that are not needed.

    Raises `InputError` where there are no posts, or a file's site is not known.
    """
    found: dict[str, Site] = {}
    unused = []
    for name, path in files:
        with path.open("rb") as raw:
            if raw.peek(6).startswith(_SEVEN_ZIP):
                raise InputError(f"{name}: is packed by 7-Zip; unpack it (`7z x`) and name the folder with Posts.xml")
            with compression.opened(raw) as opened:
                kind = xml_rows.root(opened)
        if kind not in ("posts", "users", "posthistory"):
            unused.append(name)
            continue
        parts = PurePosixPath(name).parts[:-1]
        folder = next((part for part in reversed(parts) if _HOST.fullmatch(part)), None)
        if host is None and folder is None:
            raise InputError(
                f"{name}: of which site? Links to its posts need it; say `site: cooking.stackexchange.com`, or put "
                "the files of each site into a folder of that name"
            )
        if host is not None and folder not in (None, host):
            raise InputError(f"{name}: lies in a folder of another site than {host}; leave `site` out")
        site = found.setdefault(host or folder or "", Site(host or folder or ""))
        {"posts": site.posts, "users": site.users, "posthistory": site.history}[kind].append((name, path))
    if unused:
        tally.note(f"{', '.join(unused)}: not read, as it takes no more than posts, users and their history")
    ready = sorted((site for site in found.values() if site.posts), key=lambda site: site.host)
    if not ready:
        raise InputError(f"{', '.join(name for name, _ in files)}: has no posts; name a dump's Posts.xml")
    for site in ready:
        if not site.users:
            tally.note(f"{site.host}: there is no Users.xml, so authors are named by their numbers")
    return ready


@dataclass(frozen=True)
class Tables:
    """Where they are."""

    posts: str
    edits: str
    users: str


def tables(sites: list[Site], folder: Path, faults: list[Fault], tally: Assembly) -> Tables:
    """Read all files. What is no row is put to the `faults`, and what is neither question nor answer is counted.

    Raises `InputError` where a file is something else.
    """
    made = Tables(*(str(folder / f"{name}.parquet") for name in ("posts", "edits", "users")))
    _write(made.posts, _POSTS, _posts(sites, faults, tally))
    _write(made.edits, _EDITS, _edits(sites, faults))
    _write(made.users, _USERS, _users(sites, faults))
    return made


def _posts(sites: list[Site], faults: list[Fault], tally: Assembly) -> Iterator[dict[str, Any]]:
    number = 0
    other = Counter[str]()
    for index, site in enumerate(sites):
        for name, path in site.posts:
            for line, attributes in _rows(name, path, faults):
                try:
                    kind = int(attributes["PostTypeId"])
                    if kind in (_QUESTION, _ANSWER):
                        number += 1
                        yield _post(attributes, kind, index, number) | {"logged": bool(site.history)}
                    else:
                        other[f"post_type_{kind}"] += 1
                except KeyError as error:
                    faults.append(Fault("bad_post", f"{name}: the row in line {line} has no {error.args[0]}"))
                except ValueError as error:
                    faults.append(Fault("bad_post", f"{name}: the row in line {line} is no post: {error}"))
    tally.count(read=other.total(), rejected=other)


def _post(found: dict[str, str], kind: int, site: int, number: int) -> dict[str, Any]:
    body, created = found["Body"], found["CreationDate"]
    owner = _number(found, "OwnerUserId")
    by_date = next((licence for day, licence in _LICENCES if created < day), "CC BY-SA 4.0")
    return {
        "n": number,
        "site": site,
        "question": kind == _QUESTION,
        "id": int(found["Id"]),
        "parent": int(found["ParentId"]) if kind == _ANSWER else None,
        "accepted": _number(found, "AcceptedAnswerId"),
        "created": _seconds(created),
        "edited": _seconds(found["LastEditDate"]) if found.get("LastEditDate") else None,
        "score": int(found["Score"]),
        "owner": owner if owner is not None and owner > 0 else None,  # -1 is the site itself
        "closed": bool(found.get("ClosedDate")),
        "wiki": bool(found.get("CommunityOwnedDate")),
        "empty": len(body) < _SHORT and not _ELEMENT.sub("", body),
        "name": found.get("OwnerDisplayName") or None,
        "licence": found.get("ContentLicense") or by_date,
        "title": found.get("Title") or "",
        "tags": found.get("Tags") or "",
        "body": body,
    }


def _edits(sites: list[Site], faults: list[Fault]) -> Iterator[dict[str, Any]]:
    for index, site in enumerate(sites):
        for name, path in site.history:
            for line, found in _rows(name, path, faults):
                if found.get("PostHistoryTypeId") in _OF_TEXT:
                    try:
                        yield {"site": index, "post": int(found["PostId"]), "changed": _seconds(found["CreationDate"])}
                    except (KeyError, ValueError) as error:
                        faults.append(Fault("bad_edit", f"{name}: the row in line {line} is no edit: {error}"))


def _users(sites: list[Site], faults: list[Fault]) -> Iterator[dict[str, Any]]:
    for index, site in enumerate(sites):
        for name, path in site.users:
            for _, attributes in _rows(name, path, faults):
                number = attributes.get("Id", "")
                if number.isdigit():
                    yield {"site": index, "owner": int(number), "display": attributes.get("DisplayName") or None}


def _rows(name: str, path: Path, faults: list[Fault]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open("rb") as raw, compression.opened(raw) as opened:
            for line, row in xml_rows.read(opened, name):
                if isinstance(row, Fault):
                    faults.append(row)
                else:
                    yield line, row
    except BrokenOffError as error:
        faults.append(Fault("broken_off", f"{name}: {error}"))


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch, size = [], 0
    for row in rows:
        batch.append(row)
        size += len(row.get("body", ""))
        if len(batch) == _ROWS or size > _BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def _write(path: str, schema: pa.Schema, rows: Iterator[dict[str, Any]]) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in _batches(rows):
            columns = {name: [row[name] for row in batch] for name in schema.names}
            writer.write_table(pa.Table.from_pydict(columns, schema))


def _number(found: dict[str, str], name: str) -> int | None:
    return int(found[name]) if found.get(name) else None


def _seconds(written: str) -> int:
    return int(datetime.fromisoformat(written).replace(tzinfo=UTC).timestamp())
