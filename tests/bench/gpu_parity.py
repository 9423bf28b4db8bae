"""Whether trainkit trains what HF trains: losses and gradients in bf16 against fp32, and 30 steps side by side."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from gpu_documents import Work, work
from gpu_kernels import distance
from gpu_model import adapted, base, device, rows
from gpu_shapes import SHAPES, Shape, tiny
from gpu_trainkit import LEVELS, SETTINGS, micro_batch, policy_for, summed_loss

from trainkit import attention
from trainkit.micro_batch import MicroBatch
from trainkit.optimizer import Optimizer
from trainkit.policy import Policy

LAYERS = 4
GRADIENT_LIMIT = 1.4
"""How many times further from fp32 trainkit's gradients may be than HF's: of one run, the roundings of a processor
alone make a quarter either way."""
CURVE_STEPS, FEW_STEPS, CURVE_LIMIT = 30, 5, 1e-3
SIDE_BY_SIDE = Shape("side by side", "llama", D=256, H=8, G=2, K=32, F=704, L=4, V=1024)
Loss = Callable[[Policy, MicroBatch], torch.Tensor]


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """Both comparisons, and whether they are within their limits."""
    small = request["smoke"]
    arms = _gradients(small)
    hf = arms["HF"]["gradient_error"]
    ours = {name: arm["gradient_error"] / hf for name, arm in arms.items() if name != "HF"}
    curve = _curve(tiny(SIDE_BY_SIDE), FEW_STEPS) if small else _curve(SIDE_BY_SIDE, CURVE_STEPS)
    good = max(ours.values()) <= GRADIENT_LIMIT and curve["largest_difference"] <= CURVE_LIMIT
    return {"arms": arms, "of_hf": ours, "limit": GRADIENT_LIMIT, "curve": curve, "good": good}


def _first(shape: Shape, documents: Work) -> MicroBatch:
    return micro_batch(rows(documents, shape.V, 1)[0][0])


def plain_loss(policy: Policy, batch: MicroBatch) -> torch.Tensor:
    """The loss as HF computes it: from all logits of the trained tokens in fp32."""
    before_PD = policy.hidden_states(batch).index_select(0, batch.trained_P - 1)
    logits_PV = torch.nn.functional.linear(before_PD, policy.head_VD).float()
    targets_P = batch.input_ids_T.index_select(0, batch.trained_P)
    return torch.nn.functional.cross_entropy(logits_PV, targets_P, reduction="sum")


def _gradients(small: bool) -> dict[str, dict[str, float]]:
    """Of a few layers as wide as an 8B model's."""
    full = SHAPES["Llama-3-8B"]
    shape = replace(tiny(full) if small else full, L=LAYERS)
    batch = _first(shape, work("chat", 1, small=small))
    model = adapted(base(shape, attention.register()), exact=False)
    exact_model = copy.deepcopy(model).float()
    exact_loss, exact = _computed(Policy(exact_model), batch, plain_loss)
    del exact_model
    made: dict[str, tuple[Callable[[], Policy], Loss]] = {
        "HF": (partial(Policy, model), plain_loss),
        "trainkit, generic way": (partial(policy_for, model, None), summed_loss),
    }
    for level in LEVELS:
        made[f"trainkit, level {level}"] = (partial(policy_for, model, [level] * shape.L), summed_loss)
    found = {}
    for name, (make, loss) in made.items():
        value, gradients = _computed(make(), batch, loss)
        whole = [torch.cat([each[key].flatten() for key in exact]) for each in (gradients, exact)]
        found[name] = {
            "loss": value,
            "loss_difference": value - exact_loss,
            "gradient_error": distance(whole[0], whole[1]),
            "gradient_norm": float(whole[0].norm()),
        }
    return found


def _computed(policy: Policy, batch: MicroBatch, loss: Loss) -> tuple[float, dict[str, torch.Tensor]]:
    """The mean loss, and the adapter's gradient."""
    policy.model.zero_grad(set_to_none=True)
    mean = loss(policy, batch) / len(batch.trained_P)
    mean.backward()  # type: ignore[no-untyped-call]
    gradients = {name: weight.grad for name, weight in policy.parameters.items()}
    if None in gradients.values():
        raise RuntimeError(f"{next(name for name, value in gradients.items() if value is None)} has no gradient")
    return float(mean), {name: value.float() for name, value in gradients.items() if value is not None}


def _curve(shape: Shape, steps: int) -> dict[str, Any]:
    """The losses of steps on one micro-batch, which is learnt by heart, by HF's layers and by the fused ones."""
    batch = _first(shape, work("chat", 1, small=True))
    curves = []
    for levels, loss in ((None, plain_loss), ([0] * shape.L, summed_loss)):
        model = adapted(base(shape, attention.register()), exact=False)
        policy = Policy(model) if levels is None else policy_for(model, levels)
        optimizer = Optimizer(policy.parameters, SETTINGS, steps)
        losses = torch.zeros(steps, device=device())
        for step in range(steps):
            mean = loss(policy, batch) / len(batch.trained_P)
            optimizer.backward(mean)
            optimizer.clip()
            optimizer.step(step)
            losses[step] = mean.detach()
        curves.append(losses.double().tolist())
    differences = [abs(ours / theirs - 1) for theirs, ours in zip(*curves, strict=True)]
    return {"hf": curves[0], "trainkit": curves[1], "largest_difference": max(differences), "limit": CURVE_LIMIT}
