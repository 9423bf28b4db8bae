"""The trained parameters end to end in one buffer, their gradients in another.

An optimizer then has one tensor to step, one to take the norm of, and one to sum over processes, however many matrices
an adapter has.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch

ALIGNMENT = 64
"""Numbers; kernels for matrix products want the address of a matrix to be a multiple of 16 to 128 bytes."""


class Flat:
    """Parameters as views of fp32 masters; those in fewer bits have a copy that the model computes with.

    Every parameter becomes a view of the buffer that the model computes with, and its `grad` one of that buffer's
    gradient, into which autograd adds.
    """

    def __init__(self, groups: Sequence[Mapping[str, torch.nn.Parameter]]) -> None:
        """`groups` are parameters of one precision and device by their names; those of a group lie side by side."""
        self.parameters = {name: weight for group in groups for name, weight in group.items()}
        self._places: dict[str, slice] = {}
        ends = [0]
        for group in groups:
            end = ends[-1]
            for name, weight in group.items():
                self._places[name] = slice(end, end + weight.numel())
                end += -(-weight.numel() // ALIGNMENT) * ALIGNMENT
            ends.append(end)
        first = next(iter(self.parameters.values()))
        self._master = torch.zeros(ends[-1], dtype=torch.float32, device=first.device)
        self.gradient = torch.zeros_like(self._master)
        """Of all masters, summed over micro-batches."""
        narrow = first.dtype != torch.float32
        self._computed = self._master.to(first.dtype) if narrow else self._master
        self._computed_gradient = torch.zeros_like(self._computed) if narrow else self.gradient
        self._gradients = self._views(self._computed_gradient)
        self.masters = self._views(self._master)
        """Views of the masters in their parameters' shapes."""
        for name, view in self._views(self._computed).items():
            weight = self.parameters[name]
            self.masters[name].copy_(weight.detach())
            view.copy_(weight.detach())
            weight.data = view
            weight.grad = self._gradients[name]
        self.group_places = [slice(*bounds) for bounds in pairwise(ends)]
        """Where each group lies in a flat tensor."""
        self.groups = [self._group(places) for places in self.group_places]
        """The masters of each group as one parameter, whose `grad` is a view of `gradient`."""

    def view(self, like: torch.Tensor, name: str) -> torch.Tensor:
        """The part of a flat tensor of all parameters that belongs to one, in its shape."""
        return like[self._places[name]].view(self.parameters[name].shape)

    def collect(self) -> None:
        """Add the gradients that the model computed in fewer bits to those of the masters."""
        for name, weight in self.parameters.items():
            if weight.grad is not self._gradients[name]:
                raise RuntimeError(f"the gradient of {name} was put elsewhere than where it is summed")
        if self._computed_gradient is not self.gradient:
            self.gradient.add_(self._computed_gradient)
            self._computed_gradient.zero_()

    def discard(self) -> None:
        """Set all gradients to zero."""
        self.gradient.zero_()
        self._computed_gradient.zero_()

    def publish(self) -> None:
        """Let the model compute with the masters as they are now."""
        if self._computed is not self._master:
            self._computed.copy_(self._master)

    def _views(self, flat: torch.Tensor) -> dict[str, torch.Tensor]:
        return {name: self.view(flat, name) for name in self.parameters}

    def _group(self, places: slice) -> torch.nn.Parameter:
        master = torch.nn.Parameter(self._master[places])
        master.grad = self.gradient[places]
        return master
