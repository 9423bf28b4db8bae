"""How long rendering, encoding and certifying take beside the bare encoding of the same texts.

    python -m tests.bench.mask_speed CONVERSATIONS.jsonl.gz [--out mask_speed.md]

CONVERSATIONS is a file of Anthropic's hh-rlhf (`chosen`, `rejected`), from which both sides are taken. They are
repeated with a running number in every message, so that no two texts are alike, and once more as they are. Each
round runs the three in turn; the table gives medians, and ratios with their least and greatest.
"""

import argparse
import gzip
import itertools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from dataforge.bases import load_tokenizer
from dataforge.chat_format import ChatFormat
from dataforge.records import Chat, Message, Origin
from dataforge.render import Rendering
from dataforge.tokenize import Encoded, encode

CONVERSATIONS = 40_000
TEXTS_PER_CALL = 1024
ROUNDS = 5


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    format_ = ChatFormat(load_tokenizer("smollm2-135m"), "tokenizer", Path())
    corpus = list(read_conversations(arguments.conversations))
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("tokenizers", "jinja2"))
    table = (
        f"{os.cpu_count()} cores, {processor()}; {versions}; {ROUNDS} rounds, medians in seconds\n\n"
        "| corpus | tokens | one call | in calls of 1,024 | ours | ours / one call | ours / in calls |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    for name, chats in (("numbered", list(numbered(corpus))), ("as it is", list(_repeated(corpus)))):
        table += _measure(name, chats, format_) + "\n"
    print(table)
    if arguments.out:
        arguments.out.write_text(f"# Certified masks beside the bare encoding\n\n{table}", encoding="utf-8")


def _measure(name: str, chats: list[Chat], format_: ChatFormat) -> str:
    renderings = (format_.renderer.render(chat) for chat in chats)
    texts = [rendering.text for rendering in renderings if isinstance(rendering, Rendering)]
    encoder = format_.tokenizer.encoder
    tokens = 0

    def one_call() -> None:
        encoder.encode_batch_fast(texts, add_special_tokens=False)

    def in_calls() -> None:
        for start in range(0, len(texts), TEXTS_PER_CALL):
            encoder.encode_batch_fast(texts[start : start + TEXTS_PER_CALL], add_special_tokens=False)

    def ours() -> None:
        nonlocal tokens
        rendered = (format_.renderer.render(chat) for chat in chats)
        results = encode((item for item in rendered if isinstance(item, Rendering)), format_.encoder, "all_turns")
        tokens = sum(len(row.input_ids) for result in results if isinstance(result, Encoded) for row in result.rows)

    times = [[_seconds(run) for run in (one_call, in_calls, ours)] for _ in range(ROUNDS)]
    once, called, certified = (statistics.median(column) for column in zip(*times, strict=True))
    ratios = [spread([row[2] / row[against] for row in times]) for against in (0, 1)]
    return f"| {name} | {tokens:,} | {once:.1f} | {called:.1f} | {certified:.1f} | {' | '.join(ratios)} |"


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def spread(ratios: Sequence[float]) -> str:
    """The median with the least and the greatest."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def read_conversations(path: Path) -> Iterator[list[Message]]:
    """The conversations of an hh-rlhf file that end with an answer, chosen and rejected."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            for side in ("chosen", "rejected"):
                messages = list(messages_of(record[side]))
                if messages and messages[-1].role == "assistant":
                    yield messages


def messages_of(text: str) -> Iterator[Message]:
    """The messages of one side of an hh-rlhf record."""
    for exchange in text.split("\n\nHuman: ")[1:]:
        asked, *answered = exchange.split("\n\nAssistant: ")
        yield Message("user", asked)
        if answered:
            yield Message("assistant", answered[0])


def numbered(corpus: list[list[Message]]) -> Iterator[Chat]:
    """The conversations over and over, a running number in every message."""
    for number, messages in enumerate(itertools.islice(itertools.cycle(corpus), CONVERSATIONS)):
        said = (Message(each.role, f"{each.content} {number}-{place}") for place, each in enumerate(messages))
        yield Chat(f"{number:032x}", Origin("hh", "hh", number, number + 1), tuple(said))


def _repeated(corpus: list[list[Message]]) -> Iterator[Chat]:
    for number, messages in enumerate(itertools.islice(itertools.cycle(corpus), CONVERSATIONS)):
        yield Chat(f"{number:032x}", Origin("hh", "hh", number, number + 1), tuple(messages))


def processor() -> str:
    """What the system calls the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
