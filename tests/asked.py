"""A scripted model for steps that ask, and ways to hand it records."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dataforge.components import Asker, Made
from dataforge.llm.requests import Ask, NoReply, Reply, Request
from dataforge.records import Chat, Message, Origin, Record, Reject, Text, record_id

Answer = Callable[[Request], str | NoReply]


def origin(ordinal: int = 0) -> Origin:
    return Origin("corpus", "corpus.jsonl", ordinal, ordinal + 1)


def chat(question: str, answer: str, *, given: str | None = None, **facts: Any) -> Chat:
    messages = (Message("user", question, input=given), Message("assistant", answer))
    return Chat(record_id("corpus", [question, given, answer]), origin(), messages, facts=facts)


def passage(text: str, title: str = "", **facts: Any) -> Text:
    return Text(record_id("corpus", text), origin(), text, title, facts=facts)


def say(text: str, **more: Any) -> Request:
    """A request with one message."""
    return Request(({"role": "user", "content": text},), **more)


def said(request: Request) -> str:
    """All of a request in one text."""
    return "\n".join(message["content"] for message in request.messages)


class Model:
    """Answers from the request alone; remembers what it was asked. With a seed, after delays drawn from it."""

    def __init__(self, answer: Answer, delays: int | None = None) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self._random = None if delays is None else random.Random(delays)

    async def __call__(self, request: Request) -> Reply | NoReply:
        self.requests.append(request)
        if self._random is not None:
            await asyncio.sleep(self._random.random() / 200)
        found = self.answer(request)
        return found if isinstance(found, NoReply) else Reply(found, model="scripted")


def took(asker: Asker, records: Sequence[Record], ask: Mapping[str, Ask]) -> list[Made]:
    """What becomes of records that are alive at once."""

    async def all_of_them() -> list[Made]:
        return list(await asyncio.gather(*(asker.take(record, ask) for record in records)))

    return asyncio.run(all_of_them())


def one(asker: Asker, record: Record, answer: Answer) -> Made:
    return took(asker, [record], {"writer": Model(answer)})[0]


def listed(made: Made) -> list[Record | Reject]:
    assert isinstance(made, list), made
    return made


def reasons(made: Made) -> list[str]:
    """Of the rejects among what was made."""
    found = made if isinstance(made, list) else [made]
    return [each.reason for each in found if isinstance(each, Reject)]


def same_in_any_order(start: Callable[[], Asker], records: Sequence[Record], answer: Answer) -> None:
    """Replies at random delays, and records in another order, make the same records."""
    calm = took(start(), records, {"writer": Model(answer)})
    for seed in range(3):
        order = list(range(len(records)))
        random.Random(seed).shuffle(order)
        hasty = took(start(), [records[at] for at in order], {"writer": Model(answer, seed)})
        assert [hasty[order.index(at)] for at in range(len(records))] == calm
