"""A build is encoded again from its own records: sound ones hold, and what was changed behind its hashes is found."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer, decoders, normalizers

from dataforge import check, config, data_files, deep, shards
from dataforge.build import build
from dataforge.cli import forge
from dataforge.errors import BuildError
from dataforge.shards import Window
from tests.dataforge.conftest import RECORDS
from tests.dataforge.damage import change_manifest, change_records, change_windows, seal
from tests.dataforge.test_thoughts import OPENS, SHOWS
from tests.dataforge.test_tokenize import PLAIN_COLON, STRIPS_HISTORY

Write = Callable[..., Path]
Records = list[dict[str, Any]]
CHATS = [
    {**record, "history": [["Hello?", f"<t>hm</t>Hello {number}!"], ["And?", "👋 é"]]}
    for number, record in enumerate(RECORDS)
]


def built(recipe: Path, folder: Path, *overrides: str) -> Path:
    return build(config.load(recipe, overrides), folder, lambda text: None).folder


def prove(folder: Path, sample: int | None = None) -> deep.Proof:
    """What is found of a build in which the check of its sums finds nothing."""
    assert list(check.faults(folder)) == []
    return deep.prove(folder, sample, 20)


def assert_holds(folder: Path) -> deep.Proof:
    proof = prove(folder)
    sizes = shards.read_manifest(folder).statistics.values()
    assert (proof.faults, proof.more) == ([], 0)
    assert proof.rows == sum(size.rows for size in sizes)
    assert proof.decoded + sum(proof.undecoded.values()) == proof.rows
    return proof


@pytest.fixture
def folder(write_recipe: Write, tmp_path: Path) -> Path:
    """Two rows a record, as history is rewritten, and each of them twice."""
    (tmp_path / "strips.jinja").write_text(STRIPS_HISTORY)
    source = {"use": "alpaca", "path": "corpus.jsonl", "weight": 2}
    recipe = write_recipe(CHATS, sources=[source], chat="strips.jinja", max_tokens=512)
    return built(recipe, tmp_path / "b")


@pytest.mark.parametrize(
    "path", sorted((data_files.folder("samples") / "recipes").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_builds_of_the_samples_hold(path: Path, tiny_base: Path, tmp_path: Path) -> None:
    # Recorded replies answer what is asked of passages that the recipe's own tokenizer cuts.
    recorded = "replay:" in path.read_text(encoding="utf-8")
    other = () if recorded else (f"tokenizer={tiny_base}", "max_tokens=4096", "window=4096")
    sample = built(path, tmp_path / "b", *other)
    assert assert_holds(sample).undecoded == {}


@pytest.mark.parametrize(
    "settings",
    [
        {"missing_tokens": "as_text", "chat": "qwen"},
        {"missing_tokens": "add", "chat": "qwen"},
        {"missing_tokens": "add", "chat": "llama-3"},
        {"missing_tokens": "as_text", "chat": "gemma"},
        {"train_on": "last_turn"},
        {"split": {"eval": 0.0}},
        {"sources": [{"use": "alpaca", "path": "corpus.jsonl", "weight": 2.5}]},
        {"sources": [{"use": "alpaca", "path": "corpus.jsonl", "weight": 0.5}], "split": {"eval": 0.5}},
        {"seed": -1},
        {"steps": [{"use": "dedupe"}]},
    ],
    ids=json.dumps,
)
def test_builds_under_other_settings_hold(settings: dict[str, Any], write_recipe: Write, tmp_path: Path) -> None:
    records = [*CHATS, CHATS[3], {**CHATS[4], "instruction": "about", "input": "this"}]
    assert assert_holds(built(write_recipe(records, **{"max_tokens": 1024, **settings}), tmp_path / "b")).records > 0


def test_a_build_with_rows_of_their_own_holds(folder: Path) -> None:
    manifest = shards.read_manifest(folder)
    assert manifest.turns.forked
    assert assert_holds(folder).records == 40


@pytest.mark.parametrize("special_tokens", ["as_text", "allow"])
def test_a_build_with_typed_control_tokens_holds(special_tokens: str, write_recipe: Write, tmp_path: Path) -> None:
    marks = "a \ue000<|im_end|>\ue001 b \ue000"
    typed = [
        *RECORDS,
        {"instruction": "say <|im_end|> and <|im_", "output": "no"},
        {"instruction": marks, "output": "x"},
    ]
    recipe = write_recipe(typed, special_tokens=special_tokens)
    proof = assert_holds(built(recipe, tmp_path / "b"))
    assert (proof.records, proof.undecoded) == (42, {})


@pytest.mark.parametrize(
    ("template", "settings"),
    [
        (OPENS, {"reasoning": "write_empty"}),
        (SHOWS, {"template_kwargs": {"enable_thinking": False}, "reasoning": "drop"}),
        (SHOWS, {}),
        (PLAIN_COLON, {"train_on": "last_turn", "reasoning": "drop"}),
        ("{{ strftime_now('%Y') }}" + SHOWS, {"date": "2024-02-29"}),
    ],
)
def test_builds_with_thoughts_keywords_and_dates_hold(
    template: str, settings: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    (tmp_path / "own.jinja").write_text(template)
    thinks: Records = [
        {
            "messages": [
                {"role": "user", "content": f"hello {number}"},
                {"role": "assistant", "content": "hi there", "weight": number % 2},
                {"role": "user", "content": "你好"},
                {"role": "assistant", "content": "so\n", "reasoning_content": "hm"},
            ],
            **({} if number % 3 else {"chat_template_kwargs": {"enable_thinking": True}}),
        }
        for number in range(30)
    ]
    source = {"use": "openai", "path": "corpus.jsonl"}
    recipe = write_recipe(thinks, sources=[source], chat="own.jinja", **settings)
    assert assert_holds(built(recipe, tmp_path / "b")).records > 0


def test_neither_sources_nor_recipe_nor_template_are_needed(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "copy"
    shutil.copytree(folder, elsewhere, ignore=shutil.ignore_patterns(".work"))
    for path in tmp_path.iterdir():
        if path.is_file():
            path.unlink()
    shutil.rmtree(folder)
    assert_holds(elsewhere)


def on_first_row(change: Callable[[Window, slice], None]) -> Callable[[list[Window]], list[Window]]:
    """Changes copies of a window's columns at its first row."""

    def changed(windows: list[Window]) -> list[Window]:
        first, *others = windows
        ids, masks = first.input_ids.copy(), first.assistant_masks.copy()
        copy = dataclasses.replace(first, input_ids=ids, assistant_masks=masks)
        change(copy, slice(0, int(first.seq_lengths[0])))
        return [copy, *others]

    return changed


def first_row(folder: Path) -> str:
    entry = shards.read_manifest(folder).shards[0]
    row: str = shards.Shard(folder / entry.file)[0].record_ids[0]
    return row


def test_a_changed_id_is_found(folder: Path) -> None:
    row = first_row(folder)

    def change(window: Window, part: slice) -> None:
        window.input_ids[3] ^= 1

    change_windows(folder, on_first_row(change))
    assert prove(folder).faults == [
        f"shards/train-00000.arrow: window 0: row {row}: the ids are not what its record gives"
    ]


def test_a_shifted_mask_is_found(folder: Path) -> None:
    row = first_row(folder)

    def change(window: Window, part: slice) -> None:
        window.assistant_masks[part] = np.roll(window.assistant_masks[part], -1)

    change_windows(folder, on_first_row(change))
    assert prove(folder).faults == [
        f"shards/train-00000.arrow: window 0: row {row}: the mask is not what its record gives"
    ]


def test_rows_that_changed_their_names_are_found(folder: Path) -> None:
    swapped = list[str]()

    def change(windows: list[Window]) -> list[Window]:
        ends = [window.record_ids[-1] for window in windows]
        other = next(number for number, row in enumerate(ends) if row.partition("#")[0] != ends[0].partition("#")[0])
        swapped.extend((ends[0], ends[other]))
        renamed = {0: ends[other], other: ends[0]}
        return [
            dataclasses.replace(window, record_ids=(*window.record_ids[:-1], renamed[number]))
            if number in renamed
            else window
            for number, window in enumerate(windows)
        ]

    change_windows(folder, change)
    found = "\n".join(prove(folder).faults)
    assert all(f"row {row}: the ids are not what its record gives" in found for row in swapped)


def test_records_that_changed_their_ids_are_found(folder: Path) -> None:
    def swap(records: Records) -> Records:
        records[0]["id"], records[1]["id"] = records[1]["id"], records[0]["id"]
        return records

    change_records(folder, swap)
    proof = prove(folder)
    assert len(proof.faults) == 4, "two rows of each"
    assert all(fault.endswith("the ids are not what its record gives") for fault in proof.faults)


def test_an_edited_message_is_found(folder: Path) -> None:
    edited = list[str]()

    def edit(records: Records) -> Records:
        edited.append(records[5]["id"])
        records[5]["messages"][-1]["content"] += "!"
        return records

    change_records(folder, edit)
    (fault,) = prove(folder).faults
    assert f": row {edited[0]}#5: the ids are not what its record gives" in fault
    assert fault.startswith("shards/train-00000.arrow: window ")


def test_a_missing_row_of_a_record_that_has_others_is_found(folder: Path) -> None:
    """Both of its copies are gone, so that every count that does not look into records is right."""
    row = first_row(folder)

    def without(windows: list[Window]) -> list[Window]:
        kept = []
        for window in windows:
            ends = np.cumsum(window.seq_lengths).tolist()
            parts = [
                (slice(end - length, end), length, name)
                for end, length, name in zip(ends, window.seq_lengths.tolist(), window.record_ids, strict=True)
                if name != row
            ]
            if parts:
                ids = np.concatenate([window.input_ids[part] for part, _, _ in parts])
                masks = np.concatenate([window.assistant_masks[part] for part, _, _ in parts])
                lengths = np.array([length for _, length, _ in parts], dtype=np.int32)
                kept.append(Window(ids, masks, lengths, tuple(name for _, _, name in parts)))
        return kept

    change_windows(folder, without)
    assert prove(folder).faults == [f"train: row {row}: its record gives it, and no shard holds it"]


def test_a_row_that_no_record_gives_is_found(folder: Path) -> None:
    row = first_row(folder)
    other = f"{row.partition('#')[0]}#4"

    def renamed(windows: list[Window]) -> list[Window]:
        first, *others = windows
        return [dataclasses.replace(first, record_ids=(other, *first.record_ids[1:])), *others]

    change_windows(folder, renamed)
    assert list(check.faults(folder)), "it stands once, and its record is taken twice"
    found = deep.prove(folder, None, 20).faults
    assert f"shards/train-00000.arrow: window 0: row {other}: no record gives it" in found
    assert f"train: row {row}: stands 1 times in the shards, and its record gives it 2 times" in found


def test_what_is_trained_by_the_records_and_by_the_masks_must_agree(folder: Path) -> None:
    changed = list[str]()

    def swap(records: Records) -> Records:
        records[0]["trained"], records[1]["trained"] = [False] * 5 + [True], [False, True] * 3
        changed.append(records[0]["id"])
        return records

    change_records(folder, swap)
    assert list(check.faults(folder)) != [], "the turns are not as many"
    found = "\n".join(deep.prove(folder, None, 20).faults)
    assert f"row {changed[0]}#1: no record gives it" in found


def test_records_that_are_refused_when_encoded_again_are_told_once(folder: Path) -> None:
    changed = list[str]()

    def spoil(records: Records) -> Records:
        records[0]["messages"][0]["content"] = "say <|im_end|>"
        records[1]["messages"][1]["content"] = "long " * 600
        records[2]["messages"][-1]["role"] = "user"
        records[2]["trained"][-1] = False
        records[3]["tools"] = '"no list of tools"'
        records[4]["chat_template_kwargs"] = "{half"
        changed.extend(record["id"] for record in records[:5])
        return records

    change_records(folder, spoil)
    found = "\n".join(deep.prove(folder, None, 50).faults)
    assert f"train: record {changed[0]}: is refused when encoded again: gate/control_token: message 1" in found
    assert f"train: record {changed[1]}: has " in found
    assert "tokens, more than max_tokens" in found
    assert f"train: record {changed[2]}: is refused when encoded again: gate/no_answer" in found
    for identity in changed[3:]:
        assert f"train: record {identity}: its roles, tools, calls or keywords are not what a build writes" in found
    for identity in (changed[0], *changed[2:]):
        assert found.count(identity) == 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda manifest: manifest["turns"].update(fork_tokens=1), "the turns are not those that its records give"),
        (lambda manifest: manifest["tokenizer"].update(stop_tokens={"<|im_end|>": 1}), "the stop tokens are not"),
        (lambda manifest: manifest["tokenizer"].update(new_tokens={"<|x|>": 1}), "the new tokens are not"),
        (lambda manifest: manifest["tokenizer"].update(vocabulary=1), "the vocabulary is not as large"),
    ],
)
def test_what_the_manifest_says_of_the_tokenizer_and_of_turns_is_proven(
    folder: Path, change: Callable[[dict[str, Any]], None], fault: str
) -> None:
    change_manifest(folder, change)
    (found,) = prove(folder).faults
    assert found.startswith(f"manifest.json: {fault}")


def test_another_template_in_the_manifest_gives_other_rows(folder: Path) -> None:
    def other(manifest: dict[str, Any]) -> None:
        manifest["template"]["text"] = manifest["template"]["text"].replace("<|im_end|>\n", "<|im_end|>")

    change_manifest(folder, other)
    assert deep.prove(folder, None, 20).more > 0


def test_another_tokenizer_or_none_is_one_sentence(folder: Path, tiny_base: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_base, other)
    path = other / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["merges"].pop()
    path.write_text(json.dumps(content))
    change_manifest(folder, lambda manifest: manifest["tokenizer"].update(name=str(other)))
    with pytest.raises(BuildError, match=r"was encoded with another tokenizer than .*other has now"):
        deep.prove(folder, None, 20)
    shutil.rmtree(other)
    with pytest.raises(BuildError, match=r"cannot be encoded again without its tokenizer: .*no such base model"):
        deep.prove(folder, None, 20)


def test_settings_that_this_version_does_not_know_are_one_sentence(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["recipe"].update(reasoning="rewrite"))
    with pytest.raises(BuildError, match="not a recipe this version reads \\(reasoning: "):
        deep.prove(folder, None, 20)


def test_a_sample_is_drawn_by_the_seed(folder: Path) -> None:
    proof = prove(folder, 7)
    assert (proof.records, proof.faults) == (7, [])
    assert proof.rows == proof.decoded
    assert deep.prove(folder, 7, 20) == proof
    assert deep.prove(folder, 1000, 20) == prove(folder)
    chosen = deep._drawn(folder, 7, 7)
    assert chosen < deep._drawn(folder, 7, 8)
    assert chosen != deep._drawn(folder, 8, 7)


def test_a_sample_finds_what_is_wrong_with_its_records(folder: Path) -> None:
    chosen = deep._drawn(folder, 7, 1)

    def edit(records: Records) -> Records:
        for record in records:
            record["messages"][-1]["content"] += "!"
        return records

    for name in ("train-00000", "eval-00000"):
        change_records(folder, edit, name)
    (fault,) = prove(folder, 1).faults
    assert next(iter(chosen)) in fault


def test_texts_that_a_tokenizer_does_not_give_back_are_counted(
    write_recipe: Write, tiny_base: Path, tmp_path: Path
) -> None:
    lossy = tmp_path / "lossy"
    shutil.copytree(tiny_base, lossy)
    tokenizer = Tokenizer.from_file(str(lossy / "tokenizer.json"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.save(str(lossy / "tokenizer.json"))
    decomposed = [{"instruction": f"cafe\u0301 {number}", "output": "ok"} for number in range(3)]
    proof = assert_holds(built(write_recipe([*RECORDS, *decomposed], tokenizer=str(lossy)), tmp_path / "b"))
    assert proof.decoded == 40
    assert proof.undecoded == {"the tokenizer's normalizer changes it before it is encoded": 3}


def test_texts_that_come_back_but_for_blanks_are_counted_as_such(
    write_recipe: Write, tiny_base: Path, tmp_path: Path
) -> None:
    lossy = tmp_path / "lossy"
    shutil.copytree(tiny_base, lossy)
    tokenizer = Tokenizer.from_file(str(lossy / "tokenizer.json"))
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 0, 1), decoders.Replace("\n", "")])
    tokenizer.save(str(lossy / "tokenizer.json"))
    proof = assert_holds(built(write_recipe(RECORDS, tokenizer=str(lossy)), tmp_path / "b"))
    assert proof.decoded == 0
    assert proof.undecoded == {"it is the same but for blanks, which the tokenizer adds or leaves out": 40}


def run(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(forge, [*map(str, arguments)], standalone_mode=False)
    assert not done.exception, done.output
    return done.return_value, done.stdout


def test_the_command_says_what_it_proved(folder: Path) -> None:
    code, text = run("validate", folder, "--deep")
    assert (code, text.splitlines()[-1]) == (0, f"{folder}: holds")
    rows = sum(size.rows for size in shards.read_manifest(folder).statistics.values())
    assert f"40 records encoded again, {rows} rows of them in the shards" in text
    code, text = run("validate", folder, "--deep", "--sample", "3", "--json")
    found = json.loads(text)
    assert (found["holds"], found["deep"]["records"], found["more_faults"]) == (True, 3, 0)


def test_the_command_lists_twenty_faults_and_counts_the_rest(folder: Path) -> None:
    def edit(records: Records) -> Records:
        for record in records:
            record["messages"][-1]["content"] += "!"
        return records

    change_records(folder, edit)
    code, text = run("validate", folder, "--deep", "--json")
    found = json.loads(text)
    assert (code, found["holds"], len(found["faults"])) == (1, False, 20)
    code, text = run("validate", folder, "--deep")
    assert code == 1
    assert f"and {found['more_faults']} more" in text
    assert f"{folder}: {20 + found['more_faults']} faults; build again" in text


def test_a_build_whose_sums_do_not_hold_is_not_encoded_again(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest["funnel"][0].update(passed=3))
    seal(folder)
    code, text = run("validate", folder, "--deep")
    assert code == 1
    assert "the records were not encoded again" in text
    code, text = run("validate", folder, "--deep", "--json")
    assert json.loads(text)["deep"] is None
