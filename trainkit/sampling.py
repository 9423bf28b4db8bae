"""Answers of a chat model: one that streams, or many at once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dataforge.errors import InputError

Messages = Sequence[Mapping[str, str]]

BATCH = 16
"""Conversations that are answered together."""
HALF = "\ufffd"
"""What decoding puts where a character's bytes are not all there yet."""


@dataclass(frozen=True)
class _Stops:
    """What ends an answer: single tokens, and texts of several, whose last token may stand elsewhere too."""

    ids: frozenset[int]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, tokenizer: Any, stop_tokens: Mapping[str, int]) -> "_Stops":
        """Tell them apart, given each text with the id of its last token; ordinary text has no added token in it."""
        added = tokenizer.added_tokens_decoder
        ids = {number for text, number in stop_tokens.items() if number in added or tokenizer.decode([number]) == text}
        return cls(frozenset(ids), tuple(text for text, number in stop_tokens.items() if number not in ids))


class _Answer:
    """An answer as far as it is written."""

    def __init__(self, tokenizer: Any, stops: _Stops) -> None:
        self._tokenizer = tokenizer
        self._stops = stops
        self._ids: list[int] = []
        self.text = ""
        """Without the stop."""
        self.ended = False

    def add(self, token: int) -> None:
        """Write one more token, unless it has ended."""
        self.ended = self.ended or token in self._stops.ids
        if self.ended:
            return
        self._ids.append(token)
        text = self._tokenizer.decode(self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        # A stop is sought everywhere, as its last token may bring more than its end.
        ends = [text.index(stop) for stop in self._stops.texts if stop in text]
        self.ended = bool(ends)
        self.text = text[: min(ends, default=None)]

    @property
    def certain(self) -> str:
        """What will stay: no half character, and nothing that may yet become a stop."""
        if self.ended:
            return self.text
        whole = self.text.rstrip(HALF)
        begun = [size for stop in self._stops.texts for size in range(len(stop)) if whole.endswith(stop[:size])]
        return whole[: len(whole) - max(begun, default=0)]


def prompt_ids(tokenizer: Any, messages: Messages, template_kwargs: Mapping[str, Any] | None = None) -> list[int]:
    """What the model is given: the tokenizer's own template up to where the answer begins, with nothing added.

    Raises `InputError` where a message holds the text of a control token, which would be read as one.
    """
    control = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    for message in messages:
        for token in control:
            if token in message["content"]:
                raise InputError(f"the text {token} is a control token of this model; write it another way")
    text = tokenizer.apply_chat_template(
        [dict(m) for m in messages], tokenize=False, add_generation_prompt=True, **(template_kwargs or {})
    )
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def answer(
    model: Any,
    tokenizer: Any,
    messages: Messages,
    stop_tokens: Mapping[str, int],
    max_new_tokens: int,
    temperature: float = 0.0,
    template_kwargs: Mapping[str, Any] | None = None,
) -> Iterator[str]:
    """The answer to a conversation, in pieces of whole characters, as they come.

    `stop_tokens` are the texts on which it ends, with the id of their last token; none is part of it. Greedy at
    temperature 0, otherwise drawn with torch's generator. Raises `InputError` where the conversation does not fit into
    the model.
    """
    said = _Answer(tokenizer, _Stops.of(tokenizer, stop_tokens))
    shown = ""
    prompt = prompt_ids(tokenizer, messages, template_kwargs)
    for _ in _write(model, [said], [prompt], max_new_tokens, temperature):
        whole = said.certain
        if len(whole) > len(shown) and whole.startswith(shown):
            yield whole[len(shown) :]
            shown = whole
    rest = said.text if said.ended else said.text.rstrip(HALF)
    if rest.startswith(shown) and rest != shown:
        yield rest[len(shown) :]


def answers(
    model: Any,
    tokenizer: Any,
    conversations: Sequence[Messages],
    stop_tokens: Mapping[str, int],
    max_new_tokens: int,
    template_kwargs: Mapping[str, Any] | None = None,
) -> list[str]:
    """The greedy answer to each conversation, in order."""
    stops = _Stops.of(tokenizer, stop_tokens)
    prompts = [prompt_ids(tokenizer, messages, template_kwargs) for messages in conversations]
    said = [_Answer(tokenizer, stops) for _ in prompts]
    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(prompts), BATCH):
        chosen = by_length[start : start + BATCH]
        together = [said[index] for index in chosen], [prompts[index] for index in chosen]
        for _ in _write(model, *together, max_new_tokens, 0.0):
            pass
    return [one.text.rstrip(HALF) for one in said]


def _write(
    model: Any, said: Sequence[_Answer], prompts: Sequence[list[int]], max_new_tokens: int, temperature: float
) -> Iterator[None]:
    """Add to the answer to each prompt, a token at each step. Prompts are padded on the left."""
    room = _room(model, max(len(prompt) for prompt in prompts))
    ids_BT, mask_BT = _padded(prompts, model.device)
    cache: Any = None
    for _ in range(min(max_new_tokens, room)):
        next_B, cache = _forward(model, ids_BT, mask_BT, cache, temperature)
        for one, token in zip(said, next_B.tolist(), strict=True):
            one.add(token)
        yield
        if all(one.ended for one in said):
            return
        ids_BT = next_B[:, None]
        mask_BT = torch.nn.functional.pad(mask_BT, (0, 1), value=1)


def _room(model: Any, prompt: int) -> int:
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit is not None and prompt >= limit:
        raise InputError(f"the conversation has {prompt} tokens and the model was made for {limit}; start a new one")
    return limit - prompt if limit is not None else 2**31


def _padded(prompts: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(prompt) for prompt in prompts)
    ids = [[0] * (longest - len(prompt)) + prompt for prompt in prompts]
    masks = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(masks, device=device)


@torch.inference_mode()
def _forward(
    model: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor, cache: Any, temperature: float
) -> tuple[torch.Tensor, Any]:
    positions_BT = (mask_BT.cumsum(dim=1) - 1).clamp(min=0)[:, -ids_BT.shape[1] :]
    output = model(
        input_ids=ids_BT,
        attention_mask=mask_BT,
        position_ids=positions_BT,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits_BV = output.logits[:, -1].float()
    if temperature == 0:
        return logits_BV.argmax(dim=-1), output.past_key_values
    drawn_B1 = torch.multinomial((logits_BV / temperature).softmax(dim=-1), 1)
    return drawn_B1[:, 0], output.past_key_values
