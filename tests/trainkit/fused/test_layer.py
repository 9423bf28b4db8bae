"""The hand-written backward pass against autograd through transformers and PEFT, one document at a time."""

from typing import Any

import pytest
import torch

from trainkit.fused import FusedDecoder, refusal
from trainkit.fused.layer import LEVELS

from . import models

Gradients = dict[str, torch.Tensor]


def in_full_precision(model: Any) -> None:
    """transformers computes norms in fp32 at most; here they follow the model."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = lambda x, m=module: torch.nn.functional.rms_norm(
                x, m.weight.shape, m.weight, m.variance_epsilon
            )


def of_documents_alone(model: Any, batch: Any, weight_TD: torch.Tensor) -> tuple[torch.Tensor, Gradients]:
    """Hidden states and gradients of a weighted sum of them, without anything of ours."""
    decoder = model.get_base_model().model
    outputs = [
        decoder(input_ids=ids[None], use_cache=False).last_hidden_state[0]
        for ids in batch.input_ids_T.split(batch.cu_seqlens.diff().tolist())
    ]
    output_TD = torch.cat(outputs)
    (output_TD * weight_TD).sum().backward()
    return output_TD.detach(), gradients(model)


def gradients(model: Any) -> Gradients:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def distance(found: Gradients, expected: Gradients) -> float:
    assert found.keys() == expected.keys()
    return max(float((found[name] - expected[name]).norm() / expected[name].norm()) for name in expected)


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_gradients_are_those_of_documents_alone_in_double_precision(name: str) -> None:
    batch = models.batch()
    plain = models.model(name, torch.double, packed=False)
    in_full_precision(plain)
    weight_TD = torch.randn(len(batch.input_ids_T), models.SHAPE["hidden_size"], dtype=torch.double)
    expected_TD, expected = of_documents_alone(plain, batch, weight_TD)
    adapted = models.model(name, torch.double)
    in_full_precision(adapted)
    assert refusal(adapted) is None
    for level in LEVELS:
        found_TD = FusedDecoder(adapted, [level] * 3).hidden_states(batch)
        (found_TD * weight_TD).sum().backward()
        assert (found_TD - expected_TD).abs().max() < 1e-12 * expected_TD.abs().max()
        assert distance(gradients(adapted), expected) < 1e-11


@pytest.mark.parametrize(
    "lora",
    [
        {"target_modules": ["q_proj", "v_proj"]},
        {"target_modules": ["k_proj", "down_proj"]},
        {"target_modules": ["o_proj", "up_proj"]},
        {"rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 8}, "use_rslora": True},
        {
            "target_modules": models.EVERY_LINEAR,
            "trainable_token_indices": {"embed_tokens": [int(models.batch().input_ids_T[2])]},
        },
    ],
    ids=str,
)
def test_any_targets_and_ranks(lora: dict[str, Any]) -> None:
    batch = models.batch()
    plain = models.model("qwen2", torch.double, packed=False, **lora)
    in_full_precision(plain)
    weight_TD = torch.randn(len(batch.input_ids_T), models.SHAPE["hidden_size"], dtype=torch.double)
    _, expected = of_documents_alone(plain, batch, weight_TD)
    adapted = models.model("qwen2", torch.double, **lora)
    in_full_precision(adapted)
    assert refusal(adapted) is None
    for levels in ([0, 1, 2], [3, 2, 0]):
        (FusedDecoder(adapted, levels).hidden_states(batch) * weight_TD).sum().backward()
        assert distance(gradients(adapted), expected) < 1e-11


def test_in_16_bits_it_errs_no_more_than_transformers() -> None:
    shape = {"hidden_size": 256, "intermediate_size": 704, "head_dim": 32, "num_attention_heads": 8}
    batch = models.batch([40, 11, 60, 35])
    ratios: list[float] = []
    for name in ("llama", "qwen2", "qwen3"):
        for seed in range(4):
            weight_TD = torch.randn(len(batch.input_ids_T), 256).to(torch.bfloat16)
            plain = models.model(name, torch.bfloat16, packed=False, shape=shape, seed=seed)
            _, exact = of_documents_alone(plain.float(), batch, weight_TD.float())
            _, rounded = of_documents_alone(plain.to(torch.bfloat16), batch, weight_TD)
            adapted = models.model(name, torch.bfloat16, shape=shape, seed=seed)
            (FusedDecoder(adapted, [0] * 3).hidden_states(batch) * weight_TD).sum().backward()
            ratios.append(overall(gradients(adapted), exact) / overall(rounded, exact))
    # One run's errors differ by a quarter either way.
    assert sum(ratios) / len(ratios) < 1.1


def overall(found: Gradients, exact: Gradients) -> float:
    """The error of all gradients together, relative to their norm."""
    wrong = sum(float((found[name].float() - exact[name]).square().sum()) for name in exact)
    return (wrong / sum(float(exact[name].square().sum()) for name in exact)) ** 0.5


def test_the_model_goes_on_to_compute_what_it_did() -> None:
    adapted = models.model("llama-biased", torch.float32)
    batch = models.batch()
    arguments = {
        "input_ids": batch.input_ids_T[None],
        "position_ids": batch.position_ids_T[None],
        "cu_seqlens": batch.cu_seqlens,
        "use_cache": False,
    }
    with torch.no_grad():
        before = adapted(**arguments).logits
        names = {name: weight.shape for name, weight in adapted.named_parameters()}
        fused = FusedDecoder(adapted, [0] * 3)
        assert torch.equal(adapted(**arguments).logits, before)
        assert {name: weight.shape for name, weight in adapted.named_parameters()} == names
        next(layer for layer in adapted.get_base_model().model.layers).mlp.up_proj.base_layer.weight.zero_()
        up_FD = fused.layers[0].gate_up.weight_ND[models.SHAPE["intermediate_size"] :]
    assert not up_FD.any()


def test_there_is_no_fifth_level() -> None:
    with pytest.raises(ValueError, match="there is no level 4; there are 0, 1, 2, 3"):
        FusedDecoder(models.model("llama", torch.float32), [0, 4, 0])
