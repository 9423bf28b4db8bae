"""Kill `forge build` at seeded instants, and see what it costs to go on.

    python -m tests.bench.resume [--kills 30] [--records 40000] [--out tests/bench]

writes resume.md and resume.json. Each trial starts a build with two workers in an empty folder and kills all its
processes by SIGKILL after a time drawn evenly over that of an undisturbed build; the same command is then run to its
end. Undisturbed builds are run in between, so that both are timed on the same machine. Ten more builds are interrupted
by SIGINT to all processes, as a terminal sends it, and timed until the command has ended.
"""

import argparse
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.conftest import write_tiny_base
from tests.dataforge.faulty import notes, started, write_chats

SEED = 11
INTERRUPTS = 10
COMMAND = ("build", "recipe.yaml", "--out", "b", "--workers", "2")


@dataclass(frozen=True)
class Kill:
    """One build that was killed and went on."""

    after: float
    """Seconds from its start."""
    finished: bool
    """Whether the build had ended by then."""
    done: int
    """Stages' tasks that were done when it was killed."""
    twice: int
    """Of these, how many the second run did again."""
    same: bool
    """Whether it ended with the digest of the undisturbed build."""
    extra: float
    """Seconds that both runs took beyond the undisturbed build before."""


@dataclass(frozen=True)
class Interrupt:
    """One build that was interrupted."""

    after: float
    code: int
    lines: int
    """What it said on standard error."""
    left: int
    """Workers that were still there when it had ended."""
    seconds: float
    """From the signal until the command had ended."""


def main() -> None:
    """Kill, interrupt, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--records", type=int, default=40_000)
    parser.add_argument("--out", type=Path, default=Path("tests/bench"))
    options = parser.parse_args()
    draw = random.Random(SEED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder, options.records)
        undisturbed, kills = [_whole(folder)], []
        for number in range(options.kills):
            if number % 3 == 2:
                undisturbed.append(_whole(folder))
            kills.append(_killed(folder, draw.random(), undisturbed))
            print(number + 1, kills[-1], file=sys.stderr)
        seconds = [each for each, _ in undisturbed]
        interrupts = [_interrupted(folder, 0.7 * draw.random() * statistics.median(seconds)) for _ in range(INTERRUPTS)]
    found = {
        "machine": _machine(),
        "load": os.getloadavg()[0],
        "records": options.records,
        "tasks": undisturbed[0][1][1],
        "undisturbed": seconds,
        "kills": [asdict(kill) for kill in kills],
        "interrupts": [asdict(interrupt) for interrupt in interrupts],
    }
    (options.out / "resume.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (options.out / "resume.md").write_text(_page(found, kills, interrupts), encoding="utf-8")


def _machine() -> str:
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} cores, {found[1] if found else 'of an unknown kind'}"


def _prepare(folder: Path, records: int) -> None:
    write_tiny_base(folder / "base", seed=0)
    write_chats(folder / "chats.jsonl", records, SEED)
    recipe = {
        "name": "resume",
        "sources": [{"use": "openai", "path": "chats.jsonl"}],
        "steps": [{"use": "dedupe"}],
        "tokenizer": "base",
        "max_tokens": 256,
        "split": {"eval": 0.1},
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))


def _fresh(folder: Path) -> Path:
    subprocess.run(["rm", "-rf", str(folder / "b")], check=True)
    return folder / "b"


def _run(folder: Path) -> tuple[float, tuple[str, int, int]]:
    """Seconds of a command that is run to its end; its digest, and how many tasks it found done, of how many."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "dataforge", *COMMAND], cwd=folder, capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - start
    digest = re.search(r"digest (\w+)", done.stdout)
    found = re.search(r"(\d+) of (\d+) tasks found done", done.stdout)
    if digest is None:
        raise RuntimeError(done.stdout)
    every = len(notes(folder / "b"))
    return seconds, (digest[1], every, int(found[1]) if found else every if "re-used" in done.stdout else 0)


def _whole(folder: Path) -> tuple[float, tuple[str, int, int]]:
    _fresh(folder)
    return _run(folder)


def _killed(folder: Path, share: float, undisturbed: list[tuple[float, tuple[str, int, int]]]) -> Kill:
    usual, (digest, _, _) = undisturbed[-1]
    build, after = _fresh(folder), share * usual
    start = time.perf_counter()
    with started(folder, *COMMAND) as running:
        time.sleep(after)
        finished = running.process.poll() is not None
        if not finished:
            os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()
        first = time.perf_counter() - start
    done = notes(build)
    seconds, (again, _, found) = _run(folder)
    now = notes(build)
    changed = sum(now.get(name) != state for name, state in done.items())
    return Kill(after, finished, len(done), max(changed, len(done) - found), again == digest, first + seconds - usual)


def _interrupted(folder: Path, after: float) -> Interrupt:
    _fresh(folder)
    with started(folder, *COMMAND) as running:
        time.sleep(after)
        running.look()
        start = time.perf_counter()
        os.killpg(running.process.pid, signal.SIGINT)
        running.process.wait()
        seconds = time.perf_counter() - start
        left = len(running.workers())
        code, said = running.ended()
    return Interrupt(after, code, len(said), left, seconds)


def _page(found: dict[str, object], kills: list[Kill], interrupts: list[Interrupt]) -> str:
    usual = [float(each) for each in found["undisturbed"]]  # type: ignore[attr-defined]
    extra, ended = (
        [kill.extra for kill in kills if not kill.finished],
        [each.seconds for each in interrupts if each.code == 130],
    )
    return "\n".join(
        [
            "# Builds that were killed",
            "",
            f"{found['records']:,} generated chats through dedupe, two workers, {found['tasks']} tasks; "
            f"{found['machine']}, with a load of {found['load']:.1f} by others and this.",
            "",
            f"- {sum(kill.same for kill in kills)} of {len(kills)} builds that were to be killed by SIGKILL ended with "
            f"the digest of the undisturbed build; {sum(kill.finished for kill in kills)} had ended before.",
            f"- {sum(kill.twice for kill in kills)} of {sum(kill.done for kill in kills):,} finished tasks were done "
            "twice.",
            f"- Extra time of the others: median {statistics.median(extra):.1f} s (from {min(extra):.1f} to "
            f"{max(extra):.1f}), of builds that take {statistics.median(usual):.1f} s undisturbed (from "
            f"{min(usual):.1f} to {max(usual):.1f}).",
            f"- SIGINT: {len(ended)} of {len(interrupts)} ended with exit code 130, "
            f"{sum(each.left for each in interrupts)} workers left; from the signal to the end median "
            f"{statistics.median(ended):.2f} s, at most {max(ended):.2f} s.",
            "",
            "| killed after | tasks done | done twice | same digest | extra time |",
            "|---|---|---|---|---|",
            *(
                f"| {kill.after:.1f} s{' (had finished)' if kill.finished else ''} | {kill.done} | {kill.twice} | "
                f"{'yes' if kill.same else 'NO'} | {kill.extra:+.1f} s |"
                for kill in sorted(kills, key=lambda kill: kill.after)
            ),
            "",
            "| interrupted after | exit code | lines said | workers left | ended after |",
            "|---|---|---|---|---|",
            *(
                f"| {each.after:.1f} s | {each.code} | {each.lines} | {each.left} | {each.seconds:.2f} s |"
                for each in sorted(interrupts, key=lambda each: each.after)
            ),
            "",
        ]
    )


if __name__ == "__main__":
    main()
