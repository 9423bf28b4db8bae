"""Where a run starts: anew, or after the last checkpoint of the same run."""

from pathlib import Path

from dataforge.errors import TrainingError
from trainkit import outcome
from trainkit.checkpoint import Checkpoint, Checkpoints
from trainkit.files import sweep
from trainkit.log import Progress
from trainkit.processes import Processes


def where_to_go_on(
    out: Path, run: str, checkpoints: Checkpoints, progress: Progress, processes: Processes
) -> Checkpoint | None:
    """The checkpoint to go on from, if there is one, after clearing away what belongs to no run any more.

    Raises `TrainingError` where it is damaged, or the processes do not find the same one.
    """
    processes.first_does(lambda: _clear_away(out, run, checkpoints, progress))
    found = checkpoints.latest()
    starts = processes.gather((run, found and found.position.step))
    if starts != [starts[0]] * processes.count:
        raise TrainingError(
            f"{out}: the processes do not start from the same place; every machine must see the same recipe, build, "
            "base and run folder"
        )
    if found is not None:
        progress.say(f"{out}: going on after step {found.position.step}")
    return found


def _clear_away(out: Path, run: str, checkpoints: Checkpoints, progress: Progress) -> None:
    sweep(out)
    sweep(out / "checkpoints")
    if checkpoints.other_run() or outcome.other_run(out, run):
        stake = f"; {out / 'adapter'} will be replaced, another --out keeps it" if (out / "adapter").is_dir() else ""
        progress.say(
            f"{out}: the settings, the data or the base model are not those of the run before; starting anew{stake}"
        )
        (out / outcome.FILE).unlink(missing_ok=True)
        checkpoints.clear()
