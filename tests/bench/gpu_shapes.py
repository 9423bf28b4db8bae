"""Shapes of known models, what a token costs them in arithmetic, and what they weigh.

Symbols: D hidden size, H heads of queries and G of keys and values with K numbers each, F inner size, L layers,
V vocabulary, S the length of a document as attention sees it.
"""

from dataclasses import dataclass, replace
from typing import Any

RANK, ALPHA = 16, 32
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Shape:
    """A decoder of Llama's kind."""

    name: str
    kind: str
    """transformers' `model_type`."""
    D: int
    H: int
    G: int
    K: int
    F: int
    L: int
    V: int
    tied: bool = False

    @property
    def linear(self) -> list[tuple[int, int]]:
        """Inputs and outputs of a layer's seven matrices."""
        heads, groups = self.H * self.K, self.G * self.K
        attention = [(self.D, heads), (self.D, groups), (self.D, groups), (heads, self.D)]
        return [*attention, (self.D, self.F), (self.D, self.F), (self.F, self.D)]

    @property
    def of_layers(self) -> int:
        """Weights of all layers' matrices."""
        return self.L * sum(inputs * outputs for inputs, outputs in self.linear)

    @property
    def of_head(self) -> int:
        """Weights of the output head."""
        return self.V * self.D

    @property
    def of_lora(self) -> int:
        """Weights of the adapter."""
        return RANK * self.L * sum(inputs + outputs for inputs, outputs in self.linear)

    @property
    def weights(self) -> int:
        """All but norms and biases."""
        return self.of_layers + self.of_head * (1 if self.tied else 2)

    def flops(self, length: float, loss_share: float) -> float:
        """Of one token, in the model alone: 4 for a frozen weight, and attention's 7 S H K L.

        A frozen weight takes part in two products, forward and for the gradient of its input; the head only for the
        `loss_share` of tokens that carry loss. Attention costs 2 S H K a layer forward and 2.5 times that backward
        where a document's tokens see `length` / 2 others on average.
        """
        attention = 7 * length * self.H * self.K * self.L
        return 4 * self.of_layers + 4 * self.of_head * loss_share + attention

    @property
    def lora_flops(self) -> float:
        """Of one token in the adapter, whose weights are trained."""
        return 6 * self.of_lora

    def config(self, layers: int | None = None) -> dict[str, Any]:
        """transformers' configuration, but for `model_type`."""
        return {
            "hidden_size": self.D,
            "num_attention_heads": self.H,
            "num_key_value_heads": self.G,
            "head_dim": self.K,
            "intermediate_size": self.F,
            "num_hidden_layers": self.L if layers is None else layers,
            "vocab_size": self.V,
            "tie_word_embeddings": self.tied,
            "max_position_embeddings": 32768,
            "initializer_range": 0.02,
            "rms_norm_eps": 1e-6,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        }


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("Llama-3-8B", "llama", D=4096, H=32, G=8, K=128, F=14336, L=32, V=128256),
        Shape("Qwen3-8B", "qwen3", D=4096, H=32, G=8, K=128, F=12288, L=36, V=151936),
        Shape("Qwen2.5-7B", "qwen2", D=3584, H=28, G=4, K=128, F=18944, L=28, V=152064),
        Shape("Qwen3-4B", "qwen3", D=2560, H=32, G=8, K=128, F=9728, L=36, V=151936, tied=True),
        Shape("Qwen3-0.6B", "qwen3", D=1024, H=16, G=8, K=128, F=3072, L=28, V=151936, tied=True),
    )
}


def tiny(shape: Shape) -> Shape:
    """A shape of the same kind that a CPU computes at once."""
    return replace(shape, D=64, H=4, G=2, K=16, F=96, L=2, V=256)
