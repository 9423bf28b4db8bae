"""The filters of Self-Instruct and Alpaca for tasks that a language model made up, for English and Chinese.

In the order in which they are tried, cheap ones first:

    too_short, too_long    fewer than 4 words, more than 150; two Chinese characters count as one word
    keyword                needs more than text: an image, a file, a map, music, going somewhere
    program                begins with "Write a program", 编写一个程序 and the like
    punctuation            begins with a sign; in Chinese a title or a quote may begin it
    foreign                begins with a letter that is neither Latin nor Chinese
    no_output              the answer is empty or says nothing
    echo                   the answer is the input, or the instruction
    unfinished             the input or the answer ends with a colon
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from dataforge import made_texts
from dataforge.text import normalised

WORDS = 4, 150
"""The fewest and the most words of an instruction."""

ENGLISH_KEYWORDS = (
    *("image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot"),
    *("go to", "video", "videos", "audio", "music", "flowchart", "diagram", "diagrams", "photo", "photos"),
)
CHINESE_KEYWORDS = (
    *(
        "图片",
        "图像",
        "图表",
        "图形",
        "照片",
        "相片",
        "截图",
        "插图",
        "示意图",
        "流程图",
        "思维导图",
        "曲线图",
        "柱状图",
    ),
    *(
        "地图",
        "文件",
        "附件",
        "视频",
        "音频",
        "录音",
        "音乐",
        "歌曲播放",
        "播放",
        "绘制",
        "画出",
        "画一",
        "画图",
        "作图",
    ),
    *("下载", "上传", "打开网页", "打开链接", "点击", "前往", "拍照", "拍摄"),
)
_PROGRAM = re.compile(
    r"(?:please )?(?:write|create|develop|implement) (?:a|an|some) (?:\w+ )?(?:program|script)\b"
    r"|(?:请)?(?:你)?(?:用\S{1,12}?)?(?:编写|写|开发|设计|实现)(?:出)?(?:一个|一段|一份|个|段)?"
    r"(?:简单的|小)?(?:[A-Za-z+#]{1,12}\s*)?(?:程序|脚本)",
    re.IGNORECASE,
)
_QUOTES = "《“「『\u2018"


@dataclass(frozen=True)
class Task:
    """An instruction, what it is about (empty if nothing), and its answer."""

    instruction: str
    input: str
    output: str


class Keywords:
    """Words for what a language model cannot do with text alone."""

    def __init__(self, words: Sequence[str]) -> None:
        spelt = [re.escape(word) for word in words]
        # Chinese has no blanks to tell where a word begins.
        bounded = [rf"\b{word}\b" if word[:1].isascii() else word for word in spelt]
        self._found = re.compile("|".join(bounded) or r"(?!)", re.IGNORECASE)

    def first(self, text: str) -> str | None:
        """The first of them in a text."""
        found = self._found.search(text)
        return found.group() if found else None


def fault(task: Task, keywords: Keywords) -> tuple[str, str] | None:
    """The filter that a task does not pass, and why in a sentence."""
    instruction, count = task.instruction, made_texts.words(task.instruction)
    begins = repr(instruction[:120])
    if count < WORDS[0]:
        return "too_short", f"has {count} words, fewer than {WORDS[0]}: {begins}"
    if count > WORDS[1]:
        return "too_long", f"has {count} words, more than {WORDS[1]}: {begins}"
    keyword = keywords.first(instruction)
    if keyword:
        return "keyword", f"asks for {keyword!r}, for which text is not enough: {begins}"
    if _PROGRAM.match(instruction):
        return "program", f"asks for a program, of which models make up too many: {begins}"
    return _start(instruction, begins) or _instance(task, begins)


def _start(instruction: str, begins: str) -> tuple[str, str] | None:
    first = instruction[0]
    if unicodedata.category(first)[0] not in "LN" and first not in _QUOTES:
        return "punctuation", f"begins with a sign: {begins}"
    name = unicodedata.name(first, "")
    if not first.isascii() and first not in _QUOTES and not name.startswith(("LATIN", "CJK", "FULLWIDTH")):
        return "foreign", f"begins with a letter that is neither Latin nor Chinese: {begins}"
    return None


def _instance(task: Task, begins: str) -> tuple[str, str] | None:
    output = normalised(task.output)
    if not output:
        return "no_output", f"has no answer: {begins}"
    if output in (normalised(task.input), normalised(task.instruction)):
        return "echo", f"the answer only repeats what was asked: {begins}"
    for name, text in (("input", task.input), ("answer", task.output)):
        if text.rstrip().endswith((":", "：")):
            return "unfinished", f"the {name} ends with a colon: {begins}"
    return None
