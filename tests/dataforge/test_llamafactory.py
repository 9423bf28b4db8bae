import json
from pathlib import Path
from typing import Any

import pytest

from dataforge import config, heads, recipe
from dataforge.errors import ConfigError
from dataforge.line import Line
from dataforge.recipe import SourceSpec
from dataforge.records import Chat, record_id
from dataforge.sources.llamafactory import resolve
from dataforge.tally import Tally

OPENAI_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}


def described(place: Path, /, **entry: Any) -> Path:
    (place / "dataset_info.json").write_text(json.dumps({"tea": entry}), encoding="utf-8")
    return place


def meant(place: Path, /, **entry: Any) -> dict[str, Any]:
    return resolve(described(place, **entry), "tea")


def of_file(folder: Path, **entry: Any) -> dict[str, Any]:
    return {key: value for key, value in meant(folder, file_name="tea.json", **entry).items() if key != "path"}


def test_a_file_is_named_from_the_folder_of_the_description(tmp_path: Path) -> None:
    found = meant(tmp_path, file_name="sub/tea.json")
    assert found["path"] == str(tmp_path / "sub/tea.json")
    assert resolve(tmp_path / "dataset_info.json", "tea") == found


def test_what_names_no_columns_is_alpaca_without_history_and_system(tmp_path: Path) -> None:
    columns = {"instruction": "instruction", "input": "input", "output": "output"}
    assert of_file(tmp_path) == {"use": "alpaca", "columns": columns}


def test_what_names_columns_has_no_others(tmp_path: Path) -> None:
    columns = {"prompt": "question", "response": "answer", "system": "persona", "history": "before"}
    assert of_file(tmp_path, columns=columns)["columns"] == {
        "instruction": "question",
        "output": "answer",
        "system": "persona",
        "history": "before",
    }


def test_preferences_count_only_where_it_ranks(tmp_path: Path) -> None:
    columns = {"prompt": "q", "response": "a", "chosen": "good", "rejected": "bad"}
    assert of_file(tmp_path, columns=columns)["columns"] == {"instruction": "q", "output": "a"}
    ranked = of_file(tmp_path, columns=columns, ranking=True)
    assert ranked["columns"] == {"instruction": "q", "chosen": "good", "rejected": "bad"}


def test_a_label_is_kept(tmp_path: Path) -> None:
    columns = {"prompt": "q", "response": "a", "kto_tag": "liked"}
    assert of_file(tmp_path, columns=columns)["columns"] == {"instruction": "q", "output": "a", "kto_tag": "liked"}


def test_a_prompt_that_nothing_answers_is_a_document(tmp_path: Path) -> None:
    assert of_file(tmp_path, columns={"prompt": "content"}) == {"use": "documents", "columns": {"text": "content"}}


def test_chats_are_told_by_their_tags(tmp_path: Path) -> None:
    assert of_file(tmp_path, formatting="sharegpt") == {
        "use": "sharegpt",
        "columns": {"conversations": "conversations"},
    }
    columns = {"messages": "talk", "tools": "functions", "system": "persona"}
    assert of_file(tmp_path, formatting="sharegpt", columns=columns)["columns"] == {
        "conversations": "talk",
        "system": "persona",
        "tools": "functions",
    }
    columns = {"messages": "talk", "chosen": "good", "rejected": "bad", "kto_tag": "liked"}
    found = of_file(tmp_path, formatting="sharegpt", columns=columns, tags=OPENAI_TAGS, ranking=True)
    assert found == {
        "use": "openai",
        "columns": {"messages": "talk", "chosen": "good", "rejected": "bad", "kto_tag": "liked"},
    }


def test_a_data_set_of_a_hub_keeps_its_subset_and_split(tmp_path: Path) -> None:
    found = meant(tmp_path, hf_hub_url="me/tea", ms_hub_url="you/tea", subset="zh", split="full", revision="v1")
    assert found["hub"] == "me/tea"
    assert (found["config"], found["split"], found["revision"]) == ("zh", "full", "v1")
    assert not {"path", "modelscope"} & found.keys()
    assert meant(tmp_path, ms_hub_url="you/tea")["modelscope"] == "you/tea"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "neither 'file_name' nor 'hf_hub_url'"),
        ({"file_name": "a", "formatting": "vicuna"}, "known: alpaca, sharegpt, openai"),
        ({"file_name": "a", "columns": {"prompt": "q", "images": "pics"}}, "has images"),
        ({"file_name": "a", "num_samples": 100}, "`weight:`"),
        ({"file_name": "a", "folder": "python"}, "'folder'"),
        ({"script_url": "tea.py"}, "never run"),
        ({"file_name": "a", "typo": 1}, "'typo'"),
        ({"file_name": "a", "columns": ["q", "a"]}, "'columns' must be an object"),
        ({"file_name": "a", "formatting": "sharegpt", "tags": "from"}, "'tags' must be an object"),
        ({"file_name": "a", "columns": {"prompt": "q", "response": "a", "tools": "t"}}, "tools"),
        ({"file_name": "a", "formatting": "sharegpt", "tags": {"role_tag": "who", "content_tag": "what"}}, "'who'"),
        ({"file_name": "a", "formatting": "sharegpt", "tags": {"role_tag": "role"}}, "None"),
        ({"file_name": "a", "formatting": "sharegpt", "tags": {**OPENAI_TAGS, "user_tag": "customer"}}, "'customer'"),
        ({"file_name": "a", "formatting": "openai", "tags": OPENAI_TAGS, "columns": {"system": "s"}}, "system"),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path: Path, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="tea") as caught:
        meant(tmp_path, **entry)
    assert message in str(caught.value)


def read(folder: Path, source: str) -> SourceSpec:
    path = folder / "recipe.yaml"
    path.write_text(f"name: t\ntokenizer: x\nsources:\n  - {source}\n", encoding="utf-8")
    (spec,) = recipe.read(config.load(path)).sources
    return spec


def test_a_recipe_that_names_it_is_the_recipe_that_says_it_in_full(tmp_path: Path) -> None:
    described(tmp_path, file_name="leaves.json", columns={"prompt": "q", "response": "a"})
    (tmp_path / "leaves.json").write_text('[{"q": "Hot?", "a": "Yes."}]', encoding="utf-8")
    short = read(tmp_path, "{use: llamafactory, path: ., name: tea, weight: 2}")
    full = read(
        tmp_path, "{use: alpaca, path: leaves.json, name: tea, weight: 2, columns: {instruction: q, output: a}}"
    )
    assert (short.name, short.settings, short.reading) == (full.name, full.settings, full.reading)
    assert [Path(place).resolve() for place in short.places] == [Path(place).resolve() for place in full.places]
    assert short.entry.model_dump(exclude={"path"}) == full.entry.model_dump(exclude={"path"})


@pytest.mark.parametrize(
    ("source", "place", "message"),
    [
        ("{use: llamafactory, path: ., name: coffee}", ":4: sources[0].path", "one of tea"),
        ("{use: llamafactory, path: .}", ":4: sources[0].path", "one of tea"),
        (
            "{use: llamafactory, path: nowhere, name: tea}",
            ":4: sources[0].path",
            "is the folder with dataset_info.json",
        ),
        ("{use: llamafactory, name: tea}", ":4: sources[0]", "`path:`"),
        ("{use: llamafactory, path: ., name: tea, wieght: 2}", ":4: sources[0].wieght", "'weight'"),
        ("{use: llamafactory, path: ., name: tea}", ":4: sources[0].path", "gone.json"),
    ],
)
def test_a_fault_names_the_line_of_the_recipe(tmp_path: Path, source: str, place: str, message: str) -> None:
    described(tmp_path, file_name="gone.json")
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, source)
    assert place in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_are_read_under_the_shapes_names_and_no_others(tmp_path: Path) -> None:
    described(tmp_path, file_name="leaves.json", columns={"prompt": "q", "response": "a"})
    rows = [{"q": "Hot?", "a": "<ANSWER>.", "input": "never read", "history": "nor this"}, {"q": "Cold?"}]
    (tmp_path / "leaves.json").write_text(json.dumps(rows), encoding="utf-8")
    spec = read(tmp_path, "{use: llamafactory, path: ., name: tea, vars: {ANSWER: Yes}}")
    line, tally = Line(recipe.read(config.load(tmp_path / "recipe.yaml"))), Tally()
    (head,) = heads.of(spec, 10, {})
    (chat,) = line.read(head.part, tally, head.unpacked)
    assert isinstance(chat, Chat)
    assert [(message.role, message.text) for message in chat.messages] == [("user", "Hot?"), ("assistant", "Yes.")]
    assert [reject.reason for reject in tally.rejects] == ["missing_output"]
    # A record's id is that of the row as it lies in the file.
    assert [chat.id, tally.rejects[0].id] == [record_id("tea", columns) for columns in rows]
