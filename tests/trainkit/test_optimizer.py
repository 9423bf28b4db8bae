import math
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer

from trainkit.config import Train
from trainkit.optimizer import Optimizer, learning_rate


def set_gradient(weight: torch.nn.Parameter, values: list[float] | torch.Tensor) -> None:
    assert weight.grad is not None
    weight.grad.copy_(torch.as_tensor(values))


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_without_warm_up_the_schedules_are_their_formulas(steps: int) -> None:
    for step in range(steps):
        share = step / steps
        rates = {
            schedule: learning_rate(Train(base="b", schedule=schedule, warmup=0.0, learning_rate=2.0), step, steps)
            for schedule in ("cosine", "linear", "constant")
        }
        assert rates["cosine"] == pytest.approx(1 + math.cos(math.pi * share))
        assert rates["linear"] == pytest.approx(2 * (1 - share))
        assert rates["constant"] == 2


def test_warm_up_rises_in_equal_steps_to_the_full_rate() -> None:
    settings = Train(base="b", schedule="linear", warmup=0.2, learning_rate=1.0)
    rates = [learning_rate(settings, step, 20) for step in range(20)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5:] == pytest.approx([1 - k / 16 for k in range(1, 16)])


def test_wsd_rises_stays_and_falls_over_its_last_steps() -> None:
    settings = Train(base="b", schedule="wsd", warmup=0.2, decay=0.3, learning_rate=1.0)
    rates = [learning_rate(settings, step, 10) for step in range(10)]
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])
    never = Train(base="b", schedule="wsd", warmup=0.0, decay=0.0, learning_rate=1.0)
    assert [learning_rate(never, step, 3) for step in range(3)] == [1, 1, 1]


def test_warm_up_all_the_way_never_falls() -> None:
    settings = Train(base="b", warmup=1.0, learning_rate=1.0)
    rates = [learning_rate(settings, step, 4) for step in range(4)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_the_shortest_runs_and_warm_ups() -> None:
    def rates(schedule: str, warmup: float, steps: int) -> list[float]:
        settings = Train(base="b", schedule=schedule, warmup=warmup, learning_rate=1.0)  # type: ignore[arg-type]
        return [learning_rate(settings, step, steps) for step in range(steps)]

    for schedule in ("cosine", "linear", "constant", "wsd"):
        assert rates(schedule, 0.0, 1) == [1.0]
        assert rates(schedule, 1.0, 1) == [0.5]
        assert rates(schedule, 0.5, 2)[0] == 0.5
        assert rates(schedule, 1.0, 3) == pytest.approx([0.25, 0.5, 0.75])
    # A share that is less than half a step is no warm-up.
    assert rates("constant", 0.03, 16) == [1.0] * 16
    assert rates("constant", 0.03, 17) == [0.5] + [1.0] * 16


def test_a_decay_over_all_steps_begins_where_the_warm_up_ends() -> None:
    settings = Train(base="b", schedule="wsd", warmup=0.4, decay=1.0, learning_rate=1.0)
    rates = [learning_rate(settings, step, 5) for step in range(5)]
    assert rates == pytest.approx([1 / 3, 2 / 3, 3 / 4, 2 / 4, 1 / 4])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_steps_are_those_of_the_paper(dtype: torch.dtype) -> None:
    settings = Train(base="b", schedule="constant", warmup=0.0, learning_rate=0.1, weight_decay=0.5, clip=None)
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=dtype))
    optimizer = Optimizer({"w": weight}, settings, 2)
    expected, first, second = [1.0, -2.0], [0.0, 0.0], [0.0, 0.0]
    for step, gradient in enumerate([[0.5, 1.0], [0.25, -4.0]], start=1):
        set_gradient(weight, gradient)
        optimizer.collect()
        optimizer.clip()
        optimizer.step(step - 1)
        for i, g in enumerate(gradient):
            first[i] = 0.9 * first[i] + 0.1 * g
            second[i] = 0.999 * second[i] + 0.001 * g * g
            moved = (first[i] / (1 - 0.9**step)) / (math.sqrt(second[i] / (1 - 0.999**step)) + 1e-8)
            expected[i] = expected[i] * (1 - 0.1 * 0.5) - 0.1 * moved
    assert optimizer.masters["w"].tolist() == pytest.approx(expected, rel=1e-5)
    assert weight.float().tolist() == pytest.approx(expected, rel=1e-5 if dtype == torch.float32 else 1e-2)
    assert weight.grad is not None and not weight.grad.any()


def test_clipping_shortens_the_whole_gradient_to_the_limit() -> None:
    weights = {name: torch.nn.Parameter(torch.zeros(1)) for name in "ab"}
    optimizer = Optimizer(weights, Train(base="b", clip=1.0), 1)
    set_gradient(weights["a"], [3.0])
    set_gradient(weights["b"], [4.0])
    assert optimizer.clip() == pytest.approx(5.0)
    assert [weight.grad.item() for weight in weights.values() if weight.grad is not None] == pytest.approx([0.6, 0.8])
    assert optimizer.clip() == pytest.approx(1.0)


@pytest.mark.parametrize(("limit", "kept"), [(5.0, 1.0), (6.0, 1.0), (None, 1.0), (2.5, 0.5)])
def test_a_gradient_within_the_limit_is_left_alone(limit: float | None, kept: float) -> None:
    weights = {name: torch.nn.Parameter(torch.zeros(1)) for name in ("w.lora_A.x", "w.lora_B.x")}
    settings = Train(base="b", clip=limit, adapter={"b_learning_rate_ratio": 4.0})  # type: ignore[arg-type]
    optimizer = Optimizer(weights, settings, 1)
    for weight, size in zip(weights.values(), (3.0, -4.0), strict=True):
        set_gradient(weight, [size])
    assert optimizer.clip() == pytest.approx(5.0)
    found = [weight.grad.item() for weight in weights.values() if weight.grad is not None]
    assert found == pytest.approx([3.0 * kept, -4.0 * kept], rel=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("ratio", [1.0, 4.0, 16.0])
def test_ten_steps_of_lora_plus_are_pefts(ratio: float) -> None:
    def fresh() -> Any:
        torch.manual_seed(0)
        layers = torch.nn.ModuleDict(
            {"embed": torch.nn.Embedding(20, 8), "one": torch.nn.Linear(8, 12), "two": torch.nn.Linear(12, 5)}
        )
        return get_peft_model(layers, LoraConfig(r=2, target_modules=["one", "two"]))  # type: ignore[arg-type]

    ours, theirs = fresh(), fresh()
    parameters = {name: weight for name, weight in ours.named_parameters() if weight.requires_grad}
    adapter = {"b_learning_rate_ratio": ratio}
    settings = Train(base="b", schedule="linear", warmup=0.0, learning_rate=0.1, weight_decay=0.3, clip=None,
                     adapter=adapter)  # type: ignore[arg-type]  # fmt: skip
    optimizer = Optimizer(parameters, settings, 10)
    plus = create_loraplus_optimizer(
        theirs, torch.optim.AdamW, lr=0.1, loraplus_lr_ratio=ratio, loraplus_weight_decay=0.3
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(plus, lambda step: 1 - step / 10)
    rng = torch.Generator().manual_seed(1)
    for step in range(10):
        for (name, weight), twin in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            if name in parameters:
                twin.grad = torch.randn(weight.shape, generator=rng)
                set_gradient(weight, twin.grad)
        optimizer.collect()
        optimizer.clip()
        assert optimizer.step(step) == pytest.approx(0.1 * (1 - step / 10))
        plus.step()
        schedule.step()
    for weight, twin in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(weight, twin)


def test_only_b_matrices_learn_at_their_own_rate() -> None:
    names = {
        "layer.lora_A.default.weight": 1.0,
        "layer.lora_B.default.weight": 3.0,
        "embed.lora_embedding_A.default": 1.0,
        "embed.lora_embedding_B.default": 3.0,
        "layer.lora_magnitude_vector.default.weight": 1.0,
        "embed.token_adapter.trainable_tokens_delta.default": 1.0,
    }
    weights = {name: torch.nn.Parameter(torch.zeros(2)) for name in names}
    settings = Train(base="b", schedule="constant", warmup=0.0, learning_rate=0.01, clip=None,
                     adapter={"b_learning_rate_ratio": 3.0})  # type: ignore[arg-type]  # fmt: skip
    optimizer = Optimizer(weights, settings, 1)
    for weight in weights.values():
        set_gradient(weight, [1.0, 1.0])
    optimizer.step(0)
    for name, ratio in names.items():
        # Adam's first step has the length of the learning rate.
        assert weights[name].tolist() == pytest.approx([-0.01 * ratio] * 2, rel=1e-5), name


def test_small_gradients_of_many_micro_batches_are_not_lost_in_bf16() -> None:
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    optimizer = Optimizer({"w": weight}, Train(base="b", clip=None), 1)
    for size in [1.0] + [0.001] * 1000:
        set_gradient(weight, [size])
        optimizer.collect()
    assert optimizer.clip() == pytest.approx(2.0, rel=1e-2)


def test_fp16_steps_are_those_of_fp32_and_an_overflow_is_left_out_with_half_the_scale() -> None:
    settings = Train(base="b", schedule="constant", warmup=0.0, learning_rate=0.1, clip=None)
    half = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float16))
    whole = torch.nn.Parameter(half.detach().float())
    small, exact = Optimizer({"w": half}, settings, 3), Optimizer({"w": whole}, settings, 3)
    assert small.scales and not exact.scales
    for optimizer, weight in ((small, half), (exact, whole)):
        optimizer.backward((weight.float() * 1e-6).sum())
        optimizer.clip()
        optimizer.step(0)
    assert small.masters["w"].tolist() == pytest.approx(whole.tolist(), rel=1e-3)

    before, scale = small.masters["w"].tolist(), small.loss_scale
    small.backward((half.float() * 60000.0).sum())
    assert not math.isfinite(small.clip())
    small.step(1)
    assert small.masters["w"].tolist() == before
    assert small.loss_scale == scale / 2
    saved = {name: tensor.clone() for name, tensor in small.tensors().items()}
    other = torch.nn.Parameter(half.detach().clone())
    again = Optimizer({"w": other}, settings, 3)
    again.restore(saved)
    assert again.loss_scale == small.loss_scale
    for optimizer, weight in ((small, half), (again, other)):
        optimizer.backward((weight.float() * 0.5).sum())
        optimizer.clip()
        optimizer.step(2)
    assert again.masters["w"].tolist() == small.masters["w"].tolist() != before


def test_a_gradient_that_is_not_summed_is_an_error() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = Optimizer({"w": weight}, Train(base="b"), 1)
    weight.grad = torch.ones(2)
    with pytest.raises(RuntimeError, match="gradient of w was put elsewhere"):
        optimizer.collect()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parameters_of_any_shape_share_one_buffer(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    shapes = {"lora_A.a": (3, 5), "lora_B.b": (5, 3), "lora_A.c": (1,), "lora_B.d": (70, 2)}
    weights = {name: torch.nn.Parameter(torch.randn(shape).to(dtype)) for name, shape in shapes.items()}
    values = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer = Optimizer(weights, Train(base="b", clip=None), 1)
    assert len({weight.untyped_storage().data_ptr() for weight in weights.values()}) == 1
    assert len({master.untyped_storage().data_ptr() for master in optimizer.masters.values()}) == 1
    assert all(torch.equal(weights[name], value) for name, value in values.items())
    assert all(torch.equal(optimizer.masters[name], value.float()) for name, value in values.items())
    optimizer.backward(sum((weight.float() * index).sum() for index, weight in enumerate(weights.values())))  # type: ignore[arg-type]
    assert optimizer.clip() == pytest.approx(math.sqrt(15 + 4 * 1 + 9 * 140))
    assert all(weight.data_ptr() % 64 == 0 for weight in weights.values())
