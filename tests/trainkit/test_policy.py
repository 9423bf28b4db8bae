from pathlib import Path

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from dataforge.errors import BaseModelError
from dataforge.shards import Window
from trainkit import adapters, objectives
from trainkit.attention import register
from trainkit.config import LoraAdapter
from trainkit.data import micro_batch
from trainkit.fused import FusedDecoder
from trainkit.model import load_base
from trainkit.policy import Policy

from .conftest import random_windows

CPU = torch.device("cpu")


@pytest.fixture
def policy(tiny_base: Path) -> Policy:
    model, _ = load_base(str(tiny_base), torch.float32, CPU, packed=True)
    adapted = adapters.attach(model, LoraAdapter(rank=4))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return Policy(adapted)


def gradients(policy: Policy, groups: list[list[Window]]) -> dict[str, torch.Tensor]:
    sft = objectives.load("sft")
    batches = [micro_batch(group, CPU) for group in groups]
    count = sum(len(batch.trained_P) for batch in batches)
    policy.model.zero_grad()
    for batch in batches:
        (sft.loss(policy, sft.prepare(policy, batch))[0] / count).backward()
    return {name: weight.grad.clone() for name, weight in policy.parameters.items() if weight.grad is not None}


def test_any_split_into_micro_batches_has_the_same_gradient(policy: Policy) -> None:
    windows = random_windows(6, 5, "w")
    whole = gradients(policy, [windows])
    for groups in ([[window] for window in windows], [windows[:1], windows[1:]], [windows[3:], windows[:3]]):
        split = gradients(policy, groups)
        for name, gradient in whole.items():
            torch.testing.assert_close(split[name], gradient, rtol=1e-4, atol=1e-7)


def test_only_the_adapter_is_trained(policy: Policy) -> None:
    assert all("lora_" in name for name in policy.parameters)
    assert len(policy.parameters) == 2 * 7 * 2
    assert set(gradients(policy, [random_windows(2, 5, "w")])) == set(policy.parameters)


def test_a_model_whose_head_gives_its_logits_is_let_through(policy: Policy) -> None:
    policy.check_head(micro_batch(random_windows(1, 5, "w"), CPU))


def test_the_head_is_checked_apart_from_what_fused_layers_make(tiny_base: Path, policy: Policy) -> None:
    # In bf16 the logits of thirty fused layers were seen to part by 4 % of the highest; another adapter's do too.
    model, _ = load_base(str(tiny_base), torch.float32, CPU, packed=True)
    other = adapters.attach(model, LoraAdapter(rank=4))
    fused = Policy(policy.model, fused=FusedDecoder(other, [0] * model.config.num_hidden_layers))
    batch = micro_batch(random_windows(1, 5, "w"), CPU)
    plain_TD, fused_TD = policy.hidden_states(batch), fused.hidden_states(batch)
    assert (plain_TD - fused_TD).abs().max() > 0.1 * plain_TD.abs().max()
    fused.check_head(batch)


def test_a_model_that_caps_its_logits_is_refused() -> None:
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        attn_logit_softcapping=None,
        final_logit_softcapping=0.1,
    )
    config._attn_implementation = register()
    policy = Policy(adapters.attach(Gemma2ForCausalLM(config).requires_grad_(False), LoraAdapter(rank=4)))
    with pytest.raises(BaseModelError, match="type gemma2 change their logits"):
        policy.check_head(micro_batch(random_windows(1, 5, "w"), CPU))
