"""Whether a quotation stands in a text, whatever marks and blanks a model writes it with."""

from dataforge.text import normalised

_MARKS = str.maketrans(
    {
        **dict.fromkeys('\u201c\u201d\u201e\u201f«»「」『』《》〈〉"\u2018\u2019\u201a\u201b`\u00b4\u2032\u2033', "'"),
        **dict.fromkeys("\u2014\u2013\u2212\u2010\u2011\u2012\u2015\u2500", "-"),
        "。": ".",
        "、": ",",
        "·": None,
        "\u200b": None,
        "\ufeff": None,
    }
)
_ENDS = "'.,;:!?-"


def stands_in(quotation: str, text: str) -> bool:
    """Whether a text holds a quotation word for word.

    Case, blanks, the kind of quotation marks and dashes, full-width forms, and marks at its ends do not matter. One
    without letters or digits stands nowhere.
    """
    wanted = _plain(quotation).strip(_ENDS)
    return bool(wanted) and wanted in _plain(text)


def _plain(text: str) -> str:
    return "".join(normalised(text).translate(_MARKS).split())
