"""When the fused way is taken, and that a run is the same whichever is."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file

from dataforge.shards import Build
from trainkit import fused, way
from trainkit.config import Train
from trainkit.fused.pointwise import EAGER, Pointwise, rotate
from trainkit.processes import Processes
from trainkit.trainer import train

from . import models

CPU = torch.device("cpu")


def choose(model: Any, settings: Train) -> tuple[way.Way, list[str]]:
    said: list[str] = []
    found = way.choose(model, settings, 24, 64, CPU, Processes(), sharded=False, say=said.append)
    return found, said


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_runs_of_both_ways_have_the_same_losses_and_adapters(
    build: Build, settings: Train, tiny_base: Path, tmp_path: Path, precision: str
) -> None:
    losses: dict[bool, list[float]] = {}
    files: dict[bool, tuple[dict[str, Any], dict[str, torch.Tensor]]] = {}
    for chosen in (True, False):
        out = tmp_path / str(chosen)
        asked = settings.model_copy(update={"fused": chosen, "precision": precision})
        adapter = train(asked, build, str(tiny_base), "tiny", out, 7).adapter
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        losses[chosen] = [line.get("loss", line.get("eval_loss")) for line in lines]
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        files[chosen] = (config, load_file(adapter / "adapter_model.safetensors"))
    assert losses[True] == pytest.approx(losses[False], rel=1e-5 if precision == "fp32" else 1e-2)
    assert files[True][0] == files[False][0]
    (ours, theirs) = (files[True][1], files[False][1])
    assert {name: (w.shape, w.dtype) for name, w in ours.items()} == {n: (w.shape, w.dtype) for n, w in theirs.items()}
    if precision == "fp32":
        assert all((ours[name] - theirs[name]).norm() < 1e-3 * theirs[name].norm() for name in ours)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_it_proves_itself_on_every_architecture(name: str, dtype: torch.dtype) -> None:
    before = torch.get_rng_state()
    assert fused.disagreement(models.model(name, dtype), EAGER) is None
    torch.manual_seed(5)
    state = torch.get_rng_state()
    fused.disagreement(models.model(name, dtype, seed=5), EAGER)
    assert not torch.equal(before, state)


def off_by(factor: float, function: str) -> Pointwise:
    right = getattr(EAGER, function)
    return EAGER._replace(**{function: lambda *arguments: right(*arguments) * factor})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "wrong",
    [
        EAGER._replace(rotate_back=rotate),
        off_by(1.1, "rms_norm"),
        off_by(1.1, "rms_norm_backward"),
        off_by(1.1, "swiglu"),
        off_by(float("nan"), "rotate"),
        EAGER._replace(swiglu_backward=lambda gradient, gate_up: (torch.cat((gradient, gradient), -1), gradient)),
    ],
    ids=["rotated on", "norm", "norm backward", "swiglu", "not a number", "no derivative"],
)
def test_a_wrong_kernel_is_never_trusted(
    wrong: Pointwise, dtype: torch.dtype, settings: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.model("llama", dtype)
    monkeypatch.setattr(way, "EAGER", wrong)
    found, said = choose(model, settings)
    assert found.policy.fused is None and found.plan is None
    assert said[0].startswith("layers are computed the generic way: the fused one does not compute the same")
    assert "off by" in said[0]


def test_a_kernel_that_fails_is_told_and_not_used(settings: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: Any) -> torch.Tensor:
        raise RuntimeError("no such instruction\nstack")

    monkeypatch.setattr(way, "EAGER", EAGER._replace(rotate=failing))
    found, said = choose(models.model("llama", torch.float32), settings)
    assert found.policy.fused is None
    assert said[0].endswith("on this device (no such instruction)")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"lora_dropout": 0.1}, "the adapter has dropout"),
        ({"use_dora": True}, "not plain LoRA"),
        ({"lora_bias": True}, "not plain LoRA"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "embed_tokens carries an adapter"),
    ],
    ids=str,
)
def test_other_adapters_go_the_generic_way(change: dict[str, Any], reason: str, settings: Train) -> None:
    found, said = choose(models.model("llama-biased", torch.float32, **change), settings)
    assert found.policy.fused is None
    assert reason in said[0]


def test_other_models_go_the_generic_way() -> None:
    config = transformers.GPTNeoXConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=20
    )
    causal: Any = transformers.GPTNeoXForCausalLM(config)
    adapted = models.adapt(causal, target_modules=["dense"])
    assert fused.refusal(adapted) == "no layer of it is written for models of type gpt_neox"
    llama = models.model("llama", torch.float32)
    llama.get_base_model().config.hidden_act = "gelu"
    assert fused.refusal(llama) == "its layers know silu, not gelu"
    llama = models.model("llama", torch.float32)
    llama.get_base_model().config.attention_dropout = 0.1
    assert fused.refusal(llama) == "the model drops parts of its attention"
    llama = models.model("llama", torch.float32)
    # As a layer in 4 bits would be.
    llama.get_base_model().model.layers[1].mlp.up_proj.base_layer = torch.nn.Bilinear(2, 2, 2)
    assert fused.refusal(llama) == "a layer is a Bilinear"


def test_a_key_switches_it_off(settings: Train) -> None:
    found, said = choose(models.model("llama", torch.float32), settings.model_copy(update={"fused": False}))
    assert found.policy.fused is None
    assert said == ["layers are computed the generic way: train.fused is false"]


def test_little_memory_is_planned_for_and_said(settings: Train) -> None:
    found, said = choose(models.model("llama", torch.float32), settings.model_copy(update={"memory": 0.001}))
    assert found.policy.fused is not None
    assert [layer.level for layer in found.policy.fused.layers] == [3, 3, 3]
    assert "3 of 3 layers are computed twice but for the last product, " in said[0]
    assert "more than there is" in said[1]
    found, said = choose(models.model("llama", torch.float32), settings)
    assert found.plan is not None and found.plan.tokens == found.size.limit == 64
    (line,) = said
    assert line.startswith("layers are computed the fused way: nothing but norms and activations is computed twice, ")
    assert line.endswith(" GB planned")
