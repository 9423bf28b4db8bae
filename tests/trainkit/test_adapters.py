from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from dataforge.errors import AdapterError
from dataforge.shards import Build
from tests.conftest import write_tiny_base
from trainkit import adapters
from trainkit.assistant import open_assistant
from trainkit.config import LoraAdapter, Train
from trainkit.model import load_base
from trainkit.trainer import train

CPU = torch.device("cpu")


@pytest.fixture
def adapter(build: Build, settings: Train, tiny_base: Path, tmp_path: Path) -> Path:
    return train(settings, build, str(tiny_base), "tiny", tmp_path / "run", 7).adapter


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_peft_user_loads_the_folder_and_gets_the_same_model(
    adapter: Path, tiny_base: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), adapter)
    assert theirs.peft_config["default"].base_model_name_or_path == "tiny"
    assert AutoTokenizer.from_pretrained(adapter).chat_template == build.manifest.template.text
    monkeypatch.setattr("trainkit.assistant.pick_precision", lambda setting, device: torch.float32)
    ours = open_assistant(adapter, str(tiny_base)).model
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours(input_ids=ids).logits, theirs(input_ids=ids).logits)
        with ours.disable_adapter():
            assert not torch.allclose(ours(input_ids=ids).logits, theirs(input_ids=ids).logits)


def test_the_folder_says_what_it_was_trained_on(adapter: Path, build: Build) -> None:
    card = adapters.read_card(adapter)
    assert (card.base, card.build_digest) == ("tiny", build.manifest.digest)
    assert card.template_sha256 == build.manifest.template.sha256
    assert card.stop_tokens == {"<|im_end|>": 2}
    assert card.train["learning_rate"] == 0.01


def test_an_adapter_for_another_base_is_refused(adapter: Path, tmp_path: Path) -> None:
    write_tiny_base(tmp_path / "other", seed=1)
    with pytest.raises(AdapterError, match=r"trained on tiny \(fingerprint .*\), not on .*use the base") as caught:
        open_assistant(adapter, str(tmp_path / "other"))
    assert "\n" not in str(caught.value)


def test_a_folder_without_an_adapter_is_told(tmp_path: Path, adapter: Path, tiny_base: Path) -> None:
    with pytest.raises(AdapterError, match="no adapter here"):
        adapters.read_card(tmp_path / "nowhere")
    (adapter / adapters.WEIGHTS).write_bytes(b"short")
    with pytest.raises(AdapterError, match="cannot be loaded"):
        open_assistant(adapter, str(tiny_base))
    (adapter / adapters.CARD).write_text("{}", encoding="utf-8")
    with pytest.raises(AdapterError, match=r"forge\.json: cannot be read \(base:"):
        adapters.read_card(adapter)


def test_a_target_that_matches_nothing_is_named(tiny_base: Path) -> None:
    model, _ = load_base(str(tiny_base), torch.float32, CPU, packed=True)
    with pytest.raises(AdapterError, match=r"'q_prj' is no linear layer of this base; did you mean 'q_proj'"):
        adapters.attach(model, LoraAdapter(targets=["v_proj", "q_prj"]))
    with pytest.raises(AdapterError, match="'lm_head' is the output head"):
        adapters.attach(model, LoraAdapter(targets=["lm_head"]))


def test_only_the_targets_named_are_adapted(tiny_base: Path) -> None:
    model, _ = load_base(str(tiny_base), torch.float32, CPU, packed=True)
    adapted = adapters.attach(model, LoraAdapter(rank=2, targets=["q_proj", "down_proj"]))
    trained = {name.split(".")[-4] for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert trained == {"q_proj", "down_proj"}


def test_a_run_goes_on_from_an_adapter(adapter: Path, build: Build, settings: Train, tiny_base: Path) -> None:
    onward = settings.model_copy(update={"init_from": adapter, "learning_rate": 1e-12})
    out = adapter.parent.parent / "onward"
    outcome = train(onward, build, str(tiny_base), "tiny", out, 7)
    before = adapters.load_file(adapter / adapters.WEIGHTS)
    after = adapters.load_file(outcome.adapter / adapters.WEIGHTS)
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name]) for name in before)


def test_an_adapter_of_another_shape_is_nothing_to_go_on_from(
    adapter: Path, build: Build, settings: Train, tiny_base: Path, tmp_path: Path
) -> None:
    for changed in (LoraAdapter(rank=2, alpha=8.0), LoraAdapter(rank=4, alpha=4.0)):
        onward = settings.model_copy(update={"init_from": adapter, "adapter": changed})
        with pytest.raises(AdapterError, match="is not an adapter of rank"):
            train(onward, build, str(tiny_base), "tiny", tmp_path / "onward", 7)
    write_tiny_base(tmp_path / "other", seed=1)
    with pytest.raises(AdapterError, match="use the base it was trained on"):
        train(
            settings.model_copy(update={"init_from": adapter}),
            build,
            str(tmp_path / "other"),
            "other",
            tmp_path / "x",
            7,
        )
