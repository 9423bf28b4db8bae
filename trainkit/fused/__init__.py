"""The fused way through a model: whole decoder layers with a hand-written backward pass.

It fits Llama, Mistral, Qwen2 and Qwen3 with plain LoRA on a CPU or on CUDA in 16 bits. For all other models and
adapters there is the generic way, and the two compute the same.
"""

from trainkit.fused.decoder import FusedDecoder
from trainkit.fused.fit import refusal
from trainkit.fused.proof import disagreement

__all__ = ["FusedDecoder", "disagreement", "refusal"]
