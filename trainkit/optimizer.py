"""AdamW on fp32 masters, with a learning rate that depends on the step alone."""

import math
from typing import Any

import torch

from trainkit.config import Train
from trainkit.processes import Processes

BETAS = (0.9, 0.999)
EPSILON = 1e-8
MOMENTS = ("exp_avg", "exp_avg_sq")
STEPS = "adam_steps"
SCALE = "loss_scale"
SCALER_STATE = ("scale", "_growth_tracker")
B_MATRICES = ("lora_B", "lora_embedding_B")
"""What PEFT calls the adapter's second matrix, which starts at zero."""


def learning_rate(settings: Train, step: int, steps: int) -> float:
    """The learning rate of one step, counted from 0.

    It rises linearly over the warm-up, is `settings.learning_rate` in the step after it, and from there goes down to
    zero, which it would reach one step after the last: as (1 + cos(pi x)) / 2, linearly, not at all, or (wsd, Hu et
    al., 2024, with a linear end) linearly over the last `settings.decay` of the steps.
    """
    warm = round(settings.warmup * steps)
    if step < warm:
        return settings.learning_rate * (step + 1) / (warm + 1)
    done = (step - warm) / max(1, steps - warm)
    if settings.schedule == "cosine":
        return settings.learning_rate * (1 + math.cos(math.pi * done)) / 2
    if settings.schedule == "linear":
        return settings.learning_rate * (1 - done)
    if settings.schedule == "wsd":
        falling = min(round(settings.decay * steps), steps - warm)
        return settings.learning_rate * min(1.0, (steps - step) / (falling + 1))
    return settings.learning_rate


class Optimizer:
    """AdamW with decoupled decay (Loshchilov and Hutter, 2019) and clipping by the global norm.

    Gradients are summed, and weights and moments kept, in fp32, whatever the model computes in. For a model in fp16 the
    loss is scaled up, so that small gradients do not vanish (Micikevicius et al., 2018); a step in which it was too
    much is left out, and the scale is halved.
    B matrices of adapters learn at `settings.adapter.b_learning_rate_ratio` times the rate (LoRA+, Hayou et al., 2024).
    """

    def __init__(self, parameters: dict[str, torch.nn.Parameter], settings: Train, steps: int) -> None:
        self._parameters = parameters
        self._settings = settings
        self._steps = steps
        self.masters = {name: _master(weight) for name, weight in parameters.items()}
        self._adam = torch.optim.AdamW(
            _groups(self.masters, settings.adapter.b_learning_rate_ratio),
            lr=settings.learning_rate,
            betas=BETAS,
            eps=EPSILON,
            weight_decay=settings.weight_decay,
            foreach=True,
        )
        device = next(iter(parameters.values())).device.type
        self.scales = any(weight.dtype == torch.float16 for weight in parameters.values())
        """Whether a gradient that is not finite is part of the work."""
        self._scaler = torch.amp.GradScaler(device, enabled=self.scales)

    @property
    def loss_scale(self) -> float:
        """What the loss is multiplied with."""
        return float(self._scaler.get_scale())

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of a micro-batch's share of the loss (a scalar) to the step's."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.collect()

    def add_up(self, processes: Processes) -> None:
        """Sum the step's gradient over all processes."""
        if processes.alone:
            return
        for master in self.masters.values():
            if master.grad is None:
                master.grad = torch.zeros_like(master)
        gradients = [master.grad for master in self.masters.values() if master.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        processes.add_up(flat)
        for gradient, part in zip(gradients, torch.split(flat, [each.numel() for each in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def collect(self) -> None:
        """Add the gradients of one micro-batch to the step's."""
        for name, weight in self._parameters.items():
            master = self.masters[name]
            if weight is master or weight.grad is None:
                continue
            if master.grad is None:
                master.grad = weight.grad.float()
            else:
                master.grad.add_(weight.grad)
            weight.grad = None

    def discard(self) -> None:
        """Forget the gradients collected so far."""
        self._adam.zero_grad()
        for weight in self._parameters.values():
            weight.grad = None

    def clip(self) -> float:
        """Clip the step's gradient and return its global norm before that."""
        self._scaler.unscale_(self._adam)
        limit = math.inf if self._settings.clip is None else self._settings.clip
        return float(torch.nn.utils.clip_grad_norm_(self.masters.values(), limit))

    @torch.no_grad()
    def step(self, step: int) -> float:
        """Take step number `step` (from 0) and return its learning rate."""
        rate = learning_rate(self._settings, step, self._steps)
        for group in self._adam.param_groups:
            group["lr"] = rate * group["ratio"]
        self._scaler.step(self._adam)
        self._scaler.update()
        self._adam.zero_grad()
        self._copy_masters()
        return rate

    def tensors(self) -> dict[str, torch.Tensor]:
        """Masters and moments, for a checkpoint."""
        found = {f"master/{name}": master.detach() for name, master in self.masters.items()}
        for name, master in self.masters.items():
            state = self._adam.state[master]
            found |= {f"{moment}/{name}": state[moment] for moment in MOMENTS if moment in state}
            found |= {STEPS: state["step"]} if state else {}
        if self.scales:
            scaler = self._scaler.state_dict()
            found[SCALE] = torch.tensor([scaler[key] for key in SCALER_STATE], dtype=torch.float64)
        return found

    @torch.no_grad()
    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Go back to where `tensors` were taken."""
        self._adam.state.clear()
        for name, master in self.masters.items():
            master.copy_(tensors[f"master/{name}"])
            if STEPS in tensors:
                moments = {moment: tensors[f"{moment}/{name}"].to(master.device) for moment in MOMENTS}
                self._adam.state[master] = {"step": tensors[STEPS].clone(), **moments}
        if SCALE in tensors:
            state = dict(zip(SCALER_STATE, tensors[SCALE].tolist(), strict=True))
            self._scaler.load_state_dict({**self._scaler.state_dict(), **state})
        self._copy_masters()

    def _copy_masters(self) -> None:
        for name, weight in self._parameters.items():
            if weight is not self.masters[name]:
                weight.copy_(self.masters[name])


def _groups(masters: dict[str, torch.nn.Parameter], b_ratio: float) -> list[dict[str, Any]]:
    in_b = {name: any(part in B_MATRICES for part in name.split(".")) for name in masters}
    groups = [([masters[name] for name in masters if in_b[name] == b], b_ratio if b else 1.0) for b in (False, True)]
    return [{"params": weights, "ratio": ratio} for weights, ratio in groups if weights]


def _master(weight: torch.nn.Parameter) -> torch.nn.Parameter:
    return weight if weight.dtype == torch.float32 else torch.nn.Parameter(weight.detach().float())
