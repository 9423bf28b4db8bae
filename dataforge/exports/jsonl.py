"""Everything: OpenAI's chat format with each record's id, place, facts and number of copies.

    {"id": "5f1c…", "messages": […], "copies": 1, "facts": {…}, "source": "faq", "file": "faq.jsonl", "line": 1, …}

`inputs` has of each message the input that its content ends with, where there is one; `family` the tree, post or
document that must stay on one side of a split.
"""

from collections.abc import Mapping
from typing import Any

from dataforge.records import Chat, Preference, Prompt
from dataforge.shapes import EVERYTHING, MESSAGE, UNWEIGHED_TEXT, Feature, as_openai, of_record, weighed

SUFFIX = ".jsonl"
HOLDS = EVERYTHING | {"copies"}
_BESIDE: Mapping[str, Feature] = {
    "tools": "json",
    "chat_template_kwargs": "json",
    "inputs": ["string"],
    "copies": "int32",
    "family": "string",
    "facts": "json",
    "source": "string",
    "file": "string",
    "ordinal": "int64",
    "line": "int64",
    "item": "int32",
}
FEATURES: Mapping[str, Feature] = {"id": "string", "messages": [MESSAGE], **_BESIDE}
PAIRS: Mapping[str, Feature] = {
    "id": "string",
    "prompt": [UNWEIGHED_TEXT],
    "chosen": [UNWEIGHED_TEXT],
    "rejected": [UNWEIGHED_TEXT],
    "margin": "float64",
    **{key: kind for key, kind in _BESIDE.items() if key != "chat_template_kwargs"},
}
PROMPTS: Mapping[str, Feature] = {"id": "string", "prompt": [UNWEIGHED_TEXT], **_BESIDE}


def columns(chat: Chat) -> dict[str, Any] | str:
    """One conversation in this shape, which holds every one."""
    inputs = [message.input for message in chat.messages]
    return {"id": chat.id, "messages": [weighed(message) for message in chat.messages], **of_record(chat, inputs)}


def pair(preference: Preference) -> dict[str, Any] | str:
    """Everything: prompt and both answers in messages, with each record's id, margin, place, facts and copies.

    {"id": "5f1c…", "prompt": […], "chosen": […], "rejected": […], "margin": 1.5, "facts": {…}, "source": "faq", …}

    `facts` says what is known of how the answers were judged, such as `score_chosen` and `score_rejected`; `inputs` has
    of each message of the prompt the input that its content ends with, where there is one.
    """
    return {
        "id": preference.id,
        "prompt": [as_openai(message) for message in preference.prompt],
        "chosen": [as_openai(message) for message in preference.chosen],
        "rejected": [as_openai(message) for message in preference.rejected],
        **({} if preference.margin is None else {"margin": preference.margin}),
        **of_record(preference, [message.input for message in preference.prompt]),
    }


def prompt(prompt: Prompt) -> dict[str, Any] | str:
    """Everything: prompts in messages, with each record's id, place, facts and number of copies.

    {"id": "5f1c…", "prompt": […], "copies": 1, "facts": {…}, "source": "faq", "file": "faq.jsonl", "line": 1, …}
    """
    said = [as_openai(message) for message in prompt.messages]
    return {"id": prompt.id, "prompt": said, **of_record(prompt, [message.input for message in prompt.messages])}
