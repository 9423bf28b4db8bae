"""Requests to a language model, with worked examples before them or without."""

from pathlib import Path

import pytest

from dataforge.errors import TemplateError
from dataforge.request_templates import RequestTemplate

SYSTEM = "{% block system %}You write questions.{% endblock %}"
USER = "{% block user %}{{ passage }}{% endblock %}"
FIRST = "{% block user_1 %}Ships sail.{% endblock %}{% block assistant_1 %}What sails?{% endblock %}"
SECOND = "{% block assistant_2 %}Who sings?{% endblock %}{% block user_2 %}Larks sing.{% endblock %}"


def template(folder: Path, text: str) -> RequestTemplate:
    path = folder / "plain.en.jinja"
    path.write_text(text, encoding="utf-8")
    return RequestTemplate(path)


def test_examples_are_turns_before_the_request(tmp_path: Path) -> None:
    messages = template(tmp_path, USER + SECOND + FIRST + SYSTEM).messages(passage="Tea steams.")
    assert [(message["role"], message["content"]) for message in messages] == [
        ("system", "You write questions."),
        ("user", "Ships sail."),
        ("assistant", "What sails?"),
        ("user", "Larks sing."),
        ("assistant", "Who sings?"),
        ("user", "Tea steams."),
    ]


def test_without_examples_there_is_the_request_alone(tmp_path: Path) -> None:
    assert template(tmp_path, USER).messages(passage="Tea.") == ({"role": "user", "content": "Tea."},)


@pytest.mark.parametrize(
    "text",
    [
        SYSTEM,
        FIRST,
        USER + "{% block user_1 %}Ships sail.{% endblock %}",
        USER + "{% block assistant_1 %}What sails?{% endblock %}",
        USER + "{% block system_1 %}Be brief.{% endblock %}",
        USER + "{% block answer %}What sails?{% endblock %}",
    ],
)
def test_other_blocks_or_half_an_example_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TemplateError, match=r"plain\.en\.jinja: holds the blocks .*user_1 with assistant_1"):
        template(tmp_path, text)
