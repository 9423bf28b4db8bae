"""trainkit as a contender: its loop's arithmetic over the benchmark's documents, with none of its files and shards."""

from types import SimpleNamespace
from typing import Any

import torch
from gpu_clock import Clock, told
from gpu_documents import Work
from gpu_model import Row, adapted, base, device, rows, size
from gpu_shapes import Shape

from trainkit import attention, fused, memory
from trainkit.fused import FusedDecoder
from trainkit.fused.pointwise import EAGER, Pointwise, compiled
from trainkit.loss import linear_cross_entropy
from trainkit.memory import MemoryPlan
from trainkit.micro_batch import MicroBatch
from trainkit.optimizer import Optimizer
from trainkit.policy import Policy

LEVELS = (0, 1, 2, 3)
SETTINGS = SimpleNamespace(
    learning_rate=1.0e-4,
    schedule="constant",
    warmup=0.0,
    decay=0.0,
    weight_decay=0.0,
    clip=1.0,
    adapter=SimpleNamespace(b_learning_rate_ratio=1.0),
)
"""trainkit's defaults, but for the constant rate that all contenders have."""


def micro_batch(documents: list[Row]) -> MicroBatch:
    """Documents in one row on the device."""
    lengths = torch.tensor([0, *(len(row["input_ids"]) for row in documents)])
    cu_seqlens = lengths.cumsum(0).to(torch.int32)
    labels = torch.tensor([label for row in documents for label in row["labels"]])
    # Nothing is before a document's first token that could predict it.
    labels[cu_seqlens[:-1].long()] = -100
    ids = torch.tensor([token for row in documents for token in row["input_ids"]])
    positions = torch.cat([torch.arange(int(length)) for length in lengths[1:]])
    place = device()
    return MicroBatch(
        input_ids_T=ids.to(place),
        position_ids_T=positions.to(place),
        cu_seqlens=cu_seqlens,
        cu_seqlens_on_device=cu_seqlens.to(place),
        trained_P=(labels != -100).nonzero().squeeze(1).to(place),
        record_ids=tuple("" for _ in documents),
    )


def summed_loss(policy: Policy, batch: MicroBatch) -> torch.Tensor:
    """The cross-entropy of the trained tokens, in nats, as `trainkit.objectives.sft` computes it."""
    before_PD = policy.hidden_states(batch).index_select(0, batch.trained_P - 1)
    targets_P = batch.input_ids_T.index_select(0, batch.trained_P)
    return linear_cross_entropy(before_PD, policy.head_VD, targets_P, policy.head_bias_V, rows=policy.head_rows).summed


def pick_pointwise(model: Any) -> Pointwise:
    """Compiled on CUDA, as in a run of trainkit; raises `RuntimeError` where the fused way fails its own proof."""
    reason = fused.refusal(model)
    if reason is None:
        for pointwise in [compiled(), EAGER] if device().type == "cuda" else [EAGER]:
            reason = fused.disagreement(model, pointwise)
            if reason is None:
                return pointwise
    raise RuntimeError(f"the fused way is not taken: {reason}")


def policy_for(model: Any, levels: list[int] | None) -> Policy:
    """A policy that computes the layers of an adapted model at these levels, or the generic way."""
    decoder = None if levels is None else FusedDecoder(model, levels, pick_pointwise(model))
    return Policy(model, one_kernel=device().type == "cuda", fused=decoder)


def train(request: dict[str, Any], shape: Shape, work: Work) -> dict[str, Any]:
    """Train the steps that are asked for."""
    level, together, note = request["settings"]["level"], request["together"], ""
    model = adapted(base(shape, attention.register()), exact=False)
    levels = None if level is None else [level] * shape.L
    if level == "planned":
        plan = planned(model, request["memory_bytes"], work)
        together, levels, note = plan.tokens // work.window, plan.levels, f"{plan}; {plan.total / 1e9:.1f} GB planned"
    steps = request["warm"] + request["timed"]
    found = rows(work, shape.V, together)[:steps]
    policy = policy_for(model, levels)
    optimizer = Optimizer(policy.parameters, SETTINGS, steps)
    clock = Clock(request["warm"])
    clock.mark()
    for number, step in enumerate(found):
        trained = sum(size(documents)[1] for documents in step)
        total = torch.zeros((), device=device())
        for documents in step:
            loss = summed_loss(policy, micro_batch(documents))
            optimizer.backward(loss / trained)
            total += loss.detach()
        clock.losses.append(total / trained)
        clock.norms.append(optimizer.clip())
        optimizer.step(number)
        clock.mark()
    sizes = [size([row for documents in step for row in documents]) for step in found]
    return told(clock, sizes, together * work.window, note)


def planned(model: Any, budget: int, work: Work) -> MemoryPlan:
    """trainkit's plan for an adapted model and a budget in bytes; a micro-batch is of two windows or of one."""
    longest = max(each.tokens for each in work.documents)
    fixed = memory.fixed_bytes(model, 0)
    return memory.planned(memory.shape_of(model), fixed, budget, longest, [2 * work.window, work.window])
