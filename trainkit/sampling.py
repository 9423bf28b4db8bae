"""Answers of a chat model: one that streams, or many at once."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from dataforge.errors import InputError

Messages = Sequence[Mapping[str, str]]

BATCH = 16
"""Conversations that are answered together."""
HALF = "\ufffd"
"""What decoding puts where a character's bytes are not all there yet."""


def prompt_ids(tokenizer: Any, messages: Messages) -> list[int]:
    """What the model is given: the tokenizer's own template up to where the answer begins, with nothing added.

    Raises `InputError` where a message holds the text of a control token, which would be read as one.
    """
    control = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    for message in messages:
        for token in control:
            if token in message["content"]:
                raise InputError(f"the text {token} is a control token of this model; write it another way")
    text = tokenizer.apply_chat_template([dict(m) for m in messages], tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def answer(
    model: Any,
    tokenizer: Any,
    messages: Messages,
    stop_ids: Sequence[int],
    max_new_tokens: int,
    temperature: float = 0.0,
) -> Iterator[str]:
    """The answer to a conversation, in pieces of whole characters, as they come.

    Greedy at temperature 0, otherwise drawn with torch's generator. Raises `InputError` where the conversation does
    not fit into the model.
    """
    ids: list[int] = []
    shown = ""
    stopped = False
    for (token,) in _tokens(model, [prompt_ids(tokenizer, messages)], stop_ids, max_new_tokens, temperature):
        if token is None:
            stopped = True
            break
        ids.append(token)
        whole = _text(tokenizer, ids).rstrip(HALF)
        if len(whole) > len(shown) and whole.startswith(shown):
            yield whole[len(shown) :]
            shown = whole
    rest = _text(tokenizer, ids) if stopped else _text(tokenizer, ids).rstrip(HALF)
    if rest.startswith(shown) and rest != shown:
        yield rest[len(shown) :]


def answers(
    model: Any, tokenizer: Any, conversations: Sequence[Messages], stop_ids: Sequence[int], max_new_tokens: int
) -> list[str]:
    """The greedy answer to each conversation, in order."""
    prompts = [prompt_ids(tokenizer, messages) for messages in conversations]
    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    texts = [""] * len(prompts)
    for start in range(0, len(prompts), BATCH):
        chosen = by_length[start : start + BATCH]
        written: list[list[int]] = [[] for _ in chosen]
        for tokens in _tokens(model, [prompts[index] for index in chosen], stop_ids, max_new_tokens, 0.0):
            for ids, token in zip(written, tokens, strict=True):
                if token is not None:
                    ids.append(token)
        for index, ids in zip(chosen, written, strict=True):
            texts[index] = _text(tokenizer, ids).rstrip(HALF)
    return texts


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def _tokens(
    model: Any, prompts: Sequence[list[int]], stop_ids: Sequence[int], max_new_tokens: int, temperature: float
) -> Iterator[list[int | None]]:
    """Step by step the next token of each prompt; None from where it has stopped. Prompts are padded on the left."""
    room = _room(model, max(len(prompt) for prompt in prompts))
    ids_BT, mask_BT = _padded(prompts, model.device)
    finished = [False] * len(prompts)
    cache: Any = None
    for _ in range(min(max_new_tokens, room)):
        next_B, cache = _forward(model, ids_BT, mask_BT, cache, temperature)
        tokens = next_B.tolist()
        finished = [done or token in stop_ids for done, token in zip(finished, tokens, strict=True)]
        yield [None if done else token for done, token in zip(finished, tokens, strict=True)]
        if all(finished):
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
