"""promptsource: written as plain Jinja writes it, without what promptsource itself cuts or leaves to chance."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
from ruamel.yaml import YAML

from dataforge.errors import InputError
from dataforge.records import Chat, Example, Message, Origin, Reject, Text, group_of, record_id
from dataforge.steps import promptsource
from tests.context import CONTEXT

NEWS = """\
dataset: small_news
subset: plain
templates:
  00000000-0000-0000-0000-000000000001: !Template
    answer_choices: Weather ||| Harbour ||| Market and trade
    id: 00000000-0000-0000-0000-000000000001
    jinja: "{{text}}\\nIs this about {{answer_choices[:-1] | join(', ')}} or\\
      \\ {{answer_choices[-1]}}? ||| \\n{{ answer_choices[label] }}"
    metadata: !TemplateMetadata
      choices_in_prompt: true
      languages:
      - en
      metrics:
      - Accuracy
      original_task: true
    name: which
    reference: ''
  00000000-0000-0000-0000-000000000002: !Template
    answer_choices: '{% for word in names %}{{ word }}{% if not loop.last %}|||{% endif %}{% endfor %}'
    id: 00000000-0000-0000-0000-000000000002
    jinja: |-
      Name the desk
      for: {{ text }}
      |||
      {{ answer_choices[label] }}
    metadata: !TemplateMetadata
      choices_in_prompt: null
      languages: null
      metrics: []
      original_task: null
    name: desk
    reference: ''
  00000000-0000-0000-0000-000000000003: !Template
    answer_choices: null
    id: 00000000-0000-0000-0000-000000000003
    jinja: '{% if label == 1 %}Was this written at the harbour? {{ text }} ||| Yes{% endif %}'
    metadata: !TemplateMetadata {languages: [en]}
    name: harbour_only
    reference: ''
  00000000-0000-0000-0000-000000000004: !Template
    answer_choices: null
    id: 00000000-0000-0000-0000-000000000004
    jinja: '{{ ["Say it", "Tell it"] | choice }} briefly: {{ text }} ||| {{ ["a", "b", "c", "d"] | choice }}{{
      ["a", "b", "c", "d"] | choice }} {{ ["x", "y", "y", "x", "z"] | most_frequent | join("+") }} {% for n,
      m in zip([1, 2], ["p", "q"]) %}{{ n }}{{ m }}{% endfor %}'
    metadata: !TemplateMetadata {languages: [en]}
    name: chosen
    reference: ''
"""
FIELDS = {"text": "Three boats came in.", "label": 1, "names": ["sky desk", "boat desk", "stall desk"]}


def example(fields: Mapping[str, Any], number: int = 0, **more: Any) -> Example:
    identity = record_id("corpus", [dict(fields), number])
    return Example(identity, Origin("corpus", "c.jsonl", number, number + 1), "topic", fields, "en", **more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "templates.yaml").write_text(NEWS, encoding="utf-8")
    return tmp_path / "templates.yaml"


def step(path: Path, seed: int = 7, **said: Any) -> promptsource.Step:
    return promptsource.start("promptsource", promptsource.Settings(path=path, **said), replace(CONTEXT, seed=seed))


def by_plain_jinja(path: Path, columns: Mapping[str, Any]) -> dict[str, list[str]]:
    """What each template without chance writes, by the rule as promptsource documents it."""
    bare = re.sub(r"!Template(Metadata)?\b", "", path.read_text(encoding="utf-8"))
    environment = jinja2.Environment()
    found = {}
    for entry in YAML(typ="safe", pure=True).load(bare)["templates"].values():
        if "choice }}" in entry["jinja"] or "choice}}" in entry["jinja"]:
            continue
        choices = entry["answer_choices"]
        if choices is not None:
            choices = [word.strip() for word in environment.from_string(choices).render(columns).split("|||")]
        rendered = environment.from_string(entry["jinja"]).render(answer_choices=choices, **columns)
        found[entry["name"]] = [part.strip() for part in rendered.split("|||")]
    return found


def written(made: Any) -> dict[str, list[str]]:
    return {
        str(chat.facts["phrasing"]).rpartition("/")[2]: [str(message.content) for message in chat.messages]
        for chat in (made if isinstance(made, list) else [made])
        if isinstance(chat, Chat)
    }


@pytest.mark.parametrize("label", [0, 1, 2])
def test_templates_write_what_plain_jinja_writes(path: Path, label: int) -> None:
    columns = {**FIELDS, "label": label}
    wanted = {name: parts for name, parts in by_plain_jinja(path, columns).items() if len(parts) == 2}
    made = written(step(path, templates="all").take(example(columns)))
    made.pop("chosen")
    assert made == wanted
    assert len(made) == (3 if label == 1 else 2)


def test_a_conversation_knows_its_template_and_keeps_its_family(path: Path) -> None:
    one = example(FIELDS, family="f", facts={"licence": "CC0"})
    made = step(path, templates=["which"]).take(one)
    assert isinstance(made, Chat)
    assert made.messages == (
        Message("user", "Three boats came in.\nIs this about Weather, Harbour or Market and trade?"),
        Message("assistant", "Harbour"),
    )
    assert (group_of(made), made.origin) == ("f", one.origin)
    phrasing = "small_news/plain/which"
    assert made.facts == {"licence": "CC0", "task": "topic", "phrasing": phrasing, "language": "en", "label": 1}
    text = Text("t", one.origin, "plain")
    assert step(path).take(text) is text


def test_nothing_is_cut_and_bars_in_the_text_part_nothing(path: Path) -> None:
    long = "a ||| b }} {{ text }} \ue0070\ue007 " * 200 + "end"
    fields = {**FIELDS, "text": long, "names": ["x ||| y", "u ||| v", "w"]}
    made = written(step(path, templates="all").take(example(fields)))
    assert made["desk"] == [f"Name the desk\nfor: {long}", "u ||| v"]
    assert made["harbour_only"][0] == f"Was this written at the harbour? {long}"


def test_a_template_that_writes_no_target_is_not_for_the_example(path: Path) -> None:
    only = step(path, templates=["harbour_only"]).take(example({**FIELDS, "label": 0}))
    assert isinstance(only, Reject)
    assert (only.reason, only.detail) == ("template_skips", "none of the templates is for it: harbour_only")
    for number in range(40):
        made = step(path).take(example({**FIELDS, "label": 0}, number))
        assert isinstance(made, Chat)


def test_templates_are_drawn_by_name_and_evenly(path: Path) -> None:
    many = [example(FIELDS, number) for number in range(800)]
    made = [step(path).take(each) for each in many[:3]]
    at_work = step(path)
    all_of_them = [at_work.take(each) for each in many]
    assert all_of_them[:3] == made
    assert [at_work.take(each) for each in many[::-1]][::-1] == all_of_them
    drawn = Counter(name for each in all_of_them for name in written(each))
    assert len(drawn) == 4
    assert all(150 < count < 250 for count in drawn.values())
    few = step(path, templates=["desk", "which"])
    kept = [(one, few.take(each)) for one, each in zip(all_of_them, many, strict=True) if "desk" in written(one)]
    assert all(one == other for one, other in kept)


def test_choice_is_drawn_by_name_evenly_and_anew_each_time(path: Path) -> None:
    at_work = step(path, templates=["chosen"])
    many = [example(FIELDS, number) for number in range(800)]
    made = [written(at_work.take(each))["chosen"] for each in many]
    assert [written(at_work.take(each))["chosen"] for each in many[::-1]][::-1] == made
    other = step(path, seed=8, templates=["chosen"])
    assert [written(other.take(each))["chosen"] for each in many] != made
    starts = Counter(asked.partition(" ")[0] for asked, _ in made)
    assert set(starts) == {"Say", "Tell"}
    assert min(starts.values()) > 330
    pairs = Counter(target[:2] for _, target in made)
    assert len(pairs) == 16
    assert all(25 < count < 85 for count in pairs.values())
    assert {target[2:] for _, target in made} == {" x+y 1p2q"}


def test_columns_are_made_of_fields(path: Path) -> None:
    fields = {"body": "Rain again.", "label": "weather", "names": ["a", "b", "c"]}
    columns = {"text": "body", "label": "['weather', 'harbour'].index(label)"}
    made = step(path, templates=["which"], columns=columns).take(example(fields))
    assert written(made)["which"][1] == "Weather"
    assert isinstance(made, Chat)
    assert made.facts["label"] == "weather"


@pytest.mark.parametrize(
    ("fields", "said", "reason", "detail"),
    [
        ({"text": "a", "label": 7, "names": []}, {}, "missing_column", "template 'which': "),
        ({"label": 1}, {}, "missing_column", "template 'which': 'text' is undefined; the example has label"),
        ({"text": None, "label": 1}, {}, "template_failed", "template 'which': an expression writes null"),
        ({"text": "a"}, {"label": "kind"}, "missing_column", "columns.label: 'kind' is undefined"),
        ({"text": "a"}, {"label": "{'a': kind}"}, "missing_column", "columns.label: 'kind' is undefined"),
        ({"text": "a"}, {"label": "['x'].index(text)"}, "missing_column", "columns.label: 'a' is not in list"),
        ({"text": "a"}, {"label": "text | map('upper')"}, "missing_column", "is a generator and must be a JSON value"),
        ({"text": "a", "label": 1}, {"text": "text.__class__"}, "missing_column", "columns.text: "),
    ],
)
def test_an_example_that_does_not_fit_is_a_reject_that_says_why(
    path: Path, fields: dict[str, Any], said: dict[str, str], reason: str, detail: str
) -> None:
    told = step(path, templates=["which"], columns=said).take(example(fields))
    assert isinstance(told, Reject)
    assert told.reason == reason
    assert detail in told.detail
    assert told.stage == "promptsource"


@pytest.mark.parametrize(
    ("jinja", "reason"),
    [
        ("{{text}} ||| a ||| b", "several_targets"),
        ("{{text}} ||| {{ names[:0] | join }}", "empty_target"),
        (" ||| {{text}}", "empty_prompt"),
        ("{{ [] | choice }} ||| a", "template_failed"),
        ("{{ text.__class__.__mro__ }} ||| a", "template_failed"),
    ],
)
def test_what_cannot_be_trained_is_refused(path: Path, jinja: str, reason: str) -> None:
    entry = f"a: !Template {{name: one, jinja: {json.dumps(jinja)}, answer_choices: null}}"
    path.write_text(f"dataset: d\ntemplates:\n  {entry}\n")
    told = step(path).take(example(FIELDS))
    assert isinstance(told, Reject)
    assert told.reason == reason


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dataset: d\ntemplates:\n  a: !!python/object/apply:os.system ['true']\n", "line 3: could not determine"),
        ("dataset: d\ntemplates:\n  a: !Other {name: b}\n", "line 3: could not determine a constructor for the tag"),
        ("dataset: [d\n", "templates.yaml, line 2: "),
        ("- a\n", "is not a templates.yaml of promptsource"),
        ("dataset: d\ntemplates: {}\n", "holds no templates"),
        ("dataset: d\ntemplates: {a: !Template {name: b}}\n", "(templates.a.jinja: Field required)"),
        ("dataset: d\ntemplates: {a: !Template {name: b, jinja: '{{ x'}}\n", "template 'b', line 1: "),
        ("dataset: d\ntemplates: {a: {name: b, jinja: x}, c: {name: b, jinja: y}}\n", "two templates are named 'b'"),
    ],
)
def test_a_file_that_does_not_serve_is_one_line(path: Path, text: str, said: str) -> None:
    path.write_text(text)
    with pytest.raises(InputError) as told:
        step(path)
    assert str(told.value).startswith(str(path))
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_wrong_names_and_expressions_are_one_line(path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no template 'desks'; did you mean 'desk'\?"):
        step(path, templates=["desks"])
    with pytest.raises(ValueError, match=r"columns.label: 'a b' is not a Jinja expression: "):
        step(path, columns={"label": "a b"})
