"""What the second side of a preference pair costs, which begins as the first does.

    python -m tests.bench.prepare_pairs CONVERSATIONS.jsonl.gz

CONVERSATIONS is a file of Anthropic's hh-rlhf (`chosen`, `rejected`). 10,000 pairs, with a number of the pair in every
message, are rendered once; then both sides of each, one after the other, are encoded and certified, and the same
conversations in an order in which no two neighbours share a prompt. Each round runs the two in turn. The ratio is that
of a pair to two conversations that have nothing in common.
"""

import argparse
import gzip
import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from dataforge.bases import load_tokenizer
from dataforge.chat_format import ChatFormat
from dataforge.records import Chat, Message, Origin, Reject
from dataforge.render import Rendering
from dataforge.tokenize import encode
from tests.bench.mask_speed import messages_of, processor, spread
from tests.bench.prepare_corpus import BASE

PAIRS = 10_000
ROUNDS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    format_ = ChatFormat(load_tokenizer(BASE), "tokenizer", Path())
    pairs = [tuple(_rendered(format_, chat) for chat in pair) for pair in _numbered(options.conversations)]
    together = [side for pair in pairs for side in pair]
    apart = _apart(pairs)
    times = [[_seconds(format_, order) for order in (together, apart)] for _ in range(options.rounds)]
    for name, column in zip(("pairs", "apart"), zip(*times, strict=True), strict=True):
        print(f"{name}: {spread(column)} s")
    print(f"a pair / two conversations: {spread([pair / apart for pair, apart in times])}")
    print(f"{len(pairs):,} pairs, {options.rounds} rounds; {os.cpu_count()} cores, {processor()}")


def _apart(pairs: Sequence[Sequence[Rendering]]) -> list[Rendering]:
    """All first sides and then all second ones, in one order by hash: the sides of a pair are never neighbours."""
    ordered = sorted(pairs, key=lambda pair: hashlib.blake2b(pair[0].record.id.encode()).digest())
    return [pair[side] for side in range(2) for pair in ordered]


def _seconds(format_: ChatFormat, renderings: Sequence[Rendering]) -> float:
    start = time.process_time()
    refused = sum(isinstance(result, Reject) for result in encode(renderings, format_.encoder, "all_turns"))
    seconds = time.process_time() - start
    if refused:
        raise SystemExit(f"{refused} conversations were refused")
    return seconds


def _rendered(format_: ChatFormat, chat: Chat) -> Rendering:
    rendering = format_.renderer.render(chat)
    if isinstance(rendering, Reject):
        raise SystemExit(f"a conversation cannot be rendered: {rendering.detail}")
    return rendering


def _numbered(path: Path) -> Iterator[tuple[Chat, Chat]]:
    """Pairs over and over, so that no two prompts are alike but those of a pair."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    pairs = [[list(messages_of(record[side])) for side in ("chosen", "rejected")] for record in records]
    complete = [pair for pair in pairs if all(side and side[-1].role == "assistant" for side in pair)]
    for number, (chosen, rejected) in enumerate(itertools.islice(itertools.cycle(complete), PAIRS)):
        yield _chat(chosen, number, 0), _chat(rejected, number, 1)


def _chat(messages: list[Message], number: int, side: int) -> Chat:
    said = (Message(each.role, f"{each.content} {number}-{place}") for place, each in enumerate(messages))
    position = 2 * number + side
    return Chat(f"{position:032x}", Origin("hh", "hh", position, position + 1), tuple(said))


if __name__ == "__main__":
    main()
