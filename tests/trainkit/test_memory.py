"""The planner against what autograd's own hooks count, and what it chooses."""

from dataclasses import replace

import pytest
import torch

from trainkit import memory
from trainkit.fused import FusedDecoder
from trainkit.memory import Shape, planned, shape_of
from trainkit.objectives import sft
from trainkit.policy import Policy

from .fused import models

LLAMA_8B = Shape(
    layers=32,
    inputs=4096,
    queries=4096,
    keys=1024,
    heads=32,
    inner=14336,
    qkv_ranks=48,
    out_ranks=16,
    gate_up_ranks=32,
    down_ranks=16,
    vocabulary=128256,
    width=2,
)
WEIGHTS_8B = 16_800_000_000


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("levels", [[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3], [3, 2, 1]], ids=str)
def test_it_foretells_what_a_step_keeps(name: str, dtype: torch.dtype, levels: list[int]) -> None:
    adapted = models.model(name, dtype, shape={"vocab_size": 400, "hidden_size": 96})
    batch = models.batch([300, 20, 180], 400)
    policy = Policy(adapted, fused=FusedDecoder(adapted, levels))
    shape = shape_of(adapted)
    trained = len(batch.trained_P) / 500
    weights = [*adapted.parameters(), *adapted.buffers()]
    kept = models.kept_bytes(lambda: sft.loss(policy, batch), weights)
    foretold = 500 * (sum(shape.kept(level) for level in levels) + shape.after_layers(trained))
    assert foretold == pytest.approx(kept, rel=0.1)


def test_an_8b_layer_is_what_the_design_says() -> None:
    # 2 * 4096 inputs, 6144 of queries, keys and values, 4096 attended, 2 * 14336, 112 ranks, 32 statistics of 4 bytes.
    assert LLAMA_8B.kept(0) == 2 * (2 * 4096 + 6144 + 4096 + 2 * 14336 + 112) + 4 * 32
    assert [LLAMA_8B.kept(level) // 1000 for level in range(4)] == [94, 37, 24, 8]
    assert LLAMA_8B.kept(3) == 2 * 4096


def test_with_memory_to_spare_nothing_is_computed_twice() -> None:
    found = planned(LLAMA_8B, WEIGHTS_8B, 80 * memory.GB, 3000, memory.sizes(8192))
    assert (found.tokens, found.levels, found.fits) == (8192, [0] * 32, True)


def test_a_smaller_micro_batch_comes_before_computing_twice() -> None:
    found = planned(LLAMA_8B, WEIGHTS_8B, 40 * memory.GB, 1500, memory.sizes(8192))
    assert (found.tokens, set(found.levels), found.fits) == (4096, {0}, True)


def test_only_as_many_layers_as_must_be_are_computed_twice() -> None:
    found = planned(LLAMA_8B, WEIGHTS_8B, 24 * memory.GB, 1500, memory.sizes(8192))
    assert found.fits and found.tokens == 2048
    assert set(found.levels) == {0, 1}
    one_less = replace(LLAMA_8B, layers=32)
    spared = list(found.levels)
    spared[spared.index(1)] = 0
    needed = WEIGHTS_8B + 2048 * sum(one_less.kept(level) for level in spared)
    assert needed + 2048 * one_less.worked_with(1) + one_less.chunk > 0.85 * 24 * memory.GB


def test_what_cannot_fit_says_so() -> None:
    found = planned(LLAMA_8B, WEIGHTS_8B, 16 * memory.GB, 1500, memory.sizes(8192))
    assert not found.fits
    assert found.levels == [3] * 32
    assert str(found) == "32 of 32 layers are computed twice but for the last product"


def test_a_long_document_counts_whole() -> None:
    short = planned(LLAMA_8B, WEIGHTS_8B, 80 * memory.GB, 1000, memory.sizes(8192))
    long = planned(LLAMA_8B, WEIGHTS_8B, 80 * memory.GB, 40_000, memory.sizes(8192))
    assert long.total > 1.5 * short.total or set(long.levels) != {0}
    assert long.fits
