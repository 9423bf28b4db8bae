"""Whether what trainkit leans on does on this device what it must; each finding is a number and its limit."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from gpu_model import adapted, base, device
from gpu_roofline import seconds_of
from gpu_shapes import SHAPES, tiny

from trainkit import attention, fused
from trainkit.fused.pointwise import EAGER, compiled
from trainkit.loss import linear_cross_entropy

Check = dict[str, Any]
LAYERS = ("Llama-3-8B", "Qwen3-8B", "Qwen2.5-7B")
LENGTHS = (700, 1, 13, 1024, 310)
ROUNDING = 0.02
"""Of a result in bf16 relative to one in fp32, by their norms."""


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """All checks; one that raises is told as such, and the others are made."""
    small = request["smoke"]
    shape = tiny(SHAPES["Llama-3-8B"]) if small else SHAPES["Llama-3-8B"]
    tokens = 64 if small else 8192
    makers: list[tuple[str, Callable[[], list[Check]]]] = [
        ("attention", lambda: _attention(shape.H, shape.G, shape.K, small)),
        ("products into a part of a tensor", lambda: _in_place(tokens, shape.D, shape.F)),
        ("loss", lambda: _loss(min(tokens, 1000), shape.D, shape.V)),
        ("pointwise", lambda: _pointwise(tokens, shape.D, shape.F, shape.H, shape.K)),
    ]
    makers += [(f"fused layer, {name}", partial(_layer, name, small)) for name in LAYERS]
    checks: list[Check] = []
    for name, make in makers:
        try:
            checks += make()
        except (RuntimeError, TypeError, NotImplementedError, ValueError) as error:
            checks.append({"name": name, "good": False, "found": str(error).strip().splitlines()[0][:200]})
    return {"checks": checks}


def check(name: str, found: float, limit: float) -> Check:
    """A number that must not be above its limit; one that is not finite is."""
    return {"name": name, "found": found, "limit": limit, "good": found <= limit}


def distance(found: torch.Tensor, exact: torch.Tensor) -> float:
    """The norm of the difference, relative to that of the exact one."""
    exact = exact.detach().double()
    return float((found.detach().double() - exact).norm() / exact.norm())


def _attention(heads: int, groups: int, size: int, small: bool) -> list[Check]:
    """Queries, keys and values as parts of one tensor, and documents of no length at the end, against dense masks."""
    lengths = [max(1, length // 16) for length in LENGTHS] if small else list(LENGTHS)
    tokens, columns = sum(lengths), (heads + 2 * groups) * size
    torch.manual_seed(3)
    qkv_TN = torch.randn(tokens, columns, device=device()).to(torch.bfloat16).requires_grad_()
    weight_THK = torch.randn(tokens, heads, size, device=device())
    ends = torch.tensor([0, *lengths]).cumsum(0).to(torch.int32)
    cu_seqlens = torch.cat([ends, ends[-1:], ends[-1:]]) if device().type == "cuda" else ends

    def parts(qkv_TN: torch.Tensor) -> list[torch.Tensor]:
        split = qkv_TN.split([heads * size, groups * size, groups * size], 1)
        return [part.unflatten(1, (-1, size)).transpose(0, 1)[None] for part in split]

    output_BTHK, _ = attention.document_attention(
        torch.nn.Module(),
        *parts(qkv_TN),
        None,
        cu_seqlens=cu_seqlens,
        cu_seqlens_on_device=cu_seqlens.to(device()),
        scaling=size**-0.5,
    )
    (gradient_TN,) = torch.autograd.grad((output_BTHK[0].float() * weight_THK).sum(), qkv_TN)
    exact_TN = qkv_TN.detach().float().requires_grad_()
    document_T = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(device())
    seen = (document_T[:, None] == document_T[None, :]).tril()
    query, key, value = parts(exact_TN)
    key, value = (part.repeat_interleave(heads // groups, 1) for part in (key, value))
    scores = (query @ key.transpose(2, 3) * size**-0.5).masked_fill(~seen, -torch.inf)
    exact_THK = (scores.softmax(-1) @ value)[0].transpose(0, 1)
    (exact_gradient_TN,) = torch.autograd.grad((exact_THK * weight_THK).sum(), exact_TN)
    return [
        check("attention, output", distance(output_BTHK[0], exact_THK), ROUNDING),
        check("attention, gradient", distance(gradient_TN, exact_gradient_TN), ROUNDING),
    ]


def _in_place(tokens: int, size: int, inner: int) -> list[Check]:
    """A product added into columns of a tensor: right, and without a copy of them."""
    torch.manual_seed(4)
    into_TN = torch.randn(tokens, 2 * inner, device=device()).to(torch.bfloat16)
    x_TR, b_RF = (torch.randn(*sizes, device=device()).to(torch.bfloat16) for sizes in ((tokens, 16), (16, inner)))
    before_TF = into_TN[:, inner:].float()
    # The library's own workspace is taken with the first product of a kind.
    into_TN[:, :inner].addmm_(x_TR, b_RF, alpha=2.0)
    taken = _taken(lambda: into_TN[:, inner:].addmm_(x_TR, b_RF, alpha=2.0))
    exact_TF = before_TF + 2.0 * (x_TR.float() @ b_RF.float())
    return [
        check("product into columns", distance(into_TN[:, inner:], exact_TF), ROUNDING),
        check("product into columns, share that is copied", taken / (2 * tokens * inner), 0.5),
    ]


def _taken(call: Callable[[], Any]) -> int:
    """Bytes of the device that a call takes while it lasts; 0 on a CPU, where nobody counts."""
    if device().type != "cuda":
        call()
        return 0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated() - before)


def _loss(tokens: int, size: int, vocabulary: int) -> list[Check]:
    """The loss from the head and its gradient, against all logits in fp32."""
    torch.manual_seed(5)
    hidden_TD = torch.randn(tokens, size, device=device()).to(torch.bfloat16).requires_grad_()
    head_VD = (torch.randn(vocabulary, size, device=device()) * 0.02).to(torch.bfloat16)
    targets_T = torch.randint(0, vocabulary, (tokens,), device=device())
    found = linear_cross_entropy(hidden_TD, head_VD, targets_T).summed
    (gradient_TD,) = torch.autograd.grad(found, hidden_TD)
    exact_TD = hidden_TD.detach().float().requires_grad_()
    exact = torch.nn.functional.cross_entropy(exact_TD @ head_VD.float().t(), targets_T, reduction="sum")
    (exact_gradient_TD,) = torch.autograd.grad(exact, exact_TD)
    return [
        check("loss", abs(float(found) / float(exact) - 1), 1e-3),
        check("loss, gradient", distance(gradient_TD, exact_gradient_TD), ROUNDING),
    ]


def _pointwise(tokens: int, size: int, inner: int, heads: int, head: int) -> list[Check]:
    """The functions as they are compiled, against the same in fp32; with the time of both."""
    torch.manual_seed(6)
    functions = compiled() if device().type == "cuda" else EAGER

    def drawn(*sizes: int) -> torch.Tensor:
        return torch.randn(*sizes, device=device()).to(torch.bfloat16)

    x_TD, gradient_TD, weight_D = drawn(tokens, size), drawn(tokens, size), drawn(size)
    x_THK, gradient_THK, weight_K = drawn(tokens, heads, head), drawn(tokens, heads, head), drawn(head)
    angles_TJ = torch.rand(tokens, head // 2, device=device()) * 6
    cos_TJ, sin_TJ = angles_TJ.cos().to(torch.bfloat16), angles_TJ.sin().to(torch.bfloat16)
    gate_up_TF, gradient_TF = drawn(tokens, 2 * inner), drawn(tokens, inner)
    arguments: dict[str, tuple[Any, ...]] = {
        "rms_norm": (x_TD, weight_D, 1e-6),
        "rms_norm_backward": (gradient_TD, x_TD, weight_D, 1e-6, x_TD),
        "rotate": (x_THK, cos_TJ, sin_TJ),
        "rotate_back": (x_THK, cos_TJ, sin_TJ),
        "norm_and_rotate": (x_THK, weight_K, 1e-6, cos_TJ, sin_TJ),
        "norm_and_rotate_backward": (gradient_THK, x_THK, weight_K, 1e-6, cos_TJ, sin_TJ),
        "swiglu": (gate_up_TF,),
        "swiglu_backward": (gradient_TF, gate_up_TF),
    }
    found = []
    for name, given in arguments.items():
        fast, slow = getattr(functions, name), getattr(EAGER, name)
        exact = slow(*(each.float() if isinstance(each, torch.Tensor) else each for each in given))
        results = fast(*given)
        pairs = zip(results, exact, strict=True) if isinstance(exact, tuple) else [(results, exact)]
        made = check(f"pointwise {name}", max(distance(one, other) for one, other in pairs), ROUNDING)
        made["microseconds"] = [seconds_of(partial(function, *given), 5) * 1e6 for function in (fast, slow)]
        found.append(made)
    return found


def _layer(name: str, small: bool) -> list[Check]:
    """trainkit's own proof of the fused way, on a layer of a known model's size."""
    shape = tiny(SHAPES[name]) if small else SHAPES[name]
    model = adapted(base(shape, attention.register(), layers=1), exact=False)
    reason = fused.refusal(model)
    if reason is None:
        reason = fused.disagreement(model, compiled() if device().type == "cuda" else EAGER)
    return [{"name": f"fused layer, {name}", "good": reason is None, "found": reason or "as the generic way's"}]
