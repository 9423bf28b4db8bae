"""A base model too large for one device, spread over all of them (FSDP2); adapters stay whole on each.

The base is frozen, so nothing is reduced in the backward pass: a layer's weights are gathered before it is used and
dropped after, and the adapter's gradients are summed once a step like those of any run of several processes.
"""

from typing import Any

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from dataforge.errors import BaseModelError
from trainkit.processes import Processes

FULL = 0.6
"""Share of a device's memory that a base may fill before it is sharded by itself."""


def wanted(setting: str, base_bytes: int, device: torch.device, processes: Processes) -> bool:
    """Whether the base is to be sharded: as set, or because it does not fit well into one device."""
    if processes.alone or setting == "ddp":
        return False
    if setting == "fsdp":
        return True
    return device.type == "cuda" and base_bytes > FULL * torch.cuda.get_device_properties(device).total_memory


def shard(adapted: Any, device: torch.device) -> None:
    """Shard the decoder layers of the base below an adapter, in place, over all processes.

    Raises `BaseModelError` where the model does not say what its layers are.
    """
    causal = adapted.get_base_model()
    decoder = causal.base_model
    names = set(causal._no_split_modules or ())
    layers = [module for module in decoder.modules() if type(module).__name__ in names]
    if not layers:
        raise BaseModelError(
            f"base models of type {causal.config.model_type} do not name their layers, so they cannot be sharded; say "
            "`train.parallel: ddp`"
        )
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    sharded = {weight for layer in layers for weight in layer.parameters() if not weight.requires_grad}
    whole = set(decoder.parameters()) - sharded
    for layer in layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=whole)
    # The decoder has no shards of its own; as the root it lets layers be gathered ahead of their turn.
    fully_shard(decoder, mesh=mesh, ignored_params=whole)
    adapted.to(device)
