"""Trackers (TensorBoard, W&B, MLflow, Trackio) through accelerate, which knows how each of them is called."""

import math
import os
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from pathlib import Path
from typing import Any

import orjson
import torch
from accelerate import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import clear_environment

from dataforge.errors import TrainingError, first_line
from dataforge.shards import replace_file

RUNS = "runs.json"
"""The ids under which the trackers know the run, so that a resumed one goes on in the same place."""


def check(names: Sequence[str]) -> None:
    """Raise `TrainingError` where a tracker is not installed."""
    installed = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in installed:
            raise TrainingError(f"train.report_to: {name} is not installed; `pip install {name}`, or take it away")


class Trackers:
    """The trackers of one run; their files lie in one folder."""

    def __init__(
        self,
        names: Sequence[str],
        project: str,
        folder: Path,
        config: Mapping[str, Any],
        after_step: int,
        say: Callable[[str], None],
    ) -> None:
        """Go on after step `after_step`; at 0 a run begins, and its `config` is reported.

        Of several processes only the first reports. Raises `TrainingError` where a tracker cannot start.
        """
        self._say = say
        self._trackers: dict[str, Any] = {}
        if not names or (torch.distributed.is_initialized() and torch.distributed.get_rank()):
            return
        check(names)
        folder.mkdir(parents=True, exist_ok=True)
        if not PartialState._shared_state:
            # Left to itself, accelerate would open a process group of its own and choose a device.
            with clear_environment():
                PartialState(cpu=True)
        runs = _read(folder / RUNS) if after_step else {}
        for name in names:
            try:
                with _talking_on_stderr():
                    tracker = _make(name, project, folder.resolve(), runs, after_step)
                    tracker.start()
                    if name == "mlflow":
                        runs[name] = tracker.tracker.info.run_id
                    # The other two would show them twice, or refuse those that have changed since.
                    if not after_step or name in ("wandb", "trackio"):
                        tracker.store_init_configuration(flat(config))
            except Exception as error:  # what a tracker raises is its own affair
                raise TrainingError(
                    f"train.report_to: {name} cannot start ({first_line(error)}); set it up, or take it away"
                ) from None
            self._trackers[name] = tracker
        replace_file(folder / RUNS, orjson.dumps(runs) + b"\n")

    def log(self, values: Mapping[str, Any]) -> None:
        """Report the numbers of a step; a tracker that fails is given up, with a line that says so."""
        numbers = {name: value for name, value in values.items() if name != "step" and math.isfinite(value)}
        for name, tracker in list(self._trackers.items()):
            try:
                with _talking_on_stderr():
                    tracker.log(numbers, step=values["step"])
            except Exception as error:  # a run must not end because a tracker cannot be reached
                self._give_up(name, error)

    def close(self) -> None:
        """End the reports of this process."""
        for name, tracker in list(self._trackers.items()):
            try:
                with _talking_on_stderr():
                    _finish(name, tracker)
            except Exception as error:  # as above
                self._give_up(name, error)
        self._trackers = {}

    def _give_up(self, name: str, error: Exception) -> None:
        del self._trackers[name]
        self._say(f"{name}: {first_line(error)}; the run goes on without it, metrics.jsonl holds every number")


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings with their key paths, as trackers take them: nothing nested, no lists, no nulls."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif value is not None:
            found[f"{prefix}{key}"] = ", ".join(map(str, value)) if isinstance(value, list) else value
    return found


def _make(name: str, project: str, folder: Path, runs: dict[str, str], after_step: int) -> Any:
    made = LOGGER_TYPE_TO_CLASS[name]
    if name == "tensorboard":
        # Steps after the checkpoint were written by a run that was cut off; TensorBoard drops them.
        return made(run_name=name, logging_dir=folder, purge_step=after_step + 1)
    if name == "mlflow":
        if "MLFLOW_TRACKING_URI" in os.environ:
            return made(experiment_name=project, run_id=runs.get(name), run_name=folder.parent.name)
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        # It also puts the place into the environment, where the next stage of training would take it for the user's.
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        files = (folder / "mlflow").as_uri()
        return made(experiment_name=project, logging_dir=files, run_id=runs.get(name), run_name=folder.parent.name)
    known = name in runs
    run = runs.setdefault(name, uuid.uuid4().hex[:8])
    if name == "wandb":
        return made(run_name=project, dir=folder, name=folder.parent.name, id=run, resume="allow")
    os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
    return made(run_name=project, name=f"{folder.parent.name}-{run}", resume="must" if known else "never")


def _finish(name: str, tracker: Any) -> None:
    if name == "trackio":
        import trackio

        # The run's own method, which accelerate calls, would have it finished once more when the process ends.
        trackio.finish()
    else:
        tracker.finish()


def _talking_on_stderr() -> AbstractContextManager[Any]:
    """What a tracker prints must not end up in a command's output."""
    return redirect_stdout(sys.stderr)


def _read(path: Path) -> dict[str, str]:
    try:
        found: dict[str, str] = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return found
