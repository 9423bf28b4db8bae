"""Any causal model of transformers: its documents are trained as they would be alone, or it is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dataforge.errors import BaseModelError
from trainkit import adapters, objectives, packing
from trainkit.config import LoraAdapter
from trainkit.data import micro_batch
from trainkit.model import load_base
from trainkit.policy import Policy

from .any_models import REFUSED, SMALL, TRAINED, tiny
from .conftest import random_windows
from .plain_loop import mean_loss

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", TRAINED)
def test_a_window_is_its_documents_alone(kind: str) -> None:
    model = tiny(kind, TRAINED[kind])
    packing.check(model, 40)
    policy = Policy(adapters.attach(model, LoraAdapter(rank=4, untrained="allow")))
    for name, weight in policy.parameters.items():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    windows = random_windows(2, 5, "w")
    batch = micro_batch(windows, CPU)
    policy.check_head(batch)
    found = objectives.load("sft").loss(policy, batch)
    loss = found.summed / found.trained
    loss.backward()
    packed = {name: weight.grad.clone() for name, weight in policy.parameters.items() if weight.grad is not None}
    policy.model.zero_grad()

    model.set_attn_implementation("eager")
    expected = mean_loss(policy.model, windows, backward=True)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    largest = max(float(weight.grad.abs().max()) for weight in policy.parameters.values() if weight.grad is not None)
    assert packed.keys() == {name for name, weight in policy.parameters.items() if weight.grad is not None}
    for name, gradient in packed.items():
        wanted = policy.parameters[name].grad
        assert wanted is not None
        assert float((gradient - wanted).abs().max()) < 1e-5 * largest, name


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_would_mix_documents_is_refused_in_one_line(kind: str) -> None:
    settings, message = REFUSED[kind]
    with pytest.raises(BaseModelError) as caught:
        packing.check(tiny(kind, settings), 40)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["falcon", "gptj", "gpt_neo"])
def test_a_model_with_an_attention_of_its_own_is_refused_when_it_is_loaded(kind: str, tmp_path: Path) -> None:
    settings = {key: SMALL[key] for key in ("vocab_size", "hidden_size", "num_attention_heads")}
    if kind == "gpt_neo":
        settings |= {"num_layers": 2, "attention_types": [[["global", "local"], 1]]}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings, num_hidden_layers=2))
    model.save_pretrained(tmp_path)
    with pytest.raises(BaseModelError, match="let nobody else compute their attention") as caught:
        load_base(str(tmp_path), torch.float32, CPU, packed=True)
    assert "\n" not in str(caught.value)


class Leaky(torch.nn.Module):
    """A layer's module, beside which something passes from each token to the next."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, hidden_BTD: torch.Tensor) -> torch.Tensor:
        out_BTD: torch.Tensor = self.inner(hidden_BTD)
        return out_BTD + torch.nn.functional.pad(hidden_BTD, (0, 0, 1, -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_leak_beside_the_attention_is_found(dtype: torch.dtype) -> None:
    model = tiny("llama", {}).to(dtype)
    packing.check(model, 40)
    model.model.layers[1].mlp = Leaky(model.model.layers[1].mlp)
    with pytest.raises(BaseModelError, match=r"otherwise than alone \(hidden states .*% apart\)"):
        packing.check(model, 40)


def test_the_model_is_left_as_it_was() -> None:
    model = tiny("llama", {})
    before = torch.get_rng_state()
    packing.check(model, 40)
    assert model.config._attn_implementation == "documents"
    assert torch.equal(torch.get_rng_state(), before)
    assert all(weight.grad is None and not weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_depend_on_the_longest_document_are_refused_beyond_their_limit(kind: str) -> None:
    rope: dict[str, Any] = {"rope_type": kind, "rope_theta": 10000.0, "factor": 2.0}
    if kind == "longrope":
        rope |= {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "original_max_position_embeddings": 64}
    settings = {"rope_parameters": rope, "original_max_position_embeddings": 64}
    model = tiny("phi3" if kind == "longrope" else "llama", settings)
    packing.check(model, 64)
    with pytest.raises(BaseModelError, match=f"have {kind} positions.*`max_tokens: 64` or less"):
        packing.check(model, 65)


def test_attention_in_chunks_is_refused_where_a_row_is_longer() -> None:
    model = tiny("llama", {})
    model.config.attention_chunk_size = 8
    packing.check(model, 8)
    with pytest.raises(BaseModelError, match="`max_tokens: 8` or less"):
        packing.check(model, 9)


def test_every_model_here_is_one_that_transformers_has() -> None:
    assert all(AutoConfig.for_model(kind) is not None for kind in [*TRAINED, *REFUSED])
    assert SMALL["vocab_size"] == 300
