"""Control tokens that a build added to the base model's tokenizer: their ids, and rows for them in the model."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from tokenizers import AddedToken

from dataforge.errors import BaseModelError
from trainkit.trained_rows import trained_rows


def add(model: Any, tokenizer: Any, new_tokens: Mapping[str, int], base: str) -> None:
    """Give the tokenizer the new tokens, and the model a row for each in its input embedding and its output head.

    Raises `BaseModelError` where the tokenizer counts otherwise than the build did, or the head has a bias.
    """
    if not new_tokens:
        return
    head = model.get_output_embeddings()
    if getattr(head, "bias", None) is not None:
        # PEFT's layer for trained rows would leave the bias out.
        raise BaseModelError(
            f"{base}: has a bias in its output head, beside which no rows for new tokens can be trained; build with "
            "`missing_tokens: as_text`"
        )
    vocabulary = tokenizer.get_vocab()
    unseen = [number for token, number in new_tokens.items() if token not in vocabulary]
    tokenizer.add_tokens(
        [AddedToken(token, special=True, normalized=False) for token in new_tokens], special_tokens=True
    )
    for token, number in new_tokens.items():
        found = tokenizer.convert_tokens_to_ids(token)
        if found != number:
            raise BaseModelError(
                f"{base}: its tokenizer gives the new token {token} the id {found}, but the build has {number}; build "
                "again, or build with `missing_tokens: as_text`"
            )
    _make_room(model, max(new_tokens.values()) + 1)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        _set_to_mean(layer.weight, unseen)


def _make_room(model: Any, count: int) -> None:
    if count > model.get_input_embeddings().weight.shape[0]:
        # transformers fills the rows with random numbers, which are overwritten and must not be missed elsewhere.
        with torch.random.fork_rng(devices=[]):
            model.resize_token_embeddings(count, mean_resizing=False)


@torch.no_grad()
def _set_to_mean(weight_VD: torch.Tensor, ids: list[int]) -> None:
    """Set rows, all of which follow the tokenizer's own, to the mean of those that the base model was trained with.

    The logit of such a row is the mean of all logits and never the largest, so that the base model without its adapter
    answers as before. Nothing is drawn: adapters and checkpoints do not hold these rows, and whoever loads them must
    find the same model. What a padded vocabulary has for these ids was never trained, so it is set as well.
    """
    if ids:
        weight_VD[ids] = weight_VD[: min(ids)].mean(dim=0, dtype=torch.float32).to(weight_VD.dtype)


@torch.no_grad()
def start_stops(adapted: Any, stop_ids: Collection[int], eos_id: int | None) -> None:
    """Let new tokens that end an answer begin as the token on which the base ends a text, in a fresh adapter.

    The base knows where an answer ends but expects its own token there, which is frozen: from the mean, a new one needs
    three times as many steps to be likelier. The base's rows stay as they are, so that without the adapter it ends its
    answers as before.
    """
    base = adapted.get_base_model()
    for layer in (base.get_input_embeddings(), base.get_output_embeddings()):
        frozen, rows = trained_rows(layer)
        ids = [] if rows is None else rows.ids_N.tolist()
        if rows is not None and eos_id is not None and eos_id not in ids:
            rows.values_ND[[number in stop_ids for number in ids]] = frozen.weight[eos_id]
