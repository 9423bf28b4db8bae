"""The proof that a template writes from left to right: sound for any template, and found where it matters."""

from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataforge import templates
from dataforge.left_to_right import MARK
from dataforge.templates import ChatTemplate
from tests.conftest import CHATML

LOOP = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
GENERATE = "{% if add_generation_prompt %}[assistant]{% endif %}"
UNPROVABLE = {
    "the last message": "{% for m in messages %}{{ m.content }}{% if loop.last %}.{% endif %}{% endfor %}",
    "the next message": "{% for m in messages %}{{ m.content }}{{ loop.nextitem is defined }}{% endfor %}",
    "how many there are": "{% for m in messages %}{{ m.content }}{{ messages | length }}{% endfor %}",
    "how many are left": "{% for m in messages %}{{ loop.revindex }}{% endfor %}",
    "the loop as a value": "{% for m in messages %}{% set l = loop %}{{ l.last }}{% endfor %}",
    "the last by its index": "{% for m in messages %}{{ messages[-1].content }}{% endfor %}",
    "one behind by its index": "{% for m in messages %}{{ messages[loop.index0 - 1].content }}{% endfor %}",
    "all of them first": "{% for m in messages %}{{ m.role }}{% endfor %}" + LOOP,
    "another name for them": "{% set all = messages %}{% for m in messages %}{{ all | length }}{% endfor %}",
    "a slice": "{% for m in messages[1:] %}{{ m.content }}{% endfor %}",
    "a loop inside": "{% if true %}{% for m in messages %}{{ m.content }}{% endfor %}{% endif %}",
    "a filtered loop": "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
    "an empty conversation": "{% for m in messages %}{{ m.content }}{% else %}none{% endfor %}",
    "a macro": "{% macro w() %}{{ messages | length }}{% endmacro %}{% for m in messages %}{{ w() }}{% endfor %}",
    "the generation prompt in the loop": "{% for m in messages %}{{ add_generation_prompt }}{% endfor %}",
    "what the loop has set": "{% set n = namespace(i=0) %}{% for m in messages %}{% set n.i = 1 %}{% endfor %}{{ n }}",
    "an inner loop over the outer": "{% for m in messages %}{% for x in range(loop.length) %}.{% endfor %}{% endfor %}",
    "a filter around it": "{% filter upper %}{% for m in messages %}{{ m.content }}{% endfor %}{% endfilter %}",
}


def said(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "assistant" if number % 2 else "user", "content": text} for number, text in enumerate(texts)]


@pytest.mark.parametrize("name", UNPROVABLE)
def test_what_looks_ahead_is_not_proven(name: str) -> None:
    template = ChatTemplate(UNPROVABLE[name] + GENERATE, {})
    assert not template.left_to_right
    assert template.pieces(said("a", "b")) is None


@pytest.mark.parametrize("name", sorted(set(templates.names()) - {"qwen"}))
def test_our_own_templates_are_proven(name: str) -> None:
    assert ChatTemplate(templates.find(name, Path()), {"bos_token": "<s>", "eos_token": "</s>"}).left_to_right


@pytest.mark.parametrize(
    "text",
    [
        CHATML,
        "{% set loop_messages = messages %}{% for m in loop_messages %}{{ m.content }}{% endfor %}" + GENERATE,
        "{% for m in messages %}{% for c in m.content %}{{ c }}{{ loop.last }}{% endfor %}{% endfor %}" + GENERATE,
        "{% for m in messages %}{{ loop.previtem.content if not loop.first }}{{ loop.index }}{% endfor %}" + GENERATE,
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ ns.n }}{% endfor %}"
        + GENERATE,
        LOOP + "{% if add_generation_prompt %}[assistant]{% else %}{{ eos_token }}{% endif %}",
    ],
)
def test_what_looks_back_is_proven_and_cut_where_each_message_begins(text: str) -> None:
    template = ChatTemplate(text, {"eos_token": "</s>"})
    messages = said("a", "b", "c", "d")
    pieces = template.pieces(messages)
    assert pieces is not None
    assert "".join(pieces) == template.render(messages)
    for number in range(1, 4):
        before = "".join(pieces[: number + 1])
        assert template.render(messages[:number], generation_prompt=True).startswith(before)


def test_a_conversation_that_holds_the_mark_goes_the_long_way() -> None:
    assert ChatTemplate(LOOP + GENERATE, {}).pieces(said(f"a{MARK}", "b")) is None


def test_a_loop_that_breaks_off_goes_the_long_way() -> None:
    template = ChatTemplate("{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}x{% endfor %}", {})
    assert template.pieces(said("a", "b", "c")) is None


BODY = """
{{ m.role }} | {{ m.content }} | {{ m['content'].strip() }} | {{ loop.first }} | {{ loop.last }} | {{ loop.index }}
{{ loop.length }} | {{ messages[0].content }} | {{ messages[-1].role }} | {{ messages.__len__ }} | {{ ns.n }} | {{ x }}
{{ loop.nextitem }} | {{ loop.cycle('a', 'b') }} | {{ loop.changed(m.role) }} | {{ all[1:] }} | {{ loop.previtem }}
{% set ns.n = ns.n + 1 %} | {% if m.role == 'user' %}?{% else %}!{% endif %} | {% set x = m.role %}{{ x }}
{% for c in m.content %}{{ c }}{{ loop.last }}{% endfor %} | {% generation %}{{ m.content }}{% endgeneration %}
{{ add_generation_prompt }} | {% for other in messages %}{{ other.role }}{% endfor %} | {{ messages }} | {{ loop }}
"""
AROUND = """
{{ bos_token }} | {{ messages[0].role }} | {{ messages[1].content }} | {% set x = messages[0].content %} | {{ all }}
{% set all = messages %} | {% set loop_messages = messages %} | {{ messages }} | {{ ns.n }} | {{ x }} | {{ m }}
{{ loop }}
"""


def snippets(listed: str) -> list[str]:
    return [snippet.strip() for line in listed.strip().splitlines() for snippet in line.split(" | ")]


@given(
    before=st.lists(st.sampled_from(snippets(AROUND)), max_size=2).map("".join),
    body=st.lists(st.sampled_from(snippets(BODY)), min_size=1, max_size=4).map("".join),
    after=st.sampled_from(["", *snippets(AROUND)]),
    over=st.sampled_from(["messages", "messages", "messages", "loop_messages", "messages[1:]", "messages | reverse"]),
    texts=st.lists(st.text("ab <", max_size=3), min_size=2, max_size=5),
)
@settings(deadline=None, max_examples=600)
def test_no_proven_template_writes_a_beginning_in_another_way(
    before: str, body: str, after: str, over: str, texts: list[str]
) -> None:
    text = (
        "{% set ns = namespace(n=0) %}"
        + before
        + "{% for m in "
        + over
        + " %}"
        + body
        + "{% endfor %}"
        + after
        + GENERATE
    )
    template = ChatTemplate(text, {"bos_token": "<s>"})
    if not template.left_to_right:
        return
    messages = said(*texts)
    try:
        pieces = template.pieces(messages)
    except jinja2.UndefinedError:
        return
    assert pieces is not None
    assert "".join(pieces) == template.render(messages)
    ends = set()
    for number in range(1, len(messages)):
        prompt, before = template.render(messages[:number], generation_prompt=True), "".join(pieces[: number + 1])
        assert prompt.startswith(before)
        ends.add(prompt[len(before) :])
    assert len(ends) == 1, "what the prompt adds is the same for all of them"
