"""How fast `novel` measures pairs, and how many repeats its sketches miss, against ROUGE-L of all pairs.

    python -m tests.bench.novel TEXTS [COUNT]

TEXTS is a file with a text a line. COUNT of them are drawn, and to a quarter as many of these a copy is added of which
each word is replaced with a chance between 0 and 0.36, so that pairs lie on both sides of the bound.
"""

import random
import sys
import time
from pathlib import Path

from dataforge.records import Chat, Message, Origin
from dataforge.rouge import common
from dataforge.steps import novel
from dataforge.text import pieces
from tests.context import CONTEXT
from tests.gathering import decisions


def main(path: Path, count: int) -> None:
    """Print both."""
    draw = random.Random(3)
    lines = sorted({line for line in path.read_text(encoding="utf-8").splitlines() if len(pieces(line)) > 3})
    texts = draw.sample(lines, min(count, len(lines)))
    words = [word for line in texts[:200] for word in pieces(line)]
    for text in list(texts[: len(texts) // 4]):
        share = draw.uniform(0, 0.36)
        texts.append(" ".join(draw.choice(words) if draw.random() < share else word for word in pieces(text)))
    records = [
        Chat(f"{number:032x}", Origin("texts", "texts", number, number + 1), (Message("user", text),))
        for number, text in enumerate(texts)
    ]
    gather = novel.start("novel", novel.Settings(), CONTEXT)
    begun = time.perf_counter()
    found = set(decisions(gather, records))
    took = time.perf_counter() - begun
    print(f"{len(texts):,} texts: novel takes {took:.2f} s, {len(texts) / took:,.0f} records/s, and {len(found):,} go")
    goes, measured, seconds = _all_pairs(texts)
    print(f"all pairs: {measured:,} measured in {seconds:.0f} s, {measured / seconds:,.0f} pairs/s; {len(goes):,} go")
    print(f"missed {len(goes - found)}, found beside {len(found - goes)}")


def _all_pairs(texts: list[str]) -> tuple[set[int], int, float]:
    """Which go when all pairs are measured whose lengths do not settle it, how many those are, and in what time."""
    tokens, goes, measured = [pieces(text) for text in texts], set[int](), 0
    begun = time.perf_counter()
    for second, right in enumerate(tokens):
        for first, left in enumerate(tokens[:second]):
            total = len(left) + len(right)
            if first not in goes and 20 * min(len(left), len(right)) >= 7 * total:
                measured += 1
                if 20 * common(left, right) >= 7 * total:
                    goes.add(second)
                    break
    return goes, measured, time.perf_counter() - begun


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 4000)
