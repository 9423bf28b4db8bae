import math

import pytest
import torch

from trainkit.config import Train
from trainkit.optimizer import Optimizer, learning_rate


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_steps_are_those_of_the_paper(dtype: torch.dtype) -> None:
    settings = Train(base="b", schedule="constant", warmup=0.0, learning_rate=0.1, weight_decay=0.5, clip=None)
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=dtype))
    optimizer = Optimizer({"w": weight}, settings, 2)
    expected, first, second = [1.0, -2.0], [0.0, 0.0], [0.0, 0.0]
    for step, gradient in enumerate([[0.5, 1.0], [0.25, -4.0]], start=1):
        weight.grad = torch.tensor(gradient, dtype=dtype)
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
    assert weight.grad is None


def test_clipping_shortens_the_whole_gradient_to_the_limit() -> None:
    weights = {name: torch.nn.Parameter(torch.zeros(1)) for name in "ab"}
    optimizer = Optimizer(weights, Train(base="b", clip=1.0), 1)
    weights["a"].grad, weights["b"].grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert optimizer.clip() == pytest.approx(5.0)
    assert [weight.grad.item() for weight in weights.values() if weight.grad is not None] == pytest.approx([0.6, 0.8])
    assert optimizer.clip() == pytest.approx(1.0)


def test_small_gradients_of_many_micro_batches_are_not_lost_in_bf16() -> None:
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    optimizer = Optimizer({"w": weight}, Train(base="b", clip=None), 1)
    for size in [1.0] + [0.001] * 1000:
        weight.grad = torch.tensor([size], dtype=torch.bfloat16)
        optimizer.collect()
    assert optimizer.clip() == pytest.approx(2.0, rel=1e-2)
