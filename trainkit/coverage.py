"""What an adapter trains of its base model's layers, and what it leaves as it is."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper

from dataforge.errors import AdapterError
from trainkit.config import LoraAdapter


@dataclass(frozen=True, slots=True)
class Part:
    """The same weight in every layer of a model."""

    name: str
    """`model.layers.*.mlp.down_proj`."""
    count: int
    """How many there are."""
    parameters: int
    """Numbers in all of them."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The weights of a base model's layers: those with an adapter beside them, and those without.

    Embeddings, the output head, norms, biases and other vectors are neither.
    """

    trained: tuple[Part, ...]
    missed: tuple[Part, ...]
    adapter_parameters: int
    """Numbers that are trained."""

    @property
    def missed_share(self) -> float:
        """Share of the layers' weights that have no adapter beside them."""
        missed = sum(part.parameters for part in self.missed)
        return missed / max(1, missed + sum(part.parameters for part in self.trained))

    def text(self) -> str:
        """One line that names what is missed and what is trained."""
        missed = ", ".join(f"{part.name} ({part.parameters:,})" for part in self.missed)
        trained = ", ".join(f"{part.name} ({part.parameters:,})" for part in self.trained)
        return f"{missed} stay untrained, {self.missed_share:.1%} of the layers' weights; trained are {trained}"


def coverage(adapted: Any) -> Coverage:
    """What a freshly attached adapter (a PEFT model) covers of its base."""
    base = adapted.get_base_model()
    trained: dict[str, list[int]] = defaultdict(list)
    missed: dict[str, list[int]] = defaultdict(list)
    beside: set[int] = set()
    for name, module in base.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        if isinstance(module, ParamWrapper):
            weight = module.get_param()  # type: ignore[no-untyped-call]
            name = name if module.parameter_name == "weight" else f"{name}.{module.parameter_name}"
        else:
            weight = module.get_base_layer().weight
        beside.add(id(weight))
        trained[_collapsed(name)].append(weight.numel())
    for name, weight in _matrices(base):
        if id(weight) not in beside:
            missed[_collapsed(name)].append(weight.numel())
    return Coverage(
        _parts(trained), _parts(missed), sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    )


def check(adapted: Any, settings: LoraAdapter) -> None:
    """Raise `AdapterError` where `all-linear` misses something that the recipe does not say may be missed."""
    if settings.targets != "all-linear" or settings.untrained == "allow":
        return
    found = coverage(adapted)
    if found.missed:
        raise AdapterError(
            f"adapter targets all-linear: {found.text()}; say `adapter.untrained: allow` to train the latter alone, or "
            "list `adapter.targets`"
        )


def notes(adapted: Any, settings: LoraAdapter) -> list[str]:
    """What to tell whoever allowed that `all-linear` misses something."""
    found = coverage(adapted)
    return [found.text()] if found.missed and settings.targets == "all-linear" else []


def _matrices(base: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The frozen weights of two or more dimensions inside the layers."""
    ends = (base.get_input_embeddings(), base.get_output_embeddings())
    apart = {id(weight) for layer in ends if layer is not None for weight in layer.parameters()}
    for name, weight in base.named_parameters():
        path, _, leaf = name.rpartition(".")
        owner = base.get_submodule(path)
        norm = "norm" in type(owner).__name__.lower()
        if weight.requires_grad or weight.ndim < 2 or id(weight) in apart or norm or leaf.endswith("bias"):
            continue
        if not isinstance(owner, torch.nn.Embedding):
            yield (path if leaf == "weight" else name), weight


def _collapsed(name: str) -> str:
    """A name without its layer's number and without the layers that PEFT puts around one another."""
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name.replace(".base_layer", ""))


def _parts(found: dict[str, list[int]]) -> tuple[Part, ...]:
    return tuple(Part(name, len(sizes), sum(sizes)) for name, sizes in found.items())
