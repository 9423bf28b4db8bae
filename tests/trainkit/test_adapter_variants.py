"""rsLoRA, DoRA, LoRA+ and ranks of single layers: trained, saved, gone on from and asked."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from transformers import AutoModelForCausalLM

from dataforge.errors import AdapterError
from dataforge.seeds import draw
from dataforge.shards import Build
from trainkit import adapters, outcome
from trainkit.assistant import open_assistant
from trainkit.config import LoraAdapter, Train
from trainkit.model import load_base
from trainkit.trainer import train

from .any_models import TRAINED, tiny
from .conftest import random_windows, write_build
from .plain_loop import mean_loss, plain_loop

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

CPU = torch.device("cpu")
RANKS = {"q_proj": 8, "layers.0.mlp.down_proj": 2, "layers.1.*(k|v)_proj": 3}
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any], float]] = {
    "rslora": ({"rslora": True}, {"use_rslora": True}, 1.0),
    "dora": ({"dora": True}, {"use_dora": True}, 1.0),
    "lora+": ({"b_learning_rate_ratio": 4.0}, {}, 4.0),
    "ranks": ({"ranks": RANKS}, {"rank_pattern": RANKS}, 1.0),
    "rslora, dora and ranks": (
        {"rslora": True, "dora": True, "ranks": RANKS},
        {"use_rslora": True, "use_dora": True, "rank_pattern": RANKS},
        1.0,
    ),
}


@pytest.fixture
def build(tmp_path: Path, tiny_base: Path) -> Build:
    """Four windows to train on and two held out."""
    return write_build(tmp_path / "build", tiny_base, random_windows(4, 1, "t"), random_windows(2, 2, "e"))


def settings_of(variant: str, **more: Any) -> Train:
    adapter = LoraAdapter(rank=4, alpha=8.0, **VARIANTS[variant][0])
    values: dict[str, Any] = {
        "steps": 5, "tokens_per_step": 100_000, "learning_rate": 0.01, "warmup": 0.0, "schedule": "linear",
        "precision": "fp32", **more,
    }  # fmt: skip
    return Train(base="tiny", adapter=adapter, **values)


@pytest.mark.parametrize("variant", VARIANTS)
def test_five_steps_are_those_of_a_plain_loop_and_peft_loads_the_result(
    variant: str, build: Build, tiny_base: Path, tmp_path: Path
) -> None:
    adapter = train(settings_of(variant), build, str(tiny_base), "tiny", tmp_path / "run", 7).adapter

    _, theirs, b_ratio = VARIANTS[variant]
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", **theirs)
    rates = [0.01 * (1 - step / 5) for step in range(5)]
    plain = plain_loop(tiny_base, config, draw(7, "adapter") >> 1, rates, random_windows(4, 1, "t"), b_ratio=b_ratio)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines if "loss" in line] == pytest.approx(plain.losses, rel=1e-5)
    saved, wanted = adapters.load_file(adapter / adapters.WEIGHTS), get_peft_model_state_dict(plain.model)
    assert saved.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(saved[name], tensor.detach(), rtol=1e-3, atol=1e-4)

    ids = torch.arange(3, 40)[None]
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), adapter)
    ours = adapters.load(load_base(str(tiny_base), torch.float32, CPU)[0], adapter)
    with torch.no_grad():
        logits = loaded(input_ids=ids).logits
        torch.testing.assert_close(logits, plain.model.eval()(input_ids=ids).logits, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(logits, ours(input_ids=ids).logits)
        with loaded.disable_adapter():
            assert (logits - loaded(input_ids=ids).logits).abs().max() > 0.01
    assert open_assistant(adapter, str(tiny_base)).answers([[{"role": "user", "content": "hello"}]], 3)


@pytest.mark.parametrize(("variant", "precision"), [("lora+", "bf16"), ("rslora, dora and ranks", "bf16")])
def test_a_run_goes_on_bit_for_bit(variant: str, precision: str, build: Build, tiny_base: Path, tmp_path: Path) -> None:
    settings = settings_of(variant, precision=precision, save_every=2, keep=9)
    whole = train(settings, build, str(tiny_base), "tiny", tmp_path / "run", 7).adapter
    cut = shutil.copytree(tmp_path / "run", tmp_path / "cut")
    shutil.rmtree(cut / "adapter")
    (cut / outcome.FILE).unlink()
    for step in (4, 5):
        shutil.rmtree(cut / "checkpoints" / f"step-{step:08d}")
    resumed = train(settings, build, str(tiny_base), "tiny", cut, 7)
    assert resumed.resumed
    for name in (adapters.WEIGHTS, "adapter_config.json"):
        assert (resumed.adapter / name).read_bytes() == (whole / name).read_bytes()


def test_every_weight_has_an_fp32_master_under_bf16(build: Build, tiny_base: Path, tmp_path: Path) -> None:
    settings = settings_of("rslora, dora and ranks", precision="bf16", learning_rate=1e-5)
    saved = adapters.load_file(
        train(settings, build, str(tiny_base), "tiny", tmp_path / "run", 7).adapter / adapters.WEIGHTS
    )
    assert {name.split(".")[-1] for name in saved} == {"weight", "lora_magnitude_vector"}
    for name, tensor in saved.items():
        assert tensor.dtype == torch.float32, name
        # Five steps of 1e-5 are lost in bf16 wherever a weight is not near zero.
        assert not torch.equal(tensor, tensor.bfloat16().float()), name


def test_of_two_ranks_the_first_counts_also_after_loading(tiny_base: Path, build: Build, tmp_path: Path) -> None:
    # In the file PEFT sorts them, which would put the second one first.
    ranks = {"q_proj": 8, "layers.0.self_attn.q_proj|v_proj": 2}
    settings = settings_of("ranks", steps=1)
    settings = settings.model_copy(update={"adapter": LoraAdapter(rank=4, alpha=8.0, ranks=ranks)})
    adapter = train(settings, build, str(tiny_base), "tiny", tmp_path / "run", 7).adapter
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), adapter)
    found = {name: module for name, module in loaded.named_modules() if hasattr(module, "lora_A")}
    assert {m.r["default"] for name, m in found.items() if name.endswith("q_proj")} == {8}
    assert {m.r["default"] for name, m in found.items() if name.endswith("v_proj")} == {2}
    assert {m.scaling["default"] for name, m in found.items() if name.endswith("q_proj")} == {1.0}
    saved = adapters.load_file(adapter / adapters.WEIGHTS)
    assert get_peft_model_state_dict(loaded, save_embedding_layers=False).keys() == saved.keys()


def other_base(folder: Path, tiny_base: Path, kind: str) -> Path:
    base = shutil.copytree(tiny_base, folder / kind)
    tiny(kind, TRAINED[kind]).save_pretrained(base)
    return base


def test_a_mixture_whose_experts_peft_adapts_is_trained_whole(build: Build, tiny_base: Path, tmp_path: Path) -> None:
    base = other_base(tmp_path, tiny_base, "mixtral")
    adapter = train(settings_of("rslora"), build, str(base), "tiny", tmp_path / "run", 7).adapter
    assert json.loads((adapter / "adapter_config.json").read_text())["target_parameters"] == [
        "down_proj", "gate.weight", "gate_up_proj",
    ]  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    with torch.no_grad():
        held_out = mean_loss(loaded, random_windows(2, 2, "e"), backward=False)
    assert [line["eval_loss"] for line in lines if "eval_loss" in line][-1] == pytest.approx(held_out, rel=1e-5)
    assert open_assistant(adapter, str(base)).answers([[{"role": "user", "content": "hello"}]], 3)


def test_what_stays_untrained_is_told_where_it_is_allowed(
    build: Build, tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = other_base(tmp_path, tiny_base, "qwen2_moe")
    settings = settings_of("rslora", steps=1)
    with pytest.raises(AdapterError, match=r"experts.gate_up_proj .* stay untrained, 5.*% of the layers' weights"):
        train(settings, build, str(base), "tiny", tmp_path / "run", 7)
    allowed = settings.adapter.model_copy(update={"untrained": "allow"})
    train(settings.model_copy(update={"adapter": allowed}), build, str(base), "tiny", tmp_path / "run", 7)
    assert "experts.gate_up_proj (8,192)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ({"q_prj": 8}, "'q_prj' is no layer that is adapted; did you mean 'q_proj'?"),
        ({"layers.11.self_attn.q_proj": 8}, "did you mean 'model.layers.1.self_attn.q_proj'?"),
        ({"lm_head": 8}, "'lm_head' is no layer that is adapted"),
        ({"q_proj": 8, "layers.0.self_attn.q_proj": 4}, "never counts, since 'q_proj' before it has the same layers"),
        ({"(q_proj": 8}, "is no regular expression"),
    ],
)
def test_ranks_that_mean_nothing_are_refused(ranks: dict[str, int], message: str, tiny_base: Path) -> None:
    model, _ = load_base(str(tiny_base), torch.float32, CPU, packed=True)
    with pytest.raises(AdapterError) as caught:
        adapters.attach(model, LoraAdapter(ranks=ranks))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", ["rslora", "dora", "ranks"])
def test_an_adapter_of_another_kind_is_nothing_to_go_on_from(
    other: str, build: Build, tiny_base: Path, tmp_path: Path
) -> None:
    adapter = train(settings_of("lora+", steps=1), build, str(tiny_base), "tiny", tmp_path / "run", 7).adapter
    onward = settings_of(other, init_from=adapter)
    with pytest.raises(AdapterError, match=f"is not an adapter of rank 4.*{other}.*the settings it was trained with"):
        train(onward, build, str(tiny_base), "tiny", tmp_path / "onward", 7)


def test_a_run_goes_on_from_an_adapter_of_its_own_kind(build: Build, tiny_base: Path, tmp_path: Path) -> None:
    variant = "rslora, dora and ranks"
    first = train(settings_of(variant, steps=1), build, str(tiny_base), "tiny", tmp_path / "run", 7).adapter
    still = settings_of(variant, steps=1, init_from=first, learning_rate=1e-12)
    second = train(still, build, str(tiny_base), "tiny", tmp_path / "onward", 7).adapter
    before, after = (adapters.load_file(adapter / adapters.WEIGHTS) for adapter in (first, second))
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name]) for name in before)


def test_rows_of_new_tokens_merge_beside_dora(tiny_base: Path) -> None:
    model, _ = load_base(str(tiny_base), torch.float32, CPU)
    adapted = adapters.attach(model, LoraAdapter(rank=4, rslora=True, dora=True, ranks=RANKS), [290, 291]).eval()
    torch.manual_seed(0)
    for weight in adapted.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.1)
    ids = torch.tensor([[5, 290, 7, 291]])
    with torch.no_grad():
        before = adapted(input_ids=ids).logits
        adapters.merge_rows(adapted)
        torch.testing.assert_close(adapted(input_ids=ids).logits, before)
