"""LoRA training on one GPU: trainkit beside HF Trainer, TRL, Liger and Unsloth, on models of known shapes.

    python tests/bench/gpu.py --out FOLDER [--budget 470] [--peers DIR] [--unsloth DIR] [--only NAMES] [--smoke]

It measures the device's speed, checks its kernels and the parity of gradients, then runs contenders in order of worth,
each in a process of its own, until the budget of seconds is spent; what found no time is said in the table. Weights are
random, documents have real lengths. It needs torch, transformers and peft. Peers are run where they are found: TRL,
datasets and Liger in DIR (`pip install --target DIR --no-deps trl datasets multiprocess dill liger-kernel`), Unsloth
and what it needs in a DIR of its own, both for the Python that runs this. FOLDER gets `results.jsonl`, a line for each
run as it ends, and `gpu.md`. `--only` takes names of runs with commas between them; `roofline`, `kernels` and `parity`
are names too. `--smoke` runs all of it on tiny shapes on the CPU in half a minute. It ends with 1 where a check fails,
a run of trainkit or HF fails, or results are not alike.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gpu_report
from gpu_contenders import Run, checks, contenders, quick
from gpu_processes import Process, on_the_path

RESERVE = 5
"""Seconds kept for the end."""


def main() -> int:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--budget", type=float, default=470, help="seconds that the whole of it may take")
    parser.add_argument("--peers", type=Path, help="folder of TRL, datasets and Liger")
    parser.add_argument("--unsloth", type=Path, help="folder of Unsloth and what it needs")
    parser.add_argument("--only", default="", help="names of runs, with commas between them")
    parser.add_argument("--smoke", action="store_true", help="tiny shapes on the CPU")
    options = parser.parse_args()
    every = [*checks(), *contenders()]
    names = [name for name in options.only.split(",") if name]
    unknown = [name for name in names if name not in [run.name for run in every]]
    if unknown:
        parser.error(f"--only: there is no run {unknown[0]}; there are {', '.join(run.name for run in every)}")
    runs = [run for run in every if not names or run.name in names]
    with tempfile.TemporaryDirectory(prefix="forge-bench-gpu-") as scratch:
        bench = Bench(options, Path(scratch))
        try:
            bench.measure([quick(run) for run in runs] if options.smoke else runs)
        finally:
            # Whatever ends it, what was measured is told.
            table = gpu_report.report(bench.results)
            (options.out / "gpu.md").write_text(table, encoding="utf-8")
            print(table, flush=True)
    wrong = gpu_report.wrong(bench.results, everything=options.smoke)
    for line in wrong:
        print(f"WRONG: {line}", file=sys.stderr, flush=True)
    return 1 if wrong else 0


class Bench:
    """Runs processes one after another, and keeps what came of them."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self._options = options
        self._scratch = scratch
        self._end = time.monotonic() + options.budget - RESERVE
        self._started = 0
        self._waiting: Process | None = None
        self.results: list[dict[str, Any]] = []
        options.out.mkdir(parents=True, exist_ok=True)
        self._lines = options.out / "results.jsonl"
        self._lines.write_text("", encoding="utf-8")

    def measure(self, runs: list[Run]) -> None:
        """Run all that can be run in the time there is."""
        able = [run for run in runs if self._able(run)]
        groups = self._groups(able)
        try:
            for number, group in enumerate(groups):
                following = groups[number + 1] if number + 1 < len(groups) else None
                self._run(group, following)
        finally:
            if self._waiting is not None:
                self._waiting.stop()

    def _groups(self, runs: list[Run]) -> list[list[Run]]:
        """What shares a process: nothing, but in a smoke run, where loading takes longer than computing."""
        if not self._options.smoke:
            return [[run] for run in runs]
        alone = [[run] for run in runs if run.job == "roofline"]
        kinds = list(dict.fromkeys(run.needs for run in runs))
        return alone + [[run for run in runs if run.needs == kind and run.job != "roofline"] for kind in kinds]

    def _able(self, run: Run) -> bool:
        if not on_the_path(run.needs, self._folders(run.needs)):
            self._keep(run, {"outcome": "not on the path"})
            return False
        if self._options.smoke and run.needs in ("liger", "unsloth"):
            self._keep(run, {"outcome": "needs a GPU"})
            return False
        return True

    def _run(self, group: list[Run], following: list[Run] | None) -> None:
        run = group[0]
        left = self._end - time.monotonic()
        if left < run.asks:
            self._keep(run, {"outcome": "no time left"})
            return
        if run.only_if_too_large and not self._options.smoke and not self._too_large(run.only_if_too_large):
            self._keep(run, {"outcome": "not needed"})
            return
        process, self._waiting = self._ready(run.needs), None
        if following is not None:
            self._waiting = self._start(following[0].needs)
        print(f"{run.name} ... ({left:.0f} s left)", file=sys.stderr, flush=True)
        requests = [self._request(each) for each in group]
        limit = min(sum(each.limit for each in group), left)
        for each, found in zip(group, process.run(requests, limit), strict=True):
            self._keep(each, found)

    def _ready(self, needs: str) -> Process:
        if self._waiting is None:
            return self._start(needs)
        if self._waiting.needs != needs:
            self._waiting.stop()
            return self._start(needs)
        return self._waiting

    def _start(self, needs: str) -> Process:
        self._started += 1
        log = f"{self._started}.log"
        return Process(needs, self._folders(needs), self._scratch, log, on_cpu=self._options.smoke)

    def _folders(self, needs: str) -> list[Path]:
        given = {"unsloth": self._options.unsloth, "plain": None}.get(needs, self._options.peers)
        return [] if given is None else [given.resolve()]

    def _request(self, run: Run) -> dict[str, Any]:
        paths = {"result": str(self._scratch / f"{run.name}.json"), "scratch": str(self._scratch / "trainer")}
        return {**run.request(), **paths, "smoke": self._options.smoke}

    def _too_large(self, name: str) -> bool:
        return any(line["name"] == name and line["outcome"] == "does not fit" for line in self.results)

    def _keep(self, run: Run, found: dict[str, Any]) -> None:
        line = {**run.request(), **found}
        self.results.append(line)
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{run.name}: {gpu_report.in_short(line)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
