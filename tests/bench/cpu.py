"""LoRA training on the CPU: trainkit beside HF Trainer with PEFT and TRL, on the same documents in the same steps.

    python tests/bench/cpu.py --data TREES.jsonl [--out tests/bench/cpu.md] [--rounds 3] [--steps 3] [--resume]

TREES is a file of Open Assistant conversation trees. Every contender runs in a process of its own, the peers in an
environment of their own, which is made once under `--envs`. Each round runs all in turn; a run's first step warms up
and is not timed. `--search` measures TRL's settings once each instead, to find its best; `--resume` goes on with a
measurement that was stopped. Half an hour on two cores, on a machine that does nothing else.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cpu_documents
import cpu_report
import peer_environments
import platformdirs
from cpu_arms import Arm, arms, as_they_come, candidates

from dataforge import bases

HERE = Path(__file__).resolve().parent
ENOUGH = 300
"""Seconds after which a run of defaults that this processor is slow with is given up."""


def main() -> int:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="file of Open Assistant trees")
    parser.add_argument("--out", type=Path, default=HERE / "cpu.md", help="file for the table, in Markdown")
    parser.add_argument("--envs", type=Path, default=Path(platformdirs.user_cache_path("forge")) / "bench")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "forge-bench-cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="of one run, the first of which is not timed")
    parser.add_argument("--only", default="", help="names of contenders, with commas between them")
    parser.add_argument("--search", action="store_true", help="try TRL's settings instead")
    parser.add_argument("--resume", action="store_true", help="keep the runs that are there already")
    options = parser.parse_args()
    if options.steps < 2:
        parser.error("--steps must be at least 2: the first is not timed")
    if not options.resume:
        shutil.rmtree(options.work, ignore_errors=True)
    runner = Runner(options)
    if options.search:
        _search(runner)
        return 0
    chosen = [arm for arm in arms() if not options.only or arm.name in options.only.split(",")]
    machine: list[dict[str, Any]] = []
    killed: list[str] = []
    for number in range(options.rounds):
        machine.append(runner.helper(f"{number}-machine", "cpu_machine.py", str(runner.work.share)))
        for arm in chosen:
            if arm.name not in killed and runner.run(arm, number).get("killed"):
                killed.append(arm.name)
    too_large = [arm.says for arm in chosen if arm.name in killed]
    chosen = [arm for arm in chosen if arm.name not in killed]
    # What is asked for by name is asked for alone.
    once = [] if options.only else as_they_come()
    found = {arm.name: [runner.run(arm, number) for number in range(options.rounds)] for arm in chosen}
    alone = {arm.name: runner.run(arm, 0) for arm in once}
    folders = [str(runner.adapter(arm, number)) for arm in chosen for number in range(options.rounds)]
    losses = runner.helper("judge", "cpu_judge.py", runner.base, str(runner.work.documents), *folders)
    held_out = {
        arm.name: [losses[str(runner.adapter(arm, number))] for number in range(options.rounds)] for arm in chosen
    }
    profile = runner.helper("profile", "cpu_profile.py", runner.base, str(runner.work.build), str(runner.work.seed))
    table = cpu_report.report([*chosen, *once], found, alone, held_out, losses["base"], machine, profile, runner.work)
    if too_large:
        table += f"\n## Killed by the system\n\nOut of its {_memory_gb()} GB of memory: {'; '.join(too_large)}.\n"
    print(table)
    options.out.write_text(f"# LoRA training on the CPU\n\n{table}", encoding="utf-8")
    return 0


class Runner:
    """Runs processes, and keeps what they printed."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._results = options.work / "results"
        self._results.mkdir(parents=True, exist_ok=True)
        self.base = bases.resolve(cpu_documents.BASE)
        self.work = cpu_documents.prepare(options.data, options.work / "data", options.steps)
        self._peer = peer_environments.python_of(peer_environments.TRL, options.envs)

    def adapter(self, arm: Arm, number: int) -> Path:
        """Where a run leaves its adapter."""
        out = self._out(arm, number)
        return out / "adapter" if arm.trainer == "trainkit" else out

    def run(self, arm: Arm, number: int) -> dict[str, Any]:
        """One run of one contender, or what it printed when it was run before."""
        request: dict[str, Any] = {"base": self.base, "out": str(self._out(arm, number))}
        if arm.trainer == "trainkit":
            request |= {"build": str(self.work.build), "seed": self.work.seed, "precision": arm.precision}
            request |= {"steps": self._options.steps}
            script, python = "cpu_trainkit.py", sys.executable
        else:
            rate = cpu_documents.settings(self._options.steps, "fp32").learning_rate
            request |= {"documents": str(self.work.documents), "seed": number, "learning_rate": rate}
            request |= {"trainer": arm.trainer, "rows": arm.rows, "settings": arm.settings}
            request |= {"documents_at_most": arm.documents}
            script, python = "cpu_peers.py", str(self._peer)
        limit = ENOUGH if arm.documents else None
        return self._once(f"{number}-{arm.name}", [python, str(HERE / script), arm.name, json.dumps(request)], limit)

    def helper(self, name: str, script: str, *arguments: str) -> dict[str, Any]:
        """A process of our own environment."""
        return self._once(name, [sys.executable, str(HERE / script), *arguments], None)

    def _out(self, arm: Arm, number: int) -> Path:
        return Path(self._options.work) / "runs" / f"{number}-{arm.name}"

    def _once(self, name: str, command: list[str], limit: int | None) -> dict[str, Any]:
        path = self._results / f"{name}.json"
        if not path.exists():
            print(f"{name} ...", file=sys.stderr, flush=True)
            # A peer must not see this project's packages, which may be on the path.
            environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            if command[0] == sys.executable:
                environment["PYTHONPATH"] = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=limit, env=environment, check=False
                )
            except subprocess.TimeoutExpired:
                path.write_text(json.dumps({"gave_up_after": limit}), encoding="utf-8")
                return {"gave_up_after": limit}
            if done.returncode == -signal.SIGKILL:
                # The system kills what takes more memory than there is.
                path.write_text(json.dumps({"killed": True}), encoding="utf-8")
                return {"killed": True}
            if done.returncode:
                sys.exit(f"error: {name} failed:\n{done.stderr[-4000:]}")
            last = done.stdout.strip().splitlines()[-1]
            print(f"{name}: {last}", file=sys.stderr, flush=True)
            path.write_text(last, encoding="utf-8")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found


def _memory_gb() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _search(runner: Runner) -> None:
    for name, settings in candidates().items():
        found = runner.run(Arm(f"search {name}", name, "trl", settings=settings), 0)
        print(f"{cpu_report.speed(found, 'tokens'):6.1f} tokens/s  {found['peak_mb']:6,} MB  {name}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
