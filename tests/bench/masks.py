"""Every chat template on real vocabularies and many shapes of conversations: are the masks right?

    python tests/bench/masks.py --data FOLDER [--trl FOLDER] [--templates GLOB] [--tokenizers a,b] [--out FILE]

`--data` holds the vocabularies (`mask_tokenizers.py` names them), `--trl` the unpacked package of trl 1.16.0, which is
downloaded without it. Rows are made by `dataforge`, by `transformers` alone and by the way of TRL's
`assistant_only_loss`, and judged by `mask_oracle.py`, which knows none of them. The report goes to `--out`; the exit
status is 1 where a row of `dataforge` is wrong.
"""

import argparse
import datetime
import fnmatch
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mask_ours
import mask_report
import mask_tokenizers
from mask_report import Verdict
from mask_shapes import shapes
from tokenizers import Tokenizer
from transformers.utils.chat_template_utils import render_jinja_template

from dataforge import bases, templates

HERE = Path(__file__).resolve().parent
DATE = datetime.date(2026, 1, 1)
_TRL = "trl==1.16.0"
_SPOILT = 8
"""Of so many conversations, the right rows of one are spoilt to see that the oracle sees it."""
_NOTE = """\
Written by `python tests/bench/masks.py --data FOLDER --out tests/bench/masks.md`. The templates are those that
trl 1.16.0 carries (`trl/…`, without its training variants) and ours (`own/…`). TRL's rows are made as its trainer makes
them for `assistant_only_loss=True`: its own `get_training_chat_template` chooses the template, and the mask is that of
`apply_chat_template` of transformers, which stands in its own column for the template as it is. Neither knows of
weights, so all answers are asked of them. Content is given as a list of parts where a template takes nothing else, and
arguments of tool calls as JSON text likewise, to every tool."""


@dataclass(frozen=True, slots=True)
class Task:
    """One template on one vocabulary."""

    template: str
    own: bool
    text: str
    vocabulary: mask_tokenizers.Vocabulary
    tokenizer: Path
    trl: str


class Oracle:
    """The oracle's process."""

    def __init__(self) -> None:
        command = [sys.executable, str(HERE / "mask_oracle.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask(date=DATE.isoformat())

    def ask(self, **request: Any) -> dict[str, Any]:
        """The reply to a request."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        reply: dict[str, Any] = json.loads(self._process.stdout.readline())
        return reply


_oracle: Oracle | None = None


def run(task: Task) -> list[Verdict]:
    """Everything about one template on one vocabulary."""
    global _oracle
    _oracle = _oracle or Oracle()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        special = mask_tokenizers.write_folder(
            Tokenizer.from_file(str(task.tokenizer)), task.vocabulary, task.text, _rendered(task), folder
        )
        _oracle.ask(folder=name, trl=task.trl)
        return list(_verdicts(task, folder, special, _oracle))


def _verdicts(task: Task, folder: Path, special: list[str], oracle: Oracle) -> Iterator[Verdict]:
    every, number = shapes(special), zlib.crc32(f"{task.template} {task.vocabulary.name}".encode())
    for way in mask_ours.ways(task.text):
        asked = [shape for shape in every if shape.typed or way.special_tokens == "allow"]
        for outcome in mask_ours.outcomes(folder, way, asked, DATE, own=task.template if task.own else None):
            case = {
                "messages": outcome.shape.messages,
                "tools": outcome.shape.tools,
                "kwargs": way.kwargs,
                "sanitize": way.special_tokens == "as_text",
                "write_empty": way.reasoning == "write_empty",
                "rows": outcome.rows,
            }
            number += 1
            reply = oracle.ask(case=case, peers=way.comparable, spoil=number % _SPOILT == 0)
            yield Verdict(
                template=("own/" if task.own else "trl/") + task.template,
                tokenizer=task.vocabulary.name,
                way=way.name,
                shape=outcome.shape.name,
                reason=outcome.reason,
                detail=outcome.detail,
                wrong=reply.get("wrong", []),
                forms=reply.get("forms", []),
                against=reply.get("against", ""),
                peers={name: (reply[name][0], reply[name][1]) for name in mask_report.PEERS if name in reply},
                spoilt=reply.get("spoilt", 0),
                unseen=reply.get("unseen", []),
            )


def _rendered(task: Task) -> str:
    """What the template writes of small conversations, to see the markers that it puts together."""
    said = [{"role": role, "content": "text"} for role in ("system", "user", "assistant")]
    found = []
    for messages in (said, said[1:]):
        try:
            texts, _ = render_jinja_template([messages], chat_template=task.text, bos_token="", eos_token="")
            found.append(texts[0])
        except Exception:
            continue  # The template refuses it.
    return "\n".join(found)


def _tasks(options: argparse.Namespace, work: Path) -> list[Task]:
    trl = options.trl or _download(work)
    root = next(path for path in (trl, *trl.parents) if (path / "trl" / "chat_templates").is_dir())
    texts = {
        (False, path.stem): path.read_text(encoding="utf-8")
        for path in sorted((root / "trl" / "chat_templates").glob("*.jinja"))
        if not path.stem.endswith("_training")
    }
    texts |= {(True, name): templates.find(name, Path()) for name in templates.names()}
    chosen = {key: text for key, text in texts.items() if fnmatch.fnmatch(key[1], options.templates)}
    tasks = []
    for vocabulary in mask_tokenizers.VOCABULARIES:
        if options.tokenizers and vocabulary.name not in options.tokenizers.split(","):
            continue
        path = work / f"{vocabulary.name}.json"
        if vocabulary.source:
            mask_tokenizers.convert(vocabulary, options.data).save(str(path))
        else:
            vocabulary, path = mask_tokenizers.bundled(vocabulary, Path(bases.resolve("smollm2-135m")))
        tasks += [Task(name, own, text, vocabulary, path, str(root)) for (own, name), text in chosen.items()]
    return tasks


def _download(work: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(work), _TRL]
    subprocess.run(command, check=True)
    (wheel,) = work.glob("trl-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work / "package")
    return work / "package"


def main() -> int:
    """Run the matrix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the vocabularies")
    parser.add_argument("--trl", type=Path, help="unpacked package of trl, or a folder in it")
    parser.add_argument("--templates", default="*", help="which templates, as a shell pattern")
    parser.add_argument("--tokenizers", default="", help="which vocabularies, with commas between them")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--out", type=Path, help="file for the report, in Markdown")
    parser.add_argument("--verdicts", type=Path, help="file for every single verdict, in JSON lines")
    options = parser.parse_args()
    begun = time.monotonic()
    verdicts: list[Verdict] = []
    with tempfile.TemporaryDirectory() as work:
        tasks = _tasks(options, Path(work))
        with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
            for done, found in enumerate(pool.imap(run, tasks), start=1):
                verdicts += found
                wrong = sum(bool(verdict.wrong) for verdict in found)
                task = tasks[done - 1]
                print(f"{done}/{len(tasks)} {task.vocabulary.name} {task.template}: {wrong} wrong", flush=True)
    if options.verdicts:
        lines = [json.dumps(asdict(verdict), ensure_ascii=False) for verdict in verdicts]
        options.verdicts.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if options.out:
        options.out.write_text(mask_report.report(verdicts, _NOTE), encoding="utf-8")
    print(mask_report.summary(verdicts))
    print(f"{time.monotonic() - begun:.0f} s")
    return int(any(verdict.wrong or verdict.unseen for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
