"""Steps: what they drop is counted, what they read decides the build, and what is wrong with them is one line."""

import json
import math
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataforge import check, config, preview, recipe, shards
from dataforge.build import Outcome, build
from dataforge.cli import run
from dataforge.errors import ConfigError
from dataforge.line import Line
from dataforge.sample import first_records
from dataforge.steps.losses import last_losses
from tests.dataforge.conftest import RECORDS

Write = Callable[..., Path]
Losses = Sequence[tuple[str, int, float, int]]
TYPES = [("record", pa.string()), ("step", pa.int32()), ("loss", pa.float32()), ("tokens", pa.int32())]


def write_losses(path: Path, lines: Losses) -> Path:
    """Write the file as a training run does: in the order of steps."""
    columns = [list(column) for column in zip(*sorted(lines, key=lambda found: found[1]), strict=True)]
    pq.write_table(pa.table(columns or [[], [], [], []], schema=pa.schema(TYPES)), path)
    return path


def built(path: Path, folder: Path, *overrides: str) -> Outcome:
    return build(config.load(path, overrides), folder, lambda text: None)


def ids(path: Path, *overrides: str) -> list[str]:
    """The ids of a recipe's records, in the order of its files."""
    sample = first_records(Line(recipe.read(config.load(path, overrides))), 1000, {})
    return [encoded.record.id for encoded in sample.encoded]


def rejected(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (folder / "rejects.jsonl").read_text().splitlines()]


@pytest.fixture
def losses(write_recipe: Write, tmp_path: Path) -> Path:
    """Losses 0.0, 0.1, ... 3.9 of the forty records, in the order of the corpus."""
    found = ids(write_recipe(RECORDS, split={}))
    return write_losses(tmp_path / "losses.parquet", [(f"{r}#1", 1 + n, n / 10, 5) for n, r in enumerate(found)])


def filtered(write_recipe: Write, settings: dict[str, Any], **more: Any) -> Path:
    return write_recipe(RECORDS, steps=[{"use": "losses", "path": "losses.parquet", **settings}], **more)


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({"above": 3.65}, {"above": [37, 38, 39]}),
        ({"below": 0.15}, {"below": [0, 1]}),
        ({"worst": 0.1}, {"worst": [36, 37, 38, 39]}),
        ({"above": 3.85, "below": 0.05, "worst": 0.05}, {"above": [39], "below": [0], "worst": [38]}),
        ({"worst": 0.01}, {}),
    ],
)
def test_records_out_of_bounds_are_counted_rejects_with_their_loss(
    write_recipe: Write, tmp_path: Path, losses: Path, settings: dict[str, Any], lines: dict[str, list[int]]
) -> None:
    manifest = built(filtered(write_recipe, settings), tmp_path / "b").manifest
    found = rejected(tmp_path / "b")
    by_reason = {reason: [r["ordinal"] for r in found if r["reason"] == reason] for reason in lines}
    assert by_reason == lines
    assert len(found) == sum(map(len, lines.values()))
    for reject in found:
        assert (reject["stage"], reject["source"], reject["file"]) == ("losses", "corpus", "corpus.jsonl")
        assert reject["loss"] == pytest.approx(reject["ordinal"] / 10)
        assert f"{reject['ordinal'] / 10:.4f}" in reject["detail"]
    (stage,) = [stage for stage in manifest.funnel if stage.stage == "losses"]
    assert stage.rejected == {reason: len(numbers) for reason, numbers in lines.items()}
    assert [s.stage for s in manifest.funnel][1:4] == ["convert", "losses", "weigh"]
    assert list(check.faults(tmp_path / "b")) == []


def test_of_a_row_the_last_step_counts_and_rows_weigh_by_their_trained_tokens(tmp_path: Path) -> None:
    draw = random.Random(5)
    lines, wanted = [], {}
    for number in range(60):
        summed, trained = 0.0, 0
        for turn in range(draw.randint(1, 4)):
            for step in sorted(draw.sample(range(1, 50), draw.randint(1, 3))):
                loss, tokens = draw.uniform(0, 9), draw.randint(1, 30)
                times = draw.choice([1, 1, 2])
                lines += [(f"r{number}#{turn}", step, loss, tokens)] * times
            summed, trained = summed + times * loss * tokens, trained + times * tokens
        wanted[f"r{number}"] = summed / trained
    found = last_losses(write_losses(tmp_path / "losses.parquet", lines))
    assert found == {record: pytest.approx(loss, rel=1e-5) for record, loss in wanted.items()}


def test_an_id_survives_every_edit_but_of_the_source_and_its_name(write_recipe: Write, tmp_path: Path) -> None:
    corpus = [{"instruction": f"Who is <NAME>, {number}?", "output": "I am."} for number in range(9)]
    first = ids(write_recipe(corpus, split={}))
    source = {"use": "alpaca", "path": "corpus.jsonl", "weight": 2, "vars": {"NAME": "Pebble"}}
    edited = write_recipe(corpus, sources=[source], seed=99, split={"eval": 0.5}, window=400, special_tokens="as_text")
    assert ids(edited) == first
    (tmp_path / "moved").mkdir()
    shutil.copy(tmp_path / "corpus.jsonl", tmp_path / "moved" / "other.jsonl")
    assert ids(edited, "sources[0].path=moved/other.jsonl", "sources[0].name=corpus") == first
    assert not set(ids(edited, "sources[0].name=new")) & set(first)


def test_a_record_that_the_run_did_not_see_is_kept(write_recipe: Write, tmp_path: Path) -> None:
    found = ids(write_recipe(RECORDS))
    write_losses(tmp_path / "losses.parquet", [(f"{found[3]}#1", 1, 9.0, 5), ("elsewhere#1", 1, 9.0, 5)])
    built(filtered(write_recipe, {"above": 1}), tmp_path / "b")
    assert [reject["ordinal"] for reject in rejected(tmp_path / "b")] == [3]


def test_a_sources_own_steps_look_at_its_records_alone(write_recipe: Write, tmp_path: Path, losses: Path) -> None:
    shutil.copy(tmp_path / "corpus.jsonl", tmp_path / "other.jsonl")
    step = {"use": "losses", "path": "losses.parquet", "above": 3.85}
    sources = [
        {"use": "alpaca", "path": "other.jsonl"},
        {"use": "alpaca", "path": "corpus.jsonl", "weight": 3, "steps": [step, {**step, "above": 3.75}]},
    ]
    steps = [{**step, "above": 3.65}]
    manifest = built(write_recipe(RECORDS, sources=sources, steps=steps), tmp_path / "b").manifest
    found = {stage.stage: (stage.read, sum(stage.rejected.values())) for stage in manifest.funnel}
    assert (found["corpus.losses"], found["corpus.losses 2"], found["losses"]) == ((80, 1), (79, 1), (78, 1))
    assert manifest.inputs.keys() == {
        "other",
        "corpus",
        "step corpus.losses",
        "step corpus.losses 2",
        "step losses",
    }
    assert list(check.faults(tmp_path / "b")) == []
    said = "none of its 40 records occurs here"
    with pytest.raises(ConfigError, match=said):
        built(write_recipe(RECORDS, sources=[{**sources[0], "steps": [step]}, sources[1]]), tmp_path / "c")


def test_the_losses_decide_the_build_by_what_they_say_and_not_by_where_they_stand(
    write_recipe: Write, tmp_path: Path, losses: Path
) -> None:
    path = filtered(write_recipe, {"above": 3.65})
    first = built(path, tmp_path / "b")
    assert built(path, tmp_path / "b").reused
    (tmp_path / "moved").mkdir()
    shutil.move(losses, tmp_path / "moved" / "x.parquet")
    moved = built(path, tmp_path / "b", "steps[0].path=moved/x.parquet")
    assert moved.reused
    assert moved.manifest.digest == first.manifest.digest
    other = built(path, tmp_path / "c", "steps[0].path=moved/x.parquet", "steps[0].above=3.66")
    assert other.manifest.digest != first.manifest.digest
    lines = [tuple(row.values()) for row in pq.read_table(tmp_path / "moved" / "x.parquet").to_pylist()]
    write_losses(losses, [(record, step + 1, loss, tokens) for record, step, loss, tokens in lines])
    changed = built(path, tmp_path / "b")
    assert not changed.reused
    assert changed.manifest.digest != first.manifest.digest
    assert [e.columns_sha256 for e in changed.manifest.shards] == [e.columns_sha256 for e in first.manifest.shards]


def test_a_recipe_without_steps_has_no_trace_of_them(write_recipe: Write, tmp_path: Path) -> None:
    plain = built(write_recipe(RECORDS), tmp_path / "b").manifest
    source = {"use": "alpaca", "path": "corpus.jsonl", "steps": []}
    empty = built(write_recipe(RECORDS, steps=[], sources=[source]), tmp_path / "b")
    assert empty.reused
    assert "steps" not in plain.recipe
    assert "steps" not in plain.recipe["sources"][0]


def test_a_preview_shows_what_a_step_drops(write_recipe: Write, losses: Path) -> None:
    shown = preview.of_recipe(config.load(filtered(write_recipe, {"above": 3.65})), 3)
    assert [reject.reason for reject in shown.rejects] == ["losses/above"] * 3
    assert "3.7000" in shown.rejects[0].detail


def test_a_preview_of_the_first_records_does_not_miss_the_others(write_recipe: Write, tmp_path: Path) -> None:
    many = [{"instruction": f"q {number}", "output": "a"} for number in range(preview.RECORDS_PER_SOURCE + 1)]
    last = ids(write_recipe(many))[-1]
    write_losses(tmp_path / "losses.parquet", [(f"{last}#1", 1, 9.0, 5)])
    path = write_recipe(many, steps=[{"use": "losses", "path": "losses.parquet", "above": 1}])
    assert preview.of_recipe(config.load(path), 3).rejects == ()
    assert sum(s.rejected.get("above", 0) for s in built(path, path.parent / "b").manifest.funnel) == 1


WRONG: list[tuple[Any, str, str]] = [
    ([{"use": "loses", "path": "l"}], "steps[0].use", "there is no step 'loses'; did you mean 'losses'?"),
    ([{"path": "l"}], "steps[0]", "must say which step it is with `use:`; known: "),
    ([{"use": "losses", "path": "losses.parquet", "abov": 1}], "steps[0].abov", "did you mean 'above'?"),
    ([{"use": "losses", "above": 1}], "steps[0].path", "is missing"),
    ([{"use": "losses", "path": "nowhere", "above": 1}], "steps[0].path", "there is no file"),
    (
        [{"use": "losses", "path": "corpus.jsonl", "above": 1}],
        "steps[0].path",
        "is not the losses.parquet of a training",
    ),
    ([{"use": "losses", "path": "losses.parquet"}], "steps[0]", "give `above:`, `below:` or `worst:`"),
    ([{"use": "losses", "path": "losses.parquet", "worst": 2}], "steps[0].worst", "must be less than 1, not 2"),
    ([{"use": "losses", "path": "losses.parquet", "above": math.nan}], "steps[0].above", "must be a finite number"),
    ([{"use": "losses", "path": "losses.parquet", "above": 1, "below": 2}], "steps[0]", "would reject every record"),
    ({"use": "losses"}, "steps", "must be a valid list, not a mapping"),
    (["losses"], "steps[0]", "must be a valid dictionary, not 'losses'"),
]


@pytest.mark.parametrize(("steps", "key", "said"), WRONG)
@pytest.mark.parametrize("command", ["validate", "build", "preview"])
def test_a_wrong_step_is_one_line_with_file_line_and_key(
    write_recipe: Write,
    losses: Path,
    steps: Any,
    key: str,
    said: str,
    command: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_recipe(RECORDS)
    written = json.loads(path.read_text())
    body = json.dumps({**written, "steps": steps}, indent=1, allow_nan=True).replace("NaN", ".nan")
    path.write_text(body)
    assert run([command, str(path)]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    number = next(n for n, text in enumerate(body.splitlines(), start=1) if text.startswith(' "steps"'))
    place, _, found_key = told.removeprefix("error: ").partition(": ")
    assert int(place.removeprefix(f"{path}:")) >= number
    assert found_key.startswith(f"{key}: ")
    assert said in told


def test_a_wrong_step_of_a_source_names_the_source(write_recipe: Write) -> None:
    source = {"use": "alpaca", "path": "corpus.jsonl", "steps": [{"use": "loses"}]}
    path = write_recipe(RECORDS, sources=[source])
    with pytest.raises(ConfigError, match=r"sources\[0\]\.steps\[0\]\.use: there is no step"):
        Line(recipe.read(config.load(path))).ready()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"record": ["a#1"], "loss": [1.0], "tokens": [1]}, "has no column 'step' (there are: record, loss, tokens)"),
        ({"record": ["a#1"], "step": [1], "loss": ["x"], "tokens": [1]}, "is not the losses.parquet of a training run"),
        ({"record": ["a#1"], "step": [1], "loss": [math.nan], "tokens": [1]}, "a line without a loss"),
        ({"record": ["a#1"], "step": [1], "loss": [None], "tokens": [1]}, "a line without a loss"),
        ({"record": ["a#1"], "step": [1], "loss": [1.0], "tokens": [0]}, "a line without a loss"),
        ({"record": ["a#1"], "step": [1], "loss": [1.0], "tokens": [1]}, "none of its 1 records occurs here"),
    ],
)
def test_losses_that_do_not_serve_are_one_line(
    write_recipe: Write, tmp_path: Path, table: dict[str, list[Any]], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(pa.table(table), tmp_path / "losses.parquet")
    assert run(["build", str(filtered(write_recipe, {"above": 1})), "--out", str(tmp_path / "b")]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert "steps[0].path: " in told
    assert said in told
    assert not (tmp_path / "b" / "manifest.json").exists()


def test_a_reject_without_a_loss_says_nothing_of_one(write_recipe: Write, tmp_path: Path, losses: Path) -> None:
    path = filtered(write_recipe, {"above": 3.65})
    with (tmp_path / "corpus.jsonl").open("a") as corpus:
        corpus.write("{\n")
    built(path, tmp_path / "b")
    assert [("loss" in reject, reject["stage"]) for reject in rejected(tmp_path / "b")] == [
        *[(True, "losses")] * 3,
        (False, "read"),
    ]
    assert shards.read_manifest(tmp_path / "b").funnel[0].rejected == {"broken_json": 1}
