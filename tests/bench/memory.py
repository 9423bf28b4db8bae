"""What a build of a large corpus holds in memory and on disk, and how fast it is.

    python -m tests.bench.memory --sizes 10000,100000,2000000 --work DIR [--out tests/bench]

For each size a corpus of tests/bench/corpus.py is written to DIR and built from nothing, with near-duplicates taken
out. Every 0.2 s the memory of all processes of the build is added up: PSS, where pages that several share count once
(USS where the system does not tell PSS), and RSS, where they count for each. The tables go to memory.md and
memory.json. DIR needs 13 kB for each record of the largest size; each is taken away before the next.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.bench import corpus

INTERVAL = 0.2
ROOT = Path(__file__).parents[2]
RECIPE = {
    "name": "memory",
    "seed": 7,
    "sources": [{"use": "openai", "path": "corpus.jsonl"}],
    "steps": [{"use": "dedupe", "near": 0.8}],
    "tokenizer": "smollm2-135m",
    "max_tokens": 1024,
}
HEADS = {
    "records": "records",
    "seconds": "s",
    "records_per_second": "records/s",
    "pss": "peak PSS, MB",
    "rss": "peak RSS, MB",
    "processes": "processes",
    "exact": "exact: found (made)",
    "near": "near: found (made)",
    "other": "other rejects",
    "tokens": "tokens",
    "build_bytes": "build, MB",
    "work_bytes": ".work, MB",
}


@dataclass
class Peak:
    """The most that the processes of a tree held at one time."""

    pss: int = 0
    """Bytes, of pages that several share each one's part."""
    rss: int = 0
    """Bytes, shared pages counted for each."""
    processes: int = 0
    samples: int = 0


@dataclass
class Watch:
    """Samples the memory of a process and all below it until it is stopped."""

    process: int
    peak: Peak = field(default_factory=Peak)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Sample; meant for a thread of its own."""
        while not self._stop.wait(INTERVAL):
            self.sample()

    def sample(self) -> None:
        """Take one sample of all processes there are now."""
        held = [found for found in map(_held, _tree(self.process)) if found]
        if held:
            self.peak.pss = max(self.peak.pss, sum(pss for pss, _ in held))
            self.peak.rss = max(self.peak.rss, sum(rss for _, rss in held))
            self.peak.processes = max(self.peak.processes, len(held))
            self.peak.samples += 1

    def stop(self) -> None:
        """End the sampling."""
        self._stop.set()


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", required=True, help="records of each corpus, with commas between")
    parser.add_argument("--work", type=Path, required=True, help="where corpora and builds are written")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    found = []
    for size in map(int, options.sizes.split(",")):
        found.append(measured(size, options.work))
        report = {"machine": machine(), "interval_seconds": INTERVAL, "builds": found}
        (options.out / "memory.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        (options.out / "memory.md").write_text(table(report), encoding="utf-8")
    print(table(report))


def measured(size: int, work: Path) -> dict[str, Any]:
    """Write a corpus of that many records and build it; what was seen."""
    folder = work / str(size)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    truth = corpus.write(size, folder / "corpus.jsonl")
    (folder / "recipe.yaml").write_text(json.dumps(RECIPE, indent=1), encoding="utf-8")
    command = [sys.executable, "-m", "dataforge", "build", "recipe.yaml", "--out", "build", "--json"]
    start = time.monotonic()
    with (folder / "manifest.json").open("wb") as output:
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        build = subprocess.Popen(command, cwd=folder, stdout=output, env={**os.environ, "PYTHONPATH": path})
        watch = Watch(build.pid)
        sampler = threading.Thread(target=watch.run)
        sampler.start()
        code = build.wait()
        seconds = time.monotonic() - start
        watch.stop()
        sampler.join()
    if code:
        raise SystemExit(f"the build of {size:,} records ended with {code}; it is in {folder}")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    rejected = {
        (stage["stage"], reason): count for stage in manifest["funnel"] for reason, count in stage["rejected"].items()
    }
    whole, cache = disk(folder / "build"), disk(folder / "build" / ".work")
    result = {
        "records": size,
        "seconds": round(seconds, 1),
        "records_per_second": round(size / seconds),
        "peak": asdict(watch.peak),
        "truth": truth,
        "exact": rejected.pop(("dedupe", "exact"), 0),
        "near": rejected.pop(("dedupe", "near"), 0),
        "other": sum(rejected.values()),
        "tokens": sum(sizes["tokens"] for sizes in manifest["statistics"].values()),
        "corpus_bytes": (folder / "corpus.jsonl").stat().st_size,
        "build_bytes": whole - cache,
        "work_bytes": cache,
        "digest": manifest["digest"],
    }
    shutil.rmtree(folder)
    return result


def _tree(process: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(process)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _held(process: psutil.Process) -> tuple[int, int] | None:
    """PSS and RSS of a process in bytes; None where it has just ended."""
    try:
        memory = process.memory_full_info()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return getattr(memory, "pss", memory.uss), memory.rss


def disk(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def machine() -> str:
    """What it was measured on."""
    named = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    name = named[0].partition(":")[2].strip() if named else platform.machine()
    memory = psutil.virtual_memory().total / 2**30
    return f"{psutil.cpu_count()} x {name}, {memory:.0f} GB, {platform.system()}, Python {platform.python_version()}"


def table(report: dict[str, Any]) -> str:
    """The Markdown page."""
    lines = [
        "# Memory, disk and speed of a build",
        "",
        f"Records of about 1,000 characters, `dedupe` with `near: 0.8`, from nothing. {report['machine']}.",
        f"Memory of all processes together, looked at every {report['interval_seconds']} s.",
        "",
        f"| {' | '.join(HEADS.values())} |",
        f"|{'---:|' * len(HEADS)}",
    ]
    for build in report["builds"]:
        truth, peak = build["truth"], build["peak"]
        cells = {
            **{key: f"{value:,}" for key, value in build.items() if isinstance(value, int | float)},
            "pss": f"{peak['pss'] / 1e6:,.0f}",
            "rss": f"{peak['rss'] / 1e6:,.0f}",
            "processes": str(peak["processes"]),
            "exact": f"{build['exact']:,} ({truth['exact']:,})",
            "near": f"{build['near']:,} ({truth['near']:,})",
            "build_bytes": f"{build['build_bytes'] / 1e6:,.0f}",
            "work_bytes": f"{build['work_bytes'] / 1e6:,.0f}",
        }
        lines.append(f"| {' | '.join(cells[key] for key in HEADS)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
