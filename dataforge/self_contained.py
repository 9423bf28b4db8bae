"""Words by which a question leans on something that its reader does not see: a passage, a figure, what was said."""

import re

_NOUN = (
    r"(?:passage|text|paragraphs?|excerpt|article|document|section|extract|snippet|material|context|author|writer|"
    r"narrator|report|story|figure|table|chapter)"
)
_ENGLISH = (
    rf"(?:the|this|that|these) (?:above|following|preceding|previous|given|provided|quoted) {_NOUN}",
    rf"(?:the|this|that) {_NOUN} (?:above|below|provided|given)",
    rf"(?:according to|based on|in|from|as (?:stated|described|mentioned|written|noted) in|per|by) "
    rf"(?:the|this|that|these) (?:\w+ )?{_NOUN}(?! (?:of|about)\b)",
    rf"(?:does|did|do) (?:the|this) {_NOUN} "
    r"(?:say|state|mention|describe|tell|suggest|claim|explain|mean|discuss|give)",
    rf"(?:the|this) {_NOUN} (?:says?|states?|mentions?|describes?|tells?|suggests?|claims?|explains?|discusses|notes)",
    r"(?:does|did|do|would) the (?:author|writer|narrator)(?! of\b)",
    r"(?:mentioned|described|stated|discussed|listed|given|shown|said) (?:above|below|earlier|previously)",
    r"(?:as|the) (?:above|aforementioned)(?:[- ]mentioned)?",
)
_CHINESE = (
    r"(?:上|下|前|本|原|该|此)文(?!化|明|学|字|献|件|物|言|艺|本)",
    r"(?:这|那|该|此|本|上述|以上|上面|下面|以下|前述|给定|所给|提供)的?(?:一|几)?(?:段|篇|则|个|份)?(?:的)?"
    r"(?:文字|文本|短文|文章|段落|材料|内容|资料|语段|片段|话|报道|原文|故事)",
    r"(?:根据|依据|按照|从|在|结合|阅读)(?:[^，。？?]{0,4})?(?:文中|文章|短文|文本|段落|材料|原文|资料|片段)",
    r"(?:文中|文章中|段落中|材料中|短文中|(?<!的)作者)(?:的|所|还|是|认为|提到|说|指出|描述|介绍)",
    r"(?:上述|上面|前面|以上|如上)(?:提到|所述|所说|所提|说|介绍|描述|的)",
)
_LEAD = (
    r"(?:(?:what|why|how|when|where|who|which)(?:'s)? )?(?:is|are|was|were|does|did|do|has|had|can|could|will|would) "
    r"(?:it|they|he|she|this|that|these|those)\b",
    r"(?:为什么|为何|怎么|如何|何时|请问)?(?:它|他|她|这|那(?!么|不勒斯)|该|其(?!他|它|实|余))",
)
_ANYWHERE = re.compile(rf"\b(?:{'|'.join(_ENGLISH)})\b|{'|'.join(_CHINESE)}", re.IGNORECASE)
_FIRST = re.compile("|".join(_LEAD), re.IGNORECASE)
_QUOTES = " \t\r\n\"'\u201c\u201d\u2018\u2019「」『』"


def leans_on_passage(text: str) -> str | None:
    """The words by which a text points at the passage that it was made from: `the passage above`, `上文`."""
    found = _ANYWHERE.search(" ".join(text.replace("\u2019", "'").split()))
    return found.group() if found else None


def leans_on_talk(question: str) -> str | None:
    """The words by which a question begins with something said before: `Why did it`, `它`."""
    found = _FIRST.match(" ".join(question.strip(_QUOTES).replace("\u2019", "'").split()))
    return found.group() if found else None
