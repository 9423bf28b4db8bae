"""What a decoder layer keeps of each token for its backward pass: transformers with PEFT, and trainkit at each level.

    python -m tests.bench.kept [--out tests/bench/kept.md]

Counted by autograd's own hooks on one layer of the real shape with LoRA of rank 16 on all linear layers, on a CPU,
weights aside. Half a minute, 2 GB.
"""

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model

from tests.trainkit.fused.models import EVERY_LINEAR, kept_bytes
from trainkit.fused.decoder import fused_layer, pack
from trainkit.fused.layer import LEVELS, FusedLayer
from trainkit.fused.pointwise import EAGER
from trainkit.quiet import no_peft_warnings

TOKENS = 64
SHAPE = {
    "hidden_size": 4096,
    "num_hidden_layers": 1,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 64,
}
MODELS = {"Llama-3-8B": ("Llama", 14336), "Qwen3-8B": ("Qwen3", 12288)}
TWICE = {
    0: "nothing but norms and activations",
    1: "gate and up too",
    2: "queries, keys and values too",
    3: "all but the last product",
}


def main() -> None:
    """Count and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    columns = [_column(kind, inner) for kind, inner in MODELS.values()]
    lines = [
        "# What a decoder layer keeps of a token for its backward pass",
        "",
        "kB a token and layer, bf16 base, LoRA of rank 16 on all linear layers; counted by autograd's hooks.",
        "",
        f"| | computed twice | {' | '.join(MODELS)} |",
        f"|---|---|{'---:|' * len(MODELS)}",
    ]
    for row in columns[0]:
        cells = " | ".join(f"{column[row] / 1000:.1f}" for column in columns)
        lines.append(f"| {row[0]} | {row[1]} | {cells} |")
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _column(kind: str, inner_size: int) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for says, in_fp32 in (
        ("HF Trainer + PEFT, adapters in fp32 and autocast", True),
        ("PEFT, adapters in bf16", False),
    ):
        model = _model(kind, inner_size, in_fp32)
        context = torch.autocast("cpu", torch.bfloat16) if in_fp32 else nullcontext()
        with context:
            found[says, "nothing"] = _kept(model, lambda x, turn, m=model: _layer(m)(x[None], position_embeddings=turn))
    layer = fused_layer(_layer(model), model.get_base_model().config, 0, EAGER)
    ends = torch.tensor([0, TOKENS], dtype=torch.int32)
    own = [layer.qkv.weight_ND, layer.out.weight_ND, layer.gate_up.weight_ND, layer.down.weight_ND]
    for layer.level in LEVELS:

        def run(x_TD: torch.Tensor, turn: Any) -> torch.Tensor:
            return FusedLayer.apply(x_TD, layer, pack(turn, ends, ends), *layer.lora)  # type: ignore[no-untyped-call, no-any-return]

        found[f"trainkit, level {layer.level}", TWICE[layer.level]] = _kept(model, run, own)
    return found


def _model(kind: str, inner_size: int, adapters_in_fp32: bool) -> Any:
    hf: Any = transformers
    config = getattr(hf, f"{kind}Config")(**SHAPE, intermediate_size=inner_size)
    config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    causal = getattr(hf, f"{kind}ForCausalLM")(config).to(torch.bfloat16)
    with no_peft_warnings():
        return get_peft_model(
            causal, LoraConfig(r=16, target_modules=EVERY_LINEAR), autocast_adapter_dtype=adapters_in_fp32
        ).train()


def _layer(model: Any) -> Any:
    return model.get_base_model().model.layers[0]


def _kept(model: Any, run: Callable[[torch.Tensor, Any], Any], own: list[torch.Tensor] | None = None) -> float:
    x_TD = torch.randn(TOKENS, SHAPE["hidden_size"]).to(torch.bfloat16).requires_grad_()
    turn = model.get_base_model().model.rotary_emb(x_TD[None], position_ids=torch.arange(TOKENS)[None])
    return kept_bytes(lambda: run(x_TD, turn), [*model.parameters(), *model.buffers(), *(own or [])]) / TOKENS


if __name__ == "__main__":
    main()
