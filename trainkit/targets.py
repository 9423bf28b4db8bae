"""Which layers of a base model an adapter sits beside, and with which rank."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from transformers.pytorch_utils import Conv1D

from dataforge.config import did_you_mean
from dataforge.errors import AdapterError

LINEAR = (torch.nn.Linear, Conv1D)
"""GPT-2's Conv1D is a linear layer whose weight lies transposed."""


def targeted(model: Any, targets: Literal["all-linear"] | Sequence[str]) -> list[str]:
    """The names of the layers that `targets` means, in the model's order, as PEFT finds them.

    Raises `AdapterError` where a target is no linear layer of the model, or its output head.
    """
    head = model.get_output_embeddings()
    linear = [name for name, module in model.named_modules() if isinstance(module, LINEAR)]
    inner = [name for name in linear if model.get_submodule(name) is not head]
    if targets == "all-linear":
        return inner
    known = sorted(_last_parts(inner))
    for target in targets:
        matched = [name for name in linear if _means(target, name)]
        if not matched:
            raise AdapterError(
                f"adapter target {target!r} is no linear layer of this base; {did_you_mean(target, known)}"
            )
        if not set(matched) <= set(inner):
            raise AdapterError(
                f"adapter target {target!r} is the output head, which stays frozen; known: {', '.join(known)}"
            )
    return [name for name in inner if any(_means(target, name) for target in targets)]


def _means(target: str, name: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _last_parts(names: Sequence[str]) -> set[str]:
    return {name.rsplit(".", 1)[-1] for name in names}


def is_transposed(model: Any, names: Sequence[str]) -> bool:
    """Whether the layers named hold their weights as (in, out), which PEFT calls fan_in_fan_out."""
    return any(isinstance(model.get_submodule(name), Conv1D) for name in names)


def rank_pattern(ranks: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    """What PEFT's `rank_pattern` must be for the layers `names` to have the ranks that a recipe says.

    A key of `ranks` is the end of a layer's name, whole parts of it, or a regular expression for that. Of several
    that fit a layer the first counts, as in PEFT. PEFT forgets their order in a saved adapter, so where it matters the
    layers are written out by name. Raises `AdapterError` for a key that no layer has, or that never counts.
    """
    fitting = {name: [key for key in ranks if _fits(key, name)] for name in names}
    for key in ranks:
        if not any(key in keys for keys in fitting.values()):
            known = sorted({*_last_parts(names), *names} if "." in key else _last_parts(names))
            raise AdapterError(f"adapter.ranks: {key!r} is no layer that is adapted; {did_you_mean(key, known)}")
        if not any(keys and keys[0] == key for keys in fitting.values()):
            before = next(keys[0] for keys in fitting.values() if key in keys)
            raise AdapterError(
                f"adapter.ranks: {key!r} never counts, since {before!r} before it has the same layers; put it first"
            )
    if all(len({ranks[key] for key in keys}) <= 1 for keys in fitting.values()):
        return dict(ranks)
    return {f"^{re.escape(name)}": ranks[keys[0]] for name, keys in fitting.items() if keys}


def _fits(key: str, name: str) -> bool:
    try:
        return re.match(rf"(.*\.)?({key})$", name) is not None
    except re.error as error:
        raise AdapterError(f"adapter.ranks: {key!r} is no regular expression: {error}") from None
