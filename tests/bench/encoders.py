"""Tokenizer libraries beside HF's: are their ids the same, and how much sooner are they in one numpy array?

    python tests/bench/encoders.py --data FOLDER [--env DIR] [--out encoders.md]

FOLDER holds the data sets (`hh-rlhf/test.jsonl.gz`, `tokenizers/`, Chinese ones; `encoders_texts.py` and
`mask_tokenizers.py` name them). The libraries live in an environment of their own, which is made once in DIR. Every
library runs in a process of its own that is bound to as many cores as it has threads; a round asks all in turn. The
report goes to `--out` and, with all that was measured, to a `.json` beside it.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import encoders_report
import encoders_texts
import encoders_tokenizers
import numpy as np
import platformdirs
from encoders_libraries import LIBRARIES
from encoders_process import Environment, Worker, environment
from encoders_ways import WAYS

ROUNDS = 3
TEXTS_PER_CALL = 1024
TIMED = 8
"""Of the conversations, one in so many is timed."""
_SHOWN = 2
"""Differing texts that are kept of each corpus."""


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--env", type=Path, default=Path(platformdirs.user_cache_path("forge")) / "bench" / "encoders")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    made = environment(arguments.env)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizers = encoders_tokenizers.write(arguments.data / "tokenizers", folder)
        corpora = {}
        for corpus, texts in encoders_texts.corpora(arguments.data).items():
            corpora[corpus] = folder / f"{corpus}.texts.json"
            corpora[corpus].write_text(json.dumps(texts), encoding="utf-8")
        found: dict[str, Any] = {
            "machine": {"cores": os.cpu_count(), "cpu": _cpu()},
            "versions": {library: made.versions[library] for library in LIBRARIES},
            "rounds": ROUNDS,
            "texts": {corpus: len(json.loads(path.read_text(encoding="utf-8"))) for corpus, path in corpora.items()},
        }
        timed = corpora.pop("conversations"), next(iter(tokenizers.values()))
        asked = [name for name in (*LIBRARIES, *WAYS) if name != "tokenizers"]
        found["exact"] = {}
        for name, path in tokenizers.items():
            found["exact"][name] = _exact(made, path, corpora, folder, asked)
            # A library with other ids, or a way of HF's own, needs no further tokenizer.
            asked = [each for each in asked if each not in WAYS and not _wrong(found["exact"][name][each])]
        found["timed"] = {
            "1": _timed(made, *timed, [*LIBRARIES, *WAYS], 1),
            "2": _timed(made, *timed, [*LIBRARIES], 2),
        }
        found["processes"] = {name: _processes(made, *timed, name) for name in ("tokenizers", "fastokens")}
    table = encoders_report.report(found)
    print(table)
    if arguments.out:
        arguments.out.write_text(table, encoding="utf-8")
        content = json.dumps(found, indent=1, ensure_ascii=True)
        arguments.out.with_suffix(".json").write_text(content + "\n", encoding="utf-8")


def _wrong(found: dict[str, Any]) -> bool:
    return any(corpus["differing"] for corpus in found.get("corpora", {}).values())


def _exact(
    made: Environment, tokenizer: Path, corpora: dict[str, Path], folder: Path, libraries: list[str]
) -> dict[str, Any]:
    """Every library's ids against HF's, text by text; `seconds` are those of the short corpus of conversations."""
    ours = Worker(made, "tokenizers", tokenizer, 1)
    results: dict[str, Any] = {}
    right = {}
    for corpus, path in corpora.items():
        ours.ask(path, TEXTS_PER_CALL, folder / f"{corpus}.npz")
        right[corpus] = _loaded(folder / f"{corpus}.npz")
    for library in libraries:
        begun = time.perf_counter()
        worker = Worker(made, library, tokenizer, 1)
        if worker.refused:
            results[library] = {"refused": worker.refused}
            continue
        results[library] = {"corpora": {}}
        for corpus, path in corpora.items():
            answer = worker.ask(path, TEXTS_PER_CALL, folder / "theirs.npz")
            if "tokens" not in answer:
                results[library] = {"refused": answer["refused"]}
                break
            verdict = _differing(right[corpus], _loaded(folder / "theirs.npz"), path)
            results[library]["corpora"][corpus] = verdict | {"refused": answer["refused"], "why": answer["why"]}
        else:
            short = corpora["2,000 conversations"]
            pairs = [(_total(ours.ask(short, TEXTS_PER_CALL)), _total(worker.ask(short, TEXTS_PER_CALL)))]
            pairs += [(_total(ours.ask(short, TEXTS_PER_CALL)), _total(worker.ask(short, TEXTS_PER_CALL)))]
            results[library]["times_as_fast"] = [one / other for one, other in pairs]
        worker.close()
        print(f"{tokenizer.stem}: {library}, {time.perf_counter() - begun:.0f} s", flush=True)
    ours.close()
    return results


def _loaded(path: Path) -> tuple[Any, Any]:
    with np.load(path) as arrays:
        return arrays["ids"], arrays["lengths"]


def _differing(right: tuple[Any, Any], theirs: tuple[Any, Any], texts: Path) -> dict[str, Any]:
    """How many texts that the library did not refuse have other ids, and the first of them."""
    ends, their_ends = np.cumsum(right[1]), np.cumsum(np.maximum(theirs[1], 0))
    wrong = []
    for number, (length, their_length) in enumerate(zip(right[1].tolist(), theirs[1].tolist(), strict=True)):
        end, their_end = ends[number], their_ends[number]
        if their_length >= 0 and (
            length != their_length
            or right[0][end - length : end].tobytes() != theirs[0][their_end - length : their_end].tobytes()
        ):
            wrong.append((number, right[0][end - length : end], theirs[0][their_end - their_length : their_end]))
    shown = []
    if wrong:
        content = json.loads(texts.read_text(encoding="utf-8"))
        wrong.sort(key=lambda each: len(each[1]))
        shown = [{"text": content[number][:200], **_apart(one, other)} for number, one, other in wrong[:_SHOWN]]
    return {"differing": len(wrong), "first": shown}


def _apart(one: Any, other: Any) -> dict[str, Any]:
    """Where two rows of ids part, and what follows there."""
    at = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
    return {"at": at, "right": one[at : at + 8].tolist(), "theirs": other[at : at + 8].tolist()}


def _timed(
    made: Environment, texts: Path, tokenizer: Path, libraries: list[str], threads: int
) -> dict[str, dict[str, Any]]:
    """Seconds of each round, in calls of many texts and in one call."""
    workers = {name: Worker(made, name, tokenizer, threads) for name in libraries}
    results: dict[str, dict[str, Any]] = {
        name: {"refused": worker.refused} if worker.refused else {"calls": [], "once": []}
        for name, worker in workers.items()
    }
    for number in range(ROUNDS):
        for name, worker in workers.items():
            for key, per_call in (("calls", TEXTS_PER_CALL), ("once", 0)):
                if not results[name].get("refused"):
                    answer = worker.ask(texts, per_call, step=TIMED)
                    if "tokens" in answer:
                        results[name][key].append(answer)
                    else:
                        results[name] = {"refused": answer["refused"]}
        print(f"{threads} threads: round {number + 1} of {ROUNDS}", flush=True)
    for worker in workers.values():
        worker.close()
    return results


def _processes(made: Environment, texts: Path, tokenizer: Path, library: str) -> dict[str, list[float]]:
    """Seconds of two processes of one thread, half of the texts each, and of one process of two threads."""
    halves = [Worker(made, library, tokenizer, 1, core) for core in (0, 1)]
    one = Worker(made, library, tokenizer, 2)
    results: dict[str, list[float]] = {"two processes": [], "one process": []}
    for _ in range(ROUNDS):
        for number, worker in enumerate(halves):
            worker.begin(texts, TEXTS_PER_CALL, first=number * TIMED, step=2 * TIMED)
        results["two processes"].append(max(_total(worker.end()) for worker in halves))
        results["one process"].append(_total(one.ask(texts, TEXTS_PER_CALL, step=TIMED)))
    for worker in (*halves, one):
        worker.close()
    return results


def _total(answer: dict[str, Any]) -> float:
    return float(answer["encode"] + answer["arrays"])


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
