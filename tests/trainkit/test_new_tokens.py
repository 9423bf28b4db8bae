"""Control tokens that a build added to the base's tokenizer: their rows are trained, saved and read back."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from dataforge.errors import AdapterError, BaseModelError
from dataforge.seeds import draw
from dataforge.shards import Build, Window
from tests.conftest import write_tiny_base
from trainkit import adapters, new_tokens, sampling
from trainkit.assistant import open_assistant
from trainkit.config import Train
from trainkit.interrupt import Interrupted
from trainkit.model import load_base
from trainkit.policy import Policy
from trainkit.trainer import train

from .conftest import random_windows, write_build
from .plain_loop import documents
from .test_trainer import InterruptingStream, losses, metrics

CPU = torch.device("cpu")
KNOWN = 300
NEW = {"<|header|>": 300, "<|eot|>": 301}
BASES = {"tied": KNOWN, "untied": KNOWN, "padded": 320}
"""The rows of each base's vocabulary."""


@pytest.fixture(scope="module", params=BASES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose head is tied to the embedding, one whose head is not, and one with more rows than tokens."""
    folder = tmp_path_factory.mktemp("bases") / request.param
    write_tiny_base(folder, seed=0)
    if request.param != "tied":
        write_model(folder, tie_word_embeddings=False, vocab_size=BASES[request.param])
    return folder


def write_model(folder: Path, **changed: Any) -> None:
    torch.manual_seed(1)
    config = LlamaConfig.from_pretrained(folder)
    config.update(changed)
    LlamaForCausalLM(config).save_pretrained(folder)


@pytest.fixture
def new_build(base: Path, tmp_path: Path) -> Build:
    return with_new_tokens(tmp_path / "new", base, NEW)


def with_new_tokens(folder: Path, base: Path, tokens: dict[str, int]) -> Build:
    """A build in which each document begins with the first new token and ends with the last one, which is trained."""
    splits = [[marked(window, tokens) for window in random_windows(*spec)] for spec in ((12, 1, "t"), (3, 2, "e"))]
    return write_build(folder, base, *splits, new_tokens=tokens)


def marked(window: Window, tokens: dict[str, int]) -> Window:
    ids, (first, *_, last) = window.input_ids.copy(), tokens.values()
    ends = window.seq_lengths.cumsum()
    ids[ends - window.seq_lengths], ids[ends - 1] = first, last
    return Window(ids, window.assistant_masks, window.seq_lengths, window.record_ids)


@pytest.fixture
def twelve(settings: Train) -> Train:
    return settings.model_copy(update={"epochs": None, "steps": 12, "weight_decay": 0.1})


def layers(model: Any) -> list[Any]:
    return [model.get_input_embeddings(), model.get_output_embeddings()]


def test_a_new_row_is_the_mean_of_the_rows_that_were_trained(base: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    plain: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model, tokenizer = load_base(str(base), torch.float32, CPU, added=NEW)
    assert torch.equal(torch.get_rng_state(), before)
    rows = max(BASES[base.name], KNOWN + len(NEW))
    for layer, reference in zip(layers(model), layers(plain), strict=True):
        assert layer.weight.shape[0] == rows
        frozen = [number for number in range(len(reference.weight)) if number not in NEW.values()]
        assert torch.equal(layer.weight[frozen], reference.weight[frozen])
        for number in NEW.values():
            torch.testing.assert_close(layer.weight[number], reference.weight[:KNOWN].mean(dim=0))
    assert (layers(model)[0].weight is layers(model)[1].weight) is (base.name == "tied")
    assert tokenizer("a<|eot|>b", add_special_tokens=False)["input_ids"][1:-1] == [301]
    assert tokenizer.decode([301], skip_special_tokens=True) == ""


def test_a_new_token_is_never_the_likeliest_before_it_is_trained(base: Path) -> None:
    plain: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model, _ = load_base(str(base), torch.float32, CPU, added=NEW)
    ids = torch.arange(3, 103)[None]
    with torch.no_grad():
        expected, logits = plain(input_ids=ids).logits[..., :KNOWN], model(input_ids=ids).logits
    torch.testing.assert_close(logits[..., :KNOWN], expected)
    for number in NEW.values():
        torch.testing.assert_close(logits[..., number], expected.mean(dim=-1), atol=1e-4, rtol=1e-4)
        assert (logits[..., number] < logits.max(dim=-1).values).all()


def test_a_new_stop_begins_as_the_token_on_which_the_base_ends_a_text(
    base: Path, twelve: Train, tmp_path: Path
) -> None:
    windows = [marked(window, NEW) for window in random_windows(2, 1, "t")]
    build = write_build(tmp_path / "build", base, windows, [], NEW, {"<|eot|>": 301})
    still = twelve.model_copy(update={"steps": 1, "learning_rate": 1e-12})
    saved = load_file(train(still, build, str(base), "tiny", tmp_path / "run", 7).adapter / adapters.WEIGHTS)
    plain: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    rows = {name: values for name, values in saved.items() if "lora" not in name}
    for name, values in rows.items():
        weight = layers(plain)["lm_head" in name].weight
        torch.testing.assert_close(values, torch.stack([weight[:KNOWN].mean(dim=0), weight[2]]))


def test_a_word_that_becomes_a_control_token_keeps_its_row(tiny_base: Path) -> None:
    plain: Any = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    word = AutoTokenizer.from_pretrained(tiny_base).convert_tokens_to_ids("llo")
    model, tokenizer = load_base(str(tiny_base), torch.float32, CPU, added={"llo": word, "<|eot|>": 300})
    assert torch.equal(layers(model)[0].weight[:300], layers(plain)[0].weight)
    assert word in tokenizer.all_special_ids or tokenizer.added_tokens_decoder[word].special


def test_ids_that_the_tokenizer_does_not_give_are_refused(base: Path, twelve: Train, tmp_path: Path) -> None:
    build = with_new_tokens(tmp_path / "build", base, {"<|eot|>": 300, "<|header|>": 302})
    with pytest.raises(
        BaseModelError, match=r"gives the new token <\|header\|> the id 301, .* 302; build again"
    ) as caught:
        train(twelve, build, str(base), "tiny", tmp_path / "run", 7)
    assert "\n" not in str(caught.value)


def test_a_head_with_a_bias_is_refused() -> None:
    model = LlamaForCausalLM(LlamaConfig(vocab_size=8, hidden_size=4, num_attention_heads=1, num_hidden_layers=0))
    model.lm_head = torch.nn.Linear(4, 8)
    with pytest.raises(BaseModelError, match=r"mine: has a bias in its output head.*`missing_tokens: as_text`"):
        new_tokens.add(model, None, NEW, "mine")


def trained_model(monkeypatch: pytest.MonkeyPatch, *run: Any) -> tuple[list[Any], Path]:
    """The PEFT model of a run, as it is when it is saved, and the adapter."""
    found: list[Any] = []
    save = adapters.save

    def spy(folder: Path, model: Any, *others: Any) -> None:
        found.append(model)
        save(folder, model, *others)

    monkeypatch.setattr(adapters, "save", spy)
    return found, train(*run).adapter


def logits_of(packed: Any, ids: torch.Tensor) -> torch.Tensor:
    """What a model that was loaded for packed rows says of one document."""
    bounds = torch.tensor([0, len(ids)], dtype=torch.int32)
    logits: torch.Tensor = packed.eval()(input_ids=ids[None], cu_seqlens=bounds, use_cache=False).logits
    return logits


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_twelve_steps_move_new_rows_and_lora_as_a_plain_loop_does_and_nothing_else(
    base: Path, new_build: Build, twelve: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = twelve.model_copy(update={"tokens_per_step": 100_000, "clip": 0.5, "warmup": 0.0, "schedule": "constant"})
    (model,), adapter = trained_model(monkeypatch, long, new_build, str(base), "tiny", tmp_path / "run", 7)

    start, _ = load_base(str(base), torch.float32, CPU, added=NEW)
    initial = {name: weight.clone() for name, weight in start.named_parameters()}
    frozen = {name: weight for name, weight in model.named_parameters() if not weight.requires_grad}
    assert len(frozen) == len(initial)
    for name, weight in frozen.items():
        for part in ("base_model.model.", "base_layer.", "token_adapter."):
            name = name.replace(part, "")
        assert torch.equal(weight, initial[name]), name

    torch.manual_seed(draw(7, "adapter") >> 1)
    trained = ["embed_tokens"] if base.name == "tied" else ["embed_tokens", "lm_head"]
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        trainable_token_indices={layer: [300, 301] for layer in trained},
    )
    theirs: Any = get_peft_model(start, config)
    weights = {name: weight for name, weight in theirs.named_parameters() if weight.requires_grad}
    assert weights.keys() == Policy(model).parameters.keys()
    assert sum("trainable_tokens" in name for name in weights) == len(trained)
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    adam = torch.optim.AdamW(weights.values(), lr=0.01, weight_decay=0.1)
    found = documents([marked(window, NEW) for window in random_windows(12, 1, "t")])
    count = sum(int((labels[1:] != -100).sum()) for _, labels in found)
    expected = []
    for _ in range(12):
        total = 0.0
        for ids, labels in found:
            logits = theirs(input_ids=ids[None]).logits[0, :-1]
            loss = torch.nn.functional.cross_entropy(logits, labels[1:], ignore_index=-100, reduction="sum") / count
            loss.backward()
            total += loss.item()
        expected.append(total)
        torch.nn.utils.clip_grad_norm_(weights.values(), 0.5)
        adam.step()
        adam.zero_grad()

    measured = [line["loss"] for line in metrics(tmp_path / "run") if "loss" in line]
    assert measured == pytest.approx(expected, rel=1e-5)
    for name, weight in Policy(model).parameters.items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-3, atol=1e-5)
        assert (weight != before[name]).any(dim=1).all(), f"{name}: a row has not moved"
    saved = load_file(adapter / adapters.WEIGHTS)
    rows = {name: tensor.shape for name, tensor in saved.items() if "lora" not in name}
    assert set(rows.values()) == {(2, 32)} and len(rows) == len(trained)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_peft_user_and_forge_chat_get_the_trained_model(
    base: Path, new_build: Build, twelve: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model,), adapter = trained_model(monkeypatch, twelve, new_build, str(base), "tiny", tmp_path / "run", 7)
    ids = torch.tensor([300, *range(3, 40), 301])
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in NEW} == NEW
    assert tokenizer("a<|eot|>", add_special_tokens=False)["input_ids"][-1] == 301
    plain: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(11)
    plain.resize_token_embeddings(len(tokenizer))
    theirs: Any = PeftModel.from_pretrained(plain, adapter)
    monkeypatch.setattr("trainkit.assistant.pick_precision", lambda setting, device: torch.float32)
    ours = open_assistant(adapter, str(base)).model
    untouched: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        expected = logits_of(model, ids)[..., :302]
        torch.testing.assert_close(theirs(input_ids=ids[None]).logits[..., :302], expected)
        torch.testing.assert_close(ours(input_ids=ids[None]).logits[..., :302], expected)
        with ours.disable_adapter():
            base_logits = ours(input_ids=ids[None, 1:-1]).logits[..., :KNOWN]
        assert torch.equal(base_logits, untouched(input_ids=ids[None, 1:-1]).logits[..., :KNOWN])


def test_an_answer_ends_at_a_new_token_that_was_trained(base: Path, settings: Train, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, return_dict=False
    )
    answer = [*tokenizer("hello", add_special_tokens=False)["input_ids"], 301]
    window = Window(
        input_ids=np.array([*prompt, *answer], np.int32),
        assistant_masks=np.array([0] * len(prompt) + [1] * len(answer), np.int8),
        seq_lengths=np.array([len(prompt) + len(answer)], np.int32),
        record_ids=("r#1",),
    )
    build = write_build(tmp_path / "build", base, [window], [], NEW, {"<|eot|>": 301})
    outcome = train(settings.model_copy(update={"epochs": 60}), build, str(base), "tiny", tmp_path / "run", 7)
    assistant = open_assistant(outcome.adapter, str(base))
    assert "".join(assistant.stream([{"role": "user", "content": "hi"}], 50)) == "hello"
    assert assistant.answers([[{"role": "user", "content": "hi"}]], 50) == ["hello"]


def test_the_adapter_is_switched_off_and_on_again(
    base: Path, new_build: Build, twelve: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = train(twelve, new_build, str(base), "tiny", tmp_path / "run", 7).adapter
    monkeypatch.setattr("trainkit.assistant.pick_precision", lambda setting, device: torch.float32)
    assistant = open_assistant(adapter, str(base))
    untouched, tokenizer = load_base(str(base), torch.float32, CPU)
    asked = [[{"role": "user", "content": "who are you?"}]]
    wanted = sampling.answers(untouched, tokenizer, asked, {"<|im_end|>": 2}, 20)
    ids = torch.tensor([[300, *range(3, 40), 301]])
    with torch.no_grad():
        before = assistant.model(input_ids=ids).logits
        tuned = assistant.answers(asked, 20)
        for _ in range(2):
            assert assistant.answers(asked, 20, tuned=False) == wanted
            assert assistant.answers(asked, 20) == tuned != wanted
            torch.testing.assert_close(assistant.model(input_ids=ids).logits, before)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_with_new_tokens_goes_on_to_the_same_losses(
    base: Path, new_build: Build, twelve: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    chosen = twelve.model_copy(update={"precision": precision})
    whole = train(chosen, new_build, str(base), "tiny", tmp_path / "whole", 7)
    monkeypatch.setattr(sys, "stderr", InterruptingStream())
    with pytest.raises(Interrupted):
        train(chosen, new_build, str(base), "tiny", tmp_path / "cut", 7)
    state = next((tmp_path / "cut" / "checkpoints").glob("*/state.safetensors"))
    assert {tensor.dtype for name, tensor in load_file(state).items() if "trainable_tokens" in name} == {torch.float32}
    resumed = train(chosen, new_build, str(base), "tiny", tmp_path / "cut", 7)
    assert resumed.resumed
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    for name in (adapters.WEIGHTS, "adapter_config.json"):
        assert (resumed.adapter / name).read_bytes() == (whole.adapter / name).read_bytes()


def test_a_run_goes_on_from_an_adapter_with_the_same_new_tokens_only(
    base: Path, new_build: Build, twelve: Train, tmp_path: Path
) -> None:
    first = train(twelve, new_build, str(base), "tiny", tmp_path / "first", 7).adapter
    onward = twelve.model_copy(update={"init_from": first, "learning_rate": 1e-12})
    second = train(onward, new_build, str(base), "tiny", tmp_path / "second", 7).adapter
    before, after = (load_file(adapter / adapters.WEIGHTS) for adapter in (first, second))
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[name], after[name]) for name in before)

    other = with_new_tokens(tmp_path / "other", base, {"<|eot|>": 300, "<|header|>": 301})
    none = write_build(tmp_path / "none", base, random_windows(4, 1, "t"), [])
    for build, listed in ((other, r"<\|eot\|> \(300\), <\|header\|> \(301\)"), (none, "none")):
        with pytest.raises(
            AdapterError, match=rf"<\|header\|> \(300\), .* has {listed}; build with the same"
        ) as caught:
            train(onward, build, str(base), "tiny", tmp_path / "onward", 7)
        assert "\n" not in str(caught.value)
    plain = train(twelve, none, str(base), "tiny", tmp_path / "plain", 7).adapter
    with pytest.raises(AdapterError, match="with none as new tokens, but"):
        train(onward.model_copy(update={"init_from": plain}), new_build, str(base), "tiny", tmp_path / "x", 7)


def test_the_card_lists_new_tokens_and_one_without_them_is_read(tiny_base: Path, twelve: Train, tmp_path: Path) -> None:
    build = with_new_tokens(tmp_path / "build", tiny_base, NEW)
    adapter = train(twelve, build, str(tiny_base), "tiny", tmp_path / "run", 7).adapter
    assert adapters.read_card(adapter).new_tokens == NEW
    path = adapter / adapters.CARD
    older = {key: value for key, value in json.loads(path.read_bytes()).items() if key != "new_tokens"}
    path.write_text(json.dumps(older), encoding="utf-8")
    assert adapters.read_card(adapter).new_tokens == {}
