"""Put labelled examples into words with the templates of promptsource (P3).

`path` is a `templates.yaml` as promptsource keeps one for each data set:

    dataset: ag_news
    templates:
      24e44a81-...: !Template
        name: classify
        answer_choices: World politics ||| Sports ||| Business ||| Science and technology
        jinja: "{{text}} What label best describes this news article? ||| {{answer_choices[label]}}"

A template sees the columns of its data set. Those are the fields of the example, but for the ones that `columns` makes
of them by expressions, such as `{label: "['World', 'Sports'].index(label)", answers: "{'text': answers}"}`.

What promptsource does differently: it cuts every field at 2,048 characters, and its filter `choice` draws anew each
time. Here nothing is cut, and what `choice` draws depends on the seed, the example and the template. A template that
writes no target is not for that example; one that writes several is refused, since only one can be trained.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from dataforge import config, promptsource_file, seeds
from dataforge.context import Context, Depends
from dataforge.errors import InputError
from dataforge.promptsource_file import Collection, Columns, RefusedError, Template
from dataforge.records import Chat, Example, Message, Record, Reject, derived_id, group_of


class Settings(config.Settings):
    """Which templates, and where their columns come from."""

    path: Path
    """A `templates.yaml` of promptsource, relative to the recipe."""
    templates: Literal["one_per_record", "all"] | Annotated[list[str], Field(min_length=1)] = "one_per_record"
    """One template drawn for each example, a conversation for `all` of them, or one drawn among those named."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Columns that the templates know and the example has not: each a Jinja expression over its fields."""

    @field_validator("columns")
    @classmethod
    def _expressions(cls, columns: dict[str, str]) -> dict[str, str]:
        try:
            Columns(columns)
        except InputError as error:
            raise ValueError(str(error)) from None
        return columns


@dataclass
class Step:
    """Examples through the templates of one file."""

    name: str
    settings: Settings
    seed: int
    collection: Collection
    columns: Columns

    def take(self, record: Record) -> Record | Reject | Sequence[Record | Reject]:
        """An example as conversations; other records as they are."""
        if not isinstance(record, Example):
            return record
        try:
            columns = self.columns.of(record.fields)
        except RefusedError as error:
            return self._reject(record, error.reason, str(error))
        made: list[Chat | Reject] = []
        for template in self._drawn(record):
            try:
                found = template.render(columns, self._draws(record, template))
            except RefusedError as error:
                made.append(self._reject(record, error.reason, str(error)))
            else:
                if found is None:
                    continue
                made.append(self._chat(record, template, *found))
            if self.settings.templates != "all":
                break
        if not made:
            names = ", ".join(template.name for template in self.collection.templates)
            return self._reject(record, "template_skips", f"none of the templates is for it: {names}")
        return made[0] if len(made) == 1 else made

    def _drawn(self, example: Example) -> Sequence[Template]:
        if self.settings.templates == "all" or len(self.collection.templates) == 1:
            return self.collection.templates
        key = "promptsource", self.collection.dataset, example.id
        return sorted(self.collection.templates, key=lambda template: seeds.draw(self.seed, *key, template.name))

    def _draws(self, example: Example, template: Template) -> Callable[[int], int]:
        numbers = count()

        def draw(bound: int) -> int:
            names = "choice", self.collection.dataset, example.id, template.name, str(next(numbers))
            return seeds.draw(self.seed, *names) % bound

        return draw

    def _chat(self, example: Example, template: Template, prompt: str, target: str) -> Chat:
        facts = {**example.facts, "task": example.task, "phrasing": f"{self.collection.dataset}/{template.name}"}
        facts["language"] = template.language or example.language
        if "label" in example.fields:
            facts["label"] = example.fields["label"]
        messages = Message("user", prompt), Message("assistant", target)
        identity = derived_id(example.id, "promptsource", self.collection.dataset, template.name)
        return Chat(identity, example.origin, messages, family=group_of(example), facts=facts)

    def _reject(self, example: Example, reason: str, detail: str) -> Reject:
        return Reject(example.id, example.origin, self.name, reason, detail)


def depends(settings: Settings) -> tuple[Depends, ...]:
    """The draws are from the seed."""
    return ("seed",)


def start(name: str, settings: Settings, context: Context) -> Step:
    """Read and compile the templates; rejects carry `name`.

    Raises `InputError` where the file is not promptsource's, one of its templates is not Jinja, or a name is not there.
    """
    wanted = None if isinstance(settings.templates, str) else settings.templates
    collection = promptsource_file.load(settings.path, wanted)
    return Step(name, settings, context.seed, collection, Columns(settings.columns))
