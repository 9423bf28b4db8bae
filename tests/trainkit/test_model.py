import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dataforge.errors import BaseModelError
from dataforge.shards import Build
from tests.conftest import write_tiny_base
from trainkit.model import base_fingerprint, check_build, load_base, pick_precision

CPU = torch.device("cpu")


@pytest.fixture
def copied(tmp_path: Path, tiny_base: Path) -> Path:
    return shutil.copytree(tiny_base, tmp_path / "copied")


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def test_precision_is_what_is_asked_for_and_auto_asks_the_device() -> None:
    assert pick_precision("bf16", CPU) == torch.bfloat16
    assert pick_precision("fp32", CPU) == torch.float32
    assert pick_precision("auto", CPU) in (torch.bfloat16, torch.float32)


def test_the_fingerprint_does_not_depend_on_how_tensors_are_spread_over_files(copied: Path, tiny_base: Path) -> None:
    tensors = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    for number, (name, tensor) in enumerate(reversed(tensors.items())):
        save_file({name: tensor}, copied / f"model-{number:02d}.safetensors")
    change(copied / "config.json", transformers_version="1", use_cache=False)
    assert base_fingerprint(str(copied)) == base_fingerprint(str(tiny_base))


def test_the_fingerprint_tells_weights_and_shapes_apart(copied: Path, tiny_base: Path, tmp_path: Path) -> None:
    before = base_fingerprint(str(tiny_base))
    write_tiny_base(tmp_path / "other", seed=1)
    assert base_fingerprint(str(tmp_path / "other")) != before
    change(copied / "config.json", rms_norm_eps=0.1)
    assert base_fingerprint(str(copied)) != before


def test_a_build_for_this_base_is_let_through(build: Build, tiny_base: Path) -> None:
    check_build(build, str(tiny_base), "tiny")


def test_a_build_of_another_tokenizer_is_refused(build: Build, copied: Path) -> None:
    path = copied / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:-1]
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(BaseModelError, match="encoded with the tokenizer of tiny, not with that of mine; build again"):
        check_build(build, str(copied), "mine")


def test_a_build_of_another_template_is_refused(build: Build, copied: Path) -> None:
    (copied / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    with pytest.raises(BaseModelError, match="another chat template than mine carries; build again"):
        check_build(build, str(copied), "mine")


def test_a_template_in_the_tokenizers_settings_counts_as_well(build: Build, copied: Path) -> None:
    text = (copied / "chat_template.jinja").read_text(encoding="utf-8")
    (copied / "chat_template.jinja").unlink()
    change(copied / "tokenizer_config.json", chat_template=[{"name": "default", "template": text}])
    check_build(build, str(copied), "mine")


def test_rows_longer_than_the_base_are_refused(build: Build, copied: Path) -> None:
    change(copied / "config.json", max_position_embeddings=8)
    with pytest.raises(BaseModelError, match="`max_tokens: 8` or less"):
        check_build(build, str(copied), "mine")


def test_a_folder_that_is_no_model_is_told(tmp_path: Path, copied: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BaseModelError, match=r"config\.json: there is no such file"):
        base_fingerprint(str(tmp_path / "empty"))
    (copied / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(BaseModelError, match="not a safetensors file"):
        base_fingerprint(str(copied))
    (copied / "model.safetensors").unlink()
    with pytest.raises(BaseModelError, match=r"no \*\.safetensors"):
        base_fingerprint(str(copied))
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_base(str(copied), torch.float32, CPU)


def test_a_hub_that_cannot_be_reached_is_told() -> None:
    with pytest.raises(BaseModelError, match="cannot be fetched from the hub"):
        load_base("nobody/nothing", torch.float32, CPU)


def test_a_loaded_base_is_frozen_and_brings_no_sampling_settings(tiny_base: Path) -> None:
    model, tokenizer = load_base(str(tiny_base), torch.float32, CPU)
    assert not any(weight.requires_grad for weight in model.parameters())
    assert model.generation_config.temperature is None
    assert tokenizer.chat_template
