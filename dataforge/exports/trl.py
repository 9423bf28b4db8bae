"""TRL's conversational form: `messages`, `tools` and `chat_template_kwargs`, as its SFTTrainer takes them.

    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}

Arguments of calls are objects, as chat templates expect them. With `assistant_only_loss` all answers are trained,
without it every token.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from dataforge.records import Chat, Message, Preference, Prompt
from dataforge.shapes import EVERYTHING, UNWEIGHED, Feature, as_openai, beside

SUFFIX = ".jsonl"
HOLDS = EVERYTHING - {"weights", "input", "earlier_input", "family", "facts", "attribution", "margin"}
_SAID: Feature = [UNWEIGHED]
_BESIDE: Mapping[str, Feature] = {"tools": "json", "chat_template_kwargs": "json"}
FEATURES: Mapping[str, Feature] = {"messages": _SAID, **_BESIDE}
PAIRS: Mapping[str, Feature] = {"prompt": _SAID, "chosen": _SAID, "rejected": _SAID, **_BESIDE}
PROMPTS: Mapping[str, Feature] = {"prompt": _SAID, **_BESIDE}
_NO_KWARGS: Mapping[str, Any] = {"chat_template_kwargs": {}}
"""An empty mapping rather than none: where a column is there, TRL unpacks what stands in it."""


def columns(chat: Chat) -> dict[str, Any] | str:
    """One conversation in this shape, which holds every one."""
    return {"messages": _said(chat.messages), **_NO_KWARGS, **beside(chat)}


def pair(preference: Preference) -> dict[str, Any] | str:
    """TRL's preferences in conversational form, as its DPOTrainer and RewardTrainer take them.

    {"prompt": [{"role": "user", …}], "chosen": [{"role": "assistant", …}], "rejected": [{"role": "assistant", …}]}

    Arguments of calls are objects, as chat templates expect them. A margin is left out, since RewardTrainer would add
    it to its loss whatever its measure.
    """
    return {
        "prompt": _said(preference.prompt),
        "chosen": _said(preference.chosen),
        "rejected": _said(preference.rejected),
        **_NO_KWARGS,
        **beside(preference),
    }


def prompt(prompt: Prompt) -> dict[str, Any] | str:
    """TRL's prompts in conversational form, as its GRPOTrainer takes them.

    {"prompt": [{"role": "user", "content": "Hi"}]}
    """
    return {"prompt": _said(prompt.messages), **_NO_KWARGS, **beside(prompt)}


def _said(messages: Iterable[Message]) -> list[dict[str, Any]]:
    return [as_openai(each, arguments_as_text=False) for each in messages]
