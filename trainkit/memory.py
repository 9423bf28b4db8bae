"""How much memory a step of the fused way takes, in closed form, and what fits into the memory there is.

Per token a level keeps what `trainkit.fused.layer` says; on top come what one layer's backward pass works with, the
final norm, and the logits of one chunk. Nothing is tried out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trainkit.loss import CHUNK

GB = 10**9
BYTES_PER_LOGIT = 8
"""In fp32, once as logits and once as what the sum of their exponentials is taken from."""
FILLED = 0.92
"""Share of the memory there is that may be planned with; the rest is lost between tensors."""
SMALLEST_TOKENS = 2048
"""Of a micro-batch; with fewer an accelerator's products become slower than computing some of a layer twice."""


@dataclass(frozen=True)
class Shape:
    """What the memory of a model's step depends on; sizes as in `trainkit.fused.layer`."""

    layers: int
    inputs: int
    """D, also of each layer's output."""
    queries: int
    """H K: all heads' numbers together."""
    keys: int
    """G K, also of values."""
    heads: int
    inner: int
    """F."""
    qkv_ranks: int
    """Ranks of the adapters beside queries, keys and values, summed; likewise the others."""
    out_ranks: int
    gate_up_ranks: int
    down_ranks: int
    vocabulary: int
    width: int
    """Bytes of a number that the model computes with."""

    def kept(self, level: int) -> int:
        """Bytes that one layer keeps of one token."""
        if level == 3:
            return self.width * self.inputs
        numbers = 2 * self.inputs + self.queries + self.out_ranks + self.down_ranks
        if level < 2:
            numbers += self.queries + 2 * self.keys + self.qkv_ranks
        if level < 1:
            numbers += 2 * self.inner + self.gate_up_ranks
        # Attention's statistics are never narrower than fp32.
        return self.width * numbers + max(4, self.width) * self.heads

    def worked_with(self, level: int) -> int:
        """Bytes for each token that the backward pass of one layer needs beside what is kept."""
        numbers = 6 * self.inner + 2 * self.inputs
        numbers += (2 * self.inner + self.inputs) if level else 0
        numbers += (self.queries + 2 * self.keys) if level > 1 else 0
        numbers += (self.queries + self.inputs) if level > 2 else 0
        return self.width * numbers

    def after_layers(self, trained: float) -> int:
        """Bytes for each token that the final norm and the loss keep; `trained` is the share of trained tokens."""
        # transformers keeps the norm's input in fp32 at least.
        return round(max(4, self.width) * self.inputs + self.width * self.inputs * trained)

    @property
    def chunk(self) -> int:
        """Bytes of the logits that exist at one time."""
        return CHUNK * self.vocabulary * BYTES_PER_LOGIT


@dataclass(frozen=True)
class MemoryPlan:
    """What a step computes at one time, and what it computes twice."""

    tokens: int
    """The most tokens of a micro-batch, unless a document is longer."""
    levels: list[int]
    """Of each layer."""
    total: int
    """Bytes at the peak, the model and the adapter included."""
    fits: bool
    """Whether that is within the memory there is."""

    def __str__(self) -> str:
        counts = [f"{self.levels.count(level)} of {len(self.levels)} layers {TWICE[level]}" for level in (1, 2, 3)]
        named = [text for level, text in zip((1, 2, 3), counts, strict=True) if level in self.levels]
        return "; ".join(named) or "nothing but norms and activations is computed twice"


TWICE = {
    1: "compute gate and up twice",
    2: "compute all products but two twice",
    3: "are computed twice but for the last product",
}


def planned(
    shape: Shape, fixed: int, available: int, longest: int, tokens: Sequence[int], trained: float = 1.0
) -> MemoryPlan:
    """The largest micro-batch with which nothing is computed twice, else the smallest with as little as must be.

    `fixed` are the bytes of model and adapter, `available` those of the memory there is, `longest` the tokens of the
    longest document, `tokens` the sizes of a micro-batch to choose from, the largest first.
    """

    def total(size: int, levels: list[int]) -> int:
        kept = sum(shape.kept(level) for level in levels)
        per_token = kept + shape.worked_with(max(levels)) + shape.after_layers(trained)
        return fixed + max(size, longest) * per_token + shape.chunk

    def plan(size: int, levels: list[int]) -> MemoryPlan:
        needed = total(size, levels)
        return MemoryPlan(size, levels, needed, needed <= FILLED * available)

    for size in tokens:
        found = plan(size, [0] * shape.layers)
        if found.fits:
            return found
    for level in (1, 2, 3):
        for count in range(1, shape.layers + 1):
            found = plan(tokens[-1], [level] * count + [level - 1] * (shape.layers - count))
            if found.fits:
                return found
    return found


def sizes(largest: int) -> list[int]:
    """Sizes of a micro-batch to choose from: the largest, and halves of it while they keep an accelerator busy."""
    found = [largest]
    while found[-1] // 2 >= SMALLEST_TOKENS:
        found.append(found[-1] // 2)
    return found


def shape_of(model: Any) -> Shape:
    """The shape of a PEFT model that is computed the fused way, with the largest ranks of any layer."""
    causal = model.get_base_model()
    config, layers = causal.config, causal.model.layers

    def ranks(*names: str) -> int:
        return max((_ranks(layer, names) for layer in layers), default=0)

    head_size = layers[0].self_attn.head_dim
    return Shape(
        layers=len(layers),
        inputs=config.hidden_size,
        queries=config.num_attention_heads * head_size,
        keys=config.num_key_value_heads * head_size,
        heads=config.num_attention_heads,
        inner=config.intermediate_size,
        qkv_ranks=ranks("q", "k", "v"),
        out_ranks=ranks("o"),
        gate_up_ranks=ranks("gate", "up"),
        down_ranks=ranks("down"),
        vocabulary=int(causal.get_output_embeddings().weight.shape[0]),
        width=layers[0].input_layernorm.weight.element_size(),
    )


def _ranks(layer: Any, names: tuple[str, ...]) -> int:
    adapters: list[tuple[str, int]] = [
        (name, len(weight)) for name, weight in layer.named_parameters() if "lora_A" in name
    ]
    return sum(rank for name, rank in adapters if any(f"{each}_proj" in name for each in names))


def frozen_bytes(model: Any) -> int:
    """Bytes of what is not trained of a PEFT model."""
    frozen = [weight for weight in model.parameters() if not weight.requires_grad]
    # A tied head is one tensor with the embedding, and model.parameters() holds it once.
    return sum(weight.nbytes for weight in [*frozen, *model.buffers()])


def adapter_bytes(model: Any) -> int:
    """Bytes of a PEFT model's adapter: weights, fp32 masters, gradients of both, and two fp32 moments."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    # An fp32 weight is its own master.
    return sum(weight.numel() * 16 + (0 if weight.element_size() == 4 else 2 * weight.nbytes) for weight in trained)


def fixed_bytes(model: Any, process: int) -> int:
    """Bytes of a PEFT model with all that belongs to its adapter, and of the process besides."""
    return process + frozen_bytes(model) + adapter_bytes(model)
