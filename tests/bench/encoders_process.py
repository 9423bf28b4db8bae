"""The environment of the libraries and the processes in it."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
_PACKAGES = (
    *("fastokens==0.3.5", "snaptokens==0.2.6", "basetenkenizer==0.2.8", "gigatoken==0.10.0", "kitoken==0.11.1"),
    *("tokie==0.1.4", "iree-tokenizer==0.3.0", "morpheme==0.5.0", "splintr-rs==0.22.0", "tuetoken==0.1.3"),
    *("tiktoken==0.14.0", "tokenizers", "numpy", "regex"),
)


@dataclass(frozen=True, slots=True)
class Environment:
    """The interpreter that has the libraries."""

    python: Path
    versions: dict[str, str]


def environment(folder: Path) -> Environment:
    """Make the environment in a folder, once; tokenizers and numpy are those of the project's constraints."""
    python, done = folder / "bin" / "python", folder / "packages.json"
    if not done.is_file() or json.loads(done.read_text(encoding="utf-8"))["asked"] != list(_PACKAGES):
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
        constraints = HERE.parent.parent / "constraints.txt"
        subprocess.run([*pip, "install", "--quiet", "--constraint", str(constraints), *_PACKAGES], check=True)
        listed = subprocess.run([*pip, "list", "--format", "json"], check=True, capture_output=True, text=True).stdout
        versions = {item["name"].replace("_", "-"): item["version"] for item in json.loads(listed)}
        done.write_text(json.dumps({"asked": list(_PACKAGES), "versions": versions}), encoding="utf-8")
    return Environment(python, json.loads(done.read_text(encoding="utf-8"))["versions"])


class Worker:
    """A library on one tokenizer, on so many cores from one on; `refused` says why there is none."""

    def __init__(
        self, environment: Environment, library: str, tokenizer: Path, threads: int, core: int | None = None
    ) -> None:
        worker = str(HERE / "encoders_worker.py")
        command = [str(environment.python), worker, library, str(tokenizer), str(threads), str(core or 0)]
        # Seconds of the process are not disturbed by others; those of threads and of processes side by side add up.
        self._of_process = threads == 1 and core is None
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.refused: str | None = self._read().get("refused")

    def ask(self, texts: Path, per_call: int = 0, out: Path | None = None, **part: int) -> dict[str, Any]:
        """Encode a file of texts, so many a call, or all in one."""
        self.begin(texts, per_call, out, **part)
        return self.end()

    def begin(self, texts: Path, per_call: int = 0, out: Path | None = None, **part: int) -> None:
        """Ask, and do not wait."""
        request: dict[str, Any] = {"texts": str(texts), "per_call": per_call, "out": str(out) if out else None, **part}
        request["of_process"] = self._of_process
        if self._process.stdin is None:
            raise RuntimeError("the worker has no input")
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, Any]:
        """What the worker says to the last request."""
        return self._read()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        if self._process.stdout is None:
            raise RuntimeError("the worker has no output")
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"refused": f"its process ended: {self._process.wait()}"}
        return answer
