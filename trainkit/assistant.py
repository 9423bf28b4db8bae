"""A trained adapter on its base model, ready to be asked; the base model alone is one switch away."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainkit import adapters, sampling
from trainkit.model import base_fingerprint, load_base, load_tokenizer, local_folder, pick_device, pick_precision
from trainkit.sampling import Messages


@dataclass(frozen=True)
class Assistant:
    """A model that answers."""

    model: Any
    tokenizer: Any
    stop_tokens: dict[str, int]
    """The texts on which an answer ends, with the id of their last token."""
    template_kwargs: dict[str, Any]
    """What the chat template is given beside the messages, as when the build was rendered."""

    def stream(self, messages: Messages, max_new_tokens: int, *, tuned: bool = True) -> Iterator[str]:
        """The answer to a conversation in pieces of whole characters; without the adapter if not `tuned`."""
        with self._adapter(tuned):
            yield from sampling.answer(
                self.model,
                self.tokenizer,
                messages,
                self.stop_tokens,
                max_new_tokens,
                template_kwargs=self.template_kwargs,
            )

    def answers(self, conversations: Sequence[Messages], max_new_tokens: int, *, tuned: bool = True) -> list[str]:
        """The answer to each conversation; without the adapter if not `tuned`."""
        with self._adapter(tuned):
            return sampling.answers(
                self.model, self.tokenizer, conversations, self.stop_tokens, max_new_tokens, self.template_kwargs
            )

    def _adapter(self, on: bool) -> AbstractContextManager[Any]:
        if not on:
            off: AbstractContextManager[Any] = self.model.disable_adapter()
            return off
        adapters.merge_rows(self.model)
        return nullcontext()


def open_assistant(folder: Path, base: str) -> Assistant:
    """Load an adapter folder onto its base model, which is the folder or hub id `base`.

    Raises `AdapterError` where the adapter is missing, damaged or was trained on another base.
    """
    card = adapters.read_card(folder)
    base_folder = str(local_folder(base))
    adapters.check_base(folder, card, card.base, base_fingerprint(base_folder))
    device = pick_device()
    model, _ = load_base(base_folder, pick_precision("auto", device), device, added=card.new_tokens)
    return Assistant(
        model=adapters.load(model, folder),
        tokenizer=load_tokenizer(str(folder)),
        stop_tokens=card.stop_tokens,
        template_kwargs=card.template_kwargs,
    )
