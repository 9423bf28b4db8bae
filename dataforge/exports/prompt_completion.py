"""TRL's `prompt` and `completion`, for conversations of which only the last answer is trained.

    {"prompt": [{"role": "user", "content": "Hi"}], "completion": [{"role": "assistant", "content": "Hello!"}]}

TRL's SFTTrainer trains the completion alone unless it is told otherwise. Arguments of calls are objects, as chat
templates expect them.
"""

from typing import Any

from dataforge.records import Chat
from dataforge.shapes import EVERYTHING, UNWEIGHED, Feature, as_openai, beside

SUFFIX = ".jsonl"
HOLDS = EVERYTHING - {"input", "earlier_input", "family", "facts", "attribution", "margin"}
_SAID: Feature = [UNWEIGHED]
FEATURES: dict[str, Feature] = {
    "prompt": _SAID,
    "completion": _SAID,
    "tools": "json",
    "chat_template_kwargs": "json",
}


def columns(chat: Chat) -> dict[str, Any] | str:
    """One conversation in this shape, or why it does not fit."""
    trained = [number for number, said in enumerate(chat.messages, start=1) if said.weight == 1]
    if trained != [len(chat.messages)]:
        listed = ", ".join(map(str, trained)) or "none"
        return f"the trained messages are {listed} of {len(chat.messages)}, and this shape trains the last one alone"
    said = [as_openai(each, arguments_as_text=False) for each in chat.messages]
    # An empty mapping rather than none: where a column is there, TRL unpacks what stands in it.
    return {"prompt": said[:-1], "completion": said[-1:], "chat_template_kwargs": {}, **beside(chat)}
