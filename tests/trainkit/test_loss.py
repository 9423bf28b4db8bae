import pytest
import torch

from trainkit.loss import Rows, linear_cross_entropy


@pytest.mark.parametrize("chunk", [1, 7, 50, 1000])
@pytest.mark.parametrize("biased", [False, True])
def test_the_chunked_loss_and_its_gradient_are_those_of_torch(chunk: int, biased: bool) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(50, 32, dtype=torch.double, requires_grad=True)
    head = torch.randn(200, 32, dtype=torch.double)
    bias = torch.randn(200, dtype=torch.double) if biased else None
    targets = torch.randint(0, 200, (50,))

    expected = torch.nn.functional.cross_entropy(
        torch.nn.functional.linear(hidden, head, bias), targets, reduction="sum"
    )
    (expected_gradient,) = torch.autograd.grad(3 * expected, hidden)
    loss = linear_cross_entropy(hidden, head, targets, bias, chunk).summed
    (gradient,) = torch.autograd.grad(3 * loss, hidden)

    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, expected_gradient)
    logits = torch.nn.functional.linear(hidden, head, bias)
    each = linear_cross_entropy(hidden, head, targets, bias, chunk).tokens_T
    torch.testing.assert_close(each, torch.nn.functional.cross_entropy(logits, targets, reduction="none").detach())
    assert not each.requires_grad


@pytest.mark.parametrize("chunk", [1, 7, 50, 1000])
@pytest.mark.parametrize("biased", [False, True])
def test_trained_rows_stand_in_for_those_of_the_head_and_get_torchs_gradient(chunk: int, biased: bool) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(50, 32, dtype=torch.double, requires_grad=True)
    head = torch.randn(200, 32, dtype=torch.double)
    bias = torch.randn(200, dtype=torch.double) if biased else None
    rows = Rows(torch.tensor([7, 199, 3]), torch.randn(3, 32, dtype=torch.double, requires_grad=True))
    targets = torch.randint(0, 200, (50,))
    targets[::5] = 199

    whole = head.index_copy(0, *rows)
    expected = torch.nn.functional.cross_entropy(
        torch.nn.functional.linear(hidden, whole, bias), targets, reduction="sum"
    )
    wanted = torch.autograd.grad(3 * expected, (hidden, rows.values_ND))
    loss = linear_cross_entropy(hidden, head, targets, bias, chunk, rows).summed
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(3 * loss, (hidden, rows.values_ND)), wanted)


def test_the_gradient_of_trained_rows_is_summed_in_fp32_for_a_bf16_model() -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(3000, 16).bfloat16(), torch.randn(50, 16).bfloat16()
    values = torch.randn(2, 16).bfloat16().requires_grad_()
    targets = torch.full((3000,), 49)
    loss = linear_cross_entropy(hidden, head, targets, chunk=10, rows=Rows(torch.tensor([0, 49]), values)).summed
    (gradient,) = torch.autograd.grad(loss, values)
    logits = torch.nn.functional.linear(hidden, head.index_copy(0, torch.tensor([0, 49]), values.detach()))
    residual = logits.float().softmax(dim=1) - torch.nn.functional.one_hot(targets, 50)
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(gradient, (residual[:, [0, 49]].T @ hidden.float()).bfloat16())


def test_the_sum_is_taken_in_fp32_for_a_bf16_model() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(300, 16).bfloat16().requires_grad_()
    head = torch.randn(50, 16).bfloat16()
    targets = torch.randint(0, 50, (300,))
    loss = linear_cross_entropy(hidden, head, targets).summed
    expected = torch.nn.functional.cross_entropy((hidden @ head.t()).float(), targets, reduction="sum")
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-3)


def test_no_tokens_are_no_loss() -> None:
    hidden = torch.zeros(0, 8, requires_grad=True)
    loss = linear_cross_entropy(hidden, torch.zeros(5, 8), torch.zeros(0, dtype=torch.long)).summed
    assert loss.item() == 0
    torch.autograd.grad(loss, hidden)


def test_a_head_that_is_trained_is_refused() -> None:
    head = torch.zeros(5, 8, requires_grad=True)
    with pytest.raises(ValueError, match="frozen"):
        linear_cross_entropy(torch.zeros(1, 8), head, torch.zeros(1, dtype=torch.long))
