"""One tokenizer library in a process of its own, in the environment of the libraries.

    python encoders_worker.py LIBRARY TOKENIZER_JSON THREADS FIRST_CORE

The first line it prints is `{}`, or `{"refused": ...}` where the library does not take the tokenizer. For every line
of JSON it is given (`texts`: a JSON file, `per_call`: texts a call, `of_process`:
whether seconds are the process's own, `out`: a file for the ids, or none) it prints one:
the seconds of encoding and of making arrays of the answers, the tokens, and how many texts the library refused. A text
is refused where the library raises for it alone; the length of its ids is -1.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer until the input ends."""
    name, path, threads, core = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    os.environ |= {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false"}
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[core : core + threads])
    from encoders_libraries import LIBRARIES
    from encoders_ways import WAYS

    try:
        encode, arrays = (LIBRARIES | WAYS)[name](path)
    except Exception as error:
        print(json.dumps({"refused": _short(error)}), flush=True)
        return
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line), encode, arrays)), flush=True)


def _answer(request: dict[str, Any], encode: Any, arrays: Any) -> dict[str, Any]:
    import numpy as np

    texts = json.loads(Path(request["texts"]).read_text(encoding="utf-8"))
    texts = texts[request.get("first", 0) :: request.get("step", 1)]
    per_call = request["per_call"] or len(texts)
    ids, lengths, spent, refused = [], [], [0.0, 0.0], [""]
    clock = time.process_time if request["of_process"] else time.perf_counter
    for start in range(0, len(texts), per_call):
        for part in _parts(texts[start : start + per_call], encode, arrays, clock, spent, refused):
            ids.append(part[0])
            lengths.append(part[1])
    flat, counts = np.concatenate(ids), np.concatenate(lengths)
    if request["out"]:
        np.savez(request["out"], ids=flat, lengths=counts)
    return {
        "encode": spent[0],
        "arrays": spent[1],
        "tokens": len(flat),
        "refused": int((counts < 0).sum()),
        "why": refused[0],
    }


def _parts(texts: list[str], encode: Any, arrays: Any, clock: Any, spent: list[float], refused: list[str]) -> list[Any]:
    """The arrays of a call; where it raises, those of each text by itself."""
    import numpy as np

    begun = clock()
    try:
        answer = encode(texts)
        encoded = clock()
        flat = arrays(answer)
        # The answer is let go where a caller would let it go.
        del answer
    # A panic of Rust code is no Exception.
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        refused[0] = refused[0] or _short(error)
        if len(texts) == 1:
            return [(np.empty(0, np.int32), np.array([-1]))]
        return [part for text in texts for part in _parts([text], encode, arrays, clock, spent, refused)]
    spent[0] += encoded - begun
    spent[1] += clock() - encoded
    return [flat]


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


if __name__ == "__main__":
    main()
