"""`forge build` on this machine's processes and on a Ray cluster of two raylets, one of which is killed.

    python -m tests.bench.ray_build --env DIR [--records 40000] [--out tests/bench]

DIR becomes a virtual environment with ray, an S3 client and server (moto), and the project. The same corpus of
generated chats is built by one process, by two, through Ray, through Ray with the second raylet and its workers
killed (SIGKILL) in the middle, and the last two again into a folder on S3. It writes ray_build.md and ray_build.json,
and ends with 1 where two digests differ. Linux, two cores or more, a quarter of an hour.
"""

import argparse
import json
import os
import platform
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dataforge import bases

ROOT = Path(__file__).resolve().parents[2]
SEED = 11
WORDS_A_MESSAGE = (5, 90)
MAPS = ("read, tokenize", "train: shards", "eval: shards", "records as Parquet")
KILL_AT = 0.4
"""Of the parts' stages, when the raylet is killed."""
SERVER = """
import sys, threading
from moto.server import ThreadedMotoServer
ThreadedMotoServer(ip_address="127.0.0.1", port=int(sys.argv[1])).start()
threading.Event().wait()
"""
RATES = """
import json, os, sys, tempfile, time
os.environ |= {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from dataforge import config, gathers
from dataforge.build import Options, build

marks = {}
def progress(stage, done, of):
    marks[stage] = time.perf_counter(), time.process_time()
start = time.perf_counter(), time.process_time()
outcome = build(config.load(Path(sys.argv[1]), ()), sys.argv[2], lambda text: None, Options(workers=1), progress)
marks["publish"] = time.perf_counter(), time.process_time()
ends = [start, *marks.values()]
stages = {name: [b - a for a, b in zip(*pair)] for name, *pair in zip(marks, ends, ends[1:])}
rng, parts, rows = np.random.default_rng(0), 1000, 5000
with tempfile.TemporaryDirectory() as folder:
    files = []
    for number in range(parts):
        draws = np.sort(rng.integers(0, 2**64, rows, dtype=np.uint64))
        lengths = rng.integers(50, 1000, rows, dtype=np.int32)
        path = Path(folder) / f"{number}.parquet"
        pq.write_table(pa.table({"draw": draws, "length": lengths}), path)
        files.append((number, path))
    began = time.perf_counter(), time.process_time()
    gathers.shards_of_rows(files, 0, 1)
    order = time.perf_counter() - began[0], time.process_time() - began[1]
statistics = outcome.manifest.statistics
print(json.dumps({
    "seconds": ends[-1][0] - start[0], "digest": outcome.manifest.digest, "stages": stages,
    "tokens": sum(s.tokens for s in statistics.values()), "rows": sum(s.rows for s in statistics.values()),
    "order_rows": parts * rows, "order_parts": parts, "order_seconds": order,
}))
"""


def main() -> int:
    """Build in every way, compare, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=Path, required=True, help="folder of the environment, made if it is not there")
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the tables")
    options = parser.parse_args()
    python = _environment(options.env)
    with tempfile.TemporaryDirectory(prefix="forge-ray-") as name:
        found = _measure(python, Path(name), options.records)
    (options.out / "ray_build.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    table = _table(found)
    (options.out / "ray_build.md").write_text(table, encoding="utf-8")
    print(table)
    return 0 if len({run["digest"] for run in found["runs"].values()}) == 1 else 1


def _environment(folder: Path) -> Path:
    """The Python of an environment with all that is needed; what stands is used as it is."""
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--constraint", ROOT / "constraints.txt", "--editable", f"{ROOT}[ray]"], check=True)
        subprocess.run([*pip, "s3fs==2026.9.0", "moto[server]==5.2.5"], check=True)
        (folder / "made").touch()
    return python


def _measure(python: Path, place: Path, records: int) -> dict[str, Any]:
    recipe = _recipe(place, records)
    parts = -(-records // 2048)
    kill = ["--kill-after", str(int(2 * parts * KILL_AT))]

    def timed(*command: Any) -> dict[str, Any]:
        start = time.perf_counter()
        with _clock() as paused:
            found: dict[str, Any] = _json([python, *command])
        return {"seconds": time.perf_counter() - start, **found, "paused": sum(paused)}

    def ray(out: str, *more: str) -> dict[str, Any]:
        return timed("-m", "tests.bench.ray_build_cluster", recipe, out, *more)

    runs = {"one process": timed("-c", RATES, recipe, place / "one")}
    two = timed("-m", "dataforge", "build", recipe, "--workers", "2", "--json", "--out", place / "two")
    runs["two processes"] = {key: two[key] for key in ("seconds", "digest", "paused")}
    runs["Ray"] = ray(str(place / "ray"))
    runs["Ray, one raylet killed"] = ray(str(place / "killed"), *kill)
    with _s3(python) as bucket:
        runs["Ray, into S3"] = ray(f"{bucket}/ray")
        runs["Ray, into S3, one raylet killed"] = ray(f"{bucket}/killed", *kill)
    versions = _json([python, "-c", "import json, ray, s3fs; print(json.dumps([ray.__version__, s3fs.__version__]))"])
    machine = f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, ray {versions[0]}"
    return {"records": records, "parts": parts, "machine": f"{machine}, s3fs {versions[1]}", "runs": runs}


def _recipe(place: Path, records: int) -> Path:
    draw = random.Random(SEED)
    words = ["".join(draw.choices("aeioubcdfghklmnprst", k=draw.randint(2, 9))) for _ in range(5000)]
    with (place / "chats.jsonl").open("w", encoding="utf-8") as file:
        for _ in range(records):
            roles = ["user", "assistant"] * draw.randint(1, 3)
            messages = [
                {"role": role, "content": " ".join(draw.choices(words, k=draw.randint(*WORDS_A_MESSAGE)))}
                for role in roles
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    recipe = {
        "name": "chats",
        "sources": [{"use": "openai", "path": "chats.jsonl"}],
        "tokenizer": bases.resolve("smollm2-135m"),
        "max_tokens": 2048,
        "split": {"eval": 0.01},
    }
    (place / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    return place / "recipe.yaml"


@contextmanager
def _s3(python: Path) -> Iterator[str]:
    """A bucket of a server on this machine, for as long as the context lasts."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server = subprocess.Popen([python, "-c", SERVER, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        make = "import fsspec; fsspec.filesystem('s3').mkdir('bench')"
        for _ in range(60):
            with socket.socket() as asking:
                if not asking.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.5)
        subprocess.run([python, "-c", make], check=True)
        yield "s3://bench"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


@contextmanager
def _clock() -> Iterator[list[float]]:
    """How long each time the clock beside a run did not tick for more than two seconds, until the context ends."""
    found: list[float] = []
    done = threading.Event()

    def tick() -> None:
        last = time.perf_counter()
        while not done.wait(0.2):
            now = time.perf_counter()
            if now - last > 2:
                found.append(now - last)
            last = now

    ticking = threading.Thread(target=tick)
    ticking.start()
    try:
        yield found
    finally:
        done.set()
        ticking.join()


def _json(command: list[Any]) -> Any:
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _table(found: dict[str, Any]) -> str:
    one = found["runs"]["one process"]
    rows = []
    for name, run in found["runs"].items():
        killed = f"{run['killed_after_s']:.1f} s, {run['stages_done']} stages done" if "killed" in run else ""
        times = f"{run['seconds']:.1f} | {run['paused']:.1f}"
        rows.append(f"| {name} | {times} | {killed} | {run.get('retried', '')} | `{run['digest'][:16]}` |")
    stages = [f"| {name} | {seconds:.2f} | {cpu:.2f} |" for name, (seconds, cpu) in one["stages"].items()]
    cpu_seconds = sum(cpu for name, (_, cpu) in one["stages"].items() if name in MAPS)
    seconds, cpu = one["order_seconds"]
    lines = [
        "# A build through Ray",
        "",
        f"{found['records']:,} generated chats in {found['parts']} parts, {one['tokens']:,} tokens of SmolLM2's",
        f"tokenizer; {found['machine']}.",
        "Ray: a head and a second raylet on this machine, one CPU each, running before the build; seconds are those of",
        "`forge build`, its start included. A killed raylet and its workers got SIGKILL. One run each, on a machine",
        "that did other work too; `paused` are the seconds in which a clock beside the run did not tick, because its",
        "processes were stopped from outside. The digests are what counts, and not the seconds.",
        "",
        "| build | seconds | paused | killed after | tasks tried again | digest |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        "## One process, stage by stage",
        "",
        "| stage | seconds | seconds of a core |",
        "|---|---|---|",
        *stages,
        "",
        "Reading, tokenizing, shards and Parquet are spread over all CPUs:",
        f"{one['tokens'] / cpu_seconds:,.0f} tokens and {found['records'] / cpu_seconds:,.0f} chats a second of",
        f"a core. Putting rows in order is one task for up to 358 million rows: {one['order_rows']:,} rows in",
        f"{one['order_parts']:,} parts took {seconds:.1f} s, and {cpu:.1f} s of the cores, of which DuckDB takes all",
        f"that there are: {one['order_rows'] / cpu / 1e6:.2f} million rows a second of a core.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
