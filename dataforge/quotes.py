"""Whether a quotation stands in a text, whatever marks and blanks a model writes it with."""

from dataforge.text import normalised

_MARKS = str.maketrans(
    {
        **dict.fromkeys('“”„‟«»「」『』《》〈〉"‘’‚‛`´′″', "'"),
        **dict.fromkeys("—–−‐‑‒―─", "-"),
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
