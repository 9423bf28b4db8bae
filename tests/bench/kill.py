"""Kill `forge train` at seeded instants, and see whether it ends as if nothing had happened.

    python -m tests.bench.kill            writes tests/bench/kill.md

Twenty runs of a tiny model on the CPU. Each is killed by SIGKILL at a file-system event (its first, its last, and 18
drawn over all of them, which hits the writing of checkpoints, of the adapter and of the outcome); the same command then
goes on, is killed once more after a drawn time if it still runs by then, and is run to its end. Every other run starts
in the folder of a finished run with other settings, which must be cleared away. Compared with an undisturbed run are
every line of metrics.jsonl but for its timings, every byte of the adapter's folder, and which files there are.
"""

import json
import random
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.conftest import write_tiny_base
from tests.trainkit.conftest import random_windows, write_build
from tests.trainkit.cut_off import KillAt, Tell, forge, fresh, result

SEED = 5
RUNS = 20
COMMAND = ["train", "recipe.yaml"]
TRAIN: dict[str, Any] = {
    "base": "base",
    "data": "build",
    "adapter": {"rank": 4, "alpha": 8.0, "dropout": 0.1},
    "epochs": 4,
    "tokens_per_step": 100,
    "learning_rate": 0.01,
    "precision": "fp32",
    "eval_every": 4,
    "save_every": 3,
    "keep": 1,
}


def main() -> None:
    """Kill, compare, and write the table."""
    with tempfile.TemporaryDirectory() as name:
        rows = list(_rows(Path(name)))
    same = Counter(row[-1] for row in rows)
    lines = [
        "# Runs that were killed",
        "",
        f"{same['yes']} of {len(rows)} runs, each killed once or twice, ended with the losses, the adapter and the",
        "files of the undisturbed run.",
        "",
        "| run | in the folder of another | killed first at | step | killed again after | step | the same end |",
        "|---|---|---|---|---|---|---|",
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]
    (Path(__file__).parent / "kill.md").write_text("\n".join(lines), encoding="utf-8")


def _rows(place: Path) -> Any:
    write_tiny_base(place / "base", seed=0)
    write_build(place / "build", place / "base", random_windows(12, 1, "t"), random_windows(3, 2, "e"))
    (place / "recipe.yaml").write_text(json.dumps({"train": TRAIN}))
    before = place / "before"
    forge([*COMMAND, "train.learning_rate=0.1", "--out", str(before)], place)
    draw = random.Random(SEED)
    wanted: dict[bool, Any] = {}
    events: dict[bool, int] = {}
    for number in range(RUNS):
        other = number % 2 == 1
        if other not in wanted:
            run_folder = fresh(place, before if other else None)
            whole = forge(COMMAND, place, Tell())
            wanted[other], events[other] = result(run_folder), whole.said.count("event ")
        run_folder = fresh(place, before if other else None)
        last = events[other]
        at = 1 if number == 0 else last if number == RUNS - 1 else draw.randint(1, last)
        first = forge(COMMAND, place, KillAt(at))
        first_step = _step(run_folder)
        seconds = draw.uniform(0, whole.seconds)
        second = forge(COMMAND, place, kill_after=seconds)
        second_step = _step(run_folder)
        finished = forge(COMMAND, place)
        same = first.code == -9 and finished.code == 0 and result(run_folder) == wanted[other]
        where = first.said.splitlines()[-1].removeprefix("killed at ").replace("runs/tiny/", "")
        event = f"{at} of {last}: `{re.sub('[.][0-9]+[.](?=tmp|old)', '.PID.', where)}`"
        again = f"{seconds:.2f} s" + ("" if second.code == -9 else " (had finished)")
        yield [
            str(number + 1),
            "yes" if other else "no",
            event,
            first_step,
            again,
            second_step,
            "yes" if same else "NO",
        ]
    shutil.rmtree(place / "runs")


def _step(run_folder: Path) -> str:
    """Steps whose losses are written down, and the newest checkpoint's."""
    path = run_folder / "metrics.jsonl"
    taken = path.read_text().count('"loss"') if path.is_file() else 0
    saved = max((int(found.name[5:]) for found in run_folder.glob("checkpoints/step-*")), default=0)
    return f"{taken}, saved {saved}"


if __name__ == "__main__":
    main()
