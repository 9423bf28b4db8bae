"""The contenders of the preparation benchmark, and how each is run."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tests.bench import peer_environments
from tests.bench.prepare_corpus import WINDOW, Corpus
from tests.bench.prepare_packed import Packed, flat
from tests.bench.prepare_processes import Run, run

HERE = Path(__file__).resolve().parent
_SET_BY_US = ("PYTHONPATH", "HF_HOME", "HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM")


@dataclass(frozen=True)
class Arm:
    """One contender with its settings."""

    name: str
    group: str
    """`raw`, `forge`, `TRL` or `LLaMA-Factory`: of a group, the fastest is compared."""
    command: tuple[str, ...]
    """What is run; a request follows it, or for forge the folder to write."""
    settings: dict[str, Any]


def arms(envs: Path, forge_arguments: Sequence[str]) -> list[Arm]:
    """All contenders; the peers' environments are made where they are not there yet."""
    trl = str(peer_environments.python_of(peer_environments.TRL, envs))
    factory = str(peer_environments.python_of(peer_environments.LLAMAFACTORY, envs))
    found = [
        Arm(f"`tokenizers`, {says}", f"raw, {says}", _script(sys.executable, "raw"), {"texts_per_call": size})
        for says, size in (("one call", None), ("in calls of 1,024", 1024))
    ]
    for arguments in ("", *forge_arguments):
        name = f"forge build {arguments}".strip()
        command = (sys.executable, "-m", "dataforge", "build", "--json", *shlex.split(arguments))
        found.append(Arm(f"`{name}`", name, command, {}))
    for says, workers in (("no workers", None), ("1 worker", 1), ("2 workers", 2)):
        found.append(Arm(f"TRL 1.16.0, {says}", "TRL 1.16.0", _script(trl, "trl"), {"workers": workers}))
    for says, workers in (("1 worker", 1), ("2 workers", 2)):
        command = _script(factory, "llamafactory")
        found.append(Arm(f"LLaMA-Factory 0.9.5, {says}", "LLaMA-Factory 0.9.5", command, {"workers": workers}))
    return found


def measure(arm: Arm, corpus: Corpus, scratch: Path) -> dict[str, Any]:
    """One run in a folder of its own, which is made anew: times in seconds, memory in MB, and what was packed."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    if arm.group.startswith("forge"):
        return _forge(arm, corpus, scratch)
    hashes = scratch / "hashes.json"
    request = {
        "base": str(corpus.base),
        "tokenizer": str(corpus.base / "tokenizer.json"),
        "texts": str(corpus.texts),
        "conversations": str(corpus.conversations),
        "scratch": str(scratch),
        "hashes": str(hashes),
        "window": WINDOW,
        **arm.settings,
    }
    done = run([*arm.command, json.dumps(request)], _environment(scratch), scratch / "said")
    found = {**done.said, **_times(done, done.said["seconds"], done.said["ended"])}
    return found | ({"hashes": json.loads(hashes.read_text(encoding="ascii"))} if hashes.exists() else {})


def _forge(arm: Arm, corpus: Corpus, scratch: Path) -> dict[str, Any]:
    """The whole command is what is measured, so that it and what it took from the process's start are one."""
    build = scratch / "build"
    environment = _environment(scratch) | {"PYTHONPATH": str(HERE.parents[1])}
    done = run([*arm.command, str(corpus.recipe), "--out", str(build)], environment, scratch / "said")
    packed = _packed(build)
    packed.write_hashes(scratch / "hashes.json")
    rejected = {reason: count for stage in done.said["funnel"] for reason, count in stage["rejected"].items()}
    return {
        **packed.counts(),
        **_times(done, done.ended - done.started, done.ended),
        "rejected": rejected,
        "versions": done.said["versions"],
        "hashes": json.loads((scratch / "hashes.json").read_text(encoding="ascii")),
    }


def _packed(build: Path) -> Packed:
    """Read the shards with nothing of the package that wrote them."""
    tables = [pa.ipc.open_stream(path.read_bytes()).read_all() for path in sorted(build.glob("shards/train-*.arrow"))]
    table = pa.concat_tables(tables)
    return Packed(
        windows=len(table),
        ids=flat(table, "input_ids"),
        trained=flat(table, "assistant_masks").astype(np.bool_),
        lengths=flat(table, "seq_lengths"),
    )


def _times(done: Run, seconds: float, ended: float) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "from_start": ended - done.started,
        "peak_mb": done.peak_mb(ended),
        "cores_of_others": done.cores_of_others,
    }


def _script(python: str, name: str) -> tuple[str, ...]:
    return python, str(HERE / f"prepare_{name}.py")


def _environment(scratch: Path) -> dict[str, str]:
    """Nothing that an earlier run kept, and nothing of this project on a peer's path."""
    kept = {key: value for key, value in os.environ.items() if key not in _SET_BY_US}
    cache = str(scratch / "cache")
    return {**kept, "HF_HUB_OFFLINE": "1", "HF_HOME": cache, "HF_DATASETS_CACHE": str(scratch / "cache" / "datasets")}
