"""HTML becomes Markdown without loss; a renderer of Markdown that shares no code with it says what the result means."""

import html
import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dataforge.html_markdown import markdown

RENDERER = MarkdownIt("commonmark", {"html": True}).enable("table").enable("strikethrough")
SHAPES = ("q{}z", "q{}zé", "中q{}z文", "<q{}z>", "q{}z*", "_q{}z_", "q{}z.", "#q{}z", "a&q{}z", "$x_q{}z$", "[q{}z](b)")
INLINE = ("em", "strong", "b", "i", "sup", "sub", "span")


@dataclass
class Page:
    """HTML that is being written, and what is in it."""

    draw: st.DrawFn
    plain: bool = False
    words: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)

    def of(self, *choices: str) -> str:
        return self.draw(st.sampled_from(choices))

    def many(self, most: int) -> range:
        return range(self.draw(st.integers(1, most)))

    def word(self) -> str:
        self.words.append(str(len(self.words) + 1))
        return html.escape(self.of(*SHAPES).format(self.words[-1]), quote=False)

    def text(self) -> str:
        return "".join(self.word() + self.of(" ", "\n", " ") for _ in self.many(3)).strip()

    def link(self, ending: str) -> str:
        self.links.append(f"http://example.org/{len(self.links)}_x{ending}")
        return self.links[-1]

    def inline(self, depth: int = 0) -> str:
        if self.plain:
            return self.text()
        parts = []
        for _ in self.many(3):
            kind = self.of("text", "text", "element", "code", "a", "img", "br") if depth < 2 else "text"
            if kind == "element":
                name = self.of(*INLINE)
                parts.append(f"<{name}>{self.inline(depth + 1)}</{name}>")
            elif kind == "code":
                parts.append(f"<code>{self.word()} {self.word()}</code>")
            elif kind == "a":
                parts.append(f'<a href="{self.link("")}">{self.text()}</a>')
            elif kind == "img":
                parts.append(f'<img src="{self.link(".png")}" alt="{self.word()}">')
            else:
                parts.append("<br>" if kind == "br" else self.text())
            parts.append(self.of("", " ", "\n"))
        return "".join(parts)

    def code(self) -> str:
        lines = []
        for _ in self.many(4):
            line = (
                self.of("", "  ", "\t") + self.word() + self.of("", "  ", " ```", "~~~~", "`````", " &lt;!-- x --&gt;")
            )
            lines.append(self.of(line, line, ""))
            if not lines[-1]:
                self.words.pop()
        code = "\n".join(lines)
        if not code.strip("\n"):
            code = self.word()
        self.codes.append(html.unescape(code))
        return code + self.of("", "\n")

    def block(self, depth: int = 0) -> str:
        kinds = ("p", "p", "h2", "list", "blockquote", "pre", "table")
        kind = self.of(*kinds, *(() if depth else ("hr",))) if depth < 3 else "p"  # an item of a list is no line
        if kind == "list":
            name = self.of("ul", "ol")
            items = [self.of("inline", "paragraphs") for _ in self.many(3)]
            return f"<{name}>{''.join(f'<li>{getattr(self, item)(depth + 1)}</li>' for item in items)}</{name}>"
        if kind == "blockquote":
            return f"<blockquote>\n{self.blocks(depth + 1)}\n</blockquote>"
        if kind == "pre":
            opening = self.of("<pre><code>", '<pre class="lang-py prettyprint-override"><code>')
            return f"{opening}{self.code()}</code></pre>"
        if kind == "table":
            rows = [[self.text() for _ in range(2)] for _ in self.many(2)]
            cells = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
            return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
        if kind == "hr":
            return "<hr>"
        return f"<{kind}>{self.inline()}</{kind}>"

    def paragraphs(self, depth: int) -> str:
        return f"<p>{self.text()} {self.inline()}</p>\n\n{self.blocks(depth)}"

    def blocks(self, depth: int = 0) -> str:
        return "\n\n".join(self.block(depth) for _ in self.many(3))


@st.composite
def pages(draw: st.DrawFn, plain: bool = False) -> tuple[str, Page]:
    page = Page(draw, plain)
    return page.blocks(), page


@settings(deadline=None, max_examples=300)
@given(pages())
def test_every_word_and_link_is_there_once_and_in_order(made: tuple[str, Page]) -> None:
    source, page = made
    text = markdown(source)
    assert re.findall(r"q(\d+)z", text) == page.words
    assert re.findall(r"http://example\.org/\d+_x(?:\.png)?", text) == page.links


@settings(deadline=None, max_examples=300)
@given(pages(plain=True))
def test_code_is_what_it_was(made: tuple[str, Page]) -> None:
    source, page = made
    codes = [token.content for token in RENDERER.parse(markdown(source)) if token.type == "fence"]
    assert [code.strip("\n") for code in codes] == [code.strip("\n") for code in page.codes]


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ('<pre class="lang-py prettyprint-override"><code>a\n  b\n</code></pre>', "```py\na\n  b\n```"),
        ('<pre><code class="language-c++">x</code></pre>', "```c++\nx\n```"),
        ("<pre>two\n\n ``` \n</pre>", "````\ntwo\n\n ``` \n````"),
        ("<p>Use <code>a`b</code> and vector&lt;int&gt;.</p>", "Use ``a`b`` and vector<int>."),
        ("<ol start='3'><li>a<ul><li>b</li></ul></li><li>c</li></ol>", "3. a\n   - b\n4. c"),
        ("<p># no heading</p><p>1. no list</p>", "\\# no heading\n\n1\\. no list"),
        ("<p>H<sub>2</sub>O x<sup>2</sup> <kbd>Ctrl</kbd></p>", "H<sub>2</sub>O x<sup>2</sup> `Ctrl`"),
        ("<kbd><img src='k.png' alt='key'></kbd>", "![key](k.png)"),
        ("<p>$a_b * c_d$ snake_case 2*3*4</p>", "$a_b * c_d$ snake_case 2*3*4"),
        ("<p>a<br>b</p>", "a  \nb"),
        ("<p><del>old</del> <s>older</s></p>", "~~old~~ ~~older~~"),
        ("<p>a</p>\n<blockquote><p>b</p></blockquote>\n<blockquote><p>c</p></blockquote>", "a\n\n> b\n\n> c"),
        (
            '<blockquote class="spoiler"><p>The <b>cook</b></p><p>did it</p></blockquote>',
            ">! The **cook**\n>\n> did it",
        ),
        ("<p>x</p><script>alert(1)</script>", "x"),
        ("", ""),
    ],
)
def test_an_element_has_its_sign(source: str, wanted: str) -> None:
    assert markdown(source) == wanted


def test_a_table_keeps_its_cells() -> None:
    made = markdown("<table><tr><th>a|b</th><th>c</th></tr><tr><td>1</td><td><code>x|y</code></td></tr></table>")
    cells = re.findall(r"<t[hd]>(.*?)</t[hd]>", RENDERER.render(made))
    assert cells == ["a|b", "c", "1", "<code>x|y</code>"]


def test_text_too_deep_to_be_kept_is_refused() -> None:
    assert markdown("<blockquote>" * 50 + "deep" + "</blockquote>" * 50).endswith("> deep")
    with pytest.raises(ValueError, match="nested too deep"):
        markdown("<ul><li>" * 600 + "deep")
