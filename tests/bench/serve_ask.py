"""Ask SmolLM2-135M behind `transformers serve` all that a recipe asks, on this machine, and see what comes of it.

    pip install 'transformers[serving]'
    python -m tests.bench.serve_ask [--out tests/bench/serve_ask.md]

The server is started on a free port of the loopback, one thread, and stopped at the end. Between it and the builds
stands a proxy that notes each request and its reply (`serve_proxy.py`). English passages of the samples become
questions: with the project's prompts, and with `serve_ask_prompts`, which show two worked examples. What is asked twice
is counted, for another filter, by the same build again, and by one that is killed by SIGKILL and goes on. The model
answers prompts and judges answers, and an adapter is trained for a few steps on what it wrote.
"""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers

from dataforge.bases import resolve
from tests.bench.serve_proxy import Exchange, Proxy

BASE = "smollm2-135m"
SAMPLES = Path(__file__).parents[2] / "samples" / "corpora" / "passages.jsonl"
PROMPTS = Path(__file__).parent / "serve_ask_prompts"
LONGEST = 80
TITLES = ("The Lantern Ferry", "Why the Quarry Bell Rings Twice")
EXAMPLES = {"prompts": str(PROMPTS)}
CHUNK, ASK = {"use": "chunk", "max_tokens": 64, "min_tokens": 12}, {"use": "ask", "llm": "writer", "n": 1}
QUESTIONS = (
    ("What is the capital of France?", "Paris."),
    ("Name a fruit that is yellow.", "A banana is yellow, and so is a lemon."),
)


def main() -> None:
    """Do it all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _serving(Path(folder)) as server, Proxy(server.url) as proxy:
        text = _Bench(Path(folder), server, proxy).report()
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


class _Server:
    """A running `transformers serve`."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self.process, self._log = process, log

    @property
    def received(self) -> int:
        """Requests, by its own log."""
        return self._log.read_text(encoding="utf-8").count("[Request received]")

    @property
    def computed(self) -> float:
        """Seconds of CPU time until now."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _serving(folder: Path) -> Iterator[_Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", resolve(BASE)]
    log = folder / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        while process.poll() is None and not _well(port):
            time.sleep(0.5)
        if process.poll() is not None:
            raise SystemExit(f"the server did not start:\n{log.read_text(encoding='utf-8')}")
        yield _Server(port, process, log)
    finally:
        process.terminate()
        process.wait()


def _well(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


class _Bench:
    """What is done with one server, in a folder."""

    def __init__(self, folder: Path, server: _Server, proxy: Proxy) -> None:
        self.folder, self.server, self.proxy = folder, server, proxy
        self.rows: list[str] = []
        passages = [json.loads(line) for line in SAMPLES.read_text(encoding="utf-8").splitlines()]
        self._write("passages.jsonl", [each for each in passages if each["title"] in TITLES])
        self._write("prompts.jsonl", [{"instruction": question, "output": said} for question, said in QUESTIONS])

    def report(self) -> str:
        """Do it all, and say what came of it."""
        passages = [{"use": "documents", "path": "passages.jsonl"}]
        prompts = [{"use": "alpaca", "path": "prompts.jsonl"}]
        bare = {**ASK, "styles": ["plain"]}
        shown, free = {**bare, **EXAMPLES}, {**bare, **EXAMPLES, "evidence": False, "near": None}
        respond = {"use": "respond", "llm": ["writer"]}
        beside = {**respond, "old_answer": "keep"}
        judge = {"use": "judge", "llm": "writer", "judge_may_be_author": True}
        self._arm("questions, the project's prompts", passages, [CHUNK, bare])
        self._arm("questions, two worked examples", passages, [CHUNK, shown])
        self._arm("the same, no quotes wanted", passages, [CHUNK, free], "free")
        again = self._again("free")
        killed = self._killed(passages, [CHUNK, shown])
        self._arm("answers", prompts, [respond])
        self._arm("answers judged, the project's prompt", prompts, [beside, judge, {"use": "best"}])
        self._arm("answers judged, two worked examples", prompts, [beside, {**judge, **EXAMPLES}, {"use": "best"}])
        trained = self._trained("free")
        if len(self.proxy.exchanges) != self.server.received:
            raise SystemExit(f"{len(self.proxy.exchanges)} requests passed, the server had {self.server.received}")
        return "\n".join([*self._head(), *self.rows, "", again, "", killed, "", trained, ""])

    def _arm(self, name: str, sources: list[Any], steps: list[Any], place: str = "") -> None:
        """Build, and add a row."""
        place, seen, began = place or f"arm{len(self.rows)}", len(self.proxy.exchanges), self.server.computed
        recipe = self._recipe(place, sources, steps)
        start = time.monotonic()
        built = _forge(["build", recipe, "--out", str(self.folder / place), "--yes"], self.folder, self._environment())
        took, asked = time.monotonic() - start, self.proxy.exchanges[seen:]
        self.rows.append(_row(name, asked, built, self._manifest(place), took, self.server.computed - began))
        print(self.rows[-1], *(f"    {each.finish} {each.text!r}" for each in asked), sep="\n", file=sys.stderr)

    def _killed(self, sources: list[Any], steps: list[Any]) -> str:
        """Kill a build by SIGKILL, have it go on, and say what was asked twice."""
        seen, environment = len(self.proxy.exchanges), self._environment("killed.sqlite")
        recipe = self._recipe("killed", sources, steps)
        command = ["build", recipe, "--out", str(self.folder / "killed"), "--yes"]
        process = _started(command, self.folder, environment)
        while process.poll() is None and sum(each.finished for each in self.proxy.exchanges[seen:]) < 4:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.5)  # until the proxy has seen that the client is gone
        before = self.proxy.exchanges[seen:]
        _forge(command, self.folder, environment)
        after = self.proxy.exchanges[seen + len(before) :]
        done = {each.name for each in before if each.finished}
        again = sum(each.name in done for each in after)
        return (
            f"A build killed by SIGKILL after {len(done)} replies, {len(before) - len(done)} under way: {again} of the "
            f"replies were asked for again; then {len(after)} requests until the end."
        )

    def _trained(self, place: str) -> str:
        recipe = self.folder / f"{place}.yaml"
        train = {"base": BASE, "steps": 4, "tokens_per_step": 512, "learning_rate": 5e-4, "eval_every": 100}
        recipe.write_text(
            json.dumps({**json.loads(recipe.read_text(encoding="utf-8")), "train": train}), encoding="utf-8"
        )
        seen = len(self.proxy.exchanges)
        start = time.monotonic()
        said = _forge(["train", str(recipe), "--out", str(self.folder / "run")], self.folder, self._environment())
        if not (self.folder / "run" / "adapter" / "adapter_model.safetensors").is_file():
            raise SystemExit(f"no adapter was trained:\n{said[-2000:]}")
        lines = map(json.loads, (self.folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
        losses = [line["loss"] for line in lines if "loss" in line]
        return (
            f"An adapter trained on what was written without quotes: {len(losses)} steps in "
            f"{time.monotonic() - start:.0f} s with its build, loss {losses[0]:.2f} to {losses[-1]:.2f}, "
            f"{len(self.proxy.exchanges) - seen} requests."
        )

    def _again(self, place: str) -> str:
        """What was asked twice of one cache, by another filter and by the same build again."""
        before = Counter(each.name for each in self.proxy.exchanges if each.finished)
        seen = len(self.proxy.exchanges)
        _forge(
            ["build", self._path(place), "--out", str(self.folder / place), "--yes"], self.folder, self._environment()
        )
        return (
            f"Of {len(before)} requests that were answered, {sum(count > 1 for count in before.values())} were asked "
            f"again for another filter. The same build again asked {len(self.proxy.exchanges) - seen} times."
        )

    def _head(self) -> list[str]:
        asked = [each for each in self.proxy.exchanges if each.finished]
        tokens = sum(each.tokens("completion_tokens") for each in asked)
        return [
            "# Asking SmolLM2-135M behind transformers serve",
            "",
            f"{len(asked)} requests, {sum(each.tokens('prompt_tokens') for each in asked):,} tokens in prompts and "
            f"{tokens:,} in replies, in {self.server.computed:.0f} s of one core: {tokens / self.server.computed:.1f} "
            f"tokens/s. (transformers {transformers.__version__}, bf16, one thread, one request at a time, at most "
            f"{LONGEST} tokens a reply; cores that others used too)",
            "",
            "| what | records in | requests | JSON | cut off | kept | rejected | counted | seconds | of the server |",
            "|---|---:|---:|---:|---:|---:|---|---|---:|---:|",
        ]

    def _recipe(self, name: str, sources: list[Any], steps: list[Any]) -> str:
        writer = {"base_url": self.proxy.url, "model": resolve(BASE), "max_tokens": LONGEST, "concurrency": 2}
        said = {
            "name": name,
            "tokenizer": BASE,
            "sources": sources,
            "llm": {"writer": {**writer, "temperature": 0.0, "timeout": 600}},
            "steps": steps,
            "max_tokens": 512,
        }
        Path(self._path(name)).write_text(json.dumps(said), encoding="utf-8")
        return self._path(name)

    def _path(self, name: str) -> str:
        return str(self.folder / f"{name}.yaml")

    def _manifest(self, place: str) -> dict[str, Any]:
        path = self.folder / place / "manifest.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def _environment(self, cache: str = "llm.sqlite") -> dict[str, str]:
        root = str(Path(__file__).parents[2])
        return {**os.environ, "FORGE_LLM_CACHE": str(self.folder / cache), "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}

    def _write(self, name: str, records: Sequence[Any]) -> None:
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (self.folder / name).write_text(text, encoding="utf-8")


def _row(
    name: str, asked: Sequence[Exchange], said: str, manifest: dict[str, Any], took: float, computed: float
) -> str:
    stages = {stage["stage"]: stage for stage in manifest.get("funnel", [])}
    step = next((stages[each] for each in ("ask", "judge", "respond") if each in stages), None)
    if step is None:
        found = re.search(r"\(((?:ask|judge|respond)/[^)]*)\)", said)
        if found is None:
            raise SystemExit(said)
        why = found[1]
        read, kept = sum(int(count) for count in re.findall(r" (\d+)", why)), 0
    else:
        read, kept = step["read"], stages["gate"]["passed"]
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(step["rejected"].items()))
    noted = manifest.get("noted", {}).get("judge") or manifest.get("noted", {}).get("respond") or {}
    counted = ", ".join(f"{key} {count}" for key, count in sorted(noted.items()) if not key.startswith(_SPENT))
    useful = sum(map(_useful, asked))
    cut = sum(each.finish == "length" for each in asked)
    cells = [name, read, len(asked), useful, cut, kept, why, counted, f"{took:.0f}", f"{computed:.0f}"]
    return f"| {' | '.join(map(str, cells))} |"


_SPENT = ("requests", "replies from the cache", "prompt tokens", "completion tokens", "failed", "cost")


def _useful(exchange: Exchange) -> bool:
    """Whether a reply that was asked for as JSON holds an object, judged from outside."""
    text = exchange.text
    try:
        return exchange.finish == "stop" and isinstance(json.loads(text[text.index("{") : text.rindex("}") + 1]), dict)
    except ValueError:
        return False


def _started(arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dataforge", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _forge(arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> str:
    """What the program said; a build of which nothing is left ends in an error, which is a result here."""
    process = _started(arguments, folder, environment)
    said, _ = process.communicate()
    if process.returncode not in (0, 2):
        raise SystemExit(said)
    return said


if __name__ == "__main__":
    main()
