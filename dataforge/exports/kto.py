"""Labelled answers, as TRL's KTOTrainer takes them: each pair as two lines, a good answer and a bad one.

    {"prompt": [{"role": "user", …}], "completion": [{"role": "assistant", …}], "label": true}

Both lines of a pair stand one after another. An answer that is better in one pair and worse in another is called both,
good and bad: make pairs with `take: best_vs_worst` where that is not wanted. Arguments of calls are objects, as chat
templates expect them.
"""

from collections.abc import Mapping
from typing import Any

from dataforge.records import Preference
from dataforge.shapes import EVERYTHING, UNWEIGHED, Feature, as_openai, beside

SUFFIX = ".jsonl"
HOLDS = EVERYTHING - {"weights", "input", "earlier_input", "family", "facts", "attribution", "margin"}
_SAID: Feature = [UNWEIGHED]
PAIRS: Mapping[str, Feature] = {
    "prompt": _SAID,
    "completion": _SAID,
    "label": "bool",
    "tools": "json",
    "chat_template_kwargs": "json",
}


def pair(preference: Preference) -> list[dict[str, Any]] | str:
    """Labelled answers, as TRL's KTOTrainer takes them: each pair as two lines, a good answer and a bad one.

    {"prompt": [{"role": "user", …}], "completion": [{"role": "assistant", …}], "label": true}

    Both lines of a pair stand one after another. An answer that is better in one pair and worse in another is called
    both, good and bad.
    """
    prompt = [as_openai(message, arguments_as_text=False) for message in preference.prompt]
    return [
        {
            "prompt": prompt,
            "completion": [as_openai(message, arguments_as_text=False) for message in side],
            "label": good,
            # An empty mapping rather than none: where a column is there, TRL unpacks what stands in it.
            "chat_template_kwargs": {},
            **beside(preference),
        }
        for side, good in ((preference.chosen, True), (preference.rejected, False))
    ]
