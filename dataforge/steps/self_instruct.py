"""Have a language model make up tasks with answers, from examples: Self-Instruct with Alpaca's filters.

`path` holds seed tasks, as JSON Lines or a JSON array: `instruction` with `instances` (each `input`, `output`), or with
`input` and `output` beside it. Each conversation of one round that comes by (mostly these same seeds, read by the
source `self_instruct` or `alpaca`) is the first example in `rounds` times `per_round` requests; the other examples are
drawn from the file, and from the second round on `machine` of them from what its own earlier rounds made. So a pool
grows from each seed. What is drawn depends on the build's seed, the record, the round and the number of the request.

A request asks for `tasks` new ones, written one below the other. Where the reply was broken off, its last task is
dropped (`truncated`) and the others are kept. A task that is not in the form is `malformed`; one that its own seed has
made already, or that is a seed, is `repeated`; one in another language than was asked for is `wrong_language`; one
whose answer is a refusal is `refused`. The other filters, in English and Chinese, are `too_short`, `too_long`,
`keyword`, `program`, `punctuation`, `foreign`, `no_output`, `echo` and `unfinished`. Each task that is dropped is a
reject.

The papers have one pool, which drops a task that is too near to any in it (a ROUGE-L above 0.7) before it is shown.
That is this step and `novel` after it, once for each generation:

    - {use: self_instruct, llm: writer, path: seeds.jsonl}
    - {use: novel}
    - {use: self_instruct, llm: writer, path: seeds.jsonl}
    - {use: novel}

What stays after `novel`, seeds and tasks of all generations, is the pool, and the next generation is asked from each of
it. Each new task was compared with all before it, in the order of seeds and not of replies, which is what makes the
pool the same each time. Within the `rounds` of one such step each seed has a pool of its own. For all that the seeds
must stay (`keep`).

What else differs: Self-Instruct asks for instruction and answer apart and treats classification apart;
Alpaca, and this, ask for both at once. Non-ASCII instructions, which Alpaca drops, may be Chinese here.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import Field

from dataforge import config, request_templates, seeds
from dataforge.context import Context, Depends
from dataforge.errors import InputError, first_line
from dataforge.instruction_filters import CHINESE_KEYWORDS, ENGLISH_KEYWORDS, Keywords, Task, fault
from dataforge.llm.requests import Ask, NoReply, Request
from dataforge.prompt_set import (
    Language,
    PromptSet,
    Tally,
    Wanted,
    language_for,
    language_of_text,
    own_folder,
    refused,
    single_round,
)
from dataforge.records import Chat, Message, Record, Reject, derived_id, group_of
from dataforge.refusals import refusal
from dataforge.text import normalised

_PART = re.compile(
    r"^[ \t>*#_]*(?:\d+[.)、]\s*)?[*_]*(?P<part>instruction|input|output|指令|输入|输出)[ \t*_]*[:：][ \t*_]*",
    re.IGNORECASE | re.MULTILINE,
)
_HEADING = re.compile(
    r"^[ \t]*(?:#{2,}[ \t]*$|#{1,6}.*\d.*$|[-*_]{3,}[ \t]*$|\**(?:task|任务)\s*\d+\**[:：.]?[ \t]*$)", re.I | re.M
)
_PARTS = {"instruction": 0, "指令": 0, "input": 1, "输入": 1, "output": 2, "输出": 2}
_NO_INPUT = frozenset(["", "<noinput>", "noinput", "none", "n/a", "<无输入>", "无输入", "无", "(无)", "<无>", "（无）"])
_MANY = 1000
"""More requests than a round has, so that each request of a record has a number of its own."""


class Settings(config.Settings):
    """Which seeds, how many requests, and what each is shown and asked for."""

    llm: str
    """The model that makes tasks up."""
    path: Path
    """The seed tasks, relative to the recipe."""
    rounds: Annotated[int, Field(ge=1, le=100)] = 1
    """The later ones are also shown what the earlier ones made."""
    per_round: Annotated[int, Field(ge=1, le=100)] = 1
    """Requests for each record in each round."""
    tasks: Annotated[int, Field(ge=1, le=50)] = 8
    """New tasks that a request asks for."""
    shown: Annotated[int, Field(ge=1, le=32)] = 4
    """Examples in a request, the record itself among them."""
    machine: Annotated[int, Field(ge=0, le=16)] = 2
    """So many of the examples, at most, are of the record's own earlier rounds."""
    keep: bool = True
    """The seed stays, before what was made of it."""
    keywords: list[str] | None = None
    """Words that an instruction must not hold, in place of the English and Chinese ones that there are."""
    language: Wanted = "auto"
    """Of the requests and so of the tasks; `auto` is that of the record."""
    prompts: Path | None = None
    """A folder of your own with `tasks.en.jinja` and `tasks.zh.jinja`, relative to the recipe."""


@dataclass
class Asker:
    """Seeds one at a time."""

    name: str
    settings: Settings
    prompts: PromptSet
    pool: Sequence[Task]
    seed: int
    keywords: Keywords
    tally: Tally = field(default_factory=Tally)

    async def take(self, record: Record, ask: Mapping[str, Ask]) -> Record | Sequence[Record | Reject]:
        """A seed and the tasks that came of it, with what was dropped; other records as they are."""
        found = single_round(record.messages) if isinstance(record, Chat) and not record.tools else None
        if found is None or found[2] is None:
            return record
        language = language_for(record, self.settings.language)
        seed = Task(found[1].content or "", found[1].input or "", found[2].text)
        seen = {normalised(task.instruction) for task in (*self.pool, seed)}
        grown: list[Task] = []
        made: list[Record | Reject] = [record] if self.settings.keep else []
        for number in range(self.settings.rounds):
            requests = [
                Request(self._messages(record.id, language, seed, grown, number, at), sample=number * _MANY + at)
                for at in range(self.settings.per_round)
            ]
            replies = await asyncio.gather(*map(ask[self.settings.llm], requests))
            for at, reply in enumerate(replies):
                place = (str(number), str(at))
                text = reply.text
                whole = not isinstance(reply, NoReply)
                if isinstance(reply, NoReply) and not (reply.reason == "truncated" and text.strip()):
                    made.append(self._dropped(record, reply.reason, reply.detail, *place))
                    continue
                for item, task in enumerate(parsed(text, whole)):
                    verdict = self._verdict(task, language, seen)
                    if isinstance(verdict, tuple):
                        made.append(self._dropped(record, *verdict, *place, str(item)))
                    else:
                        grown.append(verdict)
                        author = reply.model
                        made.append(self._chat(record, verdict, language, author, *place, str(item)))
        return made

    def _messages(
        self, record: str, language: Language, seed: Task, grown: Sequence[Task], number: int, at: int
    ) -> tuple[Mapping[str, str], ...]:
        place = (self.name, record, str(number), str(at))
        own = self._drawn(grown, min(self.settings.machine, self.settings.shown - 1), "machine", *place)
        alike = [task for task in self.pool if language_of_text(task.instruction) == language]
        others = [task for task in alike or self.pool if task.instruction != seed.instruction]
        shown = [seed, *self._drawn(others, self.settings.shown - 1 - len(own), "seed", *place), *own]
        return self.prompts.messages("tasks", language, examples=shown, tasks=self.settings.tasks)

    def _drawn(self, tasks: Sequence[Task], count: int, *names: str) -> list[Task]:
        draw = seeds.drawer(self.seed, *names)
        ranked = sorted((draw(task.instruction, task.input), at) for at, task in enumerate(tasks))
        return [tasks[at] for _, at in ranked[:count]]

    def _verdict(self, task: Task | tuple[str, str], language: Language, seen: set[str]) -> Task | tuple[str, str]:
        if isinstance(task, tuple):
            return task
        found = fault(task, self.keywords)
        if found is None and language_of_text(task.instruction) != language:
            found = "wrong_language", f"is not in the language that was asked for: {task.instruction[:120]!r}"
        if found is None and normalised(task.instruction) in seen:
            found = "repeated", f"is a seed, or was made of this seed before: {task.instruction[:120]!r}"
        if found is None and refusal(task.output):
            found = "refused", f"the answer is a refusal: {task.output[:120]!r}"
        if found is None:
            seen.add(normalised(task.instruction))
            self.tally.add("made")
        return found or task

    def _chat(self, record: Record, task: Task, language: Language, author: str, *place: str) -> Chat:
        question = Message("user", task.instruction, input=task.input or None)
        return Chat(
            derived_id(record.id, self.name, *place),
            record.origin,
            (question, Message("assistant", task.output)),
            family=group_of(record),
            facts={"seed": record.id, "round": int(place[0]) + 1, "written_by": author, "language": language},
        )

    def _dropped(self, record: Record, reason: str, detail: str, *place: str) -> Reject:
        self.tally.add(reason)
        return refused(record, self.name, reason, detail, *place)

    def noted(self) -> Mapping[str, int]:
        """How many tasks were made, and how many each filter dropped."""
        return self.tally.taken()


def parsed(text: str, whole: bool) -> Iterator[Task | tuple[str, str]]:
    """The tasks of a reply in order, and in place of those that are none a reason and a sentence.

    Of a reply that is not `whole` the last is dropped, since nobody knows how it would have ended.
    """
    found: list[list[tuple[int, str]]] = []
    parts = list(_PART.finditer(text))
    for at, part in enumerate(parts):
        following = parts[at + 1].start() if at + 1 < len(parts) else len(text)
        content = text[part.end() : following]
        kind = _PARTS[part["part"].lower()]
        if kind == 0 or not found:
            found.append([])
        if kind == 2 or following < len(text):
            content = _before_heading(content)
        found[-1].append((kind, content.strip()))
    if not found:
        yield "malformed", f"the reply holds no task in the form that was asked for: {text.strip()[:120]!r}"
    for number, task in enumerate(found, start=1):
        begins = repr(task[0][1][:120])
        if number == len(found) and not whole:
            yield "truncated", f"the reply was broken off in this task: {begins}"
        elif [kind for kind, _ in task] not in ([0, 1, 2], [0, 2]):
            yield "malformed", f"has not an instruction, an input and an output, each once: {begins}"
        else:
            said = dict(task)
            given = said.get(1, "")
            yield Task(said[0], "" if given.lower() in _NO_INPUT else given, said[2])


def _before_heading(content: str) -> str:
    """A part of a task without the line that begins the next one at its end."""
    headings = list(_HEADING.finditer(content))
    last = headings[-1] if headings else None
    return content[: last.start()] if last and not content[last.end() :].strip() else content


def pool(path: Path) -> list[Task]:
    """The seed tasks of a file, each of its instances one. Raises `InputError` where it holds none."""
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf").strip()
        if content.startswith(b"["):
            rows = list(enumerate(orjson.loads(content), start=1))
        else:
            lines = enumerate(content.split(b"\n"), start=1)
            rows = [(number, orjson.loads(line)) for number, line in lines if line.strip()]
    except (OSError, orjson.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read as JSON or JSON Lines ({first_line(error)})") from None
    found = [task for number, row in rows for task in _seeds(row, f"{path}:{number}")]
    if not found:
        raise InputError(f"{path}: holds no seed task")
    return found


def _seeds(row: Any, place: str) -> Iterator[Task]:
    named = row if isinstance(row, dict) else {}
    instances = named.get("instances", [named])
    for instance in instances if isinstance(instances, list) else [None]:
        found = instance if isinstance(instance, dict) else {}
        instruction, given, output = named.get("instruction"), found.get("input") or "", found.get("output")
        if not (isinstance(instruction, str) and isinstance(given, str) and isinstance(output, str)):
            raise InputError(f"{place}: a seed task needs `instruction`, and `output` beside it or in `instances`")
        yield Task(instruction, "" if given.strip().lower() in _NO_INPUT else given, output)


def depends(settings: Settings) -> tuple[Depends, ...]:
    """Examples are drawn."""
    return ("seed",)


def reads(settings: Settings, folder: Path) -> list[Path]:
    """The seeds and every request."""
    own = own_folder(settings.prompts, folder)
    return [folder / settings.path, *request_templates.files("ask", "self_instruct", own)]


def start(name: str, settings: Settings, context: Context) -> Asker:
    """The step; its rejects carry `name`.

    Raises `InputError` where the seeds cannot be read, `TemplateError` where a request does not serve.
    """
    prompts = PromptSet("self_instruct", ("tasks",), own_folder(settings.prompts, context.folder))
    words = settings.keywords if settings.keywords is not None else [*ENGLISH_KEYWORDS, *CHINESE_KEYWORDS]
    return Asker(name, settings, prompts, pool(context.folder / settings.path), context.seed, Keywords(words))
