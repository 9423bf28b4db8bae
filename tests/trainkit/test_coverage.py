from pathlib import Path

import pytest
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import save_file
from transformers.pytorch_utils import Conv1D

from dataforge.errors import AdapterError
from trainkit import adapters
from trainkit.config import LoraAdapter
from trainkit.coverage import coverage, notes

from .any_models import REFUSED, TRAINED, tiny

pytestmark = pytest.mark.filterwarnings("ignore")

MISSED = {
    "qwen2_moe": {"model.layers.*.mlp.experts.gate_up_proj", "model.layers.*.mlp.experts.down_proj",
                  "model.layers.*.mlp.gate"},
    "granitemoe": {"model.layers.*.block_sparse_moe.experts.gate_up_proj",
                   "model.layers.*.block_sparse_moe.experts.down_proj",
                   "model.layers.*.block_sparse_moe.router"},
    # PEFT 0.21 takes the names of its dense and shared layers for those of the experts.
    "deepseek_v3": {f"model.layers.*.mlp.{name}_proj" for name in ("gate", "up", "down")}
    | {f"model.layers.*.mlp.shared_experts.{name}_proj" for name in ("gate", "up", "down")},
    "gpt_oss": {"model.layers.*.mlp.experts.gate_up_proj", "model.layers.*.mlp.experts.down_proj",
                "model.layers.*.mlp.router"},
    "lfm2": {"model.layers.*.conv.conv"},
    "recurrent_gemma": {"model.layers.*.temporal_block.conv_1d",
                        "model.layers.*.temporal_block.rg_lru.input_gate_weight",
                        "model.layers.*.temporal_block.rg_lru.recurrent_gate_weight"},
}  # fmt: skip
SETTINGS = {**TRAINED, **{kind: settings for kind, (settings, _) in REFUSED.items()}}


@pytest.mark.parametrize("kind", MISSED)
def test_what_all_linear_misses_is_named_and_refused(kind: str) -> None:
    with pytest.raises(AdapterError) as caught:
        adapters.attach(tiny(kind, SETTINGS[kind]), LoraAdapter(rank=2))
    assert all(name in str(caught.value) for name in MISSED[kind])
    assert "say `adapter.untrained: allow`" in str(caught.value)
    assert "\n" not in str(caught.value)
    allowed = LoraAdapter(rank=2, untrained="allow")
    adapted = adapters.attach(tiny(kind, SETTINGS[kind]), allowed)
    assert {part.name for part in coverage(adapted).missed} == MISSED[kind]
    (note,) = notes(adapted, allowed)
    assert all(name in note for name in MISSED[kind])


@pytest.mark.parametrize(
    "kind", ["llama", "qwen2", "qwen3", "gemma", "gemma3_text", "gpt2", "phi3", "gpt_neox", "cohere", "opt"]
)
def test_a_dense_model_is_covered_whole(kind: str) -> None:
    model = tiny(kind, TRAINED[kind])
    head = model.get_output_embeddings()
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear | Conv1D) and m is not head]
    adapted = adapters.attach(model, LoraAdapter(rank=2))
    found = coverage(adapted)
    assert found.missed == ()
    assert found.missed_share == 0
    assert notes(adapted, LoraAdapter(rank=2)) == []
    assert sum(part.count for part in found.trained) == len(linear)
    assert sum(part.parameters for part in found.trained) == sum(layer.weight.numel() for layer in linear)
    assert found.adapter_parameters == sum(2 * sum(layer.weight.shape) for layer in linear)


def test_names_are_collapsed_over_layers_and_sizes_added() -> None:
    settings = LoraAdapter(rank=2, targets=["q_proj", "k_proj", "v_proj", "o_proj"])
    found = coverage(adapters.attach(tiny("qwen3_moe", TRAINED["qwen3_moe"]), settings))
    parts = {part.name: part for part in found.trained + found.missed}
    assert parts["model.layers.*.self_attn.q_proj"].count == 2
    assert parts["model.layers.*.self_attn.q_proj"].parameters == 2 * 32 * 32
    assert parts["model.layers.*.mlp.experts.gate_up_proj"].parameters == 2 * 4 * 32 * 32
    # q and o: 32 x 32; k and v: 16 x 32; experts: 4 x (32 x 32 + 32 x 16); router: 4 x 32.
    missed, trained = 2 * (4 * (32 * 32 + 32 * 16) + 4 * 32), 2 * (2 * 32 * 32 + 2 * 16 * 32)
    assert found.missed_share == pytest.approx(missed / (missed + trained))


def test_whoever_names_targets_is_not_asked_about_the_rest() -> None:
    settings = LoraAdapter(rank=2, targets=["q_proj", "v_proj"])
    adapted = adapters.attach(tiny("qwen3_moe", TRAINED["qwen3_moe"]), settings)
    assert notes(adapted, settings) == []
    assert {part.name for part in coverage(adapted).trained} == {
        "model.layers.*.self_attn.q_proj",
        "model.layers.*.self_attn.v_proj",
    }


def test_layers_of_gpt2_can_be_named_and_train() -> None:
    adapted = adapters.attach(tiny("gpt2", TRAINED["gpt2"]), LoraAdapter(rank=2, dora=True, targets=["c_attn"]))
    adapted(input_ids=torch.arange(3, 9)[None], cu_seqlens=torch.tensor([0, 6])).logits.sum().backward()
    gradients = [weight.grad for name, weight in adapted.named_parameters() if "lora_B" in name]
    assert len(gradients) == 2
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)
    assert adapted.peft_config["default"].fan_in_fan_out


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "olmoe"])
def test_fused_experts_and_routers_are_trained_and_saved(kind: str, tmp_path: Path) -> None:
    settings = LoraAdapter(rank=2, alpha=4.0)
    adapted = adapters.attach(tiny(kind, TRAINED[kind]), settings)
    found = coverage(adapted)
    assert found.missed == ()
    names = {part.name.removeprefix("model.layers.*.") for part in found.trained}
    assert names == {*(f"self_attn.{x}_proj" for x in "qkvo"), "mlp.experts.gate_up_proj", "mlp.experts.down_proj",
                     "mlp.gate"}  # fmt: skip
    weights = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
    for weight in weights.values():
        torch.nn.init.normal_(weight, std=0.1)
    state = get_peft_model_state_dict(adapted, state_dict=weights, save_embedding_layers=False)
    save_file({name: tensor.detach().contiguous() for name, tensor in state.items()}, tmp_path / adapters.WEIGHTS)
    adapted.peft_config["default"].save_pretrained(tmp_path)
    other = adapters.attach(tiny(kind, TRAINED[kind]), settings)
    adapters.fill(other, settings, tmp_path)
    loaded = adapters.load(tiny(kind, TRAINED[kind]), tmp_path)
    row = {"input_ids": torch.arange(3, 9)[None], "cu_seqlens": torch.tensor([0, 6])}
    with torch.no_grad():
        expected = adapted(**row).logits
        torch.testing.assert_close(other(**row).logits, expected)
        torch.testing.assert_close(loaded(**row).logits, expected)


def test_fused_experts_take_no_dropout() -> None:
    with pytest.raises(AdapterError, match=r"cannot be adapted so .*set `adapter.dropout: 0`") as caught:
        adapters.attach(tiny("mixtral", TRAINED["mixtral"]), LoraAdapter(dropout=0.1))
    assert "\n" not in str(caught.value)


def test_experts_are_no_target() -> None:
    with pytest.raises(AdapterError, match="'gate_up_proj' is no linear layer of this base"):
        adapters.attach(tiny("mixtral", TRAINED["mixtral"]), LoraAdapter(targets=["gate_up_proj"]))
