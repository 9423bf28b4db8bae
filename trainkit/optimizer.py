"""AdamW on fp32 masters, with a learning rate that depends on the step alone."""

import math
from typing import TYPE_CHECKING

import torch

from trainkit.flat import Flat

if TYPE_CHECKING:
    from trainkit.config import Train
    from trainkit.processes import Processes

BETAS = (0.9, 0.999)
EPSILON = 1e-8
MOMENTS = ("exp_avg", "exp_avg_sq")
STEPS = "adam_steps"
SCALE = "loss_scale"
SCALER_STATE = ("scale", "_growth_tracker")
FUSED_DEVICES = ("cpu", "cuda", "mps", "xpu")
"""Those for which torch has AdamW as one kernel."""
B_MATRICES = ("lora_B", "lora_embedding_B")
"""What PEFT calls the adapter's second matrix, which starts at zero."""


def learning_rate(settings: "Train", step: int, steps: int) -> float:
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

    def __init__(self, parameters: dict[str, torch.nn.Parameter], settings: "Train", steps: int) -> None:
        """`parameters` are of one precision and on one device; they become views of one buffer."""
        self._settings = settings
        self._steps = steps
        named = _groups(parameters)
        self._flat = Flat([group for group, _ in named])
        ratio = settings.adapter.b_learning_rate_ratio
        fused = next(iter(parameters.values())).device.type in FUSED_DEVICES
        self._adam = torch.optim.AdamW(
            [
                {"params": [master], "ratio": ratio if in_b else 1.0}
                for master, (_, in_b) in zip(self._flat.groups, named, strict=True)
            ],
            lr=settings.learning_rate,
            betas=BETAS,
            eps=EPSILON,
            weight_decay=settings.weight_decay,
            fused=fused,
            foreach=False,
        )
        self._moments = {moment: torch.zeros_like(self._flat.gradient) for moment in MOMENTS}
        for master, places in zip(self._flat.groups, self._flat.group_places, strict=True):
            # Fused, it counts its steps beside the masters.
            step = torch.zeros((), dtype=torch.float32, device=master.device if fused else "cpu")
            parts = {moment: flat[places] for moment, flat in self._moments.items()}
            self._adam.state[master] = {"step": step, **parts}
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

    @property
    def masters(self) -> dict[str, torch.Tensor]:
        """The parameters in fp32, by name."""
        return self._flat.masters

    def add_up(self, processes: "Processes") -> None:
        """Sum the step's gradient over all processes."""
        if not processes.alone:
            processes.add_up(self._flat.gradient)

    def collect(self) -> None:
        """Add the gradients of one micro-batch to the step's."""
        self._flat.collect()

    def discard(self) -> None:
        """Forget the gradients collected so far."""
        self._flat.discard()

    def clip(self) -> float:
        """Clip the step's gradient and return its global norm before that."""
        self._scaler.unscale_(self._adam)
        limit = math.inf if self._settings.clip is None else self._settings.clip
        return float(torch.nn.utils.clip_grad_norm_(self._flat.groups, limit))

    @torch.no_grad()
    def step(self, step: int) -> float:
        """Take step number `step` (from 0) and return its learning rate."""
        rate = learning_rate(self._settings, step, self._steps)
        for group in self._adam.param_groups:
            group["lr"] = rate * group["ratio"]
        self._scaler.step(self._adam)
        self._scaler.update()
        self._flat.discard()
        self._flat.publish()
        return rate

    def tensors(self) -> dict[str, torch.Tensor]:
        """Masters and moments, for a checkpoint."""
        found = {f"master/{name}": master for name, master in self.masters.items()}
        for moment, flat in self._moments.items():
            found |= {f"{moment}/{name}": self._flat.view(flat, name) for name in self.masters}
        found[STEPS] = self._adam.state[self._flat.groups[0]]["step"]
        if self.scales:
            scaler = self._scaler.state_dict()
            found[SCALE] = torch.tensor([scaler[key] for key in SCALER_STATE], dtype=torch.float64)
        return found

    @torch.no_grad()
    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Go back to where `tensors` were taken."""
        for name, master in self.masters.items():
            master.copy_(tensors[f"master/{name}"])
            for moment, flat in self._moments.items():
                self._flat.view(flat, name).copy_(tensors[f"{moment}/{name}"])
        for master in self._flat.groups:
            self._adam.state[master]["step"].copy_(tensors[STEPS])
        if SCALE in tensors:
            state = dict(zip(SCALER_STATE, tensors[SCALE].tolist(), strict=True))
            self._scaler.load_state_dict({**self._scaler.state_dict(), **state})
        self._flat.publish()


def _groups(parameters: dict[str, torch.nn.Parameter]) -> list[tuple[dict[str, torch.nn.Parameter], bool]]:
    """The parameters that are no B matrices, and those that are, in groups that are not empty."""
    found: list[tuple[dict[str, torch.nn.Parameter], bool]] = []
    for b in (False, True):
        group = {name: w for name, w in parameters.items() if any(part in B_MATRICES for part in name.split(".")) == b}
        found += [(group, b)] if group else []
    return found
