"""OpenAI's chat format: `messages` with tool calls, a `weight` of 0 or 1 on every answer, and `tools`.

    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!", "weight": 1}]}

Arguments of calls are JSON text. Reasoning stands in `reasoning_content`, and what a chat template is given beside the
messages in `chat_template_kwargs`; OpenAI's own service knows neither.
"""

from collections.abc import Mapping
from typing import Any

from dataforge.records import Chat, Preference, Prompt
from dataforge.shapes import EVERYTHING, MESSAGE, UNWEIGHED_TEXT, Feature, as_openai, beside, weighed

SUFFIX = ".jsonl"
HOLDS = EVERYTHING - {"input", "earlier_input", "family", "facts", "attribution", "margin"}
FEATURES: Mapping[str, Feature] = {"messages": [MESSAGE], "tools": "json", "chat_template_kwargs": "json"}
PAIRS: Mapping[str, Feature] = {
    "input": {"messages": [UNWEIGHED_TEXT], "tools": "json"},
    "preferred_output": [UNWEIGHED_TEXT],
    "non_preferred_output": [UNWEIGHED_TEXT],
}
PROMPTS: Mapping[str, Feature] = {"messages": [UNWEIGHED_TEXT], "tools": "json", "chat_template_kwargs": "json"}


def columns(chat: Chat) -> dict[str, Any] | str:
    """One conversation in this shape, which holds every one."""
    return {"messages": [weighed(message) for message in chat.messages], **beside(chat)}


def pair(preference: Preference) -> dict[str, Any] | str:
    """OpenAI's preference format: `input` with messages and tools, `preferred_output` and `non_preferred_output`.

    {"input": {"messages": […]}, "preferred_output": […], "non_preferred_output": […]}

    Each output is a list of one message. Arguments of calls are JSON text. Reasoning stands in `reasoning_content`,
    which OpenAI's own service does not know.
    """
    return {
        "input": {"messages": [as_openai(message) for message in preference.prompt], **beside(preference)},
        "preferred_output": [as_openai(message) for message in preference.chosen],
        "non_preferred_output": [as_openai(message) for message in preference.rejected],
    }


def prompt(prompt: Prompt) -> dict[str, Any] | str:
    """OpenAI's chat format without an answer: `messages` that end with what is to be answered, and `tools`.

    {"messages": [{"role": "user", "content": "Hi"}]}
    """
    return {"messages": [as_openai(message) for message in prompt.messages], **beside(prompt)}
