"""A preview as one HTML page that needs nothing else: tokens with their ids, row lengths, the funnel.

What a page says comes from data that nobody has read yet. Jinja escapes every value, characters that would steer the
reader's eye are written out, and the browser is told to load and run nothing but the one stylesheet.
"""

import itertools
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import jinja2

from dataforge.preview import Preview
from dataforge.preview_style import CSS

BARS = 40
SIGNS = {"\n": "⏎", "\t": "⇥"}
JOINER = re.compile("(?<=[^\0-\x7f\u200b-\u200f])[\u200c\u200d](?=[^\0-\x7f\u200b-\u200f])")

PAGE = """\
{% macro text(value) -%}
  {% for sign, raw in value|parts %}
    {%- if sign %}<i{% if not raw %} class="code"{% endif %}>{{ sign }}</i>{% endif %}{{ raw }}
  {%- endfor %}
{%- endmacro %}
{% macro token(token, position) -%}
  <span{% if token.trained %} class="t{{ " d" if token.differs }}"{% endif -%}
  {{- " " }}title="id {{ token.id }}, position {{ position }}">
    {%- if token.text %}{{ text(token.text) }}{% else %}<i>▫</i>{% endif %}
    {%- if token.stop %}<b>■</b>{% endif -%}
  </span>
{%- endmacro %}
{% macro row(name, id, tokens, before) -%}
<section class="row">
<div class="head">
<h4>{{ name }}</h4>
{% if id is not none %}
<code class="quiet"><bdi>{{ text(id) }}</bdi></code>
{% endif %}
</div>
<div class="tokens" dir="ltr">
{%- for one in tokens %}{{ token(one, before + loop.index0) }}{% endfor -%}
</div>
</section>
{%- endmacro %}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ shown.title }}: preview</title>
<style>{{ css|safe }}</style>
</head>
<body>
<header>
<h1><bdi>{{ text(shown.title) }}</bdi></h1>
<p><bdi>{{ text(shown.note) }}</bdi></p>
<ul>
{% if shown.kind == "chat" %}
<li>turns certified in the row of their conversation: {{ shown.turns.certified|number }}</li>
<li>turns in rows of their own: {{ shown.turns.forked|number }}, for {{ shown.turns.fork_tokens|number }}
tokens more</li>
{% elif shown.kind == "pairs" %}
<li>answers certified, two of each pair: {{ shown.turns.certified|number }}</li>
{% else %}
<li>prompts only: the model writes the answers itself, and no token is trained as it stands</li>
{% endif %}
<li>records refused because no mask could be proven: {{ shown.turns.refused|number }}</li>
<li>tokens on which an answer stops:
{%- for stop in shown.stop_tokens %} <code><bdi>{{ text(stop) }}</bdi></code>{% else %} none{% endfor %}</li>
</ul>
</header>
<main>
<section>
<h2>Funnel</h2>
<table>
<thead><tr><th scope="col">station</th><th scope="col">read</th><th scope="col">passed</th>
<th scope="col">rejected</th><th scope="col">added</th></tr></thead>
<tbody>
{% for stage in shown.funnel %}
<tr><th scope="row"><bdi>{{ text(stage.stage) }}</bdi></th><td class="n">{{ stage.read|number }}</td>
<td class="n">{{ stage.passed|number }}</td>
<td>{% for reason, records in stage.rejected.items() %}{% if not loop.first %}<br>{% endif -%}
<bdi>{{ text(reason) }}</bdi> {{ records|number }}{% endfor %}</td><td class="n">{{ stage.added|number }}</td></tr>
{% endfor %}
</tbody>
</table>
</section>
<section>
<h2>Lengths of rows</h2>
{% if not bars %}
<p>No rows are known.</p>
{% else %}
<p>Rows: {{ lengths|length|number }}. Tokens in a row: median {{ lengths[lengths|length // 2]|number }}, 95th percentile
{{ lengths[(lengths|length * 95 + 99) // 100 - 1]|number }}, longest {{ lengths[-1]|number }}.</p>
{% set most = bars|map(attribute="rows")|max %}
{% set step = [576 / bars|length, 96]|min %}
{% set labelled = (bars|length + 4) // 5 %}
<svg viewBox="0 0 680 240" role="img" aria-label="Histogram of row lengths in tokens; the table below has its numbers">
<text x="50" y="16" text-anchor="end">rows</text>
<text x="50" y="36" text-anchor="end">{{ most|number }}</text>
<text x="50" y="194" text-anchor="end">0</text>
<line x1="56" x2="56" y1="30" y2="190"/><line x1="56" x2="632" y1="190" y2="190"/>
{% for bar in bars %}
{% set left, height = 56 + step * loop.index0, 160 * bar.rows / most %}
{% if bar.rows %}
{# A bar of one row among thousands must still be seen. #}
{% set height = [height, 2]|max %}
<rect x="{{ (left + 1)|round(1) }}" y="{{ (190 - height)|round(1) }}" width="{{ (step - 2)|round(1) }}" height="{{
height|round(1) }}"><title>rows of {{ bar.span }} tokens: {{ bar.rows|number }}</title></rect>
{% endif %}
{% if loop.index0 % labelled == 0 %}
<text x="{{ (left + step / 2)|round(1) }}" y="208" text-anchor="middle">{{ bar.span }}</text>
{% endif %}
{% endfor %}
<text x="344" y="232" text-anchor="middle">tokens in a row</text>
</svg>
<details>
<summary>The numbers of the histogram</summary>
<table>
<thead><tr><th scope="col">tokens</th><th scope="col">rows</th></tr></thead>
<tbody>
{% for bar in bars if bar.rows %}
<tr><th scope="row" class="n">{{ bar.span }}</th><td class="n">{{ bar.rows|number }}</td></tr>
{% endfor %}
</tbody>
</table>
</details>
{% endif %}
</section>
<section>
<h2>Records</h2>
<h3>How to read the tokens</h3>
<ul>
<li><span class="tokens"><span>a</span><span>token</span></span> is given to the model. A fine line stands before each
token; its id and its position, counted from 0, show when the pointer rests on it.</li>
<li><span class="tokens"><span class="t">a</span><span class="t">token</span></span>, underlined and green, is trained:
the model learns to {{ "prefer it, or to avoid it where it is rejected" if shown.kind == "pairs" else "write it"
}}.</li>
{% if shown.kind == "pairs" %}
<li><span class="tokens"><span class="t d">a</span><span class="t d">token</span></span>, bold and amber, is trained and
stands where the two answers differ.</li>
{% endif %}
<li><b>■</b> follows the token on which an answer stops.</li>
<li><i>⏎</i> is a line break and <i>⇥</i> a tab, which follow as they are.</li>
<li><i>▫</i> is a token without a text of its own: a part of a character that shows with the last of its tokens.</li>
<li><i class="code">\\x1b</i>, in a dotted frame, is a character that cannot be seen or would change how others
are read.</li>
<li>Tokens stand from left to right in their order, whichever way their script runs.</li>
</ul>
{% for item in shown.shown %}
<article>
<h3><bdi>{{ text(item.place) }}</bdi></h3>
<p class="quiet">record <code><bdi>{{ text(item.id) }}</bdi></code></p>
<table>
<caption class="quiet">The messages as they were read</caption>
<thead><tr><th scope="col">role</th><th scope="col">trained</th><th scope="col">text</th></tr></thead>
<tbody>
{% for message in item.messages %}
<tr><th scope="row"><bdi>{{ text(message.role) }}</bdi></th><td>{{ "trained" if message.trained else "no" }}</td>
<td class="text">{{ text(message.text) }}</td></tr>
{% endfor %}
</tbody>
</table>
{% if shown.kind == "pairs" %}
{% set given = item.rows[0].tokens|rejectattr("trained")|list if item.rows else [] %}
{% if item.judged %}
<p><bdi>{{ text(item.judged) }}</bdi></p>
{% endif %}
{{ row("Prompt: " ~ given|length|number ~ " tokens", none, given, 0) }}
<div class="sides">
{% for side in item.rows %}
{% set answer = side.tokens|selectattr("trained")|list %}
{{ row(["Chosen", "Rejected"][loop.index0] ~ ": " ~ answer|length|number ~ " tokens", side.id, answer, given|length) }}
{% endfor %}
</div>
{% else %}
{% for one in item.rows %}
{{ row("Row " ~ loop.index ~ " of " ~ loop.length ~ ": " ~ one.tokens|length|number ~ " tokens, " ~ one.trained|number ~
" trained", one.id, one.tokens, 0) }}
{% endfor %}
{% endif %}
</article>
{% else %}
<p>No records are shown.</p>
{% endfor %}
</section>
<section>
<h2>Rejected</h2>
{% if not shown.rejects %}
<p>No records are rejected.</p>
{% else %}
<table>
<thead><tr><th scope="col">place</th><th scope="col">record</th><th scope="col">reason</th>
<th scope="col">detail</th></tr></thead>
<tbody>
{% for reject in shown.rejects %}
<tr><th scope="row"><bdi>{{ text(reject.place) }}</bdi></th><td><code><bdi>{{ text(reject.id) }}</bdi></code></td>
<td><bdi>{{ text(reject.reason) }}</bdi></td><td class="text">{{ text(reject.detail) }}</td></tr>
{% endfor %}
</tbody>
</table>
{% endif %}
</section>
</main>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """The rows whose length lies between two bounds, both included."""

    first: int
    last: int
    rows: int

    @property
    def span(self) -> str:
        """The bounds in words."""
        return f"{self.first:,}" if self.first == self.last else f"{self.first:,}\N{EN DASH}{self.last:,}"


def page(shown: Preview) -> str:
    """The page."""
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, finalize=_written_out, trim_blocks=True, lstrip_blocks=True
    )
    template.filters |= {"number": "{:,}".format, "parts": _parts}
    style = b64encode(sha256(CSS.encode()).digest()).decode()
    return template.from_string(PAGE).render(
        shown=shown,
        css=CSS,
        policy=f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'",
        bars=_bars(shown.lengths),
        lengths=sorted(shown.lengths),
    )


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """A text in pieces, each a sign that stands for it, or before it, and what of it may be written as it is."""
    joiners = {match.start() for match in JOINER.finditer(text)}  # emoji, Persian and Hindi are spelled with them
    for readable, run in itertools.groupby(
        enumerate(text), lambda at: at[1].isprintable() or at[1] == "\u3000" or at[0] in joiners
    ):
        if readable:
            yield "", "".join(char for _, char in run)
        else:
            yield from ((SIGNS.get(char) or repr(char)[1:-1], char if char in SIGNS else "") for _, char in run)


def _bars(lengths: Sequence[int]) -> list[Bar]:
    """A histogram of at most BARS bars, whose widths are round numbers."""
    if not lengths:
        return []
    shortest, longest = min(lengths), max(lengths)
    widths = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
    width = next(width for width in widths if longest // width - shortest // width < BARS)
    rows = Counter(length // width for length in lengths)
    return [Bar(at * width, (at + 1) * width - 1, rows[at]) for at in range(shortest // width, longest // width + 1)]


def _written_out(value: Any) -> Any:
    """Jinja asks for every value of the page: none slips through by a forgotten filter."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "".join(raw or sign for sign, raw in _parts(value))
