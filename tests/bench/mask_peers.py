"""The masks of other tools: transformers' own, and TRL's, which gives it a training template for some chat templates.

`assistant_only_loss` of TRL asks `get_training_chat_template` for the tokenizer's template, which finds it by equality,
and then transformers for the mask; both are called here as its trainer calls them.
"""

import sys
from typing import Any


class TRL:
    """TRL's choice of a template for a tokenizer; `root` is the folder that holds its package."""

    def __init__(self, root: str, tokenizer: Any) -> None:
        if root not in sys.path:
            sys.path.append(root)
        from trl.chat_template_utils import get_training_chat_template

        self.template: str | None = None
        self.refusal = ""
        try:
            self.template = get_training_chat_template(tokenizer) or tokenizer.chat_template
        except Exception as error:
            self.refusal = f"{type(error).__name__}: {error}"


def masked(
    tokenizer: Any, template: str, messages: list[Any], tools: list[Any], kwargs: dict[str, Any]
) -> tuple[list[int], list[int]]:
    """A conversation as ids and transformers' mask of the assistant's tokens."""
    found = tokenizer.apply_chat_template(
        messages,
        chat_template=template,
        tools=tools or None,
        return_dict=True,
        return_assistant_tokens_mask=True,
        **kwargs,
    )
    return list(found["input_ids"]), list(found["assistant_masks"])
