import datetime
from typing import Any

import jinja2
import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from dataforge.errors import TemplateError
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
