"""The bare encoding of rendered texts, which nothing that trains on them can do without. It prints one JSON line.

    python prepare_raw.py REQUEST

REQUEST is JSON: `tokenizer` and `texts` (files of JSON), and `texts_per_call`, or null for all in one call.
"""

import json
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer


def main(request: dict[str, Any]) -> None:
    """Encode, and print what it took."""
    texts = json.loads(Path(request["texts"]).read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(request["tokenizer"])
    tokenizer.no_truncation()
    tokenizer.no_padding()
    size = request["texts_per_call"] or len(texts)
    tokens = 0
    start = time.monotonic()
    for first in range(0, len(texts), size):
        encoded = tokenizer.encode_batch_fast(texts[first : first + size], add_special_tokens=False)
        tokens += sum(map(len, encoded))
    ended = time.monotonic()
    found = {
        "seconds": ended - start,
        "ended": ended,
        "documents": len(texts),
        "tokens": tokens,
        "versions": {"tokenizers": metadata.version("tokenizers")},
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
