import datetime
from pathlib import Path
from typing import Any

import jinja2
import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from dataforge import templates
from dataforge.errors import TemplateError
from dataforge.records import Chat, Message, Origin, Row
from dataforge.sources import openai
from dataforge.templates import ChatTemplate

MESSAGES = [
    {"role": "system", "content": "Sei <b>kurz</b> & 'klar'."},
    {"role": "user", "content": "你好 👋\n\n  hi"},
    {"role": "assistant", "content": "héllo"},
]
TEMPLATES = {
    "whitespace control": "{% for m in messages %}\n  {%- if m.role == 'user' %}\n U {{ m.content }}\n  {% endif %}\n"
    "{% endfor %}",
    "json": "{% for m in messages %}{{ m | tojson }}{{ m | tojson(indent=2) }}{% endfor %}",
    "loop controls": "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.content }}"
    "{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}|{% endfor %}",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "variables": "{{ bos_token }}{% if add_generation_prompt %}{{ 'go' }}{% endif %}"
    "{{ tools is none }}{{ nothing is defined }}",
    "trailing newline": "a\n",
    "dict": "{% for k, v in dict(a=1).items() %}{{ k }}{{ v }}{% endfor %}",
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("generation_prompt", [False, True])
def test_a_template_renders_as_transformers_renders_it(name: str, generation_prompt: bool) -> None:
    variables = {"bos_token": "<s>"}
    rendered, _ = render_jinja_template(
        [MESSAGES], chat_template=TEMPLATES[name], add_generation_prompt=generation_prompt, **variables
    )
    template = ChatTemplate(TEMPLATES[name], variables)
    assert template.render(MESSAGES, generation_prompt=generation_prompt) == rendered[0]


TOOLS = [{"type": "function", "function": {"name": "w", "parameters": {"type": "object", "properties": {}}}}]
CALLS: list[dict[str, Any]] = [
    {"role": "user", "content": "weather?"},
    {
        "role": "assistant",
        "reasoning_content": "look",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "w", "arguments": {"city": "北京"}}}],
    },
    {"role": "tool", "tool_call_id": "1", "name": "w", "content": "sun"},
    {"role": "assistant", "content": "Sun."},
]
SHOWS_EVERYTHING = (
    "{{ tools | tojson }}{{ documents is none }}{{ enable_thinking }}{{ dict(a=1) }}"
    "{% set n = namespace(self=1, b=2) %}{{ n.b }}"
    "{% for m in messages %}{{ m | tojson }}{{ m.content is defined }}{{ m.thinking }}{% endfor %}"
)


def test_tools_calls_reasoning_and_keywords_reach_the_template_as_with_transformers(tmp_path: Path) -> None:
    rendered, _ = render_jinja_template(
        [CALLS], chat_template=SHOWS_EVERYTHING, tools=TOOLS, enable_thinking=False, add_generation_prompt=True
    )
    row = Row("r", Origin("s", "f", 0, 1), {"messages": CALLS})
    chat = openai.convert(row, openai.Settings())
    assert isinstance(chat, Chat)
    template = ChatTemplate(SHOWS_EVERYTHING, {})
    seen = [template.sees(message) for message in chat.messages]
    kwargs = {"enable_thinking": False}
    mine = template.render(seen, tools=TOOLS, kwargs=kwargs, generation_prompt=True)
    # Only the order of a message's keys may differ, which no template can rely on.
    assert [sorted(part) for part in mine.split("}")] == [sorted(part) for part in rendered[0].split("}")]


def test_a_namespace_cannot_hold_what_python_hides() -> None:
    for attack in ("{% set n = namespace(__class__=1) %}", "{% set n = namespace() %}{% set n._x = 1 %}"):
        with pytest.raises(jinja2.TemplateError):
            ChatTemplate(attack, {}).render(MESSAGES)


@pytest.mark.parametrize("name", templates.names())
def test_an_input_stands_where_the_format_has_a_place_for_it(name: str) -> None:
    template = ChatTemplate(templates.find(name, Path()), {"bos_token": "", "eos_token": "</s>"})
    question = Message("user", "Translate.", input="Good morning")
    text = template.render([template.sees(question)], generation_prompt=True)
    if name == "alpaca":
        assert "### Instruction:\nTranslate.\n\n### Input:\nGood morning\n\n### Response:" in text
    else:
        assert "Translate.\nGood morning" in text


def test_content_is_a_list_of_parts_where_a_template_takes_nothing_else() -> None:
    takes_parts = "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}"
    message = Message("user", "hi")
    assert ChatTemplate(takes_parts, {}).sees(message)["content"] == [{"type": "text", "text": "hi"}]
    assert ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}", {}).sees(message)["content"] == "hi"


def test_a_template_is_found_by_name_or_path_and_missing_ones_are_told(tmp_path: Path) -> None:
    (tmp_path / "mine.jinja").write_text("{{ messages }}", encoding="utf-8")
    assert templates.find("mine.jinja", tmp_path) == "{{ messages }}"
    assert "<|im_start|>" in templates.find("chatml", tmp_path)
    for name, said in (
        ("chatmk", "did you mean 'chatml'"),
        ("other.jinja", "there is no file"),
        ("a/b", "there is no file"),
    ):
        with pytest.raises(TemplateError, match=said):
            templates.find(name, tmp_path)
    (tmp_path / "bytes.jinja").write_bytes(b"\xff")
    with pytest.raises(TemplateError, match="not UTF-8"):
        templates.find("bytes.jinja", tmp_path)


def test_a_template_that_refuses_says_so_in_its_own_words() -> None:
    template = ChatTemplate("{{ raise_exception('no system here') }}", {})
    with pytest.raises(jinja2.TemplateError, match="no system here"):
        template.render(MESSAGES)


def test_a_template_that_is_no_jinja_names_the_line() -> None:
    with pytest.raises(TemplateError, match="line 2"):
        ChatTemplate("a\n{% if %}", {})


def test_today_is_what_the_recipe_says_or_an_error() -> None:
    text = "{{ strftime_now('%d %b %Y') }}"
    assert ChatTemplate(text, {}, datetime.date(2024, 2, 29)).render(MESSAGES) == "29 Feb 2024"
    with pytest.raises(TemplateError, match="date: YYYY-MM-DD"):
        ChatTemplate(text, {}).render(MESSAGES)


@pytest.mark.parametrize(
    "attack", ["{{ messages.append(1) }}", "{{ ''.__class__.__mro__ }}", "{{ messages[0].update(a=1) }}"]
)
def test_a_template_cannot_reach_out_of_its_sandbox(attack: str) -> None:
    def attempt() -> Any:
        return ChatTemplate(attack, {}).render(MESSAGES)

    with pytest.raises(jinja2.TemplateError):
        attempt()
