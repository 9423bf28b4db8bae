"""What has to be done for a build, stage after stage, and what each stage is made from.

    files ──> parts ──> records ──(thin tables)──> links ──> decisions ──> records ──> rows ──> order ──> shards
                                                                              └──────────┴────> Parquet

A stage's tasks know nothing of each other; the next stage begins when all have reported.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq

from dataforge import components, gathers, intake, reject_share
from dataforge.asking import AskTask
from dataforge.gather_tasks import DecideTask, LinkTask, OrderTask
from dataforge.intake import Intake
from dataforge.readers import Part
from dataforge.recipe import SourceSpec, StepSpec
from dataforge.shards import SPLITS, Split
from dataforge.stages import Facts, Ingredients, key_of
from dataforge.tasks import Decided, PartTask, RecordsTask, ShardTask, Site, Task
from dataforge.unpack_tasks import UnpackTask

PARTS_PER_FILE = 8
"""How many parts' records stand in one Parquet file."""
Ask = Callable[[str, Sequence[Task]], list[list[Facts]]]
"""Has the tasks of a stage done and returns what each reports, in order."""


@dataclass
class Made:
    """All that a build consists of once everything is done."""

    stages: list[list[str]] = field(default_factory=list)
    """Of each part, the keys of its stages with rejects, down the line."""
    reports: list[Facts] = field(default_factory=list)
    """Of every part's stages, in the order of the parts."""
    shards: list[tuple[str, Facts]] = field(default_factory=list)
    """The key and report of each shard, training before evaluation."""
    records: list[tuple[str, Facts]] = field(default_factory=list)
    """The key and report of each group of Parquet files."""
    assembled: list[Facts] = field(default_factory=list)
    """Of each source that joins files, the counts of the station `threads`."""


class Schedule:
    """The stages of one build; `why` tells of each key what it belongs to and what it was made from."""

    def __init__(self, site: Site, intakes: Mapping[str, Intake]) -> None:
        self._site, self._recipe, self._intakes = site, site.recipe, intakes
        self.parts: list[Part] = []
        self.notes: list[str] = []
        """What unpacking had to say."""
        self._assembled: dict[str, Facts] = {}
        self.why: dict[str, tuple[str, Ingredients]] = {}

    def run(self, ask: Ask, step_files: Mapping[str, str]) -> Made:
        """Have everything made; `step_files` are the hashes of what steps read."""
        self.parts = self._unpacked(ask)
        made = Made(stages=[[] for _ in self.parts], assembled=list(self._assembled.values()))
        reports: list[list[Facts]] = [[] for _ in self.parts]
        records: list[str] = []
        decided: list[Decided | None] = [None] * len(self.parts)
        segments = self._recipe.segments
        rows: list[str] = []
        for number, segment in enumerate(segments):
            last = number == len(segments) - 1
            before: list[str | None] = [*records] or [None] * len(self.parts)
            records = [
                self._records(part, number, key, decisions, step_files)
                for part, key, decisions in zip(self.parts, before, decided, strict=True)
            ]
            rows = [self._rows(part, key) for part, key in zip(self.parts, records, strict=True)] if last else []
            tasks = [
                PartTask(part, number, key, rows[at] if last else None, before[at], decided[at])
                for at, (part, key) in enumerate(zip(self.parts, records, strict=True))
            ]
            found = ask(_said(segment.steps, number, last), tasks)
            for at, facts in enumerate(found):
                reports[at] += facts
                made.stages[at] += tasks[at].keys
            if not number:
                self._check_shares(tasks, found)
            following = None if last else segments[number + 1].after
            if following is not None and components.asks(following.use):
                replied = self._ask(following, records, step_files)
                for at, (reported,) in zip(replied, ask(following.name, list(replied.values())), strict=True):
                    reports[at].append(reported)
                    records[at] = reported["key"]
                    self.why[records[at]] = self.why[replied[at].key]
                    made.stages[at].append(records[at])
                decided = [None] * len(self.parts)
            elif following is not None:
                decided = self._gather(following, records, found, ask, step_files)
        made.reports = [facts for of_part in reports for facts in of_part]
        counts = [of_part[-1]["rows"] for of_part in reports]
        shards, files = self._shards(rows, counts, ask), self._parquet(records, rows)
        last_tasks: list[ShardTask | RecordsTask] = [*shards, *files]
        packed = [(task.key, facts) for task, (facts,) in zip(last_tasks, ask("pack", last_tasks), strict=True)]
        made.shards, made.records = packed[: len(shards)], packed[len(shards) :]
        return made

    def _unpacked(self, ask: Ask) -> list[Part]:
        """The parts of all sources, once what cannot be read where it lies has been unpacked."""
        tasks: dict[tuple[str, int], UnpackTask] = {}
        for spec in self._recipe.sources:
            for number, each in enumerate(self._intakes[spec.name].taken):
                if each.order is not None:
                    key = self._key("unpack", f"{spec.name} {each.name}", each.order.ingredients)
                    tasks[spec.name, number] = UnpackTask(each.order, key)
        found = ask("unpack", list(tasks.values())) if tasks else []
        self.notes = [note for (facts,) in found for note in facts["notes"]]
        self._assembled = {
            source: facts["assembled"]
            for (source, _), (facts,) in zip(tasks, found, strict=True)
            if facts.get("assembled")
        }
        unpacked = {at: (task.key, facts) for (at, task), (facts,) in zip(tasks.items(), found, strict=True)}
        return [
            part
            for spec in self._recipe.sources
            for part in intake.parts(spec, self._intakes[spec.name].taken, unpacked)
        ]

    def _check_shares(self, tasks: Sequence[PartTask], found: Sequence[list[Facts]]) -> None:
        for spec in self._recipe.sources:
            mine = [at for at, part in enumerate(self.parts) if part.source == spec.name]
            keys, reports = [tasks[at].records for at in mine], [found[at][0] for at in mine]
            reject_share.check(spec, keys, reports, self._site.work, self._assembled.get(spec.name))

    def _key(self, stage: str, name: str, ingredients: Ingredients) -> str:
        key = key_of(stage, ingredients)
        self.why[key] = (f"{stage} {name}".rstrip(), ingredients)
        return key

    def _records(
        self, part: Part, number: int, before: str | None, decided: Decided | None, step_files: Mapping[str, str]
    ) -> str:
        (source,) = (spec for spec in self._recipe.sources if spec.name == part.source)
        segments = self._recipe.segments
        segment = segments[number]
        ingredients: dict[str, Any] = {"its steps": [self._step(spec, step_files) for spec in segment.steps]}
        if segment.after is None or before is None:
            ingredients |= {
                "the records in the file": part.span.hash,
                "their place in the file": [part.file, part.span.ordinal, part.span.line, part.span.array],
                "the source's settings": _source(source),
            }
        else:
            ingredients |= {
                "the records before": before,
                f"the settings of {segment.after.name}": self._step(segment.after, step_files),
                f"what {segment.after.name} decides": decided.hash if decided else None,
            }
        if number < len(segments) - 1:
            following = segments[number + 1].after
            ingredients["what the next step needs"] = self._step(following, step_files) if following else None
        else:
            ingredients["weights"] = self._weights(source)
        return self._key("records" if not number else f"records {number + 1}", _name(part), ingredients)

    def _step(self, spec: StepSpec, files: Mapping[str, str]) -> Any:
        return [spec.name, spec.normalised(), files.get(spec.name), self._site.line.depends(spec)]

    def _weights(self, source: SourceSpec) -> Any:
        data, weight = self._recipe.data, source.entry.weight
        return weight if weight == 1 else [weight, data.seed, data.split.model_dump(mode="json")]

    def _rows(self, part: Part, records: str) -> str:
        data, format_ = self._recipe.data, self._site.line.format
        ingredients = {
            "the records before": records,
            "the chat template": [format_.template.text, format_.tokenizer.variables, format_.kwargs, str(data.date)],
            "the tokenizer": [format_.tokenizer.sha256, format_.new_tokens],
            "special_tokens, missing_tokens and reasoning": [data.special_tokens, data.missing_tokens, data.reasoning],
            "train_on": data.train_on,
            "max_tokens": [data.max_tokens, data.on_long],
            "the seed": data.seed,
            "the split": data.split.model_dump(mode="json"),
        }
        return self._key("rows", _name(part), ingredients)

    def _ask(self, spec: StepSpec, records: Sequence[str], step_files: Mapping[str, str]) -> dict[int, AskTask]:
        """What is to be asked for each part that a step concerns."""
        known = self._recipe.data.llm
        models = {name: known[name].parameters() for name in components.models(spec.use, spec.settings)}
        found = {}
        for at, (part, before) in enumerate(zip(self.parts, records, strict=True)):
            if spec.source in (None, part.source):
                ingredients = {
                    "the records before": before,
                    f"the settings of {spec.name}": self._step(spec, step_files),
                    "the models": models,
                }
                found[at] = AskTask(part, spec, before, self._key(spec.name, _name(part), ingredients))
        return found

    def _gather(
        self,
        spec: StepSpec,
        records: Sequence[str],
        found: Sequence[list[Facts]],
        ask: Ask,
        step_files: Mapping[str, str],
    ) -> list[Decided | None]:
        """What a step decides that needs to see all parts: where it stands for each part."""
        sizes = {at: facts[0]["files"]["thin.parquet"][0] for at, facts in enumerate(found) if _has_thin(facts[0])}
        if not sizes:
            return [None] * len(self.parts)
        thin = tuple((at, records[at]) for at in sizes)
        linking = isinstance(self._site.line.gather(spec), components.Linking)
        cuts = gathers.cuts(sum(sizes.values())) if linking else 0
        common = {f"the records before {spec.name}": thin, f"the settings of {spec.name}": self._step(spec, step_files)}
        links = [
            self._key(spec.name, f"links {cut + 1} of {cuts}", {**common, "cut": [cut, cuts]}) for cut in range(cuts)
        ]
        if links:
            ask(f"{spec.name}: links", [LinkTask(spec, thin, cut, cuts, key) for cut, key in enumerate(links)])
        key = self._key(spec.name, "decisions", {**common, "links": links})
        ((facts,),) = ask(f"{spec.name}: decisions", [DecideTask(spec, thin, tuple(links), key)])
        ranges = {int(part): Decided(key, *values) for part, values in facts["ranges"].items()}
        return [ranges.get(at) for at in range(len(self.parts))]

    def _shards(self, rows: Sequence[str], counts: Sequence[Facts], ask: Ask) -> list[ShardTask]:
        """What is to be packed, once the order of all rows is known; training before evaluation."""
        orders = [task for split in SPLITS for task in self._orders(split, rows, counts)]
        ask("order", orders)
        return [
            task for split in SPLITS for task in self._cut([order for order in orders if order.split == split], rows)
        ]

    def _orders(self, split: Split, rows: Sequence[str], counts: Sequence[Facts]) -> list[OrderTask]:
        thin = tuple((at, key) for at, key in enumerate(rows) if split in counts[at])
        if not thin:
            return []
        cuts = gathers.cuts(sum(counts[at][split] for at, _ in thin) * gathers.BYTES_PER_ROW)
        keys = [
            self._key("order", f"{split} {cut + 1} of {cuts}", {"rows": thin, "cut": [split, cut, cuts]})
            for cut in range(cuts)
        ]
        return [OrderTask(split, thin, cut, cuts, key) for cut, key in enumerate(keys)]

    def _cut(self, orders: Sequence[OrderTask], rows: Sequence[str]) -> list[ShardTask]:
        """The order of a split's rows as shards; one that two cuts share takes from both."""
        slices: dict[int, dict[int, tuple[int, int]]] = {}
        for order in orders:
            with self._site.work.open(order.key, "slices.parquet") as file:
                columns = pq.read_table(file).to_pydict()
            for shard, part, start, stop in zip(*columns.values(), strict=True):
                of_shard = slices.setdefault(shard, {})
                of_shard[part] = (min(start, of_shard.get(part, (start, stop))[0]), stop)
        tasks = []
        for number, shard in enumerate(sorted(slices)):
            split, taken = orders[0].split, tuple((rows[part], *of) for part, of in sorted(slices[shard].items()))
            ingredients = {"its rows": taken, "the window": self._recipe.window, "the seed": self._recipe.data.seed}
            key = self._key("shard", f"{split} {number}", {**ingredients, "its name": [split, number]})
            tasks.append(ShardTask(split, number, taken, key))
        return tasks

    def _parquet(self, records: Sequence[str], rows: Sequence[str]) -> list[RecordsTask]:
        tasks = []
        for start in range(0, len(rows), PARTS_PER_FILE):
            pairs = tuple(zip(records, rows, strict=True))[start : start + PARTS_PER_FILE]
            key = self._key("parquet", str(start // PARTS_PER_FILE), {"its rows": pairs})
            tasks.append(RecordsTask(pairs, key))
        return tasks


def _has_thin(facts: Facts) -> bool:
    return "thin.parquet" in facts["files"]


def _name(part: Part) -> str:
    return f"{part.source} {part.number} {part.span.ordinal}"


def _source(spec: SourceSpec) -> Any:
    return [spec.name, spec.entry.use, spec.entry.vars, spec.settings.model_dump(mode="json")]


def _said(steps: Iterable[StepSpec], number: int, last: bool) -> str:
    names = [*(() if number else ("read",)), *(spec.name for spec in steps), *(("tokenize",) if last else ())]
    return ", ".join(names) or "pass on"
