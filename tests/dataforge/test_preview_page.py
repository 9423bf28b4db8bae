import base64
import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataforge import config, preview
from dataforge.preview import Preview, Shown, ShownMessage, ShownReject, ShownRow, Token
from dataforge.preview_page import BARS, page
from dataforge.shards import Stage, Turns

Write = Callable[..., Path]
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style></title></svg></span><style>@import url(//x)</style>",
    "--><!-- ]]>",
    "&amp; &lt;b&gt; &#x202e; &",
    "{{ 7*7 }}{% raw %}{# #}",
    "a\u202eb\u2066c\u200fd\u061c",
    "\0\x07\x1b[31m\x7f\x85\u2028\ufeff\ue000\U000e0041\ud800",
    "\r\n \t\n",
    "pass\u200dword \u200d\u200d 语\u200d\u200d文",
]
NO_TURNS = Turns(certified=0, forked=0, refused=0, fork_tokens=0)
texts = st.lists(st.text(st.characters()) | st.sampled_from(HOSTILE), max_size=4).map("".join)


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    inside: "list[Element | str]" = field(default_factory=list)

    @property
    def classes(self) -> str | None:
        return self.attributes.get("class")

    def all(self, tag: str, classes: str | None = None) -> "list[Element]":
        return [found for found in self.elements() if found.tag == tag and classes in (None, found.classes)]

    def one(self, tag: str, classes: str | None = None) -> "Element":
        (found,) = self.all(tag, classes)
        return found

    def elements(self) -> "Iterator[Element]":
        for part in self.inside:
            if isinstance(part, Element):
                yield part
                yield from part.elements()

    @property
    def words(self) -> str:
        """What it says: without the signs, and with the characters that were written out."""
        if self.tag == "b":
            return ""
        if self.tag == "i":
            written_out = self.classes == "code"
            return str(self.inside[0]).encode().decode("unicode_escape") if written_out else ""
        return "".join(part if isinstance(part, str) else part.words for part in self.inside)


class Reader(HTMLParser):
    """A page as a tree, if its tags are well nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open = [Element("page")]
        self.feed(text)
        self.close()
        assert [element.tag for element in self.open] == ["page"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        assert len(element.attributes) == len(attrs)
        self.open[-1].inside.append(element)
        if tag not in ("meta", "br"):
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    unknown_decl = handle_pi = handle_comment


def read(text: str) -> Element:
    return Reader(text).open[0]


def row(*tokens: tuple[str, bool, bool], id: str = "r#1") -> ShownRow:
    return ShownRow(id, tuple(Token(1000 + number, *token) for number, token in enumerate(tokens)))


def example_preview(text: str = "x", lengths: Sequence[int] = (3, 5, 5, 9)) -> Preview:
    """A preview that says the same wherever data can stand."""
    rows = (
        row(("<s>", False, False), (text, False, False), ("", True, False), (text, True, False), ("</s>", True, True)),
        row((text, False, False), (text, True, True), id=text),
    )
    message = ShownMessage(text, text, True)
    return Preview(
        title=text,
        shown=(Shown(text, text, (message, message), rows), Shown("2", "p", (), rows[:1])),
        rejects=(ShownReject(text, text, text, text),),
        note=text,
        stop_tokens=(text, "</s>"),
        funnel=(
            Stage(stage=text, read=1009, passed=1002, rejected={text: 4, "other/reason": 3}),
            Stage(stage="weigh", read=1002, passed=1002, rejected={}, added=8),
        ),
        turns=Turns(certified=1234, forked=56, refused=78, fork_tokens=90),
        lengths=tuple(lengths),
    )


def token_rows(tree: Element) -> list[list[Element]]:
    return [found.one("div", "tokens").all("span") for found in tree.all("section", "row")]


def skeleton(tree: Element) -> list[tuple[str, dict[str, str | None]]]:
    """All elements with their attributes but the signs, which texts may ask for."""
    return [(element.tag, element.attributes) for element in tree.elements() if element.tag != "i"]


PLAIN = skeleton(read(page(example_preview())))


def cells(table: Element) -> list[list[str]]:
    return [[cell.words for cell in line.elements() if cell.tag in ("th", "td")] for line in table.all("tr")]


def test_the_tokens_of_a_recipe_stand_with_ids_and_marks(write_recipe: Write) -> None:
    records = [
        {
            "instruction": "再见 <script>alert(1)</script>\n\t{{ 7*7 }} e\u0301",
            "output": "再见！👨‍👩‍👧  &amp;\nאב",
            "history": [["你好", "你好！"]],
        },
        {"instruction": "Who?", "output": "Pebble."},
    ]
    shown = preview.of_recipe(config.load(write_recipe(records, max_tokens=400)), 2)
    rows = [row for item in shown.shown for row in item.rows]
    spans = token_rows(read(page(shown)))
    assert len(rows) == len(spans) == 2
    assert any(not token.text for token in rows[0].tokens)
    for known, found in zip(rows, spans, strict=True):
        assert "".join(span.words for span in found) == known.text
        assert [span.words for span in found] == [token.text for token in known.tokens]
        assert [span.classes == "t" for span in found] == [token.trained for token in known.tokens]
        assert [bool(span.all("b")) for span in found] == [token.stop for token in known.tokens]
        assert [span.attributes["title"] for span in found] == [
            f"id {token.id}, position {number}" for number, token in enumerate(known.tokens)
        ]


def test_signs_stand_for_what_cannot_be_seen() -> None:
    tokens = row(
        ("a\n", False, False), ("\t", True, False), ("", True, False), ("\x1b", True, False), ("z", True, True)
    )
    shown = Preview("t", (Shown("1", "p", (), (tokens,)),), (), "", (), (), NO_TURNS, ())
    (spans,) = token_rows(read(page(shown)))
    assert [[part if isinstance(part, str) else part.inside for part in span.inside] for span in spans] == [
        ["a", ["⏎"], "\n"],
        [["⇥"], "\t"],
        [["▫"]],
        [["\\x1b"]],
        ["z", ["■"]],
    ]


@pytest.mark.parametrize("text", ["👨‍👩‍👧 ❤️‍🔥", "می‌خواهم", "क्‍ष", "e\u0301 你好　全角", "\U00020000"])
def test_what_scripts_and_emoji_are_spelled_with_stays_as_it_is(text: str) -> None:
    tree = read(page(example_preview(text)))
    assert token_rows(tree)[0][1].inside == [text]
    assert tree.one("h1").one("bdi").inside == [text]


@settings(deadline=None)
@given(texts)
@example("".join(HOSTILE))
def test_texts_are_read_back_and_steer_neither_the_page_nor_the_eye(text: str) -> None:
    written = page(example_preview(text))
    tree = read(written)
    assert skeleton(tree) == PLAIN
    assert [span.words for span in token_rows(tree)[0]] == ["<s>", text, "", text, "</s>"]
    assert [span.words for span in token_rows(tree)[1]] == [text, text]
    header = tree.one("header")
    assert (header.one("h1").words, header.one("p").words, header.all("code")[0].words) == (text, text, text)
    assert tree.all("article")[0].one("h3").words == text
    assert tree.all("article")[0].all("code")[0].words == text
    funnel, messages, rejects = (tree.all("table")[number] for number in (0, 2, -1))
    assert cells(funnel)[1:] == [
        [text, "1,009", "1,002", f"{text} 4other/reason 3", "0"],
        ["weigh", "1,002", "1,002", "", "8"],
    ]
    assert cells(messages)[1:] == [[text, "trained", text]] * 2
    assert cells(rejects)[1:] == [[text] * 4]

    written.encode()
    joined = re.sub("(?<=[^\0-\x7f])[\u200c\u200d](?=[^\0-\x7f])", "", written)
    assert {char for char in joined if not char.isprintable()} <= {"\n", "\t", "\u3000"}


@pytest.mark.parametrize("text", ["pass\u200dword", "语\u200d\u200d文", "\u200c", "语\u200d"])
def test_a_joiner_that_joins_nothing_is_written_out(text: str) -> None:
    assert not set(page(example_preview(text))) & {"\u200c", "\u200d"}


def test_a_title_is_text() -> None:
    written = page(example_preview("</title><b>\u202e\x1b"))
    assert "<title>&lt;/title&gt;&lt;b&gt;\\u202e\\x1b: preview</title>" in written


def test_a_page_needs_nothing_else() -> None:
    written = page(example_preview())
    tree = read(written)
    kinds = {element.tag for element in tree.elements()}
    attributes = {name for element in tree.elements() for name in element.attributes}
    assert not kinds & {
        "a",
        "base",
        "embed",
        "form",
        "frame",
        "iframe",
        "image",
        "img",
        "link",
        "object",
        "script",
        "use",
    }
    assert not {name for name in attributes if name.startswith("on")}
    assert not attributes & {
        "action",
        "background",
        "data",
        "href",
        "ping",
        "poster",
        "src",
        "srcset",
        "style",
        "xlink:href",
    }
    without_digests = re.sub(r"sha256-[\w+/=]+", "", written)
    assert not re.search(r"http(?!-equiv)|//|url\(|@import|src=|href=", without_digests)


def test_the_policy_lets_in_the_stylesheet_and_nothing_more() -> None:
    tree = read(page(example_preview()))
    (policy,) = [meta.attributes["content"] for meta in tree.all("meta") if "http-equiv" in meta.attributes]
    style = base64.b64encode(hashlib.sha256(tree.one("style").words.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"


def test_a_page_is_a_document_that_can_be_read_aloud() -> None:
    written = page(example_preview())
    assert written.startswith("<!DOCTYPE html>\n")
    tree = read(written)
    assert tree.one("html").attributes["lang"] == "en"
    assert tree.all("meta")[0].attributes == {"charset": "utf-8"}
    assert any(meta.attributes.get("name") == "viewport" for meta in tree.all("meta"))
    levels = [int(element.tag[1]) for element in tree.elements() if re.fullmatch("h[1-6]", element.tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(head.attributes["scope"] in ("col", "row") for head in tree.all("th"))
    assert tree.one("svg").attributes["aria-label"]


def test_the_head_counts_the_turns_and_the_rows_their_tokens() -> None:
    tree = read(page(example_preview()))
    counts = [re.findall(r"\d[\d,]*\b", line.words) for line in tree.one("header").all("li")]
    assert counts[:3] == [["1,234"], ["56", "90"], ["78"]]
    assert [" ".join(found.words.split()) for found in tree.all("h4")[:2]] == [
        "Row 1 of 2: 5 tokens, 3 trained",
        "Row 2 of 2: 2 tokens, 1 trained",
    ]


@settings(deadline=None)
@given(st.lists(st.integers(1, 60) | st.integers(1, 200_000), min_size=1))
def test_the_bars_of_the_histogram_hold_every_row_once(lengths: list[int]) -> None:
    svg = read(page(example_preview(lengths=lengths))).one("svg")
    assert 1 <= len(svg.all("rect")) <= BARS
    held = 0
    for bar in svg.all("rect"):
        span, rows = bar.one("title").words.removeprefix("rows of ").replace(",", "").split(" tokens: ")
        first, last = int(span.split("\N{EN DASH}")[0]), int(span.split("\N{EN DASH}")[-1])
        assert int(rows) == sum(first <= length <= last for length in lengths)
        held += int(rows)
        x, y, width, height = (float(bar.attributes[name] or 0) for name in ("x", "y", "width", "height"))
        assert 56 <= x < x + width <= 632 and 2 <= height <= 160 and y + height == pytest.approx(190)
    assert held == len(lengths)


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        ([7], "Rows: 1. Tokens in a row: median 7, 95th percentile 7, longest 7."),
        (range(1, 101), "Rows: 100. Tokens in a row: median 51, 95th percentile 95, longest 100."),
        ([5000] + [10] * 20, "Rows: 21. Tokens in a row: median 10, 95th percentile 10, longest 5,000."),
    ],
)
def test_the_lengths_are_told_in_words(lengths: Sequence[int], words: str) -> None:
    tree = read(page(example_preview(lengths=lengths)))
    assert words in [" ".join(paragraph.words.split()) for paragraph in tree.all("p")]


def test_an_empty_preview_is_a_page() -> None:
    tree = read(page(Preview("t", (), (), "", (), (), NO_TURNS, ())))
    assert not tree.all("svg")
    assert not tree.all("article")
    said = [paragraph.words for paragraph in tree.all("p")]
    assert said == ["", "No rows are known.", "No records are shown.", "No records are rejected."]
