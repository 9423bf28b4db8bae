"""Processes of the GPU benchmark, each started while the one before it still computes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WORKER = HERE / "gpu_worker.py"
TOO_LARGE = ("OutOfMemoryError", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
NEEDED = {"plain": (), "peers": ("trl", "datasets"), "liger": ("trl", "liger_kernel"), "unsloth": ("unsloth",)}
"""Packages by which it is known whether a run's needs are on the path."""
TOLD = 4000


class Process:
    """One worker, which loads its packages and waits."""

    def __init__(self, needs: str, folders: Sequence[Path], scratch: Path, log: str, *, on_cpu: bool) -> None:
        """`folders` are put first on its path; `scratch` is where it may write, a `log` of that name too."""
        self.needs = needs
        self._log = scratch / log
        with self._log.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, str(WORKER), needs],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=scratch,
                env=_environment(folders, scratch, on_cpu),
                # Compilers that it starts end with it.
                process_group=0,
            )

    def run(self, requests: list[dict[str, Any]], limit: float) -> list[dict[str, Any]]:
        """What came of the requests, or for each why nothing did."""
        stopped = False
        try:
            self._process.communicate(json.dumps(requests).encode() + b"\n", timeout=limit)
        except subprocess.TimeoutExpired:
            stopped = True
            self.stop()
        said = self._log.read_text(encoding="utf-8", errors="replace")
        return [self._found(request, said, limit if stopped else None) for request in requests]

    def stop(self) -> None:
        """End it, and what it has started."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            self._process.wait()

    @staticmethod
    def _found(request: dict[str, Any], said: str, stopped_after: float | None) -> dict[str, Any]:
        path = Path(request["result"])
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return {"outcome": "done", **found}
        if stopped_after is not None:
            return {"outcome": f"stopped after {stopped_after:.0f} s", "said": said[-TOLD:]}
        if any(words in said for words in TOO_LARGE):
            return {"outcome": "does not fit", "said": said[-TOLD:]}
        return {"outcome": "failed", "said": said[-TOLD:]}


def on_the_path(needs: str, folders: Sequence[Path]) -> bool:
    """Whether the packages are there that a run needs beside ours."""
    places = [*folders, *map(Path, sys.path)]
    return all(any((place / name).is_dir() for place in places) for name in NEEDED[needs])


def _environment(folders: Sequence[Path], scratch: Path, on_cpu: bool) -> dict[str, str]:
    path = [*map(str, folders), str(HERE.parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(part for part in path if part),
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": "" if on_cpu else os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0],
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(scratch / "hf"),
        "TOKENIZERS_PARALLELISM": "false",
        "UNSLOTH_DISABLE_STATISTICS": "1",
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        # What one process has compiled the next one need not.
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
        "TRITON_CACHE_DIR": str(scratch / "triton"),
    }
