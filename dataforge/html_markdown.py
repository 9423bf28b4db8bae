"""HTML as people write it in forums becomes Markdown, with nothing of it lost: links, code, lists, quotes, tables.

    <p>Use <code>a &lt; b</code>, see <a href="https://example.org/b">B</a>.</p>
    Use `a < b`, see [B](https://example.org/b).

A block of code keeps its text byte for byte, but for the newline that it may begin with and those at its end, between
fences that are longer than any in it, with the language that its class names (`lang-py`, `language-py`). Keys (`<kbd>`)
are written as code, `<sub>` and `<sup>` stay tags, as Markdown has no signs for them, and a spoiler
(`<blockquote class="spoiler">`) begins with `>!`. What is typed as `<T>` or `a_b` is written like that: only signs that
would make a paragraph something else are escaped.
"""

import re

from html_to_markdown import ConversionOptions, PreprocessingOptions, convert

_OPTIONS = ConversionOptions(
    extract_metadata=False,
    sub_symbol="<sub>",
    sup_symbol="<sup>",
    keep_inline_images_in=["h1", "h2", "h3", "h4", "h5", "h6"],
    preprocessing=PreprocessingOptions(enabled=False),  # it takes menus and forms out, with their text
)
_TOO_DEEP = "depth_limit_exceeded"
_KEY = r"(?:(?!</?kbd\b).)*"
_KEY_WITH_IMAGE = re.compile(rf"<kbd>({_KEY}<img\b{_KEY})</kbd>", re.DOTALL)
_SPOILER = re.compile(r"""(<blockquote\b[^>]*\bclass=["'][^"'>]*\bspoiler\b[^>]*>\s*(?:<p>\s*)?)""")
_QUOTE = re.compile(r"(</(?:p|blockquote|pre|div|table|h[1-6])>)\s*(?=<blockquote\b)")
_HIDDEN = "\ufdd0"
"""Marks where a spoiler begins; no character, so no text has it."""


def markdown(html: str) -> str:
    """A piece of HTML as Markdown, without blank lines around it.

    Raises `ValueError` where its elements are nested so deep that some of its text would be lost.
    """
    if "<kbd" in html:  # code cannot hold an image
        html = _KEY_WITH_IMAGE.sub(r"\1", html)
    if "<blockquote" in html:  # with no blank line before it, it would go on a quotation that ends there
        html = _QUOTE.sub(r"\1<br>", html)
    spoilers = "spoiler" in html
    made = convert(_SPOILER.sub(rf"\1{_HIDDEN}", html) if spoilers else html, _OPTIONS)
    if any(str(warning.kind) == _TOO_DEEP for warning in made.warnings):
        raise ValueError("its elements are nested too deep")
    text = made.content or ""
    return (text.replace(f"> {_HIDDEN}", ">! ").replace(_HIDDEN, "") if spoilers else text).strip("\n")
