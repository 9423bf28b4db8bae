"""The project's own chat templates against texts typed by hand from each format's documentation."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from dataforge import data_files

EXPECTED: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "templates_expected.json").read_text(encoding="utf-8")
)
TEMPLATES = {
    path.stem: path.read_text(encoding="utf-8") for path in (data_files.folder("templates") / "chat").iterdir()
}


def test_every_template_has_expected_texts() -> None:
    assert set(TEMPLATES) == set(EXPECTED)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_writes_its_format_to_the_character(name: str) -> None:
    for case in EXPECTED[name]:
        rendered, _ = render_jinja_template(
            [case["messages"]],
            chat_template=TEMPLATES[name],
            tools=case.get("tools"),
            add_generation_prompt=case["add_generation_prompt"],
            bos_token=case["bos_token"],
            eos_token=case["eos_token"],
        )
        assert rendered[0] == case["text"]
